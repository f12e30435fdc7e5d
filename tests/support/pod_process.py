"""The invoker of a pod as a plain process: its environments are its children, everything else is as in a pod."""

import contextlib
import hashlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from invoker_process import HASH, KEY, Answer, own_bootstrap, package

from lateen_invoker import signing
from lateen_invoker.control import RuntimeCommand
from lateen_invoker.fetch import extract
from lateen_invoker.pod_configure import PodConfigure

BUCKET, ARTIFACT = "code", "default/f1/artifact.zip"
NO_STORES = {
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
    "AWS_REGION": "eu-central-1",
}
"""Nobody listens there."""


def pod_configure(code: bytes, runtime: RuntimeCommand | None = None, **changes: Any) -> PodConfigure:
    given: dict[str, Any] = {
        "function_id": "f1", "function_name": "probe", "workspace_id": "default", "account_id": "123456789012",
        "version": "$LATEST", "revision": 7, "hash": HASH, "region": "eu-central-1", "handler": "code.handler",
        "timeout_s": 3, "memory_mib": 128, "concurrency": 4, "queue": 100, "open": True, "invoke_key": KEY,
        "artifact_bucket": BUCKET, "artifact_key": ARTIFACT, "artifact_sha256": hashlib.sha256(code).hexdigest(),
        "runtime": runtime or own_bootstrap(), "drain_lag_s": 0.5,
    }  # fmt: skip
    return PodConfigure(**{**given, **changes})


class PodInvoker:
    """Starts, calls and ends one. `code`: a file's text, files, or bytes as they are."""

    def __init__(
        self,
        folder: Path,
        code: str | Mapping[str, str | bytes] | bytes,
        runtime: RuntimeCommand | None = None,
        *,
        stores: Mapping[str, str] | None = None,
        variables: Mapping[str, str] | None = None,
        **changes: Any,
    ) -> None:
        self.folder = folder
        self.log: list[dict[str, Any]] = []
        self.code = folder / "code"
        self.marker = folder / "code-marker"
        self.termination_log = folder / "termination-log"
        self.artifact = (
            code if isinstance(code, bytes) else package({"code.py": code} if isinstance(code, str) else code)
        )
        self.configure = pod_configure(self.artifact, runtime, **changes)
        self.code.mkdir(exist_ok=True)
        folder.chmod(0o755)
        self.termination_log.touch()
        (folder / "configure.json").write_bytes(msgspec.json.encode(self.configure))
        if stores is None and not self.marker.exists():
            self.put_code()
        self._variables = {
            "PATH": os.defpath,
            "ENVIRONMENT": "test",
            "DYNAMODB_TABLE_NAME": "lateen",
            "LATEEN_CONFIGURE": str(folder / "configure.json"),
            "LATEEN_CODE": str(self.code),
            "LATEEN_CODE_MARKER": str(self.marker),
            "LATEEN_WORK": str(folder / "work"),
            "LATEEN_HOST": "127.0.0.1",
            "LATEEN_PORT": "0",
            "LATEEN_OPERATIONS_PORT": "0",
            "LATEEN_ENVIRONMENTS": "children",
            "LATEEN_PROBE_TIMEOUT_SECONDS": "10",
            "LATEEN_TERMINATION_LOG": str(self.termination_log),
            **(NO_STORES if stores is None else stores),
            **(variables or {}),
        }
        self._said = threading.Condition()
        self.start()

    def put_code(self) -> None:
        """As an earlier start of the container would have left it."""
        (self.folder / "artifact.zip").write_bytes(self.artifact)
        extract(self.folder / "artifact.zip", self.code)
        self.marker.write_text(self.configure.artifact_sha256)

    def start(self) -> None:
        """Also again, after it has ended, as the kubelet would: with the code that is there."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lateen_invoker", "--pod"],
            env=self._variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.log = []
        self.stderr = b""
        self._threads = [
            threading.Thread(target=target, daemon=True) for target in (self._listen, self._listen_to_errors)
        ]
        for thread in self._threads:
            thread.start()
        with self._said:
            listening = self._said.wait_for(lambda: self._line("listening") or not self._threads[0].is_alive(), 20)
        if isinstance(listening, dict):
            self.port, self.operations_port = listening["port"], listening["operations_port"]

    def line(self, message: str, *, within_s: float = 20) -> dict[str, Any]:
        """The first line of the log with that message, waiting for it."""
        with self._said:
            assert self._said.wait_for(lambda: self._line(message), within_s), (message, self.log, self.stderr)
            found = self._line(message)
            assert found is not None
            return found

    def ready(self, *, within_s: float = 60) -> int:
        """Ask as the kubelet does, until the status is 200 or the time is over. Returns: the last status."""
        deadline = time.monotonic() + within_s
        while (status := self.operations("/health/ready").status) != 200 and time.monotonic() < deadline:
            time.sleep(0.02)
        if status != 200:
            print(*self.log, sep="\n")  # which pytest shows with what fails
        return status

    def operations(self, path: str, *, method: str = "GET") -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.operations_port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path)
            return Answer(connection.getresponse())

    def call(self, path: str = "/", method: str = "GET", *, headers: Mapping[str, str] | None = None) -> Answer:
        """Call the function's URL."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, f"/{HASH}{path}", headers=dict(headers or {}))
            return Answer(connection.getresponse())

    def signed(
        self, target: str, method: str = "GET", body: bytes = b"", *, key: bytes = KEY, log: bool = False
    ) -> Answer:
        signature = signing.sign(key, method=method, target=target, source="", request_id="", now_s=time.time())
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            headers = {signing.SIGNATURE: signature, **({"x-amz-log-type": "Tail"} if log else {})}
            connection.request(method, target, body, headers)
            return Answer(connection.getresponse())

    def state(self) -> dict[str, Any]:
        answer = self.signed("/_lateen/state")
        assert answer.status == 200, answer.body
        found: dict[str, Any] = json.loads(answer.body)
        return found

    def children(self, module: str) -> list[int]:
        """Ids of its processes that run `python -m {module}`."""
        found = []
        for child in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            with contextlib.suppress(OSError):
                if module.encode() in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0"):
                    found.append(int(child))
        return found

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait(self, within_s: float = 20) -> int:
        """Returns: its exit code."""
        code = self.process.wait(within_s)
        for thread in self._threads:
            thread.join(5)
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.wait()

    def _line(self, message: str) -> dict[str, Any] | None:
        return next((line for line in self.log if line["message"] == message), None)

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for text in self.process.stdout:
            with self._said:
                self.log.append(json.loads(text))
                self._said.notify_all()
        with self._said:
            self._said.notify_all()

    def _listen_to_errors(self) -> None:
        assert self.process.stderr is not None
        self.stderr = self.process.stderr.read()
