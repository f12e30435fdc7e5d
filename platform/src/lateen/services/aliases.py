"""Aliases: names that lead to one version of a function, or share its calls between two."""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

import msgspec
from msgspec import UNSET, Struct, UnsetType

from lateen.domain.access import Caller
from lateen.domain.errors import AlreadyExists, Conflict, InvalidInput, NotFound, RevisionMismatch
from lateen.domain.functions import LATEST, Function, FunctionStatus
from lateen.domain.names import check_description, is_id, new_hash
from lateen.domain.pages import DEFAULT_LIMIT, Page
from lateen.domain.times import iso_ms
from lateen.domain.versions import (
    Alias,
    Target,
    check_alias_name,
    check_qualifier,
    check_target,
    is_alias_name,
    is_number,
)
from lateen.ports.table import Check, Delete, Item, ItemNotFound, Key, Put, RevisionConflict, Table
from lateen.services.cursors import Cursors, check_limit
from lateen.services.event_configs import config_key
from lateen.services.function_items import function_key, id_key, live_function
from lateen.services.functions import Functions
from lateen.services.serving import serving, version_status
from lateen.services.tenants import ATTEMPTS, BUSY, partition
from lateen.services.version_items import (
    NO_SUCH_ALIAS,
    Head,
    alias_from,
    alias_hash_key,
    alias_item,
    alias_key,
    aliases_prefix,
    provisioned_key,
    read_version,
)

Chance = Callable[[], float]
"""A random number, 0 included, 1 not."""


class AliasChange(Struct, frozen=True, kw_only=True):
    """UNSET stays as it is; of a new alias `version` is needed."""

    version: str | UnsetType = UNSET
    weights: dict[str, float] | UnsetType = UNSET
    description: str | UnsetType = UNSET


class DescribedAlias(Struct, frozen=True):
    alias: Alias
    status: FunctionStatus
    """`Active`: its calls go where it leads; else they still go where it led before, if that runs."""


