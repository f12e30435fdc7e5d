"""Execution records: stored in batches, with the statistics that come along; read newest first, or one by one."""

import asyncio
import time
from collections.abc import Callable, Sequence

import msgspec
from msgspec import Struct

from lateen.domain.access import Caller
from lateen.domain.errors import InvalidInput, NotFound
from lateen.domain.pages import DEFAULT_LIMIT, Page
from lateen.domain.times import iso_ms, normalised
from lateen.ports.table import Item, ItemNotFound, Key, Table
from lateen.services.cursors import Cursors, check_limit
from lateen.services.functions import Functions
from lateen_invoker import rollups as statistics
from lateen_invoker.records import ExecutionRecord, Status, sort_key
from lateen_invoker.rollups import Rollup

PREFIX = "LOG#"
END = "LOG#~"
LATE_S = 10.0
"""A record bears the time at which its call arrived, and is there when that has ended, so much later at the most."""
MAX_WAIT_S = 10
MAX_CONTAINS = 200
_CHUNK = 100
_PAGE_BYTES = 4 * 1024 * 1024
"""Of log tails, which are cut beyond 64 KiB: a page ends before its limit where records are large."""
_SCAN_RECORDS = 1000
_SCAN_BYTES = 4 * _PAGE_BYTES
"""A page looks at no more records, and no more of what they printed, for those that are asked for."""
_FIRST_LOOK_S, _LAST_LOOK_S = 0.1, 0.8
_NO_SUCH_RECORD = "no record of this request; it may have expired, or not be there yet"


class Wanted(Struct, frozen=True, kw_only=True):
    """Which records; all of them, unless something is given."""

    status: Status | None = None
    contains: str | None = None
    """A text of 1 to 200 characters, in what was printed, the request's id or the error; case does not count."""

    def check(self) -> None:
        """Raises: `InvalidInput`."""
        if self.contains is not None and not 1 <= len(self.contains) <= MAX_CONTAINS:
            raise InvalidInput("contains", f"1 to {MAX_CONTAINS} characters")

    @property
    def is_all(self) -> bool:
        return self.status is None and self.contains is None

    def matches(self, record: ExecutionRecord, text: str | None = None) -> bool:
        """Args:
        text: the record's `searched_text`, where it is known already.
        """
        if self.status is not None and record.status != self.status:
            return False
        return self.contains is None or self.contains.casefold() in (text or searched_text(record))


ALL = Wanted()


def searched_text(record: ExecutionRecord) -> str:
    """What `contains` is looked for in. No text that is asked for holds what is between the parts."""
    error = () if record.error is None else (record.error.type, record.error.message)
    return "\0".join((record.request_id, *error, record.log_tail)).casefold()


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

    async def store(self, function_id: str, records: Sequence[ExecutionRecord], rollups: Sequence[Rollup] = ()) -> None:
        """Store one function's batch; what bears another function's id is left out. Storing again is no error."""
        expires_at = int(self._now()) + self._retention_s
        pk = f"FN#{function_id}"
        items = [
            Item(key=Key(pk, sort_key(record)), data=msgspec.to_builtins(record), expires_at=expires_at)
            for record in records
            if record.function_id == function_id
        ]
        items += [
            Item(
                key=Key(pk, statistics.sort_key(rollup)),
                data=msgspec.to_builtins(rollup),
                expires_at=statistics.expires_at(rollup),
            )
            for rollup in rollups
            if rollup.function_id == function_id
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
        contains: str | None = None,
    ) -> Page[ExecutionRecord]:
        """Newest first. A page is bounded in bytes too, and may be short or empty and have a next one.

        Args:
            since: ISO 8601 with an offset; that moment included.
            status, contains: see `Wanted`.
        Raises: `NotFound`, `InvalidInput`.
        """
        check_limit(limit)
        wanted = Wanted(status=status, contains=contains)
        wanted.check()
        lower = PREFIX + moment("since", since) if since is not None else None
        listing = f"records/{function_id}"
        after = self._cursors.open(listing, cursor)
        await self._functions.get(caller, function_id)
        found: list[ExecutionRecord] = []
        size = scanned = scanned_bytes = 0
        while True:
            page = await self._table.query(
                f"FN#{function_id}",
                begins=PREFIX,
                lower=lower,
                upper=END if lower else None,
                after=after,
                descending=True,
                limit=min(_CHUNK, limit if wanted.is_all else _CHUNK),
            )
            for item in page.items:
                after = item.key.sk
                scanned += 1
                record = msgspec.convert(item.data, ExecutionRecord)
                scanned_bytes += len(record.log_tail)
                if wanted.matches(record):
                    found.append(record)
                    size += len(record.log_tail)
                is_enough = len(found) == limit or size >= _PAGE_BYTES
                if is_enough or scanned >= _SCAN_RECORDS or scanned_bytes >= _SCAN_BYTES:
                    is_last = page.next is None and item is page.items[-1]
                    return Page(found, None if is_last else self._cursors.seal(listing, after))
            if page.next is None:
                return Page(found, None)
            after = page.next

    async def one(
        self,
        caller: Caller,
        function_id: str,
        request_id: str,
        *,
        timestamp: str | None = None,
        since: str | None = None,
        wait_s: float = 0.0,
    ) -> ExecutionRecord:
        """The record of one request.

        Args:
            timestamp: the record's own, with which it is found however old it is. Without, it is looked for among the
                newest thousand.
            since: not older than this.
            wait_s: up to 10, for a call that was made just now: its record is written behind its caller's back.
        Raises: `NotFound`, `InvalidInput`.
        """
        at = moment("timestamp", timestamp) if timestamp is not None else None
        lower = PREFIX + moment("since", since) if since is not None else PREFIX
        timeout_s = (await self._functions.get(caller, function_id)).function.timeout_s
        until_s = time.monotonic() + min(wait_s, MAX_WAIT_S)
        pause_s = _FIRST_LOOK_S
        while True:
            # What comes later than now has not arrived earlier than this.
            newer = PREFIX + iso_ms(self._now() - timeout_s - LATE_S)
            if at is not None:
                record = await self._at(function_id, f"{PREFIX}{at}#{request_id}")
            else:
                record = await self._newest(function_id, request_id, lower)
            if record is not None:
                return record
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                raise NotFound(_NO_SUCH_RECORD)
            await asyncio.sleep(min(pause_s, left_s))
            pause_s = min(_LAST_LOOK_S, pause_s * 2)
            lower = max(lower, newer)

    async def _at(self, function_id: str, sk: str) -> ExecutionRecord | None:
        try:
            item = await self._table.get(Key(f"FN#{function_id}", sk))
        except ItemNotFound:
            return None
        return msgspec.convert(item.data, ExecutionRecord)

    async def _newest(self, function_id: str, request_id: str, lower: str) -> ExecutionRecord | None:
        after: str | None = None
        for _ in range(_SCAN_RECORDS // _CHUNK):
            page = await self._table.query(
                f"FN#{function_id}", lower=lower, upper=END, after=after, descending=True, limit=_CHUNK
            )
            for item in page.items:
                if item.key.sk.endswith(f"#{request_id}"):
                    return msgspec.convert(item.data, ExecutionRecord)
            if (after := page.next) is None:
                break
        return None


def moment(field: str, text: str) -> str:
    """A parameter's time in our form. Raises: `InvalidInput`."""
    try:
        return normalised(text)
    except ValueError:
        raise InvalidInput(field, "a time in ISO 8601 with its offset, such as 2026-01-31T23:59:59Z") from None
