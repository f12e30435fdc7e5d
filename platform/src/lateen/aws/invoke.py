"""Invoke: one event to a function, and what it made of it, both byte for byte."""

import base64
import binascii
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import msgspec

from lateen.aws.calls import Answer, Call, Stream, operation
from lateen.aws.errors import (
    AwsError,
    conflict,
    function_not_found,
    request_too_large,
    service_error,
)
from lateen.aws.finding import Finding
from lateen.aws.references import Reference
from lateen.domain.errors import InvalidInput, NotFound, TooLarge, Unavailable
from lateen.domain.functions import LATEST, Described, Function
from lateen.services.aliases import Aliases
from lateen.services.events import Events
from lateen.services.invocables import Invocables

EVENT_LIMIT = 6 * 1024 * 1024
CONTEXT_LIMIT = 3583
_THROTTLED = ("ReservedFunctionConcurrentInvocationLimitExceeded", "ConcurrentInvocationLimitExceeded")
_syntax = msgspec.json.Decoder(msgspec.Raw)


class Invoked(Protocol):
    """What came back. `status` 200: the function ran; 429: no room; 502, 504: nobody knows how far it came."""

    @property
    def status(self) -> int: ...
    @property
    def body(self) -> bytes: ...
    @property
    def request_id(self) -> str: ...
    @property
    def function_error(self) -> str | None: ...
    @property
    def executed_version(self) -> str | None: ...
    @property
    def log_result(self) -> str | None: ...


class Streamed(Stream, Protocol):
    """The answer to InvokeWithResponseStream, whose messages come as the function makes them."""

    @property
    def request_id(self) -> str: ...
    @property
    def content_type(self) -> str: ...
    @property
    def executed_version(self) -> str | None: ...


class Invoker(Protocol):
    async def invoke(
        self,
        function: Function,
        event: bytes,
        *,
        qualifier: str | None = None,
        log_tail: bool = False,
        client_context: str | None = None,
    ) -> Invoked:
        """Raises: `TooLarge`, `InvalidInput`, `Unavailable`; nothing was executed then."""

    async def stream(
        self,
        function: Function,
        event: bytes,
        *,
        qualifier: str | None = None,
        log_tail: bool = False,
        client_context: str | None = None,
    ) -> tuple[int, Streamed | None]:
        """As `invoke`, with the answer as it comes; or the status where there is none."""


