"""The change feed: what one process changes, the leader is told of, through the table."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from lateen.adapters.sqlite import SqliteTable
from lateen.domain.access import PLATFORM
from lateen.domain.functions import Function
from lateen.ports.table import Item, Key, Page, TableUnavailable
from lateen.services import changes
from lateen.services.background import in_background
from lateen.services.changes import BATCH, PARTITION, ChangeReader, ChangeWriter
from lateen.services.functions import FunctionChange, NewFunction
from lateen.testing.assembled import ManualClock, Services, assemble

RUNTIMES = Path(__file__).parents[2] / "runtimes"
HELLO = NewFunction(name="hello", runtime="python3.12", code=b"def handler(event, context): ...\n")


class FaultyTable:
    """`Table`, whose next calls fail."""

    def __init__(self, table: SqliteTable) -> None:
        self._table = table
        self.failures = 0
        self.writes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table, name)

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise TableUnavailable("away")

    async def write(self, items: Sequence[Item]) -> None:
        self.writes += 1
        self._fail()
        await self._table.write(items)

    async def query(self, pk: str, **given: Any) -> Page:
        if pk == PARTITION:
            self._fail()
        return await self._table.query(pk, **given)


@pytest.fixture
def table(sqlite_table: SqliteTable) -> FaultyTable:
    return FaultyTable(sqlite_table)


@pytest.fixture
async def services(table: FaultyTable, file_objects: Any) -> Services:
    services = assemble(table, file_objects, RUNTIMES, clock=ManualClock())
    await services.workspaces.ensure_default()
    return services


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "AGAIN_S", 0.01)


async def seen(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def test_the_leader_is_told_what_others_change(services: Services, table: FaultyTable, file_objects: Any) -> None:
    """Create, update and delete, as the function is then; what was acted on is gone from the feed."""
    writer = ChangeWriter(table)
    services.functions.subscribe(writer.changed)
    leader = assemble(table, file_objects, RUNTIMES, clock=services.clock)
    told: list[Function] = []
    leader.functions.subscribe(told.append)
    reader = ChangeReader(table, act=leader.functions.look_at, every_s=0.01)
    async with in_background(writer.run), in_background(reader.run):
        made = (await services.functions.create(PLATFORM, "default", HELLO)).function
        await seen(lambda: [each.revision for each in told] == [1])
        await services.functions.update(PLATFORM, made.id, FunctionChange(timeout_s=9))
        await seen(lambda: len(told) == 2)
        await services.functions.delete(PLATFORM, made.id)
        await seen(lambda: len(told) == 3)
        async with asyncio.timeout(5):
            while (await table.query(PARTITION)).items:
                await asyncio.sleep(0.005)
    assert [(each.id, each.timeout_s, each.deleted_at is None) for each in told] == [
        (made.id, 3, True),
        (made.id, 9, True),
        (made.id, 9, False),
    ]


async def test_many_changes_are_told_in_batches_and_each_function_once(table: FaultyTable) -> None:
    """More than one page, with changes of one function beside each other."""
    writer = ChangeWriter(table)
    told: list[list[str]] = []

    async def act(function_ids: Sequence[str]) -> None:
        told.append(list(function_ids))

    for number in range(BATCH):
        for _ in range(3):
            writer.changed(a_function(f"f{number}"))
    async with in_background(writer.run):
        await seen(lambda: not writer._waiting)
        await asyncio.sleep(0.05)
    reader = ChangeReader(table, act=act)
    assert [await reader.poll() for _ in range(4)] == [True, True, False, False]
    assert {each for batch in told for each in batch} == {f"f{number}" for number in range(BATCH)}
    assert all(len(batch) == len(set(batch)) for batch in told)
    assert table.writes <= 4


async def test_what_is_not_acted_on_is_told_again(table: FaultyTable) -> None:
    """The store was away between the telling and the acting."""
    writer = ChangeWriter(table)
    writer.changed(a_function("f"))
    async with in_background(writer.run):
        await seen(lambda: table.writes == 1)
    told: list[str] = []

    async def act(function_ids: Sequence[str]) -> None:
        told.extend(function_ids)
        if len(told) == 1:
            raise TableUnavailable("away")

    async with in_background(ChangeReader(table, act=act, every_s=0.01).run):
        await seen(lambda: len(told) == 2)
        await asyncio.sleep(0.1)
    assert told == ["f", "f"]


async def test_a_store_that_is_away_for_a_moment_loses_nothing(
    table: FaultyTable, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the one who writes nor the one who reads gives up; it is said once."""
    writer = ChangeWriter(table)
    table.failures = 2
    told: list[str] = []

    async def act(function_ids: Sequence[str]) -> None:
        told.extend(function_ids)

    async with in_background(writer.run):
        writer.changed(a_function("f"))
        await seen(lambda: table.writes == 3)
        table.failures = 3
        async with in_background(ChangeReader(table, act=act, every_s=0.01).run):
            await seen(lambda: told == ["f"])
    assert writer.dropped == 0
    assert [record.message for record in caplog.records].count("change feed put off") == 1


async def test_a_store_that_stays_away_costs_changes_that_are_counted(table: FaultyTable) -> None:
    """And not the process's memory: neither what failed nor what waits grows without end."""
    writer = ChangeWriter(table)
    table.failures = 1_000
    async with in_background(writer.run):
        writer.changed(a_function("f"))
        await seen(lambda: writer.dropped == 1)
    for number in range(changes.WAITING + 5):
        writer.changed(a_function(f"f{number}"))
    assert (len(writer._waiting), writer.dropped) == (changes.WAITING, 6)
    (metric,) = writer.collect()
    assert [sample.value for sample in metric.samples] == [6]


async def test_a_change_expires(table: FaultyTable) -> None:
    """Nobody leads for an hour: the next leader compares everything anyhow."""
    writer = ChangeWriter(table, now=lambda: 1_800_000_000.0)
    writer.changed(a_function("f"))
    (item,) = writer._waiting
    assert item.expires_at == 1_800_000_000 + 3600


async def test_a_function_that_never_was_is_passed_over(services: Services) -> None:
    """Something else wrote into the feed."""
    told: list[Function] = []
    services.functions.subscribe(told.append)
    await services.functions.look_at(["nobody", "../x", ""])
    assert told == []


def a_function(function_id: str) -> Any:
    """As much of one as the feed looks at."""

    class Named:
        id = function_id

    return Named


async def test_what_can_t_be_read_stops_nothing(services: Services, table: FaultyTable) -> None:
    """An item of the feed, or a function, that nobody understands is passed over and gone from the feed."""
    made = (await services.functions.create(PLATFORM, "default", HELLO)).function
    odd = structs.replace(HELLO, name="odd")
    broken = (await services.functions.create(PLATFORM, "default", odd)).function
    key = Key("WS#default", f"FN#{broken.id}")
    await table.put(Item(key=key, data={"of": "another version"}), expected=1)
    items = [
        Item(key=Key(PARTITION, f"{number}"), data=data)
        for number, data in enumerate(({}, {"function_id": broken.id}, {"function_id": made.id}))
    ]
    await table.write(items)
    told: list[Function] = []
    services.functions.subscribe(told.append)
    await ChangeReader(table, act=services.functions.look_at).poll()
    assert [each.id for each in told] == [made.id]
    assert not (await table.query(PARTITION)).items
