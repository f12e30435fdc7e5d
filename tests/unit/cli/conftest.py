"""A Lateen of which only the answers are there."""

from collections.abc import Callable, Iterable
from typing import Any

import httpx
import pytest

from lateen.cli.root import run

Answer = dict[str, Any] | httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


class Server:
    """Answers what it was told to, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {"GET /api/workspaces": listed([{"id": "w1", "name": "default"}])}
        """By method and path; the body of a 200, a whole answer, an error on the way, or what makes an answer."""
        self.asked: list[httpx.Request] = []

    def has_function(self, **fields: Any) -> None:
        function = {"id": "f1", "name": "hello", "workspace": "w1", "revision": 3, "timeout": 3, "environment": {}}
        self.answers["GET /api/workspaces/w1/functions"] = listed([function | fields])

    def answered(self, _: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        request.read()
        self.asked.append(request)
        answer = self.answers.get(f"{request.method} {request.url.path}", problem(404, "not-found", "no such path"))
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, dict):
            return httpx.Response(200, json=answer)
        return answer if isinstance(answer, httpx.Response) else answer(request)

    def paths(self, method: str) -> list[str]:
        return [request.url.path for request in self.asked if request.method == method]


def listed(items: Iterable[dict[str, Any]]) -> dict[str, Any]:
    return {"items": list(items), "next_cursor": None}


def problem(status: int, slug: str, detail: str) -> httpx.Response:
    return httpx.Response(status, json={"type": f"urn:lateen:problem:{slug}", "detail": detail})


@pytest.fixture
def lateen(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()
    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", lambda *given: server.answered(*given))
    monkeypatch.setenv("LATEEN_ENDPOINT", "http://lateen.example")
    monkeypatch.setenv("LATEEN_TOKEN", "ltn_test")
    for name in ("LATEEN_WORKSPACE", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return server


Ended = tuple[int, str, str]


@pytest.fixture
def ended(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Runs a command. Returns: its exit code, and what it wrote on stdout and stderr."""

    def run_one(*arguments: str) -> Ended:
        code = run(list(arguments))
        return code, *capsys.readouterr()

    return run_one
