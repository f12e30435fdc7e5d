"""`Invocations`: an event goes to a function untouched, and what came back. For surfaces that invoke by name or id."""

import asyncio
import json
import logging
import time
from collections.abc import Callable

from msgspec import Struct

from lateen.domain.errors import InvalidInput, TooLarge, Unavailable
from lateen.domain.functions import Function
from lateen.gateway.connections import Connection, UpstreamFailed, UpstreamTimedOut
from lateen.gateway.gateway import REQUEST_LIMIT, answer_limit_s
from lateen.gateway.pool import ConnectFailed, Pool
from lateen.ports.deployer import Deployer, Endpoint
from lateen.services.functions import Functions
from lateen_invoker.ids import new_request_id
from lateen_invoker.signing import REQUEST_ID, SIGNATURE, SOURCE, sign

log = logging.getLogger(__name__)

TARGET = "/_lateen/invoke"
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


class Invocations:
    def __init__(
        self, *, functions: Functions, deployer: Deployer, pool: Pool, now: Callable[[], float] = time.time
    ) -> None:
        self._functions = functions
        self._deployer = deployer
        self._pool = pool
        self._now = now

    async def invoke(
        self, function: Function, event: bytes, *, log_tail: bool = False, client_context: str | None = None
    ) -> Answer:
        """Args:
            event: JSON, passed on byte for byte; empty stands for `{}`.
            client_context: Base64 of JSON, as `X-Amz-Client-Context` has it.
        Raises: `TooLarge`, `InvalidInput`, `Unavailable` (`NotRunning` says why); nothing was executed then.
        """
        if len(event) > REQUEST_LIMIT:
            raise TooLarge(f"Request must be smaller than {REQUEST_LIMIT} bytes for the InvokeFunction operation")
        request_id = new_request_id()
        lines = f"content-length: {len(event)}\r\n"
        if log_tail:
            lines += "x-amz-log-type: Tail\r\n"
        if client_context:
            if len(client_context) > CONTEXT_LIMIT or not (client_context.isascii() and client_context.isprintable()):
                raise InvalidInput("X-Amz-Client-Context", f"Base64, at most {CONTEXT_LIMIT} characters")
            lines += f"x-amz-client-context: {client_context}\r\n"
        endpoint, connection = await self._connect(function)
        complete = False
        try:
            connection.start(signed_head(endpoint, "POST", TARGET, request_id, lines, now_s=self._now()) + event)
            connection.deadline_s = asyncio.get_running_loop().time() + answer_limit_s(function.timeout_s)
            body = await whole_body(connection, ANSWER_LIMIT)
            complete = True
        except UpstreamFailed as exc:
            log.warning(
                "invocation not answered by its invoker",
                extra={"function": function.id, "request_id": request_id, "outcome": str(exc)},
            )
            if isinstance(exc, UpstreamTimedOut):
                return _failed(504, "Gateway Timeout", "Lateen.Timeout", request_id)
            return _failed(502, "Internal Server Error", "Lateen.ConnectionLost", request_id)
        finally:
            headers, status = dict(connection.headers), connection.status
            self._pool.release(connection, sent=complete)
        return Answer(
            status=status,
            body=body,
            request_id=request_id,
            function_error=_text(headers.get(b"x-amz-function-error")),
            executed_version=_text(headers.get(b"x-amz-executed-version")),
            log_result=_text(headers.get(b"x-amz-log-result")),
        )

    async def _connect(self, function: Function) -> tuple[Endpoint, Connection]:
        deployment = self._functions.deployment_for(function)
        for after_s in (0.0, 0.02, 0.1):
            await asyncio.sleep(after_s)
            endpoint = await self._deployer.endpoint(deployment)
            try:
                return endpoint, await self._pool.acquire(endpoint)
            except ConnectFailed:
                continue
        raise Unavailable("the function's invoker does not answer")


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


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


def _failed(status: int, message: str, error_type: str, request_id: str) -> Answer:
    document = {"message": message, "errorType": error_type, "requestId": request_id}
    return Answer(status=status, body=json.dumps(document, separators=(",", ":")).encode(), request_id=request_id)
