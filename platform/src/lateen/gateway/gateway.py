"""The gateway: `/{hash}` and below, from the caller to the function's invoker and back.

A raw ASGI application, for every instruction here is paid on every call. A request goes on as it came: one write where
it is small, chunk by chunk with backpressure where it is not.

Nothing that may have been executed is sent again, whatever its method: a handler's GET may charge a card. So a call
whose connection ends before a byte of an answer came is answered with 502, and everything is done so that no call meets
such a connection (`pool.py`). What is tried again was not executed for certain: the connection could not be made
(`connecting.py`), or the invoker said so itself, with 429 or 503 and a header of ours; then another pod is asked, once.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

from lateen.domain.errors import NotFound, Unauthenticated, Unavailable
from lateen.gateway import refusals
from lateen.gateway.bodies import REQUEST_LIMIT, body_length, framed, send_rest
from lateen.gateway.connecting import NOT_YET, Connecting, may_go_elsewhere
from lateen.gateway.connections import Connection, UpstreamFailed, UpstreamTimedOut
from lateen.gateway.counts import GatewayCounts
from lateen.gateway.heads import NO_BODY, request_head
from lateen.gateway.pool import CallerLeft
from lateen.gateway.refusals import Receive, Refusal, Send
from lateen.gateway.short_way import Application, ShortWay
from lateen.gateway.signers import signed_call
from lateen.ports.deployer import Deployment, Endpoint
from lateen.services.keys import Keys
from lateen.services.routes import Routes
from lateen_invoker import cors
from lateen_invoker.signing import SIGNATURE, SOURCE, sign
from lateen_invoker.urls import PLAIN, Cors, Said, encoded

log = logging.getLogger(__name__)

READ_S = 300.0
"""Time for a caller to take an answer that is larger than our buffers."""
QUEUE_S = 10.0
SLACK_S = 5.0
SIGNED = 1_000
_HEX = b"0123456789abcdef"
_REFUSES = frozenset({429, 503})


def answer_limit_s(timeout_s: int) -> float:
    """When the invoker must have answered: it lets a caller queue for the longer of 10 s and the timeout, then runs the
    event for the timeout at most."""
    return max(QUEUE_S, timeout_s) + timeout_s + SLACK_S


class _RefusedUnexecuted(Exception):
    """The invoker has no room, or stops."""


class Gateway:
    """`Gateway.handles` tells which requests are its own."""

    def __init__(
        self,
        *,
        routes: Routes,
        keys: Keys,
        connecting: Connecting,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._routes = routes
        self._keys = keys
        self._connecting = connecting
        self._pool = connecting.pool
        self._now = now
        self._signed: dict[Signed, bytes] = {}
        self._signed_at_s = 0
        self.counts = GatewayCounts(routes=routes, keys=keys, connecting=connecting)
        self.short_way = ShortWay(self)

    @staticmethod
    def handles(raw_path: bytes) -> bool:
        """Whether this is `/{hash}` or below. The raw path, so that there is one spelling of each URL only."""
        return (
            raw_path[33:34] in (b"", b"/")
            and len(raw_path) >= 33
            and raw_path[:1] == b"/"
            and not raw_path[1:33].translate(None, _HEX)
        )

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """One request; `scope` is of type `http` and `handles` its raw path."""
        deployment: Deployment | None = None
        try:
            url_hash, alias, said = scope["raw_path"][1:33], "", ""
            deployment = self._routes.now(url_hash)
            if deployment is None:
                deployment = await self._find(url_hash)
                if alias := self._routes.alias_of(url_hash):
                    said = encoded(Said(url=deployment.url))
            if not deployment.open:
                if deployment.url.cors is not None and await self._answer_preflight(deployment.url.cors, scope, send):
                    return
                if deployment.signed:
                    signer, receive = await signed_call(self._keys, deployment, scope, receive, now_s=self._now())
                    said = encoded(Said(url=deployment.url if alias else PLAIN, signer=signer))
                else:
                    await self._check_key(deployment, scope)
            await self._forward(deployment, scope, receive, send, alias, said)
        except Refusal as refusal:
            if deployment is not None and deployment.url.cors is not None:
                refusal.headers += _cors_headers(cors.lines_for(deployment.url.cors, _texts(scope).get("origin")))
            await self._refuse(send, refusal)
        except CallerLeft:
            pass
        except asyncio.CancelledError:
            await self._refuse(send, refusals.stopping())

    async def _answer_preflight(self, settings: Cors, scope: Any, send: Send) -> bool:
        """Browsers sign no preflight, so one is answered to everybody. False: the request is none."""
        headers = _texts(scope)
        if not cors.is_preflight(scope["method"], headers):
            return False
        lines = _cors_headers(cors.preflight(settings, headers))
        start = {"status": 200, "headers": [*lines, (b"content-length", b"0")]}
        self.counts.answers[200] += 1
        await send({"type": "http.response.start", **start})
        await send({"type": "http.response.body", "body": b""})
        return True

    async def _refuse(self, send: Send, refusal: Refusal) -> None:
        self.counts.answers[refusal.status] += 1
        await refusals.send_refusal(send, refusal)

    # What the short way asks for

    def open_route(self, url_hash: bytes) -> Deployment | None:
        """Of a function that asks for no key, where it is known already."""
        deployment = self._routes.now(url_hash)
        return deployment if deployment is not None and deployment.open else None

    def connection_now(self, deployment: Deployment) -> tuple[Endpoint, Connection] | None:
        """Where there is one without waiting."""
        if (found := self._connecting.now(deployment)) is not None:
            found[1].deadline_s = asyncio.get_running_loop().time() + answer_limit_s(deployment.timeout_s)
        return found

    def own_lines(self, endpoint: Endpoint, call: "Signed") -> bytes:
        """Our headers. The request id is left to the invoker, so equal calls within a second share these lines."""
        second = int(self._now())
        if second != self._signed_at_s or len(self._signed) >= SIGNED:
            self._signed_at_s, self._signed = second, {}
        if (own := self._signed.get(call)) is None:
            own = self._signed[call] = _own_lines(endpoint.invoke_key, call, second)
        return own

    def answered(self, connection: Connection, status: int) -> None:
        self._pool.release(connection)
        self.counts.answers[status] += 1

    def abandoned(self, connection: Connection) -> None:
        self._pool.release(connection, sent=False)

    def resumed(self, deployment: Deployment, connection: Connection) -> Application:
        """What answers a call whose request was sent."""

        async def resume(scope: Any, receive: Receive, send: Send) -> None:
            try:
                await self._relay(deployment, connection, receive, send)
            except Refusal as refusal:
                await self._refuse(send, refusal)

        return resume

    def elsewhere(self, deployment: Deployment) -> Application:
        """What answers a call that an invoker has refused."""

        async def forward(scope: Any, receive: Receive, send: Send) -> None:
            try:
                self.counts.elsewhere += 1
                await self._forward(deployment, scope, receive, send, is_second=True)
            except Refusal as refusal:
                await self._refuse(send, refusal)
            except CallerLeft:
                pass

        return forward

    # Routes

    async def _find(self, url_hash: bytes) -> Deployment:
        try:
            return await self._routes.find(url_hash)
        except NotFound:
            raise refusals.not_found() from None
        except Unavailable as exc:
            raise refusals.unavailable() from exc

    async def _check_key(self, deployment: Deployment, scope: Any) -> None:
        if deployment.closed:
            raise refusals.not_found()
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        scheme, _, secret = given[0].decode("latin-1").partition(" ") if len(given) == 1 else ("", "", "")
        if scheme.lower() != "bearer":
            raise refusals.unauthorized()
        try:
            caller = await self._keys.authenticate(secret.strip())
        except Unauthenticated:
            raise refusals.unauthorized() from None
        except Unavailable as exc:
            raise refusals.unavailable() from exc
        if not caller.sees(deployment.workspace_id):
            raise refusals.forbidden()

    # One call

    async def _forward(
        self,
        deployment: Deployment,
        scope: Any,
        receive: Receive,
        send: Send,
        alias: str = "",
        said: str = "",
        *,
        is_second: bool = False,
    ) -> None:
        """Args:
        alias: by which the version is addressed.
        said: of the call, to the invoker (`lateen_invoker.urls`).
        is_second: a pod has refused this call.
        """
        length = body_length(scope["headers"])
        body, more = b"", False
        if length != NO_BODY:
            if length is not None and length > REQUEST_LIMIT:
                raise refusals.too_large(REQUEST_LIMIT)
            # How long a caller may take for its body is the server's business, which tells us that the caller left.
            message = await receive()
            if message["type"] != "http.request":
                return
            body, more = message.get("body", b""), message.get("more_body", False)
            if not more:
                length = len(body)
            if len(body) > REQUEST_LIMIT:
                raise refusals.too_large(REQUEST_LIMIT)
        # A caller whose body is still on its way can't be watched, for what comes next may be a part of it.
        watch = None if more else receive
        endpoint, connection = await self._connect(deployment, watch, fresh=is_second)
        head = self._head(deployment, endpoint, scope, length, alias, said)
        if more:
            connection.start(head + framed(body, length))
            rest = send_rest(connection, receive, len(body), length)
            await self._relay(deployment, connection, receive, send, rest)
            return
        is_head = scope["method"] == "HEAD"
        connection.start(head + body, head_only=is_head)
        try:
            await self._relay(deployment, connection, receive, send, may_refuse=not is_second)
        except _RefusedUnexecuted:
            self.counts.elsewhere += 1
            endpoint, connection = await self._connect(deployment, receive, fresh=True)
            connection.start(self._head(deployment, endpoint, scope, length, alias, said) + body, head_only=is_head)
            await self._relay(deployment, connection, receive, send)

    async def _relay(
        self,
        deployment: Deployment,
        connection: Connection,
        receive: Receive,
        send: Send,
        rest: Coroutine[Any, Any, bool] | None = None,
        *,
        may_refuse: bool = False,
    ) -> None:
        """Pass the answer on and give the connection back.

        Args:
            rest: sends what is left of the request.
            may_refuse: the call can be sent to another pod if this one has not executed it.
        Raises: `_RefusedUnexecuted`, where it may.
        """
        sent, started, released = rest is None, False, False
        try:
            if rest is not None:
                sent = await rest
            if sent:
                connection.receive = receive
            now_s = asyncio.get_running_loop().time()
            connection.deadline_s = now_s + answer_limit_s(deployment.timeout_s)
            await connection.head()
            status, headers = connection.status, connection.headers
            if may_refuse and status in _REFUSES and may_go_elsewhere(deployment, connection):
                raise _RefusedUnexecuted
            if connection.is_complete:
                # The whole answer is here: the connection is free before a slow caller has taken its answer.
                body = connection.taken()
                self._pool.release(connection, sent=sent)
                started = released = True
                await send({"type": "http.response.start", "status": status, "headers": headers})
                await send({"type": "http.response.body", "body": body})
            else:
                connection.deadline_s = max(connection.deadline_s, now_s + READ_S)
                started = more = True
                await send({"type": "http.response.start", "status": status, "headers": headers})
                while more:
                    body, more = await connection.chunk()
                    await send({"type": "http.response.body", "body": body, "more_body": more})
            self.counts.answers[status] += 1
        except CallerLeft:
            pass
        except asyncio.CancelledError:
            # Lateen stops, and this took longer than a stop may. As below, an answer that has begun is left as it is.
            if not started:
                raise refusals.stopping() from None
        except UpstreamFailed as exc:
            refusal = refusals.too_slow() if isinstance(exc, UpstreamTimedOut) else refusals.lost()
            request_id = refusals.request_id_in(connection.headers) if started else refusal.request_id
            log.warning(
                "call not answered by its invoker",
                extra={"function": deployment.function_id, "request_id": request_id, "outcome": str(exc)},
            )
            # Once an answer has begun, its end can only be missing: the server closes the connection.
            if not started:
                raise refusal from exc
        finally:
            if not released:
                self._pool.release(connection, sent=sent)

    async def _connect(
        self, deployment: Deployment, watch: Receive | None, *, fresh: bool
    ) -> tuple[Endpoint, Connection]:
        """Wakes the function if it sleeps, and waits for it while it is away and the caller is there.

        Args:
            watch: tells when the caller leaves.
            fresh: over a connection that leads to a pod of its own choice.
        Raises: `CallerLeft`.
        """
        if not fresh and (found := self._connecting.now(deployment)) is not None:
            return found
        try:
            try:
                return await self._connecting.attempt(deployment, fresh=fresh)
            except NOT_YET:
                return await self._connecting.wait_while(deployment, watch, is_there=self._find)
        except Unavailable as exc:
            refusal = refusals.unavailable()
            log.warning(
                "no endpoint",
                extra={"function": deployment.function_id, "request_id": refusal.request_id, "reason": str(exc)},
            )
            raise refusal from exc

    def _head(
        self, deployment: Deployment, endpoint: Endpoint, scope: Any, length: int | None, alias: str, said: str
    ) -> bytes:
        method: str = scope["method"]
        query: bytes = scope["query_string"]
        target: bytes = scope["raw_path"] + b"?" + query if query else scope["raw_path"]
        client, server = scope["client"], scope["server"]
        call = (method, target, client and client[0], scope["scheme"], server and server[1])
        # An alias's are made for each call; the short way, which is what sharing them is for, it can't take.
        if alias or said:
            own = _own_lines(endpoint.invoke_key, call, int(self._now()), f" {alias} {said}" if said else f" {alias}")
        else:
            own = self.own_lines(endpoint, call)
        # A key of ours stays here: user code never sees one. Where none is asked for, the header is the function's.
        return request_head(method, target, scope["headers"], length=length, own=own, keeps_key=not deployment.open)


Signed = tuple[str, bytes, str | None, str, int | None]
"""Method, target, the caller's address, scheme, our port: what a signature says of a call."""


def _own_lines(key: bytes, call: Signed, now_s: int, more: str = "") -> bytes:
    """`more`: further parts of the source, each after a space."""
    method, target, client, scheme, port = call
    source = "" if client is None else f"{client} {scheme} {port or ''}"
    if more:
        source = f"{source or '  '}{more}"
    signature = sign(key, method=method, target=target.decode("latin-1"), source=source, request_id="", now_s=now_s)
    return f"{SIGNATURE}: {signature}\r\n{SOURCE}: {source}\r\n".encode("latin-1")


def _texts(scope: Any) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def _cors_headers(lines: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """Header lines as a server wants them."""
    pairs = (line.partition(b": ") for line in lines.splitlines())
    return tuple((name, value) for name, _, value in pairs)
