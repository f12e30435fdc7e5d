"""What extensions may say, and when, where their connections break or their words come late."""

import asyncio
from typing import Any

import pytest

from lateen_invoker.extensions import Extension, Extensions, Refused
from lateen_invoker.invocations import Invocation, Outcome
from lateen_invoker.spawner import Exit, Listener

pytestmark = pytest.mark.anyio


class Process:
    """`Process`, of which only what is asked of it counts."""

    pid = 7

    def __init__(self) -> None:
        self.exited: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self.extensions = ["one", "two"]
        self.listener: Listener | None = None
        self.asked: list[str] = []

    def run(self) -> None:
        self.asked.append("run")

    def terminate(self) -> None:
        self.asked.append("terminate")

    def kill(self) -> None:
        self.asked.append("kill")

    def usage(self) -> None:
        return None

    def peak_memory_kib(self) -> int:
        return 0

    def owns_connection(self, local_port: int, peer_port: int) -> bool:
        return True


class Host:
    """The environment; notes what its extensions make of it."""

    def __init__(self) -> None:
        self.process: Any = Process()
        self.ready = 0
        self.failed: list[tuple[str, str]] = []
        self.notes: list[str] = []
        self.extensions = Extensions(self, asyncio.get_running_loop(), ["one", "two"])
        self.one = self.extensions.register("one", ["INVOKE", "SHUTDOWN"])
        self.two = self.extensions.register("two", ["SHUTDOWN"])
        self.over = asyncio.Event()

    def extensions_ready(self) -> None:
        self.ready += 1

    def extension_failed(self, error_type: str, how: str) -> None:
        self.failed.append((error_type, how))

    def note(self, line: str) -> None:
        self.notes.append(line)

    def asks(self, extension: Extension) -> list[dict[str, Any]]:
        """Returns: what it is told, when it is."""
        told: list[dict[str, Any]] = []
        self.extensions.wants_next(extension, told.append)
        return told

    def invoke(self, request_id: str) -> None:
        def reply(invocation: Invocation, outcome: Outcome) -> None:
            raise AssertionError("nobody answers")

        self.extensions.invoke(Invocation(b"{}", reply, request_id=request_id, trace_id="t", arn="a"))


async def test_who_waits_for_whom() -> None:
    """The first event for the runtime and all; later ones for the runtime and whoever is told of them; in any order."""
    host = Host()
    assert host.process.asked == ["run"]
    one = host.asks(host.one)
    assert not host.extensions.runtime_ready()
    two = host.asks(host.two)
    assert host.ready == 1
    host.invoke("first")
    assert [event["requestId"] for event in one] == ["first"]
    assert two == []
    one = host.asks(host.one)
    assert host.ready == 1  # the runtime is not
    assert host.extensions.runtime_ready()
    host.invoke("second")
    assert not host.extensions.runtime_ready()
    host.asks(host.one)
    assert host.ready == 2


async def test_a_connection_that_breaks() -> None:
    """Who has lost it asks again, and has missed nothing; who still waits may not ask twice."""
    host = Host()
    lost: list[Any] = []
    host.extensions.wants_next(host.one, lost.append)
    host.asks(host.two)
    with pytest.raises(Refused, match="from Ready to Ready"):
        host.asks(host.one)
    host.extensions.gave_up_next(host.one, lost.append)
    assert host.extensions.runtime_ready()
    host.invoke("first")
    assert lost == []
    assert not host.extensions.runtime_ready()
    assert [event["requestId"] for event in host.asks(host.one)] == ["first"]
    host.asks(host.one)
    assert host.ready == 1


async def test_the_end_comes_while_one_is_busy() -> None:
    """It is told when it asks; all is over when those who were told have ended, and no sooner."""
    host = Host()
    host.asks(host.one)
    two = host.asks(host.two)
    host.extensions.runtime_ready()
    host.invoke("first")
    host.extensions.shut_down("timeout", host.over.set)
    assert host.process.asked == ["run", "terminate"]
    assert two == []
    host.extensions.runtime_ended()
    assert [event["shutdownReason"] for event in two] == ["timeout"]
    host.extensions.extension_ended("two", Exit(0, None, 0))
    assert not host.over.is_set()
    assert [event["eventType"] for event in host.asks(host.one)] == ["SHUTDOWN"]
    host.extensions.extension_ended("one", Exit(1, None, 0))
    assert host.over.is_set()
    assert host.failed == []


async def test_who_does_not_end_is_not_waited_for_longer_than_that() -> None:
    """Two seconds for all of it."""
    host = Host()
    began = asyncio.get_running_loop().time()
    host.extensions.shut_down("spindown", host.over.set)
    await host.over.wait()
    assert asyncio.get_running_loop().time() - began >= 1.99


async def test_one_that_has_failed_and_stays() -> None:
    """Its environment ends all the same; it gets nothing more."""
    host = Host()
    host.extensions.failed(host.one, "init")
    host.extensions.failed(host.one, "exit")
    with pytest.raises(Refused, match="from Failed to Ready"):
        host.asks(host.one)
    async with asyncio.timeout(20):
        while not host.failed:
            await asyncio.sleep(0.05)
    assert host.failed == [("Extension.InitError", "the extension has failed")]
    assert host.notes == [
        "EXTENSION\tName: one\tState: Failed\tEvents: [INVOKE,SHUTDOWN]\tError Type: Extension.InitError"
    ]
