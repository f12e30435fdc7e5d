"""What deleted functions and workspaces leave in the table, and for how long."""

from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from lateen.adapters.filesystem import FileObjects
from lateen.domain.errors import NotFound, Unavailable
from lateen.domain.events import EventInvokeChange
from lateen.domain.functions import LATEST, Function
from lateen.domain.versions import Alias, Target
from lateen.ports.deployer import Observation
from lateen.ports.table import Item, Key, Put, Table
from lateen.services.dead_letters import DeadLetter
from lateen.services.functions import FunctionChange, NewFunction
from lateen.services.layers import NewLayer
from lateen.services.packages import package
from lateen.services.reserved import reserved_by_others
from lateen.services.tenants import BURIED
from lateen.services.tombstones import AFTER_S, KEPT_S, LOOK_EVERY_S, Tombstones
from lateen.testing.assembled import ManualClock, Services, assemble
from lateen.testing.interposed import InterposedTable
from lateen_invoker.ids import new_request_id
from lateen_invoker.records import ExecutionRecord

RUNTIMES = Path(__file__).parents[2] / "runtimes"
CODE = b"def handler(event, context):\n    return 0\n"
HELLO = NewFunction(name="hello", runtime="python3.12", code=CODE)
OLD_S = -1e9
"""Every blob is older than that."""


@pytest.fixture(params=["sqlite", pytest.param("dynamodb", marks=pytest.mark.cluster)])
def table(request: pytest.FixtureRequest) -> Table:
    found: Table = request.getfixturevalue(f"{request.param}_table")
    return found


@pytest.fixture
async def services(table: Any, file_objects: FileObjects) -> Services:
    clock = ManualClock()
    table._clock = clock  # what has expired is gone by the same time
    services = assemble(table, file_objects, RUNTIMES, clock=clock)
    await services.workspaces.ensure_default()
    return services


def tombstones(services: Services) -> Tombstones:
    """Of a process that has just begun: it has heard of no delete."""
    return Tombstones(services.table, services.objects, functions=services.functions, now=services.clock)


async def made(services: Services, name: str = "hello", workspace_id: str = "default", **settings: Any) -> Function:
    new = structs.replace(HELLO, name=name, **settings)
    return (await services.functions.create(services.admin, workspace_id, new)).function


async def with_everything(services: Services, name: str = "hello") -> tuple[Function, Alias]:
    """A function of which all there can be is in the table."""
    admin = services.admin
    function = await made(services, name, tags={"team": "a"})
    await services.functions.report(Observation(function_id=function.id, revision=1, state="Active"))
    await services.versions.publish(admin, function.id)
    alias = (await services.aliases.create(admin, function.id, "live", Target("1"))).alias
    await services.provisioned.put(function, "live", 2)
    for qualifier in (LATEST, "live"):
        await services.event_configs.put(function, qualifier, EventInvokeChange(maximum_retry_attempts=0))
    await services.records.store(function.id, [record(function.id, number) for number in range(3)])
    letter = DeadLetter(
        request_id=new_request_id(), qualifier=None, condition="RetriesExhausted", reason="", attempts=1,
        accepted_at="2027-01-15T08:00:00.000Z", ended_at="2027-01-15T08:00:01.000Z", event="{}", event_key=None,
        answer=None,
    )  # fmt: skip
    await services.dead_letters.store(function, letter)
    return function, alias


def record(function_id: str, number: int) -> ExecutionRecord:
    return ExecutionRecord(
        request_id=f"r{number}",
        function_id=function_id,
        version=LATEST,
        timestamp=f"2026-01-31T23:59:{number % 60:02d}.{number // 60:03d}Z",
        status="success",
        duration_ms=1.0,
    )


async def items(table: Table, *partitions: str) -> list[Item]:
    return [item for pk in partitions for item in (await table.query(pk, limit=1000)).items]


async def left_of(services: Services, function: Function, *alias: Alias) -> list[Item]:
    """All items that are the function's, wherever they lie."""
    urls = (f"HASH#{each.hash}" for each in (function, *alias))
    found = await items(services.table, f"FN#{function.id}", *urls)
    own = await items(services.table, f"WS#{function.workspace_id}")
    return found + [item for item in own if function.id in item.key.sk or function.id in str(item.data)]


