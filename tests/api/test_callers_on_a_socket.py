"""What arrives on a real socket: slow, oversized, ambiguous or broken. Each ends in a clear answer or a closed
connection, and the server is healthy afterwards."""

import asyncio
import json
import re
import time
from contextlib import suppress

import pytest

from lateen import http_protocol, server

from .conftest import Served, StartServer

CLOSE = b"connection: close\r\n"


def status_of(answer: bytes) -> int:
    found = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
    assert found, answer[:200]
    return int(found[1])


def problem_of(answer: bytes) -> dict[str, object]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    return dict(json.loads(body))


def post(served: Served, body: bytes, headers: bytes = b"", path: bytes = b"/api/workspaces") -> bytes:
    return b"POST %b HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer %b\r\n%b%bcontent-length: %d\r\n\r\n%b" % (
        path,
        served.secret.encode(),
        CLOSE,
        headers,
        len(body),
        body,
    )


POST = b"POST /api/keys HTTP/1.1\r\nhost: x\r\n"
GET = b"GET /api/keys HTTP/1.1\r\nhost: x\r\n"
AMBIGUOUS = {
    "length and chunked": POST + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and length": POST + b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"content-length: 5\r\ncontent-length: 6\r\n\r\nabcde",
    "two equal lengths": POST + b"content-length: 5\r\ncontent-length: 5\r\n\r\nabcde",
    "a list of lengths": POST + b"content-length: 5, 5\r\n\r\nabcde",
    "a signed length": POST + b"content-length: +5\r\n\r\nabcde",
    "a negative length": POST + b"content-length: -5\r\n\r\nabcde",
    "a huge length": POST + b"content-length: 99999999999999999999999\r\n\r\n",
    "a hex length": POST + b"content-length: 0x5\r\n\r\nabcde",
    "chunked twice": POST + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and more": POST + b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "gzip, chunked": POST + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "an unknown coding": POST + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a coding with a tab": POST + b"transfer-encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "chunked in HTTP/1.0": b"POST /api/keys HTTP/1.0\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "space before the colon": POST + b"content-length : 5\r\n\r\nabcde",
    "a folded header": GET + b"x: a\r\n b\r\n\r\n",
    "a bare line feed": b"GET /api/keys HTTP/1.1\nhost: x\n\n",
    "a bare line feed in a header": GET + b"x: a\nb: c\r\n\r\n",
    "a bare carriage return": GET + b"x: a\rb: c\r\n\r\n",
    "a NUL in a header": GET + b"x: a\x00b\r\n\r\n",
    "a NUL in the target": b"GET /\x00 HTTP/1.1\r\nhost: x\r\n\r\n",
    "a raw byte in the target": b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n",
    "two hosts": b"GET /api/keys HTTP/1.1\r\nhost: localhost\r\nhost: evil\r\n\r\n",
    "no host": b"GET /api/keys HTTP/1.1\r\n\r\n",
    "an unknown method": b"FOO /api/keys HTTP/1.1\r\nhost: x\r\n\r\n",
    "a lower-case method": b"get /api/keys HTTP/1.1\r\nhost: x\r\n\r\n",
    "CONNECT": b"CONNECT example.org:443 HTTP/1.1\r\nhost: x\r\n\r\n",
    "HTTP/2.0": b"GET /health HTTP/2.0\r\nhost: x\r\n\r\n",
    "HTTP/0.9": b"GET /health\r\n\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 200,
    "no HTTP": b"hello\r\n\r\n",
    "another host in the target": b"GET http://evil/health HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "no path": b"GET evil HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "OPTIONS *": b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n",
}


