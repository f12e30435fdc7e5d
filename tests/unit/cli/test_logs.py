"""`lateen logs`: what is shown, and what of it is new."""

import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import httpx
import pytest

from .conftest import Ended, Server, listed


def record(second: int) -> dict[str, Any]:
    """An attempt of the one event that there is."""
    timestamp = f"2026-01-31T12:00:{second:02}.000Z"
    return {"request_id": "r1", "timestamp": timestamp, "status": "error", "duration_ms": 1.0}


@pytest.fixture
def polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two polls, then Ctrl-C."""
    left = [None, None]

    def sleep(_: float) -> None:
        if not left:
            raise KeyboardInterrupt
        left.pop()

    monkeypatch.setattr(time, "sleep", sleep)


@pytest.mark.usefixtures("polls")
def test_follow_shows_every_attempt_of_an_event_once(lateen: Server, ended: Callable[..., Ended]) -> None:
    """They share its request id, and differ by when they began."""
    seen = [record(1)]

    def answer(request: httpx.Request) -> httpx.Response:
        if len(lateen.paths("GET")) > 4:  # the second poll
            seen.insert(0, record(2))
        return httpx.Response(200, json=listed(seen))

    lateen.has_function()
    lateen.answers["GET /api/functions/f1/logs"] = answer
    code, shown, _ = ended("logs", "hello", "--follow")
    assert code == 130
    assert [line.split()[0] for line in shown.splitlines()] == [record(1)["timestamp"], record(2)["timestamp"]]


@pytest.mark.usefixtures("polls")
def test_follow_goes_by_lateen_s_clock(lateen: Server, ended: Callable[..., Ended]) -> None:
    """That of this machine may be an hour ahead."""
    headers = {"date": formatdate(time.time() - 3600, usegmt=True)}
    found = {"id": "f1", "name": "hello", "workspace": "w1", "timeout": 3}
    lateen.answers["GET /api/workspaces/w1/functions"] = httpx.Response(200, json=listed([found]), headers=headers)
    lateen.answers["GET /api/functions/f1/logs"] = httpx.Response(200, json=listed([record(1)]), headers=headers)
    before = time.gmtime(time.time() - 3600)
    ended("logs", "hello", "--follow")
    since = [request.url.params["since"] for request in lateen.asked if "since" in request.url.params]
    assert len(since) == 3
    assert all(time.strptime(each[:19], "%Y-%m-%dT%H:%M:%S") < before for each in since)
