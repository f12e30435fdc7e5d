"""Asynchronous invocations on a real node: what was accepted runs, whatever ends meanwhile."""

import os
import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from cluster_events import CODE, send
from lateen_release import Json, Release, eventually
from node_processes import NotOnThisNode, processes_of

# What is killed here is killed while the event that fails has attempts before it.
pytestmark = [
    pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.usefixtures("failing"),
]  # fmt: skip


@pytest.fixture(scope="module")
def function(release: Release) -> Iterator[Json]:
    made = release.deploy(f"events-{secrets.token_hex(3)}", CODE, timeout=30)
    yield made
    release.delete(made)


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

    def is_killed() -> bool:
        (pod,) = release.pods(component)
        with suppress(NotOnThisNode, ProcessLookupError):
            os.kill(processes_of(pod, component)[0].pid, signal.SIGKILL)
            return True
        return False

    eventually(is_killed, f"{component}, which was killed before, is there")


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
