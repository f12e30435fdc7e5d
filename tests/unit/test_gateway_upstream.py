"""The gateway against an invoker that is scripted byte by byte: what a real one never does, and how it may end."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn
from scripted_invoker import DEPLOYMENT, HASH, KEY, Invoker, answer_with, request_from

from lateen import http_protocol
from lateen.gateway import pool as pool_module
from lateen.gateway.connecting import Connecting
from lateen.gateway.gateway import Gateway
from lateen.gateway.pool import ConnectFailed, Pool
from lateen.http_protocol import LateenProtocol
from lateen_invoker.signing import is_signed, sign

PATIENCE_S = 0.5


class Setting:
    def __init__(
        self, invoker: Invoker, gateway: Gateway, pool: Pool, server: uvicorn.Server, port: int, *, is_short: bool
    ) -> None:
        self.invoker = invoker
        self.gateway = gateway
        self.pool = pool
        self.server = server
        self.port = port
        self.is_short = is_short

    async def prepare(self) -> None:
        """What the short way needs: a route that is known and a connection that is idle."""
        endpoint = await self.invoker.endpoint(DEPLOYMENT)
        if (connection := self.pool.idle(endpoint)) is None:
            with contextlib.suppress(ConnectFailed):
                connection = await self.pool.connect(endpoint)
        if connection is not None:
            connection.is_complete = connection._keeps_alive = True
            connection._expecting = False
            self.pool.release(connection)

    async def ask(
        self, request: bytes | None = None, *, within_s: float = 5.0
    ) -> tuple[int, dict[bytes, bytes], bytes]:
        """One request on a connection of its own: status, headers and the body, or what of it came before the end."""
        if self.is_short:
            await self.prepare()
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request or b"GET /%b HTTP/1.1\r\nhost: x\r\n\r\n" % HASH.encode())
        async with asyncio.timeout(5):
            lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
            headers = dict(line.lower().split(b": ", 1) for line in lines[1:-2])
            status = int(lines[0].split(b" ")[1])
            try:
                if status in (204, 304):
                    body = b""
                elif b"content-length" in headers:
                    body = await reader.readexactly(int(headers[b"content-length"]))
                else:
                    body = await reader.readuntil(b"0\r\n\r\n")
            except asyncio.IncompleteReadError as exc:
                body = exc.partial
        writer.close()
        return status, headers, body


@pytest.fixture(params=["long way", "short way"])
async def setting(request: pytest.FixtureRequest) -> AsyncIterator[Setting]:
    invoker = Invoker()
    upstream = await asyncio.start_server(invoker.serve, "127.0.0.1", 0)
    invoker.port = upstream.sockets[0].getsockname()[1]
    pool = Pool()
    connecting = Connecting(invoker, pool, patience_s=PATIENCE_S)
    gateway = Gateway(routes=invoker, keys=None, connecting=connecting)  # type: ignore[arg-type]
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))

    class Protocol(LateenProtocol):
        short_way = gateway.short_way if request.param == "short way" else None

    config = uvicorn.Config(gateway, interface="asgi3", http=Protocol, log_level="critical", ws="none", lifespan="off")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve([listening]))
    while not server.started:
        await asyncio.sleep(0.001)
    yield Setting(invoker, gateway, pool, server, listening.getsockname()[1], is_short=request.param == "short way")
    server.should_exit = server.force_exit = True
    await serving
    await pool.close()
    invoker.close()
    upstream.close()


async def test_each_request_is_signed_for_its_invoker(setting: Setting) -> None:
    """The signature covers method, target and source, under the function's own key."""
    seen: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await request_from(reader))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    setting.invoker.script = script
    await setting.ask(b"PUT /%b/a?b=c HTTP/1.1\r\nhost: x\r\n\r\n" % HASH.encode())
    lines = seen[0].decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:-2])
    source = f"127.0.0.1 http {setting.port}"
    assert headers["x-lateen-source"] == source
    signed: dict[str, Any] = {
        "target": f"/{HASH}/a?b=c", "source": source, "request_id": headers.get("x-lateen-request-id", ""),
        "now_s": int(headers["x-lateen-signature"].partition(".")[0]),
    }  # fmt: skip
    assert is_signed(KEY, headers["x-lateen-signature"], method="PUT", **signed)
    assert not is_signed(KEY, headers["x-lateen-signature"], method="GET", **signed)


