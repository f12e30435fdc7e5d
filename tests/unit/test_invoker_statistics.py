"""Counting invocations: what is written when, and that it says what happened. Clocks are the test's."""

import random
from typing import Any

import msgspec
import pytest

from lateen_invoker.rollups import BINS, LARGEST_ERROR, MINUTES, QUARTERS, Rollup, bin_of, representative_ms, sort_key
from lateen_invoker.statistics import Statistics

HOUR = 1_800_000_000 - 1_800_000_000 % 3600


class Clock:
    """Both clocks, which go together."""

    def __init__(self) -> None:
        self.now = float(HOUR)

    def __call__(self) -> float:
        return self.now


def counting(clock: Clock) -> Statistics:
    return Statistics("f1", now=clock, monotonic=clock)


def count(statistics: Statistics, at_s: float, status: str = "success", duration_ms: float = 1.0) -> None:
    statistics.count(at_s, status, duration_ms, is_cold=False)


def calls(rollup: Rollup) -> dict[int, int]:
    """By slot."""
    return {slot[0]: sum(slot[6::2]) for slot in rollup.slots}


def by_series(rollups: list[Rollup]) -> dict[str, list[Rollup]]:
    return {name: [each for each in rollups if each.series == name] for name in ("MINUTES", "QUARTERS")}


def test_a_duration_is_known_within_ten_percent() -> None:
    """From a tenth of a millisecond to the longest that a call may take."""
    random.seed(1)
    for exponent in (random.uniform(-1, 5.954) for _ in range(20_000)):
        duration_ms = 10**exponent
        number = bin_of(duration_ms)
        assert 0 <= number < BINS
        assert abs(representative_ms(number) / duration_ms - 1) <= LARGEST_ERROR + 1e-9
    assert LARGEST_ERROR < 0.10
    assert bin_of(900_000.0) < BINS - 1
    assert (bin_of(0.0), bin_of(1e12)) == (0, BINS - 1)


def test_what_is_counted_is_in_its_slot() -> None:
    """Four counters, and the durations by their bins."""
    clock = Clock()
    statistics = counting(clock)
    statistics.count(HOUR + 61.5, "success", 2.0, is_cold=True)
    statistics.count(HOUR + 119.9, "error", 2.0, is_cold=False)
    statistics.count(HOUR + 60.0, "timeout", 3000.0, is_cold=False)
    statistics.count(HOUR + 120.0, "success", 2.0, is_cold=False)
    statistics.count_throttles(7)
    (rollup,) = statistics.due()
    fast, slow = bin_of(2.0), bin_of(3000.0)
    assert (rollup.function_id, rollup.series, rollup.start) == ("f1", "MINUTES", HOUR)
    assert rollup.slots == [[0, 0, 0, 7, 0], [1, 2, 1, 0, 1, fast, 2, slow, 1], [2, 0, 0, 0, 0, fast, 1]]


def test_minutes_are_written_at_once_and_then_every_five_seconds() -> None:
    """Each time whole and under the same key, so that written twice counts once."""
    clock = Clock()
    statistics = counting(clock)
    assert statistics.due() == []
    assert statistics.due_at_s() is None
    count(statistics, clock.now)
    (first,) = statistics.due()
    count(statistics, clock.now)
    assert statistics.due() == []
    assert statistics.due_at_s() == HOUR + MINUTES.every_s
    clock.now += MINUTES.every_s
    (second,) = statistics.due()
    assert (calls(first), calls(second)) == ({0: 1}, {0: 2})
    assert sort_key(first) == sort_key(second)
    assert statistics.due() == []


