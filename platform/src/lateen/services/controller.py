"""The controller: makes what runs match what the table says, and reports what became of it.

Level-triggered. A change is acted on at once, and every minute the whole table is compared with what was reported and
with what runs, so that a message that was lost, a crash, or a store that was away heals by itself. Functions that were
`Active` before a restart are left asleep, and their next call starts them; unless the deployer is one that keeps all
of them as they should be, and so has to be told of all.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from weakref import WeakValueDictionary

from msgspec import Struct

from lateen.domain.access import PLATFORM
from lateen.domain.errors import LateenError, NotFound
from lateen.domain.functions import LATEST, Function, State, deployment_id
from lateen.ports.deployer import Deployer, Observation
from lateen.ports.image_resolver import ImageFailed
from lateen.ports.places import Places
from lateen.services.building import Building
from lateen.services.builds import BuildFailed
from lateen.services.functions import Functions
from lateen.services.resolving import Resolving
from lateen.services.unreadable import passed_over
from lateen.services.version_runs import VersionRuns
from lateen.services.workspaces import Workspaces

log = logging.getLogger(__name__)

EVERY_S = 60.0
FIRST_RETRY_S = 1.0
LAST_RETRY_S = 600.0
STORE_RETRY_S = 1.0
LOOKS = 16
"""At a time, at which versions of a function are wanted."""


class _Retry(Struct):
    """When a failed deployment's next attempt is due, on the loop's clock."""

    function_id: str
    version: str
    revision: int
    wait_s: float
    at_s: float


class Controller:
    """`run` until cancelled."""

    def __init__(
        self,
        *,
        functions: Functions,
        deployer: Deployer,
        workspaces: Workspaces | None = None,
        places: Places | None = None,
        building: Building | None = None,
        resolving: Resolving | None = None,
        every_s: float = EVERY_S,
    ) -> None:
        """Args:
        building: for functions whose code has to be built.
        places: where workspaces' functions run, if that is for the controller to look after. `workspaces` are needed
            then, and the deployer is told of each function in each comparison.
        resolving: for functions whose package is an image.
        """
        self._functions = functions
        self._deployer = deployer
        self._workspaces = workspaces
        self._places = places
        self._building = building
        self._resolving = resolving
        self._settled: set[str] = set()
        self._every_s = every_s
        self._changed: dict[str, Function] = {}
        self._has_changed = asyncio.Event()
        self._gate = asyncio.Semaphore(LOOKS)
        self._versions = VersionRuns(
            functions=functions, deployer=deployer, deploy=self._deploy, keeps_all=places is not None
        )
        self._retries: dict[str, _Retry] = {}
        """By the deployment's id."""
        self._has_retries = asyncio.Event()
        self._held: dict[str, int] = {}
        """By the function's id: the revision of which the deployer knows what it reserves and whether it is open."""
        self._unreported: dict[str, Observation] = {}
        """By the deployment's id: the last that was observed, until it is stored."""
        self._reporting: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._report_at_s: float | None = None
        """When what could not be stored is tried again."""
        functions.subscribe(self._change)
        if building is not None:
            building.subscribe(self._built)
        if resolving is not None:
            resolving.subscribe(self._built)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for part in (self._follow_changes, self._follow_observations, self._compare_for_ever, self._retry_for_ever):
                tasks.create_task(_keep_going(part))

    def _change(self, function: Function) -> None:
        known = self._changed.get(function.id)
        if known is None or known.revision < function.revision:
            self._changed[function.id] = function
        self._has_changed.set()

    async def _follow_changes(self) -> None:
        while True:
            await self._has_changed.wait()
            self._has_changed.clear()
            changed, self._changed = self._changed, {}
            for function in changed.values():
                await self._deploy(function)
            # Behind all of them, for it takes reading.
            live = [function for function in changed.values() if function.deleted_at is None]
            try:
                live = await self._versions.concerned(live)
            except LateenError as exc:
                log.warning("versions not deployed", extra={"functions": len(live), "reason": str(exc)})
                continue
            await asyncio.gather(*(self._start_versions(function) for function in live))

    async def _follow_observations(self) -> None:
        async for observation in self._deployer.observations():
            self._note(observation)
            await self._report(observation)

    async def _compare_for_ever(self) -> None:
        while True:
            try:
                await self._compare()
            except LateenError as exc:
                log.warning("comparison put off", extra={"reason": str(exc)})
                await asyncio.sleep(STORE_RETRY_S)
            else:
                await asyncio.sleep(self._every_s)

    async def _compare(self) -> None:
        workspaces = await self._settle_all()
        seen: set[str] = set()
        async for function in self._functions.all() if self._places else self._functions.undeployed():
            seen.add(function.id)
            retry = self._retries.get(function.id)
            if retry is None or retry.revision < function.revision:
                await self._deploy(function)
        for function_id in await self._deployer.deployed():
            if function_id not in seen:
                await self._remove_if_deleted(function_id)
        await self._versions.compare(but=self._retries)
        await self._clear_others(workspaces)

    async def _settle_all(self) -> set[str]:
        """Returns: ids of all workspaces."""
        if self._places is None or self._workspaces is None:
            return set()
        quotas = {workspace.id: workspace.quota async for workspace in self._workspaces.all()}
        for workspace_id, quota in quotas.items():
            self._places.settle(workspace_id, quota)
        self._settled = set(quotas)
        return self._settled

    async def _settle(self, workspace_id: str) -> None:
        """A function of a workspace that was made since the last comparison must not run without its limits."""
        if self._places is None or self._workspaces is None or workspace_id in self._settled:
            return
        self._places.settle(workspace_id, (await self._workspaces.get(PLATFORM, workspace_id)).quota)
        self._settled.add(workspace_id)

    async def _clear_others(self, workspaces: set[str]) -> None:
        if self._places is None or self._workspaces is None:
            return
        for workspace_id in set(await self._places.places()) - workspaces:
            with passed_over(log, "workspace", workspace=workspace_id):  # it is there then, and its place stays
                try:
                    await self._workspaces.get(PLATFORM, workspace_id)
                except NotFound:
                    await self._places.clear(workspace_id)

    async def _retry_for_ever(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._has_retries.clear()
            due_at_s = [retry.at_s for retry in self._retries.values()]
            if self._report_at_s is not None:
                due_at_s.append(self._report_at_s)
            try:
                async with asyncio.timeout_at(min(due_at_s, default=None)):
                    await self._has_retries.wait()
            except TimeoutError:
                await self._retry(loop.time())

    async def _retry(self, now_s: float) -> None:
        if self._report_at_s is not None and self._report_at_s <= now_s:
            self._report_at_s = None
            for deployed in list(self._unreported):
                await self._report_last(deployed)
        for deployed, retry in list(self._retries.items()):
            if retry.at_s <= now_s:
                # Its outcome is observed later and sets the time anew; this is for the case that none comes.
                retry.at_s = now_s + self._every_s
                await self._again(deployed, retry)

    async def _built(self, function_id: str) -> None:
        """Or not: what one of its versions waited for is over."""
        try:
            function = (await self._functions.get(PLATFORM, function_id)).function
        except NotFound:
            return
        except LateenError as exc:
            log.warning("deployment put off", extra={"function": function_id, "reason": str(exc)})
            return
        await self._deploy(function)
        await self._start_versions(function)

    async def _again(self, deployed: str, retry: _Retry) -> None:
        try:
            function = await self._functions.version(PLATFORM, retry.function_id, retry.version)
            provisioned = 0
            if retry.version != LATEST:
                if (wanted := (await self._functions.versions_wanted(function)).get(retry.version)) is None:
                    self._retries.pop(deployed, None)
                    return
                provisioned = wanted.provisioned
        except NotFound:
            self._retries.pop(deployed, None)
        except LateenError as exc:
            log.warning("retry put off", extra={"function": retry.function_id, "reason": str(exc)})
        except Exception:
            log.exception("retry put off", extra={"function": retry.function_id})
        else:
            await self._deploy(function, provisioned)

    async def _start_versions(self, function: Function) -> None:
        try:
            async with self._gate:
                await self._versions.start(function, but=self._retries)
        except LateenError as exc:  # the next comparison starts them
            log.warning("versions not deployed", extra={"function": function.id, "reason": str(exc)})
        except Exception:  # one that can't be read must not keep others from being deployed
            log.exception("versions can't be read", extra={"function": function.id})

    async def _remove_if_deleted(self, function_id: str) -> None:
        with passed_over(log, "function", function=function_id):  # it is there then, and what runs of it stays
            try:
                await self._functions.get(PLATFORM, function_id)
            except NotFound:
                await self._deployer.remove(function_id)

    async def _deploy(self, function: Function, provisioned: int = 0) -> None:
        """Tell the deployer; a refusal is a failure like any other, and tried again later. `provisioned`: of a
        version, the environments that are kept started."""
        try:
            await self._tell(function, provisioned)
        except Exception as exc:
            if isinstance(exc, LateenError):
                log.warning("not deployed", extra={"function": function.id, "reason": str(exc)})
            else:  # a defect, or what can't be read; it must not keep others from being deployed
                log.exception("not deployed", extra={"function": function.id})
            if function.deleted_at is None:
                self._put_off(function.id, function.version, function.revision)

    async def _tell(self, function: Function, provisioned: int) -> None:
        try:
            if function.deleted_at is not None:
                self._retries.pop(function.id, None)
                self._held.pop(function.id, None)
                if self._building is not None:
                    self._building.forget(function.id)
                if self._resolving is not None:
                    self._resolving.forget(function.id)
                await self._deployer.remove(function.id)
                return
            if function.version == LATEST:
                # Also where its code can't be built: what runs of it has to be held back, and who may not call it any
                # more has to be kept out.
                self._hold(function)
            artifact = None
            if self._building is not None and function.code.build is not None:
                artifact = await self._building.artifact(function)
                if artifact is None:
                    await self._observe(function, "Pending", self._building.reason(function))
                    return
            await self._settle(function.workspace_id)
            deployed = function
            if self._resolving is not None and function.image is not None:
                found = await self._resolving.resolved(function)
                if found is None:
                    await self._observe(function, "Pending", "The image is being looked up.")
                    return
                deployed = found
            await self._deployer.apply(self._functions.deployment_for(deployed, artifact, provisioned=provisioned))
        except (BuildFailed, ImageFailed) as exc:
            await self._observe(function, "Failed", str(exc))

    def _hold(self, function: Function) -> None:
        """Who tells of a change may have read the function before a newer one was told of."""
        if function.revision >= self._held.get(function.id, 0):
            self._held[function.id] = function.revision
            self._deployer.hold(self._functions.deployment_for(function))

    async def _observe(self, function: Function, state: State, reason: str) -> None:
        """What is known before the deployer is told."""
        try:
            serves = await self._functions.is_served(function)
        except LateenError:
            serves = True  # calls may as well try
        observation = Observation(
            function_id=function.id,
            version=function.version,
            revision=function.revision,
            state=state,
            reason=reason,
            serves=serves,
        )
        self._note(observation)
        await self._report(observation)

    def _note(self, observation: Observation) -> None:
        if observation.state == "Failed":
            self._put_off(observation.function_id, observation.version, observation.revision)
        else:
            self._retries.pop(observation.id, None)

    def _put_off(self, function_id: str, version: str, revision: int) -> None:
        deployed = deployment_id(function_id, version)
        known = self._retries.get(deployed)
        wait_s = FIRST_RETRY_S if known is None or known.revision != revision else min(LAST_RETRY_S, known.wait_s * 2)
        at_s = asyncio.get_running_loop().time() + wait_s
        self._retries[deployed] = _Retry(function_id, version, revision, wait_s, at_s)
        self._has_retries.set()

    async def _report(self, observation: Observation) -> None:
        """Of several of one deployment that wait for the table, or are on their way there, the last is what stays."""
        self._unreported[observation.id] = observation
        await self._report_last(observation.id)

    async def _report_last(self, deployed: str) -> None:
        async with self._reporting.setdefault(deployed, asyncio.Lock()):
            if (observation := self._unreported.get(deployed)) is None:
                return
            try:
                await self._functions.report(observation)
            except LateenError as exc:
                log.warning("report put off", extra={"function": observation.function_id, "reason": str(exc)})
                self._report_later(STORE_RETRY_S)
            except Exception:  # one that can't be read must not keep others from being reported
                log.exception("report put off", extra={"function": observation.function_id})
                self._report_later(self._every_s)
            else:
                if self._unreported.get(deployed) is observation:
                    del self._unreported[deployed]

    def _report_later(self, wait_s: float) -> None:
        at_s = asyncio.get_running_loop().time() + wait_s
        self._report_at_s = at_s if self._report_at_s is None else min(self._report_at_s, at_s)
        self._has_retries.set()


async def _keep_going(part: Callable[[], Awaitable[None]]) -> None:
    """A defect, such as an item that can't be read, must not stop the whole controller."""
    while True:
        try:
            await part()
        except Exception:
            log.exception("controller failed and goes on")
        await asyncio.sleep(STORE_RETRY_S)
