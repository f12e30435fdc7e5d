"""What deleted functions leave behind: execution records, statistics, dead letters, and what was set for their events.
Removed a little after the function, for it may hold what its owner wanted gone. After a restart deletes from before are
not remembered, and what those left expires by its own time."""

import time
from collections.abc import Callable

from lateen.domain.functions import Function
from lateen.ports.table import TRANSACTION_LIMIT, Delete, Table
from lateen.services import dead_letters, event_configs
from lateen.services.functions import Functions
from lateen_invoker import rollups

AFTER_S = 120.0
"""By then an invoker has handed over its last records, unless its last call runs very long."""

PREFIXES = ("LOG#", rollups.PREFIX, dead_letters.PREFIX, event_configs.PREFIX)


class DeletedRecords:
    """`sweep` is housekeeping's."""

    def __init__(self, table: Table, *, functions: Functions, now: Callable[[], float] = time.time) -> None:
        self._table = table
        self._now = now
        self._due_at_s: dict[str, float] = {}
        functions.subscribe(self._changed)

    def _changed(self, function: Function) -> None:
        if function.deleted_at is not None:
            # Its last call may still run for the whole timeout.
            self._due_at_s[function.id] = self._now() + function.timeout_s + AFTER_S

    async def sweep(self) -> int:
        """Remove what is due. Returns: how many records."""
        removed = 0
        now_s = self._now()
        for function_id, due_at_s in list(self._due_at_s.items()):
            if due_at_s <= now_s:
                removed += await self._remove(function_id)
                del self._due_at_s[function_id]
        return removed

    async def _remove(self, function_id: str) -> int:
        removed = 0
        for begins in PREFIXES:
            while items := (await self._table.query(f"FN#{function_id}", begins=begins, limit=TRANSACTION_LIMIT)).items:
                await self._table.transact([Delete(item.key) for item in items])
                removed += len(items)
        return removed
