"""Where versions and aliases lie in the table. The *head* counts a function's versions, and every change of them or of
an alias writes it: so what one change has looked at is still so when it is stored."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from lateen.domain.errors import NotFound
from lateen.domain.functions import LATEST, Function
from lateen.domain.versions import Alias, as_now, is_number
from lateen.ports.table import TRANSACTION_LIMIT, Check, Delete, Item, ItemNotFound, Key, Operation, Put, Table
from lateen.services.function_items import function_key
from lateen.services.tenants import partition

NO_SUCH_VERSION = "no such version"
NO_SUCH_ALIAS = "no such alias"
_DIGITS = 10


def versions_prefix(function_id: str) -> str:
    return f"VERSION#{function_id}#"


def aliases_prefix(function_id: str) -> str:
    return f"ALIAS#{function_id}#"


def wanted_prefix(function_id: str) -> str:
    return f"WANTED#{function_id}#"


def provisioned_prefix(function_id: str) -> str:
    return f"PROVISIONED#{function_id}#"


def digests_prefix(function_id: str) -> str:
    return f"IMAGE#{function_id}#"


def head_key(function: Function) -> Key:
    return Key(partition(function.workspace_id), f"VERSIONS#{function.id}")


def version_key(workspace_id: str, function_id: str, version: str) -> Key:
    return Key(partition(workspace_id), f"{versions_prefix(function_id)}{version.zfill(_DIGITS)}")


def alias_key(workspace_id: str, function_id: str, name: str) -> Key:
    return Key(partition(workspace_id), f"{aliases_prefix(function_id)}{name}")


def alias_hash_key(alias_hash: str) -> Key:
    # Not where functions' hashes are: what is done to a function by its hash must never be done by an alias's.
    return Key(f"HASH#{alias_hash}", "ALIAS")


def wanted_key(workspace_id: str, function_id: str, version: str) -> Key:
    return Key(partition(workspace_id), f"{wanted_prefix(function_id)}{version.zfill(_DIGITS)}")


def provisioned_key(workspace_id: str, function_id: str, qualifier: str) -> Key:
    """What is set for a version or an alias; in the workspace's partition, where it is found for all functions."""
    return Key(partition(workspace_id), f"{provisioned_prefix(function_id)}{qualifier}")


def policies_prefix(function_id: str) -> str:
    return f"POLICY#{function_id}#"


def policy_key(workspace_id: str, function_id: str, version: str) -> Key:
    """Of a published version's resource policy."""
    return Key(partition(workspace_id), f"{policies_prefix(function_id)}{version.zfill(_DIGITS)}")


def desired_key(function: Function) -> tuple[Key, int]:
    """The item that says what this version is, and its revision: a published one was written once."""
    if function.version == LATEST:
        return function_key(function.workspace_id, function.id), function.revision
    return version_key(function.workspace_id, function.id, function.version), 1


def version_item(function: Function, *, description: str | None, published_at: str) -> Item:
    """Args:
    function: with its number.
    description: of the version; None: the function's.
    """
    data: dict[str, Any] = {"function": msgspec.to_builtins(function), "published_at": published_at}
    if description is not None:
        data["description"] = description
    return Item(key=version_key(function.workspace_id, function.id, function.version), data=data)


def first_version(function: Function) -> list[Operation]:
    """For the transaction that creates the function."""
    numbered = msgspec.structs.replace(function, version="1")
    item = version_item(numbered, description=None, published_at=function.created_at)
    return [Head(function, None).changed(last=1), Put(item, expected=None)]


def draft_in(item: Item) -> Function:
    """What was published, as it was."""
    return msgspec.convert(item.data["function"], Function)


def version_from(item: Item) -> Function:
    """The version; `updated_at` is when it was published."""
    draft = draft_in(item)
    return msgspec.structs.replace(
        draft,
        description=item.data.get("description", draft.description),
        updated_at=item.data["published_at"],
    )


def alias_item(alias: Alias) -> Item:
    data = msgspec.to_builtins(alias)
    del data["revision"]  # the item's own
    return Item(key=alias_key(alias.workspace_id, alias.function_id, alias.name), data=data)


def alias_from(item: Item) -> Alias:
    return msgspec.convert({**item.data, "revision": item.revision}, Alias)


async def read_version(table: Table, function: Function, version: str) -> Function:
    """This version of the function, with what is the function's. Raises: `NotFound`."""
    if version == LATEST:
        return function
    return as_now(version_from(await _item_of(table, function, version)), function)


async def read_draft(table: Table, function: Function, version: str) -> Function:
    """What became this version, with the description that the function had. Raises: `NotFound`."""
    if version == LATEST:
        return function
    return as_now(draft_in(await _item_of(table, function, version)), function)


async def _item_of(table: Table, function: Function, version: str) -> Item:
    if not is_number(version):
        raise NotFound(NO_SUCH_VERSION)
    try:
        return await table.get(version_key(function.workspace_id, function.id, version))
    except ItemNotFound:
        raise NotFound(NO_SUCH_VERSION) from None


async def items_of(table: Table, workspace_id: str, prefix: str) -> AsyncIterator[Item]:
    """All of the workspace's with this beginning, in order."""
    after = None
    while True:
        page = await table.query(partition(workspace_id), begins=prefix, after=after)
        for item in page.items:
            yield item
        if (after := page.next) is None:
            return


async def artifacts_named(table: Table, function: Function) -> set[str]:
    """Keys of the code of all its published versions."""
    found = items_of(table, function.workspace_id, versions_prefix(function.id))
    return {draft_in(item).code.artifact_key async for item in found}


async def layers_published(table: Table, workspace_id: str) -> set[str]:
    """Keys of the layers of all published versions of a workspace's functions."""
    found = items_of(table, workspace_id, "VERSION#")
    return {layer.key async for item in found for layer in draft_in(item).layers}


async def bury_versions(table: Table, function: Function) -> None:
    """Remove what a deleted function has of these. Nothing comes after it: whoever makes a version or an alias checks
    that the function is there."""
    workspace_id = function.workspace_id
    prefixes = (
        versions_prefix(function.id),
        aliases_prefix(function.id),
        wanted_prefix(function.id),
        provisioned_prefix(function.id),
        policies_prefix(function.id),
        f"STATUS#{function.id}-",
        digests_prefix(function.id),
    )
    operations: list[Operation] = []
    for prefix in prefixes:
        async for item in items_of(table, workspace_id, prefix):
            operations.append(Delete(item.key))
            if prefix.startswith("ALIAS#"):
                operations.append(Delete(alias_hash_key(alias_from(item).hash)))
    operations.append(Delete(head_key(function)))
    for start in range(0, len(operations), TRANSACTION_LIMIT):
        await table.transact(operations[start : start + TRANSACTION_LIMIT])


class Head:
    """A function's head as it was read; `changed` is the operation that has a transaction lose if it isn't any more."""

    def __init__(self, function: Function, item: Item | None) -> None:
        self._key = head_key(function)
        self._revision = None if item is None else item.revision
        self.last = 0 if item is None else int(item.data["last"])
        """Number of the last version, deleted ones included."""

    @classmethod
    async def read(cls, table: Table, function: Function) -> "Head":
        try:
            return cls(function, await table.get(head_key(function)))
        except ItemNotFound:
            return cls(function, None)

    def same(self) -> Check:
        """For a transaction that changes no version and no alias, and loses against whoever does."""
        return Check(self._key, self._revision)

    def changed(self, *, last: int | None = None) -> Put:
        return Put(Item(key=self._key, data={"last": self.last if last is None else last}), expected=self._revision)
