"""Request and response heads on their way through the gateway. Pure; bytes in, bytes out."""

from collections.abc import Sequence

from lateen_invoker import signing

Header = tuple[bytes, bytes]

NO_BODY = -1

_OURS = b"x-lateen-"
_HOP = frozenset(
    {
        b"connection", b"content-length", b"expect", b"keep-alive", b"proxy-authenticate", b"proxy-authorization",
        b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade",
    }
)  # fmt: skip
"""About one connection only, or about framing, which is made anew for each."""
REFUSED = signing.REFUSED.encode()
NOT_PASSED_BACK = _HOP - {b"content-length"} | {b"date", REFUSED}
"""The way back keeps the length. The server in front writes its own date."""
_HOP_AND_KEY = _HOP | {b"authorization"}
_PLAIN_CONNECTION = frozenset({b"keep-alive", b"close"})


def request_head(
    method: str, target: bytes, headers: Sequence[Header], *, length: int | None, own: bytes, keeps_key: bool
) -> bytes:
    """The head that goes to the invoker.

    Args:
        length: of the body; None: chunked; or `NO_BODY`.
        own: our header lines, each ended by CRLF. The caller's own `x-lateen-…` never pass.
        keeps_key: `Authorization` is ours and stays here.
    """
    stays = _HOP_AND_KEY if keeps_key else _HOP
    for name, value in headers:
        if name == b"connection" and value.lower() not in _PLAIN_CONNECTION:
            # `Connection: X-Foo` makes X-Foo a matter of that one connection.
            stays = stays | {each.strip() for each in value.lower().split(b",")}
    lines = [
        b"%b: %b\r\n" % (name, value) for name, value in headers if name not in stays and not name.startswith(_OURS)
    ]
    if not any(name == b"host" for name, _ in headers):
        lines.append(b"host:\r\n")  # HTTP/1.0 needs none, and the head that goes on is one of 1.1
    if length is None:
        lines.append(b"transfer-encoding: chunked\r\n")
    elif length >= 0:
        lines.append(b"content-length: %d\r\n" % length)
    return b"%b %b HTTP/1.1\r\n%b%b\r\n" % (method.encode(), target, b"".join(lines), own)