async def test_ambiguous_requests(serve: StartServer) -> None:
    """What two servers in a row could read in two ways is refused, once, and the connection ends: no second answer."""
    served = await serve()
    for name, request in AMBIGUOUS.items():
        answer = await served.exchange(request + b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        assert status_of(answer) == 400, (name, answer)
        assert answer.count(b"HTTP/1.1 ") == 1, (name, answer)
        assert b"connection: close" in answer, name
        assert problem_of(answer)["type"] == "urn:lateen:problem:bad-request", name
    assert await served.is_healthy()


@pytest.mark.parametrize(
    "chunks",
    [
        b"zz\r\nabc\r\n0\r\n\r\n",
        b"3\nabc\n0\n\n",
        b"3\r\nabcX\r\n0\r\n\r\n",
        b"-1\r\n\r\n",
        b"ffffffffffffffffffff\r\nabc\r\n",
        b"0x3\r\nabc\r\n0\r\n\r\n",
        b" 3\r\nabc\r\n0\r\n\r\n",
    ],
)
async def test_bad_chunks(serve: StartServer, chunks: bytes) -> None:
    """The request that has them is refused, and what stands behind them is not taken for another one."""
    served = await serve()
    head = (
        b"POST /api/keys HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer %b\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    answer = await served.exchange(head % served.secret.encode() + chunks + b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
    assert status_of(answer) == 400
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"healthy" not in answer
    assert await served.is_healthy()


async def test_a_trailer_is_no_header(serve: StartServer) -> None:
    """A key that comes behind the body does not count, and neither does anything else there."""
    served = await serve()
    answer = await served.exchange(
        b"POST /api/keys HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
        b"2\r\n{}\r\n0\r\nauthorization: Bearer %b\r\n\r\n" % served.secret.encode()
    )
    assert status_of(answer) == 401


async def test_a_bad_request_behind_a_good_one(serve: StartServer) -> None:
    """The good one gets its whole answer; then the connection ends."""
    served = await serve()
    good = b"GET /health/ready HTTP/1.1\r\nhost: x\r\n\r\n"
    answer = await served.exchange(good + b"garbage\r\n\r\n")
    assert status_of(answer) == 200
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.endswith(b'"objects":"ok"}}')


async def test_pipelined_requests(serve: StartServer) -> None:
    """Are answered in order."""
    served = await serve()
    request = b"GET /health%b HTTP/1.1\r\nhost: x\r\n%b\r\n"
    answer = await served.exchange(request % (b"/ready", b"") + request % (b"", b"") + request % (b"/live", CLOSE))
    assert answer.count(b"HTTP/1.1 200") == 3
    assert answer.index(b"stores") < answer.index(b"healthy")


async def test_more_pipelined_requests_than_are_kept(serve: StartServer) -> None:
    """The first ones are answered, the last of them with word that the connection ends; the others are not run."""
    served = await serve()
    requests = b"".join(b"GET /health/live?%d HTTP/1.1\r\nhost: x\r\n\r\n" % number for number in range(2000))
    answer = await served.exchange(requests)
    assert answer.count(b"HTTP/1.1 ") == answer.count(b"HTTP/1.1 200") == 1 + http_protocol.PIPELINED
    assert answer.count(b"connection: close") == 1
    assert b"connection: close" in answer.rpartition(b"HTTP/1.1 ")[2]
    as_many = requests[: requests.index(b"GET /health/live?16 ")]
    answer = await served.exchange(as_many + b"GET /health HTTP/1.1\r\nhost: x\r\n" + CLOSE + b"\r\n")
    assert answer.count(b"HTTP/1.1 200") == 1 + http_protocol.PIPELINED
    assert answer.endswith(b'{"status":"healthy"}')
    assert await served.is_healthy()


async def test_large_heads(serve: StartServer) -> None:
    """414 and 431, before the head is whole."""
    served = await serve()
    for request, status in (
        (b"GET /" + b"a" * 20_000, 414),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", 414),
        (b"GET /health HTTP/1.1\r\nhost: x\r\nx: " + b"a" * 100_000, 431),
        (b"GET /health HTTP/1.1\r\nhost: x\r\nx: " + b"a" * 100_000 + b"\r\n\r\n", 431),
        (b"GET /health HTTP/1.1\r\nhost: x\r\n" + b"x: y\r\n" * 500 + b"\r\n", 431),
        (b"GET /health HTTP/1.1\r\nhost: x\r\n" + b"".join(b"x%d: %b\r\n" % (i, b"a" * 900) for i in range(99)), 431),
    ):
        answer = await served.exchange(request)
        assert status_of(answer) == status
        assert problem_of(answer)["status"] == status
    trailers = b"x: " + b"a" * 1000 + b"\r\n"
    answer = await served.exchange(
        b"POST /api/keys HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer %b\r\ntransfer-encoding: chunked\r\n\r\n"
        b"0\r\n" % served.secret.encode() + trailers * 100
    )
    assert status_of(answer) == 431
    assert await served.is_healthy()


async def test_a_trailer_without_an_end(serve: StartServer) -> None:
    """Is refused as a head would be; long lines between the parts of a body are none."""
    served = await serve()
    head = b"POST /api/keys HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer %b\r\ntransfer-encoding: chunked\r\n"
    begun = head % served.secret.encode() + CLOSE + b"\r\n"
    reader, writer = await served.connect()
    writer.write(begun + b"2\r\n{}\r\n0\r\nx: ")
    answering = asyncio.create_task(reader.read())
    sent = 0
    while not answering.done():
        assert sent < 4 << 20
        writer.write(b"y" * 16_384)
        sent += 16_384
        await asyncio.sleep(0.005)
    assert status_of(await answering) == 431
    writer.close()
    reader, writer = await served.connect()
    writer.write(begun)
    for byte in b'{"workspace": null}' + b" " * 20:
        for part in (b"1;x=" + b"y" * 3000 + b"\r\n", b"%c\r\n" % byte):
            await asyncio.sleep(0.005)
            writer.write(part)
    writer.write(b"0\r\n\r\n")
    assert status_of(await asyncio.wait_for(reader.read(), 10)) == 201
    writer.close()
    assert await served.is_healthy()


async def test_slow_heads(serve: StartServer) -> None:
    """A caller has a time for its head, however it drips; one that says nothing is sent away without a word."""
    served = await serve(header_seconds=0.4)
    reader, writer = await served.connect()
    began = time.monotonic()
    for byte in b"GET /health HTTP/1.1\r\nhost: x\r\n" + b"x: y\r\n" * 100:
        writer.write(bytes([byte]))
        await asyncio.sleep(0.02)
        if reader._buffer:  # type: ignore[attr-defined]
            break
    assert time.monotonic() - began < 8
    assert status_of(await reader.read()) == 408
    writer.close()
    assert await served.exchange(b"", within_s=2) == b""
    assert await served.exchange(b"\r\n\r\n", within_s=2) == b""
    assert await served.is_healthy()


async def test_slow_head_on_a_kept_connection(serve: StartServer) -> None:
    """The second request has the same time."""
    served = await serve(header_seconds=0.3)
    answer = await served.exchange(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\nGET /hea", within_s=3)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 408" in answer


async def test_slow_bodies(serve: StartServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """408 for a body that does not come, and for one that drips; a slow one that keeps coming is taken."""
    served = await serve(body_seconds=0.4)
    head = post(served, b"x" * 500)[:-500]
    answer = await served.exchange(head, within_s=3)
    assert status_of(answer) == 408
    reader, writer = await served.connect()
    writer.write(head)
    for _ in range(20):
        writer.write(b"x")
        await asyncio.sleep(0.05)
        if reader._buffer:  # type: ignore[attr-defined]
            break
    assert status_of(await asyncio.wait_for(reader.read(), 3)) == 408
    writer.close()
    monkeypatch.setattr(http_protocol, "BODY_BYTES_PER_S", 10)
    reader, writer = await served.connect()
    body = json.dumps({"name": "slow", "description": "x" * 40}).encode()
    writer.write(post(served, body)[: -len(body)])
    for at in range(0, len(body), 8):
        writer.write(body[at : at + 8])
        await asyncio.sleep(0.1)
    assert status_of(await asyncio.wait_for(reader.read(), 3)) == 201
    writer.close()
    assert await served.is_healthy()


async def test_a_large_body_is_refused_by_its_length(serve: StartServer) -> None:
    """Without waiting for it; and a caller that sends it anyhow can read the answer."""
    served = await serve()
    head = post(served, b"")[:-4].replace(b"content-length: 0", b"content-length: 900000000")
    reader, writer = await served.connect()
    writer.write(head + b"\r\n\r\n")
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 3)
    assert status_of(answer) == 413
    writer.close()
    for _ in range(3):
        big = b"x" * 3_000_000
        assert status_of(await served.exchange(post(served, big))) == 413
    expecting = head + b"\r\nexpect: 100-continue\r\n\r\n"
    answer = await served.exchange(expecting, within_s=6)
    assert status_of(answer) == 413
    assert b"100 Continue" not in answer
    assert await served.is_healthy()


async def test_the_rest_of_a_refused_body_is_bounded(serve: StartServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who goes on sending after the answer is cut off, in time and in bytes."""
    monkeypatch.setattr(http_protocol, "LINGER_S", 0.3)
    served = await serve()
    head = post(served, b"").replace(CLOSE, b"").replace(b"content-length: 0", b"content-length: 900000000")
    _, writer = await served.connect()
    writer.write(head)
    began = time.monotonic()
    with suppress(ConnectionError):
        while time.monotonic() - began < 20:
            writer.write(b"x" * 1000)
            await writer.drain()
            await asyncio.sleep(0.01)
    assert time.monotonic() - began < 10
    writer.close()


async def test_a_caller_that_leaves(serve: StartServer, caplog: pytest.LogCaptureFixture) -> None:
    """In the middle of its body or before its answer: no error of ours."""
    served = await serve()
    for data in (post(served, b"x" * 500)[:-100], post(served, b"{}")):
        _, writer = await served.connect()
        writer.write(data)
        await writer.drain()
        writer.transport.abort()
    await asyncio.sleep(0.2)
    assert await served.is_healthy()
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_bodies_on_a_socket(serve: StartServer) -> None:
    """Deep, long and broken JSON through the whole server."""
    served = await serve()
    for body in (b"[" * 1_000_000, b'{"timeout":' + b"9" * 100_000 + b"}", b'{"name":"\xff"}', b'{"name":"\x00"}'):
        answer = await served.exchange(post(served, body))
        assert status_of(answer) == 400
        assert b"urn:lateen:problem:invalid-input" in answer
    assert await served.is_healthy()


async def test_an_upgrade_is_not_taken(serve: StartServer) -> None:
    """h2c and WebSocket: the answer is the ordinary one, and nothing behind it is served."""
    served = await serve()
    for protocol in (b"h2c", b"websocket"):
        answer = await served.exchange(
            b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: %b\r\nsec-websocket-version: 13\r\n"
            b"sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\nGET /docs HTTP/1.1\r\nhost: x\r\n\r\n" % protocol
        )
        assert status_of(answer) == 200
        assert answer.count(b"HTTP/1.1 ") == 1


async def test_an_offered_upgrade_costs_no_body(serve: StartServer) -> None:
    """Java's client offers h2c with each first request of a connection. All of it is read, also in parts, and the
    connection ends with its answer."""
    served = await serve()
    offer = b"connection: Upgrade, HTTP2-Settings\r\nhttp2-settings: AAEAAEAAAAIAAAAA\r\nupgrade: h2c\r\n"
    for number, cut in enumerate((1000, 30, 310, -5)):
        whole = post(served, b'{"name": "ws-%d"}' % number, offer).replace(CLOSE, b"")
        reader, writer = await served.connect()
        writer.write(whole[:cut])
        await asyncio.sleep(0.1)
        writer.write(whole[cut:] + b"GET /docs HTTP/1.1\r\nhost: localhost\r\n\r\n")
        async with asyncio.timeout(10):
            answer = await reader.read()
        writer.close()
        assert status_of(answer) == 201, answer
        assert CLOSE in answer.lower()
        assert answer.count(b"HTTP/1.1 ") == 1


async def test_more_callers_that_say_nothing_than_there_is_room_for(
    serve: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those who came first make way. Who is being answered stays, and whoever comes is served."""
    monkeypatch.setattr(server, "CONNECTIONS", 32)
    served = await serve()
    whole = post(served, b'{"name": "one"}')
    working = await served.connect()
    working[1].write(whole[:-1])
    await asyncio.sleep(0.1)
    silent = [await served.connect() for _ in range(100)]
    assert await served.is_healthy()
    assert len(served.server.server_state.connections) <= 33
    working[1].write(whole[-1:])
    assert status_of(await working[0].read()) == 201
    assert await silent[0][0].read() == b""
    for _, writer in [working, *silent]:
        writer.close()


async def test_many_callers_that_say_nothing(serve: StartServer) -> None:
    """Do not keep others waiting."""
    served = await serve(header_seconds=60)
    idle = [await served.connect() for _ in range(200)]
    began = time.monotonic()
    assert await served.is_healthy()
    assert time.monotonic() - began < 20
    for _, writer in idle:
        writer.close()
