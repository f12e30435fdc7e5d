"""Answers that go to their callers as they come: by a function's URL, or as AWS's event stream.

A piece is written to the caller's socket when the runtime has said it. While a caller takes no more, nothing is read
from the runtime either: what lies here is what one read has brought. A caller that left holds nobody back; as on AWS
the function goes on, and what it says is dropped.
"""

import base64
import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from lateen_invoker import event_stream, function_url
from lateen_invoker.function_url import PRELUDE_END, PRELUDE_TYPE, InvalidAnswer
from lateen_invoker.http_port import Request
from lateen_invoker.invocations import STREAM_LIMIT, Invocation, Outcome

PRELUDE_LIMIT = 128 * 1024
CHUNK = 256 * 1024
"""Bytes of an event stream's message, of an answer that came as a whole."""
Reply = Callable[[Invocation, Outcome], None]


class AnswerStream(ABC):
    """One answer on its way out. A subclass says how it is written down."""

    def __init__(self, request: Request) -> None:
        self._connection = request.connection
        self._request = request
        self._source: Any = None
        self._is_begun = False
        """The caller has its head."""
        self._holds = False
        self._is_free = False
        self._size = 0

    # What the environment calls

    def piece(self, piece: bytes, media_type: str, source: Any) -> bool:
        if self._source is None:
            self._source = source
        elif source is not self._source:
            return True  # of one that nothing would hold back
        self._size += len(piece)
        if self._size > STREAM_LIMIT:
            return False
        if not self._connection.is_lost:
            self._write(piece, media_type)
            if self._is_begun and self._connection.is_full:
                self.hold()
        return True

    def release(self) -> None:
        self._is_free = True
        self.go_on()

    # What the caller's connection calls

    def hold(self) -> None:
        if not self._holds and not self._is_free and self._source is not None and not self._source.is_closing():
            self._holds = True
            self._source.pause_reading()

    def go_on(self) -> None:
        if self._holds:
            self._holds = False
            if not self._source.is_closing():
                self._source.resume_reading()

    def left(self) -> None:
        self.release()

    @abstractmethod
    def _write(self, piece: bytes, media_type: str) -> None:
        """To the caller, who is still there."""


class UrlStream(AnswerStream):
    """A function URL's answer, of InvokeMode RESPONSE_STREAM.

    Args:
        whole: answers with an answer that didn't come as a stream, or with a failure.
        head: the function's header lines made into those that the caller gets.
    """

    def __init__(
        self,
        request: Request,
        *,
        request_id: str,
        whole: Reply,
        failed: Callable[[str, str], None],
        head: Callable[[bytes], bytes],
    ) -> None:
        super().__init__(request)
        self._request_id = request_id
        self._whole = whole
        self._failed = failed
        self._head = head
        self._prelude: bytearray | None = None
        self._is_stream = False
        self._fault = ""

    def done(self, invocation: Invocation, outcome: Outcome) -> None:
        """The invocation's `reply`."""
        self.release()
        invocation.stream = None  # or each would keep the other, and the connection
        is_lost = self._connection.is_lost
        is_headless = self._prelude is not None and not self._is_begun
        if outcome.kind == "answer" and is_headless and not self._fault and not is_lost:
            self._fail("the prelude has no end")
        if self._fault:
            invocation.log += f"[ERROR] The answer can't be sent: {self._fault}\n".encode()
        elif is_lost:
            return
        elif not self._is_begun:
            self._whole(invocation, outcome)
        elif outcome.kind == "answer":
            self._connection.end(self._request)
        else:
            self._connection.cut()

    def _write(self, piece: bytes, media_type: str) -> None:
        if self._is_begun:
            self._connection.piece(piece)
        elif not self._fault:
            try:
                self._begin(piece, media_type)
            except InvalidAnswer as exc:
                self._fail(str(exc))

    def _begin(self, piece: bytes, media_type: str) -> None:
        """Head and first piece, once all of the head is known. Raises: `InvalidAnswer`."""
        if not self._is_stream:
            self._is_stream = True
            if media_type.startswith(PRELUDE_TYPE):
                self._prelude = bytearray()
        if self._prelude is None:
            answer, rest = function_url.without_prelude(media_type), piece
        else:
            before = len(self._prelude)
            self._prelude += piece
            at = self._prelude.find(PRELUDE_END, max(0, before - len(PRELUDE_END) + 1))
            if max(at, 0) > PRELUDE_LIMIT or (at < 0 and len(self._prelude) > PRELUDE_LIMIT):
                raise InvalidAnswer(f"the prelude has more than {PRELUDE_LIMIT} bytes")
            if at < 0:
                return
            answer = function_url.from_prelude(bytes(self._prelude[:at]))
            rest = bytes(self._prelude[at + len(PRELUDE_END) :])
        self._is_begun = True
        self._connection.begin(self._request, answer.status, self._head(answer.head), self._request_id, self)
        self._connection.piece(rest)

    def _fail(self, fault: str) -> None:
        self._fault = fault
        self._failed(self._request_id, "InvalidAnswer")


class EventStream(AnswerStream):
    """The answer of InvokeWithResponseStream: messages `PayloadChunk`, and one `InvokeComplete`.

    Args:
        head: header lines beside the type.
        refused: answers who was not run at all.
        log_of: the tail of the log, where the caller wants it.
    """

    def __init__(
        self,
        request: Request,
        *,
        request_id: str,
        head: bytes,
        refused: Reply,
        log_of: Callable[[Invocation], bytes],
    ) -> None:
        super().__init__(request)
        self._request_id = request_id
        self._head = b"content-type: %b\r\n%b" % (event_stream.CONTENT_TYPE.encode(), head)
        self._refused = refused
        self._log_of = log_of

    def done(self, invocation: Invocation, outcome: Outcome) -> None:
        """The invocation's `reply`."""
        self.release()
        invocation.stream = None  # or each would keep the other, and the connection
        if outcome.kind == "refused":
            self._refused(invocation, outcome)
            return
        self._begin()
        complete: dict[str, str] = {}
        if outcome.kind == "error":
            details = outcome.body.decode("utf-8", "replace")
            complete = {"ErrorCode": outcome.error_type, "ErrorDetails": details}
        else:
            for at in range(0, len(outcome.body), CHUNK):
                self._write(outcome.body[at : at + CHUNK], "")
        if invocation.wants_log:
            complete["LogResult"] = base64.b64encode(self._log_of(invocation)).decode()
        message = event_stream.event("InvokeComplete", json.dumps(complete).encode(), "application/json")
        self._connection.piece(message)
        self._connection.end(self._request)

    def _begin(self) -> None:
        if not self._is_begun:
            self._is_begun = True
            self._connection.begin(self._request, 200, self._head, self._request_id, self)

    def _write(self, piece: bytes, media_type: str) -> None:
        self._begin()
        if piece:
            self._connection.piece(event_stream.event("PayloadChunk", piece, "application/octet-stream"))
