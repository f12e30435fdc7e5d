"""The embedded stores on a real disk: what the contracts do not say because only they have it."""

import asyncio
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lateen.adapters.data_folder import DataFolderError
from lateen.adapters.filesystem import FileObjects
from lateen.adapters.sqlite import SqliteTable
from lateen.adapters.sqlite_file import MIGRATIONS
from lateen.adapters.sqlite_queue import SqliteQueue
from lateen.ports.objects import ObjectsUnavailable
from lateen.ports.queue import MESSAGE_BYTES, TenantFull
from lateen.ports.table import Item, ItemNotFound, Key, TableUnavailable


def an_item(sk: str = "FN#1", expires_at: int | None = None, **data: object) -> Item:
    return Item(key=Key("WS#1", sk), data=data, expires_at=expires_at)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "lateen.db"


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# The table's file


async def test_everything_is_private(path: Path, tmp_path: Path) -> None:
    """Folders 0700 and files 0600, the log and blobs included, whatever the umask."""
    before = os.umask(0)
    try:
        table = SqliteTable(path)
        await table.put(an_item(), expected=None)
        objects = FileObjects(path.parent / "objects")
        await objects.put("ws/fn/code.py", b"code")
        found = {entry.relative_to(tmp_path).as_posix(): mode_of(entry) for entry in tmp_path.rglob("*")}
        await table.close()
    finally:
        os.umask(before)
    folders = {"data", "data/objects", "data/objects/~incoming", "data/objects/ws", "data/objects/ws/fn"}
    files = {"data/lateen.db", "data/lateen.db-wal", "data/lateen.db-shm", "data/lock", "data/objects/ws/fn/code.py"}
    assert found == dict.fromkeys(folders, 0o700) | dict.fromkeys(files, 0o600)


async def test_a_folder_that_was_there_keeps_its_mode(tmp_path: Path) -> None:
    """It may be a person's, or everybody's."""
    tmp_path.chmod(0o755)
    table = SqliteTable(tmp_path / "lateen.db")
    await table.close()
    assert mode_of(tmp_path) == 0o755


async def test_a_second_start_finds_everything(path: Path) -> None:
    """After a close, the file alone holds it all: no log is left beside it."""
    table = SqliteTable(path)
    stored = await table.put(an_item(n=1), expected=None)
    await table.close()
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["lateen.db", "lock"]
    again = SqliteTable(path)
    assert await again.get(stored.key) == stored
    await again.close()


async def test_commits_are_synced(path: Path) -> None:
    """WAL with synchronous=FULL, in which SQLite syncs the log at each commit."""
    table = SqliteTable(path)
    settings = await table._writer.run(
        lambda connection: [
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
        ]
    )
    assert settings == ["wal", 2]
    await table.close()


async def test_writes_that_come_together_share_a_commit(path: Path) -> None:
    """A hundred puts at once take a few commits, and a lone put takes one."""
    table = SqliteTable(path)
    commits = []
    table._writer._connection.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)
    await table.put(an_item("lone"), expected=None)
    assert len(commits) == 1
    await asyncio.gather(*(table.put(an_item(f"{number}"), expected=None) for number in range(100)))
    assert 2 <= len(commits) <= 11
    await table.close()


async def test_gets_do_not_wait_for_the_writer(path: Path) -> None:
    """While another program holds the write lock, reads of every kind go on."""
    table = SqliteTable(path, busy_timeout_s=20)
    await table.put(an_item(), expected=None)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    writing = asyncio.create_task(table.put(an_item("FN#2"), expected=None))
    await asyncio.sleep(0.01)
    began = time.perf_counter()
    await table.get(Key("WS#1", "FN#1"))
    assert len((await table.query("WS#1")).items) == 1
    await table.ping()
    assert time.perf_counter() - began < 10
    other.execute("ROLLBACK")
    other.close()
    await writing
    await table.close()


