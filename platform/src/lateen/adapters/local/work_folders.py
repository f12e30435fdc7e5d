"""Work folders of invokers: `{data}/run/{function id}-{random}`, 0700, gone when the process is."""

import os
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Any

from anyio import to_thread


class WorkFolders:
    """Below `root`, which belongs to one process at a time: the store's lock sees to that."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()

    async def clear(self) -> None:
        """Remove what a killed platform left behind."""
        await to_thread.run_sync(_remove, self._root)
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def make(self, function_id: str) -> Path:
        folder = self._root / f"{function_id}-{token_hex(4)}"
        folder.mkdir(mode=0o700)
        return folder

    async def remove(self, folder: Path) -> None:
        """In a thread: a function may have left a great many files."""
        await to_thread.run_sync(_remove, folder)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, onerror=_force)


def _force(function: Callable[..., Any], path: str, exc: Any) -> None:
    # A function may have taken rights away from its own folders. `rmtree` never follows a link, and neither do we.
    with suppress(OSError):
        parent = os.path.dirname(path)
        for folder in (parent, path):
            if stat.S_ISDIR(os.lstat(folder).st_mode):
                os.chmod(folder, 0o700)
        if function in (os.open, os.scandir, os.rmdir):
            shutil.rmtree(path, ignore_errors=True)
        else:
            os.unlink(path)
