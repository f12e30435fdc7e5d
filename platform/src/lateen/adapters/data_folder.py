"""The data folder of embedded mode: private, used by one process at a time, and synced where it must be."""

import fcntl
import os
import sys
from pathlib import Path


class DataFolderError(Exception):
    """Lateen cannot start on this folder. The text is for a person: what is wrong and what to do."""


class FolderLock:
    """Held by the one process that uses `folder`.

    The kernel keeps it (flock) and lets it go with the process, however that ends. The descriptor is close-on-exec, so
    no child process can keep the folder locked.
    """

    def __init__(self, folder: Path) -> None:
        """Raises: `DataFolderError` if another process holds it, or the folder cannot be written."""
        try:
            make_private(folder)
            self._descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as exc:
            raise DataFolderError(
                f"the data folder {folder} cannot be used: {exc.strerror}; choose another one with LATEEN_DATA"
            ) from exc
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            holder = os.pread(self._descriptor, 20, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise DataFolderError(
                f"another Lateen (process {holder or 'unknown'}) is using the data folder {folder}; stop it first, "
                "or choose another folder with LATEEN_DATA"
            ) from exc
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let another process in. The file stays: removing it would let two processes lock two files of one name."""
        os.close(self._descriptor)


def make_private(folder: Path) -> None:
    """Create `folder` and what leads to it, 0700, on disk. One that is there keeps its mode: it may be a person's."""
    if folder.is_dir():
        return
    make_private(folder.parent)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        if folder.is_file():  # else somebody was faster
            raise
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make the folder's entries durable: a new or renamed file's name is in its folder, not in the file."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def sync(descriptor: int) -> None:
    """fsync. On macOS that leaves the data in the disk's own cache, so there its stronger form is asked for."""
    if sys.platform == "darwin":
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)