async def test_a_locked_file_is_unavailable(path: Path) -> None:
    """All that wait are told in words, nothing of theirs is stored, and when the lock goes the next write passes."""
    table = SqliteTable(path, busy_timeout_s=0.05)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    results = await asyncio.gather(
        table.put(an_item("a"), expected=None), table.write([an_item("b")]), table.sweep(), return_exceptions=True
    )
    assert [str(result) for result in results] == ["another program holds the database locked"] * 3
    assert all(isinstance(result, TableUnavailable) for result in results)
    other.execute("ROLLBACK")
    other.close()
    assert (await table.query("WS#1")).items == []
    await table.put(an_item("a"), expected=None)
    await table.close()


async def test_ping_notices_a_file_that_was_removed(path: Path) -> None:
    """The open file would go on to work, and everything in it would end with the process."""
    table = SqliteTable(path)
    await table.ping()
    path.rename(path.with_name("moved"))
    with pytest.raises(TableUnavailable, match="removed or replaced"):
        await table.ping()
    path.write_bytes(b"")
    with pytest.raises(TableUnavailable, match="removed or replaced"):
        await table.ping()
    await table.close()


async def test_close_finishes_what_was_begun(path: Path) -> None:
    """Writes that were handed over before are stored; later calls are refused in words; a second close is nothing."""
    table = SqliteTable(path)
    writes = [asyncio.create_task(table.put(an_item(f"{number:03}"), expected=None)) for number in range(200)]
    await asyncio.sleep(0)
    await table.close()
    await asyncio.gather(*writes)
    for call in (table.get(Key("WS#1", "000")), table.query("WS#1"), table.put(an_item(), expected=None), table.ping()):
        with pytest.raises(TableUnavailable, match="closed"):
            await call
    await table.close()
    again = SqliteTable(path)
    assert len((await again.query("WS#1", limit=1000)).items) == 200
    await again.close()


