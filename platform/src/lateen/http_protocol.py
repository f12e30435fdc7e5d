"""uvicorn's HTTP protocol, with limits on what a caller may hold open.

A head is bounded in bytes, fields and time, a body in time; what is no HTTP, or could be read in two ways, is refused
as a problem document, and the connection ends with it. The timers are armed only where a read ended in the middle of
something, so an ordinary request pays for none of them.
"""

import asyncio
from http import HTTPStatus
from typing import Any, NamedTuple, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from lateen.api.problems import Refusal, headers_of
from lateen.gateway.proxies import FOR, PORT, PROTO, Proxies, plain_address
from lateen.gateway.short_way import Call, ShortWay
from lateen_invoker.writes import write_now

HEAD_BYTES = 64 * 1024
TARGET_BYTES = 16 * 1024
HEAD_FIELDS = 200
CONNECTIONS = 16_384
"""Callers' connections at a time, at most. An idle one costs its caller nothing, and us memory and a descriptor."""
PIPELINED = 16
"""Requests that may wait for the answer to the one before. One read can hold thousands, and all of it is parsed."""
BODY_BYTES_PER_S = 16 * 1024
"""The slowest caller that is waited for, beyond the time that each has anyhow."""
READ_S = 300.0
"""How long a caller has to take what full buffers hold, and what is left when its connection is to end."""
READ_BYTES_PER_S = 1024
"""One that takes more than this has as long again."""
LINGER_S = 2.0
"""How long the rest of a body is read after the answer was given without it, so that the caller can read the answer."""
LINGER_BYTES = 8 * 1024 * 1024


_FORWARDED = frozenset({FOR, PROTO, PORT})
_LOOKED_AT = frozenset({b"host", b"content-length", b"transfer-encoding", b"expect", b"upgrade"})


class Deadlines(NamedTuple):
    """Seconds."""

    head_s: float = 10.0
    body_s: float = 30.0


