"""The command line's end of HTTP, against servers that answer well, badly or not at all."""

import json
import socket
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from lateen.cli.client import Client
from lateen.cli.connection import Connection
from lateen.cli.refusals import Refused
from lateen.cli.root import run

Answer = tuple[int, str, bytes]
Serve = Callable[..., str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server that gives these answers in turn, the last one for ever; returns its address."""
    servers: list[ThreadingHTTPServer] = []

    def start(*answers: Answer, requests: list[tuple[str, str, bytes]] | None = None) -> str:
        left = list(answers)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                if requests is not None:
                    requests.append((self.command, self.path, body))
                status, content_type, content = left.pop(0) if len(left) > 1 else left[0]
                self.send_response(status)
                self.send_header("content-type", content_type)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_PATCH = do_DELETE = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def client(endpoint: str) -> Client:
    return Client(Connection(endpoint=endpoint, token="ltn_x", workspace=None, data=Path(".")))


def a_page(*items: Any, cursor: str | None = None) -> Answer:
    return 200, "application/json", json.dumps({"items": items, "next_cursor": cursor}).encode()


def a_problem(status: int, slug: str, detail: str) -> Answer:
    body = {"type": f"urn:lateen:problem:{slug}", "title": "T", "status": status, "detail": detail}
    return status, "application/problem+json", json.dumps(body).encode()


def test_all_pages_are_read(serve: Serve) -> None:
    """A page may be empty and still not be the last."""
    requests: list[tuple[str, str, bytes]] = []
    one, two, three = ({"id": number} for number in (1, 2, 3))
    endpoint = serve(a_page(one, two, cursor="a b"), a_page(cursor="c"), a_page(three), requests=requests)
    with client(endpoint) as lateen:
        assert list(lateen.pages("/api/x")) == [one, two, three]
    assert [path for _, path, _ in requests] == [
        "/api/x?limit=100",
        "/api/x?limit=100&cursor=a+b",
        "/api/x?limit=100&cursor=c",
    ]


def test_a_problem_is_told_in_its_words(serve: Serve) -> None:
    """The detail, the slug for scripts, and what to do next."""
    with client(serve(a_problem(401, "unauthenticated", "no key"))) as lateen, pytest.raises(Refused) as caught:
        lateen.call("GET", "/api/keys")
    assert (caught.value.message, caught.value.slug) == ("no key", "unauthenticated")
    assert "LATEEN_TOKEN" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "answer",
    [
        (500, "text/html", b"<h1>oops</h1>"),
        (502, "application/json", b"[1]"),
        (404, "application/json", b'{"type": 1, "detail": 2}'),
        (400, "application/problem+json", b"\xff"),
        (200, "text/html", b"<h1>some other server</h1>"),
    ],
)
def test_another_server_is_told_from_lateen(serve: Serve, answer: Answer) -> None:
    """Whatever answers at the address, the command ends with a sentence."""
    with client(serve(answer)) as lateen, pytest.raises(Refused, match="not"):
        lateen.call("GET", "/api/keys")


def test_nobody_there(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 1 and how to start Lateen."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("LATEEN_ENDPOINT", f"http://127.0.0.1:{unused.getsockname()[1]}")
        assert run(["list"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: nothing answers at http://127.0.0.1:")
    assert captured.err.endswith("\nhint: start it with 'lateen up'\n")


def test_no_answer_in_time() -> None:
    """A server that accepts and says nothing ends the command, not the patience."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with client(address) as lateen, pytest.raises(Refused, match=r"no answer .* within 0\.2 s"):
            lateen.call("GET", "/api/keys", answer_s=0.2)


@pytest.mark.parametrize("endpoint", ["nonsense", "ftp://127.0.0.1", "http://", "http://127.0.0.1:x", "http://[1"])
def test_a_bad_endpoint_is_a_sentence(
    endpoint: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A typo in LATEEN_ENDPOINT is no trace."""
    monkeypatch.setenv("LATEEN_ENDPOINT", endpoint)
    monkeypatch.setenv("LATEEN_TOKEN", "x")
    assert run(["list"]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_an_upload_arrives_whole(serve: Serve) -> None:
    """Also one that is sent in chunks under a bar."""
    requests: list[tuple[str, str, bytes]] = []
    body = b"x" * (3 * 1024 * 1024 + 1)
    with client(serve((204, "text/plain", b""), requests=requests)) as lateen:
        assert lateen.call("POST", "/api/x", body=body) is None
    assert requests == [("POST", "/api/x", body)]


def test_an_upload_that_is_refused_early_is_told(serve: Serve) -> None:
    """The answer counts, not that the server stopped reading."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()

        def refuse() -> None:
            connection, _ = listening.accept()
            connection.recv(1024)
            status, kind, content = a_problem(413, "too-large", "more than 10 bytes")
            head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(content)}\r\n\r\n"
            connection.sendall(head.encode() + content)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
            connection.close()

        Thread(target=refuse, daemon=True).start()
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with client(address) as lateen, pytest.raises(Refused, match="more than 10 bytes"):
            lateen.call("POST", "/api/x", body=b"x" * 3_000_000)


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["deploy"],
        ["deploy", "/does/not/exist"],
        ["deploy", __file__, "--env", "NOVALUE"],
        ["deploy", __file__, "--timeout", "soon"],
        ["update", "x"],
        ["invoke", "x", "--data", "@/does/not/exist"],
        ["logs", "x", "--since", "yesterday-ish"],
        ["logs", "x", "--limit", "0"],
        ["list", "--output", "yaml"],
        ["key", "create", "--installation", "--workspace", "x"],
        ["workspace", "update", "x"],
        ["completion", "tcsh"],
    ],
)
def test_misuse_is_exit_code_2(
    serve: Serve, arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what is wrong and where the help is; nothing on stdout."""
    function = {"name": "x", "id": "x", "workspace": "x", "environment": {}, "timeout": 3}
    monkeypatch.setenv("LATEEN_ENDPOINT", serve(a_page(function)))
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert "\nhint: see 'lateen" in captured.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One for each of the three shells, asking `lateen` itself what fits."""
    assert run(["completion", shell]) == 0
    assert "_LATEEN_COMPLETE" in capsys.readouterr().out
