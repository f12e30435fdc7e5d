"""Code that is taken from users' buckets, within what a workspace's list allows.

The object is read once, when it is asked for, and from then on it is as code that was sent: checked in the same way and
stored among the artifacts. What the bucket says later changes nothing.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from weakref import finalize

from lateen.domain.access import PLATFORM
from lateen.domain.code_places import CodePlace, check_code_place, check_listed, is_listed
from lateen.domain.errors import Forbidden, InvalidInput, Unavailable
from lateen.ports.blobs import Blob, Mapped
from lateen.ports.code_store import CodeRefused, CodeStore, CodeStoreUnavailable, CodeTooLarge, CodeUnreadable
from lateen.ports.table import Table
from lateen.services.tenants import read_workspace
from lateen.services.zips import MAX_FETCHED

log = logging.getLogger(__name__)

_AT_ONCE = 2
"""Packages on the disk or in memory: a small request makes a large one, so callers wait for each other."""
_WAIT_S = 15.0
_DENIED = {"AccessDenied", "AllAccessDisabled", "AccountProblem", "403"}
_MESSAGES = {
    "NoSuchKey": "The specified key does not exist.",
    "NoSuchBucket": "The specified bucket does not exist",
    "NoSuchVersion": "The specified version does not exist.",
    "InvalidArgument": "Invalid version id specified",
    "InvalidObjectState": "The operation is not valid for the object's storage class",
    "MethodNotAllowed": "The specified method is not allowed against this resource.",
}
"""S3's own. Of another code nothing is told but the code: servers put paths and names of roles into their texts."""


class CodeSources:
    def __init__(self, table: Table, store: CodeStore | None = None, *, own_bucket: str | None = None) -> None:
        """Args:
        store: None: code is taken from nowhere.
        own_bucket: where the artifacts of all workspaces lie. Nothing is taken from there, whatever is listed.
        """
        self._table = table
        self._store = store
        self._own_bucket = own_bucket
        self._room = asyncio.Semaphore(_AT_ONCE)

    def check(self, listed: Sequence[str]) -> None:
        """A workspace's list. Raises: `InvalidInput`."""
        check_listed(listed, "code_buckets")
        if any(self._is_own(entry.partition("/")[0]) for entry in listed):
            raise InvalidInput("code_buckets", "not the bucket of this installation: all workspaces' code is in it")

    @asynccontextmanager
    async def fetched(self, workspace_id: str, place: CodePlace, field: str) -> AsyncIterator[Blob]:
        """The object, as one of those that may be here at a time: until this ends and, where it is large, nobody has it
        any more.

        Args:
            field: what a refusal names.
        Raises: `InvalidInput`, `Forbidden`, `Unavailable`, `NotFound` (workspace).
        """
        check_code_place(place, field)
        workspace = await read_workspace(self._table, PLATFORM, workspace_id)
        if self._is_own(place.bucket) or not is_listed(place, workspace.code_buckets):
            raise Forbidden(
                f"{_denied(place)}. The workspace {workspace.name!r} may not take code from there: whoever runs this "
                f"installation allows it with 'lateen workspace update {workspace.name} --code-bucket BUCKET'"
            )
        if self._store is None:
            raise InvalidInput(field, "this installation takes no code from S3; send it with the request")
        try:
            async with asyncio.timeout(_WAIT_S):
                await self._room.acquire()
        except TimeoutError:
            raise Unavailable("packages of others are being fetched; try again") from None
        found: Blob = b""
        try:
            found = await self._read(self._store, workspace_id, place, field)
            yield found
        finally:
            if isinstance(found, Mapped):
                # It has yet to be stored, and a thread may be the last to have it.
                loop = asyncio.get_running_loop()
                finalize(found, loop.call_soon_threadsafe, self._room.release).atexit = False
            else:
                self._room.release()

    async def _read(self, store: CodeStore, workspace_id: str, place: CodePlace, field: str) -> Blob:
        try:
            return await store.read(place, limit=MAX_FETCHED)
        except CodeTooLarge:
            raise InvalidInput(field, f"the object is larger than {MAX_FETCHED} bytes") from None
        except CodeStoreUnavailable as exc:
            reason = type(exc.__cause__ or exc).__name__
            log.warning("code in S3 can't be read", extra={"workspace": workspace_id, "reason": reason})
            raise Unavailable("S3 does not answer, or not in time") from exc
        except CodeUnreadable as exc:
            log.warning("code in S3 can't be read", extra={"workspace": workspace_id, "reason": str(exc)})
            raise InvalidInput(field, str(exc)) from exc
        except CodeRefused as exc:
            if exc.code in _DENIED:
                raise Forbidden(_denied(place)) from exc
            raise InvalidInput(
                field,
                f"Error occurred while GetObject. S3 Error Code: {exc.code}. S3 Error Message: {_message(exc)}",
            ) from exc

    def _is_own(self, bucket: str) -> bool:
        # Where a name becomes part of a host's, case is nothing.
        return self._own_bucket is not None and bucket.casefold() == self._own_bucket.casefold()


def _denied(place: CodePlace) -> str:
    """In AWS's words."""
    return (
        "Your access has been denied by S3, please make sure your request credentials have permission to GetObject for "
        f"{place.bucket}/{place.key}. S3 Error Code: AccessDenied. S3 Error Message: Access Denied"
    )


def _message(refused: CodeRefused) -> str:
    if refused.code == "PermanentRedirect":
        return f"The bucket is in this region: {refused.region}. Please use this region to retry the request"
    return _MESSAGES.get(refused.code, "The store refused the request.")
