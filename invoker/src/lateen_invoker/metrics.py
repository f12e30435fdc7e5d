"""What an invoker counts, and how Prometheus reads it.

The hot path adds to plain numbers; the client library is imported and fed only when somebody asks.
"""

from bisect import bisect_left
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from lateen_invoker.invocations import Invocation

if TYPE_CHECKING:
    from prometheus_client import Metric

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
        """The Prometheus exposition."""
        from prometheus_client import CollectorRegistry, generate_latest

        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry)

    def collect(self) -> "Iterator[Metric]":
        """What `prometheus_client` asks of a collector."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        def counter(name: str, text: str, values: dict[str, int], label: str) -> Any:
            family = CounterMetricFamily(name, text, labels=[label])
            for key, value in sorted(values.items()):
                family.add_metric([key], value)
            return family

        for name, text, histogram in (
            ("lateen_invocation_seconds", "Time from an event's delivery to its answer.", self.duration),
            (
                "lateen_init_seconds",
                "Time from an environment's start to its first request for an event.",
                self.init_duration,
            ),
        ):
            yield HistogramMetricFamily(name, text, buckets=histogram.cumulated(), sum_value=histogram.sum_s)
        yield CounterMetricFamily("lateen_invocations", "Events that ran.", value=sum(self.duration.counts))
        yield counter("lateen_invocation_errors", "Events that ended with an error.", self.errors, "kind")
        yield counter("lateen_cold_starts", "Environments started.", self.cold_starts, "reason")
        yield CounterMetricFamily(
            "lateen_throttles", "Events refused because all environments were busy.", value=self.throttles
        )
        yield CounterMetricFamily(
            "lateen_init_errors", "Environments whose initialisation failed.", value=self.init_errors
        )
        yield CounterMetricFamily("lateen_records_dropped", "Execution records lost.", value=self.records_dropped)
        gauges = self._gauges
        for name, text, value in (
            ("lateen_environments", "Environments alive.", gauges.environments if gauges else 0),
            ("lateen_invocations_running", "Events in an environment now.", gauges.running if gauges else 0),
            ("lateen_invocations_waiting", "Callers that wait for an environment.", gauges.waiting if gauges else 0),
        ):
            yield GaugeMetricFamily(name, text, value=value)


_PLATFORM_ERRORS = frozenset(
    {
        "Function.ResponseSizeTooLarge", "Runtime.ExitError", "Runtime.HandlerNotFound", "Runtime.ImportModuleError",
        "Runtime.OutOfMemory", "Runtime.StartError", "Runtime.UserCodeSyntaxError", "Sandbox.Timedout",
    }
)  # fmt: skip
