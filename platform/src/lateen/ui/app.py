"""The pages as one ASGI application, for everything below `/ui`. Host and Origin have been checked before it.

Functions answer on the same host, so a page of a function's is of the same origin to a browser, and cookies alone prove
nothing. Hence: nothing but whole documents, scripts and styles is given to a request without the token that is in each
of our pages; a script can't fetch a document, for browsers say on their own what a request is for, and no script can
make them say otherwise; and no window of another page's making can be looked into.
"""

import logging
from collections.abc import MutableMapping
from typing import Any

import msgspec
from litestar import Litestar, Request, Response, Router
from litestar.di import Provide
from litestar.exceptions import HTTPException

from lateen.ui.assets import PATH as ASSETS
from lateen.ui.assets import asset
from lateen.ui.attempts import Attempts
from lateen.ui.calls import Api, Calls, Refused
from lateen.ui.failed_pages import FailedPages
from lateen.ui.forms import ForgedForm
from lateen.ui.function_pages import FunctionPages
from lateen.ui.key_pages import KeyPages
from lateen.ui.rendering import page, template_config
from lateen.ui.sessions import COOKIE, EndedSessions, Session, Sessions, cookie_header
from lateen.ui.signing_in import NotSignedIn, SigningIn, address_of_form

log = logging.getLogger(__name__)

PREFIX = "/ui"
FORWARDED = ("/ui/api/", "/ui/lambda", "/ui/lambda/")
FORM_LIMIT = 64 * 1024
TOKEN_HEADER = b"x-csrf-token"
_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    b"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_OURS = [(b"content-security-policy", _POLICY), (b"cross-origin-opener-policy", b"same-origin")]
_OF_THE_EDGE = (b"x-request-id", b"x-content-type-options", b"referrer-policy", b"x-frame-options", b"cross-origin-")
"""Headers that the edge gives to every answer, ours included."""
_COME_AGAIN = b'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0"><title>Lateen</title>\n'
"""To who follows a link of another site: the browser keeps the cookie back. What the page itself asks for has it."""
_NOT_SAFE = (
    b"Lateen's pages need https, or an address of this machine such as localhost. Elsewhere browsers don't say what a "
    b"request is for, so the pages of functions could read these.\n"
)
_KEPT_FROM_THE_API = (b"cookie", b"authorization", b"x-csrf-token", b"x-request-id")


