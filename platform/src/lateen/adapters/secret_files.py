"""Secrets of the embedded installation, one file each in the data folder, for their owner only."""

import os
from pathlib import Path
from secrets import token_bytes

from lateen.adapters.data_folder import DataFolderError, make_private, sync_folder
from lateen.domain.keys import ADMIN_FILE
from lateen.domain.master import MASTER_FILE, MIN_BYTES


def master_key(folder: Path) -> bytes:
    """The installation's, made by the first start. Raises: `DataFolderError`."""
    key = _read(folder / MASTER_FILE)
    if key is None:
        key = token_bytes(MIN_BYTES)
        _write(folder / MASTER_FILE, key)
    if len(key) < MIN_BYTES:
        raise DataFolderError(f"{folder / MASTER_FILE} is damaged: it has {len(key)} bytes; restore it from a backup")
    return key


def administrator_secret(folder: Path) -> str | None:
    """What an earlier start saved; None: nothing yet."""
    found = _read(folder / ADMIN_FILE)
    return found.decode("ascii", "replace").strip() or None if found is not None else None


def save_administrator_secret(folder: Path, secret: str) -> None:
    _write(folder / ADMIN_FILE, f"{secret}\n".encode())


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise DataFolderError(f"{path} cannot be read: {exc.strerror}") from exc


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, 0600 from its first byte, on disk at the return."""
    make_private(path.parent)
    temporary = path.with_name(f"{path.name}.new")
    try:
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as exc:
        raise DataFolderError(f"{path} cannot be written: {exc.strerror}") from exc
