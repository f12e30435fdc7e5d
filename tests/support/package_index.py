"""A package index of the test's own: one tiny package for each language, behind a user's name and password.

Python's at /simple/, npm's registry at /npm/, a proxy of Go modules, which asks for no password, at /go/.
"""

import base64
import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

USER, PASSWORD = "builder", "s3cret-of-the-index"
PACKAGE = "lateen_tiny"
NPM = {"name": "lateen-tiny", "version": "1.0.0", "main": "index.js"}
GO_MODULE = "lateen.test/tiny"
GO_CODE = 'package tiny\n\nconst Word = "tiny"\n'
GO_MOD = f"module {GO_MODULE}\n\ngo 1.21\n"


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


def npm_package() -> bytes:
    """`lateen-tiny` for Node."""
    files = {"package.json": json.dumps(NPM), "index.js": "exports.WORD = 'tiny';\n"}
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size, entry.mode = len(text), 0o644
            archive.addfile(entry, io.BytesIO(text.encode()))
    return whole.getvalue()


def go_module() -> dict[str, bytes]:
    """What a proxy has of `lateen.test/tiny`, by the ends of its paths."""
    files = {"go.mod": GO_MOD, "tiny.go": GO_CODE}
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(f"{GO_MODULE}@v1.0.0/{name}", (2020, 1, 1, 0, 0, 0)), text)
    return {
        "list": b"v1.0.0\n",
        "v1.0.0.info": b'{"Version": "v1.0.0", "Time": "2020-01-01T00:00:00Z"}',
        "v1.0.0.mod": GO_MOD.encode(),
        "v1.0.0.zip": whole.getvalue(),
    }


def go_sum() -> str:
    """Of a source that requires that module."""
    files = {f"{GO_MODULE}@v1.0.0/go.mod": GO_MOD, f"{GO_MODULE}@v1.0.0/tiny.go": GO_CODE}
    return f"{GO_MODULE} v1.0.0 {_h1(files)}\n{GO_MODULE} v1.0.0/go.mod {_h1({'go.mod': GO_MOD})}\n"


def _h1(files: dict[str, str]) -> str:
    """Go's hash of a folder: of the hashes of its files, by name."""
    lines = (f"{hashlib.sha256(text.encode()).hexdigest()}  {name}\n" for name, text in sorted(files.items()))
    return "h1:" + base64.b64encode(hashlib.sha256("".join(lines).encode()).digest()).decode()


class Index:
    """What it was asked for, and where it is."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.asked: list[str] = []
        self.url = f"http://{USER}:{PASSWORD}@127.0.0.1:{port}/simple/"
        self.wheels = {f"{PACKAGE}-1.0-py3-none-any.whl": wheel()}
        self.npm = npm_package()
        self.go = go_module()


@contextmanager
def package_index(host: str = "127.0.0.1", port: int = 0) -> Iterator[Index]:
    expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            index.asked.append(self.path)
            # Go sends no password where nothing is encrypted.
            if not self.path.startswith("/go/") and self.headers.get("Authorization") != expected:
                self._answer(401, b"", "text/plain")
            elif self.path == "/simple/lateen-tiny/":
                links = "".join(f'<a href="/files/{name}">{name}</a>\n' for name in index.wheels)
                self._answer(200, f"<!DOCTYPE html><html><body>{links}</body></html>".encode(), "text/html")
            elif (found := index.wheels.get(self.path.removeprefix("/files/"))) is not None:
                self._answer(200, found, "application/octet-stream")
            elif self.path == "/npm/lateen-tiny":
                self._answer(200, self._packument(), "application/json")
            elif self.path == "/npm/lateen-tiny/-/lateen-tiny-1.0.0.tgz":
                self._answer(200, index.npm, "application/octet-stream")
            elif (part := index.go.get(self.path.removeprefix(f"/go/{GO_MODULE}/@v/"))) is not None:
                self._answer(200, part, "application/octet-stream")
            else:
                self._answer(404, b"", "text/plain")

        def _packument(self) -> bytes:
            dist = {
                "tarball": f"http://{self.headers['Host']}/npm/lateen-tiny/-/lateen-tiny-1.0.0.tgz",
                "integrity": "sha512-" + base64.b64encode(hashlib.sha512(index.npm).digest()).decode(),
            }
            versions = {"1.0.0": NPM | {"dist": dist}}
            whole = {"name": "lateen-tiny", "dist-tags": {"latest": "1.0.0"}, "versions": versions}
            return json.dumps(whole).encode()

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
