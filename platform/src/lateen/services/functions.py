"""Functions: desired state, and the status that the controller reports. They are two items."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress

import msgspec
from msgspec import UNSET

from lateen.domain.access import PLATFORM, Caller
from lateen.domain.errors import AlreadyExists, Conflict, NotFound, RevisionMismatch, Unavailable
from lateen.domain.functions import LATEST, Described, Function, status_shown
from lateen.domain.images import ImagePolicy
from lateen.domain.master import MasterKey
from lateen.domain.names import is_hash, is_id
from lateen.domain.pages import DEFAULT_LIMIT, Page
from lateen.domain.times import iso_ms
from lateen.ports.deployer import Deployment, NotRunning, Observation
from lateen.ports.objects import ObjectNotFound, Objects
from lateen.ports.table import Delete, Item, ItemNotFound, Key, Operation, Put, RevisionConflict, Table
from lateen.services.artifacts import Artifacts
from lateen.services.builds import Artifact, Builds
from lateen.services.code_sources import CodeSources
from lateen.services.code_sweep import CodeSweep
from lateen.services.cursors import Cursors, check_limit
from lateen.services.deployments import deployment_of
from lateen.services.function_counts import FunctionCounts
from lateen.services.function_drafts import NO_IMAGES, Drafts, FunctionChange, NewFunction
from lateen.services.function_extras import extras_key, extras_of
from lateen.services.function_items import (
    FUNCTION_PREFIX,
    NAME_PREFIX,
    find_function,
    function_from,
    function_key,
    hash_key,
    id_key,
    item_of,
    live_function,
    name_item,
    name_key,
    pointer_item,
    status_key,
)
from lateen.services.idempotency import Idempotency, Once
from lateen.services.layer_items import Used, layers_used
from lateen.services.packages import Package
from lateen.services.reserved import check_reserved
from lateen.services.runtimes import Runtimes
from lateen.services.statuses import Statuses
from lateen.services.tenants import ATTEMPTS, BUSY, INDEX, check_open, partition, read_workspace
from lateen.services.unreadable import passed_over
from lateen.services.version_items import bury_versions, first_version, layers_published, read_version
from lateen.services.wanted_versions import Wanted, functions_with_wanted, wanted_versions

log = logging.getLogger(__name__)

__all__ = ["FunctionChange", "Functions", "NewFunction"]

_LOOKS = 16
"""At a time, at functions that another process has changed."""


class Functions:
    def __init__(
        self,
        table: Table,
        objects: Objects,
        *,
        runtimes: Runtimes,
        master: MasterKey,
        cursors: Cursors,
        sources: CodeSources,
        builds: Builds | None = None,
        images: ImagePolicy = NO_IMAGES,
        most: int | None = None,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Args:
        builds: None: no code is built, whatever is in it.
        images: those that may be named in the place of code.
        most: functions that a workspace may have; None: any number.
        """
        self._table = table
        self._artifacts = Artifacts(objects)
        self.images = images
        self._drafts = Drafts(runtimes, self._artifacts, sources=sources, builds=builds, images=images, now=now)
        self._statuses = Statuses(table, now=now)
        self._sweep = CodeSweep(table, objects, statuses=self._statuses, now=now)
        self._counts = FunctionCounts(table, most=most, monotonic=monotonic)
        self._builds = builds
        self._master = master
        self._cursors = cursors
        self._now = now
        self._idempotency = Idempotency(table, now=now)
        self._listeners: list[Callable[[Function], None]] = []

    def subscribe(self, listener: Callable[[Function], None]) -> None:
        """Be told of every create, update and delete (`deleted_at` is set) of this process, after it is stored, and of
        those of other processes that `look_at` is told of. Called in the event loop; must not block or raise."""
        self._listeners.append(listener)

    def tell(self, function: Function) -> None:
        """Listeners, of what changed beside the function: its versions or aliases."""
        for listener in self._listeners:
            listener(function)

    async def look_at(self, function_ids: Sequence[str]) -> None:
        """Tell listeners of these functions, which another process has changed, as they are now."""
        gate = asyncio.Semaphore(_LOOKS)

        async def look(function_id: str) -> None:
            async with gate:
                try:
                    found = await find_function(self._table, PLATFORM, id_key(function_id), is_id(function_id))
                except NotFound:
                    return
                except Unavailable:
                    raise
                except Exception:  # one that can't be read must not keep others from being seen
                    log.exception("function can't be read", extra={"function": function_id})
                    return
                self.tell(found)

        await asyncio.gather(*(look(function_id) for function_id in function_ids))

    async def create(
        self, caller: Caller, workspace_id: str, new: NewFunction, *, once: Once | None = None
    ) -> Described:
        """Raises: `NotFound` (workspace), `InvalidInput`, `TooLarge`, `AlreadyExists`, `Conflict`; of code in a bucket
        also `Forbidden`, `Unavailable`."""
        workspace = await read_workspace(self._table, caller, workspace_id)
        if (made := await self._made(caller, once)) is not None:
            return made
        await self._counts.check_room(workspace.id)
        used = await layers_used(self._table, workspace.id, workspace.account_id, new.layers)
        function, package = await self._drafts.first(workspace, new, used.layers)
        await check_reserved(self._table, function)
        if await self._is_taken(workspace.id, new.name):  # before the code is stored for nothing
            if (made := await self._made(caller, once)) is not None:
                return made
            raise _taken(new.name)
        if package is not None:
            await self._artifacts.store(function.code, package)
        stored = msgspec.structs.replace(function, revision=1)
        for _ in range(ATTEMPTS):
            try:
                await self._table.transact(
                    [
                        *self._idempotency.record(caller, once, msgspec.to_builtins(stored)),
                        check_open(workspace),
                        *used.checks,
                        Put(name_item(function), expected=None),
                        Put(item_of(function), expected=None),
                        *extras_of(function, new.tags),
                        Put(pointer_item(id_key(function.id), function), expected=None),
                        Put(pointer_item(hash_key(function.hash), function), expected=None),
                        *(first_version(stored) if new.publish else ()),
                    ]
                )
            except RevisionConflict as exc:
                if (made := await self._made(caller, once)) is not None:
                    return made
                if exc.key == name_key(workspace.id, function.name):
                    raise _taken(function.name) from exc
                workspace = await read_workspace(self._table, caller, workspace_id)
                used = await layers_used(self._table, workspace.id, workspace.account_id, new.layers)
                continue
            self._counts.made(workspace.id)
            self.tell(stored)
            return Described(stored, status_shown(stored, None))
        raise Conflict(BUSY)

    async def get(self, caller: Caller, function_id: str) -> Described:
        """Raises: `NotFound`."""
        return await self._statuses.described(await self._live(caller, id_key(function_id), is_id(function_id)))

    async def by_name(self, caller: Caller, workspace_id: str, name: str) -> Described:
        """Raises: `NotFound`."""
        caller.must_see(workspace_id, "function")
        return await self._statuses.described(
            await self._live(caller, name_key(workspace_id, name), is_id(workspace_id))
        )

    async def by_hash(self, caller: Caller, function_hash: str) -> Described:
        """Raises: `NotFound`."""
        return await self._statuses.described(await self._live(caller, hash_key(function_hash), is_hash(function_hash)))

    async def list(
        self,
        caller: Caller,
        workspace_id: str,
        *,
        name: str | None = None,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
    ) -> Page[Described]:
        """By name. `name`: the one of this name, if there is one. Raises: `NotFound` (workspace), `InvalidInput`."""
        check_limit(limit)
        listing = f"functions/{workspace_id}"
        after = self._cursors.open(listing, cursor)
        await read_workspace(self._table, caller, workspace_id)
        if name is not None:
            try:
                return Page([await self.by_name(caller, workspace_id, name)])
            except NotFound:
                return Page([])
        # By the names and not by the functions' items: of those the deleted ones are still there.
        page = await self._table.query(partition(workspace_id), begins=NAME_PREFIX, after=after, limit=limit)
        functions = await asyncio.gather(*(self._behind(item) for item in page.items))
        described = await asyncio.gather(*(self._statuses.described(f) for f in functions if f is not None))
        return Page(described, self._cursors.seal(listing, page.next) if page.next else None)

    def cursor_after(self, function: Function) -> str:
        """Where `list` goes on after this one."""
        return self._cursors.seal(
            f"functions/{function.workspace_id}", name_key(function.workspace_id, function.name).sk
        )

    async def source(self, caller: Caller, function_id: str) -> str | None:
        """The single source file as given; None: a zip was given. Raises: `NotFound`."""
        for _ in range(2):
            function = await self._live(caller, id_key(function_id), is_id(function_id))
            try:
                return await self._artifacts.source(function.code)
            except ObjectNotFound:  # changed and swept since the state was read
                continue
        raise Unavailable("the function's code is missing in the object store")

    async def update(
        self,
        caller: Caller,
        function_id: str,
        change: FunctionChange,
        *,
        expected: int | None = None,
        is_rehearsal: bool = False,
    ) -> Described:
        """Without `expected` updates that race apply one after the other; with it the later one is refused. What
        changes nothing keeps the revision.

        Args:
            expected: the revision that the caller knows (`If-Match`).
            is_rehearsal: the change is checked and not made; the answer shows the code that it would bring.
        Raises: `NotFound`, `InvalidInput`, `TooLarge`, `AlreadyExists`, `RevisionMismatch`; of code in a bucket also
            `Forbidden`, `Unavailable`.
        """
        packages: dict[str, Package] = {}
        for _ in range(ATTEMPTS):
            # From the reading on, so that updates of this process wait for each other instead of losing races.
            async with self._artifacts.changing(function_id):
                old = await self._live(caller, id_key(function_id), is_id(function_id))
                _check_expected(old, expected)
                used = await self._layers_after(old, change)
                new, package = await self._drafts.changed(old, change, packages, used.layers)
                if new == old:
                    return await self._statuses.described(old)
                if is_rehearsal:
                    now = await self._statuses.described(old)
                    return Described(msgspec.structs.replace(now.function, code=new.code), now.status)
                await check_reserved(self._table, new, before=old.reserved_concurrency)
                operations: list[Operation] = [Put(item_of(new), expected=old.revision), *used.checks]
                if package is not None:
                    operations.append(await self._sweep.guard(old))
                    await self._artifacts.store(new.code, package)
                if new.name != old.name:
                    operations += [Delete(name_key(old.workspace_id, old.name)), Put(name_item(new), expected=None)]
                try:
                    stored = await self._table.transact(operations)
                except RevisionConflict as exc:
                    if exc.key == name_key(new.workspace_id, new.name):
                        raise _taken(new.name) from exc
                    continue
            new = function_from(stored[0])
            self.tell(new)
            return await self._statuses.described(new)
        raise Conflict(BUSY)

    async def delete(self, caller: Caller, function_id: str, *, expected: int | None = None) -> bool:
        """Mark it deleted; its name is free at once. Again is no error: True if this call did it.

        Raises: `NotFound` if it never was, or so long ago that its tombstone is gone; `RevisionMismatch`.
        """
        return await self._delete(caller, id_key(function_id), is_id(function_id), expected)

    async def delete_by_hash(self, caller: Caller, function_hash: str) -> bool:
        """As `delete`."""
        return await self._delete(caller, hash_key(function_hash), is_hash(function_hash), None)

    async def exist_in(self, workspace_id: str) -> bool:
        """Whether the workspace has functions that are not deleted."""
        return bool((await self._table.query(partition(workspace_id), begins=NAME_PREFIX, limit=1)).items)

    async def delete_all(self, workspace_id: str) -> None:
        """All functions of a workspace that ends."""
        async for function in self._in_workspace(workspace_id):
            await self.delete(PLATFORM, function.id)

    def deployment_for(
        self, function: Function, artifact: Artifact | None = None, *, provisioned: int = 0
    ) -> Deployment:
        """What a deployer is told. `artifact`: what was built of its code, where that is built."""
        return deployment_of(function, master=self._master, artifact=artifact, provisioned=provisioned)

    async def with_artifact(self, deployment: Deployment) -> Deployment:
        """One that can be started, for one that may lack what has to be built. Raises: `NotRunning`, `NotFound`."""
        if deployment.artifact_key or deployment.image is not None or self._builds is None:
            return deployment
        described = await self._statuses.described(
            await self.version(PLATFORM, deployment.function_id, deployment.version)
        )
        artifact = await self._builds.artifact(deployment.workspace_id, described.function.code)
        if artifact is None:
            raise NotRunning(described.status.reason or "its code has yet to be built")
        return self.deployment_for(described.function, artifact)

    async def report(self, observation: Observation) -> None:
        """Store what became of a revision. Reports about earlier revisions and deleted functions change nothing."""
        for _ in range(ATTEMPTS):
            try:
                function = await self._live(PLATFORM, id_key(observation.function_id), True)
                version = await read_version(self._table, function, observation.version)
                is_news = await self._statuses.store(version, observation)
            except RevisionConflict:
                continue
            except NotFound:
                return
            if is_news and observation.version != LATEST:
                self.tell(function)  # it decides where the calls of aliases go
            return
        raise Conflict(BUSY)

    async def all(self) -> AsyncIterator[Function]:
        """Every function of every workspace that is not deleted, but those that can't be read; for the controller."""
        async for workspace_id in self._workspaces():
            async for pointer in self._names_in(workspace_id):
                function = None
                with passed_over(log, "function", but=Unavailable, function=str(pointer.data.get("function_id"))):
                    function = await self._behind(pointer)
                if function is not None:
                    yield function

    async def settled_in(self, workspace_id: str) -> AsyncIterator[tuple[Function, bool]]:
        """Every function of the workspace that is not deleted, and whether its current revision runs."""
        async for function in self._in_workspace(workspace_id):
            yield function, await self._statuses.is_active(function)

    async def undeployed(self) -> AsyncIterator[Function]:
        """Those of which nothing was reported for their current revision."""
        async for function in self.all():
            is_due = False
            with passed_over(log, "status", but=Unavailable, function=function.id):
                is_due = await self._statuses.is_due(function)
            if is_due:
                yield function

    async def with_versions(self) -> AsyncIterator[Function]:
        """Those that have aliases, or versions that were asked for or are to be kept started, but those that can't be
        read; for the controller."""
        async for workspace_id in self._workspaces():
            for function_id in await self.ids_with_versions(workspace_id):
                function = None
                with passed_over(log, "function", but=Unavailable, function=function_id), suppress(NotFound):
                    function = await self._live(PLATFORM, id_key(function_id), True)
                if function is not None:
                    yield function

    async def ids_with_versions(self, workspace_id: str) -> set[str]:
        """As `with_versions`, of one workspace; some may be deleted."""
        return await functions_with_wanted(self._table, workspace_id)

    async def version(self, caller: Caller, function_id: str, version: str) -> Function:
        """As it would run now. Raises: `NotFound`."""
        function = await self._live(caller, id_key(function_id), is_id(function_id))
        return await read_version(self._table, function, version)

    async def versions_wanted(self, function: Function) -> dict[str, Wanted]:
        """By number, the published versions that shall run; for the controller."""
        return await wanted_versions(self._table, function)

    async def is_due(self, version: Function) -> bool:
        """Whether nothing was reported of it."""
        return await self._statuses.is_due(version)

    async def is_served(self, version: Function) -> bool:
        """Whether something of it was last said to serve calls."""
        return await self._statuses.is_served(version)

    async def forget_report(self, version: Function) -> None:
        """It does not run any more."""
        await self._statuses.forget(version)

    async def sweep(self, *, older_than_s: float = 3600) -> int:
        """Remove blobs that no function names. Returns: how many."""
        return await self._sweep.run(older_than_s=older_than_s)

    async def _layers_after(self, old: Function, change: FunctionChange) -> Used:
        if change.layers is UNSET:
            return Used(old.layers)
        return await layers_used(self._table, old.workspace_id, old.account_id, change.layers, had=old.layers)

    async def layers_of(self, workspace_id: str) -> set[str] | None:
        """Keys of the layers' zips that the workspace's functions, and their versions, have.

        None: that can't be said for now. An earlier revision of a function serves, and may have others.
        """
        # Versions twice: one may be made of a function, or a function of one, while the others are looked at.
        found = await layers_published(self._table, workspace_id)
        async for function in self._in_workspace(workspace_id):
            if not await self._statuses.is_active(function) and await self._statuses.is_served(function):
                return None
            found |= {layer.key for layer in function.layers}
        return found | await layers_published(self._table, workspace_id)

    async def _delete(self, caller: Caller, pointer: Key, is_wellformed: bool, expected: int | None) -> bool:
        for _ in range(ATTEMPTS):
            old = await find_function(self._table, caller, pointer, is_wellformed)
            if old.deleted_at is not None:
                await bury_versions(self._table, old)  # a delete may have been cut short
                return False
            _check_expected(old, expected)
            # The variables may be secrets; nothing needs them any more.
            buried = msgspec.structs.replace(
                old, description="", environment={}, layers=(), deleted_at=iso_ms(self._now())
            )
            try:
                await self._table.transact(
                    [
                        Put(item_of(buried), expected=old.revision),
                        Delete(name_key(old.workspace_id, old.name)),
                        Delete(status_key(old)),
                        Delete(extras_key(old)),
                    ]
                )
            except RevisionConflict:
                continue
            self.tell(msgspec.structs.replace(buried, revision=old.revision + 1))
            await bury_versions(self._table, old)
            return True
        raise Conflict(BUSY)

    async def _made(self, caller: Caller, once: Once | None) -> Described | None:
        """The answer to an earlier request with the same Idempotency-Key."""
        if (outcome := await self._idempotency.outcome(caller, once)) is None:
            return None
        function = msgspec.convert(outcome, Function)
        return Described(function, status_shown(function, None))

    async def _is_taken(self, workspace_id: str, name: str) -> bool:
        try:
            await self._table.get(name_key(workspace_id, name))
        except ItemNotFound:
            return False
        return True

    async def _live(self, caller: Caller, pointer: Key, is_wellformed: bool) -> Function:
        return await live_function(self._table, caller, pointer, is_wellformed)

    async def _behind(self, pointer: Item) -> Function | None:
        """As `_live`, for items of a listing: None for what was deleted since."""
        try:
            found = await self._table.get(function_key(pointer.data["workspace_id"], pointer.data["function_id"]))
        except ItemNotFound:
            return None
        function = function_from(found)
        return function if function.deleted_at is None else None

    async def _workspaces(self) -> AsyncIterator[str]:
        after = None
        while True:
            page = await self._table.query(INDEX, begins="WS#", after=after)
            for item in page.items:
                yield item.data["workspace_id"]
            if (after := page.next) is None:
                return

    async def _in_workspace(self, workspace_id: str) -> AsyncIterator[Function]:
        """All that are there from the beginning to the end. Not by their names, which change, and one would be missed
        that moves from the pages to come to those that were read."""
        after = None
        while True:
            page = await self._table.query(partition(workspace_id), begins=FUNCTION_PREFIX, after=after)
            for item in page.items:
                if (function := function_from(item)).deleted_at is None:
                    yield function
            if (after := page.next) is None:
                return

    async def _names_in(self, workspace_id: str) -> AsyncIterator[Item]:
        after = None
        while True:
            page = await self._table.query(partition(workspace_id), begins=NAME_PREFIX, after=after)
            for item in page.items:
                yield item
            if (after := page.next) is None:
                return


def _check_expected(function: Function, expected: int | None) -> None:
    if expected is not None and function.revision != expected:
        raise RevisionMismatch(f"the function is at revision {function.revision}, not {expected}")


def _taken(name: str) -> AlreadyExists:
    return AlreadyExists(f"a function named {name!r} exists in this workspace")
