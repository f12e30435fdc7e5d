"""Problems: the one shape of every refusal, `application/problem+json` (RFC 9457).

`type` is what a program branches on, `detail` is for a person, `errors` names each refused field and the reason.
Nothing of a driver, a path or a trace is ever in it; that is in the log, under the same request id.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from lateen.domain import errors
from lateen.logs import request_id
from lateen.ports.builder import BuildInterrupted, BuildRefused, BuildWaits
from lateen.ports.deployer import NotRunning, NotYetRunning
from lateen.ports.image_resolver import ImageFailed
from lateen.ports.objects import ObjectNotFound, ObjectsUnavailable
from lateen.ports.queue import LeaseLost, QueueFull, QueueUnavailable, TenantFull
from lateen.ports.table import ItemNotFound, RevisionConflict, TableUnavailable
from lateen.services.builds import BuildFailed
from lateen.services.events import PayloadLost
from lateen.services.log_streams import TooManyStreams
from lateen.services.reserved import BelowProvisioned
from lateen.services.versions import VersionUsed

MEDIA_TYPE = "application/problem+json"


class FieldError(Struct, frozen=True):
    """`field`: its path in the request, such as `environment.PATH`, a parameter's or a header's name."""

    field: str
    reason: str


class FunctionError(Struct, frozen=True):
    """What a function failed with. `trace`: lines, the innermost call last."""

    type: str
    message: str
    trace: list[str]


class Problem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    type: str
    """`urn:lateen:problem:{slug}`."""
    title: str
    status: int
    detail: str
    errors: tuple[FieldError, ...] = ()
    error: FunctionError | None = None
    """Only of `function-error`."""
    request_id: str | None = None


class Refusal(Exception):
    """A problem on its way to the caller."""

    def __init__(
        self,
        slug: str,
        detail: str,
        *,
        errors: Iterable[FieldError] = (),
        error: FunctionError | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.slug = slug
        self.detail = detail
        self.errors = tuple(errors)
        self.error = error
        self.headers = dict(headers or {})

    @property
    def status(self) -> int:
        return SLUGS[self.slug][0]

    def body(self) -> bytes:
        status, title = SLUGS[self.slug]
        return msgspec.json.encode(
            Problem(
                type=f"urn:lateen:problem:{self.slug}",
                title=title,
                status=status,
                detail=self.detail,
                errors=self.errors,
                error=self.error,
                request_id=request_id.get(),
            )
        )


SLUGS = {
    "invalid-input": (400, "Invalid input"),
    "bad-request": (400, "Bad request"),
    "unauthenticated": (401, "Unauthenticated"),
    "forbidden": (403, "Forbidden"),
    "not-found": (404, "Not found"),
    "method-not-allowed": (405, "Method not allowed"),
    "not-acceptable": (406, "Not acceptable"),
    "timeout": (408, "Request timeout"),
    "conflict": (409, "Conflict"),
    "already-exists": (409, "Already exists"),
    "revision-mismatch": (412, "Revision mismatch"),
    "too-large": (413, "Too large"),
    "uri-too-long": (414, "URI too long"),
    "unsupported-media-type": (415, "Unsupported media type"),
    "misdirected": (421, "Misdirected request"),
    "function-error": (424, "The function failed"),
    "too-many-requests": (429, "Too many requests"),
    "too-many-streams": (429, "Too many streams"),
    "headers-too-large": (431, "Request header fields too large"),
    "internal": (500, "Internal error"),
    "lost": (502, "Function lost"),
    "unavailable": (503, "Unavailable"),
    "function-timeout": (504, "No answer in time"),
}
"""Slug → status and title."""

PROBLEMS: dict[type[Exception], str] = {
    errors.LateenError: "internal",
    errors.NotFound: "not-found",
    errors.AlreadyExists: "already-exists",
    errors.Conflict: "conflict",
    VersionUsed: "conflict",
    errors.RevisionMismatch: "revision-mismatch",
    errors.InvalidInput: "invalid-input",
    BelowProvisioned: "invalid-input",
    errors.TooLarge: "too-large",
    errors.Unauthenticated: "unauthenticated",
    errors.Forbidden: "forbidden",
    errors.Unavailable: "unavailable",
    NotRunning: "unavailable",
    NotYetRunning: "unavailable",
    TableUnavailable: "unavailable",
    ObjectsUnavailable: "unavailable",
    QueueUnavailable: "unavailable",
    QueueFull: "unavailable",
    TenantFull: "too-many-requests",
    TooManyStreams: "too-many-streams",
    BuildInterrupted: "unavailable",
    BuildWaits: "unavailable",
    # What the controller tells of a function; no request waits for a build, or for an image.
    BuildRefused: "conflict",
    BuildFailed: "conflict",
    ImageFailed: "conflict",
    # A service that lets one of these through has a fault: it knows what is missing and the store doesn't.
    ItemNotFound: "internal",
    ObjectNotFound: "internal",
    RevisionConflict: "internal",
    LeaseLost: "internal",
    PayloadLost: "internal",
}

_BY_STATUS = {status: slug for slug, (status, _) in reversed(SLUGS.items())}
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="lateen"'}
_RETRY = {"Retry-After": "1"}
_MSGSPEC_PATH = re.compile(r" - at (?:`key` in )?`\$\.?(.*)`\Z")
_UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(.*)`\Z", re.DOTALL)
_PATTERN = re.compile(r"^[Ee]xpected `str` matching regex '(.*)'\Z", re.DOTALL)
_MISSING_FIELD = re.compile(r"Object missing required field `(.*)`\Z", re.DOTALL)


def invalid(field: str, reason: str) -> Refusal:
    """One field is refused."""
    return Refusal("invalid-input", f"{field}: {reason}", errors=[FieldError(field, reason)])


def refusal_from(exc: errors.LateenError) -> Refusal:
    slug = PROBLEMS[type(exc)]
    if slug == "internal":
        return internal()
    if isinstance(exc, errors.InvalidInput):
        return invalid(exc.field, exc.reason)
    headers = {"unauthenticated": _CHALLENGE, "unavailable": _RETRY, "too-many-requests": _RETRY}.get(slug)
    return Refusal(slug, str(exc), headers=headers)


def refusal_for_status(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Refusal:
    """For what Litestar itself refuses."""
    slug = _BY_STATUS.get(status) or ("bad-request" if 400 <= status < 500 else "internal")
    return internal() if slug == "internal" else Refusal(slug, detail, headers=headers)


def unauthenticated(detail: str) -> Refusal:
    return Refusal("unauthenticated", detail, headers=_CHALLENGE)


def internal() -> Refusal:
    return Refusal("internal", "something went wrong here; the log has it under this request id")


def refusal_from_msgspec(exc: Exception) -> Refusal:
    """What a decoder says about a body, as field and reason."""
    text = str(exc)
    if isinstance(exc, UnicodeError):
        return invalid("body", "not valid UTF-8")
    if isinstance(exc, RecursionError):
        return invalid("body", "nested too deeply")
    if not isinstance(exc, msgspec.ValidationError):
        where = text.partition("JSON is malformed")[2]
        return invalid("body", f"not JSON{where}")
    field = ""
    if place := _MSGSPEC_PATH.search(text):
        field = place[1].lstrip(".")
        text = text[: place.start()]
    if unknown := _UNKNOWN_FIELD.match(text):
        return invalid(_joined(field, _readable(unknown[1])), "no such field")
    if missing := _MISSING_FIELD.match(text):
        return invalid(_joined(field, missing[1]), "required")
    return invalid(_readable(field) or "body", reason_of(text))


def reason_of(text: str) -> str:
    """msgspec's sentence, in our style."""
    if pattern := _PATTERN.match(text):
        form = pattern[1].replace("\\\\", "\\").removeprefix("^").removesuffix("\\Z")
        return f"not of the form {form}"
    return text[:1].lower() + text[1:]


def _joined(field: str, name: str) -> str:
    return f"{field}.{name}" if field else name


def _readable(name: str) -> str:
    """A name that the caller made up, safe to show and short."""
    return name[:64].encode("ascii", "backslashreplace").decode()


def headers_of(refusal: Refusal, length: int) -> list[tuple[bytes, bytes]]:
    """For an ASGI answer."""
    return [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(length).encode()),
        (b"cache-control", b"no-store"),
        *((name.lower().encode(), value.encode()) for name, value in refusal.headers.items()),
    ]


async def send_problem(send: Any, refusal: Refusal) -> None:
    """Answer it, outside of Litestar."""
    body = refusal.body()
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers_of(refusal, len(body))})
    await send({"type": "http.response.body", "body": body, "more_body": False})
