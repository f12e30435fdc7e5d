"""Calls of the public API, in this process and with the key of who has signed in."""

from collections.abc import Mapping
from typing import Any

import httpx
import msgspec


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
        # The edge of the API asks for a name of this machine.
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")

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
        """The answer's JSON; None where it has no body. Raises: `Refused`."""
        headers = {"Authorization": f"Bearer {secret}"}
        if request_id is not None:
            headers["X-Request-Id"] = request_id
        content = None if body is None else msgspec.json.encode(body)
        if content is not None:
            headers["Content-Type"] = "application/json"
        answer = await self._client.request(method, path, params=query, content=content, headers=headers)
        if answer.status_code >= 400:
            raise Refused(answer.status_code, _problem(answer.content))
        return msgspec.json.decode(answer.content) if answer.content else None


class Calls:
    """The API as one person may use it, in one request."""

    def __init__(self, api: Api, *, secret: str, request_id: str | None) -> None:
        self._api = api
        self._secret = secret
        self._request_id = request_id

    async def get(self, path: str, **query: str | int) -> Any:
        return await self._send("GET", path, query=query)

    async def post(self, path: str, body: Any) -> Any:
        return await self._send("POST", path, body=body)

    async def delete(self, path: str) -> None:
        await self._send("DELETE", path)

    async def all(self, path: str, *, at_most: int) -> list[Any]:
        """The items of all pages of a list, or the first `at_most`."""
        items: list[Any] = []
        query: dict[str, str | int] = {"limit": 100}
        while len(items) < at_most:
            page = await self._send("GET", path, query=query)
            items += page["items"]
            if page["next_cursor"] is None:
                break
            query["cursor"] = page["next_cursor"]
        return items[:at_most]

    async def _send(self, method: str, path: str, **request: Any) -> Any:
        return await self._api.call(method, path, secret=self._secret, request_id=self._request_id, **request)


def _problem(content: bytes) -> Mapping[str, Any]:
    try:
        problem = msgspec.json.decode(content)
    except msgspec.MsgspecError:
        return {}
    return problem if isinstance(problem, dict) else {}
