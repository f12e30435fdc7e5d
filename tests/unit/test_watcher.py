"""What is known of objects in a cluster, where the API server gives no answer."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from lateen.adapters.kubernetes import api as api_module
from lateen.adapters.kubernetes import watcher
from lateen.adapters.kubernetes.access import Access
from lateen.adapters.kubernetes.api import ApiError, ApiRefused, ApiUnavailable, Event, KubernetesApi, Page
from lateen.adapters.kubernetes.kinds import HTTP_ROUTE, POD, Manifest
from lateen.adapters.kubernetes.labels import deployment_in
from lateen.adapters.kubernetes.rollouts import essentials
from lateen.adapters.kubernetes.watcher import Watched

ROUTE = {"metadata": {"name": "fn-1", "namespace": "n", "resourceVersion": "7"}}


class Failing:
    """An API server that lists nothing as long as it has a `failure`, and then one object."""

    def __init__(self, failure: ApiError | None) -> None:
        self.failure = failure
        self.asked = 0

    async def pages(self, *_: Any, **__: Any) -> AsyncIterator[Page]:
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        yield Page([ROUTE], "7")

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


def route_at(version: int, name: str = "fn-1") -> Manifest:
    return {"metadata": {"name": name, "namespace": "n", "resourceVersion": str(version)}}


async def test_the_newer_of_two_wins() -> None:
    """The answer to a write is there before what the watch says of it, which may be of before."""
    told: list[Manifest] = []
    api: Any = Failing(None)
    watched = Watched(api, HTTP_ROUTE, None, selector="", owner=deployment_in, changed=told.append)
    newest = route_at(10)
    watched.put(newest)
    watched.put(route_at(9))
    watched.drop(route_at(9))
    assert (watched.get("n", "fn-1"), told) == (newest, [newest])
    watched.drop(route_at(11))
    assert (watched.get("n", "fn-1"), told) == (None, [newest, newest])


async def test_what_was_made_since_the_list_is_not_taken_for_gone() -> None:
    """But what is older than that, and not in it, is."""
    api: Any = Failing(None)  # its list is at 7
    watched = Watched(api, HTTP_ROUTE, None, selector="", owner=deployment_in, changed=lambda _: None)
    for version, name in ((6, "old"), (8, "new")):
        watched.put(route_at(version, name))
    await watched._list()
    assert {each["metadata"]["name"] for each in watched} == {"fn-1", "new"}


async def test_a_kind_that_is_needed_and_lacks_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With what follows from it: where functions' routes are HTTPRoutes, the Gateway API has to be there first."""
    monkeypatch.setattr(watcher, "FIRST_RETRY_S", 0.01)
    api: Any = Failing(ApiUnavailable("500 starting"))
    watched = Watched(api, HTTP_ROUTE, None, selector="", owner=deployment_in, changed=lambda _: None)
    running = asyncio.ensure_future(watched.run())
    await until(lambda: len(caplog.records) > 0)
    assert {record.message for record in caplog.records} == {"watch interrupted"}
    api.failure = ApiRefused(404, "NotFound", "404 page not found")
    await until(lambda: caplog.records[-1].levelname == "ERROR")
    running.cancel()
    last = vars(caplog.records[-1])
    assert "nothing is applied until it is there" in last["message"]
    assert (last["kind"], last["version"]) == ("HTTPRoute", "gateway.networking.k8s.io/v1")


async def test_a_page_is_taken_in_before_the_next_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many pods most is not kept: all of it at once would not fit a controller that begins to lead."""
    monkeypatch.setattr(api_module, "PAGE", 2)
    pods: list[Manifest] = [
        {"metadata": {"name": f"p{n}", "namespace": "n", "resourceVersion": "1", "managedFields": []}, "spec": {}}
        for n in range(5)
    ]
    known: list[int] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            known.append(len(list(watched)))
            return web.json_response({"code": 410}, status=410)  # so it is listed again
        known.append(len(list(watched)))
        begin = int(request.query.get("continue", "0"))
        after = begin + int(request.query["limit"])
        metadata = {"resourceVersion": "9", **({"continue": str(after)} if after < len(pods) else {})}
        return web.json_response({"metadata": metadata, "items": pods[begin:after]})

    app = web.Application()
    app.router.add_get("/api/v1/pods", answer)
    async with TestServer(app) as server:
        api = KubernetesApi(Access(url=str(server.make_url("")).rstrip("/")))
        watched = Watched(api, POD, None, selector="", owner=deployment_in, changed=lambda _: None, reduced=essentials)
        running = asyncio.ensure_future(watched.run())
        await until(lambda: len(known) > 3)
        assert known[:4] == [0, 2, 4, 5]
        del pods[1:]
        await until(lambda: len(list(watched)) == 1)
        running.cancel()
        await api.close()
    kept = watched.get("n", "p0")
    assert kept is not None
    assert "managedFields" not in kept["metadata"]
