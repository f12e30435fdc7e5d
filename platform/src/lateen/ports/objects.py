"""`Objects`: immutable blobs by key. The contract suite is `tests/contract/test_objects.py`."""

from collections.abc import AsyncIterable, AsyncIterator
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from lateen.domain.errors import LateenError, Unavailable
from lateen.ports.blobs import Blob


class ObjectNotFound(LateenError):
    """There is no blob under this key."""


class ObjectsUnavailable(Unavailable):
    """The store did not answer, or its disk is full."""


class StoredObject(Struct, frozen=True):
    """One entry of a listing; `size` in bytes, `modified` in UTC."""

    key: str
    size: int
    modified: datetime


class Objects(Protocol):
    """Keys are `/`-separated segments of `[A-Za-z0-9._-]`, never `.` or `..`, at most 255 characters a segment and 1024
    in all; others raise `ValueError`. No key is a folder of another one's (`a` and `a/b`). Every call may raise
    `ObjectsUnavailable`."""

    async def put(self, key: str, body: Blob | AsyncIterable[bytes]) -> None:
        """Store the blob; after the return it is on disk, whole. Readers see the old one or the new one, no part."""

    def read(self, key: str) -> AsyncIterator[bytes]:
        """The blob in chunks; `ObjectNotFound` at the first one."""

    async def delete(self, key: str) -> None:
        """Remove it. What is not there is no error."""

    async def url(self, key: str, *, expires_s: int = 900) -> str:
        """An address from which who holds it can fetch the blob: `file://` or a presigned `https://`."""

    def list(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        """All blobs whose key begins with `prefix`, ordered by key."""

    async def ping(self) -> None:
        """Answers if a read would."""
