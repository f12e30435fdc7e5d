"""Where functions lie in the table: desired state, status, and the items that lead to them."""

import msgspec

from lateen.domain.access import Caller
from lateen.domain.errors import NotFound
from lateen.domain.functions import Function, deployment_id
from lateen.ports.table import Item, ItemNotFound, Key, Table
from lateen.services.tenants import partition

NAME_PREFIX = "NAME#"
FUNCTION_PREFIX = "FN#"
"""Deleted ones too, as long as their tombstones are kept."""


def function_key(workspace_id: str, function_id: str) -> Key:
    return Key(partition(workspace_id), f"{FUNCTION_PREFIX}{function_id}")


def status_key(function: Function) -> Key:
    return status_key_of(function.workspace_id, deployment_id(function.id, function.version))


def status_key_of(workspace_id: str, deployment: str) -> Key:
    """Of one version, by its `deployment_id`."""
    return Key(partition(workspace_id), f"STATUS#{deployment}")


def name_key(workspace_id: str, name: str) -> Key:
    return Key(partition(workspace_id), f"{NAME_PREFIX}{name}")


def id_key(function_id: str) -> Key:
    return Key(f"FN#{function_id}", "WORKSPACE")


def hash_key(function_hash: str) -> Key:
    return Key(f"HASH#{function_hash}", "FUNCTION")


def item_of(function: Function) -> Item:
    data = msgspec.to_builtins(function)
    del data["revision"]  # the item's own: nothing but users' changes writes it
    return Item(key=function_key(function.workspace_id, function.id), data=data)


def function_from(item: Item) -> Function:
    return msgspec.convert({**item.data, "revision": item.revision}, Function)


def name_item(function: Function) -> Item:
    return pointer_item(name_key(function.workspace_id, function.name), function)


def pointer_item(key: Key, function: Function) -> Item:
    return Item(key=key, data={"workspace_id": function.workspace_id, "function_id": function.id})


NO_SUCH_FUNCTION = "no such function"


async def find_function(table: Table, caller: Caller, pointer: Key, is_wellformed: bool) -> Function:
    """What an item points to (its name's, id's or hash's), also a deleted one. Raises: `NotFound`.

    Args:
        is_wellformed: False: the key was made of something that is no id or hash, and is not looked up.
    """
    if not is_wellformed:
        raise NotFound(NO_SUCH_FUNCTION)
    try:
        found = (await table.get(pointer)).data
        caller.must_see(found["workspace_id"], "function")
        return function_from(await table.get(function_key(found["workspace_id"], found["function_id"])))
    except ItemNotFound:
        raise NotFound(NO_SUCH_FUNCTION) from None


async def live_function(table: Table, caller: Caller, pointer: Key, is_wellformed: bool) -> Function:
    """As `find_function`, but not a deleted one."""
    function = await find_function(table, caller, pointer, is_wellformed)
    if function.deleted_at is not None:
        raise NotFound(NO_SUCH_FUNCTION)
    return function
