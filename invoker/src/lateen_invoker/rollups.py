"""What statistics are kept as: counts of one function's invocations, beside their records. Control plane and invoker
share it.

A rollup is what one invoker process has counted within one span of time, by slots of it. It is written again and again
while it grows, each time whole, under a key of its own: written twice it counts once, and no two processes write the
same one. Who reads adds those of all processes, so of all pods, versions and aliases of the function.
"""

import time
from bisect import bisect_left
from typing import Literal

from msgspec import Struct

SeriesName = Literal["MINUTES", "QUARTERS"]
PREFIX = "STATS#"
END = "~"
"""After all that a sort key goes on with."""

BINS_PER_DOUBLING = 4
BOUNDS_MS = tuple(0.1 * 2 ** (number / BINS_PER_DOUBLING) for number in range(23 * BINS_PER_DOUBLING + 3))
"""Upper ends of the durations' bins, from 0.1 ms to the 15 minutes that a call may take: each is 19 % above the one
before. One more bin is for what is longer."""
BINS = len(BOUNDS_MS) + 1
LARGEST_ERROR = 2 ** (1 / (2 * BINS_PER_DOUBLING)) - 1
"""Of a duration that `representative_ms` says, as a share of the true one: 9 %."""


class Series(Struct, frozen=True):
    """One of the resolutions in which is counted. All in seconds."""

    name: SeriesName
    slot_s: int
    span_s: int
    """Of one rollup."""
    keep_s: int
    """After the beginning of its span a rollup expires."""
    hold_s: float
    """What is counted is written after so much time, together with what comes meanwhile."""
    every_s: float
    """One process writes at most so often."""


MINUTES = Series("MINUTES", slot_s=60, span_s=3600, keep_s=4 * 3600, hold_s=0.0, every_s=5.0)
# Held for less than the process that writes (`pod_records.py`) lives without work: it is not started for it again.
QUARTERS = Series("QUARTERS", slot_s=900, span_s=6 * 3600, keep_s=8 * 86400, hold_s=45.0, every_s=0.0)
SERIES = {"MINUTES": MINUTES, "QUARTERS": QUARTERS}

ERRORS, TIMEOUTS, THROTTLES, COLD_STARTS = range(4)
"""What is counted besides durations, whose number is that of the calls. Errors: timeouts included."""
COUNTERS = 4


class Rollup(Struct, frozen=True, kw_only=True):
    function_id: str
    series: SeriesName
    start: int
    """Of its span, Unix time in seconds; a multiple of the span's length."""
    writer: str
    """Who counted: random."""
    slots: list[list[int]]
    """Those in which something was. Each: its number in the span, the four counters, and then, for each bin of
    durations that has any, the bin's number and how many."""


def sort_key(rollup: Rollup) -> str:
    """`STATS#MINUTES#2026-01-31T23:00#{writer}`: ordered by time."""
    return f"{begin_key(rollup.series, rollup.start)}#{rollup.writer}"


def begin_key(series: SeriesName, start_s: int) -> str:
    """No rollup of the series from that moment on has a lower sort key."""
    return f"{PREFIX}{series}#{time.strftime('%Y-%m-%dT%H:%M', time.gmtime(start_s))}"


def expires_at(rollup: Rollup) -> int:
    return rollup.start + SERIES[rollup.series].keep_s


def bin_of(duration_ms: float) -> int:
    return bisect_left(BOUNDS_MS, duration_ms)


def representative_ms(number: int) -> float:
    """What stands for all durations of a bin: the middle, by ratio, of its ends."""
    if number == 0:
        return BOUNDS_MS[0]
    return float(BOUNDS_MS[min(number, len(BOUNDS_MS)) - 1] * 2 ** (1 / (2 * BINS_PER_DOUBLING)))
