"""Request and response heads on their way through the gateway. Pure; bytes in, bytes out."""

from collections.abc import Iterable
from os import urandom

Header = tuple[bytes, bytes]

_OURS = b"x-lateen-"
_HOP = frozenset(
    {
        b"connection", b"content-length", b"expect", b"keep-alive", b"proxy-authenticate", b"proxy-authorization",
        b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade",
    }
)  # fmt: skip
"""About one connection only, or about framing, which is made anew for each."""
NOT_PASSED_BACK = _HOP - {b"content-length"} | {b"date"}
"""The way back keeps the length. The server in front writes its own date."""
_PLAIN_CONNECTION = frozenset({b"keep-alive", b"close"})


def request_head(
    method: bytes,
    target: bytes,
    headers: Iterable[Header],
    *,
    length: int | None,
    own: bytes,
    drop: bytes | None = None,
) -> bytes:
    """The head that goes to the invoker.

    Args:
        length: of the body; None: chunked; -1: the request has no body.
        own: our header lines, each ended by CRLF. The caller's own `x-lateen-…` never pass.
        drop: one more header that stays here, lower case.
    """
    lines = [b"%b %b HTTP/1.1\r\n" % (method, target)]
    hop: frozenset[bytes] | set[bytes] = _HOP
    for name, value in headers:
        if name in hop:
            if name == b"connection" and (named := value.lower()) not in _PLAIN_CONNECTION:
                # `Connection: X-Foo` makes X-Foo a matter of that one connection; it may stand before or after it.
                hop = hop | {each.strip() for each in named.split(b",")}
                lines[1:] = [line for line in lines[1:] if line.partition(b":")[0] not in hop]
        elif name != drop and not name.startswith(_OURS):
            lines.append(b"%b: %b\r\n" % (name, value))
    if length is None:
        lines.append(b"transfer-encoding: chunked\r\n")
    elif length >= 0:
        lines.append(b"content-length: %d\r\n" % length)
    lines.append(own)
    lines.append(b"\r\n")
    return b"".join(lines)


def new_request_id() -> str:
    """A random UUID of version 4, at a third of the cost of the standard library's."""
    digits = urandom(16).hex()
    return (
        f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{'89ab'[int(digits[16], 16) & 3]}{digits[17:20]}-{digits[20:]}"
    )
