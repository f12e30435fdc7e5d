"""The operations port of a process in a cluster: health and metrics without a key, for the kubelet and for Prometheus.

No Ingress leads to it, and NetworkPolicies open it to those two. ASGI by hand: a gateway has no use for a framework.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

import msgspec

from lateen.api.health import Health, Readiness
from lateen.api.metrics import CONTENT_TYPE, ProcessMetrics
from lateen.api.problems import Refusal, send_problem

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_JSON = "application/json"
_ASKED = frozenset({"1", "true", "yes", "on"})


class OperationsPort:
    def __init__(self, *, readiness: Readiness, metrics: ProcessMetrics) -> None:
        self._readiness = readiness
        self._metrics = metrics

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:
        path = scope["path"]
        if scope["method"] not in ("GET", "HEAD"):
            await send_problem(send, Refusal("method-not-allowed", "GET only", headers={"Allow": "GET, HEAD"}))
        elif path in ("/health", "/health/live"):
            is_broken = self._readiness.is_broken
            found = Health("unhealthy" if is_broken else "healthy")
            await _answer(send, 503 if is_broken else 200, _JSON, msgspec.json.encode(found))
        elif path == "/health/ready":
            # The kubelet does not ask about stores: their outage is answered with 503, not with no replica.
            asked = parse_qs(scope["query_string"].decode("latin-1")).get("stores", ["false"])[-1].lower()
            ready = await self._readiness.check(stores=asked in _ASKED)
            await _answer(send, 200 if ready.status == "ready" else 503, _JSON, msgspec.json.encode(ready))
        elif path == "/metrics":
            await _answer(send, 200, f"{CONTENT_TYPE}; charset=utf-8", await self._metrics.text())
        else:
            await send_problem(send, Refusal("not-found", "there is nothing at this path"))


async def _answer(send: Send, status: int, content_type: str, body: bytes) -> None:
    headers = [
        (b"content-type", content_type.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
