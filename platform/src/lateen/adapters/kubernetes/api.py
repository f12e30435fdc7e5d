"""`KubernetesApi`: the few calls of the API server that a controller makes, on plain JSON objects.

Why no generated client: its models cost more CPU per object than the calls themselves, and 70 MB in the image.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import msgspec
from msgspec import Struct

from lateen.adapters.kubernetes.access import Access
from lateen.adapters.kubernetes.kinds import POD, Kind, Manifest, Ref, ref_of

FIELD_MANAGER = "lateen-controller"
CALL_S = 10.0
PARALLEL = 128
"""Calls at a time, watches not counted."""
WATCH_S = 300
"""The API server ends a watch after this long; then it is begun again where it ended."""
SILENCE_S = 90
"""A server that is there says something on a watch about once a minute, if nothing else then a bookmark."""
PAGE = 500
_APPLY = "application/apply-patch+yaml"  # JSON is YAML
_JSON = "application/json"


class ApiError(Exception):
    """The API server said no, or nothing."""


class ApiRefused(ApiError):
    """It said no; the same call again would be refused again unless something changes."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message or reason or f"status {status}")
        self.status = status
        self.reason = reason


class ApiUnavailable(ApiError):
    """No answer, or one that says: later."""

    def __init__(self, message: str, *, said: str = "") -> None:
        """Args:
        said: why just this is not done, in words that users may read. Empty: it may as well be the whole server.
        """
        super().__init__(message)
        self.said = said


class VersionTooOld(ApiError):
    """A watch can't go on from there; list again."""


class Event(Struct, frozen=True):
    """Of a watch."""

    type: str
    object: Manifest


class Page(Struct, frozen=True):
    """Some of what is listed."""

    objects: list[Manifest]
    version: str
    """Of the whole list."""


class _Status(Struct):
    message: str = ""
    reason: str = ""
    code: int = 0


