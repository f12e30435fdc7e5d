"""Request bodies on their way through the gateway, chunk by chunk, with a limit."""

from lateen.gateway import refusals
from lateen.gateway.connections import Connection
from lateen.gateway.heads import NO_BODY
from lateen.gateway.pool import CallerLeft
from lateen.gateway.refusals import Receive

REQUEST_LIMIT = 6 * 1024 * 1024
_BODY_HEADERS = frozenset({b"content-length", b"transfer-encoding"})


def body_length(headers: list[tuple[bytes, bytes]]) -> int | None:
    """Bytes of the body by `Content-Length`; None: it is chunked; or `NO_BODY`."""
    for name, value in headers:
        if name in _BODY_HEADERS:
            return int(value) if name == b"content-length" and value.isdigit() else None
    return NO_BODY


async def _part(receive: Receive) -> tuple[bytes, bool]:
    # How long a caller may take for it is the server's business, which tells us that the caller left.
    message = await receive()
    if message["type"] != "http.request":
        raise CallerLeft("the caller left")
    return message.get("body", b""), message.get("more_body", False)


async def send_rest(connection: Connection, receive: Receive, received: int, length: int | None) -> bool:
    """Whether the body was sent to its end: an invoker that answers before that does not want the rest."""
    more = True
    while more and not connection.has_head:
        part, more = await _part(receive)
        received += len(part)
        if received > REQUEST_LIMIT:
            raise refusals.too_large(REQUEST_LIMIT)
        if part:
            await connection.send(framed(part, length))
    if length is None and not more:
        await connection.send(b"0\r\n\r\n")
    return not more


def framed(part: bytes, length: int | None) -> bytes:
    """As it is, or as a chunk where the length is not known."""
    return part if length is not None or not part else b"%x\r\n%b\r\n" % (len(part), part)
