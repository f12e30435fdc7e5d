"""One invocation and how it can end. The documents are those that AWS's callers know."""

import json
import time
from collections.abc import Callable
from typing import Any, Literal, Protocol

from lateen_invoker.records import ErrorDocument, Status

RESPONSE_LIMIT = 6 * 1024 * 1024 + 100
STREAM_LIMIT = 200 * 1024 * 1024
"""Of an answer that is passed on as it comes."""
ERROR_LIMIT = 1024 * 1024
ERROR_TOO_LARGE = b'{"errorType":"Error","errorMessage":"too large"}'
_OF_NO_CALL = b'"errorMessage":"RequestId:  Error: '
Kind = Literal["answer", "error", "refused"]


class Outcome:
    """What the caller gets.

    `kind`: `answer` (the function's), `error` (a function error; `body` is its JSON document), or `refused`
    (nothing ran: no room, or the platform is stopping; `body` is JSON and `status` the HTTP status).
    """

    __slots__ = ("body", "error_type", "kind", "prelude", "status")

    def __init__(
        self, kind: Kind, body: bytes, *, error_type: str = "", prelude: bool = False, status: int = 200
    ) -> None:
        self.kind = kind
        self.body = body
        self.error_type = error_type
        self.prelude = prelude
        self.status = status


class Stream(Protocol):
    """A caller that is given the answer as it comes (`streams.py`)."""

    def piece(self, piece: bytes, media_type: str, source: Any) -> bool:
        """False: that is more than an answer may have.

        Args:
            piece: empty where nothing is said yet but that the answer is a stream.
            media_type: of the answer; later pieces may leave it out.
            source: the runtime's transport, which is not read from while the caller takes no more.
        """

    def release(self) -> None:
        """Nothing holds the runtime back any more: it has ended, and what it still said is read to the end."""


class Invocation:
    """An event on its way, the caller's `reply`, and what the record will say. `_s`: Unix time; others: monotonic."""

    # What most invocations never change is the class's: a shorter way to an object with twenty fields.
    client_context = ""
    deadline = 0.0
    abandoned = False
    replied = False
    cold_reason: str | None = None
    init_duration_ms: float | None = None
    wants_log = False
    stream: Stream | None = None
    taken: Callable[[], None] | None = None
    """Called when the runtime has been given it, where somebody waits for that."""
    log = b""
    log_truncated = False
    peak_memory_kib = 0
    status: Status = "success"
    outcome: Outcome | None = None
    started_at = 0.0
    ended_at = 0.0

    def __init__(
        self,
        event: bytes,
        reply: Callable[["Invocation", Outcome], None],
        *,
        request_id: str,
        trace_id: str,
        arn: str,
        body: bytes = b"",
    ) -> None:
        self.event = event
        self.body = body
        """Text of the event's member `body`, where that is not in `event`."""
        self.reply = reply
        self.request_id = request_id
        self.trace_id = trace_id
        self.arn = arn
        self.arrived_s = time.time()
        self.queued_at = time.monotonic()

    def finish(self, outcome: Outcome) -> None:
        """Answer the caller, once; whoever comes later is too late."""
        if not self.replied:
            self.replied = True
            self.ended_at = time.monotonic()
            self.outcome = outcome
            if outcome.kind == "error":
                self.status = "timeout" if outcome.error_type == "Sandbox.Timedout" else "error"
            # Who waited knows us too: a circle would keep both, and what was printed, for a long time.
            reply, self.reply = self.reply, _nobody
            reply(self, outcome)


def _nobody(invocation: Invocation, outcome: Outcome) -> None:
    pass


def timed_out(request_id: str, timeout_s: float) -> Outcome:
    return _error("Sandbox.Timedout", f"RequestId: {request_id} Error: Task timed out after {timeout_s:.2f} seconds")


def how_runtime_ended(code: int | None, signal_name: str | None) -> str:
    if signal_name is not None:
        return f"Runtime exited with error: signal: {signal_name}"
    if code:
        return f"Runtime exited with error: exit status {code}"
    return "Runtime exited without providing a reason"


