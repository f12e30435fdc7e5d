"""`Known`: what was read from a store a moment ago, for those who ask for it on every call.

An entry is good for a few seconds. In the last of them whoever uses it has it read again behind his back, so that what
is in use never waits for the store. While the store is away entries are served stale, for minutes: calls
that need nothing new go on. What the store refuses (it is gone, it was revoked) is forgotten at once.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from lateen.domain.errors import LateenError, Unavailable

log = logging.getLogger(__name__)

LIVES_S = 5.0
FRESH = 0.8
"""Of that time: nothing is read meanwhile."""
STALE_S = 600.0
WAIT_S = 1.0
"""For a store that is slow, before something stale is served instead."""
AGAIN_S = 1.0
"""Between two readings of one entry while the store is away."""

K = TypeVar("K")
V = TypeVar("V")


class Known(Generic[K, V]):
    def __init__(
        self,
        read: Callable[[K], Awaitable[V]],
        *,
        entries: int,
        lives_s: float = LIVES_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Args:
        read: raises a `LateenError` where there is nothing to know, `Unavailable` where that can't be told.
        lives_s: infinite where whoever changes something says `forget`.
        """
        self._read = read
        self._limit = entries
        self._lives_s = lives_s
        self._clock = clock
        self._entries: dict[K, _Entry[V]] = {}
        self._reading: dict[K, asyncio.Task[V]] = {}
        self._is_away = False
        """The store, by what the last reading met."""
        self.stale = 0
        """Answers that were too old, for want of a store."""

    def __len__(self) -> int:
        return len(self._entries)

    def now(self, key: K) -> V | None:
        """Where it is known for sure. Costs a look-up."""
        entry = self._entries.get(key)
        return entry.value if entry is not None and self._clock() < entry.fresh_until_s else None

    async def get(self, key: K) -> V:
        """Raises: what `read` raises."""
        entry, now_s = self._entries.get(key), self._clock()
        if entry is None:
            return await asyncio.shield(self._reread(key))
        if now_s < entry.fresh_until_s:
            return entry.value
        reading = self._reading.get(key)
        if reading is None and now_s >= entry.again_at_s:
            reading = self._reread(key)
        if now_s < entry.read_at_s + self._lives_s:
            return entry.value
        if now_s >= entry.read_at_s + STALE_S:
            return await asyncio.shield(reading or self._reread(key))
        if reading is not None and not self._is_away:
            try:
                async with asyncio.timeout(WAIT_S):
                    return await asyncio.shield(reading)
            except (TimeoutError, Unavailable):
                self._is_away = True
        self.stale += 1
        return entry.value

    def forget(self, key: K) -> None:
        """It was changed: what is being read of it may be older than that, and is not kept either."""
        self._entries.pop(key, None)
        self._reading.pop(key, None)

    def forget_all(self, which: Callable[[K], bool]) -> None:
        for key in [*self._entries, *self._reading]:
            if which(key):
                self.forget(key)

    def _reread(self, key: K) -> "asyncio.Task[V]":
        """One reading of a key at a time, whoever waits for it and leaves."""
        reading = self._reading.get(key)
        if reading is None:
            reading = self._reading[key] = asyncio.ensure_future(self._read_now(key))
            reading.add_done_callback(_looked_at)
        return reading

    async def _read_now(self, key: K) -> V:
        me = asyncio.current_task()
        asked_at_s = self._clock()
        try:
            value = await self._read(key)
        except Unavailable:
            self._is_away = True
            if (entry := self._entries.get(key)) is not None and self._reading.get(key) is me:
                entry.again_at_s = self._clock() + AGAIN_S
            raise
        except LateenError:
            self._is_away = False
            if self._reading.get(key) is me:
                self._entries.pop(key, None)
            raise
        else:
            self._is_away = False
            if self._reading.get(key) is me:
                self._entries.pop(key, None)
                self._entries[key] = _Entry(value, asked_at_s, self._lives_s)
                if len(self._entries) > self._limit:
                    del self._entries[next(iter(self._entries))]
            return value
        finally:
            if self._reading.get(key) is me:
                del self._reading[key]


class _Entry(Generic[V]):
    __slots__ = ("again_at_s", "fresh_until_s", "read_at_s", "value")

    def __init__(self, value: V, read_at_s: float, lives_s: float) -> None:
        self.value = value
        self.read_at_s = read_at_s
        self.fresh_until_s = read_at_s + lives_s * FRESH
        self.again_at_s = -math.inf


def _looked_at(reading: "asyncio.Task[V]") -> None:
    """Nobody may be waiting for it any more; its failure was dealt with."""
    if not reading.cancelled() and (exc := reading.exception()) is not None and not isinstance(exc, LateenError):
        log.error("reading failed", exc_info=exc)