def test_a_signature_is_good_for_a_minute() -> None:
    """Either way, for clocks differ; one that was made for later would be good for as long."""
    call = {"method": "GET", "target": "/x", "source": "", "request_id": ""}
    signature = sign(KEY, now_s=1000.0, **call)
    good = [
        now_s for now_s in (900, 939, 940, 1000, 1060, 1061, 1100) if is_signed(KEY, signature, now_s=now_s, **call)
    ]
    assert good == [940, 1000, 1060]


async def test_a_connection_serves_call_after_call(setting: Setting) -> None:
    """Of one pooled connection, for answers of a length, chunked, empty, or without a body by their status."""
    setting.invoker.script = answer_with(
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\none",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\ncontent-length: 99\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlast",
    )
    answers = [await setting.ask() for _ in range(6)]
    assert [status for status, _, _ in answers] == [200, 200, 204, 304, 200, 200]
    assert answers[0][2] == b"one"
    assert b"two" in answers[1][2]
    assert answers[5][2] == b"last"
    assert setting.invoker.connections == 1


@pytest.mark.parametrize(
    "then",
    [b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison", b"poison", b"HTTP/1.1 200 OK\r\n"],
)
async def test_an_answer_that_nobody_asked_for_reaches_nobody(setting: Setting, then: bytes) -> None:
    """What follows an answer spoils its connection: the next caller's comes over another one."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_from(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood" + then)
        await reader.read()

    setting.invoker.script = script
    answers = [await setting.ask() for _ in range(3)]
    # A caller gets its own answer or none, and nobody gets the other one.
    assert {body for status, _, body in answers if status == 200} <= {b"good"}
    assert not any(b"poison" in body for _, _, body in answers)
    assert setting.invoker.connections == 3


async def test_a_late_answer_reaches_nobody(setting: Setting) -> None:
    """An invoker that speaks on an idle connection loses it."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_from(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood")
        await asyncio.sleep(0.05)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison")
        await reader.read()

    setting.invoker.script = script
    for _ in range(3):
        assert (await setting.ask())[2] == b"good"
        await asyncio.sleep(0.1)
    assert setting.invoker.connections == 3


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200",
        b"not HTTP at all\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 400_000,
    ],
)
async def test_what_is_no_answer_is_502(setting: Setting, answer: bytes) -> None:
    """And the call is not made again: nobody knows how far it came."""
    setting.invoker.script = answer_with(answer)
    status, headers, body = await setting.ask()
    assert status == 502
    assert json.loads(body)["errorType"] == "Lateen.ConnectionLost"
    assert json.loads(body)["requestId"] == headers[b"x-amzn-requestid"].decode()
    assert setting.invoker.connections == 1


