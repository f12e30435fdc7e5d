"""PATH → the code that is sent: one source file, a zip, or a folder made into a zip.

The same folder gives the same bytes, whenever and wherever it is packed: entries in order, one date for all, only
the executable bit kept. So the server can tell that nothing changed.
"""

import io
import os
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

from pathspec import GitIgnoreSpec

from lateen.cli.output import plain, size_of
from lateen.cli.refusals import Refused, note

UNPACKED_LIMIT = 250 * 1024 * 1024
"""Bytes, Lambda's limit for an unpacked function; a folder above it is surely not one function's."""

PACKED_LIMIT = 50 * 1024 * 1024
"""Bytes, Lambda's limit for a package that is sent."""

IGNORED_FOLDERS = {
    ".git", ".hg", ".svn", ".venv", "venv", ".tox", ".nox", "__pycache__", ".mypy_cache", ".pytest_cache",
    ".ruff_cache", ".hypothesis", ".idea", ".vscode", ".lateen", ".aws-sam",
}  # fmt: skip
IGNORED_BESIDE = {"node_modules": "package.json"}
"""Folders that are made anew of the file that lies beside them."""
VENV_FILE = "pyvenv.cfg"
"""At the top of a virtual environment, whatever it is called."""
IGNORE_FILE = ".lateenignore"
_OR_NOT = f"or name it in {IGNORE_FILE} to leave it out"
IGNORED_FILES = {".DS_Store", ".gitignore", ".gitattributes", IGNORE_FILE}
IGNORED_SUFFIXES = {".swp"}

_DATE = (1980, 1, 1, 0, 0, 0)
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
"""How a zip begins; the second, one with nothing in it."""


def pack(path: Path) -> bytes:
    """Raises: `Refused` if there is nothing to send, or what there is cannot be sent."""
    try:
        code = _file(path) if path.is_file() else _folder(path)
    except OSError as exc:
        raise Refused(f"{exc.filename or path} can't be read: {(exc.strerror or str(exc)).lower()}") from exc
    if len(code) > PACKED_LIMIT:
        raise Refused(
            f"{path} is {size_of(len(code))} when it is packed, and a package has {size_of(PACKED_LIMIT)} at most",
            hint=f"leave out what isn't needed ({IGNORE_FILE}), or put it into layers",
        )
    return code


def zipped(name: str, content: bytes) -> bytes:
    """A single file as a zip, under this name."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(_entry(name, 0o644), content)
    return packed.getvalue()


def _file(path: Path) -> bytes:
    if path.stat().st_size > UNPACKED_LIMIT:
        raise Refused(f"{path} has more than {UNPACKED_LIMIT // 1024**2} MiB", hint="name the function's code only")
    if not (code := path.read_bytes()):
        raise Refused(f"{path} is empty")
    if path.suffix.lower() == ".zip" and not code.startswith(_ZIP):
        # Else it would become a source file, which is what everything is that is no zip.
        raise Refused(f"{path} is not a zip")
    return code


def _folder(path: Path) -> bytes:
    if not path.is_dir():
        raise Refused(f"{path} is neither a file nor a folder")
    packed = io.BytesIO()
    total = count = 0
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in _files(path):
            mode = file.stat().st_mode
            total, count = total + file.stat().st_size, count + 1
            if total > UNPACKED_LIMIT:
                raise Refused(
                    f"{path} holds more than {UNPACKED_LIMIT // 1024**2} MiB",
                    hint="name the folder that holds the function's code only",
                )
            entry = _entry(file.relative_to(path).as_posix(), 0o755 if mode & stat.S_IXUSR else 0o644)
            archive.writestr(entry, file.read_bytes())
    if not count:
        raise Refused(f"{path} holds no file to deploy")
    return packed.getvalue()


def _entry(name: str, mode: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _DATE)
    entry.create_system = 3  # Unix, also where it was packed on another system
    entry.external_attr = (stat.S_IFREG | mode) << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def _files(root: Path) -> Iterator[Path]:
    inside = root.resolve()
    ignored = _ignored(root)
    for folder, folders, names in os.walk(root, onerror=_raised):
        here = Path(folder)
        made_anew = {name: beside for name, beside in IGNORED_BESIDE.items() if name in folders and beside in names}
        for name, beside in made_anew.items():
            note(f"note: {plain(str(here / name))} is left out: what {beside} beside it names is installed instead")
        left_out = IGNORED_FOLDERS | made_anew.keys()
        folders[:] = sorted(
            name
            for name in folders
            if name not in left_out
            and not ignored.match_file((here / name).relative_to(root).as_posix() + "/")
            and not (here / name / VENV_FILE).is_file()
        )
        for name in folders:
            if (here / name).is_symlink():
                raise Refused(f"{here / name} is a link to a folder", hint=f"put the files themselves there, {_OR_NOT}")
        for name in sorted(names):
            file = here / name
            if name in IGNORED_FILES or file.suffix in IGNORED_SUFFIXES:
                continue
            if ignored.match_file(file.relative_to(root).as_posix()):
                continue
            # A link that leads out would send a file that nobody meant to deploy.
            if not Path(os.path.realpath(file)).is_relative_to(inside):
                raise Refused(f"{file} leads out of {root}", hint=f"put the file itself there, {_OR_NOT}")
            if not file.is_file():
                raise Refused(f"{file} is not a file that can be deployed", hint=f"remove it, {_OR_NOT}")
            if not is_text(str(file.relative_to(root))):
                raise Refused(f"the name of {str(file)!a} is not UTF-8", hint="rename it")
            yield file


def _ignored(root: Path) -> GitIgnoreSpec:
    """Raises: `Refused`."""
    file = root / IGNORE_FILE
    try:
        return GitIgnoreSpec.from_lines(file.read_text("utf-8").splitlines() if file.is_file() else [])
    except (UnicodeDecodeError, ValueError) as exc:
        raise Refused(f"{file} is not understood: {exc}") from exc


def is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _raised(exc: OSError) -> None:
    """Else a folder that can't be read would be left out without a word."""
    raise exc
