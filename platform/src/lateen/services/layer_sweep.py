"""The sweep of layers' zips that nothing names any more: no version that is there, no function that had it before.

A zip lies under an id of its own publish (`{workspace}/layers/{id}/{sha256}.zip`), so one that nothing names is never
named again, and needs no guard against that. What may happen meanwhile is that a function takes a layer whose version
is being deleted: its transaction checks that the version is there, so whoever sees the version gone, and looks at the
functions then, sees the function that took it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from lateen.domain.access import PLATFORM
from lateen.domain.errors import NotFound, Unavailable
from lateen.ports.objects import Objects
from lateen.ports.table import Table
from lateen.services.layer_items import VERSION, version_from
from lateen.services.tenants import find_workspace, partition

OLDER_THAN_S = 3600.0
"""Younger ones may be on their way into a version."""
DELETE_S = 20.0
"""For one workspace's; what takes longer is left for the next sweep."""


class LayerSweep:
    def __init__(
        self,
        table: Table,
        objects: Objects,
        *,
        used: Callable[[str], Awaitable[set[str] | None]],
        now: Callable[[], float],
    ) -> None:
        """Args:
        used: keys of the zips that a workspace's functions, and their versions, have; None: that isn't known for now.
        """
        self._table = table
        self._objects = objects
        self._used = used
        self._now = now

    async def run(self, *, older_than_s: float = OLDER_THAN_S) -> int:
        """Returns: how many were removed."""
        swept = 0
        async for workspace_id, keys in self._old_blobs(self._now() - older_than_s):
            swept += await self._sweep(workspace_id, keys)
        return swept

    async def _old_blobs(self, modified_before_s: float) -> AsyncIterator[tuple[str, set[str]]]:
        """By workspace; the listing is ordered by key."""
        owner, keys = "", set[str]()
        async for blob in self._objects.list():
            parts = blob.key.split("/")
            if len(parts) != 4 or parts[1] != "layers" or blob.modified.timestamp() >= modified_before_s:
                continue
            if parts[0] != owner:
                if keys:
                    yield owner, keys
                owner, keys = parts[0], set()
            keys.add(blob.key)
        if keys:
            yield owner, keys

    async def _sweep(self, workspace_id: str, keys: set[str]) -> int:
        try:
            await find_workspace(self._table, PLATFORM, workspace_id)
        except NotFound:
            return 0  # somebody else's blobs stay
        unnamed = keys - await self._published(workspace_id)
        if unnamed:  # and only then are all functions looked at
            if (used := await self._used(workspace_id)) is None:
                return 0
            unnamed -= used
        try:
            async with asyncio.timeout(DELETE_S):
                for key in unnamed:
                    await self._objects.delete(key)
        except TimeoutError:
            raise Unavailable("the object store is slow in deleting") from None
        return len(unnamed)

    async def _published(self, workspace_id: str) -> set[str]:
        found: set[str] = set()
        after = None
        while True:
            page = await self._table.query(partition(workspace_id), begins=VERSION, after=after)
            found |= {version_from(item).key for item in page.items}
            if (after := page.next) is None:
                return found
