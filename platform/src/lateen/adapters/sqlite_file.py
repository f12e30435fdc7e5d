"""The SQLite file: how it is opened, its schema and migrations, and its errors in our words."""

import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

from lateen.adapters.data_folder import DataFolderError, make_private, sync_folder
from lateen.ports.table import TableUnavailable

MIGRATIONS = (
    # A table with rowids: with `WITHOUT ROWID`, rows of some KB (records with a log tail) lie in the key's own tree,
    # which costs two to three times the CPU on writes and reads. Text keys compare as UTF-8 bytes (BINARY collation).
    """
    CREATE TABLE items (
        pk TEXT NOT NULL,
        sk TEXT NOT NULL,
        revision INTEGER NOT NULL,
        expires_at INTEGER,
        data BLOB NOT NULL,
        PRIMARY KEY (pk, sk)
    );
    CREATE INDEX items_by_expiry ON items (expires_at) WHERE expires_at IS NOT NULL;
    """,
    # The queue's. Times are Unix time in milliseconds; `number` breaks ties in the order of sending.
    """
    CREATE TABLE queue_messages (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        lane TEXT NOT NULL,
        due_at INTEGER NOT NULL,
        sent_at INTEGER NOT NULL,
        deliveries INTEGER NOT NULL,
        lease INTEGER NOT NULL,
        leased INTEGER NOT NULL,
        body BLOB NOT NULL
    );
    CREATE INDEX queue_messages_by_lane ON queue_messages (lane, due_at);
    CREATE INDEX queue_messages_by_due ON queue_messages (due_at);
    CREATE TABLE queue_lanes (lane TEXT PRIMARY KEY, messages INTEGER NOT NULL, turn INTEGER NOT NULL) WITHOUT ROWID;
    CREATE INDEX queue_lanes_by_turn ON queue_lanes (turn);
    CREATE TABLE queue_dead (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL,
        lane TEXT NOT NULL,
        sent_at INTEGER NOT NULL,
        body BLOB NOT NULL,
        reason TEXT NOT NULL
    );
    """,
    # What the messages of each lane count: 256 bytes more than their bodies have.
    """
    ALTER TABLE queue_lanes ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
    UPDATE queue_lanes SET bytes =
    (SELECT COALESCE(SUM(LENGTH(body) + 256), 0) FROM queue_messages AS m WHERE m.lane = queue_lanes.lane);
    """,
)
"""Scripts, never edited once released; `user_version` counts those that a file has seen."""

READ_BUSY_MS = 50
"""In WAL mode a reader waits for nobody, but in moments of recovery. Reads run on the event loop, hence so short."""
WAL_LIMIT_BYTES = 64 << 20

_FULL = {sqlite3.SQLITE_FULL}
_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def open_writer(path: Path, *, busy_timeout_s: float) -> sqlite3.Connection:
    """The connection that writes, on a file of the current schema; created 0600 where there is none.

    It alone writes and checkpoints. Raises: `DataFolderError`.
    """
    try:
        make_private(path.parent)
        # SQLite gives its -wal and -shm files the mode of the database file.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(path, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False)
        try:
            _refuse_newer(connection, path)
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode != "wal":
                raise DataFolderError(
                    f"the file system of {path.parent} lacks what SQLite's WAL needs (shared memory); a network disk? "
                    "Choose another folder with LATEEN_DATA"
                )
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA fullfsync = ON")  # only macOS knows the difference
            connection.execute("PRAGMA checkpoint_fullfsync = ON")
            connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}").fetchall()
            _migrate(connection)
        except BaseException:
            connection.close()
            raise
        sync_folder(path.parent)
    except OSError as exc:
        raise DataFolderError(f"{path} cannot be used: {exc.strerror}") from exc
    except sqlite3.Error as exc:
        if exc.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
            raise DataFolderError(f"{path} is not a SQLite database; move it away to start with an empty one") from exc
        raise DataFolderError(f"{path} cannot be opened: {unavailable_from(exc)} ({exc.sqlite_errorname})") from exc
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that cannot write; any thread may use it, one at a time."""
    return sqlite3.connect(
        f"file:{quote(str(path))}?mode=ro",
        uri=True,
        timeout=READ_BUSY_MS / 1000,
        isolation_level=None,
        check_same_thread=False,
    )


def unavailable_from(error: sqlite3.Error) -> TableUnavailable:
    """SQLite's error as ours; its text stays in the cause."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte of an extended code is the plain one
    if code in _FULL:
        return TableUnavailable("the disk is full")
    if code in _LOCKED:
        return TableUnavailable("another program holds the database locked")
    return TableUnavailable("the database does not answer")


def _refuse_newer(connection: sqlite3.Connection, path: Path) -> None:
    """Before anything in the file is changed."""
    if (version := _version(connection)) > len(MIGRATIONS):
        raise DataFolderError(
            f"{path} was written by a newer Lateen (schema {version}, this one knows {len(MIGRATIONS)}); update Lateen"
        )


def _migrate(connection: sqlite3.Connection) -> None:
    version = _version(connection)
    for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
        # Schema and number in one transaction: a migration that was interrupted never happened.
        connection.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT;")


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version