def test_quarters_are_written_with_what_comes_meanwhile() -> None:
    """One item for all of some time, whether calls go on or not."""
    clock = Clock()
    statistics = counting(clock)
    count(statistics, clock.now)
    assert [each.series for each in statistics.due()] == ["MINUTES"]
    assert statistics.due_at_s() == HOUR + QUARTERS.hold_s
    clock.now += QUARTERS.hold_s - 1
    count(statistics, clock.now)
    assert [each.series for each in statistics.due()] == ["MINUTES"]
    clock.now += 1
    (rollup,) = statistics.due()
    assert (rollup.series, calls(rollup)) == ("QUARTERS", {(HOUR % QUARTERS.span_s) // 900: 2})
    assert statistics.due_at_s() is None


def test_the_end_writes_everything() -> None:
    """Also what would have had time."""
    clock = Clock()
    statistics = counting(clock)
    count(statistics, clock.now)
    statistics.due()
    count(statistics, clock.now)
    found = by_series(statistics.due(everything=True))
    assert [sum(calls(each).values()) for name in found for each in found[name]] == [2, 2]
    assert statistics.due(everything=True) == []


def test_a_call_that_ends_late_counts_where_it_arrived() -> None:
    """The hour is over, and its rollup is written again."""
    clock = Clock()
    statistics = counting(clock)
    count(statistics, HOUR + 3590)
    (before,) = statistics.due()
    clock.now = HOUR + 3600 + 880
    count(statistics, HOUR + 3599)
    count(statistics, clock.now)
    found = {each.start: each for each in by_series(statistics.due())["MINUTES"]}
    assert calls(found[HOUR]) == {59: 2}
    assert sort_key(found[HOUR]) == sort_key(before)
    assert calls(found[HOUR + 3600]) == {14: 1}


def test_a_span_that_was_forgotten_is_not_overwritten() -> None:
    """What comes for it far too late is another rollup, and both are added."""
    clock = Clock()
    statistics = counting(clock)
    count(statistics, HOUR)
    (first,) = statistics.due()
    clock.now = HOUR + 2 * 3600
    count(statistics, clock.now)
    statistics.due()
    count(statistics, HOUR)
    clock.now += 5
    second = next(each for each in by_series(statistics.due())["MINUTES"] if each.start == HOUR)
    assert sort_key(first) != sort_key(second)
    assert calls(second) == {0: 1}


def test_two_processes_write_two_items() -> None:
    """And neither can take anything from the other."""
    clock = Clock()
    keys = set()
    for _ in range(2):
        statistics = counting(clock)
        count(statistics, clock.now)
        keys |= {sort_key(each) for each in statistics.due()}
    assert len(keys) == 2
    assert all(key.startswith("STATS#MINUTES#2027-01-15T08:00#") for key in keys)


@pytest.mark.parametrize("hours", [24])
def test_a_store_that_is_away_costs_bounded_memory(hours: int) -> None:
    """What would have expired by the time that it is written is not kept; all else is, dropped records included."""
    clock = Clock()
    statistics = counting(clock)
    for minute in range(hours * 60):
        clock.now = HOUR + minute * 60.0
        count(statistics, clock.now)
    found = by_series(statistics.due(everything=True))
    assert len(found["MINUTES"]) <= MINUTES.keep_s // MINUTES.span_s + 1
    assert sum(sum(calls(each).values()) for each in found["QUARTERS"]) == hours * 60
    assert len(statistics._unsorted) == 0


def test_a_busy_hour_is_a_small_item() -> None:
    """Below what DynamoDB takes for some units, with durations of every kind in each minute."""
    clock = Clock()
    statistics = counting(clock)
    random.seed(2)
    for minute in range(60):
        for _ in range(500):
            count(statistics, HOUR + minute * 60, duration_ms=random.lognormvariate(2.0, 1.0))
    (rollup,) = statistics.due()
    size = len(msgspec.msgpack.encode(rollup))
    assert size < 8 * 1024, size


def test_what_is_written_is_read_again() -> None:
    """By the platform, in whose table items are JSON types."""
    clock = Clock()
    statistics = counting(clock)
    count(statistics, clock.now, "error", 12.5)
    (rollup,) = statistics.due()
    stored: Any = msgspec.msgpack.decode(msgspec.msgpack.encode(rollup))
    assert msgspec.convert(stored, Rollup) == rollup
