"""Callers that take their answer slowly, or not at all: the first get it whole, the others hold nothing for ever."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import uvicorn

from lateen import http_protocol
from lateen.http_protocol import LateenProtocol

READ_S = 0.5
SMALL, LARGE = 48 * 1024, 300 * 1024
"""More than the kernel takes for a caller who does not read; the first is less than what stops a writer."""
KERNEL = 4096


class Setting:
    def __init__(self, server: uvicorn.Server, address: Any) -> None:
        self.server = server
        self.address = address
        self.script: Callable[[Any], Awaitable[None]]

    async def answer(self, scope: Any, receive: Any, send: Any) -> None:
        await self.script(send)

    async def ask(self, lines: bytes = b"") -> socket.socket:
        caller = socket.socket()
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL)
        caller.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(caller, self.address)
        await loop.sock_sendall(caller, b"GET / HTTP/1.1\r\nhost: x\r\n%b\r\n" % lines)
        return caller

    async def until_it_holds_nothing(self) -> None:
        async with asyncio.timeout(20):
            while self.server.server_state.connections or self.server.server_state.tasks:
                await asyncio.sleep(0.01)

    async def unsent(self) -> int:
        async with asyncio.timeout(5):
            while not self.server.server_state.connections:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        (connection,) = self.server.server_state.connections
        return int(connection.transport.get_write_buffer_size())


@pytest.fixture(params=[True, False], ids=["uvloop", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture
async def setting(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Setting]:
    monkeypatch.setattr(http_protocol, "READ_S", READ_S)
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL)
    listening.bind(("127.0.0.1", 0))

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await setting.answer(scope, receive, send)

    config = uvicorn.Config(
        application, interface="asgi3", http=LateenProtocol, log_level="critical", ws="none", lifespan="off",
        timeout_keep_alive=1,
    )  # fmt: skip
    server = uvicorn.Server(config)
    setting = Setting(server, listening.getsockname())
    serving = asyncio.create_task(server._serve([listening]))
    while not server.started:
        await asyncio.sleep(0.001)
    yield setting
    server.should_exit = server.force_exit = True
    await serving


def answer_of(*parts: int, announced: int | None = None, silence_s: float = 0.0) -> Callable[[Any], Awaitable[None]]:
    """Args:
    parts: bytes, each.
    announced: bytes of all; what is less breaks off.
    silence_s: before each part.
    """
    length = sum(parts) if announced is None else announced

    async def script(send: Any) -> None:
        left, headers = length, [(b"content-length", b"%d" % length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for size in parts:
            await asyncio.sleep(silence_s)
            left -= size
            await send({"type": "http.response.body", "body": bytes(size), "more_body": left > 0})

    return script


@pytest.mark.parametrize("lines", [b"", b"connection: close\r\n"], ids=["kept", "closing"])
@pytest.mark.parametrize(
    "script",
    [
        answer_of(SMALL),
        answer_of(LARGE),
        answer_of(*[LARGE] * 5),
        answer_of(SMALL, announced=LARGE),
        answer_of(LARGE, announced=2 * LARGE),
    ],
    ids=["small", "large", "many parts", "broken off", "broken off while full"],
)
async def test_an_answer_that_is_not_read_is_given_up(
    setting: Setting, script: Callable[[Any], Awaitable[None]], lines: bytes
) -> None:
    """Whatever its size, and whether its connection was to end or not."""
    setting.script = script
    caller = await setting.ask(lines)
    assert await setting.unsent() > 0
    await setting.until_it_holds_nothing()
    caller.close()


@pytest.mark.parametrize("lines", [b"", b"connection: close\r\n"], ids=["kept", "closing"])
async def test_a_slow_reader_gets_all_of_it(setting: Setting, lines: bytes) -> None:
    """Though it takes several times as long as one that reads nothing has."""
    setting.script = answer_of(LARGE)
    loop = asyncio.get_running_loop()
    caller, received, began_s = await setting.ask(lines), 0, loop.time()
    while received < LARGE:
        part = await loop.sock_recv(caller, 4096)
        assert part
        received += len(part)
        await asyncio.sleep(0.02)
    assert loop.time() - began_s > 2 * READ_S
    caller.close()
    await setting.until_it_holds_nothing()


async def test_a_reader_that_stops_before_the_end(setting: Setting) -> None:
    """When so little is left that a writer could go on, while the connection is closing."""
    setting.script = answer_of(LARGE)
    caller, loop = await setting.ask(b"connection: close\r\n"), asyncio.get_running_loop()
    assert await setting.unsent() > LARGE / 2
    (connection,) = setting.server.server_state.connections
    connection.transport.set_write_buffer_limits(high=2 * SMALL, low=SMALL)
    while connection.transport.get_write_buffer_size() > SMALL:
        assert await loop.sock_recv(caller, 2048)
        await asyncio.sleep(0.001)
    assert await setting.unsent() > 0
    await setting.until_it_holds_nothing()
    caller.close()


async def test_silence_is_not_the_callers(setting: Setting) -> None:
    """A stream may say nothing for long, and each of its parts has its time anew."""
    parts = [SMALL, LARGE, SMALL]
    setting.script = answer_of(*parts, silence_s=3 * READ_S)
    loop = asyncio.get_running_loop()
    caller, received = await setting.ask(b"connection: close\r\n"), 0
    async with asyncio.timeout(20):
        while part := await loop.sock_recv(caller, 65_536):
            received += len(part)
    assert received > sum(parts)
    caller.close()
    await setting.until_it_holds_nothing()
