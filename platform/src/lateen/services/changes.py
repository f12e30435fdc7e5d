"""The change feed: processes that change functions tell the one that leads, through the table.

Best effort on purpose. What is written here was stored already, and the leader compares everything every minute: a
change that is lost is acted on later, and one that is told twice changes nothing. So no request waits for the feed or
fails because of it, and what can't be written soon is dropped and counted.
"""

import asyncio
import logging
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from lateen.domain.errors import LateenError, Unavailable
from lateen.domain.functions import Function
from lateen.domain.times import iso_ms
from lateen.ports.table import Delete, Item, Key, Table

if TYPE_CHECKING:
    from prometheus_client import Metric

log = logging.getLogger(__name__)

PARTITION = "CHANGES"
TTL_S = 3600
EVERY_S = 0.2
BATCH = 100
WAITING = 10_000
ATTEMPTS = 3
AGAIN_S = 1.0


class ChangeWriter:
    """`changed` is for `Functions.subscribe`; `run` writes, until cancelled."""

    def __init__(self, table: Table, *, now: Callable[[], float] = time.time) -> None:
        self._table = table
        self._now = now
        self._waiting: deque[Item] = deque()
        self._has_waiting = asyncio.Event()
        self.dropped = 0

    def changed(self, function: Function) -> None:
        self.look_at(function.id)

    def look_at(self, function_id: str) -> None:
        """Something of the function changed."""
        if len(self._waiting) >= WAITING:
            self._waiting.popleft()
            self.dropped += 1
        now_s = self._now()
        # By time, so that what is oldest is read first; with something random, so that none takes another's place.
        key = Key(PARTITION, f"{iso_ms(now_s)}#{function_id}#{secrets.token_hex(4)}")
        self._waiting.append(Item(key=key, data={"function_id": function_id}, expires_at=int(now_s) + TTL_S))
        self._has_waiting.set()

    async def run(self) -> None:
        while True:
            await self._has_waiting.wait()
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            if not self._waiting:
                self._has_waiting.clear()
            await self._write(batch)

    def collect(self) -> "Iterator[Metric]":
        from prometheus_client.core import CounterMetricFamily

        yield CounterMetricFamily(
            "lateen_changes_dropped",
            "Changes of which the controller was not told at once, for the table was away; the next comparison finds "
            "them.",
            self.dropped,
        )

    async def _write(self, batch: Sequence[Item]) -> None:
        for attempt in range(ATTEMPTS):
            if attempt:
                await asyncio.sleep(AGAIN_S)
            try:
                await self._table.write(batch)
                return
            except LateenError as exc:
                reason = str(exc)
        self.dropped += len(batch)
        log.warning("changes not told", extra={"changes": len(batch), "reason": reason})


class ChangeReader:
    """`run` until cancelled, in one process at a time."""

    def __init__(
        self, table: Table, *, act: Callable[[Sequence[str]], Awaitable[None]], every_s: float = EVERY_S
    ) -> None:
        """Args:
        act: gets ids of functions, each once. What it was told of is removed after it has returned.
        """
        self._table = table
        self._act = act
        self._every_s = every_s
        self._is_away = False

    async def run(self) -> None:
        while True:
            try:
                more = await self.poll()
                self._is_away = False
            except Unavailable as exc:
                if not self._is_away:  # else it was said
                    log.warning("change feed put off", extra={"reason": str(exc)})
                self._is_away = True
                await asyncio.sleep(AGAIN_S)
                continue
            except Exception:
                log.exception("change feed failed and goes on")
                await asyncio.sleep(AGAIN_S)
                continue
            if not more:
                await asyncio.sleep(self._every_s)

    async def poll(self) -> bool:
        """Act on what is there. Returns: whether there may be more."""
        page = await self._table.query(PARTITION, limit=BATCH)
        if not page.items:
            return False
        await self._act(list(dict.fromkeys(str(item.data.get("function_id")) for item in page.items)))
        await self._table.transact([Delete(item.key) for item in page.items])
        return page.next is not None
