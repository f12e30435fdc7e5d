"""A real invoker process, driven over its control socket as the platform drives it."""

import contextlib
import hashlib
import http.client
import io
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lateen_invoker import control, signing
from lateen_invoker.control import Configure, Drain, Records, RecordsStored, RuntimeCommand
from lateen_invoker.records import ExecutionRecord

REPOSITORY = Path(__file__).parents[2]
HASH = "0123456789abcdef" * 2
KEY = b"k" * 32


def own_bootstrap(python: str = sys.executable) -> RuntimeCommand:
    """The Python runtime of this repository."""
    folder = REPOSITORY / "runtimes" / "python3.12"
    return RuntimeCommand(
        name="python3.12",
        execution_env="AWS_Lambda_python3.12",
        command=[python, "-I", "-S", str(folder / "bootstrap.py")],
        forks=True,
        channel=True,
        runtime_dir=str(folder),
        readable=[sys.prefix, sys.base_prefix],
    )


def aws_client() -> RuntimeCommand:
    """AWS's own client, unmodified, speaking HTTP."""
    return program(
        [sys.executable, "-m", "awslambdaric", "lambda_function.handler"], execution_env="AWS_Lambda_python3.12"
    )


def program(
    command: list[str], *, execution_env: str | None = None, readable: list[str] | None = None
) -> RuntimeCommand:
    return RuntimeCommand(
        name="program",
        execution_env=execution_env,
        command=command,
        forks=False,
        channel=False,
        runtime_dir=str(REPOSITORY),
        readable=[sys.prefix, sys.base_prefix],
    )


def package(files: Mapping[str, str | bytes]) -> bytes:
    """A zip of the files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue()


class Answer:
    """A response with its body."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()


class InvokerProcess:
    """Starts, configures, calls and ends one. Everything that it says is in `messages` and `records`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.messages: list[Any] = []
        self.records: list[ExecutionRecord] = []
        self.is_storing = True
        self._said = threading.Condition()
        self._socket, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "lateen_invoker", "--control-fd", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={"PATH": os.defpath},
            )
        threading.Thread(target=self._listen, daemon=True).start()
        self.port = self.wait_for(control.Listening).port

    def configure(
        self, code: str | Mapping[str, str | bytes], runtime: RuntimeCommand | None = None, **changes: Any
    ) -> "control.Ready | control.Failed":
        """Give it a function; returns its `Ready` or `Failed`."""
        artifact = self.folder / "artifact.zip"
        artifact.write_bytes(package({"lambda_function.py": code} if isinstance(code, str) else code))
        given: dict[str, Any] = {
            "function_id": "f1",
            "function_name": "probe",
            "workspace_id": "default",
            "account_id": "123456789012",
            "version": "$LATEST",
            "hash": HASH,
            "region": "eu-central-1",
            "handler": "lambda_function.handler",
            "environment": {},
            "timeout_s": 3,
            "memory_mib": 128,
            "concurrency": 10,
            "queue": 100,
            "open": True,
            "invoke_key": KEY,
            "artifact": artifact.as_uri(),
            "artifact_sha256": hashlib.sha256(artifact.read_bytes()).hexdigest(),
            "runtime": runtime or own_bootstrap(),
            "work_dir": str(self.folder / "work"),
            "idle_s": 600.0,
            **changes,
        }
        (self.folder / "work").mkdir(mode=0o700, exist_ok=True)
        self.send(Configure(**given))
        ready: control.Ready | control.Failed = self.wait_for(control.Ready, control.Failed)
        return ready

    def send(self, message: control.ToInvoker) -> None:
        self._socket.sendall(control.encode(message))

    def call(
        self, path: str = "/", method: str = "GET", body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Call the function's URL."""
        target = f"/{HASH}{path}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, target, body, dict(headers or {}))
            return Answer(connection.getresponse())

    def invoke(self, event: bytes, headers: Mapping[str, str] | None = None, *, key: bytes = KEY) -> Answer:
        """The raw invoke, signed."""
        target = "/_lateen/invoke"
        signature = signing.sign(key, method="POST", target=target, source="", request_id="", now_s=time.time())
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request("POST", target, event, {signing.SIGNATURE: signature, **(headers or {})})
            return Answer(connection.getresponse())

    def raw(self, data: bytes, *, timeout: float = 10) -> bytes:
        """Send bytes, read until the other side closes or is silent for `timeout` seconds."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as sock:
            sock.sendall(data)
            received = b""
            with contextlib.suppress(TimeoutError, ConnectionResetError):
                while part := sock.recv(65536):
                    received += part
            return received

    def record(self, number: int = 1) -> ExecutionRecord:
        """The n-th execution record, from 1, waiting for it."""
        with self._said:
            assert self._said.wait_for(lambda: len(self.records) >= number, 10), f"only {len(self.records)} records"
            return self.records[number - 1]

    def wait_for(self, *kinds: type) -> Any:
        """The first message of one of the kinds that was not waited for yet."""
        with self._said:
            found: list[Any] = []

            def look() -> bool:
                found[:] = [m for m in self.messages if isinstance(m, kinds)][:1]
                return bool(found) or self.process.poll() is not None

            assert self._said.wait_for(look, 30), f"no {kinds} among {self.messages}"
            assert found, f"the invoker ended with {self.process.returncode} before it said {kinds}"
            self.messages.remove(found[0])
            return found[0]

    def drain(self, within_s: float = 5.0) -> int:
        self.send(Drain(within_s=within_s))
        return self.process.wait(within_s + 10)

    def close(self) -> None:
        """End it as a platform that is gone would."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder / "work", ignore_errors=True)

    def _listen(self) -> None:
        stream = self._socket.makefile("rb")
        with contextlib.suppress(OSError, ValueError):
            while header := stream.read(control.HEADER_SIZE):
                message = control.to_platform.decode(stream.read(control.body_size(header)))
                with self._said:
                    if isinstance(message, Records):
                        self.records += message.records
                        if self.is_storing:
                            self.send(RecordsStored(batch=message.batch))
                    self.messages.append(message)
                    self._said.notify_all()
        with self._said:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(5)
            self._said.notify_all()
