"""What every `Queue` promises. An adapter joins with a fixture `<name>_queue` and its name in `params` below."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from secrets import token_hex

import pytest
from redis_server import RedisServer, need_redis

from lateen.adapters.redis_queue import RedisQueue
from lateen.adapters.sqlite import SqliteTable
from lateen.adapters.sqlite_queue import SqliteQueue
from lateen.domain.errors import TooLarge
from lateen.ports.queue import BODY_LIMIT_BYTES, MESSAGE_BYTES, LeaseLost, Message, Queue, QueueFull, TenantFull

LEASE_S = 1.0
LANE = "acme/hello"
MakeQueue = Callable[..., Queue]


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    need_redis()
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def sqlite_queue(sqlite_table: SqliteTable) -> MakeQueue:
    return lambda lease_s=LEASE_S, **limits: SqliteQueue(sqlite_table, lease_s=lease_s, **limits)


@pytest.fixture
async def redis_queue(redis_server: RedisServer) -> AsyncIterator[MakeQueue]:
    made: list[RedisQueue] = []
    name = f"test-{token_hex(8)}"

    def make(lease_s: float = LEASE_S, **limits: int) -> RedisQueue:
        made.append(RedisQueue(redis_server.url, name=name, lease_s=lease_s, **limits))
        return made[-1]

    yield make
    for queue in made:
        await queue.close()


@pytest.fixture(params=["sqlite", "redis"])
def make_queue(request: pytest.FixtureRequest) -> MakeQueue:
    """Several of them see the same messages."""
    found: MakeQueue = request.getfixturevalue(f"{request.param}_queue")
    return found


@pytest.fixture
def queue(make_queue: MakeQueue) -> Queue:
    """With a lease that no test outlives."""
    return make_queue(lease_s=60.0)


async def one(queue: Queue, *, within_s: float = 20.0) -> Message:
    """The next message, as soon as it is there."""
    async with asyncio.timeout(within_s):
        while not (found := await queue.receive()):
            await asyncio.sleep(0.02)
    return found[0]


async def all_of(queue: Queue) -> list[Message]:
    found = []
    while batch := await queue.receive(limit=10):
        found += batch
    return found


async def test_what_was_sent_is_received(queue: Queue) -> None:
    """Byte for byte, with its lane and when it was sent, and whoever has it is the only one."""
    before_s = time.time()
    body = bytes(range(256)) * 10
    sent = await queue.send(LANE, body)
    (message,) = await queue.receive(limit=10)
    assert (message.id, message.lane, message.body, message.deliveries) == (sent, LANE, body, 1)
    assert before_s - 1 <= message.sent_at_s <= time.time() + 1
    assert await queue.receive() == []


async def test_nothing_is_waited_for(queue: Queue) -> None:
    assert await queue.receive(limit=10) == []


async def test_acknowledged_is_gone(make_queue: MakeQueue) -> None:
    """Also after the time of its lease."""
    queue = make_queue(lease_s=0.2)
    await queue.send(LANE, b"{}")
    await queue.ack(await one(queue))
    await asyncio.sleep(0.5)
    assert await queue.receive() == []
    assert (await queue.depth()).leased == 0


async def test_in_order_within_a_lane(queue: Queue) -> None:
    for number in range(10):
        await queue.send(LANE, b"%d" % number)
    assert [message.body for message in await all_of(queue)] == [b"%d" % number for number in range(10)]


async def test_a_delayed_message_is_late(queue: Queue) -> None:
    """Nobody sees it before, and what was sent after it goes first."""
    started_s = time.monotonic()
    await queue.send(LANE, b"late", delay_s=1.0)
    await queue.send(LANE, b"now")
    assert (await one(queue)).body == b"now"
    message = await one(queue)
    assert time.monotonic() - started_s >= 0.99
    assert (message.body, message.deliveries) == (b"late", 1)


async def test_a_lost_lease_is_another_delivery(make_queue: MakeQueue) -> None:
    """Of a receiver that says nothing, to any other one; the count says that it happened."""
    vanishing, other = make_queue(), make_queue()
    await vanishing.send(LANE, b"{}")
    lost = await one(vanishing)
    again = await one(other)
    assert (again.id, again.body, again.deliveries) == (lost.id, lost.body, 2)
    assert (await one(vanishing)).deliveries == 3


async def test_an_extended_lease_lasts(make_queue: MakeQueue) -> None:
    """For several times its length, while nobody else gets the message."""
    queue = make_queue(lease_s=2.0)
    await queue.send(LANE, b"{}")
    message = await one(queue)
    until_s = time.monotonic() + 5.0
    while time.monotonic() < until_s:
        await queue.extend(message)
        assert await queue.receive() == []
        await asyncio.sleep(0.1)
    await queue.ack(message)


async def test_only_the_holder_settles(make_queue: MakeQueue) -> None:
    """Who has lost the lease can neither acknowledge, nor put off, nor bury what another one holds."""
    queue = make_queue(lease_s=0.3)
    await queue.send(LANE, b"{}")
    early = await one(queue)
    patient = make_queue(lease_s=60.0)
    await asyncio.sleep(0.5)
    late = await one(queue)
    for settle in refused(patient, early):
        with pytest.raises(LeaseLost):
            await settle()
    await patient.extend(late)
    await patient.ack(late)
    assert await patient.receive() == []


async def test_settled_is_settled(queue: Queue) -> None:
    """A second word about a message is refused, whatever the first one was, also when the message is out again."""
    await queue.send(LANE, b"{}")
    message = await one(queue)
    await queue.retry(message)
    again = await one(queue)
    for settle in refused(queue, message):
        with pytest.raises(LeaseLost):
            await settle()
    await queue.ack(again)
    for settle in refused(queue, again):
        with pytest.raises(LeaseLost):
            await settle()
    assert (await queue.depth()).waiting == 0


def refused(queue: Queue, message: Message) -> list[Callable[[], Awaitable[None]]]:
    return [
        lambda: queue.extend(message),
        lambda: queue.ack(message),
        lambda: queue.retry(message),
        lambda: queue.bury(message, "x"),
    ]


async def test_a_retry_comes_again(queue: Queue) -> None:
    """After its delay, as the same message with the new body, and counted from the start."""
    sent = await queue.send(LANE, b"first")
    first = await one(queue)
    started_s = time.monotonic()
    await queue.retry(first, delay_s=1.0, body=b"second")
    second = await one(queue)
    assert time.monotonic() - started_s >= 0.99
    assert (second.id, second.body, second.deliveries) == (sent, b"second", 1)
    assert abs(second.sent_at_s - first.sent_at_s) < 0.002
    await queue.retry(second)
    assert (await one(queue)).body == b"second"


async def test_buried_is_seen(queue: Queue) -> None:
    """It is delivered no more, and people find it with the reason, the last one first."""
    for body in (b"a", b"b"):
        await queue.send(LANE, body)
        await queue.bury(await one(queue), f"cannot be read: {body.decode()}")
    assert await queue.receive() == []
    found = await queue.dead()
    assert [(each.lane, each.body, each.reason) for each in found] == [
        (LANE, b"b", "cannot be read: b"),
        (LANE, b"a", "cannot be read: a"),
    ]
    assert [each.body for each in await queue.dead(limit=1)] == [b"b"]
    depth = await queue.depth()
    assert (depth.waiting, depth.leased, depth.dead, depth.oldest_at_s) == (0, 0, 2, None)


async def test_depth(queue: Queue) -> None:
    """What waits, what is put off and what is held is told apart, and how old the oldest is."""
    empty = await queue.depth()
    assert (empty.waiting, empty.delayed, empty.leased, empty.dead, empty.oldest_at_s) == (0, 0, 0, 0, None)
    before_s = time.time()
    for number in range(3):
        await queue.send(f"acme/{number}", b"{}")
    await queue.send(LANE, b"{}", delay_s=100)
    held = await one(queue)
    depth = await queue.depth()
    assert (depth.waiting, depth.delayed, depth.leased) == (2, 1, 1)
    assert depth.oldest_at_s is not None
    assert before_s - 1 <= depth.oldest_at_s <= time.time() + 1
    await queue.retry(held, delay_s=100)
    depth = await queue.depth()
    assert (depth.waiting, depth.delayed, depth.leased) == (2, 2, 0)


async def test_batches_are_bounded(queue: Queue) -> None:
    for _ in range(7):
        await queue.send(LANE, b"{}")
    assert [len(await queue.receive(limit=3)) for _ in range(4)] == [3, 3, 1, 0]


async def test_a_backlog_does_not_stand_before_others(queue: Queue) -> None:
    """Behind 500 messages of one function, another one's is in the next batch; each lane has its turn."""
    for number in range(500):
        await queue.send("greedy/f", b"%d" % number)
    for lane in ("acme/a", "acme/b", "umbrella/c"):
        await queue.send(lane, b"{}")
    lanes = Counter(message.lane for message in await queue.receive(limit=8))
    assert lanes == {"greedy/f": 5, "acme/a": 1, "acme/b": 1, "umbrella/c": 1}
    await queue.send("acme/a", b"{}")
    await queue.send("acme/b", b"{}")
    singly = {(await one(queue)).lane for _ in range(3)}
    assert singly == {"greedy/f", "acme/a", "acme/b"}


