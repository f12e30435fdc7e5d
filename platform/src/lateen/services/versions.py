"""Versions: what a function was when it was published, by number, for good."""

import asyncio
import time
from collections.abc import Callable, Sequence
from weakref import WeakValueDictionary

import msgspec
from msgspec import Struct

from lateen.domain.access import Caller
from lateen.domain.errors import Conflict, InvalidInput, NotFound, RevisionMismatch
from lateen.domain.functions import LATEST, Described, Function
from lateen.domain.names import check_description, is_id
from lateen.domain.pages import DEFAULT_LIMIT, Page
from lateen.domain.times import iso_ms
from lateen.domain.versions import as_now, is_same
from lateen.ports.table import Check, Delete, ItemNotFound, Put, RevisionConflict, Table
from lateen.services.artifacts import Artifacts
from lateen.services.cursors import Cursors, check_limit
from lateen.services.event_configs import config_key
from lateen.services.function_items import function_from, function_key, id_key, item_of, live_function, status_key
from lateen.services.functions import Functions
from lateen.services.image_digests import with_digest
from lateen.services.statuses import Statuses
from lateen.services.tenants import ATTEMPTS, BUSY, partition
from lateen.services.version_items import (
    Head,
    alias_from,
    aliases_prefix,
    draft_in,
    items_of,
    policy_key,
    provisioned_key,
    read_draft,
    read_version,
    version_from,
    version_item,
    version_key,
    versions_prefix,
)


class Published(Struct, frozen=True):
    version: Described
    is_new: bool
    """False: nothing was changed since this version was published."""


class VersionUsed(Conflict):
    """It can't be removed, for `aliases` lead to it."""

    def __init__(self, version: str, aliases: Sequence[str]) -> None:
        super().__init__(f"the alias {aliases[0]!r} leads to version {version}")
        self.aliases = aliases


