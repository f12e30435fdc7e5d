"""The code of a function, and its layers: fetched, checked against their SHA-256, unpacked."""

import hashlib
import os
import stat
import struct
import zipfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO
from urllib.parse import unquote

from lateen_invoker import folders
from lateen_invoker.control import Layer

CODE = "the code"
UNPACKED_LIMIT = 262_144_000
_CHUNK = 1024 * 1024
_EXTENDED_TIME = 0x5455
_FIRST_DATE = 315_532_800
"""1980-01-01."""


class ArtifactError(Exception):
    """The code can't be had; the text may be shown to the function's owner."""


def unpack(address: str, sha256: str, target: Path) -> None:
    """Put the artifact's files into `target`, which must not exist; read-only for everyone.

    Blocks. The control plane has checked the package; it is checked again here, because a pod trusts no store.
    Raises: `ArtifactError`.
    """
    _unpack(address, sha256, target, CODE)


def unpack_layers(layers: Sequence[Layer], target: Path) -> None:
    """As `unpack`, one after the other into the same folder; what a later one has replaces what is there."""
    left = UNPACKED_LIMIT
    for layer in layers:
        left -= _unpack(layer.artifact, layer.sha256, target, f"the layer {layer.arn}", over=True, limit=left)


def extract(
    package: Path | IO[bytes], target: Path, what: str = CODE, *, over: bool = False, limit: int = UNPACKED_LIMIT
) -> int:
    """Unpack into `target`, which is there; read-only for everyone.

    Args:
        what: said of it where something is wrong with it.
        over: what is there already is replaced; else nothing of the same name may be there.
        limit: bytes that may come out.
    Returns: bytes that came out. Raises: `ArtifactError`.
    """
    try:
        return limit - _extract(package, target, what, over, limit)
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError) as exc:
        raise ArtifactError(f"{what} can't be read ({type(exc).__name__})") from exc


def _unpack(
    address: str, sha256: str, target: Path, what: str, *, over: bool = False, limit: int = UNPACKED_LIMIT
) -> int:
    package = target.with_suffix(".zip")
    try:
        if _fetch(address, package, what) != sha256:
            raise ArtifactError(f"{what} does not have the SHA-256 that it was deployed with")
        target.mkdir(mode=0o755, exist_ok=over)
        return extract(package, target, what, over=over, limit=limit)
    except OSError as exc:
        raise ArtifactError(f"{what} can't be read ({type(exc).__name__})") from exc
    finally:
        package.unlink(missing_ok=True)


def _fetch(address: str, package: Path, what: str) -> str:
    if not address.startswith("file:///"):
        raise ArtifactError(f"{what} has an address that is not understood")
    digest = hashlib.sha256()
    with open(unquote(address.removeprefix("file://")), "rb") as source, package.open("xb") as copy:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            copy.write(chunk)
    return digest.hexdigest()


def _extract(package: Path | IO[bytes], target: Path, what: str, over: bool, left: int) -> int:
    with zipfile.ZipFile(package) as archive:
        for entry in archive.infolist():
            parts = entry.filename.rstrip("/").split("/")
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if any(part in ("", ".", "..") or "\0" in part for part in parts) or kind not in (
                0,
                stat.S_IFREG,
                stat.S_IFDIR,
            ):
                raise ArtifactError(f"{what} holds something that is neither a file nor a folder in it")
            path = target.joinpath(*parts)
            if over:
                _make_way(target, parts, entry.is_dir())
            if entry.is_dir():
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            is_program = bool((entry.external_attr >> 16) & 0o111)
            with archive.open(entry) as source, path.open("xb") as copy:
                while chunk := source.read(_CHUNK):
                    left -= len(chunk)
                    if left < 0:
                        raise ArtifactError(f"{what} is larger than it may be when unpacked")
                    copy.write(chunk)
            os.chmod(path, 0o555 if is_program else 0o444)
            if (modified := _modified(entry)) is not None:
                os.utime(path, (modified, modified))
    return left


def _modified(entry: zipfile.ZipInfo) -> int | None:
    """Unix time; compiled modules name that of their source. None: there is none, for what makes the same zip of the
    same files gives them all the first that a zip can hold, which would make their versions look alike to browsers."""
    extra, said = entry.extra, None
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        if kind == _EXTENDED_TIME and len(extra) >= 9 and size >= 5 and extra[4] & 1:
            said = struct.unpack_from("<i", extra, 5)[0]
        extra = extra[4 + size :]
    if said is None:
        try:
            # Without a zone: taken for UTC, which is what the machines have that make packages.
            said = int(datetime(*entry.date_time, tzinfo=UTC).timestamp())
        except ValueError:
            return None
    return said if said > _FIRST_DATE else None


def _make_way(target: Path, parts: Sequence[str], is_folder: bool) -> None:
    """Remove what is in the way of an entry: a file of its name or in the place of a folder that leads there, or a
    folder in the place of a file. There are no links."""
    path = target
    for number, part in enumerate(parts, 1):
        path = path / part
        if path.is_file():
            path.unlink()
        elif number == len(parts) and not is_folder and path.is_dir():
            folders.remove(str(path))