async def test_more_lanes_than_a_look_takes_in(queue: Queue) -> None:
    """Each of many functions is served, also while the first hundreds are all being worked on."""
    for number in range(600):
        await queue.send(f"acme/{number}", b"{}")
    found: list[Message] = []
    async with asyncio.timeout(60):
        while len(found) < 600:
            found += await queue.receive(limit=100)
    assert len({message.lane for message in found}) == 600
    await queue.send("acme/late", b"{}")
    assert (await one(queue)).lane == "acme/late"


async def test_each_lane_has_its_turn_from_one_look_to_the_next(queue: Queue) -> None:
    """Whoever takes one at a time serves all, however much waits in the first lane."""
    for lane in ("a/f", "b/f", "c/f"):
        for _ in range(3):
            await queue.send(lane, b"x")
    lanes = [message.lane for _ in range(9) for message in await queue.receive()]
    assert [set(lanes[at : at + 3]) for at in (0, 3, 6)] == [{"a/f", "b/f", "c/f"}] * 3


async def test_lanes_and_tenants_may_be_left_out(queue: Queue) -> None:
    """Of their messages none is delivered, and all are there afterwards."""
    for lane in ("acme/a", "acme/b", "umbrella/a", "umbrella/b"):
        await queue.send(lane, b"{}")
    assert {message.lane for message in await queue.receive(limit=10, without={"acme", "umbrella/b"})} == {"umbrella/a"}
    assert {message.lane for message in await queue.receive(limit=10)} == {"acme/a", "acme/b", "umbrella/b"}


