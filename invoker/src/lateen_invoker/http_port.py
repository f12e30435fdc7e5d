"""The invoker's HTTP port, without what it serves: clients, messages, limits and deadlines.

An `asyncio.Protocol` on httptools, because an ASGI server between the socket and the pool costs as much as everything
else together. Head and body are written in one call.

What requests hold is counted for the whole port, from their heads until the runtime has the event, and who comes
beyond the bound is refused; small ones are not counted. So are answers that their callers do not read: beyond the bound
who has not read for longest is cut off.
"""

import asyncio
import json
import socket
import struct
import time
from collections import deque
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Protocol

import httptools

from lateen_invoker import signing
from lateen_invoker.invocations import Invocation, throttled
from lateen_invoker.metrics import Metrics
from lateen_invoker.room import most_in, room_on_this_machine
from lateen_invoker.writes import write_now

BODY_LIMIT = 6 * 1024 * 1024
# More than the platform's server takes, which adds lines of its own.
HEAD_LIMIT = 128 * 1024
HEADERS_LIMIT = 300
HEAD_DEADLINE_S = 10.0
BODY_DEADLINE_S = 60.0
BODY_BYTES_PER_S = 16 * 1024
"""The slowest caller that is waited for, beyond the time that each has anyhow; as at the platform's server."""
ANSWER_DEADLINE_S = 300.0
"""For a caller to read what it has not read when the function has answered."""
KEEP_ALIVE_S = 75.0
LINGER_S, LINGER_BYTES = 1.0, 64 * 1024 * 1024
CONNECTIONS_LIMIT = 4096
# Head and body of a request that is not counted; and of one that may take what is kept from larger ones.
FREE, SMALL = 8 * 1024, 64 * 1024
JSON = b"content-type: application/json\r\n"
REFUSED = JSON + f"{signing.REFUSED}: 1\r\n".encode()
_PIPELINE_LIMIT = 16
# What a request takes here that has to wait for those before it on its connection, beside its bytes.
_PIPELINED = 1024
# Of what a client does not read so much lies in the kernel, where it is the container's memory too, and not counted.
_UNSENT, _UNSENT_OPTION = 256 * 1024, getattr(socket, "TCP_NOTSENT_LOWAT", None)
# What is read at once at most.
_READ = 256 * 1024
_SWEEP_S = 1.0
_NAMES_LIMIT = 256
_NO_BODY = (204, 304)
_CHUNKED, _UNTIL_CLOSED, _WITHOUT_BODY = "chunked", "until closed", "without a body"
_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}


class Flow(Protocol):
    """Who sends an answer in pieces, as its connection sees it."""

    def hold(self) -> None:
        """The client takes no more at the moment."""

    def go_on(self) -> None:
        """It does again."""

    def left(self) -> None:
        """There is no client any more."""


