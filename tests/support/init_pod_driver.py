"""Runs in a function pod in the invoker's place: drives `init` by the real `PodSpawner`, on the word of a test.

    python init_pod_driver.py CONFIGURE CODE

Listens on port 8080. A connection carries one JSON object a line, each answered by one; what they say is in `Driver`.
Standard library and `lateen_invoker` only.
"""

import asyncio
import json
import os
import shutil
import signal
import socket
import struct
import sys
import time
from typing import Any

import msgspec

from lateen_invoker.control import Configure
from lateen_invoker.invocations import Invocation, Outcome
from lateen_invoker.metrics import Metrics
from lateen_invoker.pod_spawner import PodSpawner
from lateen_invoker.pool import Pool
from lateen_invoker.recorder import record_for
from lateen_invoker.spawner import SpawnFailed

HEADER = struct.Struct("<IBH")
INVOKE = 1


class Environment:
    def __init__(self, process: Any, channel: socket.socket, log: int) -> None:
        self.process, self._channel, self._log = process, channel, log

    async def frame(self) -> tuple[int, str]:
        """Kind and body; kind 0 at the end."""
        loop = asyncio.get_running_loop()
        data = b""
        while len(data) < 7 or len(data) < HEADER.unpack_from(data)[0] + 4:
            try:
                chunk = await loop.sock_recv(self._channel, 65536)
            except ConnectionError:
                chunk = b""
            if not chunk:
                return 0, ""
            data += chunk
        _, kind, meta_size = HEADER.unpack_from(data)
        return kind, data[7 + meta_size :].decode()

    async def send(self, event: Any) -> None:
        meta = f"id\n{int(time.time() * 1000) + 30_000}\narn\n\n\n\n".encode()
        body = json.dumps(event).encode()
        frame = HEADER.pack(3 + len(meta) + len(body), INVOKE, len(meta)) + meta + body
        await asyncio.get_running_loop().sock_sendall(self._channel, frame)

    def logs(self) -> str:
        try:
            return os.read(self._log, 65536).decode("utf-8", "replace")
        except BlockingIOError:
            return ""


class Driver:
    """Each method is an order: its name is the object's `order`, its arguments the other members."""

    def __init__(self, configure: Configure) -> None:
        self._configure = configure
        self.spawner = PodSpawner(configure)
        self._environments: list[Environment] = []
        self._pool: Pool | None = None
        self._records: dict[str, asyncio.Future[Invocation]] = {}

    async def start(self, **variables: str) -> dict[str, Any]:
        """An environment. Returns: its number, process id (as `init` counts), first word and how long that took."""
        log, log_end = os.pipe()
        os.set_blocking(log, False)
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        number = len(self._environments)
        directory = f"/any/{number}"
        given = {
            "_HANDLER": "code.handler", "LAMBDA_TASK_ROOT": self.spawner.task_root, "TZ": ":UTC",
            "PATH": "/usr/local/bin:/usr/bin:/bin", **variables, **self.spawner.variables(directory),
        }  # fmt: skip
        began = time.perf_counter()
        try:
            process = await self.spawner.spawn(
                environment=given, directory=directory, log_fd=log_end, channel_fd=theirs.fileno()
            )
        except SpawnFailed as exc:
            return {"error": str(exc)}
        finally:
            os.close(log_end)
            theirs.close()
        environment = Environment(process, ours, log)
        self._environments.append(environment)
        kind, body = await environment.frame()
        took_ms = (time.perf_counter() - began) * 1000
        return {"number": number, "pid": process.pid, "kind": kind, "body": body, "ms": took_ms}

    async def call(self, event: Any) -> dict[str, Any]:
        """An invocation by the invoker's pool, whichever way the runtime speaks. Returns: its outcome and record."""
        loop = asyncio.get_running_loop()
        if self._pool is None:
            self._pool = Pool(
                self._configure, self.spawner, Metrics(), record=self._recorded, idle=lambda: None, keep=1
            )  # fmt: skip
            await self._pool.initialise()
        done: asyncio.Future[Outcome] = loop.create_future()
        invocation = Invocation(
            json.dumps(event).encode(), lambda _, outcome: done.set_result(outcome),
            request_id=os.urandom(8).hex(), trace_id="", arn=self._pool.arn,
        )  # fmt: skip
        self._records[invocation.request_id] = recorded = loop.create_future()
        self._pool.submit(invocation)
        outcome = await done
        body = outcome.body.decode()
        record = record_for(await asyncio.wait_for(recorded, 5), self._configure)
        return {"kind": outcome.kind, "body": body, "record": msgspec.to_builtins(record)}

    def _recorded(self, invocation: Invocation) -> None:
        self._records.pop(invocation.request_id).set_result(invocation)

    async def value(self, number: int, event: Any) -> dict[str, Any]:
        """What the handler answers."""
        await self._environments[number].send(event)
        kind, body = await self._environments[number].frame()
        return {"kind": kind, "value": json.loads(body) if body else None}

    async def send(self, number: int, event: Any) -> dict[str, Any]:
        await self._environments[number].send(event)
        return {}

    async def ended(self, number: int, within_s: float = 20) -> dict[str, Any]:
        """How it ended, and how long that took from now."""
        began = time.perf_counter()
        ended = await asyncio.wait_for(asyncio.shield(self._environments[number].process.exited), within_s)
        return {**msgspec.to_builtins(ended), "s": time.perf_counter() - began}

    async def kill(self, number: int) -> dict[str, Any]:
        self._environments[number].process.kill()
        return await self.ended(number)

    async def peak(self, number: int) -> dict[str, Any]:
        return {"kib": self._environments[number].process.peak_memory_kib()}

    async def logs(self, number: int) -> dict[str, Any]:
        return {"text": self._environments[number].logs()}

    async def socket(self) -> dict[str, Any]:
        return {"exists": os.path.exists("/run/lateen/init.sock")}

    async def stopping(self) -> dict[str, Any]:
        return {"is": self.spawner.stopping.is_set()}

    async def release(self) -> dict[str, Any]:
        self.spawner.release()
        return {}

    async def drop(self) -> dict[str, Any]:
        """Ends the connection to `init`."""
        connection = self.spawner._connection
        assert connection is not None
        connection.shutdown(socket.SHUT_RDWR)
        return {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            asked = json.loads(line)
            try:
                answer = await getattr(self, asked.pop("order"))(**asked)
            except Exception as exc:
                answer = {"failed": f"{type(exc).__name__}: {exc}"}
            writer.write(json.dumps(answer).encode() + b"\n")
        writer.close()


async def main() -> None:
    with open(sys.argv[1], "rb") as file:
        configure = msgspec.json.decode(file.read(), type=Configure)
    shutil.copy(sys.argv[2], "/var/task/code.py")
    os.makedirs(os.path.join(configure.work_dir, "environments"), exist_ok=True)
    driver = Driver(configure)
    await driver.spawner.start()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, os._exit, 0)
    server = await asyncio.start_server(driver.serve, None, 8080)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
