"""What is remembered of functions that are called by name: for how long, and what that saves."""

import math
from typing import Any

import pytest
from tests.integration.test_routes import HELLO, RUNTIMES, CountingTable

from lateen.adapters.sqlite import SqliteTable
from lateen.domain.errors import InvalidInput, NotFound, Unavailable
from lateen.services import known
from lateen.services.aliases import AliasChange
from lateen.services.functions import FunctionChange
from lateen.services.invocables import Invocables
from lateen.testing.assembled import ManualClock, Services, assemble


@pytest.fixture
async def services(sqlite_table: SqliteTable, file_objects: Any) -> Services:
    services = assemble(sqlite_table, file_objects, RUNTIMES, clock=ManualClock())
    await services.workspaces.ensure_default()
    return services


@pytest.fixture
def table(sqlite_table: SqliteTable) -> CountingTable:
    return CountingTable(sqlite_table)


@pytest.fixture
def told(services: Services, table: CountingTable) -> Invocables:
    """Of a process that makes all changes itself."""
    invocables = Invocables(table, lives_s=math.inf, chance=lambda: 0.0)
    services.functions.subscribe(invocables.changed)
    return invocables


async def test_what_is_in_use_costs_no_reading(services: Services, told: Invocables, table: CountingTable) -> None:
    made = (await services.functions.create(services.admin, "default", HELLO)).function
    assert await told.find("default", "hello") == made
    read = len(table.reads)
    assert await told.find("default", "hello", "$LATEST") == made
    assert len(table.reads) == read


async def test_own_changes_are_seen_at_once(services: Services, told: Invocables) -> None:
    """A new revision, another name, its end, and another function of its name."""
    made = (await services.functions.create(services.admin, "default", HELLO)).function
    await told.find("default", "hello")
    await services.functions.update(services.admin, made.id, FunctionChange(timeout_s=9))
    assert (await told.find("default", "hello")).timeout_s == 9
    await services.functions.update(services.admin, made.id, FunctionChange(name="other"))
    assert (await told.find("default", "other")).id == made.id
    with pytest.raises(NotFound):
        await told.find("default", "hello")
    await services.functions.delete(services.admin, made.id)
    with pytest.raises(NotFound):
        await told.find("default", "other")
    again = (await services.functions.create(services.admin, "default", HELLO)).function
    assert (await told.find("default", "hello")).id == again.id != made.id


async def test_versions_and_aliases(services: Services, told: Invocables) -> None:
    """An alias leads where it was moved to, a removed one nowhere; what is no qualifier is refused."""
    made = (await services.functions.create(services.admin, "default", HELLO)).function
    await services.versions.publish(services.admin, made.id)
    await services.functions.update(services.admin, made.id, FunctionChange(timeout_s=9))
    await services.versions.publish(services.admin, made.id)
    assert [(await told.find("default", "hello", number)).timeout_s for number in ("1", "2")] == [3, 9]
    await services.aliases.put(services.admin, made.id, "live", AliasChange(version="1"))
    assert (await told.find("default", "hello", "live")).version == "1"
    await services.aliases.put(services.admin, made.id, "live", AliasChange(version="2", weights={"1": 0.5}))
    # Until 2 is said to run, calls go where they went.
    assert (await told.find("default", "hello", "live")).version == "1"
    await services.aliases.delete(services.admin, made.id, "live")
    for qualifier, refused in (("live", NotFound), ("3", NotFound), ("a b", InvalidInput)):
        with pytest.raises(refused):
            await told.find("default", "hello", qualifier)


async def test_another_process_sees_it_in_seconds(services: Services, table: CountingTable) -> None:
    """As routes do, and while the store is away for minutes."""
    made = (await services.functions.create(services.admin, "default", HELLO)).function
    clock = ManualClock()
    other = Invocables(table, clock=clock)
    await other.find("default", "hello")
    await services.functions.delete(services.admin, made.id)
    assert (await other.find("default", "hello")).id == made.id
    clock.now_s += known.LIVES_S
    with pytest.raises(NotFound):
        await other.find("default", "hello")


async def test_what_is_known_stays_while_the_store_is_away(
    services: Services, table: CountingTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = (await services.functions.create(services.admin, "default", HELLO)).function
    clock = ManualClock()
    other = Invocables(table, clock=clock)
    await other.find("default", "hello")

    async def away(key: object) -> None:
        raise Unavailable("away")

    monkeypatch.setattr(table, "get", away)
    clock.now_s += known.LIVES_S + 1
    assert (await other.find("default", "hello")).id == made.id
    with pytest.raises(Unavailable):
        await other.find("default", "another")


async def test_names_are_a_workspace_s_own(services: Services, told: Invocables) -> None:
    """What one knows is no answer to another, and nothing is looked up that can't be a workspace."""
    await services.functions.create(services.admin, "default", HELLO)
    await told.find("default", "hello")
    for workspace_id in ("other", "", "../default"):
        with pytest.raises(NotFound):
            await told.find(workspace_id, "hello")
