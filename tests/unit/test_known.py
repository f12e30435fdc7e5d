"""`Known`: what was read a moment ago, served while it is good, and for long while the store is away."""

import asyncio

import pytest

from lateen.domain.errors import NotFound, Unavailable
from lateen.services.known import AGAIN_S, FRESH, LIVES_S, STALE_S, WAIT_S, Known
from lateen.testing.assembled import ManualClock


class Store:
    """What is read, and how."""

    def __init__(self) -> None:
        self.clock = ManualClock(1000.0)
        self.value: int | Exception = 1
        self.reads = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.known: Known[str, int] = Known(self.read, entries=2, clock=self.clock)

    async def read(self, key: str) -> int:
        self.reads += 1
        await self.may_answer.wait()
        if isinstance(self.value, Exception):
            raise self.value
        return self.value

    async def settled(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)


@pytest.fixture
async def store() -> Store:
    return Store()


async def test_it_is_read_once(store: Store) -> None:
    """However many ask at the same time, and for seconds after."""
    assert store.known.now("a") is None
    assert await asyncio.gather(*(store.known.get("a") for _ in range(100))) == [1] * 100
    store.value = 2
    assert (await store.known.get("a"), store.known.now("a"), store.reads) == (1, 1, 1)


async def test_what_is_in_use_is_read_again_behind_its_users_backs(store: Store) -> None:
    """Nobody waits for it, and nobody sees anything older than five seconds."""
    await store.known.get("a")
    store.value = 2
    store.clock.now_s += LIVES_S * FRESH
    store.may_answer.clear()
    assert store.known.now("a") is None
    assert await asyncio.gather(*(store.known.get("a") for _ in range(10))) == [1] * 10
    await store.settled()
    assert store.reads == 2
    store.may_answer.set()
    await store.settled()
    assert (await store.known.get("a"), store.known.now("a")) == (2, 2)


async def test_what_is_too_old_is_waited_for(store: Store) -> None:
    """Nobody has used it for five seconds."""
    await store.known.get("a")
    store.value = 2
    store.clock.now_s += LIVES_S
    assert await store.known.get("a") == 2


async def test_it_is_as_old_as_the_question(store: Store) -> None:
    """A store that takes seconds to answer may tell of what was so when it was asked."""
    store.may_answer.clear()
    asking = asyncio.ensure_future(store.known.get("a"))
    await store.settled()
    store.clock.now_s += LIVES_S
    store.may_answer.set()
    assert await asking == 1
    store.value = 2
    assert store.known.now("a") is None
    assert await store.known.get("a") == 2


async def test_what_is_gone_is_forgotten_at_once(store: Store) -> None:
    """A refusal of the store is an answer."""
    await store.known.get("a")
    store.value = NotFound("gone")
    store.clock.now_s += LIVES_S
    with pytest.raises(NotFound):
        await store.known.get("a")
    assert len(store.known) == 0


async def test_while_the_store_is_away_it_is_served_for_minutes(store: Store) -> None:
    """Without waiting for the store each time, and without asking it for every call."""
    await store.known.get("a")
    store.value = Unavailable("away")
    store.clock.now_s += LIVES_S
    for _ in range(50):
        assert await store.known.get("a") == 1
        await store.settled()
    assert store.reads == 2
    assert store.known.stale == 50
    store.clock.now_s += AGAIN_S
    assert await store.known.get("a") == 1
    await store.settled()
    assert store.reads == 3
    store.clock.now_s += STALE_S
    with pytest.raises(Unavailable):
        await store.known.get("a")


async def test_a_store_that_hangs_is_waited_for_once(store: Store) -> None:
    """The first caller waits a second; for the others the store is away, until it answers."""
    await store.known.get("a")
    store.clock.now_s += LIVES_S
    store.may_answer.clear()
    began_s = asyncio.get_running_loop().time()
    assert await store.known.get("a") == 1
    assert WAIT_S <= asyncio.get_running_loop().time() - began_s < WAIT_S + 1
    for _ in range(50):
        assert await store.known.get("a") == 1
    assert asyncio.get_running_loop().time() - began_s < WAIT_S + 1
    store.value = 2
    store.may_answer.set()
    await store.settled()
    assert store.known.now("a") == 2 or await store.known.get("a") == 2


async def test_when_the_store_is_back_what_it_says_counts(store: Store) -> None:
    """Also where that is: there is no such thing."""
    await store.known.get("a")
    store.value = Unavailable("away")
    store.clock.now_s += LIVES_S
    assert await store.known.get("a") == 1
    store.value = NotFound("gone")
    store.clock.now_s += AGAIN_S
    await store.known.get("a")
    await store.settled()
    with pytest.raises(NotFound):
        await store.known.get("a")


async def test_what_is_forgotten_beside_its_reading_is_not_kept(store: Store) -> None:
    """What is being read may be older than the change."""
    store.may_answer.clear()
    reading = asyncio.create_task(store.known.get("a"))
    await store.settled()
    store.known.forget("a")
    store.may_answer.set()
    assert await reading == 1
    assert store.known.now("a") is None
    store.value = 2
    assert await store.known.get("a") == 2


async def test_a_caller_that_leaves_takes_nothing_away(store: Store) -> None:
    """Of two that wait for one reading one is cancelled."""
    store.may_answer.clear()
    first, second = (asyncio.create_task(store.known.get("a")) for _ in range(2))
    await store.settled()
    first.cancel()
    store.may_answer.set()
    assert await second == 1
    assert store.reads == 1


async def test_it_is_bounded(store: Store) -> None:
    """What was read first goes first."""
    for key in ("a", "b", "c"):
        await store.known.get(key)
    assert [store.known.now(key) for key in ("a", "b", "c")] == [None, 1, 1]
