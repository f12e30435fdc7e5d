"""Code that lies in buckets: where a package is, and which buckets a workspace may take packages from.

It is read with the installation's own credentials. So a bucket is closed to a workspace unless it is listed there.
"""

import re
from collections.abc import Sequence

from msgspec import Struct

from lateen.domain.errors import InvalidInput

_NAME = r"(?![^/]*\.\.)[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]"
BUCKET = rf"^{_NAME}\Z"
LISTED = rf"^{_NAME}((/(?!\.{{1,2}}(/|\Z))[ -.0-\[\]-~]+)+/?)?\Z"
"""A bucket, or a folder in one. An empty folder is none: it may be a variable that was not set, and would open the
whole bucket."""
TEXT_LENGTH = 1024
"""Of a key, and of a version."""
MAX_LISTED = 100
_BUCKET, _LISTED = re.compile(BUCKET), re.compile(LISTED)
_SEGMENTS = re.compile(r"[/\\]")


class CodePlace(Struct, frozen=True, kw_only=True):
    bucket: str
    key: str
    version: str | None = None
    """None: the newest."""


def check_code_place(place: CodePlace, field: str) -> None:
    """Raises: `InvalidInput` also for keys and versions that something between here and the object may take for a path
    to elsewhere: servers that keep objects in folders, and clients that tidy URLs up."""
    if not _BUCKET.match(place.bucket):
        raise InvalidInput(field, "bucket: 3 to 63 letters, digits, '.', '_' and '-', a letter or digit at both ends")
    for name, text in (("key", place.key), ("version", place.version)):
        if text is not None and not _is_plain(text):
            raise InvalidInput(
                field, f"{name}: 1 to {TEXT_LENGTH} printable characters, and no part of it is '.' or '..'"
            )


def check_listed(listed: Sequence[str], field: str) -> None:
    """A workspace's list: `bucket`, or `bucket/folder` for what lies below that. Raises: `InvalidInput`."""
    if len(listed) > MAX_LISTED:
        raise InvalidInput(field, f"at most {MAX_LISTED}")
    if not all(len(entry) <= TEXT_LENGTH and _LISTED.match(entry) for entry in listed):
        raise InvalidInput(field, "each is a bucket, or a bucket and a folder in it: 'packages', 'packages/team-a'")


def is_listed(place: CodePlace, listed: Sequence[str]) -> bool:
    """Whether the object is in a listed bucket or below a listed folder, or is itself listed."""
    for entry in listed:
        bucket, slash, folder = entry.removesuffix("/").partition("/")
        if bucket == place.bucket and (not slash or place.key == folder or place.key.startswith(f"{folder}/")):
            return True
    return False


def _is_plain(text: str) -> bool:
    return (
        1 <= len(text) <= TEXT_LENGTH
        and text.isprintable()
        and not any(segment in (".", "..") for segment in _SEGMENTS.split(text))
    )
