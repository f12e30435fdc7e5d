"""`Work`: what is to be looked at, each key by one task at a time, many keys at once, failing ones ever more rarely."""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable

from lateen.adapters.kubernetes.api import ApiError

log = logging.getLogger(__name__)

AT_A_TIME = 24
"""More would not have the API server do more, but would have each function wait longer between its calls."""
PATIENCE_S = 1.0
"""What takes longer goes on beside the others, and doesn't count among those at a time."""
AT_MOST = 100
"""What takes longer included."""
FIRST_RETRY_S, LAST_RETRY_S = 0.2, 60.0


class Work:
    """`run` until cancelled; `do` is called for each key that was added since it was called last."""

    def __init__(self, do: Callable[[str], Awaitable[None]], *, what: str = "function") -> None:
        """Args:
        what: a key is the id of, for the log.
        """
        self._do = do
        self._what = what
        self._waiting: deque[str] = deque()
        self._has_waiting = asyncio.Semaphore(0)
        self._most = asyncio.Semaphore(AT_MOST)
        self._dirty: set[str] = set()
        self._running: set[str] = set()
        self._anew: set[str] = set()
        self._failures: dict[str, int] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    @property
    def length(self) -> int:
        """Keys that wait for a worker."""
        return len(self._dirty)

    def add(self, key: str, *, anew: bool = False) -> None:
        """Look at it now; one that failed is not looked at before its time, unless what is wanted is `anew`."""
        if anew:
            self._anew.add(key)
            self._failures.pop(key, None)
            if (timer := self._timers.pop(key, None)) is not None:
                timer.cancel()
        elif key in self._timers and key in self._failures:
            return
        self._mark(key)

    def add_later(self, key: str, after_s: float) -> None:
        """Look at it then at the latest."""
        loop = asyncio.get_running_loop()
        if (timer := self._timers.get(key)) is not None:
            if key in self._failures or timer.when() <= loop.time() + after_s:
                return
            timer.cancel()
        self._timers[key] = loop.call_later(after_s, self._due, key)

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(AT_A_TIME):
                    tasks.create_task(self._work(tasks))
        finally:
            for timer in self._timers.values():
                timer.cancel()
            self._timers.clear()

    def _due(self, key: str) -> None:
        self._timers.pop(key, None)
        self._mark(key)

    def _mark(self, key: str) -> None:
        if key not in self._dirty:
            self._dirty.add(key)
            if key not in self._running:
                self._put(key)

    def _put(self, key: str) -> None:
        self._waiting.append(key)
        self._has_waiting.release()

    async def _work(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            await self._has_waiting.acquire()
            await self._most.acquire()
            await asyncio.wait([tasks.create_task(self._look(self._waiting.popleft()))], timeout=PATIENCE_S)

    async def _look(self, key: str) -> None:
        self._dirty.discard(key)
        self._anew.discard(key)
        self._running.add(key)
        try:
            await self._do(key)
        except ApiError as exc:
            self._put_off(key, str(exc))
        except Exception:
            log.exception("not looked at to the end", extra={self._what: key})
            self._put_off(key, "a defect")
        else:
            self._failures.pop(key, None)
        finally:
            self._most.release()
            self._running.discard(key)
            if key in self._dirty:
                self._put(key)

    def _put_off(self, key: str, reason: str) -> None:
        if key in self._anew:  # something else is wanted by now, which may well succeed
            return
        count = self._failures[key] = self._failures.get(key, 0) + 1
        wait_s = min(LAST_RETRY_S, FIRST_RETRY_S * 2 ** min(count - 1, 12)) * random.uniform(0.75, 1.25)  # noqa: S311
        if (timer := self._timers.pop(key, None)) is not None:
            timer.cancel()
        # Whatever was seen meanwhile is looked at then.
        self._dirty.discard(key)
        self._timers[key] = asyncio.get_running_loop().call_later(wait_s, self._due, key)
        log.warning("tried again later", extra={self._what: key, "reason": reason, "after_s": round(wait_s, 1)})


async def together(*parts: Awaitable[object]) -> None:
    """All at once and all to their ends; then the first error, if there is one, as it is."""
    for outcome in await asyncio.gather(*parts, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
