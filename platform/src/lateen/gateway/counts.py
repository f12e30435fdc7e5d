"""What the gateway counts, and what there is to be counted elsewhere when Prometheus asks."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lateen.gateway.connecting import Connecting
from lateen.services.keys import Keys
from lateen.services.routes import Routes

if TYPE_CHECKING:
    from prometheus_client import Metric


class GatewayCounts:
    """Registered with a `prometheus_client` registry. Labels have few values: states, and statuses of HTTP."""

    def __init__(self, *, routes: Routes, keys: Keys, connecting: Connecting) -> None:
        self._routes = routes
        self._keys = keys
        self._connecting = connecting
        self.answers: Counter[int] = Counter()
        """By status."""
        self.elsewhere = 0

    def collect(self) -> "Iterator[Metric]":
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        answers = CounterMetricFamily(
            "lateen_gateway_answers", "Calls of function URLs, by HTTP status.", labels=["status"]
        )
        for status, count in sorted(self.answers.items()):
            answers.add_metric([str(status)], count)
        yield answers
        connections = GaugeMetricFamily(
            "lateen_gateway_connections", "Connections to invokers; a busy one carries a call.", labels=["state"]
        )
        for state, number in zip(("busy", "idle"), self._connecting.pool.count(), strict=True):
            connections.add_metric([state], number)
        yield connections
        yield CounterMetricFamily(
            "lateen_gateway_connect_failures",
            "Connections to invokers that could not be made.",
            self._connecting.pool.failures,
        )
        yield CounterMetricFamily(
            "lateen_gateway_calls_elsewhere",
            "Calls that one pod refused, unexecuted, and that were sent to another one.",
            self.elsewhere,
        )
        yield GaugeMetricFamily(
            "lateen_gateway_waiting", "Calls that wait for a function to be there.", self._connecting.waiting
        )
        yield GaugeMetricFamily("lateen_gateway_routes", "Function URLs that are known.", len(self._routes.known))
        yield CounterMetricFamily(
            "lateen_gateway_stale_answers",
            "Look-ups of routes and keys answered by what was known, for the store was away.",
            self._routes.known.stale + self._keys.known.stale,
        )