class Aliases:
    def __init__(
        self,
        table: Table,
        *,
        functions: Functions,
        cursors: Cursors,
        now: Callable[[], float] = time.time,
        chance: Chance = random.random,
    ) -> None:
        self._table = table
        self._functions = functions
        self._cursors = cursors
        self._now = now
        self._chance = chance

    async def get(self, caller: Caller, function_id: str, name: str) -> DescribedAlias:
        """Raises: `NotFound`."""
        return await self._described(await self._read(await self._live(caller, function_id), name))

    async def list(
        self,
        caller: Caller,
        function_id: str,
        *,
        version: str | None = None,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
    ) -> Page[DescribedAlias]:
        """By name; a page may be short. `version`: those alone that lead to it. Raises: `NotFound`, `InvalidInput`."""
        check_limit(limit)
        listing = f"aliases/{function_id}"
        after = self._cursors.open(listing, cursor)
        function = await self._live(caller, function_id)
        page = await self._table.query(
            partition(function.workspace_id), begins=aliases_prefix(function.id), after=after, limit=limit
        )
        aliases = [alias_from(item) for item in page.items]
        described = await asyncio.gather(
            *(self._described(alias) for alias in aliases if version is None or version in alias.target.versions)
        )
        return Page(described, self._cursors.seal(listing, page.next) if page.next else None)

    async def create(
        self, caller: Caller, function_id: str, name: str, target: Target, *, description: str = ""
    ) -> DescribedAlias:
        """Raises: `NotFound` (function or version), `InvalidInput`, `AlreadyExists`."""
        change = AliasChange(version=target.version, weights=target.weights, description=description)
        made, is_new = await self._put(
            caller, function_id, name, change, expected=None, may_create=True, may_update=False
        )
        assert is_new
        return made

    async def update(
        self, caller: Caller, function_id: str, name: str, change: AliasChange, *, expected: int | None = None
    ) -> DescribedAlias:
        """Args:
            expected: the alias's revision that the caller knows.
        Raises: `NotFound`, `InvalidInput`, `RevisionMismatch`.
        """
        return (await self._put(caller, function_id, name, change, expected=expected, may_create=False))[0]

    async def put(
        self, caller: Caller, function_id: str, name: str, change: AliasChange, *, expected: int | None = None
    ) -> tuple[DescribedAlias, bool]:
        """Create or update. Returns: the alias, and whether it is new. Raises: as these do."""
        return await self._put(caller, function_id, name, change, expected=expected, may_create=expected is None)

    async def change(self, caller: Caller, function_id: str, name: str, change: Callable[[Alias], Alias]) -> Alias:
        """Apply `change`, which leaves where it leads as it is, again where another one was faster. Raises:
        `NotFound`."""
        for _ in range(ATTEMPTS):
            function = await self._live(caller, function_id)
            head = await Head.read(self._table, function)  # before the alias, as `_put` says
            old = await self._read(function, name)
            if (new := change(old)) == old:
                return old
            new = msgspec.structs.replace(new, updated_at=iso_ms(self._now()))
            try:
                stored = await self._table.transact([Put(alias_item(new), expected=old.revision), head.changed()])
            except RevisionConflict:
                continue
            self._functions.tell(function)
            return alias_from(stored[0])
        raise Conflict(BUSY)

    async def delete(self, caller: Caller, function_id: str, name: str, *, expected: int | None = None) -> bool:
        """Again is no error: True if this call did it. Raises: `NotFound` (function), `RevisionMismatch`."""
        for _ in range(ATTEMPTS):
            function = await self._live(caller, function_id)
            head = await Head.read(self._table, function)  # before the alias, as `_put` says
            try:
                alias = await self._read(function, name)
            except NotFound:
                return False
            _check_expected(alias, expected)
            try:
                await self._table.transact(
                    [
                        head.changed(),
                        Delete(alias_key(function.workspace_id, function.id, name), expected=alias.revision),
                        Delete(alias_hash_key(alias.hash)),
                        Delete(config_key(function.id, name)),  # a new alias of that name has none
                        Delete(provisioned_key(function.workspace_id, function.id, name)),
                    ]
                )
            except RevisionConflict:
                continue
            self._functions.tell(function)
            return True
        raise Conflict(BUSY)

    async def resolve(self, function: Function, qualifier: str | None) -> Function:
        """The version that one call goes to; of an alias that shares calls, drawn by lot.

        Args:
            qualifier: `$LATEST`, a number, or an alias; None: `$LATEST`.
        Raises: `NotFound`, `InvalidInput`.
        """
        if qualifier is None or qualifier == LATEST:
            return function
        check_qualifier(qualifier)
        if is_number(qualifier):
            return await read_version(self._table, function, qualifier)
        target = await serving(self._table, await self._read(function, qualifier))
        return await read_version(self._table, function, target.pick(self._chance()))

    async def _put(
        self,
        caller: Caller,
        function_id: str,
        name: str,
        change: AliasChange,
        *,
        expected: int | None,
        may_create: bool,
        may_update: bool = True,
    ) -> tuple[DescribedAlias, bool]:
        check_alias_name(name)
        for _ in range(ATTEMPTS):
            function = await self._live(caller, function_id)
            # Before the alias: another one that is made of that name meanwhile may be at the same revision.
            head = await Head.read(self._table, function)
            try:
                old: Alias | None = await self._read(function, name)
            except NotFound:
                if not may_create:
                    raise
                old = None
            if old is not None and not may_update:
                raise AlreadyExists(f"the function has an alias {name!r}")
            if old is not None:
                _check_expected(old, expected)
            new = await self._changed(function, name, old, change)
            if old is not None and new == old:
                return await self._described(old), False
            try:
                if LATEST in new.target.versions:
                    await self._check_unprovisioned(function, name)
                await self._check_versions(function, new.target)
                stored = await self._table.transact(
                    [
                        Put(alias_item(new), expected=None if old is None else old.revision),
                        head.changed(),
                        *([] if old is not None else [Put(_hash_item(new), expected=None)]),
                        Check(function_key(function.workspace_id, function.id), function.revision),
                    ]
                )
            except RevisionConflict:
                continue
            self._functions.tell(function)
            return await self._described(alias_from(stored[0])), old is None
        raise Conflict(BUSY)

    async def _changed(self, function: Function, name: str, old: Alias | None, change: AliasChange) -> Alias:
        if change.description is not UNSET:
            check_description(change.description)
        known = None if old is None else old.target
        if change.version is not UNSET:
            version = change.version
        elif known is not None:
            version = known.version
        else:
            raise InvalidInput("version", "required of a new alias")
        weights: Mapping[str, float] = {} if known is None else known.weights
        if change.weights is not UNSET:
            weights = change.weights
        check_target(version, weights)
        target = Target(version, dict(weights))
        now = iso_ms(self._now())
        description = "" if change.description is UNSET else change.description
        if old is None:
            return Alias(
                workspace_id=function.workspace_id,
                function_id=function.id,
                name=name,
                description=description,
                hash=new_hash(),
                target=target,
                created_at=now,
                updated_at=now,
            )
        new = msgspec.structs.replace(
            old,
            description=old.description if change.description is UNSET else description,
            target=target,
            before=old.before if target == old.target else await serving(self._table, old),
        )
        return new if new == old else msgspec.structs.replace(new, updated_at=now)

    async def _check_versions(self, function: Function, target: Target) -> None:
        """Who deletes one writes the head, so they are still there in the transaction. Raises: `NotFound`."""
        for version in target.versions:
            if version != LATEST:
                await read_version(self._table, function, version)

    async def _check_unprovisioned(self, function: Function, name: str) -> None:
        """Whoever sets some writes the head, so it is still so in the transaction. Raises: `InvalidInput`."""
        with suppress(ItemNotFound):
            await self._table.get(provisioned_key(function.workspace_id, function.id, name))
            raise InvalidInput("version", "the alias has provisioned concurrency, which $LATEST can't have")

    async def _read(self, function: Function, name: str) -> Alias:
        if not is_alias_name(name):
            raise NotFound(NO_SUCH_ALIAS)
        try:
            return alias_from(await self._table.get(alias_key(function.workspace_id, function.id, name)))
        except ItemNotFound:
            raise NotFound(NO_SUCH_ALIAS) from None

    async def _described(self, alias: Alias) -> DescribedAlias:
        for version in alias.target.versions:
            if version == LATEST:
                continue
            status = await version_status(self._table, alias, version)
            if status is None:
                return DescribedAlias(
                    alias, FunctionStatus(state="Pending", reason=f"Version {version} is being started.")
                )
            if status.state != "Active" or status.reason:
                reason = f"Version {version}: {status.reason or status.state}"
                return DescribedAlias(alias, FunctionStatus(state=status.state, reason=reason))
        return DescribedAlias(alias, FunctionStatus(state="Active"))

    async def _live(self, caller: Caller, function_id: str) -> Function:
        return await live_function(self._table, caller, id_key(function_id), is_id(function_id))


def _hash_item(alias: Alias) -> Item:
    key: Key = alias_hash_key(alias.hash)
    return Item(
        key=key, data={"workspace_id": alias.workspace_id, "function_id": alias.function_id, "alias": alias.name}
    )


def _check_expected(alias: Alias, expected: int | None) -> None:
    if expected is not None and alias.revision != expected:
        raise RevisionMismatch(f"the alias is at revision {alias.revision}, not {expected}")
