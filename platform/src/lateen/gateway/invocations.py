"""`Invocations`: an event goes to a function untouched, and what came back. For surfaces that invoke by name or id."""

import asyncio
import json
import logging
import time
from collections.abc import Callable

from msgspec import Struct

from lateen.domain.errors import InvalidInput, TooLarge, Unavailable
from lateen.domain.functions import Function
from lateen.domain.versions import check_qualifier
from lateen.gateway.bodies import REQUEST_LIMIT
from lateen.gateway.connecting import Connecting, may_go_elsewhere
from lateen.gateway.connections import Connection, UpstreamFailed, UpstreamTimedOut
from lateen.gateway.gateway import READ_S, answer_limit_s
from lateen.gateway.pool import Pool
from lateen.gateway.refusals import Receive
from lateen.ports.deployer import Deployment, Endpoint
from lateen.services.functions import Functions
from lateen_invoker.ids import new_request_id
from lateen_invoker.signing import REQUEST_ID, SIGNATURE, SOURCE, sign

log = logging.getLogger(__name__)

TARGET, STREAM_TARGET = "/_lateen/invoke", "/_lateen/stream"
ANSWER_LIMIT = 16 * 1024 * 1024
"""An invoker answers 6 MiB and 100 bytes at most; more than this is not an invoker."""
CONTEXT_LIMIT = 16 * 1024


class Answer(Struct, frozen=True, kw_only=True):
    """`status` 200: the function ran, and `body` is what its runtime posted. Else nothing of the function's is in here:
    429 (no room), 502 (the invoker was lost while it had the call) or 504."""

    status: int
    body: bytes
    request_id: str
    function_error: str | None = None
    """`Unhandled`: `body` is the error document."""
    executed_version: str | None = None
    log_result: str | None = None
    """Base64 of the last 4 KB of the log, where it was asked for."""


class Streamed:
    """AWS's event stream on its way from an invoker. Whoever has it closes it."""

    def __init__(self, connection: Connection, pool: Pool, deployment: Deployment, request_id: str) -> None:
        self._connection = connection
        self._pool = pool
        self._deployment = deployment
        self.request_id = request_id
        headers = dict(connection.headers)
        self.content_type = _text(headers.get(b"content-type")) or ""
        self.executed_version = _text(headers.get(b"x-amz-executed-version"))

    def watch(self, receive: Receive) -> None:
        """End it when the caller leaves, which `receive` tells."""
        self._connection.receive = receive

    async def next(self) -> tuple[bytes, bool]:
        """Bytes, and whether more follow. Raises: `Unavailable` when the rest will not come."""
        try:
            return await self._connection.chunk()
        except UpstreamFailed as exc:
            _not_answered(self._deployment, self.request_id, exc)
            raise Unavailable("the answer has no end") from exc

    def close(self) -> None:
        self._pool.release(self._connection, sent=self._connection.is_complete)


