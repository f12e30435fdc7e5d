"""Statistics of functions: calls, errors, durations and cold starts of the last hour, day or week.

They are added up from the rollups that invokers write beside their records (`lateen_invoker.rollups`), so what is read
follows from the time and the number of pods, and not from the number of calls. Recent hours are read by the minute,
which is written at most five seconds late; older ones by the quarter of an hour.
"""

import asyncio
import math
import time
from collections.abc import Callable, Iterable
from typing import Literal, ParamSpec, TypeVar

import msgspec
from msgspec import Struct

from lateen.domain.access import Caller
from lateen.domain.pages import DEFAULT_LIMIT, Page
from lateen.domain.times import iso_ms
from lateen.ports.table import QUERY_LIMIT, Table
from lateen.services.functions import Functions
from lateen_invoker.rollups import (
    COLD_STARTS,
    COUNTERS,
    END,
    ERRORS,
    MINUTES,
    PREFIX,
    QUARTERS,
    SERIES,
    THROTTLES,
    TIMEOUTS,
    Rollup,
    Series,
    begin_key,
    representative_ms,
)

P = ParamSpec("P")
T = TypeVar("T")
PeriodName = Literal["1h", "24h", "7d"]
_HOUR_S = 3600
_ON_THE_LOOP = 100
"""Rollups that are added up where they are; more go to a thread."""


class Period(Struct, frozen=True):
    bucket_s: int
    buckets: int
    series: Series
    """What is read of the time before the recent hours."""


PERIODS: dict[PeriodName, Period] = {
    "1h": Period(60, 60, MINUTES),
    "24h": Period(900, 96, QUARTERS),
    "7d": Period(_HOUR_S, 168, QUARTERS),
}


class Counts(Struct, frozen=True, kw_only=True):
    """Durations in milliseconds, None where there was no call; each lies within 10 % of a true one."""

    calls: int
    errors: int
    """Timeouts included."""
    timeouts: int
    throttles: int
    """Refused by the function's invokers because all environments were busy; not among the calls."""
    cold_starts: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class Bucket(Counts, frozen=True, kw_only=True):
    start: str


class FunctionStatistics(Struct, frozen=True, kw_only=True):
    function_id: str
    period: PeriodName
    start: str
    end: str
    """Not yet over: the last bucket is the one that it is now."""
    bucket_s: int
    totals: Counts
    buckets: list[Bucket]


class FunctionTotals(Counts, frozen=True, kw_only=True):
    function_id: str
    name: str


class _Sum:
    __slots__ = ("bins", "counters")

    def __init__(self) -> None:
        self.counters = [0] * COUNTERS
        self.bins: dict[int, int] = {}

    def add(self, counters: Iterable[int], bins: Iterable[tuple[int, int]]) -> None:
        for index, count in enumerate(counters):
            self.counters[index] += count
        for number, count in bins:
            self.bins[number] = self.bins.get(number, 0) + count

    def counts(self) -> Counts:
        ordered = sorted(self.bins.items())
        calls = sum(self.bins.values())
        return Counts(
            calls=calls,
            errors=self.counters[ERRORS],
            timeouts=self.counters[TIMEOUTS],
            throttles=self.counters[THROTTLES],
            cold_starts=self.counters[COLD_STARTS],
            p50_ms=_percentile(ordered, calls, 0.50),
            p95_ms=_percentile(ordered, calls, 0.95),
            p99_ms=_percentile(ordered, calls, 0.99),
        )


