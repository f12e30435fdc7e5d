"""Frames between an invoker and a bootstrap that inherited a channel: the Runtime API without HTTP.

A stream socket. A frame is a little-endian u32 length of what follows it, a u8 kind, a little-endian u16 length of the
meta text, the meta text (UTF-8) and the body. Bootstraps in `runtimes/` hold their own copy of this: they import
nothing of ours.

| kind | from | meta | body |
| --- | --- | --- | --- |
| INVOKE | invoker | seven lines, below | the event |
| READY | bootstrap | empty, or `extended`: it knows that frame | empty: initialised, waiting for the first event |
| RESPONSE | bootstrap | request id; of a streamed answer newline, media type | the answer; waiting for the next event |
| ERROR | bootstrap | request id, newline, error type | the error document; waiting for the next event |
| INIT_ERROR | bootstrap | error type | the error document; the process exits after it |
| CHUNK | bootstrap | as of RESPONSE, the type with the first | a piece of a stream; RESPONSE or ERROR ends it |
| FATAL | bootstrap | as ERROR | the error document; the process exits after it |
| EXTENDED | invoker | empty | empty: there are extensions, maybe inside: the process must not stand still |

The lines of INVOKE's meta, each empty where there is none: request id, deadline (Unix time in ms), ARN, trace id,
client context (JSON), Cognito identity, and a number of bytes. Where there is one, only so many bytes of the body are
the event's JSON, and the rest is the text of its member `body`.
"""

import struct

INVOKE, READY, RESPONSE, ERROR, INIT_ERROR, CHUNK, FATAL, EXTENDED = 1, 2, 3, 4, 5, 6, 7, 8
HEADER = struct.Struct("<IBH")
HEADER_SIZE = HEADER.size
PREFIX_SIZE = 3  # kind and meta length, which the frame's length includes


def frame(kind: int, meta: bytes, body: bytes) -> bytes:
    """One frame, ready to be written in one call."""
    return HEADER.pack(PREFIX_SIZE + len(meta) + len(body), kind, len(meta)) + meta + body
