"""Removing folders that a function had to itself: however deep, without rights, and never along a link."""

import contextlib
import os
import secrets


def remove(folder: str) -> None:
    """Remove the folder and all that is in it. Blocks; what can't be removed stays and is no error.

    What lies deeper is moved up before it is emptied: there may be more levels than names can have characters, or a
    process descriptors.
    """
    with contextlib.suppress(OSError):
        top = _opened(folder)
        try:
            waiting = _emptied(top, top)
            while waiting:
                name = waiting.pop()
                with contextlib.suppress(OSError):
                    below = _opened(name, top)
                    try:
                        waiting += _emptied(below, top)
                    finally:
                        os.close(below)
                    os.rmdir(name, dir_fd=top)
        finally:
            os.close(top)
        os.rmdir(folder)


def _emptied(folder: int, top: int) -> list[str]:
    """Unlink its files, move its folders to `top`. Returns: the names that they have there."""
    found = []
    for name in os.listdir(folder):
        try:
            os.unlink(name, dir_fd=folder)
        except IsADirectoryError:
            moved = name
            if folder != top:
                moved = secrets.token_hex(8)
                with contextlib.suppress(OSError):
                    os.close(_opened(name, folder))  # who moves a folder must be allowed to write to it
                    os.rename(name, moved, src_dir_fd=folder, dst_dir_fd=top)
            found.append(moved)
        except OSError:
            continue
    return found


def _opened(name: str, parent: int | None = None) -> int:
    """A descriptor of the folder, with which it can be read and written whatever its rights were."""
    path = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        with contextlib.suppress(OSError):
            os.chmod(f"/proc/self/fd/{path}", 0o700)
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=path)
    finally:
        os.close(path)
