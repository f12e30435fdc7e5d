"""Requests: bodies read within limits, JSON decoded strictly, and the headers that decide about a write."""

import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import msgspec
from anyio import to_thread
from litestar import Request
from litestar.params import HeaderParameter, QueryParameter

from lateen.api import json_text
from lateen.api.edge import CallerLeft
from lateen.api.problems import Refusal, invalid, refusal_from_msgspec
from lateen.domain.names import IDEMPOTENCY_KEY, NAME
from lateen.domain.pages import DEFAULT_LIMIT, MAX_LIMIT
from lateen.services.idempotency import Once
from lateen.services.zips import MAX_ZIPPED

BODY_LIMIT = 1024 * 1024
CODE_LIMIT = MAX_ZIPPED * 4 // 3 + BODY_LIMIT
"""A zip in Base64, and the other fields."""
AT_ONCE = 256 * 1024
"""Bytes of a body that the event loop decodes itself."""
EVENT_LIMIT = 6 * 1024 * 1024

Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT, description="Items on a page, at most.")]
Cursor = Annotated[
    str | None,
    QueryParameter(description="`next_cursor` of the page before.", max_length=1024, pattern=r"^[A-Za-z0-9_-]+\Z"),
]
DEFAULT = DEFAULT_LIMIT
NameIs = Annotated[str | None, QueryParameter(description="Only the one of this name.", pattern=NAME)]
"""What it says is asked of `named`."""
IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        pattern=IDEMPOTENCY_KEY,
        description="Sent again with the same key within a day, the request is answered as the first time.",
    ),
]
_ENTITY_TAG = r'(W/)?"([\x21\x23-\x7e]*)"'
IfMatch = Annotated[
    str | None,
    HeaderParameter(
        name="If-Match",
        description="The `ETag` that you know, several with commas, or `*`; 412 if it is another one.",
        pattern=rf"^(\*|{_ENTITY_TAG}([ \t]*,[ \t]*{_ENTITY_TAG})*)\Z",
    ),
]

_ENTITY_TAGS = re.compile(_ENTITY_TAG)
_PARAMETERS = ("Idempotency-Key", "If-Match", "X-Amz-Invocation-Type")
_REVISION = re.compile(r"^[0-9]{1,15}\Z")
_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}


class LateenRequest(Request[Any, Any, Any]):
    """The type of body that a handler declares is decoded as it is said, without the coercions of Litestar's own.

    `opt={"body_limit": …}` on a handler raises its limit from `BODY_LIMIT`.
    """

    async def body(self) -> bytes:
        """The JSON body, which must be there."""
        _check_content_type(self)
        body = await self.raw(self.route_handler.opt.get("body_limit", BODY_LIMIT))
        if not body:
            raise invalid("body", "required: a JSON object")
        return body

    async def json(self) -> Any:
        body = await self.body()
        field = self.route_handler.parsed_data_field
        assert field is not None
        if len(body) <= AT_ONCE:
            return _decoded(field.annotation, body)
        return await to_thread.run_sync(_decoded, field.annotation, body)

    async def raw(self, limit: int) -> bytes:
        """Any body, of at most `limit` bytes; refused by its stated length before anything is read."""
        if "lateen.body" in self.scope:
            body: bytes = self.scope["lateen.body"]  # type: ignore[typeddict-item]
            return body
        stated = self.headers.get("content-length", "")
        if stated.isdecimal() and len(stated) < 20 and int(stated) > limit:
            raise _too_large(limit)
        if self.headers.get("content-encoding", "identity").lower() != "identity":
            raise Refusal("unsupported-media-type", "Content-Encoding: send the body as it is, not compressed")
        chunks: list[bytes] = []
        size, more = 0, True
        while more:
            message = await self.receive()
            if message["type"] != "http.request":
                raise CallerLeft
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > limit:
                raise _too_large(limit)
            chunks.append(chunk)
            more = message.get("more_body", False)
        body = self.scope["lateen.body"] = b"".join(chunks)  # type: ignore[typeddict-unknown-key]
        return body


async def refuse_null(request: Request[Any, Any, Any]) -> None:
    """Litestar takes the text `null` for an absent parameter. Who sends `cursor=null` would be given the first page
    again and again, and a create with `Idempotency-Key: null` would be made twice."""
    given = [*request.query_params.multi_items(), *((name, request.headers.get(name)) for name in _PARAMETERS)]
    for name, value in given:
        if isinstance(value, str) and value.lower() == "null" and name != "name":
            raise invalid(name, "not a value")


def named(request: LateenRequest) -> str | None:
    """The `name` that a listing is asked for. Read here, for to Litestar `null` is none, and to us a name as any."""
    return request.query_params.get("name")


async def once(request: LateenRequest, key: str | None) -> Once | None:
    """The request's `Idempotency-Key`, bound to what it asks for."""
    if key is None:
        return None
    # A body that is asked for was read with the handler's arguments; where none is, none need be there.
    whole = (key, request.method.encode(), request.url.path.encode(), await request.raw(BODY_LIMIT))
    return await to_thread.run_sync(lambda: Once.of(*whole))


async def expected_revision(if_match: str | None, current: Callable[[], Awaitable[int]]) -> int | None:
    """The revision that the use case shall expect, from a header of the form that `IfMatch` asks for; None: any.

    Args:
        current: the revision now; asked only where one number is not all that the header says.
    Raises: `Refusal` (412). Weak tags match nothing, as the RFC says.
    """
    if if_match in (None, "*"):
        return None
    tags = [(weak, tag) for weak, tag in _ENTITY_TAGS.findall(if_match)]
    revisions = {int(tag) for weak, tag in tags if not weak and _REVISION.match(tag)}
    if len(tags) == 1 and revisions:
        return revisions.pop()
    if (now := await current()) not in revisions:
        raise Refusal("revision-mismatch", f"it is at revision {now}, which If-Match does not name")
    return now


def etag(revision: int) -> str:
    return f'"{revision}"'


def _decoded(target: Any, body: bytes) -> Any:
    json_text.check(body)
    try:
        return _decoder(target).decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as exc:
        raise refusal_from_msgspec(exc) from exc


def _decoder(target: Any) -> msgspec.json.Decoder[Any]:
    if target not in _decoders:
        _decoders[target] = msgspec.json.Decoder(target)
    return _decoders[target]


def _check_content_type(request: LateenRequest) -> None:
    given = request.headers.getall("content-type", [])
    media_type = given[0].partition(";")[0].strip().lower() if given else ""
    if len(given) > 1 or (media_type and media_type != "application/json"):
        raise Refusal(
            "unsupported-media-type", "the body must be JSON: Content-Type: application/json", headers=_ACCEPTED
        )
    charset = given[0].lower().partition("charset=")[2].strip(' "') if given else ""
    if charset and charset not in {"utf-8", "utf8"}:
        raise Refusal("unsupported-media-type", "JSON is UTF-8", headers=_ACCEPTED)


_ACCEPTED = {"Accept": "application/json"}


def _too_large(limit: int) -> Refusal:
    return Refusal("too-large", f"the body has more than {limit} bytes")
