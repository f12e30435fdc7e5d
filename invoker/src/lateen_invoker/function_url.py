"""Function URLs: an HTTP request becomes the event of payload format 2.0, a function's answer becomes a response.

Pure: no I/O, no clock. Source: AWS Lambda Developer Guide, "Invoking Lambda function URLs".
"""

import base64
import binascii
import json
import re
import time
from typing import Any
from urllib.parse import unquote_plus

import msgspec
from msgspec import UNSET, Struct, UnsetType, field

from lateen_invoker import signing
from lateen_invoker.urls import Signer

PRELUDE_TYPE = "application/vnd.awslambda.http-integration-response"
PRELUDE_END = b"\0" * 8


class InvalidAnswer(Exception):
    """The function's answer can't be made into an HTTP response."""


class Http(Struct):
    method: str
    path: str
    protocol: str
    source_ip: str = field(name="sourceIp")
    user_agent: str = field(name="userAgent")


class Iam(Struct, rename="camel"):
    access_key: str
    account_id: str
    caller_id: str
    user_arn: str
    user_id: str
    cognito_identity: None = None
    principal_org_id: None = None


class Authorizer(Struct):
    iam: Iam


class RequestContext(Struct, rename="camel"):
    account_id: str
    api_id: str
    domain_name: str
    domain_prefix: str
    http: Http
    request_id: str
    route_key: str
    stage: str
    time: str
    time_epoch: int
    authentication: UnsetType | None = UNSET
    authorizer: Authorizer | UnsetType = UNSET


class Event(Struct, rename="camel"):
    """`version`, `headers` and the rest by AWS's names; absent parts are left out, as AWS leaves them out."""

    version: str
    route_key: str
    raw_path: str
    raw_query_string: str
    headers: dict[str, str]
    request_context: RequestContext
    is_base64_encoded: bool
    cookies: list[str] | UnsetType = UNSET
    query_string_parameters: dict[str, str] | UnsetType = UNSET


class Answer(Struct, rename="camel"):
    status_code: int | str | UnsetType | None = UNSET
    headers: dict[str, Any] | None = None
    cookies: list[str] | None = None
    body: Any = None
    is_base64_encoded: bool = False


class Response(Struct):
    """`head` holds the header lines that the function decides, each ended by CRLF, without Content-Length."""

    status: int
    head: bytes
    body: bytes


_encode = msgspec.json.Encoder().encode
_decode_answer = msgspec.json.Decoder(Answer).decode
# A function may answer with bytes of its own: text that is no UTF-8, or nested without end.
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_LONG = 1024 * 1024
_CONTROLS = bytes(set(range(32)) - set(b"\b\t\n\f\r"))
_TEXT = ("text/", "application/json", "application/xml")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
_UNSAFE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]").search
# They belong to the connection or are ours to say; a function's idea of them could desynchronise the two.
_OURS = frozenset(
    {
        "connection", "content-length", "date", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding",
        "upgrade", "x-amzn-requestid", signing.REFUSED,
        # What to a browser is about the whole host, on which other functions and the pages may answer too.
        "clear-site-data", "cross-origin-opener-policy", "nel", "report-to", "service-worker-allowed",
    }
)  # fmt: skip
_LOCATION = re.compile(rb"^location: ((?:https?:)?//[^/?#\r]*)?([^\r]*)", re.MULTILINE)
_BEGINS_WITH_HASH = re.compile(rb"/[0-9a-f]{32}(?![^/?#])").match
_JSON_HEAD = b"content-type: application/json\r\n"


def event_for(
    *,
    method: str,
    path: str,
    query: str,
    protocol: str,
    headers: dict[str, str],
    cookie: str | None,
    body: bytes,
    source_ip: str,
    request_id: str,
    function_hash: str,
    now_s: float,
    signer: Signer | None = None,
) -> tuple[bytes, bytes]:
    """The event's JSON without its `body`, and the UTF-8 text that is its `body`; empty where it has none.

    Apart, because a large text costs more to escape, and to read again, than everything else together.

    Args:
        path: below the function's URL, as sent (percent-encoded), beginning with `/`.
        query: as sent, without `?`; empty if there is none.
        headers: lower-case names, repeated ones joined by commas, without `cookie`.
        cookie: value of the Cookie header.
        now_s: Unix time in seconds.
        signer: of a call to a URL that asks for AWS's signature.
    """
    host = headers.get("host", "")
    event = Event(
        "2.0",
        "$default",
        path,
        query,
        headers,
        RequestContext(
            "anonymous",
            function_hash,
            host,
            host.partition(".")[0],
            Http(method, path, protocol, source_ip, headers.get("user-agent", "")),
            request_id,
            "$default",
            "$default",
            _clock_text(int(now_s)),
            int(now_s * 1000),
        ),
        False,
    )
    if signer is not None:
        context = event.request_context
        context.account_id = signer.account_id
        context.authentication = None
        context.authorizer = Authorizer(
            Iam(signer.access_key_id, signer.account_id, signer.user_id, signer.user_arn, signer.user_id)
        )
    if cookie:
        event.cookies = cookie.split("; ")
    if query:
        event.query_string_parameters = _parameters(query)
    if body and not _is_text(body, headers.get("content-type", "")):
        body = base64.b64encode(body)
        event.is_base64_encoded = True
    return _encode(event), body


def whole(event: bytes, body: bytes) -> tuple[bytes, ...]:
    """The event's JSON with its `body` in it, in pieces: to put them together would take as much memory again."""
    return (event[:-1] + b',"body":', _encode(body.decode()), b"}") if body else (event,)


