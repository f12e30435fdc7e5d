"""Dates of unpacked files: compiled modules in a package, as pip leaves them, name that of their source."""

import datetime
import io
import py_compile
import struct
import time
import zipfile
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import module_from_spec
from pathlib import Path

import pytest

from lateen_invoker.artifact import extract

DATE = (2024, 5, 2, 19, 43, 4)
EPOCH = datetime.datetime(*DATE, tzinfo=datetime.UTC).timestamp()


def unpacked(folder: Path, *entries: tuple[zipfile.ZipInfo, bytes]) -> Path:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for entry, content in entries:
            archive.writestr(entry, content)
    target = folder / "code"
    target.mkdir()
    extract(whole, target)
    return target


def entry_of(name: str, date: tuple[int, int, int, int, int, int], extra: bytes = b"") -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, date)
    entry.extra = extra
    return entry


def extended(seconds: int) -> bytes:
    """As Info-ZIP says the time in UTC."""
    return struct.pack("<HHHB", 0x7875, 3, 0x4001, 0) + struct.pack("<HHBi", 0x5455, 5, 1, seconds)


@pytest.mark.parametrize(
    ("extra", "expected"),
    [(b"", EPOCH), (extended(int(EPOCH) + 7201), EPOCH + 7201), (struct.pack("<HHB", 0x5455, 1, 0), EPOCH)],
)
def test_a_file_has_the_date_that_the_zip_says(tmp_path: Path, extra: bytes, expected: float) -> None:
    """To the second where that is in it, else the time of day as UTC."""
    assert (unpacked(tmp_path, (entry_of("a.py", DATE, extra), b"")) / "a.py").stat().st_mtime == expected


@pytest.mark.parametrize(
    ("date", "extra"),
    [
        ((1980, 1, 1, 0, 0, 0), b""),
        ((2024, 2, 31, 0, 0, 0), b""),
        ((2024, 0, 0, 0, 0, 0), b""),
        ((1980, 1, 1, 0, 0, 0), extended(0)),
        ((1980, 1, 1, 0, 0, 0), extended(-5)),
    ],
)
def test_a_date_that_says_nothing_is_now(
    tmp_path: Path, date: tuple[int, int, int, int, int, int], extra: bytes
) -> None:
    """The first that a zip can hold stands for none, and two versions of a file must not look like one to a browser."""
    assert (unpacked(tmp_path, (entry_of("a.py", date, extra), b"")) / "a.py").stat().st_mtime > time.time() - 60


def test_a_package_s_compiled_modules_are_used(tmp_path: Path) -> None:
    """One that gives itself away: its source is of the same size and date, and says something else."""
    source = tmp_path / "a.py"
    source.write_text("x = 1")
    compiled = Path(py_compile.compile(str(source), invalidation_mode=py_compile.PycInvalidationMode.TIMESTAMP))
    content = bytearray(compiled.read_bytes())
    content[8:12] = struct.pack("<I", int(EPOCH))
    name = f"__pycache__/{compiled.name}"
    code = unpacked(tmp_path, (entry_of("a.py", DATE), b"x = 2"), (entry_of(name, DATE), bytes(content)))
    loader = SourceFileLoader("a", str(code / "a.py"))
    module = module_from_spec(ModuleSpec("a", loader))
    loader.exec_module(module)
    assert module.x == 1