class InvokeOperations:
    def __init__(
        self, invoker: Invoker, *, finding: Finding, invocables: Invocables, aliases: Aliases, events: Events
    ) -> None:
        self._invoker = invoker
        self._invocables = invocables
        self._finding = finding
        self._aliases = aliases
        self._events = events

    @operation("Invoke", missing="TenantId and DurableExecutionName are ignored")
    async def invoke(self, call: Call) -> Answer:
        kind = call.parameters.get("InvocationType", "RequestResponse")
        reference = call.reference(qualifier=True)
        if kind == "RequestResponse" and (answer := await self._quickly(call, reference)) is not None:
            return answer
        described = await self._function(call, reference)
        _check_event(call.body)
        context = call.parameters.get("ClientContext") or None
        _check_context(context)
        version = await self._version(described.function, reference)
        if kind == "DryRun":
            return Answer(status=204)
        if kind == "Event":
            return await self._queued(call, version, reference, context)
        with_log = call.parameters.get("LogType") == "Tail"
        return await self._run(call, described, version, reference, with_log=with_log, context=context)

    @operation("InvokeWithResponseStream", missing="TenantId is ignored")
    async def invoke_with_response_stream(self, call: Call) -> Answer:
        reference = call.reference(qualifier=True)
        described = await self._function(call, reference)
        _check_event(call.body)
        context = call.parameters.get("ClientContext") or None
        _check_context(context)
        version = await self._version(described.function, reference)
        if call.parameters.get("InvocationType") == "DryRun":
            return Answer(status=204)
        with _refusals(described):
            status, streamed = await self._invoker.stream(
                version,
                call.body,
                qualifier=reference.qualifier,
                log_tail=call.parameters.get("LogType") == "Tail",
                client_context=context,
            )
        if streamed is None:
            # Nothing more is known of it; where something is reserved it is that which is used up.
            raise _not_run(status, b"" if version.reserved_concurrency is None else _THROTTLED[0].encode())
        headers = {
            "content-type": streamed.content_type,
            "x-amzn-requestid": streamed.request_id,
            "x-amz-executed-version": streamed.executed_version or LATEST,
        }
        return Answer(stream=streamed, headers=headers)

    @operation("InvokeAsync")
    async def invoke_async(self, call: Call) -> Answer:
        reference = call.reference()
        described = await self._function(call, reference)
        _check_event(call.body)
        return await self._queued(call, await self._version(described.function, reference), reference, None)

    async def _quickly(self, call: Call, reference: Reference) -> Answer | None:
        """With what is known of the function. None: there is no such function as far as that goes, and nothing of the
        call was done; who looks again knows better, or knows the refusal."""
        try:
            version = await self._invocables.find(call.workspace_id, reference.name, reference.qualifier)
        except (NotFound, InvalidInput):
            return None
        _check_event(call.body)
        context = call.parameters.get("ClientContext") or None
        _check_context(context)
        with_log = call.parameters.get("LogType") == "Tail"
        try:
            return await self._run(call, None, version, reference, with_log=with_log, context=context)
        except Unavailable:
            described = await self._function(call, reference)
            if described.function.id != version.id:  # removed, and made again, by another process
                return None
            _check_failed(described)
            raise

    async def _function(self, call: Call, reference: Reference) -> Described:
        missing = reference.place.arn(reference.name, reference.version)
        return await self._finding.draft(call, reference, missing=missing)

    async def _version(self, function: Function, reference: Reference) -> Function:
        """The one that this call goes to."""
        try:
            return await self._aliases.resolve(function, reference.qualifier)
        except (NotFound, InvalidInput):
            raise function_not_found(reference.arn) from None

    async def _queued(self, call: Call, version: Function, reference: Reference, context: str | None) -> Answer:
        try:
            request_id = await self._events.accept(
                version, call.body, qualifier=reference.qualifier, client_context=context
            )
        except TooLarge as exc:
            raise AwsError("RequestEntityTooLargeException", str(exc), status=413) from exc
        return Answer(status=202, headers={"x-amzn-requestid": request_id})

    async def _run(
        self,
        call: Call,
        described: Described | None,
        version: Function,
        reference: Reference,
        *,
        with_log: bool,
        context: str | None,
    ) -> Answer:
        with _refusals(described):
            invoked = await self._invoker.invoke(
                version, call.body, qualifier=reference.qualifier, log_tail=with_log, client_context=context
            )
        if invoked.status != 200:
            raise _not_run(invoked.status, invoked.body)
        headers = {"x-amzn-requestid": invoked.request_id, "x-amz-executed-version": invoked.executed_version or LATEST}
        if invoked.function_error is not None:
            headers["x-amz-function-error"] = invoked.function_error
        if with_log and invoked.log_result is not None:
            headers["x-amz-log-result"] = invoked.log_result
        return Answer(body=invoked.body, headers=headers)


@contextmanager
def _refusals(described: Described | None) -> Iterator[None]:
    """What was not executed at all, as AWS says it. `described`: where its status is known."""
    try:
        yield
    except TooLarge:
        raise request_too_large(EVENT_LIMIT, "InvokeFunction") from None
    except InvalidInput as exc:
        raise _bad_content(str(exc)) from exc
    except Unavailable:
        if described is not None:
            _check_failed(described)
        raise


def _check_failed(described: Described) -> None:
    """Whether it is known why it does not run. Raises: `AwsError`."""
    if described.status.state == "Failed":
        raise conflict(
            "The operation cannot be performed at this time. The function is currently in the following state: Failed"
        ) from None


def _check_event(event: bytes) -> None:
    if len(event) > EVENT_LIMIT:
        raise request_too_large(EVENT_LIMIT, "InvokeFunction")
    if not event:
        return
    try:
        _syntax.decode(event)
        event.decode()
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as exc:
        reason = str(exc) if isinstance(exc, msgspec.MsgspecError) else "not valid UTF-8, or nested too deeply"
        raise _bad_content(f"Could not parse payload into json: {reason}") from exc


def _check_context(context: str | None) -> None:
    if context is None:
        return
    try:
        if len(context) > CONTEXT_LIMIT:
            raise ValueError
        if not isinstance(msgspec.json.decode(base64.b64decode(context, validate=True)), dict):
            raise ValueError
    except (ValueError, binascii.Error, RecursionError) as exc:
        text = "Client context must be a valid Base64-encoded JSON object."
        raise AwsError("InvalidRequestContentException", text) from exc


def _bad_content(reason: str) -> AwsError:
    return AwsError("InvalidRequestContentException", f"Could not parse request body into json: {reason}")


def _not_run(status: int, body: bytes) -> AwsError:
    if status == 429:
        # The invoker's own word; nothing of the function's is in it.
        reason = next((each for each in _THROTTLED if each.encode() in body), _THROTTLED[-1])
        return AwsError("TooManyRequestsException", "Rate Exceeded.", status=429, Reason=reason)
    if status == 413:
        return request_too_large(EVENT_LIMIT, "InvokeFunction")
    if status == 503:
        return AwsError("ServiceUnavailableException", "The function does not run at the moment.", status=503)
    return service_error()
