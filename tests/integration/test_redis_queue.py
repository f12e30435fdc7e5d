"""The queue on a Redis that is killed, forgets, refuses, is full, or speaks TLS."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from own_certificate import own_certificate
from redis_server import RedisServer, need_redis

from lateen.adapters.redis_queue import RedisQueue
from lateen.ports.queue import MESSAGE_BYTES, TENANT_LIMIT_BYTES, QueueUnavailable, TenantFull
from lateen.services.events import INLINE_LIMIT_BYTES

LANE = "acme/hello"


@pytest.fixture(autouse=True)
def _redis() -> None:
    need_redis()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "redis")
    server.start()
    yield server
    server.kill()


async def drained(queue: RedisQueue, expected: int, *, within_s: float = 60.0) -> set[bytes]:
    found: set[bytes] = set()
    async with asyncio.timeout(within_s):
        while len(found) < expected:
            try:
                messages = await queue.receive(limit=20)
                for message in messages:
                    found.add(message.body)
                    await queue.ack(message)
            except QueueUnavailable:
                messages = []
            if not messages:
                await asyncio.sleep(0.05)
    return found


async def counted(queue: RedisQueue) -> dict[bytes, bytes]:
    """What the server believes to hold: bytes by lane and tenant."""
    found: dict[bytes, bytes] = await queue._redis.hgetall(f"{queue._base}:bytes")
    return found


async def test_what_was_acknowledged_survives_kill_9(server: RedisServer) -> None:
    """The server is killed ten times under load and started again: every message whose sending returned is delivered,
    nothing is told as sent while the server is down, and nobody has to start anew."""
    queue = RedisQueue(server.url, lease_s=1.0)
    sent: set[bytes] = set()
    refused = 0
    is_over = False

    async def send(sender: int) -> None:
        nonlocal refused
        number = 0
        while not is_over:
            body = b"%d %d" % (sender, number)
            number += 1
            try:
                await queue.send(LANE, body, delay_s=0.05 if number % 3 == 0 else 0.0)
                sent.add(body)
            except QueueUnavailable:
                refused += 1

    senders = [asyncio.create_task(send(number)) for number in range(4)]
    for _ in range(10):
        await asyncio.sleep(0.1)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
    is_over = True
    await asyncio.gather(*senders)
    found: set[bytes] = set()
    async with asyncio.timeout(60):
        while not sent <= found:
            messages = await queue.receive(limit=20)
            for message in messages:
                found.add(message.body)
                await queue.ack(message)
            if not messages:
                await asyncio.sleep(0.05)
    assert len(sent) > 10
    assert queue.losses == 0
    # What was stored and not acknowledged is counted too, until it is taken out.
    async with asyncio.timeout(60):
        while (depth := await queue.depth()).waiting or depth.delayed or depth.leased:
            for message in await queue.receive(limit=20):
                await queue.ack(message)
            await asyncio.sleep(0.05)
    assert await counted(queue) == {}
    await queue.close()


async def test_no_word_while_it_is_down(server: RedisServer) -> None:
    """Each call ends soon and says so; when the server is back the same queue goes on, with what was held before."""
    queue = RedisQueue(server.url, lease_s=0.5)
    for number in range(3):
        await queue.send(LANE, b"%d" % number)
    (held,) = await queue.receive()
    server.kill()
    started_s = time.monotonic()
    for call in (queue.send(LANE, b"x"), queue.receive(), queue.ack(held), queue.depth(), queue.ping(), queue.dead()):
        with pytest.raises(QueueUnavailable, match="does not answer"):
            await call
    assert time.monotonic() - started_s < 60
    server.start()
    assert await drained(queue, 3) == {b"0", b"1", b"2"}
    await queue.close()


async def test_a_server_that_forgot_everything_is_noticed(server: RedisServer) -> None:
    """The queue goes on without a start, and says that it happened."""
    queue = RedisQueue(server.url)
    await queue.send(LANE, b"{}")
    (held,) = await queue.receive()
    server.kill()
    server.forget_everything()
    server.start()
    async with asyncio.timeout(30):
        while queue.losses == 0:
            try:
                assert await queue.receive() == []
            except QueueUnavailable:
                await asyncio.sleep(0.05)
    assert queue.losses == 1
    with pytest.raises(Exception, match="not held"):
        await queue.ack(held)
    await queue.send(LANE, b"new")
    assert await drained(queue, 1) == {b"new"}
    assert queue.losses == 1
    await queue.close()


@pytest.mark.parametrize("delay_s", [0.0, 0.1])
async def test_an_answer_that_came_too_late(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch, delay_s: float
) -> None:
    """The server stands still, then does what nobody waits for any more, and what was sent again because of that: it is
    one message. So no event ends as a dead letter because it was done, and its payload removed, already."""
    monkeypatch.setattr("lateen.adapters.redis_queue.ANSWER_S", 0.3)
    queue = RedisQueue(server.url)
    await queue.send(LANE, b"before")
    assert await drained(queue, 1) == {b"before"}
    server.stand_still()
    sending = asyncio.create_task(queue.send(LANE, b"{}", delay_s=delay_s))
    await asyncio.sleep(0.6)
    server.go_on()
    await sending
    await asyncio.sleep(0.2)
    (message,) = await queue.receive(limit=10)
    await queue.ack(message)
    assert await counted(queue) == {}
    await queue.close()


async def test_bytes_that_were_counted_wrong(server: RedisServer) -> None:
    """While versions are replaced an older one takes out what it doesn't count, and puts in the same. It ends with the
    backlog of the function, however its last message went; others' bytes are what they were."""
    queue = RedisQueue(server.url, tenant_limit_bytes=10_000)
    await queue.send("acme/other", b"x" * (1000 - MESSAGE_BYTES))
    for wrong in (5000, -5000):
        await queue.send(LANE, b"x" * (2000 - MESSAGE_BYTES))
        for field in (LANE, "acme"):
            await queue._redis.hincrby(f"{queue._base}:bytes", field, wrong)
        (message,) = await queue.receive(without={"acme/other"})
        await queue.ack(message)
        assert await counted(queue) == {b"acme/other": b"1000", b"acme": b"1000"}
    for field in (LANE, "acme"):
        await queue._redis.hincrby(f"{queue._base}:bytes", field, 5000)
    await queue.send(LANE, b"x" * (2000 - MESSAGE_BYTES))
    assert await counted(queue) == {b"acme/other": b"1000", LANE.encode(): b"2000", b"acme": b"3000"}
    await queue.close()


