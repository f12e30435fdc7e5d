"""Calls of a real function, counted by its invoker and read by the platform."""

import asyncio
from typing import Any

from lateen.domain.access import PLATFORM
from lateen.services.statistics import FunctionStatistics, Statistics

CODE = """
import time

def handler(event, context):
    path = event["rawPath"]
    if path == "/fails":
        raise ValueError("as told")
    if path == "/sleeps":
        time.sleep(30)
    return "done"
"""


async def test_what_was_called_is_counted(embedded: Any) -> None:
    """By how it ended; all versions together; and while nothing is called any more, nothing changes."""
    statistics = Statistics(embedded.table, functions=embedded.functions)
    function = await embedded.create(CODE, timeout_s=1)
    await embedded.settled(function)

    async def counted(calls: int) -> FunctionStatistics:
        async with asyncio.timeout(60):
            while (found := await statistics.of_function(PLATFORM, function.id, "1h")).totals.calls < calls:
                await asyncio.sleep(0.1)
        return found

    async with embedded.client() as client:
        for path, status in (("/", 200), ("/", 200), ("/fails", 502), ("/sleeps", 502)):
            assert (await client.get(embedded.url_of(function, path))).status_code == status
        found = await counted(4)
        assert (found.totals.calls, found.totals.errors, found.totals.timeouts) == (4, 2, 1)
        assert found.totals.cold_starts >= 1
        records = (await embedded.records.list(PLATFORM, function.id)).items
        assert found.totals.cold_starts == sum(record.cold for record in records)
        longest = max(record.duration_ms for record in records)
        assert found.totals.p99_ms is not None
        assert abs(found.totals.p99_ms / longest - 1) < 0.1
        # Another invoker takes over, and the first one has handed over what it had counted.
        changed = await embedded.update(function, code=CODE + "\n")
        await embedded.settled(changed)
        assert (await client.get(embedded.url_of(function))).status_code == 200
    assert (await counted(5)).totals.calls == 5


async def test_an_invoker_that_stops_leaves_nothing_uncounted(embedded: Any) -> None:
    """What had time is written at the end, for the day and the week as well."""
    function = await embedded.create(CODE)
    await embedded.settled(function)
    async with embedded.client() as client:
        for _ in range(20):
            assert (await client.get(embedded.url_of(function))).status_code == 200
    await embedded.deployer.close(within_s=30)
    for series in ("MINUTES", "QUARTERS"):
        items = (await embedded.table.query(f"FN#{function.id}", begins=f"STATS#{series}#")).items
        assert sum(sum(slot[6::2]) for item in items for slot in item.data["slots"]) == 20
