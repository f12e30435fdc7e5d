"""Bytes that may be too many for memory: beyond a few megabytes they lie in a temporary file and are mapped."""

import mmap
from tempfile import SpooledTemporaryFile

IN_MEMORY_BYTES = 8 * 1024 * 1024


class Mapped(mmap.mmap):
    """A file without a name, which ends with the last reference to this. It is read as bytes are or, from its position
    on, as a file is."""

    def seekable(self) -> bool:
        return True  # what `zipfile` asks, and mmap itself doesn't tell before Python 3.13


Blob = bytes | Mapped


class Collected:
    """Bytes that come in pieces. `add` and `blob` may block and raise `OSError`, for the disk may be full."""

    def __init__(self) -> None:
        self.size = 0
        self._file = SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115 - it ends with the last reference

    def add(self, piece: bytes) -> None:
        self._file.write(piece)
        self.size += len(piece)

    def blob(self) -> Blob:
        """All of them. Nothing may be added any more."""
        if self.size > IN_MEMORY_BYTES:
            self._file.flush()
            return Mapped(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        self._file.seek(0)
        return self._file.read()
