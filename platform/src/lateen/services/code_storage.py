"""`CodeStorage`: the bytes of code that a workspace keeps, and that they are no more than it may have.

Counted are packages as they were uploaded: of each function those that its draft and its versions name, one that
several name once, and all layer versions. The sum is an item, written by every change of what is named in that change's
own transaction. Whoever changes something reads this item first: so what is looked at behind that is still so when it
is stored, or the transaction loses, and two at once never have the same room.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any
from weakref import WeakValueDictionary

from msgspec import Struct

from lateen.domain.access import PLATFORM
from lateen.domain.errors import InvalidInput, Unavailable
from lateen.domain.functions import Code, Function
from lateen.domain.workspaces import Workspace, code_limit
from lateen.ports.table import Item, ItemNotFound, Key, Put, RevisionConflict, Table
from lateen.services.function_items import FUNCTION_PREFIX, id_key, live_function
from lateen.services.layer_items import VERSION as LAYER_VERSION
from lateen.services.tenants import INDEX, partition
from lateen.services.unreadable import passed_over
from lateen.services.version_items import items_of, versions_prefix

log = logging.getLogger(__name__)


class CodeStorageExceeded(InvalidInput):
    """What is stored and what is to be stored are together more than the workspace may keep."""


class Stored(Struct, frozen=True):
    """The sum, as it was read."""

    size: int
    revision: int | None


class CodeStorage:
    def __init__(self, table: Table) -> None:
        self._table = table
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def changing(self, workspace_id: str) -> asyncio.Lock:
        """Held from `read` to the end of the transaction, so that those of one process wait for each other instead of
        losing races."""
        return self._locks.setdefault(workspace_id, asyncio.Lock())

    async def read(self, workspace_id: str) -> Stored:
        """Counted, where nobody has yet."""
        try:
            item = await self._table.get(_key(workspace_id))
        except ItemNotFound:
            return Stored(await self._counted(workspace_id), None)
        return Stored(item.data["size"], item.revision)

    def changed(self, workspace_id: str, stored: Stored, change: int) -> Put:
        """For the transaction that has so many bytes more, or less; also where that is none."""
        return Put(_item(workspace_id, max(0, stored.size + change)), expected=stored.revision)

    async def replaced(self, old: Function, new: Code | None, workspace: Workspace | None) -> Put:
        """As `changed`, for what the function names after this; `new`: of its draft, None: neither that nor versions.

        Args:
            workspace: whose limit holds; None: nothing is added.
        Raises: `CodeStorageExceeded`.
        """
        stored = await self.read(old.workspace_id)
        published = dict((await self._published(old)).values())
        before = published | {old.code.artifact_key: old.code.size}
        after = {} if new is None else published | {new.artifact_key: new.size}
        change = sum(after.values()) - sum(before.values())
        if workspace is not None:
            check_room(workspace, stored, change, "code")
        return self.changed(old.workspace_id, stored, change)

    async def without(self, function: Function, version: str) -> Put:
        """As `changed`, for a published version that goes. Raises: `NotFound` (function)."""
        stored = await self.read(function.workspace_id)
        # As it is now: whoever gives it other code, or deletes it, has written the sum.
        draft = await live_function(self._table, PLATFORM, id_key(function.id), True)
        published = await self._published(function)
        key, size = published.pop(version, ("", 0))
        is_named = key in {draft.code.artifact_key, *(each for each, _ in published.values())}
        return self.changed(function.workspace_id, stored, 0 if is_named else -size)

    async def recount(self) -> int:
        """Count again what is there, for a process of an earlier version changes it without a word. Returns: how many
        sums were wrong."""
        wrong = 0
        async for workspace_id in self._workspaces():
            with passed_over(log, "stored code", but=Unavailable, workspace=workspace_id):
                wrong += await self._recount(workspace_id)
        return wrong

    async def _recount(self, workspace_id: str) -> int:
        stored = await self.read(workspace_id)
        if stored.revision is None:
            return 0  # it is counted when it is first asked for
        size = await self._counted(workspace_id)
        if size == stored.size:
            return 0
        try:
            await self._table.put(_item(workspace_id, size), expected=stored.revision)
        except RevisionConflict:  # something was changed meanwhile; the next time, then
            return 0
        log.warning("stored code was counted wrong", extra={"workspace": workspace_id, "by": stored.size - size})
        return 1

    async def _published(self, function: Function) -> dict[str, tuple[str, int]]:
        """What the function's published versions name, by number."""
        found = items_of(self._table, function.workspace_id, versions_prefix(function.id))
        return {item.data["function"]["version"]: _named(item.data["function"]) async for item in found}

    async def _counted(self, workspace_id: str) -> int:
        sizes: dict[str, int] = {}
        living: set[str] = set()
        # Not by their names: one that is given another meanwhile, which changes no sum, would be missed.
        async for item in items_of(self._table, workspace_id, FUNCTION_PREFIX):
            if item.data.get("deleted_at") is None:
                living.add(item.data["id"])
                sizes |= [_named(item.data)]
        async for item in items_of(self._table, workspace_id, "VERSION#"):
            if item.data["function"]["id"] in living:
                sizes |= [_named(item.data["function"])]
        layers: list[int] = [item.data["size"] async for item in items_of(self._table, workspace_id, LAYER_VERSION)]
        return sum(sizes.values()) + sum(layers)

    async def _workspaces(self) -> AsyncIterator[str]:
        after = None
        while True:
            page = await self._table.query(INDEX, begins="WS#", after=after)
            for item in page.items:
                yield item.data["workspace_id"]
            if (after := page.next) is None:
                return


def check_room(workspace: Workspace, stored: Stored, change: int, field: str) -> None:
    """Raises: `CodeStorageExceeded`."""
    limit = code_limit(workspace.quota)
    if change > 0 and stored.size + change > limit:
        raise CodeStorageExceeded(
            field,
            f"{change} bytes more than the {stored.size} that the workspace has stored are beyond its {limit} "
            "(quota.code); versions, functions and layers that nobody needs make room",
        )


def _named(function: Mapping[str, Any]) -> tuple[str, int]:
    """The key and the size of its package. Of an item as it is: what can't be read may be deleted all the same."""
    code = function["code"]
    return code["artifact_key"], code["size"]


def _key(workspace_id: str) -> Key:
    return Key(partition(workspace_id), "CODE-STORAGE")


def _item(workspace_id: str, size: int) -> Item:
    return Item(key=_key(workspace_id), data={"size": size})