async def test_one_workspace_does_not_fill_the_trials_server(tmp_path: Path) -> None:
    """With the chart's 128 MiB and a workspace's share unless told otherwise, whether events wait or are put off."""
    server = RedisServer(tmp_path / "redis", "--maxmemory", "128mb")
    server.start()
    try:
        queue = RedisQueue(server.url)
        stored, is_full = 0, False
        while not is_full:
            try:
                await queue.send(f"acme/{stored % 7}", b"x" * INLINE_LIMIT_BYTES, delay_s=60 * (stored % 2))
                stored += 1
            except TenantFull:
                is_full = True
        assert stored >= TENANT_LIMIT_BYTES // (INLINE_LIMIT_BYTES + 1024)
        await queue.send("other/hello", b"x" * INLINE_LIMIT_BYTES)
        await queue.close()
    finally:
        server.kill()


async def test_a_full_server_refuses(tmp_path: Path) -> None:
    """Nothing is thrown away for what is new, and what is there can be taken out."""
    server = RedisServer(tmp_path / "redis", "--maxmemory", "4mb")
    server.start()
    try:
        queue = RedisQueue(server.url)
        stored, refusal = 0, ""
        while not refusal:
            try:
                await queue.send(LANE, b"x" * 100_000)
                stored += 1
            except QueueUnavailable as exc:
                refusal = str(exc)
        assert "full" in refusal
        assert stored > 0
        (message,) = await queue.receive()
        await queue.retry(message, delay_s=0.1)
        taken = 0
        while taken < stored:
            for message in await queue.receive():
                await queue.ack(message)
                taken += 1
        await queue.send(LANE, b"x" * 100_000)
        await queue.close()
    finally:
        server.kill()


async def test_a_user_with_what_it_needs(tmp_path: Path) -> None:
    """An ACL user that may touch the installation's keys only is enough; a wrong password is said as such."""
    acl = "user lateen on >secret resetkeys ~{lateen}:events* -@all +@scripting +@stream +@hash +@sortedset +@string +@keyspace +@connection +time -@dangerous"  # noqa: E501
    folder = tmp_path / "redis"
    folder.mkdir()
    (folder / "users.acl").write_text(f"{acl}\nuser default off\n")
    server = RedisServer(folder, "--aclfile", str(folder / "users.acl"))
    server.start()
    try:
        queue = RedisQueue(f"redis://lateen:secret@127.0.0.1:{server.port}/0", lease_s=0.3)
        for number in range(3):
            await queue.send(LANE, b"%d" % number, delay_s=0.1)
        await queue.depth()
        await asyncio.sleep(0.2)
        (message,) = await queue.receive()
        await queue.extend(message)
        await queue.retry(message, delay_s=0.1)
        await asyncio.sleep(0.2)
        (message,) = await queue.receive()
        await queue.bury(message, "bad")
        assert len(await queue.dead()) == 1
        await queue.receive()
        await asyncio.sleep(0.5)
        assert len(await drained(queue, 2)) == 2
        await queue.ping()
        await queue.close()
        for wrong in (f"redis://lateen:no@127.0.0.1:{server.port}/0", server.url):
            stranger = RedisQueue(wrong)
            with pytest.raises(QueueUnavailable, match="refuses this user"):
                await stranger.send(LANE, b"{}")
            await stranger.close()
    finally:
        server.kill()


async def test_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The certificate is checked: against the platform's bundle, or a file of its own; others are not believed."""
    certificate, _ = own_certificate(tmp_path)
    files = [
        "--tls-cert-file",
        str(certificate),
        "--tls-key-file",
        str(tmp_path / "key.pem"),
        "--tls-auth-clients",
        "no",
    ]
    server = RedisServer(tmp_path / "redis", *files, "--tls-ca-cert-file", str(certificate), scheme="rediss")
    server.start()
    try:
        monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
        strict = RedisQueue(server.url)
        with pytest.raises(QueueUnavailable):
            await strict.ping()
        await strict.close()
        for url, bundle in ((f"{server.url}?ssl_ca_certs={certificate}", ""), (server.url, str(certificate))):
            monkeypatch.setenv("AWS_CA_BUNDLE", bundle)
            queue = RedisQueue(url)
            await queue.send(LANE, b"{}")
            assert len(await queue.receive()) == 1
            await queue.close()
    finally:
        server.kill()


@pytest.mark.parametrize("url", ["", "localhost:6379", "http://h:1", "redis://", "redis://:hunter2@", "rediss://h:x"])
def test_a_wrong_url_is_refused(url: str) -> None:
    """Without saying what is in it: that may be a password."""
    with pytest.raises(ValueError, match="it has to be redis://") as refused:
        RedisQueue(url)
    assert "hunter2" not in str(refused.value)