class Pages:
    def __init__(self, api: Any, *, key: bytes, ended: EndedSessions) -> None:
        """Args:
        api: the ASGI application that serves the public API, and checks keys.
        key: 32 bytes for the sessions, the same in all replicas.
        """
        self._api = api
        self._sessions = Sessions(key)
        self._ended = ended
        self._app = _litestar(self._sessions, ended, Api(api))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = _Headers(scope["headers"])
        path = scope["path"]
        is_asset = path.startswith(f"{ASSETS}/")
        session = self._sessions.open(headers.cookie(COOKIE)) or self._sessions.begin()
        if session.is_signed_in and not is_asset and await self._ended.has_ended(session.id):
            session = self._sessions.begin()
        has_token = self._sessions.is_token(session, headers.one(TOKEN_HEADER))
        scope["state"] |= {"session": session, "token": self._sessions.token(session), "has_token": has_token}
        if path.startswith(FORWARDED):
            await self._forward(scope, receive, send, session, may=has_token)
            return
        wants = headers.one(b"sec-fetch-dest")
        if not (is_asset or has_token or wants == "document"):
            if wants:
                await _refuse(send, 403, "forbidden", "the page is out of date; load it again")
            else:
                await _answer(send, 403, b"text/plain; charset=utf-8", _NOT_SAFE)
            return
        if _is_from_elsewhere(scope, headers) and not session.is_signed_in:
            await _answer(send, 200, b"text/html; charset=utf-8", _COME_AGAIN, *_OURS)
            return
        length = headers.one(b"content-length")
        if len(length) > 9 or int(length or 0) > FORM_LIMIT or headers.one(b"transfer-encoding"):
            await _refuse(send, 413, "too-large", f"a form has at most {FORM_LIMIT} bytes")
            return

        async def send_ours(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *_OURS]}
            await send(message)

        await self._app(scope, receive, send_ours)

    async def _forward(self, scope: Any, receive: Any, send: Any, session: Session, *, may: bool) -> None:
        """To the public API, with the session's key; what it answers goes out as it comes."""
        scope["path_template"] = "/ui/api"
        if not session.is_signed_in:
            await _refuse(send, 401, "unauthenticated", "sign in first")
            return
        if not may:
            await _refuse(send, 403, "page-out-of-date", "the page is out of date; load it again")
            return
        given = [header for header in scope["headers"] if header[0] not in _KEPT_FROM_THE_API]
        given.append((b"authorization", f"Bearer {session.secret}".encode()))
        if request_id := scope["state"].get("request_id"):
            given.append((b"x-request-id", request_id.encode()))
        raw_path = scope.get("raw_path") or scope["path"].encode()
        inner = {
            **scope,
            "path": scope["path"].removeprefix(PREFIX),
            "raw_path": raw_path.removeprefix(PREFIX.encode()),
            "headers": given,
            "state": {},
        }
        inner.pop("path_template")

        async def send_once(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                kept = [each for each in message["headers"] if not each[0].lower().startswith(_OF_THE_EDGE)]
                message = {**message, "headers": kept}
            await send(message)

        await self._api(inner, receive, send_once)


class _Headers:
    def __init__(self, headers: list[tuple[bytes, bytes]]) -> None:
        self._headers = headers

    def one(self, name: bytes) -> str:
        found = [value for given, value in self._headers if given == name]
        return found[0].decode("latin-1") if len(found) == 1 else ""

    def cookie(self, name: str) -> str:
        """A script of a function's may have set another one for a path below ours. Of two, neither counts."""
        pairs = (pair.strip().partition("=") for pair in self.one(b"cookie").split(";"))
        found = [value for given, _, value in pairs if given == name]
        return found[0] if len(found) == 1 else ""


def _is_from_elsewhere(scope: Any, headers: _Headers) -> bool:
    """Whether a link of another site led here."""
    return scope["method"] == "GET" and (headers.one(b"sec-fetch-dest"), headers.one(b"sec-fetch-site")) == (
        "document",
        "cross-site",
    )


async def _refuse(send: Any, status: int, slug: str, detail: str) -> None:
    problem = {"type": f"urn:lateen:problem:{slug}", "title": detail.capitalize(), "status": status, "detail": detail}
    await _answer(send, status, b"application/problem+json", msgspec.json.encode(problem))


async def _answer(send: Any, status: int, media_type: bytes, body: bytes, *more: tuple[bytes, bytes]) -> None:
    headers = [(b"content-type", media_type), (b"content-length", str(len(body)).encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _litestar(sessions: Sessions, ended: EndedSessions, api: Api) -> Litestar:
    async def calls(request: Request[Any, Any, Any]) -> Calls:
        state = request.scope["state"]
        session: Session = state["session"]
        if not session.is_signed_in:
            raise NotSignedIn
        return Calls(api, secret=session.secret, request_id=state.get("request_id"))

    def provide(value: Any) -> Provide:
        return Provide(lambda: value, sync_to_thread=False)

    return Litestar(
        [Router(PREFIX, route_handlers=[SigningIn, FunctionPages, FailedPages, KeyPages, asset])],
        dependencies={
            "calls": Provide(calls),
            "api": provide(api),
            "sessions": provide(sessions),
            "ended": provide(ended),
            "attempts": provide(Attempts()),
        },
        template_config=template_config(),
        exception_handlers={
            Refused: _answer_refused,
            NotSignedIn: _to_sign_in,
            ForgedForm: _answer_forged,
            HTTPException: _answer_litestar,
            Exception: _answer_unexpected,
        },
        openapi_config=None,
        logging_config=None,
        debug=False,
    )


def _to_sign_in(request: Request[Any, Any, Any], _: Exception) -> Response[Any]:
    """The cookie goes too: it may hold a key that was revoked."""
    secure = request.scope["scheme"] == "https"
    headers = {"Set-Cookie": cookie_header("", secure=secure, lives_s=0)} if COOKIE in request.cookies else {}
    form = address_of_form(request)
    if request.headers.get("hx-request"):
        return Response(b"", status_code=204, headers=headers | {"HX-Redirect": form})
    return Response(b"", status_code=303, headers=headers | {"Location": form})


def _answer_refused(request: Request[Any, Any, Any], exc: Refused) -> Response[Any]:
    if exc.status == 401:
        return _to_sign_in(request, exc)
    if request.headers.get("hx-request"):
        return Response(str(exc), status_code=exc.status, media_type="text/plain; charset=utf-8")
    return _error_page(request, exc.status, str(exc))


def _answer_forged(request: Request[Any, Any, Any], _: Exception) -> Response[Any]:
    return _error_page(request, 403, "The page was out of date. Go back, load it again, and try once more.")


def _answer_unexpected(request: Request[Any, Any, Any], exc: Exception) -> Response[Any]:
    log.error("page failed", exc_info=exc)
    return _error_page(request, 500, "Something went wrong here. The server’s log says what.")


def _answer_litestar(request: Request[Any, Any, Any], exc: HTTPException) -> Response[Any]:
    if exc.status_code >= 500:
        return _answer_unexpected(request, exc)
    detail = "there is no page at this address" if exc.status_code == 404 else exc.detail
    return _error_page(request, exc.status_code, detail)


def _error_page(request: Request[Any, Any, Any], status: int, detail: str) -> Response[Any]:
    return page(request, "error.html", status=status, detail=detail, code=status)
