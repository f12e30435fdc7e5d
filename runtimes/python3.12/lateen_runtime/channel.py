"""The channel: frames on a socket that the environment inherited.

A frame is a little-endian u32 length of what follows it, a u8 kind, a u16 length of the meta text, the meta text and
the body. The invoker's `wire.py` says what each kind carries.
"""

import os
import socket
import struct

from lateen_runtime.json_text import to_json

INVOKE, READY, RESPONSE, ERROR, INIT_ERROR = 1, 2, 3, 4, 5
_HEADER = struct.Struct("<IBH")
_PREFIX = 3
_BUFFER, _KEPT = 64 * 1024, 512 * 1024
"""Bytes of the buffer for events at first, and what it may grow to for good."""
_GATHER = 64 * 1024
"""Answers from this size on are not copied behind their header."""


class Channel:
    """The inherited socket. `next` also says that the last answer was given."""

    def __init__(self, fd):
        self._socket = socket.socket(fileno=fd)
        self._socket.setblocking(True)
        self._buffer = bytearray(_BUFFER)
        self._is_ours = True
        os.register_at_fork(after_in_child=self._left)

    def _left(self):
        self._is_ours = False

    def ready(self):
        self._send(READY, b"", b"")

    def next(self):
        """The meta fields and the event's bytes, which are good until the next call; None when nobody asks any more."""
        buffer = self._buffer
        receive = self._socket.recv_into
        have = receive(buffer)
        while have < 7:
            if not have:
                return None
            more = receive(memoryview(buffer)[have:])
            have = have + more if more else 0
        size, _kind, meta_size = _HEADER.unpack_from(buffer)
        size += 4
        if have < size:
            if size > len(buffer):
                buffer = bytearray(size)
                buffer[:have] = memoryview(self._buffer)[:have]
                if size <= _KEPT:
                    self._buffer = buffer
            rest = memoryview(buffer)
            while have < size:
                more = receive(rest[have:size])
                if not more:
                    return None
                have += more
        view = memoryview(buffer)
        start = 7 + meta_size
        return str(view[7:start], "utf-8").split("\n"), view[start:size]

    def respond(self, request_id, body):
        self._send(RESPONSE, request_id.encode(), body)

    def fail(self, request_id, document):
        meta = f"{request_id}\n{document['errorType']}".encode("utf-8", "replace")
        self._send(ERROR, meta[:60000], to_json(document).encode("utf-8", "backslashreplace"))

    def fail_init(self, document):
        meta = document["errorType"].encode("utf-8", "replace")
        self._send(INIT_ERROR, meta[:60000], to_json(document).encode("utf-8", "backslashreplace"))

    def _send(self, kind, meta, body):
        if not self._is_ours:
            os._exit(0)  # a child that user code forked and that came back from the handler
        head = _HEADER.pack(_PREFIX + len(meta) + len(body), kind, len(meta)) + meta
        if len(body) < _GATHER:
            self._socket.sendall(head + body)
            return
        sent = self._socket.sendmsg((head, body))
        if sent < len(head):
            self._socket.sendall(head[sent:])
            sent = len(head)
        self._socket.sendall(memoryview(body)[sent - len(head) :])