class Invocations:
    def __init__(self, *, functions: Functions, connecting: Connecting, now: Callable[[], float] = time.time) -> None:
        self._functions = functions
        self._connecting = connecting
        self._pool = connecting.pool
        self._now = now

    async def invoke(
        self,
        function: Function,
        event: bytes,
        *,
        qualifier: str | None = None,
        log_tail: bool = False,
        client_context: str | None = None,
        request_id: str | None = None,
    ) -> Answer:
        """Args:
            function: the version.
            qualifier: by what that was addressed, if by anything.
            event: JSON, passed on byte for byte; empty stands for `{}`.
            client_context: Base64 of JSON, as `X-Amz-Client-Context` has it.
            request_id: where it has one already.
        Raises: `TooLarge`, `InvalidInput`, `Unavailable` (`NotRunning` says why); nothing was executed then.
        """
        request_id = request_id or new_request_id()
        target = _target(TARGET, qualifier)
        lines = _lines(event, log_tail=log_tail, client_context=client_context)
        deployment = self._functions.deployment_for(function)
        answer = await self._sent(deployment, target, event, lines, request_id, fresh=False)
        if answer is None:
            answer = await self._sent(deployment, target, event, lines, request_id, fresh=True)
        assert answer is not None
        return answer

    async def stream(
        self,
        function: Function,
        event: bytes,
        *,
        qualifier: str | None = None,
        log_tail: bool = False,
        client_context: str | None = None,
    ) -> "tuple[int, Streamed | None]":
        """As `invoke`, with the answer as it comes.

        Returns: 200 and the answer, or the status of an `Answer` that has nothing of the function's in it.
        """
        request_id = new_request_id()
        target = _target(STREAM_TARGET, qualifier)
        lines = _lines(event, log_tail=log_tail, client_context=client_context)
        deployment = self._functions.deployment_for(function)
        answer = await self._begun(deployment, target, event, lines, request_id, fresh=False)
        if answer is None:
            answer = await self._begun(deployment, target, event, lines, request_id, fresh=True)
        assert answer is not None
        return answer

    async def _begun(
        self, deployment: Deployment, target: str, event: bytes, lines: str, request_id: str, *, fresh: bool
    ) -> "tuple[int, Streamed | None] | None":
        """As `_sent`."""
        endpoint, connection = await self._connecting.connection(deployment, fresh=fresh)
        streamed = None
        try:
            connection.start(signed_head(endpoint, "POST", target, request_id, lines, now_s=self._now()) + event)
            now_s = asyncio.get_running_loop().time()
            connection.deadline_s = now_s + max(answer_limit_s(deployment.timeout_s), READ_S)
            await connection.head()
            if connection.status == 200:
                streamed = Streamed(connection, self._pool, deployment, request_id)
                return 200, streamed
            await whole_body(connection, ANSWER_LIMIT)
            return None if not fresh and may_go_elsewhere(deployment, connection) else (connection.status, None)
        except UpstreamFailed as exc:
            return _not_answered(deployment, request_id, exc).status, None
        finally:
            if streamed is None:
                self._pool.release(connection, sent=connection.is_complete)

    async def _sent(
        self, deployment: Deployment, target: str, event: bytes, lines: str, request_id: str, *, fresh: bool
    ) -> Answer | None:
        """`fresh`: one pod has refused it. None: it was not executed, and may be by another pod."""
        endpoint, connection = await self._connecting.connection(deployment, fresh=fresh)
        complete = False
        try:
            connection.start(signed_head(endpoint, "POST", target, request_id, lines, now_s=self._now()) + event)
            connection.deadline_s = asyncio.get_running_loop().time() + answer_limit_s(deployment.timeout_s)
            body = await whole_body(connection, ANSWER_LIMIT)
            complete = True
        except UpstreamFailed as exc:
            return _not_answered(deployment, request_id, exc)
        finally:
            headers, status = dict(connection.headers), connection.status
            self._pool.release(connection, sent=complete)
        if not fresh and status != 200 and may_go_elsewhere(deployment, connection):
            return None
        return Answer(
            status=status,
            body=body,
            request_id=request_id,
            function_error=_text(headers.get(b"x-amz-function-error")),
            executed_version=_text(headers.get(b"x-amz-executed-version")),
            log_result=_text(headers.get(b"x-amz-log-result")),
        )


def signed_head(endpoint: Endpoint, method: str, target: str, request_id: str, lines: str, *, now_s: float) -> bytes:
    """A request of the platform's own. `lines`: further header lines, each ended by CRLF."""
    signature = sign(endpoint.invoke_key, method=method, target=target, source="", request_id=request_id, now_s=now_s)
    return (
        f"{method} {target} HTTP/1.1\r\nhost: lateen\r\n{SIGNATURE}: {signature}\r\n"
        f"{SOURCE}: \r\n{REQUEST_ID}: {request_id}\r\n{lines}\r\n"
    ).encode("ascii")


async def whole_body(connection: Connection, limit: int) -> bytes:
    """The answer's body. Raises: `UpstreamFailed`, also beyond `limit` bytes."""
    await connection.head()
    parts, size, more = [], 0, True
    while more:
        part, more = await connection.chunk()
        parts.append(part)
        size += len(part)
        if size > limit:
            raise UpstreamFailed("the invoker's answer is too large")
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _target(path: str, qualifier: str | None) -> str:
    if qualifier is None:
        return path
    check_qualifier(qualifier)
    return f"{path}?qualifier={qualifier}"


def _lines(event: bytes, *, log_tail: bool, client_context: str | None) -> str:
    """Header lines of a call. Raises: `TooLarge`, `InvalidInput`."""
    if len(event) > REQUEST_LIMIT:
        raise TooLarge(f"Request must be smaller than {REQUEST_LIMIT} bytes for the InvokeFunction operation")
    lines = f"content-length: {len(event)}\r\n"
    if log_tail:
        lines += "x-amz-log-type: Tail\r\n"
    if client_context:
        if len(client_context) > CONTEXT_LIMIT or not (client_context.isascii() and client_context.isprintable()):
            raise InvalidInput("X-Amz-Client-Context", f"Base64, at most {CONTEXT_LIMIT} characters")
        lines += f"x-amz-client-context: {client_context}\r\n"
    return lines


def _not_answered(deployment: Deployment, request_id: str, exc: UpstreamFailed) -> Answer:
    log.warning(
        "invocation not answered by its invoker",
        extra={"function": deployment.function_id, "request_id": request_id, "outcome": str(exc)},
    )
    if isinstance(exc, UpstreamTimedOut):
        return _failed(504, "Gateway Timeout", "Lateen.Timeout", request_id)
    return _failed(502, "Internal Server Error", "Lateen.ConnectionLost", request_id)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


def _failed(status: int, message: str, error_type: str, request_id: str) -> Answer:
    document = {"message": message, "errorType": error_type, "requestId": request_id}
    return Answer(status=status, body=json.dumps(document, separators=(",", ":")).encode(), request_id=request_id)
