"""Execution records: stored in batches, read newest first."""

import time
from collections.abc import Callable, Sequence

from lateen_invoker.records import ExecutionRecord, Status

from lateen.domain.access import Caller
from lateen.domain.pages import DEFAULT_LIMIT, Page
from lateen.ports.table import Table
from lateen.services.cursors import Cursors
from lateen.services.functions import Functions

RETENTION_S = 14 * 24 * 3600


class Records:
    def __init__(
        self,
        table: Table,
        *,
        functions: Functions,
        cursors: Cursors,
        retention_s: int = RETENTION_S,
        now: Callable[[], float] = time.time,
    ) -> None: ...

    async def store(self, function_id: str, records: Sequence[ExecutionRecord]) -> None:
        """Store one function's batch; what another function's id bears is left out. Storing again is no error."""
        raise NotImplementedError

    async def list(
        self,
        caller: Caller,
        function_id: str,
        *,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
        since: str | None = None,
        status: Status | None = None,
    ) -> Page[ExecutionRecord]:
        """Newest first. A page is bounded in bytes too, and may be short or empty and have a next one.

        Args:
            since: ISO 8601 with an offset; that moment included.
        Raises: `NotFound`, `InvalidInput`.
        """
        raise NotImplementedError
