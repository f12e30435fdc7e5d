"""Zips from strangers: accepted only if unpacking them can do nothing but write the named files into one folder.

What is counted is what comes out of the decompressor, not what the zip says of itself, and what the archive's directory
says must be what stands before each entry's data, so that no other unpacker reads it differently. Nothing is written.
"""

import io
import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from itertools import pairwise, takewhile
from typing import IO, cast

from lateen.domain.errors import InvalidInput, TooLarge
from lateen.ports.blobs import Blob, Mapped

MAX_ZIPPED = 50 * 1024 * 1024
"""Of one that is sent."""
MAX_UNZIPPED = 262_144_000
MAX_FETCHED = MAX_UNZIPPED
"""Of one in a bucket; AWS's only bound there is what it holds."""
MAX_ENTRIES = 20_000
MAX_MADE = 40_000
"""Files and folders, those that are only part of a path included: one entry can make 500."""
MAX_PATH_BYTES = 1024
MAX_SEGMENT_BYTES = 255

_DIRECTORY_ENTRY = struct.Struct("<4s24xHHH12x")  # signature, then lengths of name, extra and comment
_LOCAL_HEADER = struct.Struct("<4s2xHH16xHH")  # signature, flags, method, lengths of name and extra
_END = struct.Struct("<4sHHHHIIH")
_END_SIGNATURE, _LOCATOR_SIGNATURE = b"PK\x05\x06", b"PK\x06\x07"
_LOCATOR_SIZE = 20
_ENCRYPTED = 0x1 | 0x40 | 0x2000  # traditional, strong, and an encrypted directory
_UNICODE_PATH = 0x7075
_CHUNK_IN, _CHUNK_OUT = 64 * 1024, 1024 * 1024
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\]|^[A-Za-z]:|^/")


def check_zip(data: Blob, field: str = "code", *, limit: int = MAX_ZIPPED) -> int:
    """Returns: the bytes of all files in it. Raises: `InvalidInput`, `TooLarge`."""
    if len(data) > limit:
        raise TooLarge(f"{field}: the zip is larger than {limit} bytes")
    try:
        return _check(data, field)
    except (zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, UnicodeError, ValueError):
        raise InvalidInput(field, "not a zip that can be read") from None


def open_zip(data: Blob) -> zipfile.ZipFile:
    return zipfile.ZipFile(cast("IO[bytes]", data) if isinstance(data, Mapped) else io.BytesIO(data))


def _check(data: Blob, field: str) -> int:
    _check_directory_size(data, field)
    with open_zip(data) as archive:
        entries = archive.infolist()
    if all(_is_folder(entry) for entry in entries):
        raise InvalidInput(field, "the zip holds no file")
    _check_names(entries, field)
    for entry in entries:
        _check_kind(entry, field)
    if sum(entry.file_size for entry in entries) > MAX_UNZIPPED:
        raise _too_large(field)
    view, budget = memoryview(data), MAX_UNZIPPED
    for entry in entries:
        budget -= _inflate(view, entry, budget, field)
    return MAX_UNZIPPED - budget


def _check_directory_size(data: Blob, field: str) -> None:
    """Count the directory's entries before `zipfile` makes an object of each."""
    end = data.rfind(_END_SIGNATURE, max(0, len(data) - _END.size - 0xFFFF))
    if end < 0:
        raise zipfile.BadZipFile
    _, _, _, _, stated, size, offset, comment = _END.unpack_from(data, end)
    if end + _END.size + comment != len(data) or offset + size != end:
        raise zipfile.BadZipFile
    if data[max(0, end - _LOCATOR_SIZE) :].startswith(_LOCATOR_SIGNATURE):
        raise InvalidInput(field, "a zip in the Zip64 format, which code of this size does not need")
    at, count = end - size, 0
    while at < end:
        signature, name, extra, note = _DIRECTORY_ENTRY.unpack_from(data, at)
        if signature != b"PK\x01\x02":
            raise zipfile.BadZipFile
        at += 46 + name + extra + note
        count += 1
        if count > MAX_ENTRIES:
            raise TooLarge(f"{field}: the zip has more than {MAX_ENTRIES} entries")
    if at != end or count != stated:
        raise zipfile.BadZipFile


