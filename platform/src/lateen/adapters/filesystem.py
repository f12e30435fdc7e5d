"""`Objects` in a folder: written under a temporary name, synced, renamed.

A key is the path below the root. What is being written lies in `~incoming` beside the blobs, on the same file system
so that the rename is atomic; a tilde is in no key. Each writer holds a lock on its temporary file, so what a killed
process left behind is told from what another one is writing.
"""

import errno
import fcntl
import os
import re
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from io import FileIO
from pathlib import Path
from secrets import token_hex
from threading import Lock
from typing import TypeVar

from anyio import CancelScope, CapacityLimiter, to_thread

from lateen.adapters.data_folder import make_private, sync, sync_folder
from lateen.ports.blobs import Blob
from lateen.ports.objects import ObjectNotFound, ObjectsUnavailable, StoredObject

CHUNK_BYTES = 256 << 10
THREADS = 8

_SEGMENT = re.compile(r"[A-Za-z0-9._-]{1,255}")
_KEY_LIMIT = 1024
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
_RENAME_ATTEMPTS = 20

T = TypeVar("T")


class FileObjects:
    """`Objects` below `root`, folders 0700 and files 0600. Nothing stays open between calls, so there is no close."""

    def __init__(self, root: Path) -> None:
        """Create the folders and remove what a killed process had not finished. Raises: `OSError`."""
        self._root = root.absolute()
        self._incoming = self._root / "~incoming"
        self._threads = CapacityLimiter(THREADS)
        make_private(self._incoming)
        for left in self._incoming.iterdir():
            _remove_if_stale(left)

    async def put(self, key: str, body: Blob | AsyncIterable[bytes]) -> None:
        target = self._path(key)
        incoming = _Incoming(self._incoming / token_hex(16))
        if isinstance(body, Blob):
            await self._run(partial(self._put, incoming, body, target))
            return
        try:
            await self._run(incoming.open)
            async for chunk in body:
                await self._run(partial(incoming.write, chunk))
            await self._run(partial(self._finish, incoming, target))
        finally:
            # Also when the sender fails or leaves midway: a part must not stay.
            with CancelScope(shield=True):
                await self._run(incoming.close)

    async def read(self, key: str) -> AsyncIterator[bytes]:
        path = self._path(key)
        try:
            file = await self._run(partial(_open, path))
        except ObjectsUnavailable as exc:
            if isinstance(exc.__cause__, FileNotFoundError | IsADirectoryError | NotADirectoryError):
                raise ObjectNotFound("no such blob") from exc
            raise
        with file:
            while chunk := await self._run(partial(file.read, CHUNK_BYTES)):
                yield chunk

    async def delete(self, key: str) -> None:
        await self._run(partial(self._delete, self._path(key)))

    async def url(self, key: str, *, expires_s: int = 900) -> str:
        return self._path(key).as_uri()

    async def list(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        # The prefix is only ever compared with keys that were found: no path is made of it.
        pending: list[tuple[str, StoredObject | None]] = [("", None)]
        while pending:
            key, found = pending.pop()
            if found is not None:
                yield found
            else:
                pending += await self._run(partial(_entries_reversed, self._root, key, prefix))

    async def ping(self) -> None:
        await self._run(partial(os.listdir, self._incoming))

    def _path(self, key: str) -> Path:
        segments = key.split("/")
        if len(key) > _KEY_LIMIT or not all(_SEGMENT.fullmatch(s) and s not in (".", "..") for s in segments):
            raise ValueError("a blob's key is segments of letters, digits, '.', '_' and '-', separated by '/'")
        return self._root.joinpath(*segments)

    async def _run(self, action: Callable[[], T]) -> T:
        """Run what blocks in a thread, its errors in our words. Only our own: a failing sender's pass through."""
        try:
            return await to_thread.run_sync(action, limiter=self._threads)
        except OSError as exc:
            raise ObjectsUnavailable("the disk is full" if exc.errno in _NO_SPACE else "the folder fails") from exc

    def _put(self, incoming: "_Incoming", body: Blob, target: Path) -> None:
        try:
            incoming.open()
            incoming.write(body)
            self._finish(incoming, target)
        finally:
            incoming.close()

    def _finish(self, incoming: "_Incoming", target: Path) -> None:
        try:
            incoming.move_to(target)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as exc:
            raise ValueError("a blob's key cannot be a folder of another one's") from exc
        # Up to the root, also what was there before: whoever made a folder a moment ago may not have synced it yet.
        for folder in [target.parent, *target.parent.parents]:
            with suppress(FileNotFoundError):  # somebody has deleted the blob meanwhile
                sync_folder(folder)
            if folder == self._root:
                break

    def _delete(self, path: Path) -> None:
        try:
            path.unlink()
        except (FileNotFoundError, NotADirectoryError):
            return
        except (IsADirectoryError, PermissionError):
            if path.is_dir():  # the key of no blob; macOS says EPERM
                return
            raise
        with suppress(FileNotFoundError):
            sync_folder(path.parent)
        for folder in path.parents:
            if folder == self._root:
                break
            try:
                folder.rmdir()
            except OSError:  # others' blobs are in it
                break


class _Incoming:
    """A blob on its way in. The lock is for callers that leave: `close` may come while a thread is still writing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1
        self._is_closed = False
        self._busy = Lock()

    def open(self) -> None:
        with self._busy:
            if self._is_closed:
                return
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            if os.fstat(self._descriptor).st_nlink == 0:
                # A starting process took it for stale between the two calls above: once more, for it passes only once.
                os.close(self._descriptor)
                self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)

    def write(self, chunk: Blob) -> None:
        with self._busy:
            rest = memoryview(b"" if self._is_closed else chunk)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]

    def move_to(self, target: Path) -> None:
        with self._busy:
            if self._is_closed:
                return
            sync(self._descriptor)
            for attempt in range(_RENAME_ATTEMPTS):
                try:
                    make_private(target.parent)
                    os.replace(self._path, target)
                    return
                except FileNotFoundError:
                    # Deletes take empty folders away, also one that we have just made or seen.
                    if attempt == _RENAME_ATTEMPTS - 1:
                        raise

    def close(self) -> None:
        with self._busy:
            if not self._is_closed:
                self._is_closed = True
                self._path.unlink(missing_ok=True)
                if self._descriptor >= 0:
                    os.close(self._descriptor)


def _open(path: Path) -> FileIO:
    return open(path, "rb", buffering=0)


def _remove_if_stale(path: Path) -> None:
    """Remove the file unless some process is writing it."""
    with suppress(FileNotFoundError, BlockingIOError), open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()


def _entries_reversed(root: Path, folder_key: str, prefix: str) -> Sequence[tuple[str, StoredObject | None]]:
    """What lies in one folder and can match, from the last key to the first; a folder's key ends with `/`, as it does
    in the keys below it, so that the order of the entries is the order of all keys."""
    entries: list[tuple[str, StoredObject | None]] = []
    try:
        with os.scandir(root / folder_key) as found:
            for entry in found:
                if not _SEGMENT.fullmatch(entry.name):
                    continue
                key = folder_key + entry.name
                with suppress(FileNotFoundError):  # deleted meanwhile
                    if entry.is_dir(follow_symlinks=False):
                        key += "/"
                        if key.startswith(prefix) or prefix.startswith(key):
                            entries.append((key, None))
                    elif key.startswith(prefix):
                        status = entry.stat(follow_symlinks=False)
                        modified = datetime.fromtimestamp(status.st_mtime, UTC)
                        entries.append((key, StoredObject(key, status.st_size, modified)))
    except FileNotFoundError:
        if folder_key == "":
            raise
    return sorted(entries, reverse=True, key=lambda entry: entry[0])