async def test_a_deleted_functions_records_go_and_its_neighbours_stay(services: Services) -> None:
    """All of them, some time after the delete, so that those of its last calls are among them."""
    deleted = tombstones(services)
    gone, stays = await made(services, "gone"), await made(services, "stays")
    for function in (gone, stays):
        await services.records.store(function.id, [record(function.id, number) for number in range(250)])
    await services.functions.delete(services.admin, gone.id)
    assert await deleted.sweep() == 0
    services.clock.now_s += gone.timeout_s + AFTER_S
    assert await deleted.sweep() == 250
    assert not (await services.table.query(f"FN#{gone.id}", begins="LOG#")).items
    assert len((await services.records.list(services.admin, stays.id, limit=100)).items) == 100
    assert await deleted.sweep() == 0


async def test_of_a_deleted_function_nothing_is_left(services: Services) -> None:
    """First all but the tombstone and what leads to it, so that a second delete is no error; then that, too. Whoever
    sweeps has heard nothing of the delete: it began later, or the delete was an earlier version's."""
    function, alias = await with_everything(services)
    before = {item.key.sk.partition("#")[0] for item in await left_of(services, function, alias)}
    assert before >= {"FN", "NAME", "EXTRAS", "STATUS", "VERSION", "VERSIONS", "ALIAS", "PROVISIONED"}
    assert before >= {"WORKSPACE", "FUNCTION", "LOG", "DEAD", "EVENTS"}
    neighbour, its_alias = await with_everything(services, "neighbour")
    neighbours = await left_of(services, neighbour, its_alias)
    await services.functions.delete(services.admin, function.id)
    deleted = tombstones(services)
    assert await deleted.sweep() == 0
    assert [item for item in await left_of(services, function) if item.key.sk.startswith("EVENTS#")]
    services.clock.now_s += function.timeout_s + AFTER_S
    assert await deleted.sweep() == 6
    ends_at_s = int(services.clock.now_s) + KEPT_S
    left = await left_of(services, function, alias)
    assert {item.key.sk for item in left} == {"WORKSPACE", "FUNCTION", f"FN#{function.id}"}
    assert {item.expires_at for item in left} == {ends_at_s}
    services.clock.now_s = ends_at_s - 1
    for sweep in (deleted.sweep, tombstones(services).sweep):  # what has an end keeps it
        assert await sweep() == 0
    assert await services.functions.delete(services.admin, function.id) is False
    assert await services.functions.delete_by_hash(services.admin, function.hash) is False
    services.clock.now_s = ends_at_s
    assert await left_of(services, function, alias) == []
    with pytest.raises(NotFound):
        await services.functions.delete(services.admin, function.id)
    assert await services.functions.delete(services.admin, neighbour.id) is True
    assert {item.key for item in neighbours} >= {item.key for item in await left_of(services, neighbour, its_alias)}


