"""The controller's part for published versions: has those run that are wanted, and in the end stops the others.

What a version is never changes, so there is nothing to be told of but whether it is wanted (`wanted_versions`). One
that isn't any more runs on for a while: other processes may know for some seconds only that it was.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from itertools import groupby
from operator import attrgetter

from lateen.domain.access import PLATFORM
from lateen.domain.errors import NotFound
from lateen.domain.functions import LATEST, Function, deployment_id
from lateen.ports.deployer import Deployer
from lateen.services.functions import Functions
from lateen.services.unreadable import passed_over

log = logging.getLogger(__name__)

LINGER_S = 120.0
"""Beyond what routes live elsewhere, and what an alias that is moved back takes."""
MANY = 4
"""Functions of a workspace, from which on it is cheaper to read what all of it has."""


class VersionRuns:
    def __init__(
        self,
        *,
        functions: Functions,
        deployer: Deployer,
        deploy: Callable[[Function, int], Awaitable[None]],
        keeps_all: bool,
    ) -> None:
        """Args:
        deploy: builds a version's code where that is due, and tells the deployer, also how many environments are kept.
        keeps_all: the deployer has to be told of all that shall run, and runs nothing unasked; else versions sleep
            and wake by themselves, as functions do.
        """
        self._functions = functions
        self._deployer = deployer
        self._deploy = deploy
        self._keeps_all = keeps_all
        self._unwanted_at_s: dict[str, float] = {}
        self._kept: dict[str, dict[str, int]] = {}
        """Environments that are kept started, by the function's id and the version's number."""

    async def concerned(self, functions: Sequence[Function]) -> list[Function]:
        """Those for which `start` may have something to do. Most have no versions, and to know that takes reading."""
        found: list[Function] = []
        in_workspace = attrgetter("workspace_id")
        for workspace_id, each in groupby(sorted(functions, key=in_workspace), in_workspace):
            group = list(each)
            if len(group) >= MANY:
                ids = self._kept.keys() | await self._functions.ids_with_versions(workspace_id)
                group = [function for function in group if function.id in ids]
            found += group
        return found

    async def start(self, function: Function, *, but: Collection[str] = ()) -> Collection[str]:
        """Have its wanted versions run. `but`: ids of deployments that are left for later. Returns: the numbers."""
        wanted = await self._functions.versions_wanted(function)
        known = self._kept.get(function.id, {})
        for number, each in wanted.items():
            deployed = deployment_id(function.id, number)
            self._unwanted_at_s.pop(deployed, None)
            is_changed = each.provisioned != known.get(number, 0)
            if (deployed not in but or is_changed) and (
                self._keeps_all or is_changed or each.provisioned or await self._functions.is_due(each.version)
            ):
                await self._deploy(each.version, each.provisioned)
        await self._let_sleep(function, known.keys() - wanted.keys())
        self._kept[function.id] = {number: each.provisioned for number, each in wanted.items() if each.provisioned}
        if not self._kept[function.id]:
            del self._kept[function.id]
        return wanted

    async def _let_sleep(self, function: Function, versions: Collection[str]) -> None:
        """Nothing of them is to be kept started any more."""
        if self._keeps_all:
            return  # they are stopped in the end
        for version in versions:
            try:
                await self._deploy(await self._functions.version(PLATFORM, function.id, version), 0)
            except NotFound:
                await self._deployer.remove(function.id, version)

    async def compare(self, *, but: Collection[str]) -> None:
        """All of them; `but` as in `start`."""
        wanted: set[str] = set()
        functions: set[str] = set()
        unread: set[str] = set()
        """What is wanted of them can't be read: what runs of them stays, and keeps nobody else waiting."""
        async for function in self._functions.with_versions():
            functions.add(function.id)
            unread.add(function.id)
            with passed_over(log, "versions", function=function.id):
                started = await self.start(function, but=but)
                wanted |= {deployment_id(function.id, version) for version in started}
                unread.remove(function.id)
        for function_id in self._kept.keys() - functions:
            unread.add(function_id)
            with passed_over(log, "versions", function=function_id):
                try:
                    await self.start(await self._functions.version(PLATFORM, function_id, LATEST), but=but)
                except NotFound:  # all of it goes
                    del self._kept[function_id]
                unread.remove(function_id)
        there = await self._deployer.deployed_versions()
        for function_id, version in there:
            if function_id not in unread and deployment_id(function_id, version) not in wanted:
                with passed_over(log, "versions", function=function_id):
                    await self._stop(function_id, version)
        known = {deployment_id(*each) for each in there}
        self._unwanted_at_s = {each: at_s for each, at_s in self._unwanted_at_s.items() if each in known}

    async def _stop(self, function_id: str, version: str) -> None:
        try:
            found = await self._functions.version(PLATFORM, function_id, version)
        except NotFound:
            await self._deployer.remove(function_id, version)
            return
        if not self._keeps_all:
            return
        now_s = asyncio.get_running_loop().time()
        since_s = self._unwanted_at_s.setdefault(deployment_id(function_id, version), now_s)
        if now_s - since_s >= LINGER_S:
            # First the report: whoever finds none looks for no name that is about to lead nowhere.
            await self._functions.forget_report(found)
            await self._deployer.remove(function_id, version)
