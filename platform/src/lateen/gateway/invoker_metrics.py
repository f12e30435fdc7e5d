"""The metrics of all invokers as one Prometheus text, each sample with its function's id as a label.

Embedded mode only: in a cluster each pod is asked by Prometheus itself. What is read is bounded in bytes and time; an
invoker that does not answer is left out.
"""

import asyncio
import time
from collections.abc import Callable, Mapping

from lateen.gateway.connections import UpstreamFailed
from lateen.gateway.invocations import signed_head, whole_body
from lateen.gateway.pool import Pool
from lateen.ports.deployer import Endpoint

DEADLINE_S = 2.0
ANSWER_LIMIT = 256 * 1024
AT_ONCE = 8


async def invoker_metrics(
    pool: Pool, running: Mapping[str, Endpoint], *, now: Callable[[], float] = time.time
) -> bytes:
    """Args:
    running: by function id, such as `LocalDeployer.running()`.
    """
    gate = asyncio.Semaphore(AT_ONCE)

    async def ask(function_id: str, endpoint: Endpoint) -> tuple[str, bytes]:
        async with gate:
            return function_id, await _read(pool, endpoint, now())

    asked = [asyncio.ensure_future(ask(*each)) for each in running.items()]
    if not asked:
        return b""
    answered, late = await asyncio.wait(asked, timeout=DEADLINE_S)
    for task in late:
        task.cancel()
    texts = [task.result() for task in asked if task in answered and task.exception() is None]
    return merged(texts)


def merged(texts: list[tuple[str, bytes]]) -> bytes:
    """One text of many. All samples of a family stand together under one HELP and TYPE, as the format demands."""
    families: dict[str, list[str]] = {}
    for function_id, text in texts:
        samples: list[str] = []
        for line in text.decode("utf-8", "replace").splitlines():
            if line.startswith("# HELP "):
                name = line.split(" ", 3)[2]
                is_first = name not in families
                samples = families.setdefault(name, [])
                if is_first:
                    samples.append(line)
            elif line.startswith("# TYPE "):
                if is_first:
                    samples.append(line)
            elif line and not line.startswith("#"):
                samples.append(_labelled(line, function_id))
    return "".join(f"{line}\n" for lines in families.values() for line in lines).encode()


def _labelled(sample: str, function_id: str) -> str:
    name, brace, rest = sample.partition("{")
    if brace:
        return f'{name}{{function="{function_id}",{rest}'
    name, _, value = sample.partition(" ")
    return f'{name}{{function="{function_id}"}} {value}'


async def _read(pool: Pool, endpoint: Endpoint, now_s: float) -> bytes:
    connection = await pool.acquire(endpoint)
    complete = False
    try:
        connection.start(signed_head(endpoint, "GET", "/metrics", "", "", now_s=now_s))
        body = await whole_body(connection, ANSWER_LIMIT)
        if connection.status != 200:
            raise UpstreamFailed("no metrics")
        complete = True
        return body
    finally:
        pool.release(endpoint, connection, sent=complete)