class Port:
    """The listening port, before and after there is a function behind it."""

    def __init__(self, request: "type[Request]", *, keep_alive_s: float = KEEP_ALIVE_S) -> None:
        self.new_request = request
        self.keep_alive_s = keep_alive_s
        """How long a connection over TCP may be idle."""
        self.front: Any = None
        """What requests are for; None before there is a function."""
        self.connections: set[Connection] = set()
        self.platform_pid = 0
        """The process that may use the Unix socket."""
        self.strangers = 0
        """Connections over TCP, which any process of the machine can open."""
        self.room = room_on_this_machine(1)
        """Bytes that may be held of requests, and of answers that are not read."""
        self.metrics = Metrics()
        """Where both are counted, and what came of it."""
        self.readers: dict[Connection, float] = {}
        """Those whose clients take no more at the moment, and since when; the first for longest."""
        self.is_closing = False
        self._servers: list[asyncio.Server] = []
        self._loop = asyncio.get_running_loop()
        self._sweep: asyncio.TimerHandle | None = None

    async def listen(self, unix: socket.socket | None = None, *, platform_pid: int = 0) -> int:
        """Listen on a free port of 127.0.0.1, which is returned, and on a Unix socket, which costs its user less.

        Args:
            platform_pid: the process that may use the Unix socket, as `process_behind` tells it.
        """
        self.platform_pid = platform_pid
        server = await self._loop.create_server(lambda: Connection(self), "127.0.0.1", 0, backlog=1024)
        self._servers.append(server)
        if unix is not None:
            self._servers.append(await self._loop.create_unix_server(lambda: Connection(self), sock=unix))
        return int(server.sockets[0].getsockname()[1])

    async def serve(self, sockets: Iterable[socket.socket]) -> None:
        """Listen on these, which are bound."""
        for sock in sockets:
            self._servers.append(await self._loop.create_server(lambda: Connection(self), sock=sock, backlog=1024))

    @property
    def is_quiet(self) -> bool:
        """No request is answered, or on its way in."""
        return all(connection.is_quiet for connection in self.connections)

    def wind_down(self) -> None:
        """Go on with everything, but have each answer end its connection."""
        self.is_closing = True

    def stop_listening(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()

    def watch(self) -> None:
        """Keep deadlines of clients while there are any."""
        if self._sweep is None:
            self._sweep = self._loop.call_later(_SWEEP_S, self._sweep_connections)

    def close(self) -> None:
        self.is_closing = True
        self.stop_listening()
        for connection in list(self.connections):
            connection.close_when_idle()

    def cut_readers(self) -> None:
        """Let those go who have not read for longest, until what is left may be held."""
        metrics = self.metrics
        while metrics.request_bytes + metrics.unread_bytes > self.room and self.readers:
            next(iter(self.readers)).cut_off()

    def _sweep_connections(self) -> None:
        self._sweep = None
        now = self._loop.time()
        for connection in list(self.connections):
            connection.check_deadline(now)
        if self.connections:
            self.watch()


class Connection(asyncio.Protocol):
    __slots__ = (
        "_arriving", "_body", "_body_seen", "_body_size", "_cookie", "_discarded", "_fd", "_flow", "_framing",
        "_head_size", "_headers", "_is_answered", "_is_reading_body", "_loop", "_parser", "_port", "_queue", "_refused",
        "_running", "_since", "_transport", "_unread", "_url", "_without_body", "held", "is_full", "peer",
    )  # fmt: skip

    def __init__(self, port: Port) -> None:
        self._port = port
        self._loop = port._loop
        self._parser: Any = httptools.HttpRequestParser(self)
        self._transport: Any = None
        self._fd = -1
        self.peer = ""
        self._queue: deque[tuple[Request, int]] = deque()
        """And how much of the port's room each holds."""
        self._running: Request | None = None
        """Until its answer has been written, and until the client takes more again."""
        self._is_answered = False
        """The one that is running is, and the client has to read."""
        self.held = 0
        """How much of the port's room the one that is running holds."""
        self._arriving = 0
        """And the one that is on its way in."""
        self._unread = 0
        self._since = self._loop.time()
        self._url = b""
        self._headers: dict[str, str] = {}
        self._cookie: str | None = None
        self._body: bytes | bytearray = b""
        self._body_size = 0
        self._head_size = 0
        self._without_body = 0
        """Bytes of reads that ended within it and brought nothing of its body: of a line that has not ended the parser
        says nothing, and keeps it."""
        self._body_seen = 0
        self._is_reading_body = False
        self._refused = False
        self._discarded = 0
        self._flow: Flow | None = None
        self._framing = ""
        self.is_full = False
        """The client takes no more at the moment."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        sock = transport.get_extra_info("socket")
        self._fd = sock.fileno()
        address = transport.get_extra_info("peername")
        if isinstance(address, tuple):
            self.peer = str(address[0])
            self._port.strangers += 1
            if _UNSENT_OPTION is not None:
                sock.setsockopt(socket.IPPROTO_TCP, _UNSENT_OPTION, _UNSENT)
        elif sock.family == socket.AF_UNIX and process_behind(sock) != self._port.platform_pid:
            # What comes this way has neither limits nor deadlines, and its address is open to the whole machine.
            transport.close()
            return
        self._port.connections.add(self)
        if self._port.strangers > CONNECTIONS_LIMIT:
            transport.close()
            return
        self._port.watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._port.connections.discard(self)
        self._parser = None  # it knows us too, and a circle would keep both, and the last body, for a long time
        if self.peer:
            self._port.strangers -= 1
        # The caller left: nothing waits for this answer any more, and the environment is none the worse for it.
        if self._running is not None:
            self._running.body = b""
            if self._running.invocation is not None:
                self._running.invocation.abandoned = True
        self.release()
        self._let_go()
        self._has_read()
        if self._flow is not None:
            flow, self._flow = self._flow, None
            flow.left()

    def pause_writing(self) -> None:
        self.is_full = True
        self._port.readers[self] = self._loop.time()
        self._count_unread()
        if self._flow is not None:
            self._flow.hold()

    def resume_writing(self) -> None:
        self.is_full = False
        self._has_read()
        if self._flow is not None:
            self._flow.go_on()
        elif self._is_answered and not self._transport.is_closing():
            self._is_answered = False
            assert self._running is not None
            self._answered(self._running.keep_alive and not self._refused)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            self._discarded += len(data)
            if self._discarded > LINGER_BYTES:
                self._transport.abort()
            return
        try:
            while True:
                try:
                    self._parser.feed_data(data)
                    break
                except httptools.HttpParserUpgrade as offer:
                    data = self._head_without_offer() + data[offer.args[0] :]
                    self._parser = httptools.HttpRequestParser(self)  # the other one may take this for the end
            if self._head_size:
                self._not_whole(len(data))
        except Refusal as exc:
            self._refuse(exc)
        except httptools.HttpParserCallbackError as exc:
            cause = exc.__context__
            self._refuse(cause if isinstance(cause, Refusal) else Refusal(400, "Bad Request"))
        except httptools.HttpParserError:
            self._refuse(Refusal(400, "Bad Request"))

    @property
    def is_quiet(self) -> bool:
        return self._running is None and not self._url and not self._head_size

    @property
    def is_lost(self) -> bool:
        """The caller has left."""
        return self._parser is None

    def close_when_idle(self) -> None:
        if self._running is None:
            self._transport.close()

    def check_deadline(self, now: float) -> None:
        """Called every second or so. A client that is slow on purpose holds nothing but its own connection."""
        if self.is_full and self._flow is None:
            self._count_unread()
            if self.peer and now - self._port.readers.get(self, now) > ANSWER_DEADLINE_S:
                self.cut_off()
            return
        if self._running is not None or not self.peer:
            return  # over the Unix socket comes the platform, which has deadlines of its own for its clients
        waited = now - self._since
        if self._is_reading_body:
            late = waited > BODY_DEADLINE_S + self._body_size / BODY_BYTES_PER_S
        elif self._url or self._head_size:
            late = waited > HEAD_DEADLINE_S
        else:
            late = waited > self._port.keep_alive_s
        if late:
            if self._url:
                self._refuse(Refusal(408, "Request Timeout"))
            if self._transport.is_closing():
                self._transport.abort()  # it doesn't even read the last of its answer
            self._transport.close()

    # httptools' callbacks.

    def on_message_begin(self) -> None:
        self._since = self._loop.time()
        self._url = b""
        self._headers = {}
        self._cookie = None
        self._body = b""
        self._body_size = 0
        self._head_size = 1
        self._without_body = 0
        self._is_reading_body = False

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._head_size += len(url)
        if self._head_size > HEAD_LIMIT:
            raise Refusal(431, "Request Header Fields Too Large")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_size += len(name) + len(value)
        headers = self._headers
        if self._head_size > HEAD_LIMIT or len(headers) >= HEADERS_LIMIT:
            raise Refusal(431, "Request Header Fields Too Large")
        if self._is_reading_body:
            return  # a trailer: what was decided by the headers stays decided
        key = _names.get(name) or _lower(name)
        text = value.decode("latin-1")
        if key == "cookie":
            self._cookie = text if self._cookie is None else f"{self._cookie}; {text}"
        elif key in headers:
            if key == "host":
                raise Refusal(400, "Bad Request")
            headers[key] = f"{headers[key]},{text}"
        else:
            headers[key] = text

    def on_headers_complete(self) -> None:
        self._is_reading_body = True
        headers = self._headers
        if self._parser.get_method() == b"CONNECT":
            raise Refusal(400, "Bad Request")
        if "host" not in headers and self._parser.get_http_version() != "1.0":
            raise Refusal(400, "Bad Request")
        if "content-length" in headers and (size := int(headers["content-length"])) > FREE:
            if size > BODY_LIMIT:
                raise Refusal(413, "Request must be smaller than 6291456 bytes")
            self._take(self._head_size + size)
        if (
            "expect" in headers
            and headers["expect"].lower() == "100-continue"
            and self._running is None  # or it would stand within the answer of the request before
            and not ("upgrade" in headers and self._parser.should_upgrade())
        ):
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body_size += len(body)
        if self._body_size > BODY_LIMIT:
            raise Refusal(413, "Request must be smaller than 6291456 bytes")
        if not self._body:
            self._body = body
        elif isinstance(self._body, bytearray):
            self._body += body
        else:  # not a list of pieces, which may have a byte each
            self._body = bytearray(self._body) + body

    def on_message_complete(self) -> None:
        if "upgrade" in self._headers and self._parser.should_upgrade():
            return  # it comes again, without that
        self._is_reading_body = False
        size, self._head_size = self._head_size + self._body_size, 0
        if self._running is not None:
            self._take(size + _PIPELINED)
        elif size > FREE or self._arriving:
            self._take(size)
            self.held, self._arriving = self._arriving, 0
        request = self._port.new_request(
            self,
            self._parser.get_method().decode("ascii"),
            self._url.decode("latin-1"),
            self._headers,
            self._cookie,
            self._body if isinstance(self._body, bytes) else bytes(self._body),
            self._parser.get_http_version(),
            self._parser.should_keep_alive(),
        )
        self._url = b""
        self._body = b""
        if self._running is None:
            self._running = request
            request.start()
            return
        self._queue.append((request, self._arriving))
        self._arriving = 0
        if len(self._queue) >= _PIPELINE_LIMIT:
            self._transport.pause_reading()

    # Answers.

    def respond(self, request: "Request", status: int, head: bytes, body: bytes, request_id: str = "") -> None:
        """Write the whole response, then go on with what the client has sent meanwhile."""
        if self._transport.is_closing():
            self._running = None
            return
        keep_alive = request.keep_alive and not self._refused
        if self._port.is_closing and not self._queue:
            keep_alive = False  # what a client has sent already is answered first
        if request_id:
            head = b"%bx-amzn-requestid: %b\r\n" % (head, request_id.encode("ascii"))
        if not keep_alive:
            head += b"connection: close\r\n"
        elif request.http_version == "1.0":
            head += b"connection: keep-alive\r\n"
        line = _status_lines.get(status) or _status_line(status)
        if status in _NO_BODY:
            write_now(self._transport, self._fd, b"%b%b%b\r\n" % (line, _date_line(), head))
        else:
            head = b"%b%b%bcontent-length: %d\r\n\r\n" % (line, _date_line(), head, len(body))
            write_now(self._transport, self._fd, head if request.method == "HEAD" else head + body)
        if self.is_full:
            self._answered_later(request, keep_alive)
        else:
            self._answered(keep_alive)

    def begin(self, request: "Request", status: int, head: bytes, request_id: str, flow: Flow) -> None:
        """The head of an answer that comes in pieces, then `piece`, and `end` or `cut`."""
        self._flow = flow
        if self._transport.is_closing():
            return
        if request.method == "HEAD" or status in _NO_BODY:
            # Complete for whoever reads it, and not for us: the next request here would wait for the function's end.
            self._framing = _WITHOUT_BODY
            request.keep_alive = False
        elif request.http_version == "1.0":
            self._framing = _UNTIL_CLOSED
            request.keep_alive = False
        else:
            self._framing = _CHUNKED
            head += b"transfer-encoding: chunked\r\n"
        if self._refused or (self._port.is_closing and not self._queue):
            request.keep_alive = False
        head += b"x-amzn-requestid: %b\r\n" % request_id.encode("ascii")
        if not request.keep_alive:
            head += b"connection: close\r\n"
        elif request.http_version == "1.0":
            head += b"connection: keep-alive\r\n"
        line = _status_lines.get(status) or _status_line(status)
        write_now(self._transport, self._fd, b"%b%b%b\r\n" % (line, _date_line(), head))

    def piece(self, data: bytes) -> None:
        if not data or self._framing is _WITHOUT_BODY:
            return
        if self._framing is _CHUNKED:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        write_now(self._transport, self._fd, data)
        if self.is_full:
            self._count_unread()

    def end(self, request: "Request") -> None:
        """The answer is complete."""
        self._flow = None
        if self._transport.is_closing():
            self._running = None
            return
        if self._framing is _CHUNKED:
            write_now(self._transport, self._fd, b"0\r\n\r\n")
        if self.is_full:
            self._answered_later(request, request.keep_alive)
        else:
            self._answered(request.keep_alive and not self._refused)

    def cut(self) -> None:
        """The answer has no end, and so has the connection none that could be taken for it."""
        self._flow = self._running = None
        self._let_go()
        if self._framing is _CHUNKED:
            self._transport.close()
        else:
            self._transport.abort()

    def release(self) -> None:
        """Of the request that is running nothing has to be held any more: its runtime has it, or nobody needs it."""
        self._port.metrics.request_bytes -= self.held
        self.held = 0
        if self._running is not None and (invocation := self._running.invocation) is not None:
            invocation.event = invocation.body = b""
            invocation.taken = None

    def cut_off(self) -> None:
        """The client reads too slowly."""
        self._port.metrics.answers_cut += 1
        self._has_read()
        self._transport.abort()

    def _head_without_offer(self) -> bytes:
        """The head of a request that offered an upgrade, for which the parser took no body. Nobody has to take it."""
        headers = self._headers if self._cookie is None else {**self._headers, "cookie": self._cookie}
        del headers["upgrade"]
        version = self._parser.get_http_version().encode("ascii")
        lines = [b"%b %b HTTP/%b" % (self._parser.get_method(), self._url, version)]
        lines += [f"{name}: {value}".encode("latin-1") for name, value in headers.items()]
        return b"\r\n".join([*lines, b"", b""])

    def _not_whole(self, read: int) -> None:
        """A request has not come to its end with what was read. Raises: `Refusal`."""
        if self._is_reading_body and "content-length" in self._headers:
            return  # all of it is counted
        if self._body_size == self._body_seen:
            self._without_body += read
            if self._without_body > HEAD_LIMIT + _READ:
                raise Refusal(431, "Request Header Fields Too Large")
        self._body_seen = self._body_size
        size = max(self._head_size, self._without_body) + self._body_size
        if size > FREE:
            self._take(size)

    def _take(self, size: int) -> None:
        """Hold so much for the request that is on its way in. Raises: `Refusal` where there is no room."""
        port, metrics, more = self._port, self._port.metrics, size - self._arriving
        if more <= 0:
            return
        if metrics.request_bytes + more > most_in(port.room, is_small=size <= SMALL):
            metrics.throttles += 1
            raise NoRoom
        metrics.request_bytes += more
        self._arriving = size
        port.cut_readers()

    def _let_go(self) -> None:
        """What came after the request that is running is not wanted any more."""
        self._port.metrics.request_bytes -= self._arriving + sum(held for _, held in self._queue)
        self._arriving = 0
        self._queue.clear()
        self._body = b""
        self._headers = {}

    def _count_unread(self) -> None:
        if self._transport.is_closing() and not self._unread:
            return  # it was cut off
        unread = self._transport.get_write_buffer_size()
        self._port.metrics.unread_bytes += unread - self._unread
        self._unread = unread
        self._port.cut_readers()

    def _has_read(self) -> None:
        self._port.metrics.unread_bytes -= self._unread
        self._unread = 0
        self._port.readers.pop(self, None)

    def _answered_later(self, request: "Request", keep_alive: bool) -> None:
        """When the client takes more again: what it asks next would only add to what it does not read."""
        if self.held:
            self.release()
        request.keep_alive = keep_alive
        self._is_answered = True
        if self in self._port.readers:
            self._port.readers[self] = self._loop.time()

    def _answered(self, keep_alive: bool) -> None:
        if self.held:
            self.release()
        self._running = None
        self._since = self._loop.time()
        if self._refused:
            # A client that still sends would be answered by a reset and might never read what it was told.
            self._loop.call_later(LINGER_S, self._transport.close)
        elif not keep_alive:
            self._transport.close()
        elif self._queue:
            if len(self._queue) == _PIPELINE_LIMIT:
                self._transport.resume_reading()
            self._running, self.held = self._queue.popleft()
            # Not from within this call: a thousand pipelined refusals would be a thousand frames deep.
            self._loop.call_soon(self._start_next)

    def _start_next(self) -> None:
        if self._running is not None and not self.is_lost:
            self._running.start()

    @property
    def port(self) -> Port:
        return self._port

    def _refuse(self, refusal: "Refusal") -> None:
        """The stream can't be understood any further, or must not."""
        if self._refused or self._transport.is_closing():
            return
        self._refused = True
        self._let_go()
        if self._running is None:
            refused = Request(self, "GET", "", {}, None, b"", "1.1", False)
            self.respond(refused, refusal.status, refusal.head, refusal.body)
        else:
            # What came before is still being answered, and its answer must not be taken for this one's.
            self._running.keep_alive = False


class Request:
    """One request. A subclass says what is done with it."""

    __slots__ = (
        "body", "connection", "cookie", "headers", "http_version", "invocation", "keep_alive", "method", "target",
    )  # fmt: skip

    def __init__(
        self,
        connection: Connection,
        method: str,
        target: str,
        headers: dict[str, str],
        cookie: str | None,
        body: bytes,
        http_version: str,
        keep_alive: bool,
    ) -> None:
        self.connection = connection
        self.method = method
        self.target = target
        self.headers = headers
        self.cookie = cookie
        self.body = body
        self.http_version = http_version
        self.keep_alive = keep_alive
        self.invocation: Invocation | None = None

    def start(self) -> None:
        """Answer it, now or later, by `connection.respond`."""
        self.say(503, "Service Unavailable")

    def say(self, status: int, text: str) -> None:
        self.connection.respond(self, status, JSON, b'{"message":"%b"}' % text.encode())


def process_behind(unix: Any) -> int:
    """The process that made the other end of a Unix socket, as the kernel noted it then."""
    pid, _, _ = struct.unpack("3i", unix.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return int(pid)


class Refusal(Exception):
    head = JSON

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.body = json.dumps({"message": text}).encode()


class NoRoom(Refusal):
    """The port holds as much as it may. The same request may be sent again, or elsewhere."""

    head = REFUSED

    def __init__(self) -> None:
        outcome = throttled()
        super().__init__(outcome.status, "no room")
        self.body = outcome.body


_status_lines: dict[int, bytes] = {}


def _status_line(status: int) -> bytes:
    line = _status_lines[status] = b"HTTP/1.1 %d %b\r\n" % (status, _REASONS.get(status, b"Unknown"))
    return line


_names: dict[bytes, str] = {}


def _lower(name: bytes) -> str:
    # Clients send the same few names again and again; what one makes up must not fill the memory.
    lower = name.decode("latin-1").lower()
    if len(_names) < _NAMES_LIMIT and len(name) < _NAMES_LIMIT:
        _names[name] = lower
    return lower


_date_second, _date = 0, b""


def _date_line() -> bytes:
    global _date_second, _date
    second = int(time.time())
    if second != _date_second:
        _date_second = second
        _date = time.strftime("date: %a, %d %b %Y %H:%M:%S GMT\r\n", time.gmtime(second)).encode()
    return _date
