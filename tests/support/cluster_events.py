"""Asynchronous invocations of an installed Lateen, and one of the session's that fails."""

import json
import secrets
import time
from collections.abc import Iterator

import httpx
import pytest
from lateen_release import Json, Release

CODE = """
import time
def handler(event, context):
    print("SEEN", context.aws_request_id)
    time.sleep(event.get("s", 0))
    if event.get("fail"):
        raise ValueError("no")
"""


@pytest.fixture(scope="session")
def failing(release: Release) -> Iterator[tuple[Json, str]]:
    """A function and the request id of an event that fails: by AWS's waits for three minutes, so other tests run
    meanwhile."""
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
