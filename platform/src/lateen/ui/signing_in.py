"""`/ui/sign-in` and out. The key goes into the session's sealed cookie, and nowhere else in the browser."""

import re
from typing import Any
from urllib.parse import urlencode, urlsplit

from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from lateen.ui.attempts import Attempts
from lateen.ui.calls import Api, Refused
from lateen.ui.forms import checked_form
from lateen.ui.rendering import PageRequest, page
from lateen.ui.sessions import EndedSessions, Session, Sessions, cookie_header

SIGN_IN = "/ui/sign-in"
HOME = "/ui/functions"
_LONGEST = 200
_PAGE = re.compile(r"/ui(/[A-Za-z0-9_-]+)+(\?[!$-\[\]-~]*)?")
"""Addresses of pages, with a query. No dots, for `/ui/..` leads to functions, which could look like these pages."""
_LONGEST_PAGE = 2000

ApiDep = NamedDependency[SkipValidation[Api]]
SessionsDep = NamedDependency[SkipValidation[Sessions]]
EndedDep = NamedDependency[SkipValidation[EndedSessions]]
AttemptsDep = NamedDependency[SkipValidation[Attempts]]


class NotSignedIn(Exception):
    """The page needs a key that is valid."""


def address_of_form(request: Request[Any, Any, Any]) -> str:
    """Of the form that leads back to the page which was asked for, or whose part or form was."""
    scope = request.scope
    if request.method == "GET" and not request.headers.get("hx-request"):
        path = scope.get("raw_path") or scope["path"].encode()
        return _form_before(_address(path.decode("latin-1"), scope["query_string"].decode("latin-1")))
    try:
        page_shown = urlsplit(request.headers.get("referer", ""))
    except ValueError:
        return SIGN_IN
    return _form_before(_address(page_shown.path, page_shown.query))


def _address(path: str, query: str) -> str:
    return f"{path}?{query}" if query else path


def _form_before(wanted: str) -> str:
    return SIGN_IN if (wanted := _page_at(wanted)) == HOME else f"{SIGN_IN}?{urlencode({'next': wanted})}"


def _page_at(wanted: str) -> str:
    """`wanted` if that is the address of a page of ours, and else that of the first."""
    return wanted if len(wanted) <= _LONGEST_PAGE and _PAGE.fullmatch(wanted) else HOME


class SigningIn(Controller):
    include_in_schema = False

    @get("/")
    async def home(self) -> Response[bytes]:
        return _to(HOME)

    @get("/sign-in")
    async def form(self, request: PageRequest, sessions: SessionsDep) -> Response[Any]:
        session: Session = request.scope["state"]["session"]
        wanted = _page_at(request.query_params.get("next", ""))
        if session.is_signed_in:
            return _to(wanted)
        return _shown(request, sessions, session, wanted)

    @post("/sign-in", status_code=200)
    async def sign_in(
        self, request: PageRequest, api: ApiDep, sessions: SessionsDep, attempts: AttemptsDep
    ) -> Response[Any]:
        session: Session = request.scope["state"]["session"]
        fields = await checked_form(request, sessions)
        wanted = _page_at(fields.get("next", ""))
        secret = fields.get("key", "").strip()
        if not secret:
            return _shown(request, sessions, session, wanted, error="Paste a key.", status=400)
        client = request.scope.get("client")
        # All but the last part of a key is its name, which is no secret.
        who = f"{client[0] if client else ''} {secret.rpartition('_')[0][:_LONGEST]}"
        if wait_s := attempts.wait_s(who):
            text = f"This key was refused too often. Try again in {wait_s} s."
            answer = _shown(request, sessions, session, wanted, error=text, status=429)
            answer.headers["Retry-After"] = str(wait_s)
            return answer
        try:
            if len(secret) > _LONGEST or not (secret.isascii() and secret.isprintable()):
                raise Refused(401, {})
            await api.call("GET", "/api/workspaces", secret=secret, query={"limit": 1})
        except Refused as exc:
            if exc.status != 401:
                raise
            attempts.failed(who)
            text = "This key is not known here, or was revoked."
            return _shown(request, sessions, session, wanted, error=text, status=401)
        begun = sessions.begin(secret)
        return _to(wanted, cookie_header(sessions.seal(begun), secure=_is_secure(request)))

    @post("/sign-out", status_code=303)
    async def sign_out(self, request: PageRequest, sessions: SessionsDep, ended: EndedDep) -> Response[bytes]:
        await checked_form(request, sessions)
        session: Session = request.scope["state"]["session"]
        if session.is_signed_in:
            await ended.end(session.id, until_s=session.expires_s)
        return _to(SIGN_IN, cookie_header("", secure=_is_secure(request), lives_s=0))


def _shown(
    request: PageRequest, sessions: Sessions, session: Session, wanted: str, *, error: str = "", status: int = 200
) -> Response[Any]:
    """The form's token belongs to a session without a key, which the browser gets here."""
    answer: Response[Any] = page(
        request, "sign_in.html", status=status, error=error, next="" if wanted == HOME else wanted
    )
    answer.headers["Set-Cookie"] = cookie_header(sessions.seal(session), secure=_is_secure(request))
    return answer


def _to(address: str, cookie: str | None = None) -> Response[bytes]:
    headers = {"Location": address} | ({} if cookie is None else {"Set-Cookie": cookie})
    return Response(b"", status_code=303, headers=headers)


def _is_secure(request: Request[Any, Any, Any]) -> bool:
    """Whether the browser speaks TLS, also to a proxy that we are not told of."""
    return request.scope["scheme"] == "https" or urlsplit(request.headers.get("origin", "")).scheme == "https"
