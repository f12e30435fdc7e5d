"""Routes of a process that makes no changes itself: how soon it sees those of others, and what that costs."""

from pathlib import Path
from typing import Any

import pytest

from lateen.adapters.sqlite import SqliteTable
from lateen.domain.errors import NotFound
from lateen.ports.table import Item, Key
from lateen.services import known
from lateen.services.functions import FunctionChange, NewFunction
from lateen.services.routes import Routes
from lateen.testing.assembled import MASTER, ManualClock, Services, assemble

RUNTIMES = Path(__file__).parents[2] / "runtimes"
HELLO = NewFunction(
    name="hello", runtime="python3.12", code=b"def handler(event, context): ...\n", environment={"TOKEN": "secret"}
)


class CountingTable:
    def __init__(self, table: SqliteTable) -> None:
        self._table = table
        self.reads: list[Key] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table, name)

    async def get(self, key: Key) -> Item:
        self.reads.append(key)
        return await self._table.get(key)


@pytest.fixture
async def services(sqlite_table: SqliteTable, file_objects: Any) -> Services:
    services = assemble(sqlite_table, file_objects, RUNTIMES, clock=ManualClock())
    await services.workspaces.ensure_default()
    return services


async def test_changes_of_others_are_seen_when_the_route_was_read_again(
    services: Services, sqlite_table: SqliteTable
) -> None:
    """By one read each time, for where a hash leads never changes; a deleted function is not found."""
    made = (await services.functions.create(services.admin, "default", HELLO)).function
    table, clock = CountingTable(sqlite_table), ManualClock()
    routes = Routes(table, master=MASTER, clock=clock)
    url_hash = made.hash.encode()
    assert (await routes.find(url_hash)).open
    assert len(table.reads) == 2
    await services.functions.update(services.admin, made.id, FunctionChange(auth="key"))
    assert (await routes.find(url_hash)).open
    clock.now_s += known.LIVES_S
    assert not (await routes.find(url_hash)).open
    assert len(table.reads) == 3
    await services.functions.delete(services.admin, made.id)
    clock.now_s += known.LIVES_S
    for _ in range(2):
        with pytest.raises(NotFound):
            await routes.find(url_hash)
    assert routes.now(url_hash) is None


async def test_who_starts_no_function_keeps_no_variables_of_it(services: Services, sqlite_table: SqliteTable) -> None:
    """They may be secrets, and the gateway has no use for them."""
    made = (await services.functions.create(services.admin, "default", HELLO)).function
    assert (await Routes(sqlite_table, master=MASTER).find(made.hash.encode())).environment == {}


@pytest.mark.parametrize("url_hash", [b"", b"0" * 32, b"\xff" * 32, b"../../../../etc/passwd"])
async def test_what_is_no_hash_is_not_found(services: Services, sqlite_table: SqliteTable, url_hash: bytes) -> None:
    """And is kept nowhere."""
    routes = Routes(sqlite_table, master=MASTER)
    with pytest.raises(NotFound):
        await routes.find(url_hash)
    assert len(routes.known) == 0
    assert routes._owners == {}
