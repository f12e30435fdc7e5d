"""Execution records: made and sent in batches, behind the caller's back; and the function's statistics with them.

The buffer is bounded. When the store is slow or away, the oldest records are dropped and counted, and no invocation
is slower for it. Statistics count those too.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable

from msgspec import structs

from lateen_invoker.control import Configure
from lateen_invoker.invocations import Invocation, Outcome, error_document, shortened
from lateen_invoker.log_text import log_text, mib, timestamp
from lateen_invoker.metrics import Metrics
from lateen_invoker.records import ErrorDocument, ExecutionRecord
from lateen_invoker.rollups import Rollup
from lateen_invoker.statistics import Statistics

FLUSH_S = 0.2
BATCH = 1000
BUFFER_BYTES = 8 * 1024 * 1024
# What a record without any output takes here, roughly.
_RECORD_BYTES = 1024
# A timer may come early by the loop's resolution.
_LAG_S = 0.01


Send = Callable[[int, list[ExecutionRecord], int, list[Rollup]], None]
"""A batch's number, its records, how many were dropped before it, and statistics to be written with it."""


class Recorder:
    """`send` ships a batch; the next one goes out when `stored` has been called for it."""

    def __init__(self, configure: Configure, metrics: Metrics, send: Send) -> None:
        self._configure = configure
        self._metrics = metrics
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._buffer: deque[Invocation] = deque()
        self._bytes = 0
        self._batch = 0
        self._in_flight = 0
        """Records of the batch that is on its way."""
        self._is_sending = False
        self._scheduled = False
        self._dropped = 0
        self._statistics = Statistics(configure.function_id)
        self._throttles = 0
        self._later: asyncio.TimerHandle | None = None
        """For statistics that no record takes along."""
        self._is_ending = False
        self._empty = asyncio.Event()
        self._empty.set()

    def add(self, invocation: Invocation) -> None:
        """Keep what the record needs; the event itself is not kept."""
        invocation.event = invocation.body = b""
        if (outcome := invocation.outcome) is not None:
            if outcome.kind != "error":
                outcome.body = b""
            elif len(outcome.body) > 65_536:
                outcome.body = shortened(outcome.body)
        self._buffer.append(invocation)
        self._bytes += _size(invocation)
        while self._bytes > BUFFER_BYTES:
            dropped = self._buffer.popleft()
            self._count(dropped)
            self._bytes -= _size(dropped)
            self._dropped += 1
            self._metrics.records_dropped += 1
        if not self._scheduled and not self._is_sending:
            self._scheduled = True
            self._empty.clear()
            self._loop.call_later(FLUSH_S, self._flush)

    def stored(self, batch: int) -> None:
        """The platform has the batch on disk."""
        if batch != self._batch:
            return
        self._in_flight = 0
        self._is_sending = False
        if self._buffer:
            self._loop.call_later(0 if len(self._buffer) >= BATCH else FLUSH_S, self._flush)
            self._scheduled = True
        else:
            self._flush()

    @property
    def unsaved(self) -> int:
        """How many records are not stored yet."""
        return len(self._buffer) + self._in_flight

    async def flushed(self) -> None:
        """Returns when everything is stored, statistics that have time included. For the end."""
        self._is_ending = True
        self._flush()
        await self._empty.wait()

    def hand_over(self) -> None:
        """All that is left, also where nothing was heard of what is on its way: who gets it keeps it for a while. For
        the end."""
        self._is_ending = True
        while True:
            self._is_sending = False
            self._flush()
            if not self._buffer:
                return

    def _flush(self) -> None:
        """Send what is there, if nothing is on its way; or come back when statistics are to be written."""
        if self._is_sending:
            return
        self._scheduled = False
        if self._later is not None:
            self._later.cancel()
            self._later = None
        records: list[ExecutionRecord] = []
        while self._buffer and len(records) < BATCH:
            invocation = self._buffer.popleft()
            self._bytes -= _size(invocation)
            self._count(invocation)
            records.append(record_for(invocation, self._configure))
        throttles = self._metrics.throttles
        self._statistics.count_throttles(throttles - self._throttles)
        self._throttles = throttles
        rollups = self._statistics.due(everything=self._is_ending)
        if not records and not rollups:
            self._empty.set()
            if (due_at_s := self._statistics.due_at_s()) is not None:
                self._later = self._loop.call_later(max(0.0, due_at_s - time.monotonic()) + _LAG_S, self._flush)
            return
        self._empty.clear()
        self._batch += 1
        self._in_flight = len(records)
        self._is_sending = True
        dropped, self._dropped = self._dropped, 0
        self._send(self._batch, records, dropped, rollups)

    def _count(self, invocation: Invocation) -> None:
        self._statistics.count(
            invocation.arrived_s,
            invocation.status,
            (invocation.ended_at - invocation.started_at) * 1000,
            is_cold=invocation.cold_reason is not None,
        )


def record_for(invocation: Invocation, configure: Configure) -> ExecutionRecord:
    """The record of an invocation that is over."""
    duration_ms = (invocation.ended_at - invocation.started_at) * 1000
    outcome = invocation.outcome
    return ExecutionRecord(
        request_id=invocation.request_id,
        function_id=configure.function_id,
        version=configure.version,
        timestamp=timestamp(invocation.arrived_s),
        status=invocation.status,
        duration_ms=round(duration_ms, 3),
        queued_ms=round((invocation.started_at - invocation.queued_at) * 1000, 3),
        cold=invocation.cold_reason is not None,
        cold_reason=invocation.cold_reason,
        init_duration_ms=None if invocation.init_duration_ms is None else round(invocation.init_duration_ms, 3),
        memory_mib=configure.memory_mib,
        memory_peak_mib=mib(invocation.peak_memory_kib),
        log_tail=log_text(invocation, configure),
        log_truncated=invocation.log_truncated,
        error=_error_of(outcome) if outcome is not None and outcome.kind == "error" else None,
    )


def _error_of(outcome: Outcome) -> ErrorDocument:
    document = error_document(outcome.body)
    # What the runtime said beside its document counts where that has no type of its own, or is none.
    return structs.replace(document, type=outcome.error_type) if document.type == "Error" else document


def _size(invocation: Invocation) -> int:
    outcome = invocation.outcome
    return _RECORD_BYTES + len(invocation.log) + (len(outcome.body) if outcome is not None else 0)
