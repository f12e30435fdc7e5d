"""Takes the invoker's place in a pod, for tests of what the controller does around it: does at once what the function's
variables say. Standard library only; it is mounted, so that it needs no image of its own.
"""

import base64
import hmac
import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CONFIGURE = json.loads(Path("/etc/lateen/function/configure.json").read_bytes())
SAYS = CONFIGURE["environment"]


class Calls(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path != "/_lateen/state":
            self._answer(200, {"code": CONFIGURE["artifact_sha256"], "pod": os.environ.get("HOSTNAME", "")})
        elif not self._is_signed():
            self._answer(403, {})
        elif "ENDLESS_STATE" in SAYS:
            self._answer(200, {"ready": True, "padding": "x" * 1_000_000})
        elif "INIT_ERROR" in SAYS:
            error = {"type": "ImportError", "message": SAYS["INIT_ERROR"]}
            self._answer(200, {"ready": True, "init_error": error, "revision": 0})
        else:
            self._answer(200, {"ready": True, "init_error": None, "revision": 0})

    def _is_signed(self) -> bool:
        stamp, _, digest = self.headers.get("x-lateen-signature", "").partition(".")
        text = "\n".join((stamp, "GET", self.path, "", ""))
        key = base64.b64decode(CONFIGURE["invoke_key"])
        expected = hmac.digest(key, text.encode(), "sha256").hex()
        return hmac.compare_digest(digest, expected) and abs(time.time() - int(stamp)) < 60

    def _answer(self, status: int, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None: ...


class Operations(Calls):
    def do_GET(self) -> None:
        is_ready = "UNREADY" not in SAYS and not stopping.is_set()
        self._answer(200 if is_ready or self.path == "/health/live" else 503, {})


stopping = threading.Event()


def main() -> None:
    if "LAST_WORDS" in SAYS:
        Path("/dev/termination-log").write_text(SAYS["LAST_WORDS"])
        sys.exit(1)
    for port, handler in ((8080, Calls), (9090, Operations)):
        server = ThreadingHTTPServer(("", port), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    while not stopping.is_set():
        stopping.wait(1)
    time.sleep(float(SAYS.get("LINGER_S", "0")))


if __name__ == "__main__":
    main()
