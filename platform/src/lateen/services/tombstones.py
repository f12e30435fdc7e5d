"""What deleted functions and workspaces leave behind, and when it goes.

A function's records, statistics, dead letters and settings for events go a little after it, for they may hold what its
owner wanted gone. Then its tombstone, and what leads to it, gets the time at which it expires. So a tombstone without
one is one of which something may be left, and a look at all of them finds what a crash, a restart or a lost message
passed over, and what an earlier version left.
"""

import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from msgspec.structs import replace

from lateen.domain.errors import Unavailable
from lateen.domain.functions import Function
from lateen.domain.times import unix_s
from lateen.ports.objects import Objects
from lateen.ports.table import QUERY_LIMIT, TRANSACTION_LIMIT, Delete, Item, ItemNotFound, Key, RevisionConflict, Table
from lateen.services.function_items import (
    FUNCTION_PREFIX,
    function_from,
    function_key,
    hash_key,
    id_key,
    pointer_item,
)
from lateen.services.functions import Functions
from lateen.services.tenants import BURIED, INDEX, partition, workspace_from, workspace_key
from lateen.services.unreadable import passed_over
from lateen.services.version_items import bury_versions

log = logging.getLogger(__name__)

AFTER_S = 120.0
"""After the function's last call. By then an invoker has handed over its last records; what comes later all the same
expires by its own time."""
LOOK_EVERY_S = 3600.0
KEPT_S = 7 * 24 * 3600
"""For a tombstone, so that whoever deletes again, a pipeline that is repeated after the weekend say, is told that it is
gone and not that it never was. Nothing else needs it so long. The controller takes away what runs of functions that it
doesn't find, tombstone or not. Routes may be stale for ten minutes, changes wait for an hour in their feed, creates are
remembered by their Idempotency-Key for a day; an event of no function ends. Code that nobody names is swept as long as
its workspace is known, so a workspace's tombstone waits for it. No id and no hash is drawn twice: they are random, of
85 and 128 bits."""


class Tombstones:
    """`sweep` is housekeeping's."""

    def __init__(
        self, table: Table, objects: Objects, *, functions: Functions, now: Callable[[], float] = time.time
    ) -> None:
        self._table = table
        self._objects = objects
        self._now = now
        self._due_at_s: dict[Key, float] = {}
        """Of deleted functions' items."""
        self._look_at_s = 0.0
        functions.subscribe(self._changed)

    def _changed(self, function: Function) -> None:
        if function.deleted_at is not None:
            # Its last call may still run for the whole timeout.
            due_at_s = self._now() + function.timeout_s + AFTER_S
            self._due_at_s.setdefault(function_key(function.workspace_id, function.id), due_at_s)

    async def sweep(self) -> int:
        """Remove what is due. Returns: how many items."""
        if self._look_at_s <= self._now():
            await self._look()
            self._look_at_s = self._now() + LOOK_EVERY_S
        removed = 0
        now_s = self._now()
        for key in [key for key, due_at_s in self._due_at_s.items() if due_at_s <= now_s]:
            with passed_over(log, "tombstone", but=Unavailable, function=key.sk):
                removed += await self._empty(key)
            del self._due_at_s[key]
        return removed

    async def _look(self) -> None:
        """Note the tombstones that have no end, and end workspaces that have nothing left."""
        async for item in self._items(INDEX, begins="WS#"):
            await self._look_into(item.data["workspace_id"])
        async for item in self._items(BURIED):
            workspace_id = item.data["workspace_id"]
            with passed_over(log, "workspace", but=Unavailable, workspace=workspace_id):
                if not await self._look_into(workspace_id) and await self._is_over(workspace_id):
                    await self._remove(partition(workspace_id))
                    await self._table.delete(item.key)

    async def _look_into(self, workspace_id: str) -> bool:
        """Returns: whether functions are there, deleted ones included."""
        has_some = False
        async for item in self._items(partition(workspace_id), begins=FUNCTION_PREFIX):
            has_some = True
            if item.data.get("deleted_at") is not None and item.expires_at is None:
                with passed_over(log, "tombstone", function=item.key.sk):
                    self._changed(function_from(item))
        return has_some

    async def _is_over(self, workspace_id: str) -> bool:
        try:
            workspace = workspace_from(await self._table.get(workspace_key(workspace_id)))
        except ItemNotFound:  # its removal was cut short
            return True
        if workspace.deleted_at is None or unix_s(workspace.deleted_at) + KEPT_S > self._now():
            return False
        async for _ in self._objects.list(f"{workspace_id}/"):
            return False
        return True

    async def _empty(self, key: Key) -> int:
        """Remove all of the function but its tombstone, and give that an end."""
        try:
            tombstone = await self._table.get(key)
        except ItemNotFound:
            return 0
        function = function_from(tombstone)
        if function.deleted_at is None or tombstone.expires_at is not None:
            return 0
        await bury_versions(self._table, function)  # the delete itself may have been cut short
        pointer = id_key(function.id)
        removed = await self._remove(pointer.pk, but=pointer)
        expires_at = int(self._now()) + KEPT_S
        # The tombstone last: it says that this was done.
        pointers = [pointer_item(each, function) for each in (pointer, hash_key(function.hash))]
        await self._table.write([replace(each, expires_at=expires_at) for each in pointers])
        with suppress(RevisionConflict):  # another process that led until now was faster
            await self._table.put(replace(tombstone, expires_at=expires_at), expected=tombstone.revision)
        return removed

    async def _remove(self, pk: str, *, but: Key | None = None) -> int:
        """All items of a partition. Returns: how many."""
        removed = 0
        after = None
        while True:
            page = await self._table.query(pk, after=after, limit=TRANSACTION_LIMIT)
            operations = [Delete(item.key) for item in page.items if item.key != but]
            await self._table.transact(operations)
            removed += len(operations)
            if (after := page.next) is None:
                return removed

    async def _items(self, pk: str, *, begins: str = "") -> AsyncIterator[Item]:
        after = None
        while True:
            page = await self._table.query(pk, begins=begins, after=after, limit=QUERY_LIMIT)
            for item in page.items:
                yield item
            if (after := page.next) is None:
                return