async def test_a_bug_in_one_write_is_its_own(path: Path) -> None:
    """An action that raises midway is undone alone, and the writer lives on."""
    table = SqliteTable(path)

    def broken(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM items")
        raise ZeroDivisionError

    results = await asyncio.gather(
        table.put(an_item("a"), expected=None),
        table._writer.run(broken, in_savepoint=True),
        table.put(an_item("b"), expected=None),
        return_exceptions=True,
    )
    assert isinstance(results[1], ZeroDivisionError)
    assert len((await table.query("WS#1")).items) == 2
    await table.close()


async def test_an_error_of_the_database_fails_the_group_and_no_more(path: Path) -> None:
    """Whoever shared the commit may repeat; nothing of theirs is stored, and the next commit is a new one."""
    table = SqliteTable(path)
    results = await asyncio.gather(
        table.put(an_item("a"), expected=None),
        table._writer.run(lambda connection: connection.execute("SELECT 1 FROM nowhere")),
        table.put(an_item("b"), expected=None),
        return_exceptions=True,
    )
    assert isinstance(results[1], TableUnavailable)
    assert str(results[1]) == "the database does not answer"
    assert isinstance(results[1].__cause__, sqlite3.OperationalError)
    stored = [result.key.sk for result in results if isinstance(result, Item)]
    assert [item.key.sk for item in (await table.query("WS#1")).items] == stored
    await table.put(an_item("c"), expected=None)
    await table.close()


# Sweeping


async def test_sweep_removes_expired_items_in_batches(path: Path) -> None:
    """At most `limit` a call, the oldest first, and nothing that has not expired."""
    now = 1_000_000
    table = SqliteTable(path, clock=lambda: now)
    await table.write([an_item(f"old#{number:03}", expires_at=now - number) for number in range(250)])
    await table.write([an_item("later", expires_at=now + 1), an_item("never")])
    assert [await table.sweep(limit=100) for _ in range(4)] == [100, 100, 50, 0]
    await table.close()
    with sqlite3.connect(path) as connection:
        assert [sk for (sk,) in connection.execute("SELECT sk FROM items ORDER BY sk")] == ["later", "never"]
    connection.close()


async def test_the_clock_alone_expires(path: Path) -> None:
    """Visible a second before, hidden in the very second, and so for every kind of call."""
    now = 1_000_000.9
    table = SqliteTable(path, clock=lambda: now)
    await table.put(an_item(expires_at=1_000_001), expected=None)
    await table.get(Key("WS#1", "FN#1"))
    now = 1_000_001.0
    with pytest.raises(ItemNotFound):
        await table.get(Key("WS#1", "FN#1"))
    await table.put(an_item(), expected=None)
    await table.close()


# Starting


HOLD = """
import sys, time
from pathlib import Path
from lateen.adapters.sqlite import SqliteTable
table = SqliteTable(Path(sys.argv[1]))
print("open", flush=True)
time.sleep(60)
"""


async def test_a_second_process_is_refused_in_words(path: Path) -> None:
    """It names the process and the folder; once that process is killed, the folder is free at once."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"open\n"
            with pytest.raises(DataFolderError, match=rf"process {holder.pid}\).*{path.parent}.*stop it first"):
                SqliteTable(path)
        finally:
            holder.kill()
            holder.wait()
    table = SqliteTable(path)
    await table.close()


async def test_twice_in_one_process_is_refused(path: Path) -> None:
    """Until the first one is closed."""
    table = SqliteTable(path)
    with pytest.raises(DataFolderError, match=f"process {os.getpid()}"):
        SqliteTable(path)
    await table.close()
    table = SqliteTable(path)
    await table.close()


async def test_child_processes_do_not_keep_the_folder(path: Path) -> None:
    """What Lateen starts may outlive it for a moment; the next start must not wait for it."""
    table = SqliteTable(path)
    with subprocess.Popen(["sleep", "30"], close_fds=False) as child:
        await table.close()
        again = SqliteTable(path)
        await again.close()
        child.kill()


def test_a_newer_schema_is_refused(path: Path) -> None:
    """An older Lateen does not touch what it cannot know."""
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(DataFolderError, match="newer Lateen"):
        SqliteTable(path)
    assert path.read_bytes() == before
    with pytest.raises(DataFolderError, match="newer Lateen"):  # and not 'in use': the lock was let go
        SqliteTable(path)


async def test_migrations_run_once_and_in_order(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of an older schema is brought forward with its items; an interrupted migration never happened."""
    table = SqliteTable(path)
    await table.put(an_item(n=1), expected=None)
    await table.close()
    broken = "ALTER TABLE items ADD COLUMN extra TEXT; INSERT INTO nowhere VALUES (1)"
    monkeypatch.setattr("lateen.adapters.sqlite_file.MIGRATIONS", (*MIGRATIONS, broken))
    with pytest.raises(DataFolderError, match="cannot be opened"):
        SqliteTable(path)
    good = "ALTER TABLE items ADD COLUMN extra TEXT NOT NULL DEFAULT 'x'"
    monkeypatch.setattr("lateen.adapters.sqlite_file.MIGRATIONS", (*MIGRATIONS, good))
    for _ in range(2):
        table = SqliteTable(path)
        assert (await table.get(Key("WS#1", "FN#1"))).data == {"n": 1}
        await table.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 1,)
        assert connection.execute("SELECT extra FROM items").fetchall() == [("x",)]
    connection.close()


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    """It stays as it is."""
    path.parent.mkdir()
    path.write_bytes(b"a photograph" * 1000)
    with pytest.raises(DataFolderError, match="not a SQLite database"):
        SqliteTable(path)
    assert path.read_bytes() == b"a photograph" * 1000


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """A file in the folder's place says so in words."""
    (tmp_path / "data").write_bytes(b"")
    with pytest.raises(DataFolderError, match="LATEEN_DATA"):
        SqliteTable(tmp_path / "data" / "lateen.db")


async def test_odd_paths(tmp_path: Path) -> None:
    """Characters that mean something in URLs, on which the readers are opened, mean nothing here."""
    table = SqliteTable(tmp_path / "a b?mode=rw#%41&é" / "lateen.db")
    await table.put(an_item(), expected=None)
    assert len((await table.query("WS#1")).items) == 1
    await table.close()


# The objects' folder