async def test_a_delete_that_was_cut_short_is_finished(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its versions and aliases go too, and no alias's URL leads anywhere."""
    function, alias = await with_everything(services)

    async def away(*_: object) -> None:
        raise Unavailable("the table is away")

    with monkeypatch.context() as patched:
        patched.setattr("lateen.services.functions.bury_versions", away)
        with pytest.raises(Unavailable):
            await services.functions.delete(services.admin, function.id)
    deleted = tombstones(services)
    await deleted.sweep()
    services.clock.now_s += function.timeout_s + AFTER_S
    await deleted.sweep()
    assert {item.key.sk for item in await left_of(services, function, alias)} == {
        "WORKSPACE", "FUNCTION", f"FN#{function.id}"
    }  # fmt: skip


async def test_what_was_not_heard_of_is_found_within_the_hour(services: Services) -> None:
    """Deletes of other processes, of which the word was lost."""
    deleted, function = tombstones(services), await made(services)
    await deleted.sweep()
    other = assemble(services.table, services.objects, RUNTIMES, clock=services.clock)
    await other.functions.delete(services.admin, function.id)
    services.clock.now_s += LOOK_EVERY_S - 1
    await deleted.sweep()
    assert not deleted._due_at_s
    services.clock.now_s += 1
    await deleted.sweep()
    services.clock.now_s += function.timeout_s + AFTER_S
    await deleted.sweep()
    assert None not in {item.expires_at for item in await left_of(services, function)}


async def test_one_that_can_not_be_read_keeps_nobody(services: Services) -> None:
    """What a newer version wrote, or something broke, is passed over."""
    broken, function = await made(services, "a"), await made(services, "b")
    for each in (broken, function):
        await services.functions.delete(services.admin, each.id)
    key = Key("WS#default", f"FN#{broken.id}")
    data = (await services.table.get(key)).data | {"code": "?"}
    await services.table.transact([Put(Item(key=key, data=data), expected=2)])
    deleted = tombstones(services)
    await deleted.sweep()
    services.clock.now_s += function.timeout_s + AFTER_S
    await deleted.sweep()
    assert (await services.table.get(key)).expires_at is None
    assert None not in {item.expires_at for item in await left_of(services, function)}


async def test_of_a_deleted_workspace_nothing_is_left(services: Services) -> None:
    """Its tombstone waits until its code and layers are gone, whose sweeps ask whose they are."""
    admin, clock = services.admin, services.clock
    team = await services.workspaces.create(admin, name="team")
    layer = package(CODE, file="python/shared.py").artifact
    await services.layers.publish(admin, team.id, NewLayer(name="shared", content=layer))
    functions = [await made(services, name, team.id) for name in ("a", "b")]
    stays = await made(services)
    await services.workspaces.delete(admin, team.id, force=True)
    deleted = tombstones(services)
    for _ in range(3):
        await deleted.sweep()
        clock.now_s += KEPT_S
    assert [item.key.sk for item in await items(services.table, BURIED)] == [f"WS#{team.id}"]
    await services.workspaces.delete(admin, team.id)
    assert await services.functions.sweep(older_than_s=OLD_S) == 4  # two packages and two sources
    assert await services.layers.sweep(older_than_s=OLD_S) == 1
    await deleted.sweep()
    assert await items(services.table, BURIED, f"WS#{team.id}", *(f"FN#{each.id}" for each in functions)) == []
    with pytest.raises(NotFound):
        await services.workspaces.delete(admin, team.id)
    assert (await services.functions.get(admin, stays.id)).function == stays
    assert (await services.workspaces.get(admin, "default")).id == "default"


async def test_a_workspace_s_tombstone_stays_a_while(services: Services) -> None:
    """Deleting it again is no error then, though it had nothing."""
    team = await services.workspaces.create(services.admin, name="team")
    await services.workspaces.delete(services.admin, team.id)
    for later_s in (0, KEPT_S - 1):
        services.clock.now_s += later_s
        await tombstones(services).sweep()
        await services.workspaces.delete(services.admin, team.id)
    services.clock.now_s += 1
    await tombstones(services).sweep()
    assert await items(services.table, BURIED, f"WS#{team.id}") == []


class Counting(InterposedTable):
    """Counts the items that it has given."""

    read = 0

    async def get(self, key: Key) -> Item:
        self.read += 1
        return await super().get(key)

    async def query(self, pk: str, **more: Any) -> Any:
        page = await super().query(pk, **more)
        self.read += len(page.items)
        return page


async def test_reserving_reads_no_deleted_functions(services: Services) -> None:
    """It costs what the living ones cost, and counts those only."""
    for number in range(20):
        gone = await made(services, f"gone{number}", reserved_concurrency=10)
        await services.functions.delete(services.admin, gone.id)
    first, second = [await made(services, name, reserved_concurrency=7) for name in ("first", "second")]
    counting = Counting(services.table)
    assert await reserved_by_others(counting, first) == 7
    assert counting.read == 4
    await services.functions.update(services.admin, second.id, FunctionChange(name="third"))
    assert await reserved_by_others(counting, first) == 7
