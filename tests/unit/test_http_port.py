"""The HTTP port over real sockets, with a clock that is hurried: who is too slow holds nothing for ever."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from lateen_invoker import http_port
from lateen_invoker.http_port import JSON, Port, Request

pytestmark = pytest.mark.anyio
LARGE = bytes(4 << 20)


class Echo(Request):
    """`/large` is answered with 4 MiB, `/stream` in two pieces, everything else with the length of its body."""

    __slots__ = ()

    def start(self) -> None:
        if self.target == "/stream":
            self.connection.begin(self, 200, JSON, "r", Unheld())
            self.connection.piece(b"one")
            asyncio.get_running_loop().call_later(0.3, self.finish)
            return
        body = LARGE if self.target == "/large" else b"%d" % len(self.body)
        self.connection.respond(self, 200, JSON, body)

    def finish(self) -> None:
        self.connection.piece(b"two")
        self.connection.end(self)


class Unheld:
    """A `Flow` of answers so short that nothing holds them."""

    def hold(self) -> None: ...
    def go_on(self) -> None: ...
    def left(self) -> None: ...


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[Port, int]]:
    port = Port(Echo)
    number = await port.listen()
    async with asyncio.timeout(60):
        yield port, number
    port.close()


async def connected(number: int, data: bytes) -> tuple[asyncio.StreamReader, Any]:
    reader, writer = await asyncio.open_connection("127.0.0.1", number)
    writer.write(data)
    await writer.drain()
    return reader, writer


async def until(is_so: Any) -> None:
    async with asyncio.timeout(30):
        while not is_so():
            await asyncio.sleep(0.01)


async def test_an_upload_that_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was kept for it is there for others when its time is over."""
    monkeypatch.setattr(http_port, "BODY_DEADLINE_S", 0.5)
    async with listening() as (port, number):
        reader, writer = await connected(number, b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\nabc")
        await until(lambda: port.metrics.request_bytes > 1_000_000)
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
        await until(lambda: port.metrics.request_bytes == 0)
        writer.close()


async def test_a_large_upload_over_a_slow_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the time that its bytes need which have come."""
    monkeypatch.setattr(http_port, "BODY_DEADLINE_S", 0.1)
    monkeypatch.setattr(http_port, "BODY_BYTES_PER_S", 1000)
    monkeypatch.setattr(http_port, "_SWEEP_S", 0.05)
    async with listening() as (port, number):
        head = b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 3000\r\n\r\n"
        reader, writer = await connected(number, head)
        for _ in range(6):
            writer.write(b"x" * 500)
            await asyncio.sleep(0.1)
        assert (await reader.read()).endswith(b"\r\n\r\n3000")
        began = asyncio.get_running_loop().time()
        stopping, stopped = await connected(number, head + b"x" * 500)
        assert (await stopping.read()).startswith(b"HTTP/1.1 408 ")
        assert asyncio.get_running_loop().time() - began > 0.5
        for each in (writer, stopped):
            each.close()
        await until(lambda: port.metrics.request_bytes == 0)


async def test_an_answer_that_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is kept for its caller for a while, and then not any more."""
    monkeypatch.setattr(http_port, "ANSWER_DEADLINE_S", 0.5)
    async with listening() as (port, number):
        # Not by a stream reader, which would read ahead.
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(asyncio.Protocol, "127.0.0.1", number)
        transport.pause_reading()
        transport.write(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n")
        await until(lambda: port.metrics.unread_bytes > 1 << 20)
        assert port.metrics.answers_cut == 0
        await until(lambda: port.metrics.answers_cut == 1)
        await until(lambda: not port.connections)
        assert (port.metrics.unread_bytes, port.readers) == (0, {})
        transport.abort()


async def test_an_answer_that_is_read_late() -> None:
    """Is whole, and the next request of the connection is answered after it."""
    async with listening() as (port, number):
        request = b"GET /large HTTP/1.1\r\nhost: x\r\n\r\nPOST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n"
        reader, writer = await connected(number, request + b"connection: close\r\n\r\nhi")
        await until(lambda: port.metrics.unread_bytes > 1 << 20)
        received = await reader.read()
        assert len(received) > len(LARGE)
        assert received.endswith(b"\r\n\r\n2")
        await until(lambda: not port.connections)
        assert (port.metrics.unread_bytes, port.metrics.request_bytes, port.metrics.answers_cut) == (0, 0, 0)
        writer.close()


async def test_large_heads_are_counted() -> None:
    """As bodies are: whoever never ends one is refused what a body of that size would be."""
    async with listening() as (port, number):
        port.room = 300_000
        begun = b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 60_000
        callers = [await connected(number, begun) for _ in range(3)]
        await until(lambda: port.metrics.request_bytes > 180_000)
        reader, writer = await connected(number, begun)
        assert (await reader.read()).startswith(b"HTTP/1.1 429 ")
        assert port.metrics.throttles == 1
        for _, each in [*callers, (reader, writer)]:
            each.close()
        await until(lambda: port.metrics.request_bytes == 0)


@pytest.mark.parametrize("begun", [b"GET /?", b"GET / HTTP/1.1\r\nx: ", b"GET / HTTP/1.1\r\nx"])
async def test_a_line_without_an_end(begun: bytes) -> None:
    """Is not kept in the hope that it has one."""
    async with listening() as (port, number):
        answer = await _answer_to_endless(number, begun, b"y" * 65_536)
        assert answer.startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 "))
        await until(lambda: port.metrics.request_bytes == 0)


async def test_a_trailer_without_an_end() -> None:
    """As a head; and many small chunks are none."""
    async with listening() as (port, number):
        head = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n"
        assert (await _answer_to_endless(number, head + b"0\r\nx: ", b"y" * 65_536)).startswith(b"HTTP/1.1 431 ")
        assert (await _answer_to_endless(number, head + b"1;", b"y" * 65_536)).startswith(b"HTTP/1.1 431 ")
        reader, writer = await connected(number, head)
        writer.write(b"1\r\nx\r\n" * 500_000 + b"0\r\nconnection: close\r\n\r\n")
        assert (await reader.readuntil(b"500001")).startswith(b"HTTP/1.1 200 ")
        writer.close()
        await until(lambda: port.metrics.request_bytes == 0)


@pytest.mark.parametrize(
    "framing", [b"content-length: 5\r\n\r\nhello", b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"]
)
async def test_an_upgrade_that_is_offered(framing: bytes) -> None:
    """Is not taken: the request is an ordinary one with its body, as are those behind it."""
    async with listening() as (port, number):
        head = b"POST / HTTP/1.1\r\nhost: x\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\ncookie: a=b\r\n"
        request = head + b"expect: 100-continue\r\n" + framing
        reader, writer = await connected(number, request)
        for _ in range(2):
            writer.write(request[:-1])
            await asyncio.sleep(0.05)
            writer.write(request[-1:])
        writer.write(request * 3 + b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close, upgrade\r\nupgrade: x\r\n\r\n")
        answers = await reader.read()
        assert answers.count(b"\r\n\r\n5HTTP/1.1 ") == 6
        assert answers.endswith(b"\r\n\r\n0")
        assert (answers.count(b"HTTP/1.1 200 "), answers.count(b"HTTP/1.1 100 ")) == (7, 6)
        assert answers.count(b"HTTP/1.1 ") == 13
        writer.close()
        await until(lambda: port.metrics.request_bytes == 0)


async def test_what_is_small_in_the_end() -> None:
    """Of a request that looked larger while it arrived nothing is held once it is answered."""
    async with listening() as (port, number):
        reader, writer = await connected(number, b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        writer.write(b"5;" + b"y" * 100_000)
        await until(lambda: port.metrics.request_bytes >= 100_000)
        writer.write(b"\r\nhello\r\n0\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n5")
        assert port.metrics.request_bytes == 0
        writer.close()


async def test_who_waits_to_send_a_body_behind_an_answer() -> None:
    """Nothing is said of it within that answer; the body is taken all the same."""
    async with listening() as (_, number):
        reader, writer = await connected(number, b"GET /stream HTTP/1.1\r\nhost: x\r\n\r\n")
        await reader.readuntil(b"3\r\none\r\n")
        head = b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n"
        writer.write(head)
        rest = await reader.readuntil(b"0\r\n\r\n")
        assert rest == b"3\r\ntwo\r\n0\r\n\r\n"
        writer.write(b"hi")
        assert (await reader.read()).endswith(b"\r\n\r\n2")
        writer.close()


async def _answer_to_endless(number: int, begun: bytes, more: bytes) -> bytes:
    """Goes on until it is answered."""
    reader, writer = await connected(number, begun)
    answering = asyncio.create_task(reader.read(1000))
    sent = 0
    while not answering.done():
        assert sent < 8 << 20
        writer.write(more)
        sent += len(more)
        await asyncio.sleep(0.001)
    writer.close()
    return await answering