def _check_names(entries: list[zipfile.ZipInfo], field: str) -> None:
    paths: list[tuple[str, bool, str]] = []
    for entry in entries:
        names = _names_of(entry)
        for name in names:
            _check_path(name, field)
        # As a file system would compare them that ignores case and how accents are written.
        same = unicodedata.normalize("NFC", unicodedata.normalize("NFC", names[-1].rstrip("/")).casefold())
        paths.append((same.replace("/", "\0"), _is_folder(entry), names[-1]))
    # In this order what lies below a path follows it at once, since no path holds a NUL: neighbours tell all.
    paths.sort()
    made, previous = 0, [""]
    for path, _, _ in paths:
        segments = path.split("\0")
        made += len(segments) - sum(
            1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(segments, previous, strict=False))
        )
        previous = segments
        if made > MAX_MADE:
            raise TooLarge(f"{field}: the zip makes more than {MAX_MADE} files and folders")
    for (path, is_folder, _), (following, is_folder_too, name) in pairwise(paths):
        is_twice = path == following and not (is_folder and is_folder_too)
        if is_twice or (not is_folder and following.startswith(path + "\0")):
            raise InvalidInput(field, f"the zip has two entries for one path: {_shown(name)}")


def _names_of(entry: zipfile.ZipInfo) -> list[str]:
    """All that an unpacker may take for the entry's path: `filename` is cut at a NUL, and newer Pythons, as other
    unpackers, prefer the Unicode Path field, with which Info-ZIP names what is not ASCII."""
    names = [entry.orig_filename]
    extra = entry.extra
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        if kind == _UNICODE_PATH and size > 5:
            names.append(extra[9 : 4 + size].decode())
        extra = extra[4 + size :]
    if any(name.endswith("/") != _is_folder(entry) for name in names):
        raise zipfile.BadZipFile
    return names


def _check_path(name: str, field: str) -> None:
    path = name[:-1] if name.endswith("/") else name
    if (
        _FORBIDDEN.search(name)
        or len(path.encode()) > MAX_PATH_BYTES
        or any(s in ("", ".", "..") or len(s.encode()) > MAX_SEGMENT_BYTES for s in path.split("/"))
    ):
        raise InvalidInput(field, f"the zip has an entry with a path that is not accepted: {_shown(name)}")


def _check_kind(entry: zipfile.ZipInfo, field: str) -> None:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or (kind == stat.S_IFDIR) > _is_folder(entry):
        raise InvalidInput(
            field, f"the zip has an entry that is no plain file or folder: {_shown(entry.orig_filename)}"
        )
    if entry.flag_bits & _ENCRYPTED:
        raise InvalidInput(field, "the zip is encrypted")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InvalidInput(field, "the zip uses a compression other than deflate")
    if _is_folder(entry) and entry.file_size:
        raise zipfile.BadZipFile


def _inflate(data: memoryview, entry: zipfile.ZipInfo, budget: int, field: str) -> int:
    """Bytes that really come out. Raises: `TooLarge` beyond `budget`, `BadZipFile` where they are not as stated."""
    at = entry.header_offset
    signature, flags, method, name_size, extra_size = _LOCAL_HEADER.unpack_from(data, at)
    begin = at + 30 + name_size + extra_size
    name = bytes(data[at + 30 : at + 30 + name_size])
    packed = data[begin : begin + entry.compress_size]
    stated_name = entry.orig_filename.encode("utf-8" if entry.flag_bits & 0x800 else "cp437")
    if (
        signature != b"PK\x03\x04"
        or flags & _ENCRYPTED
        or method != entry.compress_type
        or name != stated_name
        or len(packed) != entry.compress_size
    ):
        raise zipfile.BadZipFile
    size = crc = 0
    if method == zipfile.ZIP_STORED:
        size, crc = len(packed), zlib.crc32(packed)
    else:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        for start in range(0, len(packed), _CHUNK_IN):
            rest: bytes | memoryview = packed[start : start + _CHUNK_IN]
            while rest and not inflater.eof:
                chunk = inflater.decompress(rest, _CHUNK_OUT)
                rest = inflater.unconsumed_tail
                size, crc = size + len(chunk), zlib.crc32(chunk, crc)
                if size > budget:
                    raise _too_large(field)
        size, crc = size + len(tail := inflater.flush()), zlib.crc32(tail, crc)
        if not inflater.eof or inflater.unused_data:
            raise zipfile.BadZipFile
    if size > budget:
        raise _too_large(field)
    if size != entry.file_size or crc != entry.CRC:
        raise zipfile.BadZipFile
    return size


def _is_folder(entry: zipfile.ZipInfo) -> bool:
    return entry.filename.endswith("/")  # `is_dir` fails on an empty name


def _too_large(field: str) -> TooLarge:
    return TooLarge(f"{field}: unzipped size must be smaller than {MAX_UNZIPPED} bytes")


def _shown(name: str) -> str:
    return name[:80].encode("ascii", "backslashreplace").decode()
