"""Execution records: stored in batches, read newest first."""

import time
from collections.abc import Callable, Sequence

import msgspec

from lateen.domain.access import Caller
from lateen.domain.errors import InvalidInput
from lateen.domain.pages import DEFAULT_LIMIT, Page
from lateen.domain.times import normalised
from lateen.ports.table import Item, Key, Table
from lateen.services.cursors import Cursors, check_limit
from lateen.services.functions import Functions
from lateen_invoker.records import ExecutionRecord, Status, sort_key

_PREFIX = "LOG#"
_END = "LOG#~"
_CHUNK = 100
_PAGE_BYTES = 4 * 1024 * 1024
"""Of log tails, which are cut beyond 64 KiB: a page ends before its limit where records are large."""
_SCAN_RECORDS = 1000
"""A page looks at no more records than this for those of one status."""


class Records:
    def __init__(
        self,
        table: Table,
        *,
        functions: Functions,
        cursors: Cursors,
        retention_s: int,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._table = table
        self._functions = functions
        self._cursors = cursors
        self._retention_s = retention_s
        self._now = now

    async def store(self, function_id: str, records: Sequence[ExecutionRecord]) -> None:
        """Store one function's batch; what bears another function's id is left out. Storing again is no error."""
        expires_at = int(self._now()) + self._retention_s
        pk = f"FN#{function_id}"
        items = [
            Item(key=Key(pk, sort_key(record)), data=msgspec.to_builtins(record), expires_at=expires_at)
            for record in records
            if record.function_id == function_id
        ]
        for start in range(0, len(items), _CHUNK):
            await self._table.write(items[start : start + _CHUNK])

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
        check_limit(limit)
        lower = _PREFIX + _since(since) if since is not None else None
        listing = f"records/{function_id}"
        after = self._cursors.open(listing, cursor)
        await self._functions.get(caller, function_id)
        found: list[ExecutionRecord] = []
        size = scanned = 0
        while True:
            page = await self._table.query(
                f"FN#{function_id}",
                begins=_PREFIX,
                lower=lower,
                upper=_END if lower else None,
                after=after,
                descending=True,
                limit=min(_CHUNK, limit if status is None else _CHUNK),
            )
            for item in page.items:
                after = item.key.sk
                scanned += 1
                record = msgspec.convert(item.data, ExecutionRecord)
                if status is None or record.status == status:
                    found.append(record)
                    size += len(record.log_tail)
                if len(found) == limit or size >= _PAGE_BYTES or scanned >= _SCAN_RECORDS:
                    is_last = page.next is None and item is page.items[-1]
                    return Page(found, None if is_last else self._cursors.seal(listing, after))
            if page.next is None:
                return Page(found, None)
            after = page.next


def _since(text: str) -> str:
    try:
        return normalised(text)
    except ValueError:
        raise InvalidInput("since", "a time in ISO 8601 with its offset, such as 2026-01-31T23:59:59Z") from None
