"""AWS's event stream: framed messages, each with headers and two checksums.

Source: AWS SDKs and Tools, "Amazon event stream encoding" (`application/vnd.amazon.eventstream`).
"""

import struct
import zlib

CONTENT_TYPE = "application/vnd.amazon.eventstream"
_STRING = 7
_PRELUDE = struct.Struct(">II")
_NUMBER = struct.Struct(">I")


def event(kind: str, payload: bytes, content_type: str) -> bytes:
    """One message. Args: kind: a member of the stream's shape, such as `PayloadChunk`."""
    headers = b"".join(
        _header(name, value)
        for name, value in ((":event-type", kind), (":content-type", content_type), (":message-type", "event"))
    )
    # Prelude and its checksum, headers, payload, and the checksum of all.
    prelude = _PRELUDE.pack(16 + len(headers) + len(payload), len(headers))
    message = prelude + _NUMBER.pack(zlib.crc32(prelude)) + headers + payload
    return message + _NUMBER.pack(zlib.crc32(message))


def _header(name: str, value: str) -> bytes:
    return struct.pack(">B", len(name)) + name.encode() + struct.pack(">BH", _STRING, len(value)) + value.encode()