def exited(request_id: str, how: str, *, out_of_memory: bool) -> Outcome:
    """The runtime's process ended while it had an event, or before it asked for one."""
    kind = "Runtime.OutOfMemory" if out_of_memory else "Runtime.ExitError"
    return _error(kind, f"RequestId: {request_id} Error: {how}")


def extension_failed(request_id: str, error_type: str, how: str) -> Outcome:
    """An extension ended, or could not be started; `error_type` as AWS names it."""
    return _error(error_type, f"RequestId: {request_id} Error: {how}")


def too_large(limit: int = RESPONSE_LIMIT) -> Outcome:
    return _error(
        "Function.ResponseSizeTooLarge",
        f"Response payload size exceeded maximum allowed payload size ({limit} bytes).",
    )


def failed(error_type: str, document: bytes) -> Outcome:
    """The runtime reported an error; its document goes to the caller of an invoke as it is."""
    return Outcome("error", document, error_type=error_type or type_in(document))


def no_entrypoint(why: str) -> Outcome:
    """The package has no program to start."""
    return _error("Runtime.InvalidEntrypoint", f"RequestId:  Error: {why}")


def spawn_failed(request_id: str) -> Outcome:
    return _error("Runtime.StartError", f"RequestId: {request_id} Error: the runtime could not be started")


def told_to(request_id: str, init_error: Outcome) -> Outcome:
    """How an initialisation ended, for a call that waited for it: where the words are ours, they name the call."""
    body = init_error.body.replace(_OF_NO_CALL, f'"errorMessage":"RequestId: {request_id} Error: '.encode(), 1)
    return Outcome("error", body, error_type=init_error.error_type)


def throttled() -> Outcome:
    return Outcome(
        "refused",
        b'{"Reason":"ConcurrentInvocationLimitExceeded","Type":"User","message":"Rate Exceeded."}',
        error_type="TooManyRequestsException",
        status=429,
    )


def reserved() -> Outcome:
    """Of the function's reserved concurrency nothing is left."""
    return Outcome(
        "refused",
        b'{"Reason":"ReservedFunctionConcurrentInvocationLimitExceeded","Type":"User","message":"Rate Exceeded."}',
        error_type="TooManyRequestsException",
        status=429,
    )


def stopping() -> Outcome:
    return Outcome("refused", b'{"message":"Service Unavailable"}', error_type="ServiceUnavailable", status=503)


def type_in(document: bytes) -> str:
    """`errorType` of an error document, if it says one in a few plain characters, else `Error`."""
    return error_document(document).type


def error_document(document: bytes) -> ErrorDocument:
    """The parts of a runtime's error document that a record keeps, bounded; the document may be anything."""
    try:
        parsed = json.loads(document[:ERROR_LIMIT])
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict):
        return ErrorDocument("Error")
    trace = parsed.get("stackTrace", parsed.get("trace"))
    return ErrorDocument(
        safe_type(parsed.get("errorType")),
        _text(parsed.get("errorMessage", ""), 4096),
        [_text(line, 1024) for line in trace[:64]] if isinstance(trace, list) else [],
    )


def shortened(document: bytes) -> bytes:
    """The error document with no more of it than a record keeps."""
    kept = error_document(document)
    return json.dumps({"errorType": kept.type, "errorMessage": kept.message, "stackTrace": kept.trace}).encode()


def _text(value: object, limit: int) -> str:
    # JSON can say half of a surrogate pair, which no store takes.
    return str(value)[:limit].encode("utf-8", "replace").decode()


def safe_type(name: object) -> str:
    """An error type that may be shown to any caller and be counted: a few plain characters, else `Error`."""
    if (
        isinstance(name, str)
        and 0 < len(name) <= 128
        and name.isascii()
        and name.replace(".", "").replace("_", "").isalnum()
    ):
        return name
    return "Error"


def _error(error_type: str, message: str) -> Outcome:
    document = json.dumps({"errorType": error_type, "errorMessage": message}, separators=(",", ":")).encode()
    return Outcome("error", document, error_type=error_type)
