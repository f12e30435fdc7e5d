"""The sweep of code that no function names, made safe against an update that stores the same blob again at that moment.

Blobs are named by their content, so an update may bring back one that is about to be swept, in another process. Both
therefore meet in the table. Before the sweep touches a function's blobs it writes the function's *sweep item*, if the
function is still as it was read. An update reads the revision of that item before it stores a blob, and its transaction
checks that it is the same. So whichever is later loses: the sweep finds the function changed, or the update finds that
a sweep came between, stores the blob again and repeats its transaction.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import msgspec

from lateen.domain.access import PLATFORM
from lateen.domain.errors import NotFound, Unavailable
from lateen.domain.functions import Function
from lateen.domain.names import is_id
from lateen.ports.objects import Objects
from lateen.ports.table import Check, Item, ItemNotFound, Key, Put, RevisionConflict, Table
from lateen.services.function_items import function_from, function_key
from lateen.services.statuses import Statuses
from lateen.services.tenants import find_workspace, partition
from lateen.services.version_items import artifacts_named, bury_versions

DELETE_S = 20.0
"""For a function's blobs; what takes longer is left for the next sweep."""
HELD_S = 120
"""A sweep that began and did not say that it is over: by then nothing of it is on its way any more."""
KEPT_S = 24 * 3600
WAIT_S = 0.1
WAITS = 30


def sweep_key(workspace_id: str, function_id: str) -> Key:
    return Key(partition(workspace_id), f"SWEEP#{function_id}")


class CodeSweep:
    def __init__(self, table: Table, objects: Objects, *, statuses: Statuses, now: Callable[[], float]) -> None:
        self._table = table
        self._objects = objects
        self._statuses = statuses
        self._now = now

    async def guard(self, function: Function) -> Check:
        """For the transaction that names a blob; asked for before the blob is stored. Waits while a sweep runs.

        Raises: `Unavailable` if that takes too long.
        """
        key = sweep_key(function.workspace_id, function.id)
        for _ in range(WAITS):
            try:
                item = await self._table.get(key)
            except ItemNotFound:
                return Check(key, None)
            if item.data["until"] <= self._now():
                return Check(key, item.revision)
            await asyncio.sleep(WAIT_S)
        raise Unavailable("old code of this function is being removed; try again in a moment")

    async def run(self, *, older_than_s: float) -> int:
        """Remove blobs that no state names. Returns: how many.

        Args:
            older_than_s: younger ones may be on their way into a state.
        """
        swept = 0
        async for workspace_id, function_id, keys in self._old_blobs(self._now() - older_than_s):
            swept += await self._sweep(workspace_id, function_id, keys)
        return swept

    async def _old_blobs(self, modified_before_s: float) -> AsyncIterator[tuple[str, str, list[str]]]:
        """By function; the listing is ordered by key."""
        owner: tuple[str, str] | None = None
        keys: list[str] = []
        async for blob in self._objects.list():
            parts = blob.key.split("/")
            if len(parts) != 3 or blob.modified.timestamp() >= modified_before_s:
                continue
            if owner != (parts[0], parts[1]):
                if owner is not None:
                    yield *owner, keys
                owner, keys = (parts[0], parts[1]), []
            keys.append(blob.key)
        if owner is not None:
            yield *owner, keys

    async def _sweep(self, workspace_id: str, function_id: str, keys: Sequence[str]) -> int:
        try:
            function = function_from(await self._table.get(function_key(workspace_id, function_id)))
        except ItemNotFound:
            function = None  # its create failed, or its tombstone is gone; its id is never drawn again
        if function is None and not await self._is_ours(workspace_id, function_id):
            return 0
        if function is not None and function.deleted_at is not None:
            await bury_versions(self._table, function)  # the delete itself may have been cut short
        if function is None or function.deleted_at is not None:
            return await self._remove(keys)
        unnamed = [key for key in keys if key not in (function.code.artifact_key, function.code.source_key)]
        if unnamed:
            # Read after the function: a version of earlier code was published before the function had this one.
            named = await artifacts_named(self._table, function)
            unnamed = [key for key in unnamed if key not in named]
        # Until the new code runs, pods with the old one may have to fetch it once more.
        if not unnamed or not await self._statuses.is_active(function):
            return 0
        try:
            mark = await self._mark(function, until_s=self._now() + HELD_S)
        except RevisionConflict:
            return 0
        swept = await self._remove(unnamed)
        # Not said where that failed: a request that was given up may still be carried out by the store.
        await self._table.put(_item(mark.key, until_s=0, now_s=self._now()), expected=mark.revision)
        return swept

    async def _is_ours(self, workspace_id: str, function_id: str) -> bool:
        """Whether a function that isn't known may have been on its way here: somebody else's blobs stay."""
        try:
            await find_workspace(self._table, PLATFORM, workspace_id)
        except NotFound:
            return False
        return is_id(function_id)

    async def _mark(self, function: Function, *, until_s: float) -> Item:
        key = sweep_key(function.workspace_id, function.id)
        try:
            found = await self._table.get(key)
            revision: int | None = found.revision
            if found.data["until"] > self._now():
                raise RevisionConflict(key)
        except ItemNotFound:
            revision = None
        desired = function_key(function.workspace_id, function.id)
        stored = await self._table.transact(
            [
                Put(_item(key, until_s=until_s, now_s=self._now()), expected=revision),
                Check(desired, function.revision),
            ]
        )
        return stored[0]

    async def _remove(self, keys: Sequence[str]) -> int:
        try:
            async with asyncio.timeout(DELETE_S):
                for key in keys:
                    await self._objects.delete(key)
        except TimeoutError:
            raise Unavailable("the object store is slow in deleting") from None
        return len(keys)


def _item(key: Key, *, until_s: float, now_s: float) -> Item:
    return Item(key=key, data=msgspec.to_builtins({"until": int(until_s)}), expires_at=int(now_s) + KEPT_S)
