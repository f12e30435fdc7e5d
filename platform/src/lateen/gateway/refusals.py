"""What the gateway answers by itself: JSON in the shape that AWS's front ends use."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from lateen.gateway.heads import Header
from lateen_invoker.ids import new_request_id

_REQUEST_ID = b"x-amzn-requestid"
FORBIDDEN = (
    "Forbidden. For troubleshooting Function URL authorization issues, see: "
    "https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html"
)
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class Refusal(Exception):
    """An answer instead of the function's, with a request id of its own.

    `closes`: the rest of the request is not read.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        error_type: str | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
        closes: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.error_type = error_type
        self.headers = headers
        self.closes = closes
        self.request_id = new_request_id()
        self.document: dict[str, str] | None = None
        """Instead of ours."""


def not_found() -> Refusal:
    return Refusal(404, "Not Found")


def unauthorized() -> Refusal:
    return Refusal(401, "Unauthorized", headers=((b"www-authenticate", b'Bearer realm="lateen"'),))


def forbidden() -> Refusal:
    return Refusal(403, "Forbidden")


def denied(code: str, message: str | None = None) -> Refusal:
    """As AWS's front end of function URLs says it. `message` None: the signer is known, or there is none."""
    refusal = Refusal(403, message or FORBIDDEN, headers=((b"x-amzn-errortype", code.encode()),))
    refusal.document = {"message": message} if message else {"Message": FORBIDDEN}
    return refusal


def too_large(limit: int) -> Refusal:
    return Refusal(413, f"Request must be smaller than {limit} bytes", closes=True)


def unavailable(retry_after_s: int = 1) -> Refusal:
    """The function does not run at the moment, or a store that is needed does not answer. Nothing was executed."""
    return Refusal(503, "Service Unavailable", headers=((b"retry-after", str(retry_after_s).encode()),))


def stopping() -> Refusal:
    """Lateen ends before the call does: nobody knows how far it came."""
    return Refusal(503, "Service Unavailable", error_type="Lateen.Stopping", closes=True)


def lost() -> Refusal:
    """The invoker ended while it had the call: nobody knows how far it came."""
    return Refusal(502, "Internal Server Error", error_type="Lateen.ConnectionLost")


def too_slow() -> Refusal:
    return Refusal(504, "Gateway Timeout", error_type="Lateen.Timeout")


def request_id_in(headers: list[Header]) -> str:
    """Of an answer that came from an invoker."""
    return next((value.decode("latin-1") for name, value in headers if name == _REQUEST_ID), "")


async def send_refusal(send: Send, refusal: Refusal) -> None:
    """Answer it."""
    request_id = refusal.request_id
    document = refusal.document
    if document is None:
        document = {"message": refusal.message}
        if refusal.error_type is not None:
            document["errorType"] = refusal.error_type
        document["requestId"] = request_id
    body = json.dumps(document, separators=(",", ":")).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (_REQUEST_ID, request_id.encode()),
        *refusal.headers,
    ]
    if refusal.closes:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
