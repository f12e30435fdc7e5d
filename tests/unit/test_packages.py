"""Packages: what becomes of the code that users send, hostile zips above all."""

import base64
import hashlib
import io
import stat
import struct
import time
import tracemalloc
import warnings
import zipfile
import zlib
from pathlib import Path

import pytest

from lateen.domain.errors import InvalidInput, TooLarge
from lateen.services import packages, zips
from lateen.services.packages import decode_base64, decode_text_or_base64, package
from lateen_invoker.artifact import unpack

SOURCE = b"def handler(event, context):\n    return event\n"


def zip_of(*entries: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    whole = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(whole, "w", method) as archive:
        warnings.simplefilter("ignore")  # about duplicate names, which some tests want
        for name, body in entries:
            archive.writestr(name, body)
    return whole.getvalue()


def renamed(archive: bytes, old: bytes, new: bytes) -> bytes:
    """Names that `zipfile` would tidy up are put in place afterwards; same length, in both headers."""
    assert len(old) == len(new)
    assert archive.count(old) == 2
    return archive.replace(old, new)


def with_mode(name: str, mode: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.create_system = 3
    entry.external_attr = mode << 16
    return entry


def directory_offset(archive: bytes) -> int:
    return int(struct.unpack_from("<I", archive, archive.rindex(b"PK\x05\x06") + 16)[0])


def patched(archive: bytes, offset: int, layout: str, *values: int) -> bytes:
    changed = bytearray(archive)
    struct.pack_into(layout, changed, offset, *values)
    return bytes(changed)


def test_a_source_file_becomes_the_same_zip_everywhere() -> None:
    """The artifact follows from the source and the file's name alone; here is its digest, made on another day."""
    made = package(SOURCE, file="code.py")
    assert made.source == SOURCE
    assert made.sha256 == hashlib.sha256(made.artifact).hexdigest()
    assert made.sha256 == "83fc62e5e6e37d48c858b8679b3fc4867d88bf9dc93f3d61d5eb3e9911cfd421"
    with zipfile.ZipFile(io.BytesIO(made.artifact)) as archive:
        assert archive.namelist() == ["code.py"]
        assert archive.read("code.py") == SOURCE
    package(made.artifact, file="code.py")  # what we make, we accept


def test_a_source_file_that_names_its_interpreter_can_be_executed(tmp_path: Path) -> None:
    """Such as a script that is a whole program."""
    for name, source, mode in (("run", b"#!/bin/sh\nexit\n", 0o555), ("code.py", b"x = 1\n", 0o444)):
        packed = package(source, file=name)
        file = tmp_path / f"{name}.given"
        file.write_bytes(packed.artifact)
        unpack(file.as_uri(), packed.sha256, tmp_path / name)
        assert stat.S_IMODE((tmp_path / name / name).stat().st_mode) == mode


def test_a_zip_is_kept_byte_for_byte() -> None:
    """Its digest is the one that the user knows."""
    archive = zip_of(("app.py", SOURCE), ("pkg/", b""), ("pkg/data.bin", bytes(1000)), ("pkg/läßt.txt", b"x"))
    made = package(archive, file="code.py")
    assert made == type(made)(archive, hashlib.sha256(archive).hexdigest(), None, len(SOURCE) + 1001)


def test_a_stored_zip_and_an_executable_are_fine() -> None:
    """Plain files of any mode, compressed or not."""
    package(
        zip_of((with_mode("bootstrap", stat.S_IFREG | 0o755), b"\x7fELF\0"), method=zipfile.ZIP_STORED), file="code.py"
    )


@pytest.mark.parametrize("code", [b"", b"\0", b"x = '\0'", b"\xff\xfe", b"\x7fELF\0\0", b"\x1f\x8b\x08\0"])
def test_what_is_neither_source_nor_zip_is_refused(code: bytes) -> None:
    """Source is UTF-8 without NUL; other archives are not understood."""
    with pytest.raises(InvalidInput) as refused:
        package(code, file="code.py")
    assert refused.value.field == "code"


@pytest.mark.parametrize(
    "name",
    [
        "../x.py",
        "a/../../x.py",
        "/etc/passwd",
        "a/../b",
        "..",
        "./x",
        "a//b",
        "C:/x.py",
        "c:x.py",
        "a\\b",
        "..\\x",
        "a\nb",
        "a\x7fb",
        "x" * 256,
        "/".join(["d" * 200] * 6),
        "a/./b",
        "//x",
    ],
)
def test_paths_that_climb_or_could_are_refused(name: str) -> None:
    """Absolute, climbing, with drives, backslashes, control characters, or longer than file systems allow."""
    with pytest.raises(InvalidInput):
        package(zip_of((name, b"x")), file="code.py")


@pytest.mark.parametrize("name", [b"ab\0cd", b"a/..b"[:0] + b"../cd", b"/etcd", b"a//cd"])
def test_paths_that_zipfile_would_tidy_up_are_refused(name: bytes) -> None:
    """What counts is the name in the archive, NUL and all."""
    with pytest.raises(InvalidInput):
        package(renamed(zip_of(("ab_cd", b"x")), b"ab_cd", name), file="code.py")


@pytest.mark.parametrize(
    "names",
    [
        ("a.py", "a.py"),
        ("a.py", "A.PY"),
        ("straße", "STRASSE"),
        ("e\u0301.py", "\u00e9.py"),
        ("a", "a/b"),
        ("a/b", "a"),
        ("A/b", "a"),
        ("a", "a-b", "a.b", "a/b"),
        ("a/b/c/d", "a-", "a/b"),
        ("a/", "a/", "a"),
        ("a/", "a"),
        ("a", "A/"),
    ],
)
def test_two_entries_for_one_path_are_refused(names: tuple[str, ...]) -> None:
    """Also where only a file system that ignores case would make one of them, or one is the other's folder."""
    with pytest.raises(InvalidInput):
        package(zip_of(*((name, b"" if name.endswith("/") else b"x") for name in names)), file="code.py")


def test_deep_paths_count_by_what_they_make() -> None:
    """Two thousand entries could be a million folders; a deep tree that is shared is fine."""
    package(zip_of(*(("/".join(["d"] * 500 + [str(number)]), b"") for number in range(2000))), file="code.py")
    archive = zip_of(*(("/".join([f"{number:05}", *["d"] * 509]), b"") for number in range(2000)))
    tracemalloc.start()
    began = time.process_time()
    with pytest.raises(TooLarge, match="folders"):
        package(archive, file="code.py")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.process_time() - began < 2
    assert peak < 10 * len(archive)


def test_folders_may_be_named_again_and_in_any_order() -> None:
    """Tools write folders before, after and beside their files."""
    package(zip_of(("a/b.py", b"x"), ("a/", b""), ("a/c/", b""), ("a/c/d", b"y")), file="code.py")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFDIR])
