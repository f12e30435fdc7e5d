"""Connections to invokers: kept alive, one request at a time each, dropped at the first doubt.

A response is parsed as it arrives. A connection goes back to the pool only when its request was sent whole and its
answer was read whole; a caller that leaves, a late byte or an answer nobody asked for ends it, so that nobody ever
reads another caller's answer.
"""

import asyncio
import math
import select
from typing import Any, cast

import httptools

from lateen.gateway.heads import NOT_PASSED_BACK, REFUSED
from lateen_invoker.writes import write_now

HIGH_WATER = 256 * 1024
HEAD_LIMIT = 256 * 1024
"""Bytes that may arrive before the end of an answer's head."""


class UpstreamFailed(Exception):
    """The invoker's side ended, broke the protocol or took too long."""


class UpstreamTimedOut(UpstreamFailed):
    """No answer before the deadline."""


class Connection(asyncio.Protocol):
    """One connection. `deadline_s` and `idle_since_s` are the loop's clock, for the pool's sweep."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._fd = -1
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._reading_paused = False
        self._writing_paused = False
        self.failure: UpstreamFailed | None = None
        self.address: Any = None
        """The pool's."""
        self.call: Any = None
        """Who takes the first bytes of the answer as they are; `short_way.Call`."""
        self.receive: Any = None
        """The caller's side, once all of the request was read: what comes next can only be that the caller left."""
        self.watcher: asyncio.Task[None] | None = None
        self.deadline_s = math.inf
        self.idle_since_s = 0.0
        self.retires_at_s = math.inf
        self._poll: select.poll | None = None
        self._reset(head_only=False)
        self._expecting = False

    def _reset(self, *, head_only: bool) -> None:
        self._expecting = True
        self._spoiled = False
        self._keeps_alive = False
        self._head_only = head_only
        self._head_bytes = 0
        self._chunks: list[bytes] = []
        self._buffered = 0
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.has_head = False
        self.is_complete = False
        self.is_refused = False
        """The invoker says that it has not executed the call."""

    # What the gateway calls

    @property
    def is_usable(self) -> bool:
        return self.failure is None and self._transport is not None

    def is_silent(self) -> bool:
        """Whether nothing has arrived that was not noticed yet: what comes to an idle connection is its end."""
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self._fd, select.POLLIN | select.POLLHUP | select.POLLERR)
        return not self._poll.poll(0)

    def start(self, data: bytes, *, head_only: bool = False) -> None:
        """Send the request's first bytes, the whole request where it is small. `head_only`: the method is HEAD."""
        assert self._transport is not None
        self._reset(head_only=head_only)
        write_now(self._transport, self._fd, data)

    def start_call(self, data: bytes, call: Any) -> None:
        """As `start`, with the whole request. `call` gets the answer if it comes in one piece, else it has to go on."""
        self.start(data)
        self.call = call

    async def send(self, data: bytes) -> None:
        """Further bytes of the request; waits while the invoker does not take them."""
        assert self._transport is not None
        if self.failure is not None:
            raise self.failure
        self._transport.write(data)
        if self._writing_paused:
            self._writable = self._loop.create_future()
            try:
                await self._writable
            finally:
                self._writable = None

    async def head(self) -> None:
        """Wait for `status` and `headers`, those without what concerns this hop only. Raises: `UpstreamFailed`."""
        while not self.has_head:
            if self.failure is not None:
                raise self.failure
            self._waiter = self._loop.create_future()
            await self._waiter

    async def chunk(self) -> tuple[bytes, bool]:
        """Body bytes and whether more follow. Raises: `UpstreamFailed` when the rest will not come."""
        while not self._chunks and not self.is_complete:
            if self.failure is not None:
                raise self.failure
            self._waiter = self._loop.create_future()
            await self._waiter
        data = self.taken()
        if self._reading_paused and self._transport is not None:
            self._reading_paused = False
            self._transport.resume_reading()
        return data, not self.is_complete

    def taken(self) -> bytes:
        """The body bytes that are here; all that are left where `is_complete`."""
        chunks = self._chunks
        self._buffered = 0
        if len(chunks) == 1:
            return chunks.pop()
        data = b"".join(chunks)
        chunks.clear()
        return data

    def fail(self, failure: UpstreamFailed) -> None:
        """End it now; who waits on it gets `failure`."""
        if self.failure is None:
            self.failure = failure
        if self._transport is not None:
            self._transport.abort()
        self._wake()

    def recycle(self) -> bool:
        """Whether it may carry another request; what it held of the last one is let go."""
        reusable = self.is_usable and self.is_complete and not self._spoiled and self._keeps_alive
        if reusable and self._head_only:
            # The parser still waits for the body that an answer to HEAD announces and does not have.
            self._parser = httptools.HttpResponseParser(self)
        self._chunks.clear()
        self.deadline_s = math.inf
        self.idle_since_s = self._loop.time()
        return reusable

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the interface and not the base class.
        self._transport = cast("asyncio.Transport", transport)
        self._fd = transport.get_extra_info("socket").fileno()

    def data_received(self, data: bytes) -> None:
        if self.call is not None:
            call, self.call = self.call, None
            # Said before it is known: whom it is given back to looks at it.
            self.is_complete = self._keeps_alive = True
            self._expecting = False
            if call.received(data):
                return
            self.is_complete = self._keeps_alive = False
            self._expecting = True
            self.call = call
        if not self.has_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.fail(UpstreamFailed("the invoker's answer is not HTTP"))
            return
        if self._spoiled or (not self.has_head and self._head_bytes > HEAD_LIMIT):
            # Nobody can tell any more what of it is the answer, so none of it is.
            self.has_head = self.is_complete = False
            self._chunks.clear()
            self.fail(UpstreamFailed("the invoker sent what was not asked for"))
            return
        if self._buffered > HIGH_WATER and not self._reading_paused and self._transport is not None:
            self._reading_paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        # At once, for the end of the transport comes an iteration later, and nobody may take this one meanwhile.
        self._closed()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed()
        self.resume_writing()

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    # What the parser calls

    def on_message_begin(self) -> None:
        if not self._expecting:
            self._spoiled = True
        self._expecting = False

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name not in NOT_PASSED_BACK:
            self.headers.append((name, value))
        elif name == REFUSED:
            self.is_refused = True

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if not 200 <= self.status <= 599:
            self._spoiled = True
            return
        # Asked here, for at the end of a message the parser has forgotten how it was framed.
        self._keeps_alive = self._parser.should_keep_alive()
        self.has_head = True
        if self._head_only:
            self.is_complete = True

    def on_body(self, data: bytes) -> None:
        if self.is_complete:
            self._spoiled = True
            return
        self._chunks.append(data)
        self._buffered += len(data)

    def on_message_complete(self) -> None:
        self.is_complete = True

    def _closed(self) -> None:
        if self.failure is None:
            self.failure = UpstreamFailed("the invoker closed the connection")
        self._wake()

    def _wake(self) -> None:
        if self.call is not None:
            call, self.call = self.call, None
            call.go_on()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
