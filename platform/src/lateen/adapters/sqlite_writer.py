"""The one thread that writes, with group commit.

Whatever waits when a commit ends shares the next one, so that N concurrent writers pay for one fsync, and a lone
writer waits for nobody. Callers are told after the commit. SQLite syncs the log before readers see the transaction,
so what anybody has read is on disk too.
"""

import asyncio
import logging
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from lateen.adapters.sqlite_file import unavailable_from
from lateen.ports.table import TableUnavailable

GROUP_LIMIT = 500
"""Jobs a commit; keeps the wait of the first one in it at some milliseconds."""
QUEUE_LIMIT = 20_000

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(slots=True)
class _Job:
    action: Callable[[sqlite3.Connection], Any]
    in_savepoint: bool
    future: "asyncio.Future[Any]"
    value: Any = None
    error: Exception | None = None


class GroupWriter:
    """Owns `connection` and closes it in the end."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="lateen-table-writer", daemon=True)
        self._thread.start()

    async def run(self, action: Callable[[sqlite3.Connection], T], *, in_savepoint: bool = False) -> T:
        """Run `action` in the writer's thread and transaction; returns what it returned once that is on disk.

        An exception of the action is the caller's alone. `in_savepoint` undoes what it had written by then; an action
        of one statement needs none, for a statement is all or nothing. A caller that leaves does not take its write
        along: it happens, whole, or not at all. Raises: `TableUnavailable`.
        """
        if self._is_closed:
            raise TableUnavailable("the store is closed")
        if self._queue.qsize() >= QUEUE_LIMIT:
            raise TableUnavailable("too many writes are waiting")
        job = _Job(action, in_savepoint, asyncio.get_running_loop().create_future())
        self._queue.put(job)
        result: T = await job.future
        return result

    def close(self) -> None:
        """Finish what waits, then close; blocks. A second call does nothing."""
        if not self._is_closed:
            self._is_closed = True
            self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            group = [job]
            while len(group) < GROUP_LIMIT:
                try:
                    more = self._queue.get_nowait()
                except Empty:
                    break
                if more is None:
                    self._queue.put(None)
                    break
                group.append(more)
            self._commit(group)
            _tell(group)
        self._connection.close()

    def _commit(self, group: list[_Job]) -> None:
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            for job in group:
                try:
                    if job.in_savepoint:
                        connection.execute("SAVEPOINT job")
                    job.value = job.action(connection)
                    if job.in_savepoint:
                        connection.execute("RELEASE job")
                except sqlite3.Error:
                    raise
                except Exception as exc:
                    job.error = exc
                    if job.in_savepoint:
                        connection.execute("ROLLBACK TO job")
                        connection.execute("RELEASE job")
            connection.execute("COMMIT")
        except Exception as exc:
            self._fail(group, exc)

    def _fail(self, group: list[_Job], cause: Exception) -> None:
        """The disk is full, the file locked, or worse: nothing of the group is stored, and each caller may repeat."""
        if not isinstance(cause, sqlite3.Error):
            log.error("table writer failed", exc_info=cause)
            cause = sqlite3.Error()
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error as exc:
            log.error("table rollback failed", exc_info=exc)
        for job in group:
            job.error = unavailable_from(cause)
            job.error.__cause__ = cause
        log.error(
            "table write failed",
            extra={
                "reason": str(group[0].error),
                "code": getattr(cause, "sqlite_errorname", None),
                "writes": len(group),
            },
        )


def _tell(group: list[_Job]) -> None:
    """Wake all callers of the group with one call into their loop."""
    by_loop: defaultdict[asyncio.AbstractEventLoop, list[_Job]] = defaultdict(list)
    for job in group:
        by_loop[job.future.get_loop()].append(job)
    for loop, jobs in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle, jobs)
        except RuntimeError:
            log.warning("table write finished after its event loop had ended", extra={"writes": len(jobs)})


def _settle(jobs: list[_Job]) -> None:
    for job in jobs:
        if job.future.done():  # the caller left
            continue
        if job.error is None:
            job.future.set_result(job.value)
        else:
            job.future.set_exception(job.error)
