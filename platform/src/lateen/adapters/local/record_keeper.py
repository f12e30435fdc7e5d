"""Execution records on their way from invokers to the store: kept until they are on disk, one batch for each invoker.

An invoker sends its next batch only when the last one is acknowledged, unless it ends, and drops and counts beyond its
own bound, so memory here is bounded by the number of invokers, however long the store is away. Only that is waited for:
a batch that the store refuses for another reason is lost and counted, and the next one gets its turn.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence

from lateen.domain.errors import Unavailable
from lateen_invoker import control
from lateen_invoker.records import ExecutionRecord
from lateen_invoker.rollups import Rollup

log = logging.getLogger(__name__)

Store = Callable[[str, Sequence[ExecutionRecord], Sequence[Rollup]], Awaitable[None]]
"""Function id, its records and statistics; when it returns they are on disk. Storing again is no error."""
FIRST_RETRY_S = 0.1
LAST_RETRY_S = 5.0
ORPHAN_S = 60.0
"""How long records of an invoker that is gone are tried for."""


class RecordKeeper:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._tasks: set[asyncio.Task[None]] = set()
        self.dropped = 0
        """Records lost by full buffers, by the store's refusal or at the end."""

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
                    await self._store(function_id, batch.records, batch.rollups)
                except Unavailable as exc:
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
        except Exception as exc:
            # The batch would be refused again, and the invoker must not wait for its acknowledgement for ever.
            self._lose(function_id, batch, type(exc).__name__, exc)
            stored(batch.batch)

    def _lose(self, function_id: str, batch: control.Records, reason: str, exc: BaseException | None = None) -> None:
        self.dropped += len(batch.records)
        log.error(
            "execution records lost",
            exc_info=exc,
            extra={"function": function_id, "count": len(batch.records), "reason": reason},
        )
