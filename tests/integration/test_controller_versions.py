"""Which versions a controller has run that keeps all as it should be: those that somebody needs, and no longer."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from lateen.adapters.sqlite import SqliteTable
from lateen.domain.access import PLATFORM
from lateen.domain.functions import Function
from lateen.domain.versions import Target
from lateen.services import controller as controller_module
from lateen.services import version_runs
from lateen.services.aliases import AliasChange
from lateen.services.controller import Controller
from lateen.services.wanted_versions import AGAIN_S, WANTED_S, Waking

from .test_controller import NotingPlaces

CODE = "def handler(event, context):\n    return {number}\n"


class Kept:
    """A controller whose deployer runs what it is told to and nothing else."""

    def __init__(self, stores: Any) -> None:
        self.stores = stores
        self.deployer = NotingPlaces()
        self.controller = Controller(
            functions=stores.functions,
            deployer=self.deployer,
            workspaces=stores.workspaces,
            places=self.deployer,
            every_s=0.1,
        )

    async def versions(self, count: int) -> Function:
        function: Function = await self.stores.create(CODE.format(number=0))
        for number in range(1, count + 1):
            await self.stores.update(function, code=CODE.format(number=number))
            await self.stores.versions.publish(PLATFORM, function.id)
        return function

    async def runs(self, function: Function, version: str) -> None:
        """What its deployer observes."""
        self.deployer.observe(await self.stores.functions.version(PLATFORM, function.id, version), "Active")

    async def running(self) -> set[str]:
        return {version for _, version in await self.deployer.deployed_versions()}

    async def until_running(self, *versions: str) -> None:
        async def are_those() -> bool:
            return await self.running() == set(versions)

        await eventually(are_those)


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await condition():
            await asyncio.sleep(0.02)


async def until(condition: Callable[[], object]) -> None:
    async def is_so() -> bool:
        return bool(condition())

    await eventually(is_so)


@pytest.fixture
async def kept(start_stores: Any, tmp_path: Path) -> AsyncIterator[Kept]:
    kept = Kept(await start_stores(tmp_path / "data"))
    task = asyncio.create_task(kept.controller.run())
    yield kept
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_an_alias_leads_to_runs(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """The version before goes on until the new one runs, then a little longer, and then it goes with its report:
    whoever calls it afterwards waits until it was started anew."""
    monkeypatch.setattr(version_runs, "LINGER_S", 0.5)
    function = await kept.versions(3)
    await until(lambda: kept.deployer.applied)
    assert await kept.running() == set()
    aliases = kept.stores.aliases
    await aliases.create(PLATFORM, function.id, "live", Target("1"))
    await kept.until_running("1")
    await kept.runs(function, "1")
    await aliases.update(PLATFORM, function.id, "live", AliasChange(version="2", weights={"3": 0.5}))
    await kept.until_running("1", "2", "3")
    await asyncio.sleep(1.0)
    assert await kept.running() == {"1", "2", "3"}
    for version in ("2", "3"):
        await kept.runs(function, version)
    await kept.until_running("2", "3")
    statuses = await kept.stores.table.query("WS#default", begins=f"STATUS#{function.id}-")
    assert [item.key.sk[-2:] for item in statuses.items] == ["-2", "-3"]
    await aliases.delete(PLATFORM, function.id, "live")
    await kept.until_running()


async def test_a_version_that_is_moved_back_to_never_went(kept: Kept) -> None:
    """What lingers is there at once."""
    function = await kept.versions(2)
    aliases = kept.stores.aliases
    await aliases.create(PLATFORM, function.id, "live", Target("1"))
    await kept.until_running("1")
    await kept.runs(function, "1")
    await aliases.update(PLATFORM, function.id, "live", AliasChange(version="2"))
    await kept.until_running("1", "2")
    await kept.runs(function, "2")

    async def is_moved() -> bool:
        return (await aliases.get(PLATFORM, function.id, "live")).status.state == "Active"

    await eventually(is_moved)
    await asyncio.sleep(0.5)
    assert kept.deployer.removed == []
    back = await aliases.update(PLATFORM, function.id, "live", AliasChange(version="1"))
    assert back.status.state == "Active"


async def test_a_deleted_version_stops(kept: Kept) -> None:
    """At the next comparison; one that goes with its function at once."""
    function = await kept.versions(2)
    kept.deployer.running |= {f"{function.id}-1", f"{function.id}-2"}
    await kept.stores.versions.delete(PLATFORM, function.id, "1")
    await kept.until_running("2")
    assert kept.deployer.removed == [f"{function.id}-1"]
    await kept.stores.functions.delete(PLATFORM, function.id)
    await kept.until_running()


async def test_what_is_kept_started_runs(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an alias or a call; the deployer is told of each change, also while the version has failed, and tries it
    again only later."""
    monkeypatch.setattr(version_runs, "LINGER_S", 0.0)
    monkeypatch.setattr(controller_module, "FIRST_RETRY_S", 1000.0)
    function = await kept.versions(1)
    provisioned = kept.stores.provisioned

    def told() -> list[int]:
        return [each.provisioned for each in kept.deployer.applied if each.version == "1"]

    await provisioned.put(function, "1", 3)
    await kept.until_running("1")
    assert set(told()) == {3}
    version = await kept.stores.functions.version(PLATFORM, function.id, "1")
    kept.deployer.observe(version, "Failed", "There is no room")
    await until(lambda: version.id + "-1" in kept.controller._retries)
    before = len(told())
    await provisioned.put(function, "1", 2)
    await until(lambda: 2 in told())
    assert told()[before:].count(2) == 1
    await provisioned.delete(function, "1")
    await kept.until_running()


