"""Packages: what users send as code, turned into an artifact, which is a zip that is safe to unpack."""

import binascii
import hashlib
import io
import zipfile

from msgspec import Struct

from lateen.domain.errors import InvalidInput, TooLarge
from lateen.ports.blobs import Blob
from lateen.services.zips import MAX_ZIPPED, check_zip

_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
_PIECE = 4 * 1024 * 1024
_OLDEST_ZIP_TIME = (1980, 1, 1, 0, 0, 0)


class Package(Struct, frozen=True):
    artifact: Blob
    """The zip."""
    sha256: str
    """Of the zip, hex."""
    source: bytes | None
    """The single source file; None: a zip was given."""
    unzipped: int
    """Bytes of all files in the zip."""


def decode_base64(text: str, field: str = "code") -> bytes:
    """Strict: no line breaks, no other alphabet, padding in place. Raises: `InvalidInput`, `TooLarge`."""
    if len(text) > MAX_ZIPPED * 4 // 3 + 4:
        raise TooLarge(f"{field}: more than {MAX_ZIPPED} bytes")
    try:
        if len(text) % 4 or text.find("=", 0, -2) >= 0:  # strict mode lets padding pass that is too much
            raise binascii.Error
        # In pieces, between which other threads have their turn.
        pieces = (text[at : at + _PIECE] for at in range(0, len(text), _PIECE))
        return b"".join(binascii.a2b_base64(piece, strict_mode=True) for piece in pieces)
    except (binascii.Error, ValueError):
        raise InvalidInput(field, "not Base64 (standard alphabet, padded, without line breaks)") from None


def decode_text_or_base64(text: str, field: str = "file") -> bytes:
    """Source text as it is, or Base64 of source or of a zip, whichever it can be.

    Raises: `InvalidInput`, `TooLarge`.
    """
    try:
        decoded = decode_base64(text, field)
        if decoded and (_is_zip(decoded) or _is_source(decoded)):
            return decoded
    except InvalidInput:
        pass
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidInput(field, "not valid Unicode") from None


def package(code: bytes, *, file: str, field: str = "code") -> Package:
    """Check what a user sent. Blocks for as long as unpacking takes: run it in a thread.

    Args:
        file: what a single source file is called inside the zip.
    Raises: `InvalidInput`, `TooLarge`.
    """
    if not code:
        raise InvalidInput(field, "empty")
    if _is_zip(code):
        return package_of_zip(code, field)
    if len(code) > MAX_ZIPPED:
        raise TooLarge(f"{field}: more than {MAX_ZIPPED} bytes")
    if not _is_source(code):
        raise InvalidInput(field, "neither a zip nor a source file in UTF-8")
    artifact = _zip_of(file, code)
    return Package(artifact, hashlib.sha256(artifact).hexdigest(), code, len(code))


def package_of_zip(code: Blob, field: str, *, limit: int = MAX_ZIPPED) -> Package:
    """As `package`, for what can only be a zip. Raises: `InvalidInput`, `TooLarge`."""
    unzipped = check_zip(code, field, limit=limit)
    return Package(code, hashlib.sha256(code).hexdigest(), None, unzipped)


def _is_zip(code: bytes) -> bool:
    return code.startswith(_ZIP_MAGIC)


def _is_source(code: bytes) -> bool:
    if b"\0" in code:
        return False
    try:
        code.decode()
    except UnicodeDecodeError:
        return False
    return True


def _zip_of(file: str, source: bytes) -> bytes:
    """The same bytes for the same source on every machine: no clock, no user, and stored, since zlibs differ."""
    entry = zipfile.ZipInfo(file, _OLDEST_ZIP_TIME)
    entry.create_system = 3  # Unix; the default is the machine's
    entry.external_attr = (0o100755 if source.startswith(b"#!") else 0o100644) << 16
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(entry, source)
    return whole.getvalue()
