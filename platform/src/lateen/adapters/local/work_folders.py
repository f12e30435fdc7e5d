"""Work folders of invokers: `{data}/run/{deployment id}-{random}`, 0700, gone when the process is."""

from pathlib import Path
from secrets import token_hex

from anyio import to_thread

from lateen_invoker import folders


class WorkFolders:
    """Below `root`, which belongs to one process at a time: the store's lock sees to that."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()

    async def clear(self) -> None:
        """Remove what a killed platform left behind."""
        await to_thread.run_sync(folders.remove, str(self._root))
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def make(self, deployed: str) -> Path:
        folder = self._root / f"{deployed}-{token_hex(4)}"
        folder.mkdir(mode=0o700)
        return folder

    async def remove(self, folder: Path) -> None:
        """In a thread: a function may have left a great many files."""
        await to_thread.run_sync(folders.remove, str(folder))
