"""A package index of the test's own, on this machine: one tiny wheel behind a user's name and password."""

import base64
import hashlib
import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

USER, PASSWORD = "builder", "s3cret-of-the-index"
PACKAGE = "lateen_tiny"


def wheel(version: str = "1.0", *, code: str = "WORD = 'tiny'\n") -> bytes:
    """`lateen_tiny`, a module with a word in it."""
    info = f"{PACKAGE}-{version}.dist-info"
    files = {
        f"{PACKAGE}.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: lateen-tiny\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},sha256={_digest(text)},{len(text)}\n" for name, text in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), text)
    return whole.getvalue()


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


class Index:
    """What it was asked for, and where it is."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.asked: list[str] = []
        self.url = f"http://{USER}:{PASSWORD}@127.0.0.1:{port}/simple/"
        self.wheels = {f"{PACKAGE}-1.0-py3-none-any.whl": wheel()}


@contextmanager
def package_index(host: str = "127.0.0.1", port: int = 0) -> Iterator[Index]:
    expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            index.asked.append(self.path)
            if self.headers.get("Authorization") != expected:
                self._answer(401, b"", "text/plain")
            elif self.path == "/simple/lateen-tiny/":
                links = "".join(f'<a href="/files/{name}">{name}</a>\n' for name in index.wheels)
                self._answer(200, f"<!DOCTYPE html><html><body>{links}</body></html>".encode(), "text/html")
            elif (found := index.wheels.get(self.path.removeprefix("/files/"))) is not None:
                self._answer(200, found, "application/octet-stream")
            else:
                self._answer(404, b"", "text/plain")

        def _answer(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            if status == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="packages"')
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer((host, port), Handler)
    index = Index(server.server_address[1])
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield index
    finally:
        server.shutdown()
        server.server_close()


if __name__ == "__main__":  # in a pod
    with package_index("0.0.0.0", 8080):
        Event().wait()
