"""Resource policies of published versions. A function's own lies in its extras, an alias's is a part of the alias."""

from collections.abc import Callable

import msgspec
from msgspec import Struct

from lateen.domain.errors import Conflict
from lateen.domain.function_urls import Statement
from lateen.domain.functions import Function
from lateen.ports.table import Check, Item, ItemNotFound, Put, RevisionConflict, Table
from lateen.services.tenants import ATTEMPTS, BUSY
from lateen.services.version_items import policy_key, read_version, version_key


class VersionPolicy(Struct, frozen=True, kw_only=True):
    statements: tuple[Statement, ...] = ()
    revision: int = 0
    """Counts changes of it."""


class VersionPolicies:
    """The function is given by those who have found that the caller may see it."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def of(self, function: Function, version: str) -> VersionPolicy:
        try:
            item = await self._table.get(policy_key(function.workspace_id, function.id, version))
        except ItemNotFound:
            return VersionPolicy()
        return msgspec.convert({**item.data, "revision": item.revision}, VersionPolicy)

    async def change(
        self, function: Function, version: str, change: Callable[[VersionPolicy], tuple[Statement, ...]]
    ) -> None:
        """Apply `change`, again where another one was faster. Raises: `NotFound` (version), what `change` raises."""
        key = policy_key(function.workspace_id, function.id, version)
        for _ in range(ATTEMPTS):
            await read_version(self._table, function, version)
            old = await self.of(function, version)
            item = Item(key=key, data={"statements": list(change(old))})
            try:
                await self._table.transact(
                    [
                        Put(item, expected=old.revision or None),
                        # It loses against the version's removal, which takes the policy along.
                        Check(version_key(function.workspace_id, function.id, version), 1),
                    ]
                )
            except RevisionConflict:
                continue
            return
        raise Conflict(BUSY)
