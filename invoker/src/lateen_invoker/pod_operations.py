"""A pod's operations port: health for the kubelet, metrics for Prometheus, without a key. No Ingress leads there.

The kubelet asks once a second. So that a pod is ready when it is, and not a second later, the question is held until
there is an answer, for a little less than the asker waits.
"""

import asyncio
from collections.abc import Callable

from lateen_invoker.front import METRICS
from lateen_invoker.http_port import JSON, Port, Request

HOLD = 0.9
"""Of the probe's timeout."""
WAITING_LIMIT = 64


class Operations:
    """`front` of the port. `is_ready` None: it is not known yet, so who asks may wait for it."""

    def __init__(self, *, metrics: Callable[[], bytes], probe_timeout_s: float) -> None:
        self.metrics = metrics
        self.hold_s = probe_timeout_s * HOLD
        self.is_ready: bool | None = None
        self.reason = "starting"
        self._waiting: list[tuple[Request, asyncio.TimerHandle]] = []
        self._loop = asyncio.get_running_loop()

    def settle(self, is_ready: bool, reason: str = "") -> None:
        """From now on that is the answer, also to those who wait."""
        self.is_ready = is_ready
        self.reason = reason
        waiting, self._waiting = self._waiting, []
        for request, timer in waiting:
            timer.cancel()
            self._answer(request)

    def ask(self, request: Request) -> None:
        if self.is_ready is None and len(self._waiting) < WAITING_LIMIT:
            self._waiting.append((request, self._loop.call_later(self.hold_s, self._give_up, request)))
        else:
            self._answer(request)

    def _give_up(self, request: Request) -> None:
        self._waiting = [waiting for waiting in self._waiting if waiting[0] is not request]
        self._answer(request)

    def _answer(self, request: Request) -> None:
        if self.is_ready:
            request.connection.respond(request, 200, JSON, b'{"status":"ready"}')
        else:
            request.say(503, self.reason)


class OperationsRequest(Request):
    __slots__ = ()

    def start(self) -> None:
        operations: Operations = self.connection.port.front
        path = self.target.partition("?")[0]
        if self.method not in ("GET", "HEAD"):
            self.say(405, "Method Not Allowed")
        elif path == "/health/ready":
            operations.ask(self)
        elif path == "/health/live":
            self.connection.respond(self, 200, JSON, b'{"status":"live"}')
        elif path == "/metrics":
            self.connection.respond(self, 200, METRICS, operations.metrics())
        else:
            self.say(404, "Not Found")


def operations_port(operations: Operations) -> Port:
    port = Port(OperationsRequest)
    port.front = operations
    return port
