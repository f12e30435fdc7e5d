"""The Runtime API over real sockets, without an environment behind it: what its clients may send and not read."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from lateen_invoker.invocations import RESPONSE_LIMIT
from lateen_invoker.runtime_api import CONNECTIONS_LIMIT, serve_runtime_api

pytestmark = pytest.mark.anyio
RUNNING = "/2018-06-01/runtime/invocation/running"


class Stub:
    """Of an environment what the API asks for; `running` may be answered, any number of times."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []

    def when_attached(self, known: Any) -> None:
        known(self)

    def owns_connection(self, peer_port: int, own_port: int) -> bool:
        return True

    def streams(self, request_id: str) -> bool:
        return False

    def said_response(self, request_id: str, body: bytes, *, media_type: str) -> str | None:
        if request_id != "running":
            return "InvalidRequestID"
        self.answers.append(body)
        return None

    def said_error(self, request_id: str, error_type: str, document: bytes) -> str | None:
        return self.said_response(request_id, document, media_type="")


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[Stub, int]]:
    stub: Any = Stub()
    configure: Any = None
    api = await serve_runtime_api(stub, configure)
    async with asyncio.timeout(60):
        yield stub, int(api.address.rpartition(":")[2])
    api.close()


async def connected(number: int, data: bytes = b"") -> tuple[asyncio.StreamReader, Any]:
    reader, writer = await asyncio.open_connection("127.0.0.1", number)
    writer.write(data)
    await writer.drain()
    return reader, writer


def head(path: str, *lines: str) -> bytes:
    return "\r\n".join((f"POST {path} HTTP/1.1", "host: x", *lines, "", "")).encode()


CHUNKED = head(f"{RUNNING}/response", "transfer-encoding: chunked") + b"1\r\nx\r\n"


async def test_another_address_of_the_loopback_interface() -> None:
    """A process may take the port of an environment's connection on 127.0.0.2, and is no environment for that."""
    async with listening() as (_, number):
        reader, writer = await asyncio.open_connection("127.0.0.1", number, local_addr=("127.0.0.2", 0))
        writer.write(b"GET /2018-06-01/ping HTTP/1.1\r\n\r\n")
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert b"does not come from this environment" in answer
        writer.close()


@pytest.mark.parametrize("begun", [b"GET /?", b"GET / HTTP/1.1\r\nx: ", CHUNKED + b"0\r\nx: ", CHUNKED + b"1;"])
async def test_a_line_without_an_end(begun: bytes) -> None:
    """Is not kept in the hope that it has one."""
    async with listening() as (_, number):
        reader, writer = await connected(number, begun)
        answering = asyncio.create_task(reader.read(1000))
        sent = 0
        while not answering.done():
            assert sent < 16 << 20
            writer.write(b"y" * 65_536)
            sent += 65_536
            await asyncio.sleep(0.001)
        writer.close()
        with contextlib.suppress(ConnectionError):
            assert await answering == b""


async def test_a_large_header_is_one() -> None:
    """The cause that AWS's clients send for X-Ray may have 1 MB, beside an error of the same size."""
    async with listening() as (stub, number):
        lines = (f"lambda-runtime-function-xray-error-cause: {'y' * 1_000_000}", "content-length: 1000000")
        reader, writer = await connected(number, head(f"{RUNNING}/error", *lines) + b"z" * 1_000_000)
        assert (await reader.read(100)).startswith(b"HTTP/1.1 202 ")
        assert stub.answers == [b"z" * 1_000_000]
        writer.close()


@pytest.mark.parametrize("path", ["/2018-06-01/runtime/invocation/old/response", f"{RUNNING}/response", "/x"])
async def test_many_bodies_at_once(path: str) -> None:
    """A runtime has one answer at a time: of those that are sent beside it no more is kept than another would need."""
    async with listening() as (stub, number):
        begun = head(path, "content-length: 3000001") + b"x" * 3_000_000
        callers = [await connected(number, begun) for _ in range(8)]
        answer = head(f"{RUNNING}/response", f"content-length: {RESPONSE_LIMIT}") + b"y" * RESPONSE_LIMIT
        reader, writer = await connected(number, answer)
        assert (await reader.read(100)).startswith(b"HTTP/1.1 202 ")
        assert stub.answers == [b"y" * RESPONSE_LIMIT]
        lost = 0
        for each, writing in callers:
            try:
                async with asyncio.timeout(0.1):
                    lost += await each.read(1) == b""
            except TimeoutError:
                pass
            except ConnectionError:
                lost += 1
            writing.close()
        assert lost >= 6
        writer.close()