class Statistics:
    def __init__(self, table: Table, *, functions: Functions, now: Callable[[], float] = time.time) -> None:
        self._table = table
        self._functions = functions
        self._now = now

    async def of_function(self, caller: Caller, function_id: str, period: PeriodName) -> FunctionStatistics:
        """All versions and aliases together. Raises: `NotFound`."""
        await self._functions.get(caller, function_id)
        given = PERIODS[period]
        start_s, sums = await self._sums(function_id, given)
        totals = await _off_the_loop(len(sums), _added, sums.values())
        buckets = []
        for number in range(given.buckets):
            at_s = start_s + number * given.bucket_s
            counts = sums[number].counts() if number in sums else _NOTHING
            buckets.append(Bucket(start=iso_ms(at_s), **msgspec.structs.asdict(counts)))
        return FunctionStatistics(
            function_id=function_id,
            period=period,
            start=iso_ms(start_s),
            end=iso_ms(start_s + given.buckets * given.bucket_s),
            bucket_s=given.bucket_s,
            totals=totals,
            buckets=buckets,
        )

    async def of_workspace(
        self,
        caller: Caller,
        workspace_id: str,
        period: PeriodName,
        *,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
    ) -> Page[FunctionTotals]:
        """The totals of many functions, on the same pages as the list of them. Raises: `NotFound`, `InvalidInput`."""
        page = await self._functions.list(caller, workspace_id, limit=limit, cursor=cursor)
        functions = [described.function for described in page.items]
        found = await asyncio.gather(*(self._sums(function.id, PERIODS[period]) for function in functions))
        totals = [
            FunctionTotals(function_id=function.id, name=function.name, **msgspec.structs.asdict(_added(sums.values())))
            for function, (_, sums) in zip(functions, found, strict=True)
        ]
        return Page(totals, page.cursor)

    async def _sums(self, function_id: str, period: Period) -> tuple[int, dict[int, _Sum]]:
        """The beginning of the first bucket, and what is in those buckets that have anything, by their number."""
        now_s = int(self._now())
        end_s = now_s - now_s % period.bucket_s + period.bucket_s
        start_s = end_s - period.buckets * period.bucket_s
        sums: dict[int, _Sum] = {}
        parts = [(MINUTES, start_s, end_s)]
        if period.series is not MINUTES:
            # Invokers write quarters later than minutes, and minutes are not kept for long.
            recent_s = now_s - now_s % _HOUR_S - _HOUR_S
            parts = [(period.series, start_s, recent_s), (MINUTES, recent_s, end_s)]
        for series, from_s, until_s in parts:
            rollups = await self._rollups(function_id, series, from_s)
            await _off_the_loop(
                len(rollups), _add, sums, rollups, from_s=from_s, until_s=until_s, start_s=start_s,
                bucket_s=period.bucket_s,
            )  # fmt: skip
        return start_s, sums

    async def _rollups(self, function_id: str, series: Series, from_s: int) -> list[Rollup]:
        found: list[Rollup] = []
        after: str | None = None
        while True:
            page = await self._table.query(
                f"FN#{function_id}",
                lower=begin_key(series.name, from_s - from_s % series.span_s),
                upper=f"{PREFIX}{series.name}#{END}",
                after=after,
                limit=QUERY_LIMIT,
            )
            found += [msgspec.convert(item.data, Rollup) for item in page.items]
            if (after := page.next) is None:
                return found


def _add(
    sums: dict[int, _Sum], rollups: list[Rollup], *, from_s: int, until_s: int, start_s: int, bucket_s: int
) -> None:
    """Add what lies from `from_s` until before `until_s` into buckets, the first of which begins at `start_s`."""
    for rollup in rollups:
        slot_s = SERIES[rollup.series].slot_s
        for slot, *counts in rollup.slots:
            at_s = rollup.start + slot * slot_s
            if from_s <= at_s < until_s:
                number = (at_s - start_s) // bucket_s
                pairs = counts[COUNTERS:]
                sums.setdefault(number, _Sum()).add(counts[:COUNTERS], zip(pairs[::2], pairs[1::2], strict=True))


def _added(sums: Iterable[_Sum]) -> Counts:
    whole = _Sum()
    for each in sums:
        whole.add(each.counters, each.bins.items())
    return whole.counts()


def _percentile(ordered: list[tuple[int, int]], calls: int, share: float) -> float | None:
    """Of the call at this place among all, by duration ("nearest rank")."""
    left = math.ceil(calls * share)
    for number, count in ordered:
        left -= count
        if left <= 0:
            return round(representative_ms(number), 3)
    return None


async def _off_the_loop(size: int, action: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    if size <= _ON_THE_LOOP:
        return action(*args, **kwargs)
    return await asyncio.to_thread(action, *args, **kwargs)


_NOTHING = _Sum().counts()
