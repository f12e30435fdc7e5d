"""The gateway: `/{hash}` and below, from the caller to the function's invoker and back.

A raw ASGI application, for every instruction here is paid on every call. A request goes on as it came: one write where
it is small, chunk by chunk with backpressure where it is not. Nothing is sent twice: only a connection that could not
be made is tried again, so what may have been executed never is.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any

from lateen.domain.errors import NotFound, Unauthenticated, Unavailable
from lateen.domain.functions import Function
from lateen.gateway import refusals
from lateen.gateway.connections import Connection, UpstreamFailed, UpstreamTimedOut
from lateen.gateway.heads import NO_BODY, request_head
from lateen.gateway.pool import CallerLeft, ConnectFailed, Pool
from lateen.gateway.refusals import Receive, Refusal, Send
from lateen.gateway.short_way import Application, ShortWay
from lateen.ports.deployer import Deployer, Deployment, Endpoint
from lateen.services.functions import Functions
from lateen.services.keys import Keys
from lateen_invoker.signing import SIGNATURE, SOURCE, sign

if TYPE_CHECKING:
    from prometheus_client import Metric

log = logging.getLogger(__name__)

REQUEST_LIMIT = 6 * 1024 * 1024
READ_S = 300.0
"""Time for a caller to take an answer that is larger than our buffers."""
QUEUE_S = 10.0
SLACK_S = 5.0
ROUTES = 10_000
SIGNED = 1_000
_RECONNECT_AFTER_S = (0.0, 0.02, 0.1)
_HEX = b"0123456789abcdef"
_BODY_HEADERS = frozenset({b"content-length", b"transfer-encoding"})


def answer_limit_s(timeout_s: int) -> float:
    """When the invoker must have answered: it lets a caller queue for the longer of 10 s and the timeout, then runs the
    event for the timeout at most."""
    return max(QUEUE_S, timeout_s) + timeout_s + SLACK_S


class Gateway:
    """`Gateway.handles` tells which requests are its own."""

    def __init__(
        self,
        *,
        functions: Functions,
        keys: Keys,
        deployer: Deployer,
        pool: Pool,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._functions = functions
        self._keys = keys
        self._deployer = deployer
        self._pool = pool
        self._now = now
        self._routes: dict[bytes, Deployment] = {}
        self._changes = 0
        self._signed: dict[Signed, bytes] = {}
        self._signed_at_s = 0
        self._answers: Counter[int] = Counter()
        self.short_way = ShortWay(self)
        functions.subscribe(self._changed)

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
        try:
            url_hash = scope["raw_path"][1:33]
            deployment = self._routes.get(url_hash) or await self._find(url_hash)
            if not deployment.open:
                await self._check_key(deployment, scope)
            await self._forward(deployment, scope, receive, send)
        except Refusal as refusal:
            await self._refuse(send, refusal)
        except asyncio.CancelledError:
            await self._refuse(send, refusals.stopping())

    async def _refuse(self, send: Send, refusal: Refusal) -> None:
        self._answers[refusal.status] += 1
        await refusals.send_refusal(send, refusal)

    def collect(self) -> "Iterator[Metric]":
        """For a `prometheus_client` registry."""
        from prometheus_client.core import CounterMetricFamily

        family = CounterMetricFamily(
            "lateen_gateway_answers", "Calls of function URLs, by HTTP status.", labels=["status"]
        )
        for status, count in sorted(self._answers.items()):
            family.add_metric([str(status)], count)
        yield family

    # What the short way asks for

    def open_route(self, url_hash: bytes) -> Deployment | None:
        """Of a function that asks for no key, where it is known already."""
        deployment = self._routes.get(url_hash)
        return deployment if deployment is not None and deployment.open else None

    def connection_now(self, deployment: Deployment) -> tuple[Endpoint, Connection] | None:
        """Where there is one without waiting."""
        endpoint = self._deployer.endpoint_now(deployment)
        connection = self._pool.idle(endpoint) if endpoint is not None else None
        if endpoint is None or connection is None:
            return None
        connection.deadline_s = asyncio.get_running_loop().time() + answer_limit_s(deployment.timeout_s)
        return endpoint, connection

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
        self._answers[status] += 1

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

    # Routes

    def _changed(self, function: Function) -> None:
        self._changes += 1
        self._routes.pop(function.hash.encode(), None)

    async def _find(self, url_hash: bytes) -> Deployment:
        changes = self._changes
        try:
            function = await self._functions.at_url(url_hash.decode())
        except NotFound:
            raise refusals.not_found() from None
        except Unavailable as exc:
            raise refusals.unavailable() from exc
        deployment = self._functions.deployment_for(function)
        if changes == self._changes:  # else what was read may be older than what was changed meanwhile
            if len(self._routes) >= ROUTES:
                del self._routes[next(iter(self._routes))]
            self._routes[url_hash] = deployment
        return deployment

    async def _check_key(self, deployment: Deployment, scope: Any) -> None:
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

    async def _forward(self, deployment: Deployment, scope: Any, receive: Receive, send: Send) -> None:
        length = _body_length(scope["headers"])
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
        endpoint, connection = await self._connect(deployment)
        head = self._head(deployment, endpoint, scope, length)
        if more:
            connection.start(head + _framed(body, length))
            rest = _send_rest(connection, receive, len(body), length)
        else:
            connection.start(head + body, head_only=scope["method"] == "HEAD")
            rest = None
        await self._relay(deployment, connection, receive, send, rest)

    async def _relay(
        self,
        deployment: Deployment,
        connection: Connection,
        receive: Receive,
        send: Send,
        rest: Coroutine[Any, Any, bool] | None = None,
    ) -> None:
        """Pass the answer on and give the connection back. `rest`: sends what is left of the request."""
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
            self._answers[status] += 1
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

    async def _connect(self, deployment: Deployment) -> tuple[Endpoint, Connection]:
        """Wakes the function if it sleeps. A refused connection was that of an invoker that has just ended."""
        for after_s in _RECONNECT_AFTER_S:
            if after_s:
                await asyncio.sleep(after_s)
            try:
                endpoint = await self._deployer.endpoint(deployment)
                return endpoint, self._pool.idle(endpoint) or await self._pool.connect(endpoint)
            except ConnectFailed:
                continue
            except Unavailable as exc:
                refusal = refusals.unavailable()
                log.warning(
                    "no endpoint",
                    extra={
                        "function": deployment.function_id,
                        "request_id": refusal.request_id,
                        "reason": str(exc),
                    },
                )
                raise refusal from exc
        raise refusals.unavailable()

    def _head(self, deployment: Deployment, endpoint: Endpoint, scope: Any, length: int | None) -> bytes:
        method: str = scope["method"]
        query: bytes = scope["query_string"]
        target: bytes = scope["raw_path"] + b"?" + query if query else scope["raw_path"]
        client, server = scope["client"], scope["server"]
        own = self.own_lines(endpoint, (method, target, client and client[0], scope["scheme"], server and server[1]))
        # A key of ours stays here: user code never sees one. Where none is asked for, the header is the function's.
        return request_head(method, target, scope["headers"], length=length, own=own, keeps_key=not deployment.open)


Signed = tuple[str, bytes, str | None, str, int | None]
"""Method, target, the caller's address, scheme, our port: what a signature says of a call."""