def test_links_and_devices_are_refused(kind: int) -> None:
    """Only plain files and folders, and no folder that is called like a file."""
    with pytest.raises(InvalidInput):
        package(zip_of(("app.py", b"x"), (with_mode("x", kind | 0o777), b"/etc/passwd")), file="code.py")


def test_the_unicode_path_field_is_a_name_too() -> None:
    """Some unpackers prefer it; it may say what the name may."""
    for inner, accepted in (("läßt.py".encode(), True), (b"../climbs.py", False), (b"folder/", False)):
        entry = zipfile.ZipInfo("app.py")
        field = struct.pack("<BI", 1, zlib.crc32(b"app.py")) + inner
        entry.extra = struct.pack("<HH", 0x7075, len(field)) + field
        archive = zip_of((entry, b"x"))
        if accepted:
            package(archive, file="code.py")
        else:
            with pytest.raises(InvalidInput):
                package(archive, file="code.py")


@pytest.mark.parametrize("flag", [0x1, 0x40, 0x2000])
@pytest.mark.parametrize("place", ["directory", "entry"])
def test_encrypted_zips_are_refused(flag: int, place: str) -> None:
    """Whichever header says so."""
    archive = zip_of(("app.py", SOURCE))
    at = directory_offset(archive) + 8 if place == "directory" else 6
    with pytest.raises(InvalidInput):
        package(patched(archive, at, "<H", flag), file="code.py")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(method: int) -> None:
    """Not every unpacker has them, and their bombs are larger."""
    with pytest.raises(InvalidInput, match="deflate"):
        package(zip_of(("app.py", SOURCE * 100), method=method), file="code.py")


