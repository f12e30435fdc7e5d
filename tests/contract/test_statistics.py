"""Statistics, over each table: what invokers wrote, added up for those who look."""

import random
from pathlib import Path

import pytest
from msgspec import structs

from lateen.adapters.filesystem import FileObjects
from lateen.domain.errors import NotFound
from lateen.domain.functions import Function
from lateen.ports.table import Table
from lateen.services.functions import NewFunction
from lateen.services.statistics import PERIODS, PeriodName
from lateen.testing.assembled import ManualClock, Services, assemble
from lateen_invoker.statistics import Statistics as Counting

RUNTIMES = Path(__file__).parents[2] / "runtimes"
NEW = NewFunction(name="hello", runtime="python3.12", code=b"def handler(event, context):\n    return 0\n")


@pytest.fixture(params=["sqlite", pytest.param("dynamodb", marks=pytest.mark.cluster)])
def table(request: pytest.FixtureRequest) -> Table:
    found: Table = request.getfixturevalue(f"{request.param}_table")
    return found


class World:
    """A platform, and invokers that count for it."""

    def __init__(self, services: Services, clock: ManualClock) -> None:
        self.services = services
        self.clock = clock

    def invoker(self, function: Function) -> Counting:
        return Counting(function.id, now=self.clock, monotonic=self.clock)

    async def save(self, function: Function, counting: Counting, *, everything: bool = True) -> None:
        await self.services.records.store(function.id, [], counting.due(everything=everything))


@pytest.fixture
async def world(table: Table, file_objects: FileObjects) -> World:
    clock = ManualClock()
    services = assemble(table, file_objects, RUNTIMES, clock=clock)
    await services.workspaces.ensure_default()
    return World(services, clock)


@pytest.fixture
async def hello(world: World) -> Function:
    return (await world.services.functions.create(world.services.admin, "default", NEW)).function


def count(counting: Counting, at_s: float, duration_ms: float = 1.0, status: str = "success") -> None:
    counting.count(at_s, status, duration_ms, is_cold=False)


async def test_nothing_is_all_buckets_with_nothing_in_them(world: World, hello: Function) -> None:
    """An hour of minutes, a day of quarters, a week of hours; each ends where it is now."""
    periods: list[tuple[PeriodName, int, int]] = [("1h", 60, 60), ("24h", 96, 900), ("7d", 168, 3600)]
    for period, buckets, bucket_s in periods:
        found = await world.services.statistics.of_function(world.services.admin, hello.id, period)
        assert (len(found.buckets), found.bucket_s) == (buckets, bucket_s)
        assert (found.totals.calls, found.totals.p95_ms) == (0, None)
        assert all(bucket.calls == 0 and bucket.p50_ms is None for bucket in found.buckets)
        assert found.buckets[0].start == found.start < found.buckets[-1].start < found.end