class LateenProtocol(HttpToolsProtocol):
    deadlines = Deadlines()
    short_way: ShortWay | None = None
    """Where ordinary calls of functions go without being a request of the application's."""
    trusted: Proxies | None = None
    """Whose word is taken about whom a request comes from."""
    most_connections = CONNECTIONS
    is_draining = False
    """No request is the last one yet, but each answer ends its connection. Of all connections at once."""

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any], _loop: Any = None) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._in_head = False
        self._in_body = False
        self._head_bytes = 0
        """Of reads that ended inside of it, and of trailers."""
        self._read_bytes = 0
        self._received = 0
        """Of the body, in bytes."""
        self._body_since_s = 0.0
        self._received_before = 0
        self._without_body = 0
        """Bytes read since the last of the body. A trailer's line is kept by the parser, which says nothing of it."""
        self._discarded = 0
        self._timer: asyncio.TimerHandle | None = None
        self._is_over = False
        """Whatever still arrives is not looked at."""
        self._fd = -1
        self._direct: Any = None
        """The transport itself, for the short way."""
        self._guarded: _Guarded
        self._call: Call | None = None
        self._held = bytearray()
        """What arrived during the call."""
        self._continuation: Any = None
        self._idle_since_s = 0.0
        self._is_stopping = False
        self._offers_upgrade = False
        self._is_last = False
        """The request that is parsed is the connection's last one."""

    # What the transport calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._direct = transport
        self.transport = self._guarded = _Guarded(transport, self.loop)  # type: ignore[assignment]
        self._fd = transport.get_extra_info("socket").fileno()
        self.proxies: Proxies | None = None
        if self.client is not None:
            self.client = (plain_address(self.client[0]), self.client[1])
            if self.trusted is not None and self.trusted.trust(self.client[0]):
                self.proxies = self.trusted
        self._idle_since_s = self.loop.time()
        self._arm(self.deadlines.head_s, self._head_is_late)
        if len(self.connections) > self.most_connections:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        if self._call is not None:
            call, self._call = self._call, None
            call.left()
        super().connection_lost(exc)
        self._guarded.unwatch()

    def _make_room(self) -> None:
        """Let those go that have been idle for longest, some at a time; where none is, who has just come."""
        others = cast("set[LateenProtocol]", self.connections)
        idle = [each for each in others if each is not self and each._is_idle()]
        idle.sort(key=lambda each: each._idle_since_s)
        for each in idle[: max(1, len(idle) // 16)] or [self]:
            self.connections.discard(each)  # counted no more; its end is told later
            each._is_over = True
            each.transport.close()

    def _is_idle(self) -> bool:
        """Whether there is no request whose head has come."""
        return self._call is None and (self.cycle is None or self.cycle.response_complete)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._guarded.watch()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self._direct.is_closing():
            self._guarded.unwatch()

    def data_received(self, data: bytes) -> None:
        if self._call is not None:
            self._held += data
            if len(self._held) > HEAD_BYTES:
                self.flow.pause_reading()
        elif self.short_way is not None and not self.is_draining and self._is_between_requests():
            if (call := self.short_way.begin(self, data)) is not None:
                self._call = call
                if self._timer is not None:
                    self._disarm()
            else:
                self._parse(data)
        else:
            self._parse(data)

    def _is_between_requests(self) -> bool:
        return not (
            self._in_head
            or self._in_body
            or self._is_over
            or self.flow.write_paused
            or (self.cycle is not None and not self.cycle.response_complete)
        )

    def _parse(self, data: bytes) -> None:
        if self._is_over:
            self._discard(len(data))
            return
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        self._read_bytes = len(data)
        was_in_head = not self._in_body
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as exc:
            self._refuse(_refusal_from(exc))
        except httptools.HttpParserUpgrade as offer:
            if self._offers_upgrade:
                self._parse(self._head_without_offer() + data[offer.args[0] :])
                return
            # CONNECT: answered as an ordinary one, but what follows it is not parsed any more.
            self._is_over = True
            self.cycle.keep_alive = False
        if self._is_over or self.transport.is_closing():
            return
        if self._in_body:
            if self.cycle.response_complete:
                self._discard(len(data))
            elif self._timer is None:
                self._body_since_s = self.loop.time()
                self._received_before, self._without_body = self._received, 0
                self._arm(self.deadlines.body_s, self._body_is_late)
                self.cycle.transport = _Lingering(self)  # type: ignore[assignment]
            elif self._received > self._received_before:
                self._received_before, self._without_body = self._received, 0
            else:
                self._without_body += len(data)
                if self._without_body > HEAD_BYTES:
                    self._refuse(_refusal_from(_HeadTooLarge()))
            return
        if was_in_head and self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._refuse(_refusal_from(_HeadTooLarge()))
                return
        idle = self.cycle is None or self.cycle.response_complete
        if self._in_head or (idle and self.timeout_keep_alive_task is None):
            if self._timer is None:
                self._arm(self.deadlines.head_s, self._head_is_late)
        elif self._timer is not None:
            self._disarm()

    def _head_without_offer(self) -> bytes:
        """The head of a request that offered an upgrade, for a parser that takes its body too, as some clients send one
        with each offer. Nobody has to take the offer; the request is the connection's last one, for a proxy may think
        otherwise."""
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self._is_last = True
        return b"\r\n".join([*lines, b"", b""])

    # What the parser calls

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= PIPELINED:
            raise _TooManyPipelined
        if self._is_over:
            raise _Ambiguous
        super().on_message_begin()
        self._in_head = True
        self._offers_upgrade = False
        self._head_bytes = 0
        self._host: bytes | None = None
        self._framing: bytes | None = None

    def on_url(self, url: bytes) -> None:
        self.url += url
        if len(self.url) > TARGET_BYTES:
            raise _TargetTooLong

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_body:
            # A trailer. The headers that were checked are already the application's, so it must not join them.
            self._head_bytes += len(name) + len(value)
            if self._head_bytes > HEAD_BYTES:
                raise _HeadTooLarge
            return
        name = name.lower()
        self.headers.append((name, value))
        if name in _LOOKED_AT:
            self._look_at(name, value)

    def on_headers_complete(self) -> None:
        if self._offers_upgrade and self.parser.should_upgrade():
            return  # it comes again, without that
        if len(self.headers) > HEAD_FIELDS or (
            # A head that came in one read of less can't be larger.
            self._head_bytes + self._read_bytes > HEAD_BYTES
            and sum(len(name) + len(value) for name, value in self.headers) > HEAD_BYTES
        ):
            raise _HeadTooLarge
        version = self.parser.get_http_version()
        if version != "1.1" and (version != "1.0" or self._framing == b"transfer-encoding"):
            raise _Ambiguous
        if self._host is None and version == "1.1":
            raise _Ambiguous
        if self.url[:1] != b"/":
            self._check_absolute_target()
        if self.proxies is not None:
            self._take_forwarded(self.proxies)
        self._in_head, self._in_body = False, True
        self._received = 0
        self._discarded = 0
        if self._timer is not None:
            self._disarm()
        super().on_headers_complete()
        if self._is_last:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._received += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._offers_upgrade and self.parser.should_upgrade():
            return
        if self._is_last:
            self._is_over = True
        self._in_body = False
        if self._timer is not None:
            self._disarm()
        super().on_message_complete()

    def _look_at(self, name: bytes, value: bytes) -> None:
        """Refuse what llhttp lets pass and a server in front or behind could read otherwise."""
        if name == b"expect":
            self.expect_100_continue = value.lower() == b"100-continue"
        elif name == b"upgrade":
            self._offers_upgrade = True
        elif name == b"host":
            if self._host is not None:
                raise _Ambiguous
            self._host = value
        else:
            if self._framing is not None or (name == b"transfer-encoding" and value.strip().lower() != b"chunked"):
                raise _Ambiguous
            self._framing = name

    def _take_forwarded(self, proxies: Proxies) -> None:
        """The request is the caller's, not the proxy's."""
        assert self.client is not None
        forwarded = [header for header in self.headers if header[0] in _FORWARDED]
        address, scheme, port, chain = proxies.source(self.client[0], forwarded)
        # In place: the scope has this very list.
        self.headers[:] = [header for header in self.headers if header[0] not in _FORWARDED]
        if chain:
            self.headers.append((FOR, chain))
        self.scope["client"] = (address, 0)
        self.scope["scheme"] = scheme
        self.scope["server"] = (self.server[0] if self.server else "", port)

    def _check_absolute_target(self) -> None:
        """As a proxy is asked. It names a host too, and there must not be two."""
        scheme, _, rest = self.url.partition(b"://")
        host = (self._host or b"").lower()
        if scheme.lower() not in (b"http", b"https") or rest.partition(b"/")[0].lower() != host:
            raise _Ambiguous

    # A call on the short way

    def answered(self, answer: bytes) -> None:
        """The call's whole answer."""
        self._call = None
        self.server_state.total_requests += 1
        if self._direct.is_closing():
            return
        write_now(self._direct, self._fd, answer)
        if self._is_stopping:
            self.transport.close()
            return
        # One timer for many calls, which looks at this time when it ends.
        self._idle_since_s = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        self._take_held()

    def hand_over(self, request: bytes, continuation: Any) -> None:
        """The call goes on as a request of its own application."""
        call, self._call = self._call, None
        self._continuation = continuation
        self._parse(request)
        if self._continuation is not None and call is not None:  # it was refused after all
            self._continuation = None
            call.left()
        self._take_held()

    def _take_held(self) -> None:
        if self._held:
            held, self._held = bytes(self._held), bytearray()
            self.flow.resume_reading()
            self.data_received(held)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if self._continuation is not None:
            app, self._continuation = self._continuation, None
            cycle.keep_alive = cycle.keep_alive and not self._is_stopping
        if self.is_draining:
            cycle.keep_alive = False
        super()._start_asgi_task(cycle, app)

    def timeout_keep_alive_handler(self) -> None:
        left_s = self._idle_since_s + self.timeout_keep_alive - self.loop.time()
        if self._call is None and left_s <= 0:
            super().timeout_keep_alive_handler()
        else:
            self.timeout_keep_alive_task = self.loop.call_later(max(left_s, 1.0), self.timeout_keep_alive_handler)

    def shutdown(self) -> None:
        if self._call is not None:
            self._is_stopping = True
            self._call.take_the_long_way()
        else:
            super().shutdown()

    # Refusals

    def _head_is_late(self) -> None:
        self._timer = None
        if self._in_head:
            self._refuse(Refusal("timeout", f"the request's head took longer than {self.deadlines.head_s:g} s"))
        else:
            self.transport.close()

    def _body_is_late(self) -> None:
        self._timer = None
        if not self._in_body or self.transport.is_closing():
            return
        elapsed_s = self.loop.time() - self._body_since_s
        left_s = self.deadlines.body_s + self._received / BODY_BYTES_PER_S - elapsed_s
        if self.flow.read_paused:
            # It is us who do not read at the moment.
            self._body_since_s += 1.0
            left_s = max(left_s, 1.0)
        if left_s > 0:
            self._arm(left_s, self._body_is_late)
        else:
            self._refuse(Refusal("timeout", f"the body took longer than {elapsed_s:.0f} s for {self._received} bytes"))

    def _refuse(self, refusal: Refusal) -> None:
        """Answer it and end the connection, without a byte between those of another answer."""
        self._is_over = True
        self._disarm()
        self._unset_keepalive_if_required()
        cycle = self.cycle
        if cycle is None or cycle.response_complete or (cycle.more_body and not cycle.response_started):
            if cycle is not None and not cycle.response_complete:
                if self.pipeline:
                    # An earlier request is being answered; ours would be taken for its answer.
                    self.transport.close()
                    return
                cycle.disconnected = True
                cycle.message_event.set()
            body = refusal.body()
            headers = [*headers_of(refusal, len(body)), (b"connection", b"close")]
            head = b"".join(b"%b: %b\r\n" % header for header in headers)
            phrase = HTTPStatus(refusal.status).phrase.encode()
            self.transport.write(b"HTTP/1.1 %d %b\r\n%b\r\n%b" % (refusal.status, phrase, head, body))
            self.linger()
        elif cycle.more_body:
            self.transport.close()
        else:
            # The bytes after a good request are bad: that one gets its answer, then it ends.
            cycle.keep_alive = False

    def linger(self) -> None:
        """End the connection so that what was answered is read: closing it with unread bytes would reset it."""
        if self.transport.is_closing():
            return
        self._is_over = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self._arm(LINGER_S, self.transport.close)

    def close(self) -> None:
        """The answer is complete, and it is the connection's last one."""
        if self._in_body:
            self.linger()
        else:
            self.transport.close()

    def _discard(self, size: int) -> None:
        self._discarded += size
        if self._discarded > LINGER_BYTES:
            self.transport.close()

    def on_response_complete(self) -> None:
        self._idle_since_s = self.loop.time()
        super().on_response_complete()
        if self._in_body and not self._is_over and not self.transport.is_closing():
            self._arm(LINGER_S, self.transport.close)

    # Timers

    def _arm(self, delay_s: float, what: Any) -> None:
        self._disarm()
        self._timer = self.loop.call_later(delay_s, what)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Guarded:
    """A connection's transport, but that a caller who does not read can't hold it for ever.

    While it is watched nothing more is written: the buffers are full, or it is closing. So they can only shrink, and
    that we have nothing to say for long is not taken for a caller's slowness. Knows no protocol, for a circle would
    keep each connection that has ended until the next collection.
    """

    __slots__ = ("_loop", "_real", "_timer", "_unread", "abort", "get_write_buffer_size", "is_closing", "write")

    def __init__(self, real: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._real = real
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._unread = 0
        self.abort = real.abort
        self.get_write_buffer_size = real.get_write_buffer_size
        self.is_closing = real.is_closing
        self.write = real.write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def close(self) -> None:
        """Once all is written that can be."""
        self._real.close()
        if self.get_write_buffer_size():
            self.watch()

    def watch(self) -> None:
        if self._timer is None:
            self._unread = self.get_write_buffer_size()
            self._timer = self._loop.call_later(READ_S, self._look)

    def unwatch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self._unread - self.get_write_buffer_size() > READ_S * READ_BYTES_PER_S:
            self.watch()
        else:
            self.abort()


class _Lingering:
    """What a request with a body that is still on its way has for a transport."""

    def __init__(self, protocol: LateenProtocol) -> None:
        self.write = protocol.transport.write
        self.is_closing = protocol.transport.is_closing
        self.close = protocol.close


class _Ambiguous(Exception):
    pass


class _TargetTooLong(Exception):
    pass


class _HeadTooLarge(Exception):
    pass


class _TooManyPipelined(Exception):
    pass


def _refusal_from(exc: Exception) -> Refusal:
    """For what the parser refused, or one of the callbacks that it called."""
    cause = exc.__context__ or exc
    if isinstance(cause, _TargetTooLong):
        return Refusal("uri-too-long", f"the request's target has more than {TARGET_BYTES} bytes")
    if isinstance(cause, _HeadTooLarge):
        return Refusal(
            "headers-too-large", f"the request's head has more than {HEAD_BYTES} bytes or {HEAD_FIELDS} fields"
        )
    return Refusal("bad-request", "this is not HTTP, or can be read in more than one way")
