"""HTTP to Lateen: one request, its refusal in words, all pages of a list."""

import ssl
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self

import httpx

from lateen.cli.connection import Connection, is_loopback
from lateen.cli.progress import measured
from lateen.cli.refusals import Refused

CONNECT_S = 5.0
ANSWER_S = 60.0
PAGE = 100
"""Entries asked for at a time."""

_HINTS = {
    "unauthenticated": "set LATEEN_TOKEN, or run this where .lateen/ is (LATEEN_DATA names another folder)",
    "forbidden": "use a key that may do this: 'lateen key create' with an administrator's key",
    "unavailable": "try again in a moment",
}
_TLS_HINT = (
    "SSL_CERT_FILE names the certificates of your CA; where no TLS is spoken, LATEEN_ENDPOINT begins with http://"
)


class Client:
    """A context manager; keeps one connection open for all its requests."""

    def __init__(self, connection: Connection) -> None:
        """Raises: `Refused` where the environment's proxies or certificates are none."""
        self.connection = connection
        self.ahead_s = 0.0
        """How far Lateen's clock is ahead of this machine's, as its last answer said."""
        try:
            self._http = httpx.Client(
                base_url=connection.endpoint,
                headers={"authorization": f"Bearer {connection.token}"} if connection.token else {},
                timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
                # A proxy for the outside world has no way to this machine's loopback.
                trust_env=not is_loopback(connection.endpoint),
            )
        except OSError as exc:
            hint = "SSL_CERT_FILE and SSL_CERT_DIR name certificates"
            raise Refused(f"the CA's certificates can't be read: {exc.strerror or exc}", hint=hint) from exc
        except (ImportError, ValueError, httpx.InvalidURL) as exc:
            hint = "HTTP_PROXY, HTTPS_PROXY and ALL_PROXY are such as http://proxy.example:3128"
            raise Refused(f"{connection.endpoint} can't be asked: {exc}", hint=hint) from exc

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._http.close()

    def send(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str | int] | None = None,
        answer_s: float = ANSWER_S,
    ) -> httpx.Response:
        """The answer, whatever its status. Raises: `Refused` if there is none."""
        headers = {"content-type": "application/json"} | dict(headers or {}) if body is not None else headers
        try:
            with measured(body) as content:
                sized = dict(headers or {}) | ({"content-length": str(len(body))} if body is not None else {})
                answer = self._http.request(
                    method,
                    path,
                    content=content,
                    headers=sized,
                    params=params,
                    timeout=httpx.Timeout(answer_s, connect=CONNECT_S),
                )
        except httpx.ConnectError as exc:
            if _is_of_tls(exc):
                raise Refused(f"no TLS with {self.connection.endpoint}: {exc}", hint=_TLS_HINT) from exc
            hint = "start it with 'lateen up'" if is_loopback(self.connection.endpoint) else "check LATEEN_ENDPOINT"
            raise Refused(f"nothing answers at {self.connection.endpoint}", hint=hint) from exc
        except httpx.TimeoutException as exc:
            raise Refused(f"no answer from {self.connection.endpoint} within {answer_s:g} s") from exc
        except (httpx.RequestError, httpx.InvalidURL) as exc:
            raise Refused(f"no answer from {self.connection.endpoint}: {exc}", hint="check LATEEN_ENDPOINT") from exc
        self.ahead_s = _ahead_s(answer)
        return answer

    def call(self, method: str, path: str, **request: Any) -> Any:
        """The answer's JSON; None where it has none. Raises: `Refused` with the problem's words."""
        answer = self.send(method, path, **request)
        if not answer.is_success:
            raise refusal_from(answer)
        if not answer.content:
            return None
        try:
            return answer.json()
        except ValueError as exc:
            raise Refused(f"{answer.url} is not Lateen: it does not answer JSON", hint="check LATEEN_ENDPOINT") from exc

    def page(self, path: str, *, params: Mapping[str, str | int]) -> dict[str, Any]:
        """One page of a list: its `items`, and where it goes on."""
        page = self.call("GET", path, params=params)
        if not (isinstance(page, dict) and _is_entries(page.get("items"))):
            where = self.connection.endpoint
            raise Refused(f"{where} is not Lateen: {path} is no list of its", hint="check LATEEN_ENDPOINT")
        return page

    def pages(self, path: str, *, params: Mapping[str, str | int] | None = None) -> Iterator[dict[str, Any]]:
        """Every entry of a list, page after page."""
        asked = {"limit": PAGE} | dict(params or {})
        while True:
            page = self.page(path, params=asked)
            yield from page["items"]
            if not page.get("next_cursor"):
                return
            asked["cursor"] = page["next_cursor"]


def _is_entries(items: Any) -> bool:
    return isinstance(items, list) and all(isinstance(each, dict) for each in items)


def _is_of_tls(exc: BaseException | None) -> bool:
    while exc is not None and not isinstance(exc, ssl.SSLError):
        exc = exc.__cause__ or exc.__context__
    return exc is not None


def _ahead_s(answer: httpx.Response) -> float:
    try:
        return parsedate_to_datetime(answer.headers["date"]).timestamp() - time.time()
    except (KeyError, ValueError):
        return 0.0


def refusal_from(answer: httpx.Response) -> Refused:
    """The refusal that a problem document tells of, or a redirection."""
    if answer.next_request is not None:
        to = answer.next_request.url
        hint = f"if that is Lateen, set LATEEN_ENDPOINT to {to.scheme}://{to.netloc.decode('ascii')}"
        return Refused(f"{answer.url} leads to {to}", hint=hint)
    try:
        problem = answer.json()
        slug, detail = problem["type"].rpartition(":")[2], problem["detail"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return Refused(f"{answer.url} answered {answer.status_code}, not in Lateen's words")
    return Refused(detail, slug=slug, hint=_HINTS.get(slug))
