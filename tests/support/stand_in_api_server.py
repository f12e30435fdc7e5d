"""A stand-in for Kubernetes' API server where a test needs no more of it: it keeps what it is given, lists and watches
it. Nothing runs, nothing is checked, and an apply replaces the whole object."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiohttp import web

from lateen.adapters.kubernetes.access import Access
from lateen.adapters.kubernetes.api import KubernetesApi

Manifest = dict[str, Any]


class _Place(NamedTuple):
    group: str
    plural: str
    namespace: str
    name: str


class StandInApiServer:
    def __init__(self) -> None:
        self.unknown: set[str] = set()
        """Plurals of kinds that are not installed."""
        self.calls: list[tuple[str, str]] = []
        """Method, or WATCH, and path."""
        self._objects: dict[_Place, Manifest] = {}
        self._events: list[tuple[_Place, str, Manifest]] = []
        self._has_events = asyncio.Condition()
        self._version = 0

    def names(self, plural: str) -> list[str]:
        return [place.name for place in self._objects if place.plural == plural]

    def count(self, method: str, plural: str) -> int:
        return sum(1 for each, path in self.calls if each == method and plural in path.split("/"))

    async def answer(self, request: web.Request) -> web.StreamResponse:
        place = _place(request.path)
        is_watch = request.query.get("watch") == "true"
        self.calls.append(("WATCH" if is_watch else request.method, request.path))
        if place.plural in self.unknown:
            return web.Response(status=404, text="404 page not found\n")
        if is_watch:
            return await self._watch(request, place)
        if request.method in ("PATCH", "POST"):
            body = json.loads(await request.read())
            place = place._replace(name=body["metadata"]["name"])
            old = self._objects.get(place)
            body["metadata"]["uid"] = str(uuid.uuid4()) if old is None else old["metadata"]["uid"]
            return web.json_response(await self._changed(place, "ADDED" if old is None else "MODIFIED", body))
        if request.method == "DELETE" and place in self._objects:
            return web.json_response(await self._changed(place, "DELETED", self._objects[place]))
        if request.method == "GET" and not place.name:
            items = [item for at, item in self._objects.items() if _fits(request, place, at, item)]
            return web.json_response({"items": items, "metadata": {"resourceVersion": str(self._version)}})
        if request.method == "GET" and place in self._objects:
            return web.json_response(self._objects[place])
        return web.json_response({"reason": "NotFound", "message": "not found", "code": 404}, status=404)

    async def _changed(self, place: _Place, what: str, manifest: Manifest) -> Manifest:
        self._version += 1
        manifest = {**manifest, "metadata": {**manifest["metadata"], "resourceVersion": str(self._version)}}
        if what == "DELETED":
            del self._objects[place]
        else:
            self._objects[place] = manifest
        async with self._has_events:
            self._events.append((place, what, manifest))
            self._has_events.notify_all()
        return manifest

    async def _watch(self, request: web.Request, place: _Place) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        after, sent = int(request.query["resourceVersion"]), 0
        while True:
            for at, what, manifest in self._events[sent:]:
                sent += 1
                is_news = int(manifest["metadata"]["resourceVersion"]) > after
                if is_news and _fits(request, place, at, manifest):
                    await answer.write(json.dumps({"type": what, "object": manifest}).encode() + b"\n")
            async with self._has_events:
                while len(self._events) == sent:
                    await self._has_events.wait()


@asynccontextmanager
async def api_server() -> AsyncIterator[tuple[StandInApiServer, KubernetesApi]]:
    server = StandInApiServer()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    api = KubernetesApi(Access(url=f"http://127.0.0.1:{runner.addresses[0][1]}"))
    try:
        yield server, api
    finally:
        await api.close()
        await runner.cleanup()


def _place(path: str) -> _Place:
    """`/apis/GROUP/VERSION/namespaces/NAMESPACE/PLURAL/NAME`, of which most may be left out."""
    parts = path.strip("/").split("/")
    group, rest = ("", parts[2:]) if parts[0] == "api" else (parts[1], parts[3:])
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    return _Place(group, rest[0], namespace, rest[1] if len(rest) > 1 else "")


def _fits(request: web.Request, asked: _Place, at: _Place, manifest: Manifest) -> bool:
    labels = manifest["metadata"].get("labels") or {}
    wanted = [each.split("=") for each in request.query.get("labelSelector", "").split(",") if each]
    return (
        (asked.group, asked.plural) == (at.group, at.plural)
        and asked.namespace in ("", at.namespace)
        and all(labels.get(key) == value for key, value in wanted)
    )
