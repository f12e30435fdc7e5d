"""Execution records as they come, for those who watch a function.

The table tells nobody of what is new, so it is asked: once a second for each function that is watched, however many
watch it here. A record bears the time at which its call arrived, and comes when that has ended. So what arrived in the
last seconds is looked at each time, and now and then all that can still be running; what was seen is remembered.

All is bounded: what is read at a time, what waits for a slow reader, how many watch, and for how long. What doesn't fit
is passed over, and said to be.
"""

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Literal

import msgspec
from msgspec import Struct

from lateen.domain.access import Caller
from lateen.domain.errors import LateenError, NotFound, Unavailable
from lateen.domain.times import iso_ms, unix_s
from lateen.ports.table import Page, Table
from lateen.services.functions import Functions
from lateen.services.records import ALL, END, LATE_S, PREFIX, Wanted, searched_text
from lateen_invoker.records import ExecutionRecord, sort_key

log = logging.getLogger(__name__)

POLL_S = 1.0
FULL_EVERY = 5
"""Each so many polls look at all that can still be running."""
RECENT_S = 5.0
AT_ONCE = 200
"""Records read at a time, and shown of the past."""
WAITING = 400
"""Records that wait for one slow reader."""
CHECK_EVERY_S = 5.0
"""How long a key that was revoked, or a function that was deleted, can still be watched."""
HEARTBEAT_S = 15.0
LIVES_S = 3600.0
MOST_OF_KEY = 10
MOST = 200
MOST_OF_WORKSPACE = MOST // 2
"""Of all keys of one, which makes as many as it likes: they must not take every other one's place."""
_LAST_PAUSE_S = 10.0

Why = Literal["revoked", "deleted", "stopping", "time", "unavailable", "too-many"]


class TooManyStreams(LateenError):
    """The key, or this process, has as many as it may."""


class Started(Struct, frozen=True):
    """The first event: what is recorded from now on will be shown."""


class Gap(Struct, frozen=True):
    """Records were passed over here."""


class Heartbeat(Struct, frozen=True):
    """Nothing came for a while."""


class Over(Struct, frozen=True):
    """The last event."""

    why: Why


Event = ExecutionRecord | Started | Gap | Heartbeat | Over


class _Watcher:
    """What waits for one reader."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.records: deque[ExecutionRecord] = deque()
        self.has_gap = False
        self.why: Why | None = None
        self.woken = asyncio.Event()
        self.shown: set[str] = set()
        """What it was shown of the past, which may come again as new."""

    def tell(self, records: list[tuple[ExecutionRecord, str]], *, has_gap: bool) -> None:
        """Args:
        records: each with its `searched_text`.
        """
        self.records.extend(
            record
            for record, text in records
            if self.wanted.matches(record, text) and sort_key(record) not in self.shown
        )
        self.has_gap = self.has_gap or has_gap
        while len(self.records) > WAITING:
            self.records.popleft()
            self.has_gap = True
        if self.records or self.has_gap:
            self.woken.set()

    def end(self, why: Why) -> None:
        self.why = self.why or why
        self.woken.set()


class _Feed:
    """One function's new records, for all who watch it."""

    def __init__(self, function_id: str, timeout_s: int) -> None:
        self.function_id = function_id
        self.running_s = timeout_s + LATE_S
        self.looked_s = self.looked_at_all_s = 0.0
        """When the table was asked last, Unix time; what was stored before has been seen."""
        self.watchers: set[_Watcher] = set()
        self.seen: set[str] = set()
        self.starting = asyncio.Lock()
        self.task: asyncio.Task[None] | None = None


