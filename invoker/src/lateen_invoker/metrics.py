"""What an invoker counts, and how Prometheus reads it.

The hot path adds to plain numbers, and they are written down here: Prometheus' own client would take 2.5 MB of each
pod's memory for it.
"""

from bisect import bisect_left
from collections.abc import Iterator
from typing import Protocol

from lateen_invoker.invocations import Invocation

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0)


class Gauges(Protocol):
    """Read when somebody asks."""

    @property
    def environments(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    @property
    def running(self) -> int: ...


class Histogram:
    """Counts per bucket, not cumulated; the last one is `+Inf`."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.sum_s += seconds

    def cumulated(self) -> list[tuple[str, float]]:
        total, rows = 0, []
        for bound, count in zip((*map(str, BUCKETS_S), "+Inf"), self.counts, strict=True):
            total += count
            rows.append((bound, float(total)))
        return rows


class Metrics:
    """Of one invoker process, which serves one function version."""

    def __init__(self) -> None:
        self.duration = Histogram()
        self.init_duration = Histogram()
        self.errors: dict[str, int] = {}
        self.cold_starts: dict[str, int] = {}
        self.throttles = 0
        self.init_errors = 0
        self.records_dropped = 0
        self.request_bytes = 0
        """Of requests that arrive or wait, small ones left out."""
        self.unread_bytes = 0
        """Of answers that their callers do not read."""
        self.answers_cut = 0
        self._gauges: Gauges | None = None

    def watch(self, gauges: Gauges) -> None:
        self._gauges = gauges

    def observe(self, invocation: Invocation) -> None:
        self.duration.observe(invocation.ended_at - invocation.started_at)
        outcome = invocation.outcome
        if outcome is not None and outcome.kind == "error":
            # A function may name its errors as it likes, and a label must have few values.
            kind = outcome.error_type if outcome.error_type in _PLATFORM_ERRORS else "Function"
            self.errors[kind] = self.errors.get(kind, 0) + 1

    def observe_cold_start(self, init_duration_ms: float) -> None:
        self.init_duration.observe(init_duration_ms / 1000)

    def text(self) -> bytes:
        """The Prometheus exposition, in its text format 0.0.4."""
        gauges = self._gauges
        return "".join(
            [
                *_histogram("lateen_invocation_seconds", "Time from an event's delivery to its answer.", self.duration),
                *_histogram(
                    "lateen_init_seconds",
                    "Time from an environment's start to its first request for an event.",
                    self.init_duration,
                ),
                *_family("lateen_invocations_total", "counter", "Events that ran.", sum(self.duration.counts)),
                *_family(
                    "lateen_invocation_errors_total", "counter", "Events that ended with an error.", self.errors, "kind"
                ),
                *_family("lateen_cold_starts_total", "counter", "Environments started.", self.cold_starts, "reason"),
                *_family(
                    "lateen_throttles_total", "counter", "Events refused for want of environments or memory.",
                    self.throttles,
                ),
                *_family(
                    "lateen_init_errors_total", "counter", "Environments whose initialisation failed.", self.init_errors
                ),
                *_family(
                    "lateen_records_dropped_total", "counter", "Execution records lost.", self.records_dropped
                ),
                *_family(
                    "lateen_answers_cut_total", "counter", "Answers cut off because their callers did not read them.",
                    self.answers_cut,
                ),
                *_family(
                    "lateen_request_bytes", "gauge", "Of requests that arrive or wait, without small ones.",
                    self.request_bytes,
                ),
                *_family(
                    "lateen_unread_bytes", "gauge", "Of answers that their callers do not read.", self.unread_bytes
                ),
                *_family("lateen_environments", "gauge", "Environments alive.", gauges.environments if gauges else 0),
                *_family(
                    "lateen_invocations_running", "gauge", "Events in an environment now.",
                    gauges.running if gauges else 0,
                ),
                *_family(
                    "lateen_invocations_waiting", "gauge", "Callers that wait for an environment.",
                    gauges.waiting if gauges else 0,
                ),
            ]
        ).encode()  # fmt: skip


def _family(name: str, kind: str, text: str, values: int | dict[str, int], label: str = "") -> Iterator[str]:
    yield f"# HELP {name} {text}\n# TYPE {name} {kind}\n"
    if isinstance(values, int):
        yield f"{name} {float(values)}\n"
    else:  # labels' values are words of our own: none has to be escaped
        yield from (f'{name}{{{label}="{key}"}} {float(value)}\n' for key, value in sorted(values.items()))


def _histogram(name: str, text: str, histogram: Histogram) -> Iterator[str]:
    yield f"# HELP {name} {text}\n# TYPE {name} histogram\n"
    rows = histogram.cumulated()
    yield from (f'{name}_bucket{{le="{bound}"}} {count}\n' for bound, count in rows)
    yield f"{name}_count {rows[-1][1]}\n{name}_sum {histogram.sum_s}\n"


_PLATFORM_ERRORS = frozenset(
    {
        "Function.ResponseSizeTooLarge", "Runtime.ExitError", "Runtime.HandlerNotFound", "Runtime.ImportModuleError",
        "Runtime.InvalidEntrypoint",
        "Runtime.OutOfMemory", "Runtime.StartError", "Runtime.UserCodeSyntaxError", "Sandbox.Timedout",
    }
)  # fmt: skip
