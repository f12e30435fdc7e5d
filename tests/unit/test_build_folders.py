"""What a build leaves behind, looked at by a process that has no more rights than the build had."""

import codecs
import os
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lateen.adapters.local.builder import _is_larger
from lateen_invoker.build_folders import PackRefused, pack
from lateen_invoker.folders import remove

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="has no users of this kind")

NOBODY = 65534
MIB = 1024 * 1024


@pytest.fixture
def folder() -> Iterator[Path]:
    """As a user whom rights hold; root would look into everything."""
    made = Path(tempfile.mkdtemp(prefix="lateen-test-"))
    is_root = os.geteuid() == 0
    if is_root:
        os.chown(made, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    try:
        output = made / "output"
        output.mkdir()
        (output / "code.py").write_text("x = 1")
        yield output
    finally:
        if is_root:
            os.seteuid(0)
        remove(str(made))


def test_compiled_modules_are_left_out_where_they_are_a_cache(folder: Path) -> None:
    """One without a source beside it is all that there is of its module."""
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "code.cpython-312.pyc").write_bytes(b"x")
    (folder / "closed.pyc").write_bytes(b"x")
    pack(folder, folder.parent / "made.zip")
    made = (folder.parent / "made.zip").read_bytes()
    assert b"closed.pyc" in made
    assert b"__pycache__" not in made


codecs.lookup("cp437")  # which zips are read with, and the interpreter may be in a folder of root's
LASTING, DATED = b"\xcb\r\r\n\1\0\0\0" + bytes(8), b"\xcb\r\r\n\0\0\0\0" + bytes(8)


def test_compiled_modules_are_kept_where_no_date_is_in_them(folder: Path) -> None:
    """PEP 552: such ones stay good however they are unpacked."""
    cache = folder / "package" / "__pycache__"
    cache.mkdir(parents=True)
    (cache / "a.cpython-312.pyc").write_bytes(LASTING)
    (cache / "b.cpython-312.pyc").write_bytes(DATED)
    (cache / "c.cpython-312.pyc.1234").write_bytes(LASTING)
    (cache / "deeper").mkdir()
    (cache / "deeper" / "d.pyc").write_bytes(LASTING)
    os.mkfifo(cache / "e.pyc")
    pack(folder, folder.parent / "made.zip")
    with zipfile.ZipFile(folder.parent / "made.zip") as made:
        assert made.namelist() == ["code.py", "package/__pycache__/a.cpython-312.pyc"]


@pytest.mark.parametrize("most", [{"limit": 8}, {"files": 2}])
def test_compiled_modules_are_left_out_where_there_is_no_room_for_all(folder: Path, most: dict[str, int]) -> None:
    """What would fit without them is a good build."""
    (folder / "more.py").write_text("y")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "code.cpython-312.pyc").write_bytes(LASTING)
    pack(folder, folder.parent / "made.zip", **most)
    with zipfile.ZipFile(folder.parent / "made.zip") as made:
        assert made.namelist() == ["code.py", "more.py"]


def test_a_file_without_rights_is_refused_by_name(folder: Path) -> None:
    """Else a build that makes one would be taken for interrupted, and begun again for ever."""
    (folder / "locked.txt").write_text("x")
    (folder / "locked.txt").chmod(0)
    with pytest.raises(PackRefused, match=r"^locked\.txt can't be read$"):
        pack(folder, folder.parent / "made.zip")


def test_a_folder_without_rights_is_refused_by_name(folder: Path) -> None:
    (folder / "locked").mkdir(mode=0o300)
    with pytest.raises(PackRefused, match=r"^locked/ can't be read$"):
        pack(folder, folder.parent / "made.zip")


@pytest.mark.parametrize("name", ["listed", "__pycache__"])
def test_a_folder_that_can_only_be_listed_is_no_interruption(folder: Path, name: str) -> None:
    (folder / name).mkdir()
    (folder / name / "x.pyc").write_bytes(LASTING)
    (folder / name).chmod(0o400)
    if name == "listed":
        with pytest.raises(PackRefused, match=r"^listed/x\.pyc can't be read$"):
            pack(folder, folder.parent / "made.zip")
    else:
        pack(folder, folder.parent / "made.zip")


def test_folders_below_too_long_a_path_are_refused(folder: Path) -> None:
    deep = os.open(folder, os.O_RDONLY)
    for _ in range(30):
        os.mkdir("d" * 250, dir_fd=deep)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = below
    os.close(deep)
    with pytest.raises(PackRefused):
        pack(folder, folder.parent / "made.zip")
    assert _is_larger(str(folder), 100 * MIB)


def test_what_lies_where_nobody_can_look_is_too_large(folder: Path) -> None:
    """Such a folder can still be written to."""
    assert not _is_larger(str(folder), MIB)
    hidden = folder / "hidden"
    hidden.mkdir(mode=0o300)
    (hidden / "file").write_bytes(bytes(64))
    assert _is_larger(str(folder), MIB)
