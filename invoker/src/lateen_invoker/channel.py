"""The invoker's end of a channel: frames in, frames out (`wire.py`)."""

import asyncio
import time
from typing import Any, Protocol

from lateen_invoker import invocations, wire
from lateen_invoker.extensions import Extensions
from lateen_invoker.invocations import RESPONSE_LIMIT, Invocation
from lateen_invoker.writes import write_now

# From here on a copy costs more than a second buffer to write.
LARGE = 32 * 1024


class Listener(Protocol):
    """The environment at the other end, and what its runtime may say."""

    @property
    def extensions(self) -> Extensions | None: ...
    def said_ready(self) -> None: ...
    def said_response(self, request_id: str, body: bytes, *, media_type: str = "") -> str | None: ...
    def said_piece(self, request_id: str, piece: bytes, *, media_type: str = "", source: Any = None) -> None: ...
    def said_too_much(self, request_id: str) -> str: ...
    def said_error(self, request_id: str, error_type: str, document: bytes) -> str | None: ...
    def said_init_error(self, error_type: str, document: bytes) -> str | None: ...
    def said_next_on_channel(self) -> None: ...
    def broke_protocol(self) -> None: ...
    def channel_ended(self) -> None: ...


class Channel(asyncio.Protocol):
    def __init__(self, environment: Listener) -> None:
        self._environment = environment
        self._transport: Any = None
        self._fd = -1
        self._buffer = bytearray()
        self._skip = 0
        self._is_extended = False
        self.ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._fd = transport.get_extra_info("socket").fileno()

    def invoke(self, invocation: Invocation, timeout_s: float) -> None:
        event, body = invocation.event, invocation.body
        meta = (
            f"{invocation.request_id}\n{int((time.time() + timeout_s) * 1000)}\n{invocation.arn}\n"
            f"{invocation.trace_id}\n{invocation.client_context}\n\n{len(event) if body else ''}"
        ).encode()
        if len(body) < LARGE:
            write_now(self._transport, self._fd, wire.frame(wire.INVOKE, meta, event + body))
        else:
            head = wire.HEADER.pack(wire.PREFIX_SIZE + len(meta) + len(event) + len(body), wire.INVOKE, len(meta))
            write_now(self._transport, self._fd, head + meta + event, body)
            invocation.body = b""  # nothing is sent twice

    def data_received(self, data: bytes) -> None:
        if not self._buffer and not self._skip and len(data) >= wire.HEADER_SIZE:
            size, kind, meta_size = wire.HEADER.unpack_from(data)
            if size + 4 == len(data):  # one whole frame: the common case, without a copy
                self._frame(kind, meta_size, data)
                return
        self._buffer += data
        self._frames()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        self._environment.channel_ended()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _frames(self) -> None:
        buffer = self._buffer
        while True:
            if self._skip:
                dropped = min(self._skip, len(buffer))
                del buffer[:dropped]
                self._skip -= dropped
                if self._skip:
                    return
                self._environment.said_next_on_channel()
            if len(buffer) < wire.HEADER_SIZE:
                return
            size, kind, meta_size = wire.HEADER.unpack_from(buffer)
            if size > RESPONSE_LIMIT + wire.PREFIX_SIZE + meta_size:
                # Too large to be kept: say so as soon as it is known who answers, and let the rest go by.
                if kind not in (wire.RESPONSE, wire.ERROR):
                    self._environment.broke_protocol()
                    buffer.clear()
                    return
                if len(buffer) < wire.HEADER_SIZE + meta_size:
                    return
                meta = bytes(buffer[wire.HEADER_SIZE : wire.HEADER_SIZE + meta_size]).decode("utf-8", "replace")
                if kind == wire.RESPONSE:
                    self._environment.said_too_much(meta)
                else:
                    request_id, _, error_type = meta.partition("\n")
                    self._environment.said_error(request_id, error_type, invocations.ERROR_TOO_LARGE)
                self._skip = size + 4
                continue
            if len(buffer) < size + 4:
                return
            frame = bytes(buffer[: size + 4])
            del buffer[: size + 4]
            self._frame(kind, meta_size, frame)

    def _frame(self, kind: int, meta_size: int, frame: bytes) -> None:
        environment = self._environment
        start = wire.HEADER_SIZE + meta_size
        if start > len(frame):
            environment.broke_protocol()
            return
        meta = frame[wire.HEADER_SIZE : start].decode("utf-8", "replace")
        if kind == wire.RESPONSE:
            if "\n" in meta:
                request_id, _, media_type = meta.partition("\n")
                # Whatever came of it before: it is a stream.
                environment.said_piece(request_id, b"", media_type=media_type, source=self._transport)
                environment.said_response(request_id, frame[start:], media_type=media_type)
            else:
                environment.said_response(meta, frame[start:])
            environment.said_next_on_channel()
        elif kind == wire.ERROR:
            request_id, _, error_type = meta.partition("\n")
            environment.said_error(request_id, error_type, frame[start:])
            environment.said_next_on_channel()
        elif kind == wire.CHUNK:
            request_id, _, media_type = meta.partition("\n")
            environment.said_piece(request_id, frame[start:], media_type=media_type, source=self._transport)
        elif kind == wire.FATAL:
            request_id, _, error_type = meta.partition("\n")
            environment.said_error(request_id, error_type, frame[start:])
        elif kind == wire.READY:
            if meta == "extended" and not self._is_extended and environment.extensions is not None:
                self._is_extended = True  # once: whoever says READY again and again need not read either
                write_now(self._transport, self._fd, wire.frame(wire.EXTENDED, b"", b""))
            environment.said_ready()
        elif kind == wire.INIT_ERROR:
            environment.said_init_error(meta, frame[start:])
        else:
            environment.broke_protocol()
