"""Environments of the Python runtime, driven over their channel as the invoker drives them, without an invoker."""

import asyncio
import functools
import json
import os
import socket
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lateen.adapters.local.interpreters import find_interpreter
from lateen_invoker import spawners, wire
from lateen_invoker.control import Configure, RuntimeCommand

RUNTIME = Path(__file__).parents[2] / "runtimes" / "python3.12"


@functools.cache
def python_command() -> RuntimeCommand:
    """The runtime's own command, with CPython 3.12 where the machine has one that this user may run."""
    embedded = tomllib.loads((RUNTIME / "runtime.toml").read_text())["embedded"]
    python = find_interpreter(embedded["interpreters"], "3.12", ("-I", "-S", str(RUNTIME / "probe.py")))
    assert python is not None
    return RuntimeCommand(
        name="python3.12",
        execution_env="AWS_Lambda_python3.12",
        command=[python.executable, "-I", "-S", str(RUNTIME / "bootstrap.py")],
        forks=True,
        channel=True,
        runtime_dir=str(RUNTIME),
        readable=python.readable,
    )


class Function:
    """One function's spawner, with its code on disk, and the environments that were started."""

    def __init__(self, folder: Path, files: Mapping[str, str] | str, **configure: Any) -> None:
        self.folder = folder
        self.code = folder / "code"
        self.environments: list[Environment] = []
        self._started = 0
        files = {"code.py": files} if isinstance(files, str) else files
        for name, text in files.items():
            (self.code / name).parent.mkdir(parents=True, exist_ok=True)
            (self.code / name).write_text(text)
        layers: Mapping[str, str] = configure.pop("layers", {})
        for name, text in layers.items():
            (folder / "layers" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "layers" / name).write_text(text)
        folder.chmod(0o700)
        self.allowed: list[str] = configure.pop("allowed", ["namespaces", "landlock"])
        self.configure = Configure(
            **{
                "function_id": "f", "function_name": "probe", "workspace_id": "w", "account_id": "123456789012",
                "version": "$LATEST", "hash": "0" * 32, "region": "eu-central-1", "handler": "code.handler",
                "environment": {}, "timeout_s": 3, "memory_mib": 128, "concurrency": 2, "queue": 1, "open": True,
                "invoke_key": b"k", "artifact": "", "artifact_sha256": "", "runtime": python_command(),
                "work_dir": str(folder), "idle_s": 600.0, **configure,
            }
        )  # fmt: skip
        self.spawner = spawners.ForkServer(self.configure, str(self.code), str(folder / "layers") if layers else "")
        self.spawner._settings["allowed"] = self.allowed

    async def __aenter__(self) -> "Function":
        await self.spawner.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for environment in self.environments:
            await environment.close()
        await self.spawner.close()

    async def environment(self, **variables: str) -> "Environment":
        """Start one; returns when it has said its first word."""
        self._started += 1
        directory = self.folder / "environments" / str(self._started)
        directory.mkdir(mode=0o700)
        log, log_end = os.pipe()
        ours, theirs = socket.socketpair()
        given = {
            "_HANDLER": self.configure.handler, "AWS_EXECUTION_ENV": "AWS_Lambda_python3.12",
            "AWS_LAMBDA_FUNCTION_NAME": "probe", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST", "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/probe",
            "AWS_LAMBDA_LOG_STREAM_NAME": "stream", "LANG": "en_US.UTF-8", "TZ": ":UTC", "PATH": "/usr/bin:/bin",
            "LAMBDA_TASK_ROOT": self.spawner.task_root, **variables,
        }  # fmt: skip
        try:
            process = await self.spawner.spawn(
                environment={**given, **self.spawner.variables(str(directory))}, directory=str(directory),
                log_fd=log_end, channel_fd=theirs.fileno(),
            )  # fmt: skip
        finally:
            os.close(log_end)
            theirs.close()
        environment = Environment(process, ours, log, directory)
        self.environments.append(environment)
        environment.first = await environment.frame()
        return environment


class Environment:
    def __init__(self, process: spawners.EnvironmentProcess, channel: socket.socket, log: int, folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.first: tuple[int, str, bytes] = (0, "", b"")
        self._channel = channel
        self._channel.setblocking(False)
        self._log = log
        os.set_blocking(log, False)

    async def frame(self) -> tuple[int, str, bytes]:
        """Kind, meta and body of the next frame; kind 0 at the end."""
        head = await self._exactly(wire.HEADER_SIZE)
        if len(head) < wire.HEADER_SIZE:
            return 0, "", b""
        size, kind, meta_size = wire.HEADER.unpack(head)
        rest = await self._exactly(size - wire.PREFIX_SIZE)
        return kind, rest[:meta_size].decode(), rest[meta_size:]

    async def send(
        self,
        event: bytes,
        *,
        request_id: str = "id-1",
        client_context: str = "",
        within_s: float = 3,
        behind: bytes = b"",
    ) -> None:
        """`behind`: what goes out before it, in the same write."""
        deadline_ms = int((time.time() + within_s) * 1000)
        arn = "arn:aws:lambda:eu-central-1:123456789012:function:probe"
        meta = f"{request_id}\n{deadline_ms}\n{arn}\nRoot=1-2-3\n{client_context}\n\n".encode()
        await asyncio.get_running_loop().sock_sendall(self._channel, behind + wire.frame(wire.INVOKE, meta, event))

    async def answer(self, event: Any = None, **given: Any) -> tuple[int, str, bytes]:
        """The frame that answers the event, which is given as bytes or as what JSON can say."""
        await self.send(event if isinstance(event, bytes) else json.dumps(event).encode(), **given)
        async with asyncio.timeout(20):
            return await self.frame()

    async def value(self, event: Any = None, **given: Any) -> Any:
        """What the handler returned."""
        kind, meta, body = await self.answer(event, **given)
        assert kind == wire.RESPONSE, (kind, meta, body, self.logs())
        return json.loads(body)

    def logs(self) -> str:
        """What was printed since the last look."""
        text = b""
        try:
            while chunk := os.read(self._log, 1 << 16):
                text += chunk
        except OSError:
            pass
        return text.decode()

    async def ended(self, within_s: float = 5) -> Any:
        async with asyncio.timeout(within_s):
            return await asyncio.shield(self.process.exited)

    async def close(self) -> None:
        self.process.kill()
        await self.ended()
        self._channel.close()
        os.close(self._log)

    async def _exactly(self, size: int) -> bytes:
        data = b""
        loop = asyncio.get_running_loop()
        while len(data) < size:
            try:
                chunk = await loop.sock_recv(self._channel, size - len(data))
            except ConnectionResetError:
                chunk = b""
            if not chunk:
                break
            data += chunk
        return data


def resident_kib(pid: int) -> int:
    """Proportional set size: shared pages count in parts."""
    with open(f"/proc/{pid}/smaps_rollup") as rollup:
        return next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