async def test_a_message_has_one_receiver(make_queue: MakeQueue) -> None:
    """Of many that ask at the same time."""
    sender = make_queue(lease_s=60.0)
    await asyncio.gather(*(sender.send(f"acme/{number % 5}", b"%d" % number) for number in range(200)))
    receivers = [make_queue(lease_s=60.0) for _ in range(4)]
    found: list[Message] = []

    async def receive(queue: Queue) -> None:
        while batch := await queue.receive(limit=7):
            found.extend(batch)
            await asyncio.gather(*(queue.ack(message) for message in batch))

    await asyncio.gather(*(receive(queue) for queue in receivers for _ in range(2)))
    assert sorted(int(message.body) for message in found) == list(range(200))
    depth = await sender.depth()
    assert (depth.waiting, depth.delayed, depth.leased) == (0, 0, 0)


async def test_a_cancelled_receiver_loses_nothing(make_queue: MakeQueue) -> None:
    """Wherever it was: each message comes, to it or to another one, and no answer goes to the wrong call."""
    queue = make_queue(lease_s=0.5)
    for number in range(50):
        await queue.send(LANE, b"%d" % number)
    seen: set[bytes] = set()
    for step in range(100):
        task = asyncio.create_task(queue.receive(limit=2))
        await asyncio.sleep(step * 0.00005)
        task.cancel()
        (result,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(result, list):
            for message in result:
                seen.add(message.body)
                await queue.ack(message)
    async with asyncio.timeout(30):
        while len(seen) < 50:
            message = await one(queue)
            seen.add(message.body)
            await queue.ack(message)
    assert seen == {b"%d" % number for number in range(50)}


@pytest.mark.parametrize("lane", ["", "acme", "acme/", "/x", "acme/x/y", "ac me/x", "acme/x\n", "a" * 65 + "/x", "ä/x"])
async def test_lanes_have_a_form(queue: Queue, lane: str) -> None:
    with pytest.raises(ValueError, match="lane"):
        await queue.send(lane, b"{}")


async def test_limits(queue: Queue) -> None:
    """What is too large, too late or too many is refused, and the largest message there may be comes back whole."""
    largest = b"x" * BODY_LIMIT_BYTES
    with pytest.raises(TooLarge):
        await queue.send(LANE, largest + b"x")
    for delay_s in (-1, 86_401, float("nan")):
        with pytest.raises(ValueError, match="delay"):
            await queue.send(LANE, b"", delay_s=delay_s)
    for limit in (0, 101):
        with pytest.raises(ValueError, match="limit"):
            await queue.receive(limit=limit)
    assert (await queue.depth()).waiting == 0
    await queue.send(LANE, largest)
    message = await one(queue)
    assert message.body == largest
    with pytest.raises(TooLarge):
        await queue.retry(message, body=largest + b"x")
    with pytest.raises(ValueError, match="delay"):
        await queue.retry(message, delay_s=-1)
    await queue.ack(message)


async def test_a_lane_is_bounded(make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """One function's events can't fill the store; what was delivered makes room again, and others are not concerned."""
    for adapter in ("sqlite_queue", "redis_queue"):
        monkeypatch.setattr(f"lateen.adapters.{adapter}.LANE_LIMIT", 3)
    queue = make_queue(lease_s=60.0)
    await queue.send(LANE, b"{}")
    await queue.send(LANE, b"{}", delay_s=60)
    await queue.send(LANE, b"{}")
    with pytest.raises(QueueFull):
        await queue.send(LANE, b"{}")
    await queue.send("acme/other", b"{}")
    held = await queue.receive(limit=10)
    with pytest.raises(QueueFull):
        await queue.send(LANE, b"{}")
    await queue.retry(held[0], delay_s=60)
    await queue.ack(next(message for message in held[1:] if message.lane == LANE))
    await queue.send(LANE, b"{}")


def of(size: int) -> bytes:
    """The body of a message that counts `size` bytes."""
    return b"x" * (size - MESSAGE_BYTES)


async def fills(queue: Queue, tenant: str, *, size: int) -> None:
    """The tenant has room for `size` bytes and for no byte more; they are taken out again, and nothing else is."""
    others = {f"{each}/{part}" for each in ("acme", "acme-2", "acm") for part in "abc"}
    await queue.send(f"{tenant}/probe", of(size // 2))
    with pytest.raises(TenantFull):
        await queue.send(f"{tenant}/probe-2", of(size - size // 2 + 1))
    await queue.send(f"{tenant}/probe-2", of(size - size // 2))
    probes = await queue.receive(limit=10, without=others)
    assert len(probes) == 2
    for message in probes:
        await queue.ack(message)


async def test_a_tenants_bytes_are_bounded(make_queue: MakeQueue) -> None:
    """In all its lanes together, put off, held and waiting; what has no room is not stored, and others are not
    concerned. Whoever waits for nothing any more has all of its room again."""
    queue = make_queue(lease_s=60.0, tenant_limit_bytes=10_000)
    await queue.send("acme/a", of(4000))
    await queue.send("acme/b", of(4000), delay_s=60)
    await queue.send("acme-2/a", of(10000))
    await queue.send("acm/a", of(10000))
    for lane in ("acme/a", "acme/c"):
        with pytest.raises(TenantFull, match="workspace"):
            await queue.send(lane, of(2001))
    await queue.send("acme/c", of(2000))
    held = {message.lane: message for message in await queue.receive(limit=10)}
    assert set(held) == {"acme/a", "acme/c", "acme-2/a", "acm/a"}
    with pytest.raises(TenantFull):
        await queue.send("acme/a", b"x")
    await queue.ack(held["acme/a"])
    await fills(queue, "acme", size=4000)
    await queue.bury(held["acme/c"], "no use")
    await fills(queue, "acme", size=6000)
    await queue.ack(held["acme-2/a"])
    await fills(queue, "acme-2", size=10000)
    await fills(queue, "acme", size=6000)


async def test_a_retry_counts_what_it_holds_then(make_queue: MakeQueue) -> None:
    """Its new body, larger or smaller, and nothing twice, however often it is put off and delivered. It is never
    refused: what was accepted stays."""
    queue = make_queue(lease_s=60.0, tenant_limit_bytes=10_000)
    await queue.send("acme/a", of(5000))
    for _ in range(3):
        await queue.retry(await one(queue))
    await fills(queue, "acme", size=5000)
    await queue.retry(await one(queue), body=of(9000))
    await fills(queue, "acme", size=1000)
    message = await one(queue)
    await queue.retry(message, delay_s=0.05, body=of(12000))
    with pytest.raises(LeaseLost):
        await queue.retry(message, body=b"x")
    with pytest.raises(TenantFull):
        await queue.send("acme/b", b"x")
    await queue.retry(await one(queue), body=of(3000))
    await fills(queue, "acme", size=7000)
    message = await one(queue)
    await queue.ack(message)
    with pytest.raises(LeaseLost):
        await queue.ack(message)
    await fills(queue, "acme", size=10000)


async def test_a_delivery_again_counts_once(make_queue: MakeQueue) -> None:
    """Holders that vanish, and say something when it is too late, change no count."""
    queue = make_queue(lease_s=1.0, tenant_limit_bytes=10_000)
    patient = make_queue(lease_s=60.0, tenant_limit_bytes=10_000)
    await queue.send("acme/a", of(6000))
    early = await one(queue)
    await asyncio.sleep(1.2)
    late = await one(queue)
    await patient.extend(late)
    for settle in refused(patient, early):
        with pytest.raises(LeaseLost):
            await settle()
    await fills(patient, "acme", size=4000)
    await patient.ack(late)
    await fills(patient, "acme", size=10000)


async def test_many_at_once_find_the_room_that_there_is(make_queue: MakeQueue) -> None:
    """Of fifty that send at the same time, as many as fit."""
    queues = [make_queue(lease_s=60.0, tenant_limit_bytes=10_000) for _ in range(2)]
    found = await asyncio.gather(
        *(queues[number % 2].send(f"acme/{number % 7}", of(1000)) for number in range(50)), return_exceptions=True
    )
    assert sum(isinstance(each, str) for each in found) == 10
    assert sum(isinstance(each, TenantFull) for each in found) == 40
    messages = await all_of(queues[0])
    assert len(messages) == 10
    await asyncio.gather(*(queues[1].ack(message) for message in messages))
    await fills(queues[0], "acme", size=10000)


async def test_ping(queue: Queue) -> None:
    await queue.ping()