async def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    """Only what nobody is writing: an upload of another process goes on."""
    root = tmp_path / "objects"
    objects = FileObjects(root)
    (root / "~incoming" / "left").write_bytes(b"half")
    may_end = asyncio.Event()
    began = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"first"
        began.set()
        await may_end.wait()
        yield b"second"

    upload = asyncio.create_task(objects.put("ws/fn/code.py", slow()))
    await began.wait()
    again = FileObjects(root)
    assert len(list((root / "~incoming").iterdir())) == 1
    may_end.set()
    await upload
    assert [chunk async for chunk in again.read("ws/fn/code.py")] == [b"firstsecond"]
    assert list((root / "~incoming").iterdir()) == []


async def test_nothing_is_left_in_incoming(tmp_path: Path) -> None:
    """Not by puts, not by failed ones, not by cancelled ones."""
    objects = FileObjects(tmp_path)

    async def sender() -> AsyncIterator[bytes]:
        for _ in range(4):
            yield b"x" * 100_000

    for number in range(40):
        task = asyncio.create_task(objects.put("a", sender() if number % 2 else b"x" * 100_000))
        await asyncio.sleep(0.0001 * number)
        task.cancel()
        await asyncio.wait([task])
    await objects.put("a", b"")
    for _ in range(100):
        if not (left := list((tmp_path / "~incoming").iterdir())):
            break
        await asyncio.sleep(0.01)
    assert left == []


async def test_a_blob_is_synced_before_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file, then the rename, then each folder up to the root: a power cut finds the old blob or the new one."""
    objects = FileObjects(tmp_path)
    steps: list[tuple[str, str]] = []
    fsync, replace = os.fsync, os.replace

    def watched_fsync(descriptor: int) -> None:
        steps.append(("fsync", os.readlink(f"/proc/self/fd/{descriptor}").removeprefix(str(tmp_path))))
        fsync(descriptor)

    def watched_replace(source: Path, target: Path) -> None:
        steps.append(("rename", str(target).removeprefix(str(tmp_path))))
        replace(source, target)

    await objects.put("ws/fn/code.py", b"old")
    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    await objects.put("ws/fn/code.py", b"new")
    assert steps[0][1].startswith("/~incoming/")
    assert [steps[0][0], *steps[1:]] == [
        "fsync",
        ("rename", "/ws/fn/code.py"),
        ("fsync", "/ws/fn"),
        ("fsync", "/ws"),
        ("fsync", ""),
    ]


async def test_a_key_below_another_key_is_refused(tmp_path: Path) -> None:
    """In words, both ways round, and both in a stream."""
    objects = FileObjects(tmp_path)
    await objects.put("a/b", b"x")
    for key in ("a", "a/b/c", "a/b/c/d"):
        with pytest.raises(ValueError, match="folder"):
            await objects.put(key, b"x")
    await objects.delete("a/b")
    await objects.put("a", b"x")


async def test_empty_folders_go(tmp_path: Path) -> None:
    """With the last blob in them, up to the root, which stays."""
    objects = FileObjects(tmp_path)
    await objects.put("a/b/c", b"x")
    await objects.put("a/d", b"x")
    await objects.delete("a/b/c")
    assert sorted(entry.name for entry in tmp_path.rglob("*")) == ["a", "d", "~incoming"]
    await objects.delete("a/d")
    assert sorted(entry.name for entry in tmp_path.rglob("*")) == ["~incoming"]


async def test_objects_without_their_folder_are_unavailable(tmp_path: Path) -> None:
    """A folder that was removed is not mistaken for an empty store."""
    objects = FileObjects(tmp_path / "objects")
    shutil.rmtree(tmp_path / "objects")
    with pytest.raises(ObjectsUnavailable):
        await objects.ping()
    with pytest.raises(ObjectsUnavailable):
        await anext(objects.list())
    with pytest.raises(ObjectsUnavailable):
        await objects.put("a", b"x")


# A full disk

FULL = """
import asyncio, os, sys
from pathlib import Path
from lateen.adapters.filesystem import FileObjects
from lateen.adapters.sqlite import SqliteTable
from lateen.ports.objects import ObjectsUnavailable
from lateen.ports.table import Item, Key, Put, TableUnavailable