class Versions:
    def __init__(
        self,
        table: Table,
        *,
        functions: Functions,
        artifacts: Artifacts,
        cursors: Cursors,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._table = table
        self._functions = functions
        self._artifacts = artifacts
        self._cursors = cursors
        self._now = now
        self._statuses = Statuses(table, now=now)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def publish(
        self,
        caller: Caller,
        function_id: str,
        *,
        description: str | None = None,
        expected: int | None = None,
        code_sha256: str | None = None,
    ) -> Published:
        """Make a version of the function as it is; where nothing was changed since the last one, that is the answer.

        Args:
            description: of the version; None: the function's.
            expected: the function's revision that the caller knows.
            code_sha256: of the zip, or the image, that the caller knows, hex.
        Raises: `NotFound`, `InvalidInput`, `RevisionMismatch`.
        """
        if description is not None:
            check_description(description)
        # Those of this process wait for each other instead of losing races.
        async with self._locks.setdefault(function_id, asyncio.Lock()):
            for _ in range(ATTEMPTS):
                function = await self._live(caller, function_id)
                _check_expected(await with_digest(self._table, function), expected, code_sha256)
                head = await Head.read(self._table, function)
                if (known := await self._unchanged(function, head.last)) is not None:
                    return Published(await self._statuses.described(known), is_new=False)
                numbered = msgspec.structs.replace(function, version=str(head.last + 1))
                item = version_item(numbered, description=description, published_at=iso_ms(self._now()))
                try:
                    await self._table.transact(
                        [
                            head.changed(last=head.last + 1),
                            Put(item, expected=None),
                            # It loses against an update or a delete of the function, whose code may be swept.
                            Check(function_key(function.workspace_id, function.id), function.revision),
                        ]
                    )
                except RevisionConflict:
                    continue
                return Published(await self._statuses.described(as_now(version_from(item), function)), is_new=True)
        raise Conflict(BUSY)

    async def get(self, caller: Caller, function_id: str, version: str) -> Described:
        """Also `$LATEST`. Raises: `NotFound`."""
        function = await self._live(caller, function_id)
        return await self._statuses.described(await read_version(self._table, function, version))

    async def last(self, function: Function) -> int:
        """Number of the last version that was published; 0: none was."""
        return (await Head.read(self._table, function)).last

    async def list(
        self, caller: Caller, function_id: str, *, limit: int = DEFAULT_LIMIT, cursor: str | None = None
    ) -> Page[Described]:
        """The published ones, by number. Raises: `NotFound`, `InvalidInput`."""
        check_limit(limit)
        listing = f"versions/{function_id}"
        after = self._cursors.open(listing, cursor)
        function = await self._live(caller, function_id)
        page = await self._table.query(
            partition(function.workspace_id), begins=versions_prefix(function.id), after=after, limit=limit
        )
        versions = [as_now(version_from(item), function) for item in page.items]
        described = await asyncio.gather(*(self._statuses.described(version) for version in versions))
        return Page(described, self._cursors.seal(listing, page.next) if page.next else None)

    async def source(self, caller: Caller, function_id: str, version: str) -> str | None:
        """The single source file as given; None: a zip was given. Raises: `NotFound`."""
        return await self._artifacts.source((await self.get(caller, function_id, version)).function.code)

    async def delete(self, caller: Caller, function_id: str, version: str) -> bool:
        """Remove it; again is no error: True if this call did it. Its number is never used again.

        Raises: `NotFound` (function), `InvalidInput` for `$LATEST`, `VersionUsed`.
        """
        for _ in range(ATTEMPTS):
            function = await self._live(caller, function_id)
            if version == LATEST:
                raise InvalidInput("version", "$LATEST goes with its function only")
            try:
                published = await read_version(self._table, function, version)
            except NotFound:
                return False
            head = await Head.read(self._table, function)
            items = items_of(self._table, function.workspace_id, aliases_prefix(function.id))
            aliases = [alias_from(item) async for item in items]
            if used := [alias.name for alias in aliases if version in alias.target.versions]:
                raise VersionUsed(version, used)
            try:
                await self._table.transact(
                    [
                        head.changed(),
                        Delete(version_key(function.workspace_id, function.id, version), expected=1),
                        Delete(status_key(published)),
                        Delete(config_key(function.id, version)),
                        Delete(provisioned_key(function.workspace_id, function.id, version)),
                        Delete(policy_key(function.workspace_id, function.id, version)),
                    ]
                )
            except RevisionConflict:
                continue
            self._functions.tell(function)
            return True
        raise Conflict(BUSY)

    async def restore(
        self, caller: Caller, function_id: str, version: str, *, expected: int | None = None
    ) -> Described:
        """Make `$LATEST` what this version is.

        Args:
            expected: the function's revision that the caller knows.
        Raises: `NotFound`, `RevisionMismatch`.
        """
        for _ in range(ATTEMPTS):
            old = await self._live(caller, function_id)
            _check_expected(old, expected, None)
            draft = await read_draft(self._table, old, version)
            kept = ("version", "revision", "rolled", "configured", "created_at", "updated_at")
            new = msgspec.structs.replace(draft, **{name: getattr(old, name) for name in kept})
            if new == old:
                return await self._statuses.described(old)
            new = msgspec.structs.replace(new, rolled=0, configured=0, updated_at=iso_ms(self._now()))
            await self._artifacts.put_source(new.code)
            try:
                stored = await self._table.transact(
                    [
                        Put(item_of(new), expected=old.revision),
                        # While the version is there its code is.
                        Check(version_key(old.workspace_id, old.id, version), 1),
                    ]
                )
            except RevisionConflict:
                continue
            restored = function_from(stored[0])
            self._functions.tell(restored)
            return await self._statuses.described(restored)
        raise Conflict(BUSY)

    async def _live(self, caller: Caller, function_id: str) -> Function:
        return await live_function(self._table, caller, id_key(function_id), is_id(function_id))

    async def _unchanged(self, function: Function, last: int) -> Function | None:
        """The last version, if the function is still that."""
        if not last:
            return None
        try:
            item = await self._table.get(version_key(function.workspace_id, function.id, str(last)))
        except ItemNotFound:
            return None
        same = is_same(await self._as_run(draft_in(item)), await self._as_run(function))
        return as_now(version_from(item), function) if same else None

    async def _as_run(self, function: Function) -> Function:
        """Of an image whose digest is known it is no matter when the tag that led there was given."""
        found = await with_digest(self._table, function)
        if found.image is None or found.image.digest is None:
            return function
        return msgspec.structs.replace(found, image=msgspec.structs.replace(found.image, given_at=0))


def _check_expected(function: Function, expected: int | None, code_sha256: str | None) -> None:
    if expected is not None and function.revision != expected:
        raise RevisionMismatch(f"the function is at revision {function.revision}, not {expected}")
    if code_sha256 is not None and function.code.sha256 != code_sha256:
        raise InvalidInput("code_sha256", f"it is {function.code.sha256} at $LATEST")
