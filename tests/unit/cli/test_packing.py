"""What `lateen deploy PATH` sends: the code, all of it, nothing else, and the same bytes each time."""

import io
import os
import zipfile
from pathlib import Path

import pytest

from lateen.cli import packing
from lateen.cli.packing import pack
from lateen.cli.refusals import Refused


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "app"
    for name in ("code.py", "lib/a.py", "lib/b.txt", "bin/run"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / "bin/run").chmod(0o700)
    return root


def entries(packed: bytes) -> dict[str, zipfile.ZipInfo]:
    return {entry.filename: entry for entry in zipfile.ZipFile(io.BytesIO(packed)).infolist()}


def test_a_file_is_sent_as_it_is(tmp_path: Path) -> None:
    """Also one that is no text: a zip is packed already."""
    (tmp_path / "x.zip").write_bytes(b"PK\x03\x04 whatever")
    assert pack(tmp_path / "x.zip") == b"PK\x03\x04 whatever"


def test_a_zip_that_is_none_is_refused(tmp_path: Path) -> None:
    """It would be taken for a source file of that content."""
    for content in ("<html>not found</html>", "PK, or so it seems"):
        (tmp_path / "x.zip").write_text(content)
        with pytest.raises(Refused, match=r"x\.zip is not a zip"):
            pack(tmp_path / "x.zip")


def test_a_package_that_is_too_large_is_not_sent(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said in its own bytes, before they go anywhere: those of the request that would bring it say less."""
    monkeypatch.setattr(packing, "PACKED_LIMIT", len(pack(folder)))
    pack(folder)
    (folder / "more.txt").write_bytes(os.urandom(1024))
    with pytest.raises(Refused, match=r"app is 1\.\d KiB when it is packed, and a package has \d+ B at most"):
        pack(folder)


def test_a_folder_becomes_a_zip_of_its_files(folder: Path) -> None:
    """Names are relative to the folder; the executable bit is all that is kept of a mode."""
    found = entries(pack(folder))
    assert list(found) == ["code.py", "bin/run", "lib/a.py", "lib/b.txt"]
    assert found["bin/run"].external_attr >> 16 == 0o100755
    assert found["code.py"].external_attr >> 16 == 0o100644
    assert zipfile.ZipFile(io.BytesIO(pack(folder))).read("lib/a.py") == b"lib/a.py"


def test_the_same_folder_gives_the_same_bytes(folder: Path) -> None:
    """Neither the time nor a mode that doesn't matter makes a new revision."""
    before = pack(folder)
    os.utime(folder / "code.py", (1, 1))
    (folder / "code.py").chmod(0o600)
    assert pack(folder) == before


@pytest.mark.parametrize(
    "name",
    [".git/config", "__pycache__/code.pyc", ".venv/bin/python", "lib/.mypy_cache/x", "lib/.a.py.swp", ".DS_Store"],
)
def test_what_is_nobodys_code_stays_here(folder: Path, name: str) -> None:
    """Version control, caches and environments are left out, at any depth."""
    before = pack(folder)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("x")
    assert pack(folder) == before


def test_a_compiled_module_without_its_source_is_code(folder: Path) -> None:
    """So it goes along; only caches of compiled modules stay here."""
    (folder / "secret.pyc").write_bytes(b"x")
    assert "secret.pyc" in zipfile.ZipFile(io.BytesIO(pack(folder))).namelist()


def test_a_virtual_environment_is_left_out_whatever_it_is_called(folder: Path) -> None:
    """Its `lib64` is a link to a folder."""
    before = pack(folder)
    (folder / "tools" / "env" / "lib").mkdir(parents=True)
    (folder / "tools" / "env" / "lib64").symlink_to("lib")
    (folder / "tools" / "env" / "pyvenv.cfg").write_text("home = /usr/bin\n")
    assert pack(folder) == before


def test_a_link_inside_is_followed(folder: Path) -> None:
    """The server takes no links; their content is what was meant."""
    (folder / "linked.py").symlink_to("code.py")
    assert zipfile.ZipFile(io.BytesIO(pack(folder))).read("linked.py") == b"code.py"


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "../app2/secret", "lib", "nowhere"])
def test_a_link_that_leads_elsewhere_is_refused(folder: Path, target: str) -> None:
    """No file is sent that nobody meant to deploy, a sibling whose name begins alike included."""
    (folder.parent / "outside").write_text("secret")
    (folder.parent / "app2").mkdir()
    (folder.parent / "app2" / "secret").write_text("secret")
    (folder / "link").symlink_to(target)
    with pytest.raises(Refused, match="link") as caught:
        pack(folder)
    assert ".lateenignore" in str(caught.value.hint)


def test_a_named_pipe_is_refused(folder: Path) -> None:
    """Reading it would wait for ever."""
    os.mkfifo(folder / "pipe")
    with pytest.raises(Refused, match="not a file"):
        pack(folder)


def test_a_link_to_itself_is_refused(folder: Path) -> None:
    """It leads nowhere, for as long as one follows it."""
    (folder / "loop").symlink_to("loop")
    with pytest.raises(Refused, match="not a file"):
        pack(folder)


def test_a_name_that_is_no_text_is_refused(folder: Path) -> None:
    """A zip has no way to say it."""
    (folder / os.fsdecode(b"\xff.py")).write_text("x")
    with pytest.raises(Refused, match="not UTF-8"):
        pack(folder)


def test_what_cannot_be_read_is_not_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function without half of its files would fail later, and nobody would know why."""
    scandir = os.scandir

    def refusing(path: str) -> object:
        if str(path).endswith("lib"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(Refused, match="lib can't be read: permission denied"):
        pack(folder)


def test_a_path_that_is_no_code_is_refused(tmp_path: Path) -> None:
    """An empty file, and what is neither file nor folder."""
    (tmp_path / "empty.py").touch()
    with pytest.raises(Refused, match="empty"):
        pack(tmp_path / "empty.py")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Refused, match="neither"):
        pack(tmp_path / "pipe")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    """Instead of a zip that no server accepts."""
    (tmp_path / ".git").mkdir()
    with pytest.raises(Refused, match="no file"):
        pack(tmp_path)


def test_too_much_is_refused_before_it_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home folder given by mistake ends with a sentence, not with all memory."""
    monkeypatch.setattr(packing, "UNPACKED_LIMIT", 10)
    with pytest.raises(Refused, match="more than"):
        pack(folder)
    (folder / "x.py").write_text("x" * 11)
    with pytest.raises(Refused, match="more than"):
        pack(folder / "x.py")


def test_what_is_made_anew_and_what_is_ignored_stays_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`node_modules` beside a package.json, which is said, and whatever `.lateenignore` names as git would."""
    for name in (
        "index.mjs", "package.json", "node_modules/a/index.js", "lib/node_modules/kept.js", "data/raw.csv",
        "data/keep.csv", "notes.md", "deep/er/notes.md", "build/out.js",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / ".lateenignore").write_text("# mine\n*.md\n/build/\n!data/keep.csv\ndata/raw.*\n")
    with zipfile.ZipFile(io.BytesIO(pack(tmp_path))) as archive:
        packed = sorted(archive.namelist())
    assert packed == ["data/keep.csv", "index.mjs", "lib/node_modules/kept.js", "package.json"]
    assert capsys.readouterr().err == (
        f"note: {tmp_path}/node_modules is left out: what package.json beside it names is installed instead\n"
    )
