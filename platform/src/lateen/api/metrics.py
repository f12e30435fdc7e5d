"""What the control plane counts. Labels have few values: a route is its template, never a path."""

from collections.abc import Awaitable, Callable, Iterable, Iterator

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

CONTENT_TYPE = CONTENT_TYPE_LATEST.partition("; charset")[0]
"""Litestar adds the charset."""
Elsewhere = Callable[[], Awaitable[Iterable[Metric]]]
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class ProcessMetrics:
    """`registry` is where parts of the platform register their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    async def text(self) -> bytes:
        """All of it, in the format of `CONTENT_TYPE`."""
        return generate_latest(self.registry)


class Metrics(ProcessMetrics):
    """Of a process that serves the management surfaces."""

    def __init__(self, elsewhere: Elsewhere | None = None) -> None:
        """Args:
        elsewhere: asks other processes for theirs.
        """
        super().__init__()
        self._elsewhere = elsewhere
        self._requests = Counter(
            "lateen_http_requests",
            "Requests to the management surfaces, by route and status.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "lateen_http_request_seconds",
            "Time from a request's head to the end of its answer.",
            ("route",),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "lateen_http_requests_in_flight", "Requests that run at the moment.", registry=self.registry
        )

    def finished(self, *, method: str, route: str, status: int, seconds: float) -> None:
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    async def text(self) -> bytes:
        families = [*self.registry.collect()]
        if self._elsewhere is not None:
            families += await self._elsewhere()
        whole = CollectorRegistry()
        whole.register(_Collected(families))
        return generate_latest(whole)


class _Collected:
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)
