"""A build's folders: the source unpacked for it, and what it made packed again. The same files give the same bytes.

In a cluster this runs in a pod beside the build, without credentials. What a build left behind was made by strangers:
no link is followed out of its folder, and only files and folders are taken.
"""

import hashlib
import os
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

from lateen_invoker.artifact import UNPACKED_LIMIT, ArtifactError, extract

MAX_FILES = 100_000
MAX_DEPTH = 100
_DATE = (1980, 1, 1, 0, 0, 0)
_HASHED = (b"\1\0\0\0", b"\3\0\0\0")
"""Flags of a compiled module, behind its magic number: by its source's hash, and whether that is looked at again."""
_PIECE = 1024 * 1024


class PackRefused(Exception):
    """What the build left can't be a function's code; the text may be shown to its owner."""


def unpack_source(package: Path, sha256: str, target: Path, *, owner: int | None = None) -> None:
    """Put the source's files into `target`, which must not exist; they can be changed by `owner`.

    Blocks. Raises: `ArtifactError`, `OSError`.
    """
    with package.open("rb") as opened:
        if hashlib.file_digest(opened, "sha256").hexdigest() != sha256:
            raise ArtifactError("the source does not have the SHA-256 that it was sent with")
    target.mkdir(mode=0o755)
    extract(package, target)
    for folder, _, names in os.walk(target):
        for name in names:
            path = os.path.join(folder, name)
            os.chmod(path, os.stat(path).st_mode & 0o777 | 0o200)
            if owner is not None:
                os.chown(path, owner, owner)
        if owner is not None:
            os.chown(folder, owner, owner)


def pack(folder: Path, package: Path, *, limit: int = UNPACKED_LIMIT, files: int = MAX_FILES) -> None:
    """Make a zip of all that is in the folder: sorted, of one date, with the bit of who may execute and no other.

    Compiled modules in a `__pycache__` are taken if they hold no date (PEP 552), and only where there is room for all.
    Blocks. Nothing of the build may run any more. Raises: `PackRefused`, `OSError`.
    """
    if folder.is_symlink() or not folder.is_dir():
        # The build could replace the folder itself by a link to what its own eyes never see.
        raise PackRefused("the build left no folder where it was to put what it makes")
    found, left = sorted(_files(folder.resolve(), files)), limit
    if len(found) > files or sum(_size(path) for _, path in found) > limit:
        found = [(name, path) for name, path in found if not _is_cached(name)]
    if len(found) > files:
        raise PackRefused(f"what was built has more than {files} files")
    if not found:
        raise PackRefused("the build left nothing behind")
    with zipfile.ZipFile(package, "x", zipfile.ZIP_DEFLATED) as archive:
        for name, path in found:
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            except OSError:
                # Whatever it is, the build has made it so, and would the next time.
                raise PackRefused(f"{_shown(name)} can't be read") from None
            with os.fdopen(descriptor, "rb") as source:
                mode = os.fstat(descriptor).st_mode
                if not stat.S_ISREG(mode):
                    raise PackRefused(f"{_shown(name)} is neither a file nor a folder")
                entry = zipfile.ZipInfo(name, _DATE)
                entry.create_system = 3  # Unix
                entry.external_attr = (stat.S_IFREG | (0o755 if mode & 0o111 else 0o644)) << 16
                entry.compress_type = zipfile.ZIP_DEFLATED
                with archive.open(entry, "w") as packed:
                    while piece := source.read(_PIECE):
                        left -= len(piece)
                        if left < 0:
                            raise PackRefused(f"what was built is larger than {limit} bytes")
                        packed.write(piece)


def _files(root: Path, most: int) -> Iterator[tuple[str, str]]:
    """Names in the zip and where the files really are. Links within the folder are followed, as no zip holds any."""
    waiting: list[tuple[str, str, int]] = [("", str(root), 0)]
    found = 0
    while waiting:
        prefix, folder, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise PackRefused(f"{_shown(prefix)}: folders lie too deep in each other, or lead in a circle")
        try:
            entries = list(os.scandir(folder))
        except OSError:
            raise PackRefused(f"{_shown(prefix)} can't be read") from None
        for entry in entries:
            name, path = prefix + entry.name, entry.path
            found += 1
            if found > 4 * most:  # files and folders, and for each a compiled module
                raise PackRefused(f"what was built has more than {most} files")
            if _is_cached(name) and not _is_lasting(path):
                continue
            if entry.is_symlink():
                path = os.path.realpath(path)
                if not os.path.exists(path):
                    continue  # leads nowhere, and so would its copy
                if not path.startswith(f"{root}{os.sep}"):
                    raise PackRefused(f"{_shown(name)} is a link that leads out of the folder")
            if os.path.isdir(path):
                waiting.append((f"{name}/", path, depth + 1))
            else:
                _check_name(name)
                yield name, path


def _size(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0  # is refused where it is read


def _is_cached(name: str) -> bool:
    return f"/{name}".rpartition("/")[0].endswith("/__pycache__")


def _is_lasting(path: str) -> bool:
    """Whether it is a compiled module that is good for its source whatever date that has, and so has none in it."""
    try:
        if not path.endswith(".pyc") or not stat.S_ISREG(os.lstat(path).st_mode):
            return False
        with open(path, "rb") as file:
            return file.read(8)[4:] in _HASHED
    except OSError:
        return False


def _check_name(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise PackRefused(f"the name of {_shown(name)} is not UTF-8") from None
    if len(name.encode()) > 1024 or any(ord(each) < 32 or each in "\\\x7f" for each in name):
        raise PackRefused(f"{_shown(name)} is not a name that a zip can hold")


def _shown(name: str) -> str:
    return name[:120].encode("ascii", "backslashreplace").decode()