async def test_answers_that_are_not_read() -> None:
    """Are no more than a few: nothing more is read of who does not read them."""
    async with listening() as (_, number):
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(asyncio.Protocol, "127.0.0.1", number)
        transport.pause_reading()
        for _ in range(100):
            transport.write(b"GET /x HTTP/1.1\r\nhost: x\r\n\r\n" * 10_000)
        for _ in range(100):
            await asyncio.sleep(0.01)
        assert transport.is_closing() or transport.get_write_buffer_size() > 8 << 20
        transport.abort()


async def test_who_reads_slowly() -> None:
    """Gets all the same all that was asked for."""
    async with listening() as (_, number):
        reader, writer = await connected(number)
        received = b""
        for _ in range(20):
            writer.write(b"GET /2018-06-01/ping HTTP/1.1\r\nhost: x\r\n\r\n" * 200)
            await writer.drain()
            await asyncio.sleep(0.01)
        while received.count(b"pong") < 4000:
            received += await reader.read(65_536)
        writer.close()


@pytest.mark.parametrize("body", [b"", b"{}", b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"])
async def test_an_upgrade_that_is_offered(body: bytes) -> None:
    """As Java's client does: it is not taken, and the request is an ordinary one, as are those behind it."""
    async with listening() as (stub, number):
        framing = "transfer-encoding: chunked" if body[2:] else f"content-length: {len(body)}"
        offer = ("connection: Upgrade, HTTP2-Settings", framing, "http2-settings: AAEAAEAA", "upgrade: h2c")
        request = head(f"{RUNNING}/response", *offer) + body
        reader, writer = await connected(number, request * 3)
        for _ in range(2):
            writer.write(request[:-1])
            await asyncio.sleep(0.05)
            writer.write(request[-1:])
        writer.write(b"GET /2018-06-01/ping HTTP/1.1\r\nhost: x\r\n\r\n")
        answers = await reader.readuntil(b"pong")
        writer.write(request.replace(b"Upgrade", b"Upgrade, close"))
        answers += await reader.readuntil(b"OK")
        assert (answers.count(b"HTTP/1.1 202"), answers.count(b"HTTP/1.1 ")) == (6, 7)
        assert stub.answers == [b"{}" if body else b""] * 6
        writer.close()


async def test_a_proxy_is_asked_for() -> None:
    """Which this is not; nobody takes what follows for requests."""
    async with listening() as (_, number):
        reader, writer = await connected(
            number, b"CONNECT x:1 HTTP/1.1\r\nhost: x\r\nupgrade: x\r\n\r\nGET /x HTTP/1.1\r\n"
        )
        answer = await reader.read()
        assert (answer[:12], answer.count(b"HTTP/1.1 ")) == (b"HTTP/1.1 404", 1)
        writer.close()


async def test_each_request_has_its_own_headers() -> None:
    """An answer after a stream that failed is no failure."""
    error = base64.b64encode(b"half way").decode()
    failed = ("Lambda-Runtime-Function-Error-Type: Broken", f"Lambda-Runtime-Function-Error-Body: {error}")
    async with listening() as (stub, number):
        reader, writer = await connected(number)
        for lines, body in ((failed, b"half"), ((), b"whole")):
            writer.write(head(f"{RUNNING}/response", *lines, f"Content-Length: {len(body)}") + body)
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 202")
            await reader.readuntil(b"}")
        assert stub.answers == [b"half way", b"whole"]
        writer.close()


async def test_connections_have_a_limit() -> None:
    """Any process of the machine can open them. The next one is ended, and the others serve."""
    async with listening() as (stub, number):
        first, *more = [await connected(number) for _ in range(CONNECTIONS_LIMIT)]
        reader, _ = await connected(number)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        first[1].write(head(f"{RUNNING}/response", "Content-Length: 1") + b"1")
        assert (await first[0].readuntil(b"\r\n")).startswith(b"HTTP/1.1 202")
        assert stub.answers == [b"1"]
        for _, writer in (first, *more):
            writer.close()