def response_from(answer: bytes) -> Response:
    """The response that a function's answer stands for. Raises: `InvalidAnswer`."""
    # Only an object can be structured, and an array of 6 MB need not be looked into.
    if answer[:1] != b"{" and answer.lstrip()[:1] != b"{":
        return _plain(answer)
    try:
        parsed = _decode_answer(answer)
    except _UNREADABLE:
        # Not JSON, or an object whose members only look like ours: without a status it is a plain value.
        return _unstructured(answer)
    if parsed.status_code is UNSET:
        return Response(200, _JSON_HEAD, answer)
    status = _status(parsed.status_code)
    return Response(status, _head(parsed), _body(parsed))


def with_prelude(answer: bytes) -> Response:
    """A whole answer of `PRELUDE_TYPE`: prelude, 8 zero bytes, body. Raises: `InvalidAnswer`."""
    prelude, separator, body = answer.partition(PRELUDE_END)
    if not separator:
        raise InvalidAnswer("the prelude has no end")
    return msgspec.structs.replace(from_prelude(prelude), body=body)


def from_prelude(prelude: bytes) -> Response:
    """Status and headers for what comes after it. Raises: `InvalidAnswer`."""
    try:
        parsed = _decode_answer(prelude)
    except _UNREADABLE as exc:
        raise InvalidAnswer("the prelude is not JSON") from exc
    return Response(_status(parsed.status_code) if parsed.status_code is not UNSET else 200, _head(parsed), b"")


def without_prelude(media_type: str) -> Response:
    """Status and headers of a stream that says nothing but its type. Raises: `InvalidAnswer`."""
    return Response(200, _line("content-type", media_type or "application/octet-stream").encode(), b"")


def located(head: bytes, prefix: str, host: str) -> bytes:
    """The header lines with a `Location` as a caller has to take it.

    On AWS the whole host is the function's, so what its code gives as a path from the root, with the host before it or
    without, is below its URL. Other hosts stay, and so does a path that begins with a hash, of whichever function.

    Args:
        prefix: `/` and the hash; empty where the host is the function's here too.
        host: that the request was sent to.
    """

    def as_taken(found: re.Match[bytes]) -> bytes:
        origin, path = found.groups(b"")
        is_here = origin.rpartition(b"//")[2].lower() == host.lower().encode() if origin else path[:1] == b"/"
        if not is_here or _BEGINS_WITH_HASH(path):
            return found[0]
        return b"location: " + origin + prefix.encode() + path

    return _LOCATION.sub(as_taken, head)


def _is_text(body: bytes, content_type: str) -> bool:
    if not content_type.lower().startswith(_TEXT):
        return False
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError:
            return False  # said to be text and is not: the bytes must not be lost
    # Nor is this text, and in JSON it would have six times the size, which nobody has room for.
    return len(body) <= _LONG or len(body.translate(None, _CONTROLS)) > len(body) * 7 // 8


def _parameters(query: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in query.split("&"):
        if pair:
            name, _, value = pair.partition("=")
            name, value = unquote_plus(name), unquote_plus(value)
            found[name] = f"{found[name]},{value}" if name in found else value
    return found


def _plain(answer: bytes) -> Response:
    text = answer.strip()
    if text[:1] == b'"':
        try:
            return Response(200, _JSON_HEAD, msgspec.json.decode(text, type=str).encode("utf-8", "replace"))
        except _UNREADABLE as exc:
            raise InvalidAnswer("the answer is not JSON") from exc
    return _unstructured(answer)


def _unstructured(answer: bytes) -> Response:
    try:
        value = json.loads(answer)
    except (ValueError, RecursionError) as exc:
        raise InvalidAnswer("the answer is not JSON") from exc
    if isinstance(value, dict) and "statusCode" in value:
        raise InvalidAnswer("a member of the answer has the wrong type")
    return Response(200, _JSON_HEAD, answer)


def _status(given: int | str | UnsetType | None) -> int:
    if isinstance(given, str) and given.isascii() and given.isdigit() and len(given) == 3:
        given = int(given)
    # 1xx would be taken for an interim response and the next one for the answer.
    if not isinstance(given, int) or not 200 <= given <= 599:
        raise InvalidAnswer("statusCode is not a number between 200 and 599")
    return given


def _head(answer: Answer) -> bytes:
    if not answer.headers and not answer.cookies:
        return _JSON_HEAD
    lines: list[str] = []
    has_type = False
    for name, value in (answer.headers or {}).items():
        lower = name.lower()
        if lower in _OURS:
            continue
        if lower == "content-type":
            has_type = True
        lines.append(_line(lower, value))
    if not has_type:
        lines.append("content-type: application/json\r\n")
    lines.extend(_line("set-cookie", cookie) for cookie in answer.cookies or ())
    return "".join(lines).encode("utf-8")


def _line(name: str, value: Any) -> str:
    if value is True or value is False:
        value = "true" if value else "false"
    elif not isinstance(value, str):
        if not isinstance(value, (int, float)):
            raise InvalidAnswer("a header's value is neither text nor a number")
        value = str(value)
    if _TOKEN(name) is None or _UNSAFE(value) is not None:
        raise InvalidAnswer("a header can't be sent")
    return f"{name}: {value}\r\n"


def _body(answer: Answer) -> bytes:
    body = answer.body
    if isinstance(body, str):
        if not answer.is_base64_encoded:
            return body.encode("utf-8", "replace")
        try:
            return base64.b64decode(body, validate=True)
        except (binascii.Error, ValueError) as exc:
            raise InvalidAnswer("the body is not Base64") from exc
    return b"" if body is None else _encode(body)


_last_second, _last_text = 0, ""


def _clock_text(second: int) -> str:
    # `12/Mar/2020:19:03:58 +0000`, made once a second: formatting it costs more than the rest of the context.
    global _last_second, _last_text
    if second != _last_second:
        _last_second, _last_text = second, time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(second))
    return _last_text
