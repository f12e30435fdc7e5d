"""Counting invocations for the statistics that people look at (what Prometheus reads is `metrics.py`'s).

Nothing here happens on a call's way: the recorder counts what it makes records of, and those that it has to drop.
"""

import math
import time
from collections.abc import Callable
from os import urandom

from lateen_invoker.rollups import (
    BINS,
    COLD_STARTS,
    COUNTERS,
    ERRORS,
    SERIES,
    THROTTLES,
    TIMEOUTS,
    Rollup,
    Series,
    bin_of,
)

_MINUTE_S = 60
_LATE_S = 20 * 60
"""A call may take 15 minutes, and is counted where it arrived: so long a span is kept after its end."""
_UNSORTED_MINUTES = 60
"""Counted minutes that wait to be put where they belong."""


class _Minute:
    __slots__ = ("bins", "counters")

    def __init__(self) -> None:
        self.counters = [0] * COUNTERS
        self.bins = [0] * BINS


class _Span:
    """What this process has counted in one span of a series. A span that is forgotten and comes up again has another
    writer, so that nothing is overwritten."""

    def __init__(self) -> None:
        self.writer = urandom(6).hex()
        self.slots: dict[int, tuple[list[int], dict[int, int]]] = {}
        self.is_unsaved = False

    def add(self, slot: int, minute: _Minute) -> None:
        counters, bins = self.slots.setdefault(slot, ([0] * COUNTERS, {}))
        for index, count in enumerate(minute.counters):
            counters[index] += count
        for number, count in enumerate(minute.bins):
            if count:
                bins[number] = bins.get(number, 0) + count
        self.is_unsaved = True

    def rollup(self, function_id: str, series: Series, start: int) -> Rollup:
        slots = [
            [slot, *counters, *(word for pair in sorted(bins.items()) for word in pair)]
            for slot, (counters, bins) in sorted(self.slots.items())
        ]
        return Rollup(function_id=function_id, series=series.name, start=start, writer=self.writer, slots=slots)


class _Kept:
    """Of one series."""

    def __init__(self, series: Series) -> None:
        self.series = series
        self.spans: dict[int, _Span] = {}
        self.unsaved_since_s: float | None = None
        self.written_s = -math.inf

    def due_at_s(self) -> float | None:
        """None: all is written."""
        if self.unsaved_since_s is None:
            return None
        return max(self.unsaved_since_s + self.series.hold_s, self.written_s + self.series.every_s)


class Statistics:
    """`due` gives what is to be written now; `due_at_s` says when to ask again."""

    def __init__(
        self,
        function_id: str,
        *,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._function_id = function_id
        self._now = now
        self._monotonic = monotonic
        self._unsorted: dict[int, _Minute] = {}
        self._kept = [_Kept(series) for series in SERIES.values()]

    def count(self, arrived_s: float, status: str, duration_ms: float, *, is_cold: bool) -> None:
        """An invocation that is over."""
        minute = self._minute(arrived_s)
        minute.bins[bin_of(duration_ms)] += 1
        if status != "success":
            minute.counters[ERRORS] += 1
            if status == "timeout":
                minute.counters[TIMEOUTS] += 1
        if is_cold:
            minute.counters[COLD_STARTS] += 1

    def count_throttles(self, count: int) -> None:
        """Calls that were refused a moment ago."""
        if count:
            self._minute(self._now()).counters[THROTTLES] += count

    def due(self, *, everything: bool = False) -> list[Rollup]:
        """What is to be written now, after which it counts as written. `everything`: also what has time."""
        self._sort()
        at_s = self._monotonic()
        found = []
        for kept in self._kept:
            due_at_s = kept.due_at_s()
            if due_at_s is None or (due_at_s > at_s and not everything):
                continue
            kept.unsaved_since_s, kept.written_s = None, at_s
            for start, span in kept.spans.items():
                if span.is_unsaved:
                    span.is_unsaved = False
                    found.append(span.rollup(self._function_id, kept.series, start))
            ended = self._now() - kept.series.span_s - _LATE_S
            kept.spans = {start: span for start, span in kept.spans.items() if start > ended}
        return found

    def due_at_s(self) -> float | None:
        """When there will be something to write, by the monotonic clock; None: when more was counted."""
        self._sort()
        return min((at_s for kept in self._kept if (at_s := kept.due_at_s()) is not None), default=None)

    def _minute(self, at_s: float) -> _Minute:
        number = int(at_s) // _MINUTE_S
        if (minute := self._unsorted.get(number)) is None:
            if len(self._unsorted) >= _UNSORTED_MINUTES:
                self._sort()
            minute = self._unsorted[number] = _Minute()
        return minute

    def _sort(self) -> None:
        """Put what was counted into its spans."""
        if not self._unsorted:
            return
        for kept in self._kept:
            series = kept.series
            for number, minute in self._unsorted.items():
                at_s = number * _MINUTE_S
                start = at_s - at_s % series.span_s
                kept.spans.setdefault(start, _Span()).add((at_s - start) // series.slot_s, minute)
            if kept.unsaved_since_s is None:
                kept.unsaved_since_s = self._monotonic()
            # While the store is away nothing is written: what would have expired by now is not kept for it.
            expired = self._now() - series.keep_s
            kept.spans = {start: span for start, span in kept.spans.items() if start > expired}
        self._unsorted.clear()
