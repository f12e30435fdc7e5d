"""Calls of the public API, in this process and with the key of who has signed in."""

import asyncio
from collections.abc import Mapping, MutableMapping
from typing import Any
from urllib.parse import unquote, urlencode

import msgspec

_PAGE = 100


class Refused(Exception):
    """The API's answer was a problem."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(str(problem.get("detail") or problem.get("title") or f"the API answered {status}"))
        self.status = status
        self.errors: dict[str, str] = {each["field"]: each["reason"] for each in problem.get("errors") or ()}
        self.slug = str(problem.get("type", "")).rpartition(":")[2]


class Api:
    """`app`: the ASGI application that serves the public API."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def call(
        self,
        method: str,
        path: str,
        *,
        secret: str,
        query: Mapping[str, str | int] | None = None,
        body: Any = None,
        request_id: str | None = None,
    ) -> Any:
        """The answer's JSON; None where it has no body. `path`: as in a URL. Raises: `Refused`."""
        # The edge of the API asks for a name of this machine.
        headers = [(b"host", b"localhost"), (b"authorization", f"Bearer {secret}".encode())]
        if request_id is not None:
            headers.append((b"x-request-id", request_id.encode()))
        content = b"" if body is None else msgspec.json.encode(body)
        if content:
            headers += [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": urlencode(query or {}).encode(),
            "root_path": "",
            "headers": headers,
            "client": None,
            "server": ("localhost", 80),
        }
        answer = _Answer(content)
        await self._app(scope, answer.receive, answer.send)
        if answer.status >= 400:
            raise Refused(answer.status, _problem(answer.body))
        return msgspec.json.decode(answer.body) if answer.body else None


class _Answer:
    """The server's side of one call."""

    def __init__(self, content: bytes) -> None:
        self._content: bytes | None = content
        self.status = 0
        self.body = b""

    async def receive(self) -> dict[str, Any]:
        if self._content is None:
            # We stay until there is an answer.
            await asyncio.Event().wait()
        content, self._content = self._content, None
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.body += message.get("body", b"")


class Calls:
    """The API as one person may use it, in one request."""

    def __init__(self, api: Api, *, secret: str, request_id: str | None) -> None:
        self._api = api
        self._secret = secret
        self._request_id = request_id

    async def get(self, path: str, **query: str | int) -> Any:
        return await self._send("GET", path, query=query)

    async def post(self, path: str, body: Any, **query: str | int) -> Any:
        return await self._send("POST", path, body=body, query=query)

    async def delete(self, path: str) -> None:
        await self._send("DELETE", path)

    async def page(self, path: str, *, limit: int, cursor: str | None = None) -> tuple[list[Any], str | None]:
        """Some items of a list, and the cursor of those after them."""
        found = await self.get(path, limit=limit, **({"cursor": cursor} if cursor else {}))
        return found["items"], found["next_cursor"]

    async def all(self, path: str, *, at_most: int) -> list[Any]:
        """The items of all pages of a list, or the first `at_most`."""
        items, cursor = await self.page(path, limit=_PAGE)
        while cursor is not None and len(items) < at_most:
            more, cursor = await self.page(path, limit=_PAGE, cursor=cursor)
            items += more
        return items[:at_most]

    async def _send(self, method: str, path: str, **request: Any) -> Any:
        return await self._api.call(method, path, secret=self._secret, request_id=self._request_id, **request)


def _problem(content: bytes) -> Mapping[str, Any]:
    try:
        problem = msgspec.json.decode(content)
    except msgspec.MsgspecError:
        return {}
    return problem if isinstance(problem, dict) else {}
