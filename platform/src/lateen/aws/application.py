"""The AWS Lambda API as one ASGI application: signature, address, constraints, operation, and the answer's shape.

In this order, so that nothing is looked at for who has no valid key. The one exception is `Code.Location`, whose
address is itself signed by us.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any, Protocol

import msgspec
from anyio import to_thread

from lateen.aws import identity
from lateen.aws.calls import Answer, Call, Handler, Stream
from lateen.aws.code_urls import PREFIX as CODE
from lateen.aws.code_urls import CodeUrls
from lateen.aws.errors import AwsError, error_from, request_too_large, service_error, unknown_operation
from lateen.aws.function_requests import REQUEST_LIMIT
from lateen.aws.model import lambda_model
from lateen.aws.parameters import parameters_of
from lateen.aws.references import Place
from lateen.aws.routing import Routed, Router, is_dated
from lateen.aws.validation import check
from lateen.domain import sigv4
from lateen.domain.access import PLATFORM, Caller
from lateen.domain.errors import LateenError
from lateen.domain.sigv4 import Signable, SignatureRefused
from lateen.domain.workspaces import DEFAULT_ID
from lateen.logs import request_id as log_request_id
from lateen.ports.objects import ObjectNotFound
from lateen.services.keys import Keys
from lateen.services.workspaces import Workspaces
from lateen_invoker.ids import new_request_id

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

BODY_LIMIT = 1024 * 1024
EVENT_LIMIT = 6 * 1024 * 1024
_LIMITS = {
    "CreateFunction": REQUEST_LIMIT,
    "UpdateFunctionCode": REQUEST_LIMIT,
    "PublishLayerVersion": REQUEST_LIMIT,
    "Invoke": EVENT_LIMIT,
    "InvokeAsync": EVENT_LIMIT,
    "InvokeWithResponseStream": EVENT_LIMIT,
}
"""Bytes of a body; of all others `BODY_LIMIT`."""
_NAMES = {"Invoke": "InvokeFunction"}
AT_ONCE = 256 * 1024
"""Bytes of a body that the event loop hashes and decodes itself."""
_SERVICES = frozenset({"sts", "iam"})
_JSON, _XML = "application/json", "text/xml"


class Metrics(Protocol):
    """What counts requests."""

    def finished(self, *, method: str, route: str, status: int, seconds: float) -> None: ...


class CallerLeft(Exception):
    """Nobody waits for the answer any more."""


class AwsApi:
    def __init__(
        self,
        handlers: dict[str, Handler],
        *,
        keys: Keys,
        workspaces: Workspaces,
        code_urls: CodeUrls,
        region: str,
        metrics: Metrics,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Args:
        handlers: by operation; the others are unknown ones.
        """
        self._handlers = handlers
        self._keys = keys
        self._workspaces = workspaces
        self._code_urls = code_urls
        self._region = region
        self._metrics = metrics
        self._now = now
        self._model = lambda_model()
        self._router = Router(self._model)
        self._accounts: dict[str, str] = {}
        """Account ids by workspace, which never change."""

    @staticmethod
    def handles(scope: Scope) -> bool:
        """Whether a request is for this API and not for the management surfaces."""
        path: bytes = scope.get("raw_path") or scope["path"].encode()
        if is_dated(path) or path.startswith(CODE.encode()):
            return True
        return path == b"/" and sigv4.is_signed(_signable(scope))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = _Request(scope, receive, new_request_id())
        token = log_request_id.set(request.id)
        begin_s = time.perf_counter()
        reply = _Reply(send, request.id)
        try:
            await self._serve(request, reply)
        except CallerLeft:
            reply.status = reply.status or 499
        except asyncio.CancelledError:
            # Lateen stops and this took longer than a stop may.
            await self._refuse(
                request, reply, AwsError("ServiceUnavailableException", "Lateen is stopping.", status=503)
            )
        except Exception as exc:
            await self._refuse(request, reply, _error_of(exc))
        finally:
            seconds = time.perf_counter() - begin_s
            route = f"aws {request.operation}" if request.operation else "other"
            self._metrics.finished(method=scope["method"], route=route, status=reply.status, seconds=seconds)
            log.info("request finished", extra=request.facts(route, reply.status, seconds))
            log_request_id.reset(token)

    async def _serve(self, request: "_Request", reply: "_Reply") -> None:
        if request.path.startswith(CODE.encode()):
            request.operation = "Code.Location"
            await self._send_code(request, reply)
            return
        signature = sigv4.parse(request.signable)
        sigv4.check_time(signature, now_s=self._now())
        request.service = signature.service if request.path == b"/" else "lambda"
        if signature.service != request.service or (request.path == b"/" and request.service not in _SERVICES):
            text = f"Credential should be scoped to correct service: '{request.service}'. "
            raise SignatureRefused("InvalidSignatureException", text)
        if signature.security_token is not None:
            # Keys here are lasting ones, so a token is of other credentials than these.
            raise SignatureRefused(
                "UnrecognizedClientException", "The security token included in the request is invalid."
            )
        signer = await self._keys.aws_secret(signature.access_key_id)
        routed = self._router.find(request.method, request.path, request.query)
        operation = routed.operation if routed is not None else ""
        body = await request.body(_LIMITS.get(operation, BODY_LIMIT), _NAMES.get(operation, operation))
        sigv4.verify(request.signable, signature, secret=signer.secret_access_key, payload_sha256=await _sha256(body))
        request.caller = signer.caller
        workspace_id = signer.caller.workspace_id or DEFAULT_ID
        place = Place(self._region, await self._account(workspace_id))
        if request.service != "lambda":
            query = request.query.decode("latin-1")
            request.operation = request.service
            document = identity.answer(
                request.service, body, query, caller=signer.caller, place=place, request_id=request.id
            )
            await reply.send(200, document, {"content-type": _XML})
            return
        if routed is None or operation not in self._handlers:
            raise unknown_operation(operation or None)
        request.operation = operation
        call = await self._call(request, routed, body, workspace_id, place)
        answer = await self._handlers[operation](call)
        await self._answer(request, answer, reply)

    async def _call(self, request: "_Request", routed: Routed, body: bytes, workspace_id: str, place: Place) -> Call:
        operation = self._model.operations[routed.operation]

        def parameters() -> dict[str, Any]:
            found = parameters_of(self._model, operation, routed, request.signable.headers, body)
            if operation.input is not None:
                check(self._model, operation.input, found)
            return found

        assert request.caller is not None
        return Call(
            operation=routed.operation,
            parameters=parameters() if len(body) <= AT_ONCE else await to_thread.run_sync(parameters),
            body=body,
            caller=request.caller,
            workspace_id=workspace_id,
            place=place,
            request_id=request.id,
            origin=request.origin,
        )

    async def _answer(self, request: "_Request", answer: Answer, reply: "_Reply") -> None:
        status = answer.status or self._model.operations[request.operation].status
        if answer.stream is not None:
            try:
                request.watch(answer.stream)
                await reply.pass_on(answer.stream, answer.headers)
            finally:
                answer.stream.close()
            return
        body = answer.body
        if body is None:
            await reply.send(status, b"", answer.headers)
            return
        encoded = body if isinstance(body, bytes) else msgspec.json.encode(body)
        await reply.send(status, encoded, {"content-type": _JSON, **answer.headers})

    async def _account(self, workspace_id: str) -> str:
        if (account_id := self._accounts.get(workspace_id)) is None:
            account_id = (await self._workspaces.get(PLATFORM, workspace_id)).account_id
            self._accounts[workspace_id] = account_id
        return account_id

    async def _send_code(self, request: "_Request", reply: "_Reply") -> None:
        chunks = None
        if request.method in ("GET", "HEAD"):
            chunks = self._code_urls.open(request.path.decode("latin-1"), request.query.decode("latin-1"))
        if chunks is None:
            raise AwsError("AccessDeniedException", "This address is not valid, or not any more.", status=403)
        try:
            first = await anext(chunks, b"")
        except ObjectNotFound:
            raise AwsError("ResourceNotFoundException", "The code has been replaced since.", status=404) from None
        await reply.stream(first, chunks, {"content-type": "application/zip"})

    async def _refuse(self, request: "_Request", reply: "_Reply", exc: AwsError) -> None:
        if reply.status:
            log.warning("answer cut", extra={"status": reply.status})
            return
        if request.service in _SERVICES:
            body, kind = identity.error_document(request.service, exc, request.id), _XML
        else:
            body, kind = exc.body(), _JSON
        headers = {"content-type": kind, "x-amzn-errortype": exc.code}
        if exc.status in (429, 503):
            headers["retry-after"] = "1"
        if not request.is_read:
            headers["connection"] = "close"
        await reply.send(exc.status, body, headers)