def _own_lines(key: bytes, call: Signed, now_s: int) -> bytes:
    method, target, client, scheme, port = call
    source = "" if client is None else f"{client} {scheme} {port or ''}"
    signature = sign(key, method=method, target=target.decode("latin-1"), source=source, request_id="", now_s=now_s)
    return f"{SIGNATURE}: {signature}\r\n{SOURCE}: {source}\r\n".encode("latin-1")


def _body_length(headers: list[tuple[bytes, bytes]]) -> int | None:
    """Bytes of the body by `Content-Length`; None: it is chunked; or `NO_BODY`."""
    for name, value in headers:
        if name in _BODY_HEADERS:
            return int(value) if name == b"content-length" and value.isdigit() else None
    return NO_BODY


async def _part(receive: Receive) -> tuple[bytes, bool]:
    # How long a caller may take for it is the server's business, which tells us that the caller left.
    message = await receive()
    if message["type"] != "http.request":
        raise CallerLeft("the caller left")
    return message.get("body", b""), message.get("more_body", False)


async def _send_rest(connection: Connection, receive: Receive, received: int, length: int | None) -> bool:
    """Whether the body was sent to its end: an invoker that answers before that does not want the rest."""
    more = True
    while more and not connection.has_head:
        part, more = await _part(receive)
        received += len(part)
        if received > REQUEST_LIMIT:
            raise refusals.too_large(REQUEST_LIMIT)
        if part:
            await connection.send(_framed(part, length))
    if length is None and not more:
        await connection.send(b"0\r\n\r\n")
    return not more


def _framed(part: bytes, length: int | None) -> bytes:
    """As it is, or as a chunk where the length is not known."""
    return part if length is not None or not part else b"%x\r\n%b\r\n" % (len(part), part)
