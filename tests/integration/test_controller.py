"""The controller over the real table and a deployer that only notes what it is told."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lateen.domain.access import PLATFORM
from lateen.domain.functions import LATEST, Function, State, deployment_id, version_in
from lateen.domain.images import Image
from lateen.domain.versions import Target
from lateen.domain.workspaces import Quota
from lateen.ports.deployer import Deployment, Endpoint, NotRunning, Observation
from lateen.ports.image_resolver import ImageFailed
from lateen.ports.table import Item, Key, Put, TableUnavailable
from lateen.services import controller as controller_module
from lateen.services.controller import Controller
from lateen.services.function_items import function_key, status_key
from lateen.services.functions import NewFunction
from lateen.services.tenants import workspace_key
from lateen.services.version_items import alias_key
from lateen.services.workspaces import WorkspaceChange


class NotingDeployer:
    """A `Deployer` that runs nothing."""

    def __init__(self) -> None:
        self.applied: list[Deployment] = []
        self.removed: list[str] = []
        self.reserved: dict[str, int | None] = {}
        self.told_open: list[bool] = []
        self.asked = 0
        self.running: set[str] = set()
        self.news: asyncio.Queue[Observation] = asyncio.Queue()
        self.refusal: NotRunning | None = None

    async def apply(self, deployment: Deployment) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.applied.append(deployment)
        self.running.add(deployment.id)

    def hold(self, deployment: Deployment) -> None:
        self.reserved[deployment.function_id] = deployment.reserved
        self.told_open.append(deployment.open)

    async def remove(self, function_id: str, version: str | None = None) -> None:
        gone = deployment_id(function_id, version or LATEST)
        self.removed.append(gone)
        self.running = {each for each in self.running if each != gone and (version or version_in(each)[0] != gone)}

    async def deployed(self) -> Collection[str]:
        self.asked += 1
        return {version_in(each)[0] for each in self.running}

    async def deployed_versions(self) -> Collection[tuple[str, str]]:
        return [each for each in map(version_in, self.running) if each[1] != LATEST]

    async def observations(self) -> AsyncIterator[Observation]:
        while True:
            batch = [await self.news.get()]
            while not self.news.empty():
                batch.append(self.news.get_nowait())
            for observation in batch:
                yield observation

    async def endpoint(self, deployment: Deployment) -> Endpoint:
        raise NotRunning("this runs nothing")

    def observe(self, function: Function, state: State, reason: str | None = None) -> None:
        self.news.put_nowait(
            Observation(
                function_id=function.id,
                version=function.version,
                revision=function.revision,
                state=state,
                reason=reason,
            )
        )


class Setting:
    def __init__(self, stores: Any) -> None:
        self.stores = stores
        self.deployer = NotingDeployer()
        self.controller = Controller(functions=stores.functions, deployer=self.deployer, every_s=0.2)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self.controller.run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def create(self) -> Function:
        function: Function = await self.stores.create("def handler(e, c):\n    return 1\n")
        return function


@pytest.fixture
async def setting(start_stores: Any, tmp_path: Path) -> AsyncIterator[Setting]:
    setting = Setting(await start_stores(tmp_path / "data"))
    yield setting
    await setting.stop()


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_change_is_deployed_at_once(setting: Setting) -> None:
    """Create, update and delete reach the deployer without waiting for a round."""
    setting.controller._every_s = 60
    setting.start()
    await asyncio.sleep(0.05)
    function = await setting.create()
    await until(lambda: [d.revision for d in setting.deployer.applied] == [1])
    await setting.stores.update(function, timeout_s=9)
    await until(lambda: [d.revision for d in setting.deployer.applied] == [1, 2])
    assert setting.deployer.applied[-1].timeout_s == 9
    await setting.stores.functions.delete(PLATFORM, function.id)
    await until(lambda: setting.deployer.removed == [function.id])


async def test_an_old_reading_changes_no_reservation(setting: Setting) -> None:
    """Who tells of a function may have read it before somebody reserved."""
    setting.start()
    old = await setting.create()
    await setting.stores.update(old, reserved_concurrency=0)
    await until(lambda: setting.deployer.reserved[old.id] == 0)
    setting.stores.functions.tell(old)
    await until(lambda: not setting.controller._changed)
    await asyncio.sleep(0.05)
    assert setting.deployer.reserved[old.id] == 0
    await setting.stores.update(old, reserved_concurrency=None)
    await until(lambda: setting.deployer.reserved[old.id] is None)


async def test_what_became_of_it_is_reported(setting: Setting) -> None:
    """The deployer's observation is what people read as the function's state; one of an old revision is not."""
    setting.start()
    function = await setting.create()
    assert (await setting.stores.state(function))[0] == "Pending"
    setting.deployer.observe(function, "Failed", "no room")
    await setting.stores.settled(function, "Failed")
    assert await setting.stores.state(function) == ("Failed", "no room")
    setting.deployer.observe(function, "Active")
    assert await setting.stores.settled(function) is None
    newer = await setting.stores.update(function, timeout_s=9)
    setting.deployer.observe(function, "Failed", "an old story")
    await asyncio.sleep(0.1)
    assert (await setting.stores.state(newer))[0] == "Pending"


async def test_a_start_deploys_what_is_pending_and_lets_the_rest_sleep(setting: Setting) -> None:
    """After a restart a function that was Active costs nothing until it is called."""
    active, pending = await setting.create(), await setting.stores.create("def handler(e, c): 1\n", name="g")
    await setting.stores.functions.report(Observation(function_id=active.id, revision=1, state="Active"))
    setting.deployer.applied.clear()
    setting.controller = Controller(functions=setting.stores.functions, deployer=setting.deployer, every_s=0.2)
    setting.start()
    await until(lambda: setting.deployer.applied)
    await asyncio.sleep(0.5)
    assert {deployment.function_id for deployment in setting.deployer.applied} == {pending.id}


async def test_what_runs_and_should_not_is_removed(setting: Setting) -> None:
    """A delete whose message was lost heals by comparison."""
    function = await setting.create()
    setting.deployer.running |= {function.id, "nobody-knows-it"}
    setting.start()
    await until(lambda: setting.deployer.removed == ["nobody-knows-it"])
    assert function.id in setting.deployer.running


async def test_a_failure_is_tried_again_ever_more_rarely(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no more often because of the rounds; a change of the function is tried at once."""
    monkeypatch.setattr(controller_module, "FIRST_RETRY_S", 0.1)
    setting.start()
    function = await setting.create()
    await until(lambda: setting.deployer.applied)
    times = []
    for count in range(2, 6):
        setting.deployer.observe(function, "Failed", "no room")
        await until(lambda count=count: len(setting.deployer.applied) == count)
        times.append(asyncio.get_running_loop().time())
    waits = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert waits[0] == pytest.approx(0.2, abs=0.1)
    assert waits[1] == pytest.approx(0.4, abs=0.1)
    assert waits[2] == pytest.approx(0.8, abs=0.15)
    setting.deployer.observe(function, "Failed", "no room")
    await asyncio.sleep(0.05)
    began = asyncio.get_running_loop().time()
    await setting.stores.update(function, timeout_s=9)
    await until(lambda: setting.deployer.applied[-1].revision == 2)
    assert asyncio.get_running_loop().time() - began < 0.2