class _Request:
    def __init__(self, scope: Scope, receive: Receive, request_id: str) -> None:
        self.id = request_id
        self.method: str = scope["method"]
        self.signable = _signable(scope)
        self.path, self.query = self.signable.path, self.signable.query
        self.service = "lambda"
        self.operation = ""
        self.caller: Caller | None = None
        self.is_read = False
        self._scope = scope
        self._receive = receive

    @property
    def origin(self) -> str:
        host = next((value for name, value in self.signable.headers if name == b"host"), b"")
        return f"{self._scope.get('scheme', 'http')}://{host.decode('latin-1')}"

    async def body(self, limit: int, operation: str) -> bytes:
        """Refused by its stated length before anything is read."""
        stated = next((value for name, value in self.signable.headers if name == b"content-length"), b"")
        if stated.isdigit() and (len(stated) > 18 or int(stated) > limit):
            raise request_too_large(limit, operation)
        chunks: list[bytes] = []
        size, more = 0, True
        while more:
            message = await self._receive()
            if message["type"] != "http.request":
                raise CallerLeft
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > limit:
                raise request_too_large(limit, operation)
            chunks.append(chunk)
            more = message.get("more_body", False)
        self.is_read = True
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def watch(self, stream: Stream) -> None:
        """The whole request was read: what the server still has to tell is that the caller left."""
        stream.watch(self._receive)

    def facts(self, route: str, status: int, seconds: float) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "method": self.method,
            "path": self.path.decode("latin-1")[:200],
            "route": route,
            "status": status,
            "duration_ms": round(seconds * 1000, 2),
        }
        if self.caller is not None:
            facts["key_id"] = self.caller.key_id
        return facts


