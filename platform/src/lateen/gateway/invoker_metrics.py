"""The metrics of all invokers, each sample with its function's id and version as labels.

Embedded mode only: in a cluster each pod is asked by Prometheus itself. What is read is bounded in bytes and time; an
invoker that does not answer is left out.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from lateen.domain.functions import version_in
from lateen.gateway.connections import UpstreamFailed
from lateen.gateway.invocations import signed_head, whole_body
from lateen.gateway.pool import Pool
from lateen.ports.deployer import Endpoint

if TYPE_CHECKING:
    from prometheus_client import Metric

DEADLINE_S = 2.0
ANSWER_LIMIT = 256 * 1024
AT_ONCE = 8


async def invoker_metrics(
    pool: Pool, running: Mapping[str, Endpoint], *, now: Callable[[], float] = time.time
) -> "list[Metric]":
    """Metric families, as a `prometheus_client` collector yields them.

    Args:
        running: by the deployment's id, such as `LocalDeployer.running()`.
    """
    gate = asyncio.Semaphore(AT_ONCE)

    async def ask(deployed: str, endpoint: Endpoint) -> tuple[str, str]:
        async with gate:
            return deployed, await _read(pool, endpoint, now())

    asked = [asyncio.ensure_future(ask(*each)) for each in running.items()]
    if not asked:
        return []
    _, late = await asyncio.wait(asked, timeout=DEADLINE_S)
    for task in late:
        task.cancel()
    return merged(task.result() for task in asked if task not in late and task.exception() is None)


def merged(texts: "Iterable[tuple[str, str]]") -> "list[Metric]":
    """One family of each name out of many invokers' texts, by deployment id; a text that is none is left out."""
    from prometheus_client import Metric
    from prometheus_client.parser import text_string_to_metric_families

    families: dict[str, Metric] = {}
    for deployed, text in texts:
        function_id, version = version_in(deployed)
        labels = {"function": function_id, "version": version}
        try:
            parsed = list(text_string_to_metric_families(text))
        except ValueError:
            continue
        for family in parsed:
            kept = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                kept.add_sample(sample.name, {**labels, **sample.labels}, sample.value)
    return list(families.values())


async def _read(pool: Pool, endpoint: Endpoint, now_s: float) -> str:
    connection = await pool.acquire(endpoint)
    complete = False
    try:
        connection.start(signed_head(endpoint, "GET", "/metrics", "", "", now_s=now_s))
        body = await whole_body(connection, ANSWER_LIMIT)
        if connection.status != 200:
            raise UpstreamFailed("no metrics")
        complete = True
        return body.decode("utf-8", "replace")
    finally:
        pool.release(connection, sent=complete)
