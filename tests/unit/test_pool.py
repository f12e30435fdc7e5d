"""The pool over environments whose runtimes are the test: it decides what they say, and when they can be had."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from lateen_invoker import wire
from lateen_invoker.control import Configure, RuntimeCommand
from lateen_invoker.invocations import Invocation, Outcome
from lateen_invoker.metrics import Metrics
from lateen_invoker.pool import Pool
from lateen_invoker.spawner import Exit

from .test_environments import LateProcess

pytestmark = pytest.mark.anyio


class Runtime(LateProcess):
    """A process that ends when it is told to, and the end of the channel that its bootstrap has."""

    def __init__(self, channel: socket.socket) -> None:
        super().__init__()
        self.channel = channel
        channel.setblocking(False)

    def kill(self) -> None:
        super().kill()
        if not self.exited.done():
            self.exited.set_result(Exit(None, 9, 0))

    def say(self, kind: int, meta: str = "", body: bytes = b"") -> None:
        self.channel.send(wire.frame(kind, meta.encode(), body))

    async def event(self) -> str:
        """The request id of the next one that it is given."""
        async with asyncio.timeout(20):
            given = await asyncio.get_running_loop().sock_recv(self.channel, 1 << 16)
        return given[wire.HEADER_SIZE :].partition(b"\n")[0].decode()

    async def answer(self) -> str:
        """Answer the next event with its request id."""
        request_id = await self.event()
        self.say(wire.RESPONSE, request_id, request_id.encode())
        return request_id


class Runtimes:
    """`Spawner`: can start nothing unless they are `here`."""

    isolation, task_root, code_dir, layers_root, layers_dir = "none", "/var/task", "/var/task", "/opt", ""

    def __init__(self) -> None:
        self.here = asyncio.Event()
        self.here.set()
        self.started: list[Runtime] = []

    def variables(self, directory: str) -> Mapping[str, str]:
        return {}

    async def start(self) -> None:
        await self.here.wait()

    async def spawn(
        self,
        *,
        environment: Mapping[str, str],
        directory: str,
        log_fd: int,
        channel_fd: int | None,
        program: str | None = None,
    ) -> Runtime:
        assert channel_fd is not None
        runtime = Runtime(socket.socket(fileno=os.dup(channel_fd)))
        self.started.append(runtime)
        runtime.say(wire.READY)
        return runtime

    async def close(self) -> None:
        for runtime in self.started:
            runtime.channel.close()


class Calls:
    """A pool, and what became of the calls that it was given."""

    def __init__(self, folder: Path, **configure: Any) -> None:
        self.runtimes = Runtimes()
        self.configure = Configure(
            **{
                "function_id": "f", "function_name": "probe", "workspace_id": "w", "account_id": "123456789012",
                "version": "$LATEST", "hash": "0" * 32, "region": "eu-central-1", "handler": "code.handler",
                "environment": {}, "timeout_s": 60, "memory_mib": 128, "concurrency": 10, "queue": 50, "open": True,
                "invoke_key": b"k", "artifact": "", "artifact_sha256": "", "work_dir": str(folder), "idle_s": 600.0,
                "runtime": RuntimeCommand(
                    name="any", execution_env=None, command=["any"], forks=False, channel=True, runtime_dir="/"
                ),
                **configure,
            }
        )  # fmt: skip
        self.pool = Pool(
            self.configure, self.runtimes, Metrics(), record=lambda _: None, idle=lambda: None, keep=1
        )  # fmt: skip
        self.answers: dict[str, bytes] = {}

    def call(self, request_id: str) -> None:
        def reply(_: Invocation, outcome: Outcome) -> None:
            assert request_id not in self.answers
            self.answers[request_id] = outcome.body

        self.pool.submit(Invocation(b"{}", reply, request_id=request_id, trace_id="", arn=self.pool.arn))


@asynccontextmanager
async def calls_to(folder: Path, **configure: Any) -> AsyncIterator[Calls]:
    calls = Calls(folder, **configure)
    async with asyncio.timeout(60):
        assert await calls.pool.initialise() is None
        yield calls
        await calls.pool.close()


async def until(is_so: Any) -> None:
    async with asyncio.timeout(30):
        while not is_so():
            await asyncio.sleep(0.01)


async def test_ready_said_twice_is_heard_once(tmp_path: Path) -> None:
    """However often user code says that it waits for an event, it is given one at a time."""
    async with calls_to(tmp_path, concurrency=1) as calls:
        (runtime,) = calls.runtimes.started
        runtime.say(wire.READY)
        runtime.say(wire.READY)
        await asyncio.sleep(0.05)
        calls.call("one")
        calls.call("two")
        assert await runtime.event() == "one"
        runtime.say(wire.READY)  # nor does it say so of itself while it has one
        await asyncio.sleep(0.05)
        assert (calls.pool.running, calls.pool.waiting) == (1, 1)
        runtime.say(wire.RESPONSE, "one", b"one")
        assert await runtime.answer() == "two"
        await calls.pool.drained()
    assert calls.answers == {"one": b"one", "two": b"two"}


async def test_no_event_for_one_whose_channel_has_ended(tmp_path: Path) -> None:
    """It is about to end: who calls meanwhile is served by another."""
    async with calls_to(tmp_path) as calls:
        calls.runtimes.started[0].channel.close()
        await asyncio.sleep(0.05)
        calls.call("one")
        await until(lambda: len(calls.runtimes.started) == 2)
        assert await calls.runtimes.started[1].answer() == "one"
        await calls.pool.drained()
    assert calls.answers == {"one": b"one"}


async def test_nothing_is_started_for_who_was_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls come while no runtime can be had, and are told so. When it is there again, the next call finds one new
    environment, and nothing is left of those that had waited for too long."""
    monkeypatch.setattr("lateen_invoker.pool.INIT_LIMIT_S", 0.1)
    async with calls_to(tmp_path, concurrency=2, timeout_s=1) as calls:
        runtimes, pool = calls.runtimes, calls.pool
        runtimes.started[0].kill()
        await until(lambda: pool.environments == 0)
        runtimes.here.clear()
        for number in range(2):
            calls.call(f"{number} a")
            calls.call(f"{number} b")
            await until(lambda: pool.environments == 0)
        assert len(calls.answers) == 4
        runtimes.here.set()
        await until(lambda: not pool._tasks)
        await until(lambda: os.listdir(tmp_path / "environments") == [])
        assert len(runtimes.started) == 1
        calls.call("after")
        await until(lambda: len(runtimes.started) == 2)
        assert await runtimes.started[1].answer() == "after"
        await pool.drained()
    assert calls.answers["after"] == b"after"


async def test_a_larger_share_is_for_all_who_wait(tmp_path: Path) -> None:
    """Ten wait for want of share, and get one of ten: they run at once, not one after the other."""
    async with calls_to(tmp_path) as calls:
        calls.pool.share(0, 10)
        for number in range(10):
            calls.call(str(number))
        assert (calls.pool.running, calls.pool.waiting) == (0, 10)
        calls.pool.share(10, 10)
        await until(lambda: calls.pool.running == 10)
        await asyncio.gather(*(runtime.answer() for runtime in calls.runtimes.started))
        await calls.pool.drained()
    assert calls.answers == {str(number): str(number).encode() for number in range(10)}
