"""Asynchronous invocations on a real node: what was accepted runs, whatever ends meanwhile."""

import json
import os
import secrets
import signal
import time
from collections.abc import Iterator

import httpx
import pytest
from lateen_release import Json, Release, eventually
from node_processes import processes_of

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(300)]

CODE = """
import time
def handler(event, context):
    print("SEEN", context.aws_request_id)
    time.sleep(event.get("s", 0))
    if event.get("fail"):
        raise ValueError("no")
"""


@pytest.fixture(scope="module")
def function(release: Release) -> Iterator[Json]:
    made = release.deploy(f"events-{secrets.token_hex(3)}", CODE, timeout=30)
    yield made
    release.delete(made)


@pytest.fixture(scope="module", autouse=True)
def failing(release: Release) -> Iterator[tuple[Json, str]]:
    """A function and the request id of an event that fails: by AWS's waits for three minutes, so it is sent first."""
    made = release.deploy(f"events-{secrets.token_hex(3)}", CODE)
    assert dead_letters(release, made) == []
    yield made, send(release, made, fail=True)
    release.delete(made)


def dead_letters(release: Release, function: Json) -> list[Json]:
    found: list[Json] = release.api.get(f"/api/functions/{function['id']}/dead-letters").json()["items"]
    return found


def send(release: Release, function: Json, **event: object) -> str:
    """Returns: the request id. Sent again where nothing takes it."""
    path = f"/api/functions/{function['id']}/invocations"
    until_s = time.monotonic() + 60
    while True:
        try:
            answer = release.api.post(path, params={"type": "event"}, content=json.dumps(event))
            if answer.status_code == 202:
                return str(answer.json()["request_id"])
            assert answer.status_code == 503, answer.text
            assert "retry-after" in answer.headers
        except httpx.HTTPError:
            pass
        assert time.monotonic() < until_s
        time.sleep(0.2)


def all_seen(release: Release, function: Json, sent: set[str]) -> bool:
    seen = {
        line.split()[1]
        for tail in release.log_tails(function)
        for line in tail.splitlines()
        if line.startswith("SEEN ")
    }
    return sent <= seen


def kill(release: Release, component: str) -> None:
    """The first process of the component's one pod, as a crash does; it is started again in its place."""
    (pod,) = release.pods(component)
    os.kill(processes_of(pod, component)[0].pid, signal.SIGKILL)


def test_events_run(release: Release, function: Json) -> None:
    """By the worker, under the request id that the sender was told."""
    sent = {send(release, function) for _ in range(10)}
    eventually(lambda: all_seen(release, function, sent), "all events ran")


def test_a_worker_that_is_killed(release: Release, function: Json) -> None:
    """What it had, runs: again, or for the first time."""
    sent = {send(release, function, s=5) for _ in range(6)}
    time.sleep(2)
    kill(release, "worker")
    sent |= {send(release, function) for _ in range(6)}
    # Its leases end after a minute.
    eventually(lambda: all_seen(release, function, sent), "all events ran", within_s=180)


def test_redis_is_killed(release: Release, function: Json) -> None:
    """While events come in and wait: each that was accepted runs, none is accepted that nobody has stored."""
    sent = {send(release, function, s=1) for _ in range(20)}
    for _ in range(3):
        kill(release, "redis")
        sent |= {send(release, function) for _ in range(10)}
    eventually(lambda: all_seen(release, function, sent), "all events ran", within_s=180)
    (worker,) = release.pods("worker")
    assert worker["status"]["containerStatuses"][0]["state"].get("running")


def test_failures_can_be_seen(release: Release, failing: tuple[Json, str]) -> None:
    """After its last attempt, whatever was killed meanwhile."""
    function, request_id = failing
    eventually(lambda: dead_letters(release, function), "a dead letter", within_s=270, every_s=2)
    (letter,) = dead_letters(release, function)
    assert (letter["request_id"], letter["attempts"], letter["condition"]) == (request_id, 3, "RetriesExhausted")
