"""What is known of objects in a cluster, where the API server gives no answer."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from lateen.adapters.kubernetes import watcher
from lateen.adapters.kubernetes.api import ApiError, ApiRefused, ApiUnavailable, Event
from lateen.adapters.kubernetes.kinds import HTTP_ROUTE, Manifest
from lateen.adapters.kubernetes.labels import deployment_in
from lateen.adapters.kubernetes.watcher import Watched

ROUTE = {"metadata": {"name": "fn-1", "namespace": "n", "resourceVersion": "7"}}


class Failing:
    """An API server that lists nothing as long as it has a `failure`, and then one object."""

    def __init__(self, failure: ApiError | None) -> None:
        self.failure = failure
        self.asked = 0

    async def list(self, *_: Any, **__: Any) -> tuple[list[Manifest], str]:
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        return [ROUTE], "7"

    async def watch(self, *_: Any, **__: Any) -> AsyncIterator[Event]:
        await asyncio.Event().wait()
        yield Event("BOOKMARK", ROUTE)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("failure", [ApiUnavailable("500 conversion failed"), ApiRefused(404, "NotFound", "no kind")])
@pytest.mark.parametrize("may_be_absent", [True, False])
async def test_nobody_waits_for_a_kind_that_need_not_be_there(
    failure: ApiError, may_be_absent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that the controller does waits for the others. What is there is seen later all the same."""
    monkeypatch.setattr(watcher, "FIRST_RETRY_S", 0.01)
    monkeypatch.setattr(watcher, "ABSENT_S", 0.01)
    api: Any = Failing(failure)
    watched = Watched(
        api, HTTP_ROUTE, None, selector="", owner=deployment_in, changed=lambda _: None, may_be_absent=may_be_absent
    )
    running = asyncio.ensure_future(watched.run())
    await until(lambda: api.asked > 2)
    assert watched.synced.is_set() is may_be_absent
    api.failure = None
    await until(lambda: watched.get("n", "fn-1") is not None)
    assert watched.synced.is_set()
    running.cancel()
