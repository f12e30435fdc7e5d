"""Bytes that lie in memory while they are few, and in a file when they are many."""

import hashlib
import random
import zipfile
from pathlib import Path

import pytest

from lateen.domain.errors import InvalidInput, TooLarge
from lateen.ports.blobs import IN_MEMORY_BYTES, Blob, Collected, Mapped
from lateen.services.packages import package_of_zip
from lateen.services.zips import MAX_ZIPPED, open_zip

DATA = random.Random(0).randbytes(IN_MEMORY_BYTES)


def blob_of(*pieces: bytes) -> Blob:
    collected = Collected()
    for piece in pieces:
        collected.add(piece)
    assert collected.size == sum(len(piece) for piece in pieces)
    return collected.blob()


@pytest.mark.parametrize("pieces", [(), (b"",), (b"a", b"bc"), (DATA,)])
def test_few_bytes_are_bytes(pieces: tuple[bytes, ...]) -> None:
    assert blob_of(*pieces) == b"".join(pieces)


def test_many_bytes_are_mapped() -> None:
    blob = blob_of(DATA, b"more")
    assert isinstance(blob, Mapped)
    assert (len(blob), blob[:5], blob[-4:]) == (len(DATA) + 4, DATA[:5], b"more")
    assert hashlib.sha256(blob).digest() == hashlib.sha256(DATA + b"more").digest()


def zipped(path: Path, data: bytes, name: str = "code.py") -> bytes:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, "VALUE = 1\n")
        archive.writestr("data.bin", data)
    return path.read_bytes()


def test_a_large_zip_is_checked_as_a_small_one(tmp_path: Path) -> None:
    whole = zipped(tmp_path / "a.zip", DATA)
    made = package_of_zip(blob_of(whole), "code")
    assert isinstance(made.artifact, Mapped)
    assert (made.sha256, made.unzipped) == (hashlib.sha256(whole).hexdigest(), len(DATA) + len("VALUE = 1\n"))
    with open_zip(made.artifact) as archive:
        assert archive.read("code.py") == b"VALUE = 1\n"
    for wrong in (whole[:-1], zipped(tmp_path / "b.zip", DATA, "../code.py"), whole.replace(DATA[:9], DATA[1:10], 1)):
        blob = blob_of(wrong)
        assert isinstance(blob, Mapped)
        with pytest.raises(InvalidInput):
            package_of_zip(blob, "code")


def test_the_limit_is_the_callers(tmp_path: Path) -> None:
    blob = blob_of(zipped(tmp_path / "a.zip", bytes(MAX_ZIPPED)))
    with pytest.raises(TooLarge):
        package_of_zip(blob, "code")
    assert package_of_zip(blob, "code", limit=len(blob)).unzipped > MAX_ZIPPED
    with pytest.raises(TooLarge):
        package_of_zip(blob, "code", limit=len(blob) - 1)