class LogStreams:
    """`stop` ends all of them; whoever comes later is told at once."""

    def __init__(
        self, table: Table, *, functions: Functions, now: Callable[[], float] = time.time, poll_s: float = POLL_S
    ) -> None:
        self._table = table
        self._functions = functions
        self._now = now
        self._poll_s = poll_s
        self._feeds: dict[str, _Feed] = {}
        self._of_key: Counter[str] = Counter()
        self._of_workspace: Counter[str | None] = Counter()
        """None: of the whole installation's keys."""
        self._is_stopping = False

    def stop(self) -> None:
        self._is_stopping = True
        for feed in self._feeds.values():
            for watcher in feed.watchers:
                watcher.end("stopping")

    async def check(self, caller: Caller, function_id: str, wanted: Wanted = ALL) -> None:
        """Whether `events` would begin. Raises: `NotFound`, `InvalidInput`, `TooManyStreams`."""
        wanted.check()
        await self._functions.get(caller, function_id)
        if self._of_key[caller.key_id] >= MOST_OF_KEY:
            raise TooManyStreams(f"a key has at most {MOST_OF_KEY} streams at a time")
        if caller.workspace_id is not None and self._of_workspace[caller.workspace_id] >= MOST_OF_WORKSPACE:
            raise TooManyStreams(f"the keys of a workspace have at most {MOST_OF_WORKSPACE} streams at a time")
        if self._of_key.total() >= MOST:
            raise TooManyStreams("too many streams are open here; try again later")

    async def events(
        self,
        caller: Caller,
        function_id: str,
        *,
        wanted: Wanted = ALL,
        since: str | None = None,
        after: str | None = None,
        recheck: Callable[[], Awaitable[object]],
    ) -> AsyncIterator[Event]:
        """What comes, until `Over`. Records that come together are in the order of their times.

        Args:
            since: a time in our form; the newest 200 records from then on come first.
            after: the time of the last record that the reader had. What can have come since then comes first, of which
                it may have had some: a call that arrived earlier may have ended later.
            recheck: raises `Unauthenticated` once the caller's key is not valid any more.
        """
        try:
            timeout_s = (await self._functions.get(caller, function_id)).function.timeout_s
            # Between the check and here others may have come; between here and the count nobody can.
            await self.check(caller, function_id, wanted)
        except LateenError as exc:
            yield Over(_why(exc))
            return
        watcher = _Watcher(wanted)
        if self._is_stopping:
            watcher.end("stopping")
        if after is not None:
            since = iso_ms(max(0.0, unix_s(after) - timeout_s - LATE_S))
        self._of_key[caller.key_id] += 1
        self._of_workspace[caller.workspace_id] += 1
        feed = self._feeds.setdefault(function_id, _Feed(function_id, timeout_s))
        feed.watchers.add(watcher)
        try:
            async with feed.starting:
                if feed.task is None:
                    # What is there by now is not new.
                    await self._look(feed, is_full=True)
                    feed.task = asyncio.get_running_loop().create_task(self._poll(feed))
            yield Started()
            if since is not None:
                page = await self._newest(function_id, since)
                if page.next is not None:
                    yield Gap()
                past = _records_in(page)
                watcher.shown = {sort_key(record) for record in past}
                for record in past:
                    if wanted.matches(record):
                        yield record
            async for event in self._live(caller, function_id, watcher, recheck):
                yield event
        except Unavailable:
            yield Over("unavailable")
        finally:
            self._of_key -= Counter([caller.key_id])
            self._of_workspace -= Counter([caller.workspace_id])
            feed.watchers.discard(watcher)
            if not feed.watchers:
                self._end(feed)

    async def _live(
        self, caller: Caller, function_id: str, watcher: _Watcher, recheck: Callable[[], Awaitable[object]]
    ) -> AsyncIterator[Event]:
        began_s = checked_s = told_s = time.monotonic()
        while True:
            now_s = time.monotonic()
            # Before anything is looked at, for what comes while an event is being sent.
            watcher.woken.clear()
            if watcher.why is None and now_s - checked_s >= CHECK_EVERY_S:
                checked_s = now_s
                if (why := await self._revoked(caller, function_id, recheck)) is not None:
                    watcher.end(why)
            if now_s - began_s >= LIVES_S:
                watcher.end("time")
            if watcher.has_gap:
                watcher.has_gap = False
                yield Gap()
            while watcher.records and watcher.why not in ("revoked", "deleted"):
                told_s = now_s
                yield watcher.records.popleft()
            if watcher.why is not None:
                yield Over(watcher.why)
                return
            if now_s - told_s >= HEARTBEAT_S:
                told_s = now_s
                yield Heartbeat()
            with suppress(TimeoutError):
                await asyncio.wait_for(watcher.woken.wait(), CHECK_EVERY_S)

    async def _revoked(self, caller: Caller, function_id: str, recheck: Callable[[], Awaitable[object]]) -> Why | None:
        try:
            await recheck()
            await self._functions.get(caller, function_id)
        except Unavailable:
            pass  # as long as it is not known
        except LateenError as exc:
            return _why(exc)
        return None

    def _end(self, feed: _Feed) -> None:
        if self._feeds.get(feed.function_id) is feed:
            del self._feeds[feed.function_id]
        if feed.task is not None:
            feed.task.cancel()

    async def _poll(self, feed: _Feed) -> None:
        number, pause_s = 1, self._poll_s
        while True:
            await asyncio.sleep(pause_s)
            try:
                await self._look(feed, is_full=number % FULL_EVERY == 0)
                number, pause_s = number + 1, self._poll_s
            except Unavailable:
                pause_s = min(_LAST_PAUSE_S, pause_s * 2)
            except Exception:
                log.exception("a function's records can't be followed", extra={"function": feed.function_id})
                pause_s = _LAST_PAUSE_S

    async def _look(self, feed: _Feed, *, is_full: bool) -> None:
        now_s = self._now()
        if feed.task is None:
            feed.looked_s = feed.looked_at_all_s = now_s
        since = iso_ms(feed.looked_at_all_s - feed.running_s if is_full else feed.looked_s - RECENT_S)
        page = await self._newest(feed.function_id, since)
        feed.looked_s = now_s
        new = [item for item in page.items if item.key.sk not in feed.seen]
        feed.seen.update(item.key.sk for item in new)
        if is_full:
            feed.looked_at_all_s = now_s
            # What is older is not asked for again.
            feed.seen = {sk for sk in feed.seen if sk >= PREFIX + since}
        if feed.task is None:
            return
        # A page that is full of what is new hides what else there is.
        has_gap = page.next is not None and len(new) == len(page.items)
        records = [(record, searched_text(record)) for record in _records_in(Page(new, None))]
        for watcher in list(feed.watchers):
            watcher.tell(records, has_gap=has_gap)
            # Many may search much: others get their turn meanwhile.
            await asyncio.sleep(0)

    async def _newest(self, function_id: str, since: str) -> Page:
        """From that time on, the newest first."""
        return await self._table.query(
            f"FN#{function_id}", lower=PREFIX + since, upper=END, descending=True, limit=AT_ONCE
        )


def _why(exc: LateenError) -> Why:
    match exc:
        case TooManyStreams():
            return "too-many"
        case Unavailable():
            return "unavailable"
        case NotFound():
            return "deleted"
    return "revoked"


def _records_in(page: Page) -> list[ExecutionRecord]:
    """Oldest first."""
    return [msgspec.convert(item.data, ExecutionRecord) for item in reversed(page.items)]