def test_a_bomb_that_says_so_is_refused_at_once() -> None:
    """One more byte than the limit, told by its headers: nothing is inflated."""
    archive = zip_of(("a", bytes(zips.MAX_UNZIPPED // 2)), ("b", bytes(zips.MAX_UNZIPPED - zips.MAX_UNZIPPED // 2 + 1)))
    began = time.process_time()
    with pytest.raises(TooLarge):
        package(archive, file="code.py")
    assert time.process_time() - began < 0.5


def test_a_bomb_that_lies_is_stopped_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its headers say one byte each; what comes out is counted."""
    monkeypatch.setattr(zips, "MAX_UNZIPPED", 5_000_000)
    archive = zip_of(("a", bytes(10_000_000)))
    lying = patched(patched(archive, directory_offset(archive) + 24, "<I", 1), 22, "<I", 1)
    with pytest.raises(TooLarge):
        package(lying, file="code.py")


def test_entries_that_share_their_data_count_each() -> None:
    """The overlapping kind of bomb: many directory entries over one stretch of compressed zeros."""
    archive = zip_of(("a" * 8, bytes(30_000_000)))
    begin = directory_offset(archive)
    end = archive.rindex(b"PK\x05\x06")
    entry = archive[begin:end]
    many = b"".join(entry.replace(b"a" * 8, f"{number:08}".encode()) for number in range(20))
    bomb = archive[:begin] + many + archive[end:]
    bomb = patched(bomb, begin + len(many) + 8, "<HHI", 20, 20, len(many))
    with pytest.raises(TooLarge):
        package(bomb, file="code.py")


def test_sizes_that_are_not_true_are_refused() -> None:
    """A zip that lies within the limits is no zip that can be read."""
    archive = zip_of(("a", bytes(1000)))
    at = directory_offset(archive)
    for offset, value in (
        (at + 24, 999),
        (at + 24, 1001),
        (at + 16, 0),
        (at + 20, 3),
        (at + 42, 1),
        (at + 42, 1 << 30),
    ):
        with pytest.raises(InvalidInput):
            package(patched(archive, offset, "<I", value), file="code.py")


def test_an_entry_must_be_named_as_its_directory_says() -> None:
    """Else two unpackers would write two different files."""
    archive = zip_of(("app.py", SOURCE))
    with pytest.raises(InvalidInput):
        package(archive.replace(b"app.py", b"../x/y", 1), file="code.py")


def test_the_number_of_entries_is_limited() -> None:
    """Each costs memory before anything is unpacked, whatever the end record says."""
    archive = zip_of(*((str(number), b"") for number in range(zips.MAX_ENTRIES + 1)))
    with pytest.raises(TooLarge, match="entries"):
        package(archive, file="code.py")
    end = archive.rindex(b"PK\x05\x06")
    with pytest.raises(TooLarge, match="entries"):
        package(patched(archive, end + 8, "<HH", 1, 1), file="code.py")


def test_the_zipped_size_is_limited() -> None:
    """50 MiB, as on AWS, for a zip and for a source file."""
    with pytest.raises(TooLarge):
        package(b"PK\x03\x04" + bytes(zips.MAX_ZIPPED), file="code.py")
    with pytest.raises(TooLarge):
        package(b"#" * (zips.MAX_ZIPPED + 1), file="code.py")


def test_a_zip_without_files_is_refused() -> None:
    """There would be nothing to run."""
    for archive in (zip_of(), zip_of(("folder/", b""))):
        with pytest.raises(InvalidInput, match="no file"):
            package(archive, file="code.py")


def test_zip64_is_refused() -> None:
    """Its end record overrides the one that was checked."""
    archive = zip_of(("app.py", SOURCE))
    end = archive.rindex(b"PK\x05\x06")
    record = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, end - directory_offset(archive), 0)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, end, 1)
    with pytest.raises(InvalidInput):
        package(archive[:end] + record + locator + archive[end:], file="code.py")
    with pytest.raises(InvalidInput):
        package(archive[:end] + locator + archive[end:], file="code.py")


def test_every_cut_and_every_changed_byte_is_an_answer(tmp_path: Path) -> None:
    """A damaged zip is refused with our own words, or can be unpacked by the invoker: nothing in between."""
    archive = zip_of(("app.py", SOURCE), ("pkg/", b""), ("pkg/x", b"y" * 50))
    for end in range(4, len(archive)):
        with pytest.raises(InvalidInput):
            package(archive[:end], file="code.py")
    accepted = 0
    for at in range(4, len(archive)):
        for value in (0x00, 0x01, 0x2F, 0x7F, 0xFF):
            changed = archive[:at] + bytes([value]) + archive[at + 1 :]
            try:
                made = package(changed, file="code.py")
            except (InvalidInput, TooLarge):
                continue
            accepted += 1
            stored = tmp_path / "stored"
            stored.write_bytes(made.artifact)
            unpack(stored.as_uri(), made.sha256, tmp_path / f"{at}-{value}")
    assert accepted > 0


def test_base64_is_strict() -> None:
    """What another decoder could read differently is refused."""
    assert decode_base64("aGk=") == b"hi"
    for text in (
        "aGk",
        "aGk=\n",
        " aGk=",
        "aG-_",
        "aGk==",
        "a",
        "aGk=aGk=",
        "aGkhaa=",
        "aGkh=",
        "aGkh====",
        "äGk=",
        "aG\0k=",
    ):
        with pytest.raises(InvalidInput):
            decode_base64(text)
    with pytest.raises(TooLarge):
        decode_base64("A" * (zips.MAX_ZIPPED * 4 // 3 + 8))


def test_base64_is_decoded_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """Padding ends the whole, not a piece of it."""
    monkeypatch.setattr(packages, "_PIECE", 8)
    for size in range(30):
        assert decode_base64(base64.b64encode(b"x" * size).decode()) == b"x" * size
    for text in ("eHg=eHh4", "eHh4eHg=eHh4", "eHh4eHh4eA==eHh4", "eHh4eHh4===="):
        with pytest.raises(InvalidInput):
            decode_base64(text)


def test_a_file_is_text_or_base64() -> None:
    """Whichever it can be: source text is almost never Base64, and Base64 of neither source nor zip is text."""
    archive = zip_of(("app.py", SOURCE))
    assert decode_text_or_base64(SOURCE.decode()) == SOURCE
    assert decode_text_or_base64(base64.b64encode(SOURCE).decode()) == SOURCE
    assert decode_text_or_base64(base64.b64encode(archive).decode()) == archive
    assert decode_text_or_base64("abcd") == b"abcd"
    with pytest.raises(InvalidInput):
        decode_text_or_base64("x = '\ud800'")
