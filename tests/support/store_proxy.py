"""An HTTP proxy before a store, which can be told to misbehave.

It serves at an address of its own, and as what `HTTP_PROXY` names: then requests come with the whole address, and their
`Host` goes on to the store as it is. With a certificate it speaks TLS to its callers.
"""

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

HANG_S = 30.0


@dataclass(frozen=True)
class Call:
    """A request, as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: object = None
    """The caller's address and port."""

    @property
    def operation(self) -> str:
        """Of DynamoDB: `PutItem`."""
        return self.headers.get("x-amz-target", "").rpartition(".")[2]


@dataclass(frozen=True)
class Answer:
    """Said in the store's stead; the store doesn't see the call."""

    status: int
    body: bytes
    content_type: str = "application/x-amz-json-1.0"


@dataclass(frozen=True)
class Pass:
    """The store answers; `change` is made of its body, and a cut one ends in the middle."""

    change: Callable[[bytes], bytes] = bytes
    is_cut: bool = False


RESET = "reset"
"""The connection ends before the store has seen the call."""
LOSE = "lose"
"""The store does it, and the connection ends before the answer."""
HANG = "hang"
"""Nothing comes back, and the store doesn't see the call."""
LOSE_SLOWLY = "lose slowly"
"""The store does it, and nothing comes back."""

Deed = Answer | Pass | str


@dataclass
class StoreProxy:
    url: str
    calls: list[Call] = field(default_factory=list)
    """All that came, in order."""
    deeds: Callable[[Call], Deed] = lambda _: Pass()
    """What to do with a call."""
    released: threading.Event = field(default_factory=threading.Event)
    """Set at the end: what hangs is let go."""

    def once(self, operation: str, *deeds: Deed) -> None:
        """These deeds for the next calls of DynamoDB's `operation` (or of an HTTP method); then all passes again."""
        left = list(deeds)

        def deed(call: Call) -> Deed:
            return left.pop(0) if left and operation in (call.operation, call.method) else Pass()

        self.deeds = deed

    def always(self, deed: Deed) -> None:
        self.deeds = lambda _: deed

    def count(self, operation: str) -> int:
        return sum(operation in (call.operation, call.method) for call in self.calls)


def refusal(code: str, *, status: int = 400, **more: Any) -> Answer:
    """DynamoDB's answer to what it refuses."""

    return Answer(status, json.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{code}", **more}).encode())


@contextmanager
def store_proxy(store: str, *, tls: ssl.SSLContext | None = None) -> Iterator[StoreProxy]:
    """A proxy before the store at the URL `store`."""
    upstream = urlsplit(store)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            with suppress(ConnectionError, ssl.SSLError):
                super().handle_one_request()
                return
            self.close_connection = True

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            call = Call(self.command, self.path, headers, body, self.client_address)
            proxy.calls.append(call)
            deed = proxy.deeds(call)
            if deed in (HANG, LOSE_SLOWLY):
                if deed == LOSE_SLOWLY:
                    _forward(upstream.netloc, call)
                proxy.released.wait(HANG_S)
                self.close_connection = True
            elif deed in (RESET, LOSE):
                if deed == LOSE:
                    _forward(upstream.netloc, call)
                self.close_connection = True
            elif isinstance(deed, Answer):
                self._answer(deed.status, [("content-type", deed.content_type)], deed.body)
            else:
                assert isinstance(deed, Pass), deed
                status, found, content = _forward(upstream.netloc, call)
                self._answer(status, found, deed.change(content), is_cut=deed.is_cut)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve

        def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes, *, is_cut: bool = False) -> None:
            self.send_response_only(status)
            names = {name.lower() for name, _ in headers}
            for name, value in headers:
                if name.lower() not in ("transfer-encoding", "connection", "keep-alive"):
                    self.send_header(name, value)
            if "content-length" not in names:
                self.send_header("content-length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body[: len(body) // 2] if is_cut else body)
            if is_cut:
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_: Any) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    scheme = "http" if tls is None else "https"
    proxy = StoreProxy(f"{scheme}://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield proxy
    finally:
        proxy.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _forward(netloc: str, call: Call) -> tuple[int, list[tuple[str, str]], bytes]:
    """The store's answer, over a connection of its own."""
    connection = HTTPConnection(netloc, timeout=HANG_S)
    target = urlsplit(call.target)
    path = f"{target.path}?{target.query}" if target.query else target.path
    try:
        connection.putrequest(call.method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in call.headers.items():
            if name not in ("expect", "connection", "proxy-connection"):
                connection.putheader(name, value)
        connection.endheaders(call.body or None)
        answer = connection.getresponse()
        return answer.status, answer.getheaders(), answer.read()
    finally:
        connection.close()
