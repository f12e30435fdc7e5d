"""The sweep of builds that no function names any more, of their artifacts and of artifacts that no build names."""

import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable

from lateen.domain.functions import Code
from lateen.ports.objects import Objects, StoredObject
from lateen.ports.table import Item, RevisionConflict, Table
from lateen.services.builds import BUILDS_FOLDER, build_from, build_key
from lateen.services.functions import Functions
from lateen.services.tenants import partition
from lateen.services.version_items import draft_in, items_of
from lateen.services.workspaces import Workspaces

KEPT_S = 7 * 24 * 3600
"""Since it was last used; who sends code again that was built lately gets it at once."""
BLOB_KEPT_S = 24 * 3600
"""An artifact may be on its way into its build's item."""


class BuildSweep:
    def __init__(
        self,
        table: Table,
        objects: Objects,
        *,
        functions: Functions,
        workspaces: Workspaces,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._table = table
        self._objects = objects
        self._functions = functions
        self._workspaces = workspaces
        self._now = now

    async def run(self) -> int:
        """Returns: how many artifacts were removed."""
        # Also those without a blob: builds that failed left none.
        blobs: defaultdict[str, list[StoredObject]] = defaultdict(list)
        async for workspace in self._workspaces.all():
            blobs[workspace.id] = []
        async for blob in self._objects.list():
            workspace_id, _, rest = blob.key.partition("/")
            if rest.startswith(f"{BUILDS_FOLDER}/"):
                blobs[workspace_id].append(blob)
        swept = 0
        for workspace_id, found in blobs.items():
            await self._sweep_items(workspace_id)
            named = {
                build.artifact.key
                async for item in self._items(workspace_id)
                if (build := build_from(item)).artifact is not None
            }
            for blob in found:
                if blob.key not in named and blob.modified.timestamp() < self._now() - BLOB_KEPT_S:
                    await self._objects.delete(blob.key)
                    swept += 1
        return swept

    async def _sweep_items(self, workspace_id: str) -> None:
        # Before the functions, so that one that is made meanwhile has used its build, and changed the item, since.
        old = [item async for item in self._items(workspace_id) if build_from(item).used_at < self._now() - KEPT_S]
        if not old:
            return
        named: set[str] = set()
        unsettled: set[str] = set()
        async for function_id, code, is_active in self._codes(workspace_id):
            if code.build is not None:
                named.add(code.build.id)
            if not is_active:
                unsettled.add(function_id)
        for item in old:
            build = build_from(item)
            # A function whose new code doesn't run may still be served by what it had before.
            if build.id not in named and not unsettled & set(build.used_by):
                try:
                    await self._table.delete(build_key(workspace_id, build.id), expected=item.revision)
                except RevisionConflict:
                    continue

    async def _codes(self, workspace_id: str) -> AsyncIterator[tuple[str, Code, bool]]:
        """Of each function that there is, and of its versions: its id, its code, and whether that runs."""
        async for function, is_active in self._functions.settled_in(workspace_id):
            yield function.id, function.code, is_active
        async for item in items_of(self._table, workspace_id, "VERSION#"):
            version = draft_in(item)
            yield version.id, version.code, True  # what it is made of never changes

    async def _items(self, workspace_id: str) -> AsyncIterator[Item]:
        after = None
        while True:
            page = await self._table.query(partition(workspace_id), begins="BUILD#", after=after)
            for item in page.items:
                yield item
            if (after := page.next) is None:
                return
