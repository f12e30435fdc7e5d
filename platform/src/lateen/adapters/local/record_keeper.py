"""Execution records on their way from invokers to the store: kept until they are on disk, one batch for each invoker.

An invoker sends its next batch only when the last one is acknowledged, and drops and counts beyond its own bound, so
memory here is bounded by the number of invokers, however long the store is away.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence

from lateen.domain.errors import LateenError
from lateen_invoker import control
from lateen_invoker.records import ExecutionRecord

log = logging.getLogger(__name__)

Store = Callable[[str, Sequence[ExecutionRecord]], Awaitable[None]]
"""Function id and its records; when it returns they are on disk. Storing again is no error."""
FIRST_RETRY_S = 0.1
LAST_RETRY_S = 5.0
ORPHAN_S = 60.0
"""How long records of an invoker that is gone are tried for."""


class RecordKeeper:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._tasks: set[asyncio.Task[None]] = set()
        self.dropped = 0
        """Records lost by full buffers or at the end, for the metrics."""

    def take(
        self, function_id: str, batch: control.Records, *, stored: Callable[[int], None], gone: asyncio.Event
    ) -> None:
        """Store the batch, then call `stored` with its number. `gone`: the invoker has ended."""
        if batch.dropped:
            self.dropped += batch.dropped
            log.warning("execution records dropped", extra={"function": function_id, "count": batch.dropped})
        task = asyncio.get_running_loop().create_task(self._keep(function_id, batch, stored, gone))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self, *, within_s: float) -> None:
        """Try for this long to store what is left."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=within_s)
            for task in late:
                task.cancel()

    async def _keep(
        self, function_id: str, batch: control.Records, stored: Callable[[int], None], gone: asyncio.Event
    ) -> None:
        loop = asyncio.get_running_loop()
        wait_s = FIRST_RETRY_S
        alone_since_s: float | None = None
        try:
            while True:
                try:
                    await self._store(function_id, batch.records)
                except LateenError as exc:
                    reason = str(exc)
                else:
                    stored(batch.batch)
                    return
                if gone.is_set():
                    alone_since_s = alone_since_s or loop.time()
                    if loop.time() - alone_since_s > ORPHAN_S:
                        self._lose(function_id, batch, reason)
                        return
                if wait_s == FIRST_RETRY_S:
                    log.warning(
                        "execution records wait for the store", extra={"function": function_id, "reason": reason}
                    )
                await asyncio.sleep(wait_s * random.uniform(0.75, 1.25))  # noqa: S311 - jitter
                wait_s = min(LAST_RETRY_S, wait_s * 2)
        except asyncio.CancelledError:
            self._lose(function_id, batch, "Lateen stops")
            raise
        except Exception:
            # A defect must not leave the invoker waiting for its acknowledgement for ever.
            log.exception("execution records lost", extra={"function": function_id})
            self.dropped += len(batch.records)
            stored(batch.batch)

    def _lose(self, function_id: str, batch: control.Records, reason: str) -> None:
        self.dropped += len(batch.records)
        log.error(
            "execution records lost",
            extra={"function": function_id, "count": len(batch.records), "reason": reason},
        )