class _Reply:
    """`send`, with what every answer carries."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self.status = 0

    async def send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        length = {} if status == 204 else {"content-length": str(len(body))}
        await self._start(status, headers | length)
        await self._send({"type": "http.response.body", "body": body})

    async def stream(self, first: bytes, rest: AsyncIterator[bytes], headers: dict[str, str]) -> None:
        await self._start(200, headers)
        await self._send({"type": "http.response.body", "body": first, "more_body": True})
        async for chunk in rest:
            await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
        await self._send({"type": "http.response.body", "body": b""})

    async def pass_on(self, stream: Stream, headers: dict[str, str]) -> None:
        """A body as it comes."""
        await self._start(200, headers)
        more = True
        while more:
            chunk, more = await stream.next()
            await self._send({"type": "http.response.body", "body": chunk, "more_body": more})

    async def _start(self, status: int, headers: dict[str, str]) -> None:
        self.status = status
        whole = {"x-amzn-requestid": self._request_id, "cache-control": "no-store", **headers}
        encoded = [(name.encode(), value.encode("latin-1")) for name, value in whole.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": encoded})


def _signable(scope: Scope) -> Signable:
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    return Signable(scope["method"], path, scope.get("query_string", b""), list(scope["headers"]))


async def _sha256(body: bytes) -> str:
    if len(body) <= AT_ONCE:
        return hashlib.sha256(body).hexdigest()
    return await to_thread.run_sync(lambda: hashlib.sha256(body).hexdigest())


def _error_of(exc: Exception) -> AwsError:
    if isinstance(exc, AwsError):
        return exc
    if isinstance(exc, SignatureRefused):
        return AwsError(exc.code, exc.message, status=403)
    if isinstance(exc, LateenError):
        found = error_from(exc)
        if found.status != 500:
            return found
    log.error("request failed", exc_info=exc)
    return service_error()
