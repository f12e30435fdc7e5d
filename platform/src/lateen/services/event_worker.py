"""The worker: takes events out of the queue and has them run, so many at a time.

While an event runs its lease is extended, so a lease need not be as long as a function may take. One function gets no
more than a part of the places, and one workspace no more than a larger part: however long theirs take, there is room
for others. A place is given while what one has is less than a multiple of what is free, so that the more are busy, the
smaller a share is.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from lateen.domain.errors import Unavailable
from lateen.ports.queue import BATCH_LIMIT, Depth, LeaseLost, Message, Queue
from lateen.services.event_runs import EventRuns

if TYPE_CHECKING:
    from prometheus_client import Metric

log = logging.getLogger(__name__)

EMPTY_S = 0.2
"""Between two looks at a queue that has nothing."""
AWAY_S = 1.0
"""Between two looks at one that does not answer."""
DEPTH_EVERY_S = 10.0
FUNCTION_SHARE, WORKSPACE_SHARE = 1, 4
"""Of ten places a function gets five, a workspace eight."""
RETURN_S = 5.0
"""For handing back what is not finished when the process ends."""


class EventWorker:
    def __init__(self, queue: Queue, runs: EventRuns, *, concurrency: int) -> None:
        """Args:
        concurrency: events that run at a time.
        """
        self._queue = queue
        self._runs = runs
        self._concurrency = concurrency
        self._running: dict[asyncio.Task[None], Message] = {}
        self._by_lane: Counter[str] = Counter()
        self._by_workspace: Counter[str] = Counter()
        self._has_room = asyncio.Event()
        self._is_stopping = asyncio.Event()
        self._depth: Depth | None = None
        self._is_away = False
        self.leases_lost = 0

    @property
    def running(self) -> int:
        """Events at the moment."""
        return len(self._running)

    def stop(self) -> None:
        """Nothing new is taken from now on."""
        self._is_stopping.set()

    @asynccontextmanager
    async def working(self, *, drain_s: float, ended: Callable[[], None] = lambda: None) -> AsyncIterator[None]:
        """Args:
        drain_s: at the end, for what runs; what takes longer is handed back, and runs again elsewhere.
        ended: called if it stops taking events by itself, which is a defect.
        """
        taking = asyncio.create_task(self._take_for_ever())
        taking.add_done_callback(lambda _: None if self._is_stopping.is_set() else ended())
        measuring = asyncio.create_task(self._measure_for_ever())
        try:
            yield
        finally:
            self.stop()
            measuring.cancel()
            await asyncio.gather(taking, measuring, return_exceptions=True)
            if self._running:
                log.info("draining", extra={"events": len(self._running)})
                await asyncio.wait(self._running, timeout=drain_s)
            left = list(self._running)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            if left:
                log.warning("events handed back unfinished", extra={"events": len(left)})

    def collect(self) -> "Iterator[Metric]":
        """For a `prometheus_client` registry."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        ended = CounterMetricFamily("lateen_events_ended", "Events, by what became of them.", labels=["outcome"])
        for outcome, count in sorted(self._runs.ended.items()):
            ended.add_metric([outcome], count)
        yield ended
        attempts = CounterMetricFamily(
            "lateen_events_attempts", "Tries to run an event, by what came of them.", labels=["result"]
        )
        for result, count in sorted(self._runs.attempts.items()):
            attempts.add_metric([result], count)
        yield attempts
        yield CounterMetricFamily(
            "lateen_events_leases_lost",
            "Events that another worker had by the time this one was done; they may have run twice.",
            self.leases_lost,
        )
        yield GaugeMetricFamily("lateen_events_running", "Events that run in this process.", len(self._running))
        yield GaugeMetricFamily(
            "lateen_events_concurrency", "Events that may run in this process at a time.", self._concurrency
        )
        if (depth := self._depth) is None:
            return
        messages = GaugeMetricFamily(
            "lateen_queue_messages", "Events in the whole installation's queue, by state.", labels=["state"]
        )
        for state in ("waiting", "delayed", "leased", "dead"):
            messages.add_metric([state], getattr(depth, state))
        yield messages
        yield GaugeMetricFamily(
            "lateen_queue_oldest_timestamp_seconds",
            "Unix time at which the oldest event that waits or runs was sent; 0: there is none.",
            depth.oldest_at_s or 0.0,
        )

    async def _take_for_ever(self) -> None:
        while not self._is_stopping.is_set():
            wait_s = 0.0
            try:
                wait_s = await self._take()
            except Unavailable as exc:
                if not self._is_away:  # else it was said
                    log.warning("queue put off", extra={"reason": str(exc)})
                self._is_away = True
                wait_s = AWAY_S
            except Exception:
                log.exception("worker failed and goes on")
                wait_s = AWAY_S
            if wait_s:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._is_stopping.wait(), wait_s)

    async def _take(self) -> float:
        """Start what there is room for. Returns: seconds after which to look again."""
        free = self._concurrency - len(self._running)
        if free <= 0:
            await self._until_there_is_room()
            return 0.0
        # By halves, because shares are counted between two batches.
        messages = await self._queue.receive(
            limit=min(BATCH_LIMIT, (free + 1) // 2), without=self._at_their_limit(free)
        )
        self._is_away = False
        for message in messages:
            self._start(message)
        return 0.0 if messages else EMPTY_S

    async def _until_there_is_room(self) -> None:
        self._has_room.clear()
        room, stop = (asyncio.ensure_future(event.wait()) for event in (self._has_room, self._is_stopping))
        await asyncio.wait((room, stop), return_when=asyncio.FIRST_COMPLETED)
        room.cancel()
        stop.cancel()

    def _at_their_limit(self, free: int) -> set[str]:
        """Lanes and workspaces that get nothing more at the moment."""
        return {lane for lane, held in self._by_lane.items() if held >= FUNCTION_SHARE * free} | {
            workspace for workspace, held in self._by_workspace.items() if held >= WORKSPACE_SHARE * free
        }

    def _start(self, message: Message) -> None:
        task = asyncio.create_task(self._run(message))
        self._running[task] = message
        self._by_lane[message.lane] += 1
        self._by_workspace[_workspace_of(message)] += 1
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        message = self._running.pop(task)
        for counter, name in ((self._by_lane, message.lane), (self._by_workspace, _workspace_of(message))):
            counter[name] -= 1
            if not counter[name]:
                del counter[name]
        self._has_room.set()

    async def _run(self, message: Message) -> None:
        keeping = asyncio.create_task(self._keep(message))
        try:
            await self._runs.run(message)
        except LeaseLost:
            self.leases_lost += 1
        except Unavailable as exc:
            log.warning("event put off", extra={"lane": message.lane, "reason": str(exc)})
            # Left to its lease it would count as a delivery whose worker died, which too many of end an event.
            await self._hand_back(message, delay_s=self._queue.lease_s)
        except asyncio.CancelledError:
            await self._hand_back(message)
            raise
        except Exception:
            # It comes again when the lease is over, and not without end: deliveries are counted.
            log.exception("event failed", extra={"lane": message.lane})
        finally:
            keeping.cancel()

    async def _keep(self, message: Message) -> None:
        """Extend the lease until cancelled, or lost."""
        while True:
            await asyncio.sleep(self._queue.lease_s / 3)
            try:
                await self._queue.extend(message)
            except LeaseLost:
                return
            except Unavailable:
                continue

    async def _hand_back(self, message: Message, *, delay_s: float = 0.0) -> None:
        """Where not even that can be said, it comes again when its lease is over."""
        with suppress(LeaseLost, Unavailable, TimeoutError):
            async with asyncio.timeout(RETURN_S):
                await self._queue.retry(message, delay_s=delay_s)

    async def _measure_for_ever(self) -> None:
        while True:
            try:
                await self._measure()
            except Exception:
                log.exception("queue can't be measured")
            await asyncio.sleep(DEPTH_EVERY_S)

    async def _measure(self) -> None:
        try:
            self._depth = await self._queue.depth()
        except Unavailable:
            self._depth = None


def _workspace_of(message: Message) -> str:
    return message.lane.partition("/")[0]