async def test_however_many_pods_there_are(world: World, hello: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    """What they wrote is read page by page."""
    monkeypatch.setattr("lateen.services.statistics.QUERY_LIMIT", 2)
    for _ in range(5):
        counting = world.invoker(hello)
        count(counting, world.clock() - 60)
        await world.save(hello, counting)
    found = await world.services.statistics.of_function(world.services.admin, hello.id, "1h")
    assert found.totals.calls == 5


async def test_pods_and_their_repetitions_count_once(world: World, hello: Function) -> None:
    """Two invokers of one function are added; a batch that is written again is not."""
    now_s = world.clock()
    one, two = world.invoker(hello), world.invoker(hello)
    for number in range(90):
        count(one if number % 3 else two, now_s - 60, 10.0)
    for status in ("error", "timeout"):
        count(two, now_s, 1000.0, status)
    two.count_throttles(4)
    two.count(now_s, "success", 1000.0, is_cold=True)
    first = one.due()
    for _ in range(3):
        await world.services.records.store(hello.id, [], first)
    await world.save(hello, one)
    await world.save(hello, two)
    found = await world.services.statistics.of_function(world.services.admin, hello.id, "1h")
    totals = found.totals
    assert (totals.calls, totals.errors, totals.timeouts) == (93, 2, 1)
    assert (totals.throttles, totals.cold_starts) == (4, 1)
    assert totals.p50_ms == pytest.approx(10.0, rel=0.1)
    assert totals.p95_ms == pytest.approx(10.0, rel=0.1)
    assert totals.p99_ms == pytest.approx(1000.0, rel=0.1)
    assert [bucket.calls for bucket in found.buckets[-2:]] == [90, 3]
    assert found.buckets[-1].p50_ms == pytest.approx(1000.0, rel=0.1)


async def test_percentiles_are_within_ten_percent(world: World, hello: Function) -> None:
    """Of those of all calls, one by one."""
    random.seed(3)
    durations = sorted(random.lognormvariate(3.0, 1.2) for _ in range(5000))
    counting = world.invoker(hello)
    for number, duration_ms in enumerate(durations):
        count(counting, world.clock() - number % 3000, duration_ms)
    await world.save(hello, counting)
    totals = (await world.services.statistics.of_function(world.services.admin, hello.id, "1h")).totals
    for found, share in ((totals.p50_ms, 50), (totals.p95_ms, 95), (totals.p99_ms, 99)):
        assert found == pytest.approx(durations[5000 * share // 100 - 1], rel=0.1)


async def test_a_week_counts_each_call_once(world: World, hello: Function) -> None:
    """Older hours come from the quarters, recent ones from the minutes, and no call from both or from neither."""
    counting = world.invoker(hello)
    for _ in range(8 * 24):
        count(counting, world.clock(), 5.0)
        await world.save(hello, counting)
        world.clock.now_s += 3600
    now_s = world.clock()
    for minutes_ago in range(1, 130):
        count(counting, now_s - 60 * minutes_ago, 5.0)
    await world.save(hello, counting)

    async def calls(period: PeriodName) -> list[int]:
        found = await world.services.statistics.of_function(world.services.admin, hello.id, period)
        assert sum(bucket.calls for bucket in found.buckets) == found.totals.calls
        return [bucket.calls for bucket in found.buckets]

    week, day, hour = await calls("7d"), await calls("24h"), await calls("1h")
    assert week[:-4] == [1] * 164
    assert sum(week) == 129 + 167
    assert sum(day) == 129 + 23
    assert sum(hour) == 59


async def test_what_invokers_hold_back_is_seen_by_the_minute(world: World, hello: Function) -> None:
    """A day and a week show calls as soon as the hour does."""
    counting = world.invoker(hello)
    count(counting, world.clock())
    await world.save(hello, counting, everything=False)
    for period in PERIODS:
        found = await world.services.statistics.of_function(world.services.admin, hello.id, period)
        assert found.totals.calls == found.buckets[-1].calls == 1


async def test_it_expires(world: World, hello: Function) -> None:
    """Minutes within hours, quarters within days, of the time that they tell of."""
    counting = world.invoker(hello)
    count(counting, world.clock())
    await world.save(hello, counting)
    items = (await world.services.table.query(f"FN#{hello.id}", begins="STATS#")).items
    assert [(item.expires_at or 0) - world.clock() for item in items] == [
        pytest.approx(4 * 3600, abs=3600),
        pytest.approx(8 * 86400, abs=6 * 3600),
    ]


async def test_many_functions_at_once(world: World, hello: Function) -> None:
    """In the order and on the pages of the list of functions; and nobody else's."""
    services = world.services
    other = (await services.functions.create(services.admin, "default", structs.replace(NEW, name="another"))).function
    counting = world.invoker(hello)
    for _ in range(3):
        count(counting, world.clock(), 20.0)
    await world.save(hello, counting)
    first = await services.statistics.of_workspace(services.admin, "default", "1h", limit=1)
    assert [(each.name, each.function_id, each.calls, each.p95_ms) for each in first.items] == [
        ("another", other.id, 0, None)
    ]
    listed = await services.functions.list(services.admin, "default", limit=1)
    assert listed.cursor == first.cursor is not None
    second = await services.statistics.of_workspace(services.admin, "default", "1h", limit=1, cursor=listed.cursor)
    assert [(each.name, each.calls) for each in second.items] == [("hello", 3)]
    assert second.items[0].p95_ms == pytest.approx(20.0, rel=0.1)


async def test_strangers_see_nothing(world: World, hello: Function) -> None:
    """The same as if there were no such function."""
    services = world.services
    team = await services.workspaces.create(services.admin, name="team")
    key = await services.keys.create(services.admin, workspace_id=team.id)
    stranger = await services.keys.authenticate(key.secret)
    with pytest.raises(NotFound):
        await services.statistics.of_function(stranger, hello.id, "1h")
    with pytest.raises(NotFound):
        await services.statistics.of_workspace(stranger, "default", "1h")


async def test_another_functions_rollup_is_left_out(world: World, hello: Function) -> None:
    """An invoker writes its own function's only."""
    counting = Counting("another", now=world.clock, monotonic=world.clock)
    count(counting, world.clock())
    await world.save(hello, counting)
    found = await world.services.statistics.of_function(world.services.admin, hello.id, "1h")
    assert found.totals.calls == 0
