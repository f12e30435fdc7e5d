"""What functions on this machine may read, and that the data folder is no part of it."""

import os
from collections.abc import Iterable
from pathlib import Path

from lateen.adapters.data_folder import DataFolderError
from lateen_invoker import new_root

SYSTEM = (*new_root.SYSTEM, *(f"/etc/{name}" for name in new_root.ETC))
"""Whatever the runtime."""


def keep_apart(data: Path, readable: Iterable[str]) -> None:
    """Raises: `DataFolderError` if the data folder is one of these files and folders, or in one."""
    real = os.path.realpath(data)
    for path in readable:
        if new_root.is_in(real, os.path.realpath(path)):
            raise DataFolderError(
                f"the data folder {data} is in {path}, which functions can read; choose another one with LATEEN_DATA"
            )