class KubernetesApi:
    def __init__(
        self, access: Access, *, parallel: int = PARALLEL, call_s: float = CALL_S, silence_s: float = SILENCE_S
    ) -> None:
        self._access = access
        self._parallel = parallel
        self._call_s = call_s
        self._silence_s = silence_s
        self._session: aiohttp.ClientSession | None = None
        self._watches: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        for session in (self._session, self._watches):
            if session is not None:
                await session.close()
        self._session = self._watches = None

    async def get(self, ref: Ref) -> Manifest | None:
        """None: there is none."""
        try:
            found: Manifest = await self._call("GET", ref.path)
            return found
        except ApiRefused as exc:
            if exc.status == 404:
                return None
            raise

    async def create(self, manifest: Manifest, *, within_s: float | None = None) -> Manifest:
        """Raises: `ApiRefused` with status 409 if it is there."""
        ref = ref_of(manifest)
        path, params = ref.kind.path(ref.namespace or None), {"fieldManager": FIELD_MANAGER}
        made: Manifest = await self._call(
            "POST", path, params=params, body=manifest, content_type=_JSON, within_s=within_s
        )
        return made

    async def apply(self, manifest: Manifest, *, within_s: float | None = None) -> Manifest:
        """Server-side apply: make it, or make our fields as they are here, whoever has changed them."""
        made: Manifest = await self._call(
            "PATCH",
            ref_of(manifest).path,
            params={"fieldManager": FIELD_MANAGER, "force": "true"},
            body=manifest,
            content_type=_APPLY,
            within_s=within_s,
        )
        return made

    async def replace(self, manifest: Manifest, *, within_s: float | None = None) -> Manifest:
        """By its `resourceVersion`. Raises: `ApiRefused` with status 409 if it was changed since."""
        params = {"fieldManager": FIELD_MANAGER}
        path = ref_of(manifest).path
        made: Manifest = await self._call(
            "PUT", path, params=params, body=manifest, content_type=_JSON, within_s=within_s
        )
        return made

    async def delete(self, ref: Ref, *, uid: str | None = None, within_s: float | None = None) -> bool:
        """And what it owns, in the background. What isn't there is no error; False then.

        Args:
            uid: only if it is this very object.
        """
        options: Manifest = {"propagationPolicy": "Background"}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        try:
            await self._call("DELETE", ref.path, body=options, content_type=_JSON, within_s=within_s)
        except ApiRefused as exc:
            if exc.status == 404 or (exc.status == 409 and uid is not None):
                return False
            raise
        return True

    async def list(self, kind: Kind, namespace: str | None, *, selector: str) -> tuple[list[Manifest], str]:
        """Returns: the objects, and the version from which `watch` goes on. Raises: `VersionTooOld`."""
        objects: list[Manifest] = []
        async for page in self.pages(kind, namespace, selector=selector):
            objects += page.objects
            version = page.version
        return objects, version

    async def pages(self, kind: Kind, namespace: str | None, *, selector: str) -> AsyncIterator[Page]:
        """The same a few hundred at a time, at least one page; whoever empties each never holds two."""
        params = {"labelSelector": selector, "limit": str(PAGE)}
        while True:
            try:
                page = await self._call("GET", kind.path(namespace), params=params)
            except ApiRefused as exc:
                if exc.status == 410:
                    raise VersionTooOld(str(exc)) from exc
                raise
            metadata, items = page["metadata"], page.pop("items", None) or ()
            objects = [{"apiVersion": kind.version, "kind": kind.name, **item} for item in items]
            del items
            yield Page(objects, metadata["resourceVersion"])
            if not (after := metadata.get("continue")):
                return
            params["continue"] = after

    async def log(self, namespace: str, pod: str, container: str, *, within_s: float) -> AsyncIterator[bytes]:
        """What a container has printed, and what it prints until it ends."""
        if self._watches is None:
            self._watches = self._new_session(limit=0)
        timeout = aiohttp.ClientTimeout(total=within_s, sock_connect=self._call_s)
        path, params = f"{POD.path(namespace, pod)}/log", {"container": container, "follow": "true"}
        try:
            async with self._watches.get(
                self._access.url + path, params=params, headers=self._headers(), timeout=timeout
            ) as answer:
                if answer.status != 200:
                    raise _error(answer.status, await answer.read())
                async for chunk in answer.content.iter_any():
                    yield chunk
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise ApiUnavailable(f"log of {pod}: {exc!r}") from exc

    async def watch(
        self, kind: Kind, namespace: str | None, *, version: str, selector: str = "", field_selector: str = ""
    ) -> AsyncIterator[Event]:
        """Changes after `version`, bookmarks among them, until the server ends the watch, or says nothing any more, as
        one does that vanished. Raises: `VersionTooOld`.
        """
        params = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_S),
            "resourceVersion": version,
            "labelSelector": selector,
            "fieldSelector": field_selector,
        }
        if self._watches is None:
            self._watches = self._new_session(limit=0)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._call_s, sock_read=self._silence_s)
        try:
            async with self._watches.get(
                self._access.url + kind.path(namespace), params=params, headers=self._headers(), timeout=timeout
            ) as answer:
                if answer.status != 200:
                    raise _error(answer.status, await answer.read())
                rest = b""
                async for chunk in answer.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        event = _event_decoder.decode(line)
                        if event.type == "ERROR":
                            raise _watch_error(event.object)
                        yield event
        except aiohttp.SocketTimeoutError:
            return
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError) as exc:
            raise ApiUnavailable(f"watch of {kind.plural}: {exc!r}") from exc

    async def _call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Manifest | None = None,
        content_type: str = "",
        within_s: float | None = None,
    ) -> Any:
        if self._session is None:
            self._session = self._new_session(limit=self._parallel)
        headers = self._headers()
        if content_type:
            headers["Content-Type"] = content_type
        data = None if body is None else msgspec.json.encode(body)
        limit_s = self._call_s if within_s is None else min(within_s, self._call_s)
        try:
            async with asyncio.timeout(limit_s):
                async with self._session.request(
                    method, self._access.url + path, params=params, data=data, headers=headers
                ) as answer:
                    content = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise ApiUnavailable(f"{method} {path}: {exc!r}") from exc
        if answer.status >= 400:
            raise _error(answer.status, content)
        try:
            return msgspec.json.decode(content)
        except msgspec.DecodeError as exc:
            raise ApiUnavailable(f"{method} {path}: the answer is no JSON") from exc

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": _JSON, "User-Agent": FIELD_MANAGER}
        try:
            token = self._access.bearer()
        except OSError as exc:
            raise ApiUnavailable(f"no token: {exc}") from exc
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        return headers

    def _new_session(self, *, limit: int) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(ssl=self._access.tls(), limit=limit)
        return aiohttp.ClientSession(
            connector=connector, timeout=aiohttp.ClientTimeout(total=None), cookie_jar=aiohttp.DummyCookieJar()
        )


def _error(status: int, content: bytes) -> ApiError:
    try:
        said = _status_decoder.decode(content)
    except msgspec.DecodeError:
        said = _Status(message=content[:200].decode("utf-8", "replace"))
    if status == 410:
        return VersionTooOld(said.message)
    # 409 for an apply means that a namespace is going away, or a race with another writer: both pass.
    if status in (408, 429) or status >= 500:
        return ApiUnavailable(f"{status} {said.message}", said=said.message if status == 500 else "")
    return ApiRefused(status, said.reason, said.message)


def _watch_error(status: Manifest) -> ApiError:
    if status.get("code") == 410:
        return VersionTooOld(status.get("message", ""))
    return ApiUnavailable(f"the watch ended: {status.get('message')}")


_event_decoder = msgspec.json.Decoder(Event)
_status_decoder = msgspec.json.Decoder(_Status)