async def test_who_calls_a_version_has_it_run(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """For as long as it is called; saying so costs one write a minute, behind the caller's back."""
    monkeypatch.setattr(version_runs, "LINGER_S", 0.0)
    function = await kept.versions(1)
    clock = {"now": 1000.0}
    told: list[str] = []

    def changed(function_id: str) -> None:
        told.append(function_id)
        kept.stores.functions.tell(function)

    waking = Waking(kept.stores.table, changed=changed, clock=lambda: clock["now"])
    deployment = kept.stores.functions.deployment_for(await kept.stores.functions.version(PLATFORM, function.id, "1"))
    for _ in range(50):
        waking.want(deployment)
    await kept.until_running("1")
    assert told == [function.id]
    clock["now"] += AGAIN_S
    waking.want(deployment)
    await until(lambda: len(told) == 2)
    # Long after the last call.
    long_ago = Waking(kept.stores.table, changed=changed, now=lambda: time.time() - 2 * WANTED_S)
    long_ago.want(deployment)
    await kept.until_running()


async def test_a_store_that_is_away_is_asked_again(sqlite_table: SqliteTable, kept: Kept) -> None:
    """A wish that was lost does not count as said."""
    function = await kept.versions(1)
    deployment = kept.stores.functions.deployment_for(await kept.stores.functions.version(PLATFORM, function.id, "1"))
    told: list[str] = []
    waking = Waking(sqlite_table, changed=told.append, clock=lambda: 0.0)
    await sqlite_table.close()
    waking.want(deployment)
    await asyncio.sleep(0.2)
    assert told == []
    waking._table = kept.stores.table
    waking.want(deployment)
    await until(lambda: told == [function.id])


async def test_many_that_change_at_once_are_not_read_one_by_one(kept: Kept) -> None:
    """Only those that have an alias, or a version that somebody wants, are looked at; of a few all are."""
    functions = [
        await kept.stores.create(CODE.format(number=0), name=f"m-{number}") for number in range(version_runs.MANY)
    ]
    versions = kept.controller._versions
    assert await versions.concerned(functions) == []
    assert await versions.concerned(functions[1:]) == functions[1:]
    await kept.stores.versions.publish(PLATFORM, functions[0].id)
    await kept.stores.aliases.create(PLATFORM, functions[0].id, "live", Target("1"))
    assert await versions.concerned(functions) == functions[:1]
    await kept.stores.versions.publish(PLATFORM, functions[2].id)
    await kept.stores.provisioned.put(functions[2], "1", 1)
    assert {function.id for function in await versions.concerned(functions)} == {functions[0].id, functions[2].id}
