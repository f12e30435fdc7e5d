"""The edge: what happens to every request to the management surfaces before and after Litestar.

In this order: a request id, whose page asks and by which name, the key, then the application. Without a key there is
nothing but the paths in `PUBLIC`, whatever the method and whether or not there is such a path. The pages below `/ui`
have sessions of their own, and call the API as everybody does. Whatever goes wrong, the answer is a problem, and
exactly one line in the log and one count in the metrics say how it ended.
"""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any
from urllib.parse import unquote_to_bytes

from lateen.api.docs import ASSET_PATHS
from lateen.api.metrics import Metrics
from lateen.api.origins import Headers, Origins, is_preflight, preflight_headers
from lateen.api.problems import Refusal, internal, refusal_from, send_problem, unauthenticated
from lateen.domain.access import Caller
from lateen.domain.errors import LateenError
from lateen.logs import request_id
from lateen_invoker.ids import new_request_id

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]

HEALTH = frozenset({"/health", "/health/live", "/health/ready"})
PUBLIC = HEALTH | {"/docs", "/redoc", "/openapi.json"} | ASSET_PATHS
"""What needs no key, path by path; all else does."""

PAGES = "/ui"

_REQUEST_ID = re.compile(r"^[A-Za-z0-9._:-]{1,128}\Z")
_SECURITY: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
_DEFAULTS: Headers = [
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]


class CallerLeft(Exception):
    """Nobody waits for the answer any more."""


class Edge:
    def __init__(
        self,
        app: App,
        *,
        authenticate: Callable[[str], Awaitable[Caller]],
        origins: Origins,
        metrics: Metrics,
    ) -> None:
        self.pages: App | None = None
        """What serves `PAGES` and all below. Set later, because it calls the API through this."""
        self._app = app
        self._authenticate = authenticate
        self._origins = origins
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: Headers = scope["headers"]
        rid = _request_id(headers)
        token = request_id.set(rid)
        # Litestar writes into the scope; uvicorn looks into its own to know that HEAD has no body.
        inner: Scope = {**scope, "state": {**(scope.get("state") or {}), "request_id": rid}}
        if scope["method"] == "HEAD":
            inner["method"] = "GET"
            inner["state"]["is_head"] = True
        answer = _Answer(send, rid, is_head=scope["method"] == "HEAD")
        begin_s = time.perf_counter()
        self._metrics.in_flight.inc()
        try:
            await self._serve(inner, headers, receive, answer)
        except CallerLeft:
            answer.status = answer.status or 499
        except asyncio.CancelledError:
            # Lateen stops and this took longer than a stop may.
            await _refuse(answer, Refusal("unavailable", "Lateen is stopping", headers={"Connection": "close"}))
        except Exception as exc:
            await _refuse(answer, _refusal_of(exc))
        finally:
            self._metrics.in_flight.dec()
            self._finished(inner, answer.status, time.perf_counter() - begin_s)
            request_id.reset(token)

    async def _serve(self, scope: Scope, headers: Headers, receive: Receive, answer: "_Answer") -> None:
        path = scope["path"]
        _check_target(scope)
        if path not in HEALTH:
            answer.headers += self._origins.check(headers)
            if is_preflight(scope["method"], headers):
                await answer({"type": "http.response.start", "status": 204, "headers": preflight_headers()})
                await answer({"type": "http.response.body", "body": b""})
                return
        if self.pages is not None and (path == PAGES or path.startswith(f"{PAGES}/")):
            await self.pages(scope, receive, answer)
            return
        if path == "/" and self.pages is not None and _is_person(scope, headers):
            start = {"type": "http.response.start", "status": 303, "headers": [(b"location", PAGES.encode())]}
            await answer(start)
            await answer({"type": "http.response.body", "body": b""})
            return
        if path not in PUBLIC:
            secret = _bearer(headers)
            scope["state"]["caller"] = await self._authenticate(secret)
            # An answer that takes long asks again, for the key may be revoked meanwhile.
            scope["state"]["recheck"] = partial(self._authenticate, secret)
        await self._app(scope, receive, answer)

    def _finished(self, scope: Scope, status: int, seconds: float) -> None:
        route = scope.get("path_template") or "other"
        method = scope["method"]
        self._metrics.finished(method=method, route=route, status=status, seconds=seconds)
        caller: Caller | None = scope["state"].get("caller")
        facts: dict[str, Any] = {
            "method": method,
            "path": scope["path"][:200],
            "route": route,
            "status": status,
            "duration_ms": round(seconds * 1000, 2),
        }
        if caller is not None:
            facts["key_id"] = caller.key_id
        log.log(logging.DEBUG if scope["path"] in HEALTH else logging.INFO, "request finished", extra=facts)


class _Answer:
    """`send`, with what every answer carries."""

    def __init__(self, send: Send, rid: str, *, is_head: bool) -> None:
        self._send = send
        self._is_head = is_head
        self.headers: Headers = [(b"x-request-id", rid.encode()), *_SECURITY]
        self.status = 0

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            given = [*message.get("headers", ())]
            names = {name.lower() for name, _ in given}
            defaults = [header for header in _DEFAULTS if header[0] not in names]
            message = {**message, "headers": [*given, *defaults, *self.headers]}
        elif self._is_head:
            message = {**message, "body": b""}
        await self._send(message)


async def _refuse(answer: _Answer, refusal: Refusal) -> None:
    if answer.status:
        # The head is out. Ending without the rest closes the connection, so that nobody takes a part for the whole.
        log.warning("answer cut", extra={"status": answer.status})
        return
    await send_problem(answer, refusal)


def _refusal_of(exc: Exception) -> Refusal:
    if isinstance(exc, Refusal):
        return exc
    if isinstance(exc, LateenError):
        return refusal_from(exc)
    log.error("request failed", exc_info=exc)
    return internal()


def _is_person(scope: Scope, headers: Headers) -> bool:
    """Whether a browser asks for a page on behalf of whoever typed the address."""
    names = dict(headers)
    return scope["method"] == "GET" and b"text/html" in names.get(b"accept", b"") and b"authorization" not in names


def _request_id(headers: Headers) -> str:
    for name, value in headers:
        if name == b"x-request-id" and _REQUEST_ID.match(text := value.decode("latin-1")):
            return text
    return new_request_id()


def _bearer(headers: Headers) -> str:
    given = [value.decode("latin-1") for name, value in headers if name == b"authorization"]
    if not given:
        raise unauthenticated("an API key is needed: Authorization: Bearer …")
    scheme, _, secret = given[0].partition(" ")
    if len(given) > 1 or scheme.lower() != "bearer" or not secret.strip() or len(secret) > 1024:
        raise unauthenticated("the Authorization header is not of the form: Bearer …")
    return secret.strip()


def _check_target(scope: Scope) -> None:
    """What is no text, or holds a NUL, names nothing here."""
    for part, raw in (("path", scope.get("raw_path") or b""), ("query", scope.get("query_string") or b"")):
        if not raw.isascii() or b"%" in raw:
            plain = unquote_to_bytes(raw)
            try:
                plain.decode()
            except UnicodeDecodeError:
                raise Refusal("bad-request", f"the {part} is not valid UTF-8") from None
            if b"\0" in plain:
                raise Refusal("bad-request", f"the {part} holds a NUL character")