async def test_a_store_that_is_away_delays_a_report_and_loses_none(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last observation is made again until it is stored."""
    monkeypatch.setattr(controller_module, "STORE_RETRY_S", 0.05)
    setting.start()
    function = await setting.create()
    report = setting.stores.functions.report
    attempts = 0

    async def away(observation: Observation) -> None:
        nonlocal attempts
        attempts += 1
        raise TableUnavailable("the store does not answer")

    monkeypatch.setattr(setting.stores.functions, "report", away)
    setting.deployer.observe(function, "Failed", "no room")
    await until(lambda: attempts >= 3)
    setting.deployer.observe(function, "Active")
    await asyncio.sleep(0.2)
    assert attempts < 15, "a store that is away is not hammered"
    monkeypatch.setattr(setting.stores.functions, "report", report)
    assert await setting.stores.settled(function) is None


async def test_a_deployer_that_refuses_is_asked_again(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal stops neither the controller nor the function's later success."""
    monkeypatch.setattr(controller_module, "FIRST_RETRY_S", 0.1)
    setting.deployer.refusal = NotRunning("not now")
    setting.start()
    function = await setting.create()
    await asyncio.sleep(0.05)
    setting.deployer.refusal = None
    await until(lambda: [d.function_id for d in setting.deployer.applied][:1] == [function.id])


async def test_who_may_not_call_is_kept_out_though_nothing_can_be_deployed(setting: Setting) -> None:
    """A function that is closed does not wait for what its code waits for."""

    class NoCode:
        async def resolved(self, function: Function) -> Function:
            raise ImageFailed("no such image")

        def subscribe(self, listener: Any) -> None: ...

    no_code: Any = NoCode()
    function = await setting.create()
    opened = await setting.stores.update(function, auth="none")
    imaged = msgspec.structs.replace(opened, image=Image(uri="r.example/a:1"))
    setting.controller = Controller(functions=setting.stores.functions, deployer=setting.deployer, resolving=no_code)
    await setting.controller._deploy(imaged)
    await setting.controller._deploy(msgspec.structs.replace(imaged, auth="key", revision=imaged.revision + 1))
    assert setting.deployer.told_open == [True, False]
    assert setting.deployer.applied == []


async def spoil(setting: Setting, key: Key, **values: Any) -> Item:
    """Returns: as it was."""
    item: Item = await setting.stores.table.get(key)
    await setting.stores.table.transact([Put(Item(key=key, data={**item.data, **values}), expected=item.revision)])
    return item


@pytest.mark.parametrize("keeps_all", [True, False])
async def test_what_cannot_be_read_keeps_no_other_waiting(
    setting: Setting, keeps_all: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a function, of what it wants of its versions, of a workspace: the rest is seen to, and what runs stays."""
    monkeypatch.setattr(controller_module, "STORE_RETRY_S", 60)
    if keeps_all:
        deployer = NotingPlaces()
        setting.deployer = deployer
        setting.controller = Controller(
            functions=setting.stores.functions,
            deployer=deployer,
            workspaces=setting.stores.workspaces,
            places=deployer,
            every_s=0.2,
        )
    functions = [await setting.stores.create("def handler(e, c): 1\n", name=f"f{n}") for n in range(5)]
    for function in functions:
        await setting.stores.versions.publish(PLATFORM, function.id)
        await setting.stores.aliases.create(PLATFORM, function.id, "live", Target("1"))
        setting.deployer.running.add(deployment_id(function.id, "1"))
    unread, unread_alias, unread_status, *others = functions
    await spoil(setting, function_key("default", unread.id), timeout_s="long")
    await spoil(setting, alias_key("default", unread_alias.id, "live"), target=[])
    await setting.stores.functions.report(Observation(function_id=unread_status.id, revision=1, state="Pending"))
    await spoil(setting, status_key(unread_status), revision="one")
    away = await setting.stores.workspaces.create(PLATFORM, name="team")
    await spoil(setting, workspace_key(away.id), name=7)
    setting.controller._changed.clear()
    setting.deployer.running |= {*(function.id for function in functions), "nobody-knows-it"}
    setting.start()
    await until(lambda: "nobody-knows-it" in setting.deployer.removed)
    wanted = {deployment_id(each.id, version) for each in others for version in (LATEST, "1")}
    await until(lambda: wanted <= {each.id for each in setting.deployer.applied})
    rounds = setting.deployer.asked
    await until(lambda: setting.deployer.asked > rounds + 2)
    assert set(setting.deployer.removed) == {"nobody-knows-it"}


async def test_a_report_that_cannot_be_made_keeps_no_other_waiting(setting: Setting) -> None:
    """And is made again."""
    first, second = await setting.create(), await setting.stores.create("def handler(e, c): 1\n", name="g")
    await setting.stores.functions.report(Observation(function_id=first.id, revision=1, state="Pending"))
    as_it_was = await spoil(setting, status_key(first), revision="one")
    setting.deployer.observe(first, "Active")
    setting.deployer.observe(second, "Active")
    setting.start()
    await setting.stores.settled(second)
    await spoil(setting, status_key(first), **as_it_was.data)
    await setting.stores.settled(first)


@pytest.mark.parametrize("away", [1, 2])
async def test_the_last_word_is_the_one_that_stays(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, away: int
) -> None:
    """What was said before it may be on its way to the table when it comes; also where neither gets there (2)."""
    monkeypatch.setattr(controller_module, "STORE_RETRY_S", 0.05)
    function = await setting.create()
    store = setting.stores.functions.report
    tried: list[State] = []
    stored: list[State] = []
    is_on_its_way, may_go_on, is_refused = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def report(observation: Observation) -> None:
        tried.append(observation.state)
        number = tried.count(observation.state)
        if observation.state == "Failed" and number == 2:
            is_on_its_way.set()
            await may_go_on.wait()
            is_refused.set()
        elif observation.state == "Active" and away == 2:
            await is_refused.wait()
        if number <= (away if observation.state == "Failed" else away - 1):
            raise TableUnavailable("the table is away")
        await store(observation)
        stored.append(observation.state)

    monkeypatch.setattr(setting.stores.functions, "report", report)
    setting.deployer.observe(function, "Failed", "no room")
    setting.start()
    await until(is_on_its_way.is_set)
    setting.deployer.observe(function, "Active")
    await asyncio.sleep(0.1)
    may_go_on.set()
    await until(lambda: len(stored) == 3 - away and not setting.controller._unreported)
    assert (await setting.stores.functions.get(PLATFORM, function.id)).status.state == "Active"


class NotingPlaces(NotingDeployer):
    """One that gives workspaces places of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []
        self.settled: dict[str, Quota] = {}
        self.cleared: list[str] = []

    def settle(self, workspace_id: str, quota: Quota) -> None:
        self.settled[workspace_id] = quota
        self.told.append(f"settle {workspace_id}")

    async def places(self) -> Collection[str]:
        return list(self.settled)

    async def clear(self, workspace_id: str) -> None:
        self.cleared.append(workspace_id)
        self.settled.pop(workspace_id, None)

    async def apply(self, deployment: Deployment) -> None:
        await super().apply(deployment)
        self.told.append(f"apply {deployment.workspace_id}")


@pytest.fixture
async def placed(setting: Setting) -> Setting:
    setting.deployer = NotingPlaces()
    setting.controller = Controller(
        functions=setting.stores.functions,
        deployer=setting.deployer,
        workspaces=setting.stores.workspaces,
        places=setting.deployer,
        every_s=0.2,
    )
    return setting


async def test_a_deployer_that_keeps_all_is_told_of_all(placed: Setting) -> None:
    """Also of what was Active long ago: what is not told to it can't be healed by it."""
    function = await placed.create()
    await placed.stores.functions.report(Observation(function_id=function.id, revision=1, state="Active"))
    placed.start()
    await until(lambda: len(placed.deployer.applied) >= 3)
    assert {deployment.function_id for deployment in placed.deployer.applied} == {function.id}
    assert placed.deployer.removed == []


async def test_no_function_runs_before_its_workspaces_limits_are_known(placed: Setting) -> None:
    """Of a workspace that was made since the last comparison, too; and later changes are told."""
    placed.controller._every_s = 60
    placed.start()
    deployer: Any = placed.deployer
    await until(lambda: "settle default" in deployer.told)
    workspace = await placed.stores.workspaces.create(PLATFORM, name="team", quota=Quota(pods=5))
    new = NewFunction(name="f", runtime="python3.12", code=b"def handler(e, c): 1\n")
    await placed.stores.functions.create(PLATFORM, workspace.id, new)
    await until(lambda: f"apply {workspace.id}" in deployer.told)
    mine = [each for each in deployer.told if workspace.id in each]
    assert mine == [f"settle {workspace.id}", f"apply {workspace.id}"]
    assert deployer.settled[workspace.id] == Quota(pods=5)


async def test_a_place_is_cleared_when_its_workspace_is_gone(placed: Setting) -> None:
    """And a changed quota is told with the next comparison."""
    workspace = await placed.stores.workspaces.create(PLATFORM, name="team")
    placed.start()
    deployer: Any = placed.deployer
    await until(lambda: workspace.id in deployer.settled)
    change = WorkspaceChange(quota=Quota(cpu="4"))
    await placed.stores.workspaces.update(PLATFORM, workspace.id, change)
    await until(lambda: deployer.settled[workspace.id] == Quota(cpu="4"))
    assert deployer.cleared == []
    await placed.stores.workspaces.delete(PLATFORM, workspace.id)
    await until(lambda: deployer.cleared)
    assert set(deployer.cleared) == {workspace.id}
