"""`Table` in one SQLite file: WAL, synchronous=FULL, one writer thread with group commit, readers beside it."""

import asyncio
import os
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from lateen.adapters import sqlite_statements as sql
from lateen.adapters.data_folder import FolderLock
from lateen.adapters.sqlite_file import open_reader, open_writer, unavailable_from
from lateen.adapters.sqlite_writer import GroupWriter
from lateen.adapters.stored_items import check_key, decoded, encoded
from lateen.domain.errors import TooLarge
from lateen.ports.table import (
    QUERY_LIMIT,
    TRANSACTION_LIMIT,
    TRANSACTION_LIMIT_BYTES,
    Check,
    Delete,
    Item,
    ItemNotFound,
    Key,
    Operation,
    Page,
    Put,
    RevisionConflict,
    TableUnavailable,
)

PAGE_LIMIT_BYTES = 4_000_000
"""A page that holds as much ends, so that 1000 large items do not come to 400 MB."""
READ_THREADS = 4

T = TypeVar("T")


class SqliteTable:
    """`Table` on a SQLite file, and the lock of the folder that it lies in."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time, busy_timeout_s: float = 5.0) -> None:
        """Open or create the file; blocks for some milliseconds.

        Args:
            clock: Unix time in seconds.
            busy_timeout_s: how long a write waits for another program (a backup, a shell) that holds the file locked.

        Raises: `DataFolderError` if the folder is in use or the file is not ours.
        """
        self._path = path.absolute()
        self._clock = clock
        self._lock = FolderLock(self._path.parent)
        try:
            self._writer = GroupWriter(open_writer(self._path, busy_timeout_s=busy_timeout_s))
        except BaseException:
            self._lock.release()
            raise
        self._inode = self._path.stat().st_ino
        self._idle_readers: deque[sqlite3.Connection] = deque()
        self._threads = ThreadPoolExecutor(READ_THREADS, thread_name_prefix="lateen-table-reader")
        self._is_closed = False

    async def get(self, key: Key) -> Item:
        # On the event loop, by measurement: all of it takes about 10 µs, the way to a thread and back alone 110 µs.
        # WAL readers wait for no writer, and the pages of a table this size are in memory.
        try:
            with self._reader() as connection:
                rows = connection.execute(sql.GET, {"pk": key.pk, "sk": key.sk, "now": self._now_s()}).fetchall()
        except UnicodeEncodeError:  # a lone surrogate: no such text was ever stored
            raise ItemNotFound(key) from None
        if not rows:
            raise ItemNotFound(key)
        ((revision, expires_at, data),) = rows
        return Item(key=key, data=decoded(data), revision=revision, expires_at=expires_at)

    async def put(self, item: Item, *, expected: int | None) -> Item:
        check_key(item.key)
        return await self._writer.run(partial(self._put, Put(item, expected), encoded(item)))

    async def delete(self, key: Key, *, expected: int | None = None) -> None:
        check_key(key)
        await self._writer.run(partial(self._delete, Delete(key, expected)))

    async def query(
        self,
        pk: str,
        *,
        begins: str = "",
        lower: str | None = None,
        upper: str | None = None,
        after: str | None = None,
        descending: bool = False,
        limit: int = 100,
    ) -> Page:
        if not 1 <= limit <= QUERY_LIMIT:
            raise ValueError(f"limit must be 1 to {QUERY_LIMIT}")
        statement, bounds = sql.select_range(begins, lower, upper, after, descending=descending)
        bounds |= {"pk": pk, "now": self._now_s(), "rows": limit + 1}
        try:
            return await self._in_thread(partial(self._page, statement, bounds, limit))
        except UnicodeEncodeError:
            return Page([], None)

    async def transact(self, operations: Sequence[Operation]) -> list[Item]:
        if len(operations) > TRANSACTION_LIMIT:
            raise ValueError(f"a transaction has at most {TRANSACTION_LIMIT} operations")
        keys = [operation.item.key if isinstance(operation, Put) else operation.key for operation in operations]
        for key in keys:
            check_key(key)
        if len(set(keys)) < len(keys):
            raise ValueError("a transaction names each key once")
        bodies = [encoded(operation.item) if isinstance(operation, Put) else b"" for operation in operations]
        if sum(map(len, bodies)) > TRANSACTION_LIMIT_BYTES:
            raise TooLarge(f"a transaction holds at most {TRANSACTION_LIMIT_BYTES} bytes")
        if not operations:
            return []
        return await self._writer.run(partial(self._transact, operations, bodies), in_savepoint=True)

    async def write(self, items: Sequence[Item]) -> None:
        rows = []
        for item in items:
            check_key(item.key)
            rows.append((item.key.pk, item.key.sk, item.expires_at, encoded(item)))
        if rows:
            await self._writer.run(lambda connection: connection.executemany(sql.WRITE, rows), in_savepoint=True)

    async def ping(self) -> None:
        await self._in_thread(self._ping)

    async def sweep(self, *, limit: int = 1000) -> int:
        """Remove up to `limit` expired items, the oldest first; returns how many. For housekeeping, which repeats it
        while the answer is `limit`. Readers see no difference."""
        bounds = {"now": self._now_s(), "limit": limit}
        return await self._writer.run(lambda connection: connection.execute(sql.SWEEP, bounds).rowcount)

    # What else lives in the file

    async def in_writer(self, action: Callable[[sqlite3.Connection], T]) -> T:
        """Run `action` in the writer's thread; all of it or nothing is on disk after the return."""
        return await self._writer.run(action, in_savepoint=True)

    def read(self, statement: str, bounds: Sequence[Any] | dict[str, Any]) -> list[tuple[Any, ...]]:
        """For what takes microseconds: it runs where it is called."""
        with self._reader() as connection:
            return connection.execute(statement, bounds).fetchall()

    async def read_in_thread(self, statement: str, bounds: dict[str, Any]) -> list[tuple[Any, ...]]:
        return await self._in_thread(partial(self.read, statement, bounds))

    async def close(self) -> None:
        """Finish what was begun, close the file and let the folder go. Later calls raise `TableUnavailable`."""
        if not self._is_closed:
            self._is_closed = True
            await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._threads.shutdown()
        # Readers first: the last connection to close moves the log into the file, and that must be the writer's.
        while self._idle_readers:
            self._idle_readers.pop().close()
        self._writer.close()
        self._lock.release()

    def _now_s(self) -> int:
        return int(self._clock())

    @contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        """A reading connection, alone; one that failed is not used again."""
        if self._is_closed:
            raise TableUnavailable("the store is closed")
        try:
            connection = self._idle_readers.pop() if self._idle_readers else open_reader(self._path)
            try:
                yield connection
            except sqlite3.Error:
                connection.close()
                raise
            except BaseException:
                self._idle_readers.append(connection)
                raise
            self._idle_readers.append(connection)
        except sqlite3.Error as exc:
            raise unavailable_from(exc) from exc

    async def _in_thread(self, action: Callable[[], T]) -> T:
        if self._is_closed:
            raise TableUnavailable("the store is closed")
        return await asyncio.get_running_loop().run_in_executor(self._threads, action)

    def _page(self, statement: str, bounds: dict[str, Any], limit: int) -> Page:
        items: list[Item] = []
        size = 0
        with self._reader() as connection, closing(connection.execute(statement, bounds)) as rows:
            for sk, revision, expires_at, data in rows:
                if len(items) == limit or size >= PAGE_LIMIT_BYTES:
                    return Page(items, items[-1].key.sk)
                key = Key(bounds["pk"], sk)
                items.append(Item(key=key, data=decoded(data), revision=revision, expires_at=expires_at))
                size += len(data)
        return Page(items, None)

    def _ping(self) -> None:
        with self._reader() as connection:
            connection.execute("SELECT 1 FROM items LIMIT 1").fetchall()
        try:
            is_ours = os.stat(self._path).st_ino == self._inode
        except OSError:
            is_ours = False
        if not is_ours:
            # The open file would go on to work, and all of it would be gone with this process.
            raise TableUnavailable("the database file was removed or replaced")

    def _put(self, put: Put, data: bytes, connection: sqlite3.Connection) -> Item:
        key = put.item.key
        row = {"pk": key.pk, "sk": key.sk, "expires_at": put.item.expires_at, "data": data, "now": self._now_s()}
        if put.expected is None:
            changed = connection.execute(sql.INSERT, row).rowcount
        else:
            changed = connection.execute(sql.UPDATE, row | {"expected": put.expected}).rowcount
        if changed == 0:
            raise RevisionConflict(key)
        return msgspec.structs.replace(put.item, revision=(put.expected or 0) + 1)

    def _delete(self, delete: Delete, connection: sqlite3.Connection) -> None:
        row = {"pk": delete.key.pk, "sk": delete.key.sk, "expected": delete.expected, "now": self._now_s()}
        if delete.expected is None:
            connection.execute(sql.DELETE, {"pk": delete.key.pk, "sk": delete.key.sk})
        elif connection.execute(sql.DELETE_EXPECTED, row).rowcount == 0:
            raise RevisionConflict(delete.key)

    def _check(self, check: Check, connection: sqlite3.Connection) -> None:
        row = {"pk": check.key.pk, "sk": check.key.sk, "now": self._now_s()}
        found = connection.execute(sql.REVISION, row).fetchall()
        if found != ([] if check.expected is None else [(check.expected,)]):
            raise RevisionConflict(check.key)

    def _transact(
        self, operations: Sequence[Operation], bodies: Sequence[bytes], connection: sqlite3.Connection
    ) -> list[Item]:
        stored = []
        for operation, data in zip(operations, bodies, strict=True):
            match operation:
                case Put():
                    stored.append(self._put(operation, data, connection))
                case Delete():
                    self._delete(operation, connection)
                case Check():
                    self._check(operation, connection)
        return stored