async def main(folder: Path) -> None:
    table, objects = SqliteTable(folder / "lateen.db"), FileObjects(folder / "objects")
    stored = await table.put(Item(key=Key("WS#1", "first"), data={}), expected=None)
    await objects.put("first", b"first")
    ballast = folder / "ballast"
    descriptor = os.open(ballast, os.O_WRONLY | os.O_CREAT)
    try:
        while os.write(descriptor, b"x" * 4096):
            pass
    except OSError:
        os.close(descriptor)

    async def stream():
        yield b"x" * 100_000

    big = [Item(key=Key("WS#1", f"big{n}"), data={"x": "x" * 100_000}) for n in range(5)]
    writes = [table.put(big[0], expected=None), table.transact([Put(item, None) for item in big]), table.write(big)]
    for result in await asyncio.gather(*writes, return_exceptions=True):
        assert isinstance(result, TableUnavailable) and str(result) == "the disk is full", repr(result)
    for body in (b"x" * 100_000, stream()):
        try:
            await objects.put("big", body)
        except ObjectsUnavailable as exc:
            assert str(exc) == "the disk is full"
        else:
            raise AssertionError("it was stored on a full disk")
    assert await table.get(stored.key) == stored
    assert (await table.query("WS#1")).items == [stored]
    assert [chunk async for chunk in objects.read("first")] == [b"first"]
    assert [entry.key async for entry in objects.list()] == ["first"]
    assert not list((folder / "objects" / "~incoming").iterdir())

    ballast.unlink()
    await table.write(big)
    await objects.put("big", stream())
    assert len((await table.query("WS#1")).items) == 6
    await table.close()
    print("healed")

asyncio.run(main(Path(sys.argv[1])))
"""


def test_a_full_disk(tmp_path: Path) -> None:
    """Writes are refused in words, reads go on, nothing is half there; with room again all works, without a restart."""
    in_namespace = 'mount -t tmpfs -o size=2m,mode=700 none "$1" && exec "$2" -c "$3" "$1"'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", in_namespace, "sh"]
    probe = [*command[:5], "-c", 'mount -t tmpfs none "$1"', "sh", str(tmp_path)]
    if shutil.which("unshare") is None or subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("needs unshare(1) and mounts in a user namespace")
    done = subprocess.run([*command, str(tmp_path), sys.executable, FULL], capture_output=True, text=True)
    assert done.stdout == "healed\n", done.stderr


async def test_a_queue_of_before_bytes_were_counted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits in a file of an older schema counts of its workspace's bytes."""
    monkeypatch.setattr("lateen.adapters.sqlite_file.MIGRATIONS", MIGRATIONS[:2])
    table = SqliteTable(path)
    await table.close()
    with sqlite3.connect(path) as connection:
        for number, (lane, size) in enumerate((("acme/a", 1000), ("acme/a", 500), ("acme/b", 100), ("other/a", 10))):
            connection.execute(
                "INSERT INTO queue_messages VALUES (NULL, ?, ?, 0, 0, 0, 0, 0, ?)", (str(number), lane, b"x" * size)
            )
            connection.execute(
                "INSERT INTO queue_lanes VALUES (?, 1, 0) ON CONFLICT DO UPDATE SET messages = messages + 1", (lane,)
            )
    connection.close()
    monkeypatch.setattr("lateen.adapters.sqlite_file.MIGRATIONS", MIGRATIONS)
    table = SqliteTable(path)
    held = 1600 + 3 * MESSAGE_BYTES
    queue = SqliteQueue(table, tenant_limit_bytes=held + MESSAGE_BYTES + 10)
    with pytest.raises(TenantFull):
        await queue.send("acme/a", b"x" * 11)
    await queue.send("acme/c", b"x" * 10)
    while messages := await queue.receive(limit=10):
        for message in messages:
            await queue.ack(message)
    await queue.send("acme/a", b"x" * (held + 10))
    await table.close()
