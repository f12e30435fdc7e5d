"""`POST /api/functions/{id}/invocations`: one event to a function, and its answer, both as they are. Or without waiting
for an answer.

A function that fails is told from a platform that does: 424, with the function's type, message and trace, which the
caller may see because it has a key.
"""

from typing import Annotated, Any, Literal

import msgspec
from litestar import Controller, Response, post
from litestar.params import FromPath, HeaderParameter, QueryParameter

from lateen.api.dependencies import CallerDep, UseCasesDep
from lateen.api.invoking import Invoked
from lateen.api.problems import FunctionError, Refusal, invalid
from lateen.api.requests import EVENT_LIMIT, LateenRequest
from lateen.api.views.events import AcceptedView
from lateen.domain.events import EVENT_LIMIT_BYTES
from lateen.domain.versions import QUALIFIER

ERROR_HEADER = "X-Lateen-Function-Error"
VERSION_HEADER = "X-Lateen-Executed-Version"
Qualifier = Annotated[
    str | None,
    QueryParameter(pattern=QUALIFIER, description="`$LATEST`, which it is if absent, a version's number, or an alias."),
]
Type = Annotated[
    Literal["request", "event"] | None,
    QueryParameter(
        name="type",
        description="`request` waits for the answer. `event` doesn't: the event is stored, run at least once, and "
        "again where the function fails.",
    ),
]
AwsType = Annotated[
    Literal["RequestResponse", "Event"] | None,
    HeaderParameter(name="X-Amz-Invocation-Type", description="The same, in AWS's words; `type` goes first."),
]
_syntax = msgspec.json.Decoder(msgspec.Raw)
_document = msgspec.json.Decoder(dict[str, Any])


class InvocationController(Controller):
    path = "/api/functions"
    tags = ("Invocations",)

    @post(
        "/{function_id:str}/invocations",
        summary="Give a function one event",
        operation_id="invokeFunction",
        status_code=200,
    )
    async def invoke(
        self,
        request: LateenRequest,
        function_id: FromPath[str],
        use_cases: UseCasesDep,
        caller: CallerDep,
        qualifier: Qualifier = None,
        type_: Type = None,
        aws_type: AwsType = None,
    ) -> Response[bytes]:
        """The body is the event, any JSON, and reaches the function untouched; none is `{}`. The answer is the
        function's. If the function fails the answer is 424 with its error's type, message and trace.

        With `type=event` the answer is 202, with the event's request id, as soon as the event is stored."""
        function = (await use_cases.functions.get(caller, function_id)).function
        if type_ == "event" or (type_ is None and aws_type == "Event"):
            event = await request.raw(EVENT_LIMIT_BYTES)
            _check_event(event)
            await use_cases.aliases.resolve(function, qualifier)  # refuses what is not there
            request_id = await use_cases.events.accept(function, event, qualifier=qualifier)
            body = msgspec.json.encode(AcceptedView(request_id=request_id))
            headers = {"X-Amzn-RequestId": request_id}
            return Response(body, status_code=202, media_type="application/json", headers=headers)
        event = await request.raw(EVENT_LIMIT)
        _check_event(event)
        # Drawn when the event is there: an alias that is moved meanwhile leads elsewhere.
        version = await use_cases.aliases.resolve(function, qualifier)
        invoked = await use_cases.invoker.invoke(version, event, qualifier=qualifier)
        headers = {"X-Amzn-RequestId": invoked.request_id} if invoked.request_id else {}
        if invoked.executed_version:
            headers[VERSION_HEADER] = invoked.executed_version
        if invoked.status != 200:
            raise _refused(invoked)
        if invoked.function_error is not None:
            raise _failed(invoked.body, headers)
        return Response(invoked.body, media_type="application/json", headers=headers)


def _check_event(event: bytes) -> None:
    if not event:
        return
    try:
        _syntax.decode(event)
        event.decode()
    except UnicodeError as exc:
        raise invalid("body", "not valid UTF-8") from exc
    except RecursionError as exc:
        raise invalid("body", "nested too deeply") from exc
    except msgspec.MsgspecError as exc:
        raise invalid("body", "the event is not JSON") from exc


def _refused(invoked: Invoked) -> Refusal:
    """No answer of the function's."""
    if invoked.status == 429:
        text = "all environments of the function are busy and its queue is full"
        if b"ReservedFunctionConcurrent" in invoked.body:
            text = "the function runs as many events as its reserved concurrency allows"
        return Refusal("too-many-requests", text, headers={"Retry-After": "1"})
    if invoked.status == 413:
        return Refusal("too-large", f"the event has more than {EVENT_LIMIT} bytes")
    if invoked.status == 502:
        return Refusal("lost", "the function's process ended while it had the event; how far it came is not known")
    if invoked.status == 504:
        return Refusal("function-timeout", "the function's process did not answer in time")
    return Refusal("unavailable", "the function does not run at the moment", headers={"Retry-After": "1"})


def _failed(body: bytes, headers: dict[str, str]) -> Refusal:
    """From the document that the runtime posted, which user code may have made: any JSON, or none."""
    try:
        document = _document.decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        document = {}
    trace = document.get("stackTrace", document.get("trace"))
    error = FunctionError(
        type=_text(document.get("errorType")) or "Error",
        message=_text(document.get("errorMessage")),
        trace=[_text(line) for line in trace] if isinstance(trace, list) else [],
    )
    printable = error.type.isascii() and error.type.isprintable() and len(error.type) <= 128
    headers = {**headers, ERROR_HEADER: error.type if printable else "Error"}
    return Refusal("function-error", f"{error.type}: {error.message}", error=error, headers=headers)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else msgspec.json.encode(value).decode()
