"""The code of a function: fetched, checked against its SHA-256, unpacked."""

import hashlib
import os
import stat
import zipfile
from pathlib import Path
from typing import IO
from urllib.parse import unquote

UNPACKED_LIMIT = 262_144_000
_CHUNK = 1024 * 1024


class ArtifactError(Exception):
    """The code can't be had; the text may be shown to the function's owner."""


def unpack(address: str, sha256: str, target: Path) -> None:
    """Put the artifact's files into `target`, which must not exist; read-only for everyone.

    Blocks. The control plane has checked the package; it is checked again here, because a pod trusts no store.
    Raises: `ArtifactError`.
    """
    package = target.with_suffix(".zip")
    try:
        digest = _fetch(address, package)
        if digest != sha256:
            raise ArtifactError("the code does not have the SHA-256 that it was deployed with")
        target.mkdir(mode=0o755)
        extract(package, target)
    except OSError as exc:
        raise ArtifactError(f"the code can't be read ({type(exc).__name__})") from exc
    finally:
        package.unlink(missing_ok=True)


def extract(package: Path | IO[bytes], target: Path) -> None:
    """Unpack into `target`, which is there and empty; read-only for everyone. Raises: `ArtifactError`."""
    try:
        _extract(package, target)
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError) as exc:
        raise ArtifactError(f"the code can't be read ({type(exc).__name__})") from exc


def _fetch(address: str, package: Path) -> str:
    if not address.startswith("file:///"):
        raise ArtifactError("the code's address is not understood")
    digest = hashlib.sha256()
    with open(unquote(address.removeprefix("file://")), "rb") as source, package.open("xb") as copy:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            copy.write(chunk)
    return digest.hexdigest()


def _extract(package: Path | IO[bytes], target: Path) -> None:
    left = UNPACKED_LIMIT
    with zipfile.ZipFile(package) as archive:
        for entry in archive.infolist():
            parts = entry.filename.rstrip("/").split("/")
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if any(part in ("", ".", "..") or "\0" in part for part in parts) or kind not in (
                0,
                stat.S_IFREG,
                stat.S_IFDIR,
            ):
                raise ArtifactError("the package holds something that is neither a file nor a folder in it")
            path = target.joinpath(*parts)
            if entry.is_dir():
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            is_program = bool((entry.external_attr >> 16) & 0o111)
            with archive.open(entry) as source, path.open("xb") as copy:
                while chunk := source.read(_CHUNK):
                    left -= len(chunk)
                    if left < 0:
                        raise ArtifactError("the package is larger than it may be when unpacked")
                    copy.write(chunk)
            os.chmod(path, 0o555 if is_program else 0o444)
