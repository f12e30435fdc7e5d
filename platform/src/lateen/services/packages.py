"""Packages: what users send as code, turned into an artifact, which is a zip that is safe to unpack."""

from msgspec import Struct

MAX_ZIPPED = 50 * 1024 * 1024
MAX_UNZIPPED = 262_144_000
MAX_ENTRIES = 20_000


class Package(Struct, frozen=True):
    artifact: bytes
    """The zip."""
    sha256: str
    """Of the zip, hex."""
    source: bytes | None
    """The single source file; None: a zip was given."""


def decode_base64(text: str, field: str = "code") -> bytes:
    """Strict: no line breaks, no other alphabet, padding in place. Raises: `InvalidInput`, `TooLarge`."""
    raise NotImplementedError


def decode_text_or_base64(text: str, field: str = "file") -> bytes:
    """Source text as it is, or Base64 of source or of a zip, whichever it can be. Raises: `InvalidInput`, `TooLarge`."""
    raise NotImplementedError


def package(code: bytes, *, file: str, field: str = "code") -> Package:
    """Check what a user sent. Blocks for as long as unpacking takes: run it in a thread.

    Args:
        file: what a single source file is called inside the zip.
    Raises: `InvalidInput`, `TooLarge`.
    """
    raise NotImplementedError