async def test_an_answer_that_breaks_off_is_seen_to_be_broken(setting: Setting) -> None:
    """The caller's connection ends before the announced length, or without the last chunk."""
    setting.invoker.script = answer_with(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart")
    status, headers, body = await setting.ask()
    assert (status, headers[b"content-length"], body) == (200, b"100", b"part")
    setting.invoker.script = answer_with(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\n")
    _, _, body = await setting.ask()
    assert b"part" in body
    assert not body.endswith(b"0\r\n\r\n")


async def test_an_invoker_that_says_nothing_is_504(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the longest that a call may take by the function's timeout; its connection is not used again."""
    monkeypatch.setattr("lateen.gateway.gateway.QUEUE_S", 0.2)
    monkeypatch.setattr("lateen.gateway.gateway.SLACK_S", 0.0)
    monkeypatch.setattr("lateen.gateway.gateway.answer_limit_s", lambda timeout_s: 0.3)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    setting.invoker.script = script
    began_s = asyncio.get_running_loop().time()
    status, _, body = await setting.ask()
    assert (status, json.loads(body)["message"]) == (504, "Gateway Timeout")
    assert asyncio.get_running_loop().time() - began_s < 10
    setting.invoker.script = answer_with(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    assert (await setting.ask())[2] == b"ok"


async def test_a_refused_connection_is_tried_again_and_then_503(setting: Setting) -> None:
    """Nothing was sent, so trying again is safe; for good it is 503 with Retry-After."""
    free = socket.create_server(("127.0.0.1", 0))
    port, closed = setting.invoker.port, free.getsockname()[1]
    free.close()
    setting.invoker.port = closed
    call = asyncio.create_task(setting.ask())
    await asyncio.sleep(0.05)
    setting.invoker.port = port
    assert (await call)[0] == 200
    setting.invoker.port = closed
    status, headers, _ = await setting.ask()
    assert status == 503
    assert b"retry-after" in headers


async def test_an_answer_before_the_end_of_the_body_is_passed_on(setting: Setting) -> None:
    """An invoker that refuses early is heard, and the half-used connection is not used again."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 5\r\n\r\nearly")
        await asyncio.sleep(1)

    setting.invoker.script = script
    reader, writer = await asyncio.open_connection("127.0.0.1", setting.port)
    writer.write(b"POST /%b HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n" % HASH.encode())
    for _ in range(5):
        writer.write(b"x" * 1000)
        await asyncio.sleep(0.02)
    async with asyncio.timeout(2):
        assert (await reader.readuntil(b"early")).startswith(b"HTTP/1.1 413")
    writer.close()
    setting.invoker.script = answer_with(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    assert (await setting.ask())[2] == b"ok"
    assert setting.invoker.connections == 2


async def test_a_slow_reader_does_not_fill_our_memory(setting: Setting) -> None:
    """A 64 MiB answer waits in the invoker while its caller does not read; then it arrives whole."""
    size = 64 * 1024 * 1024
    written = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await request_from(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        for _ in range(64):
            writer.write(bytes(1024 * 1024))
            await writer.drain()
            written += 1

    setting.invoker.script = script
    reader, writer = await asyncio.open_connection("127.0.0.1", setting.port, limit=64 * 1024)
    writer.write(b"GET /%b HTTP/1.1\r\nhost: x\r\n\r\n" % HASH.encode())
    await asyncio.sleep(0.5)
    assert written < 32
    head = await reader.readuntil(b"\r\n\r\n")
    received = 0
    while received < size and (part := await reader.read(1024 * 1024)):
        received += len(part)
    assert (received, head[:12]) == (size, b"HTTP/1.1 200")
    writer.close()


async def test_a_caller_that_does_not_read_holds_no_invoker(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is cut off, and its call is over: who waits for the invoker's last call does so no longer."""
    monkeypatch.setattr(http_protocol, "READ_S", 0.5)
    size = 64 * 1024 * 1024

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_from(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        writer.write(bytes(size))
        await writer.drain()

    setting.invoker.script = script
    await setting.prepare()
    endpoint = await setting.invoker.endpoint(DEPLOYMENT)
    _, writer = await asyncio.open_connection("127.0.0.1", setting.port, limit=64 * 1024)
    writer.write(b"GET /%b HTTP/1.1\r\nhost: x\r\n\r\n" % HASH.encode())
    async with asyncio.timeout(20):
        while not setting.pool.is_busy(endpoint):
            await asyncio.sleep(0.001)
        await setting.pool.quiet(endpoint)
        while setting.server.server_state.tasks or setting.server.server_state.connections:
            await asyncio.sleep(0.01)
    assert setting.pool.count() == (0, 0)
    writer.close()


async def test_quiet_waits_for_the_last_call(setting: Setting) -> None:
    """Who stops an invoker is told when no call uses it any more, and its idle connections are closed then."""
    gate = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_from(reader)
        await gate.wait()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        assert await reader.read() == b""
        setting.invoker.requests.append(b"closed")

    setting.invoker.script = script
    endpoint = await setting.invoker.endpoint(DEPLOYMENT)
    call = asyncio.create_task(setting.ask())
    while not setting.pool.is_busy(endpoint):
        await asyncio.sleep(0.001)
    quiet = asyncio.create_task(setting.pool.quiet(endpoint))
    await asyncio.sleep(0.05)
    assert not quiet.done()
    gate.set()
    assert (await call)[2] == b"ok"
    await quiet
    async with asyncio.timeout(10):
        while not setting.invoker.requests:
            await asyncio.sleep(0.001)


async def test_an_ordinary_call_takes_the_short_way(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no request of the application's at all."""
    seen = 0
    forward = Gateway._forward

    async def counted(*arguments: Any) -> None:
        nonlocal seen
        seen += 1
        await forward(*arguments)

    monkeypatch.setattr(Gateway, "_forward", counted)
    setting.invoker.script = answer_with(*[b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"] * 3)
    for _ in range(3):
        assert (await setting.ask())[2] == b"ok"
    assert seen == (0 if setting.is_short else 3)


@pytest.mark.parametrize("more", ["0", "a", ".html", "%2Fa"])
async def test_what_begins_like_a_functions_url_takes_no_short_way(setting: Setting, more: str) -> None:
    """It is none, and must not come to the function."""
    await setting.prepare()
    request = f"GET /{HASH}{more} HTTP/1.1\r\nhost: x\r\n\r\n".encode()
    assert setting.gateway.short_way.begin(None, request) is None  # type: ignore[arg-type]


async def test_requests_that_do_not_wait_are_answered_in_their_order(setting: Setting) -> None:
    """Three at once in one write, then two more while an answer is awaited: each gets its own."""
    gate = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            target = (await request_from(reader)).split(b" ")[1]
            await gate.wait()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(target), target))

    setting.invoker.script = script
    await setting.prepare()
    reader, writer = await asyncio.open_connection("127.0.0.1", setting.port)

    def ask(number: int) -> bytes:
        return b"GET /%b/%d HTTP/1.1\r\nhost: x\r\n\r\n" % (HASH.encode(), number)

    async def answer(number: int) -> None:
        async with asyncio.timeout(5):
            await reader.readuntil(b"\r\n\r\n")
            expected = b"/%b/%d" % (HASH.encode(), number)
            assert await reader.readexactly(len(expected)) == expected

    gate.set()
    writer.write(ask(1) + ask(2) + ask(3))
    for number in (1, 2, 3):
        await answer(number)
    gate.clear()
    writer.write(ask(4))
    await asyncio.sleep(0.05)
    writer.write(ask(5) + ask(6)[:20])
    await asyncio.sleep(0.05)
    gate.set()
    for number in (4, 5):
        await answer(number)
    writer.write(ask(6)[20:])
    await answer(6)
    writer.close()


async def test_a_caller_that_leaves_takes_its_connection_along(setting: Setting) -> None:
    """What the invoker still answers reaches nobody."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_from(reader)
        await reader.read()
        setting.invoker.requests.append(b"closed")

    setting.invoker.script = script
    await setting.prepare()
    endpoint = await setting.invoker.endpoint(DEPLOYMENT)
    _, writer = await asyncio.open_connection("127.0.0.1", setting.port)
    writer.write(b"GET /%b HTTP/1.1\r\nhost: x\r\n\r\n" % HASH.encode())
    async with asyncio.timeout(2):
        while not setting.pool.is_busy(endpoint):
            await asyncio.sleep(0.001)
        writer.transport.abort()
        while not setting.invoker.requests or setting.pool.is_busy(endpoint):
            await asyncio.sleep(0.001)
    setting.invoker.script = answer_with(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    assert (await setting.ask())[2] == b"ok"


async def test_a_caller_that_left_takes_no_later_call_along(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is the next caller's, whichever way each of the two came."""
    monkeypatch.setattr(pool_module, "SWEEP_S", 0.01)
    is_called, may_answer = asyncio.Event(), asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_from(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\none")
        await request_from(reader)
        is_called.set()
        await may_answer.wait()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\ntwo")

    setting.invoker.script = script
    long_way = b"GET /%b HTTP/1.1\r\nhost: x\r\nconnection: keep-alive\r\n\r\n" % HASH.encode()
    assert (await setting.ask(long_way))[2] == b"one"
    asking = asyncio.create_task(setting.ask())
    await is_called.wait()
    await asyncio.sleep(0.1)  # several sweeps
    may_answer.set()
    assert (await asking)[2] == b"two"
    assert setting.invoker.connections == 1


async def test_a_stop_lets_a_running_call_finish(setting: Setting) -> None:
    """Its answer arrives, then the connection ends."""
    gate = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_from(reader)
        await gate.wait()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlast")
        await reader.read()

    setting.invoker.script = script
    await setting.prepare()
    reader, writer = await asyncio.open_connection("127.0.0.1", setting.port)
    writer.write(b"GET /%b HTTP/1.1\r\nhost: x\r\n\r\n" % HASH.encode())
    endpoint = await setting.invoker.endpoint(DEPLOYMENT)
    async with asyncio.timeout(5):
        while not setting.pool.is_busy(endpoint):
            await asyncio.sleep(0.001)
        setting.server.should_exit = True
        await asyncio.sleep(0.3)
        gate.set()
        assert (await reader.read()).endswith(b"\r\n\r\nlast")
    writer.close()


@pytest.mark.parametrize(
    ("path", "is_ours"),
    [
        (f"/{HASH}", True),
        (f"/{HASH}/", True),
        (f"/{HASH}/a/b", True),
        (f"/{HASH}a", False),
        (f"/{HASH[:-1]}", False),
        (f"/{HASH.upper()}", False),
        (f"//{HASH}", False),
        (f"/%30{HASH[1:]}", False),
        ("/api/functions/0123456789abcdef0123", False),
        ("/", False),
        ("", False),
    ],
)
def test_there_is_one_spelling_of_a_functions_url(path: str, is_ours: bool) -> None:
    """32 lower-case hex digits, as they are."""
    assert Gateway.handles(path.encode()) == is_ours
