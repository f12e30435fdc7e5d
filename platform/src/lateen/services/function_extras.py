"""What belongs to a function and is no part of what runs: tags, URL, policy. One item beside it.

Apart from the desired state because a change of these deploys nothing, and is no new revision of the function.
"""

from collections.abc import Callable

import msgspec
from msgspec import Struct

from lateen.domain.errors import Conflict, NotFound
from lateen.domain.function_urls import Statement, UrlConfig
from lateen.domain.functions import Function
from lateen.ports.table import Check, Item, ItemNotFound, Key, Operation, Put, RevisionConflict, Table
from lateen.services.function_items import NO_SUCH_FUNCTION, function_from, function_key
from lateen.services.tenants import ATTEMPTS, BUSY, partition


class Extras(Struct, frozen=True, kw_only=True, omit_defaults=True):
    tags: dict[str, str] = {}
    url: UrlConfig | None = None
    policy: tuple[Statement, ...] = ()
    """The function's resource policy."""
    policy_revision: int = 0
    """Counts changes of the policy."""

    def with_policy(self, policy: tuple[Statement, ...]) -> "Extras":
        if policy == self.policy:
            return self
        return msgspec.structs.replace(self, policy=policy, policy_revision=self.policy_revision + 1)


class FunctionExtras:
    def __init__(self, table: Table) -> None:
        self._table = table

    async def of(self, function: Function) -> Extras:
        return (await self._read(function))[0]

    async def change(self, function: Function, change: Callable[[Extras], Extras]) -> Extras:
        """Apply `change`, again where another one was faster. Raises: `NotFound` if the function is gone."""
        for _ in range(ATTEMPTS):
            old, revision = await self._read(function)
            if (new := change(old)) == old:
                return old
            operations: list[Operation] = [Put(_item(function, new), expected=revision)]
            try:
                operations.append(await self._still_there(function))
                await self._table.transact(operations)
            except RevisionConflict:
                continue
            return new
        raise Conflict(BUSY)

    async def _read(self, function: Function) -> tuple[Extras, int | None]:
        try:
            item = await self._table.get(extras_key(function))
        except ItemNotFound:
            return Extras(), None
        return msgspec.convert(item.data, Extras), item.revision

    async def _still_there(self, function: Function) -> Check:
        """Loses against a delete, which would otherwise leave what is written here behind."""
        key = function_key(function.workspace_id, function.id)
        try:
            item = await self._table.get(key)
        except ItemNotFound:
            raise NotFound(NO_SUCH_FUNCTION) from None
        if function_from(item).deleted_at is not None:
            raise NotFound(NO_SUCH_FUNCTION)
        return Check(key, item.revision)


def extras_key(function: Function) -> Key:
    return Key(partition(function.workspace_id), f"EXTRAS#{function.id}")


def extras_of(function: Function, tags: dict[str, str]) -> list[Operation]:
    """For the transaction that creates the function."""
    return [Put(_item(function, Extras(tags=dict(tags))), expected=None)] if tags else []


def _item(function: Function, extras: Extras) -> Item:
    return Item(key=extras_key(function), data=msgspec.to_builtins(extras))
