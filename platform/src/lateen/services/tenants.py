"""Where workspaces lie in the table, for all services that make things in them."""

import msgspec

from lateen.domain.access import Caller
from lateen.domain.errors import Conflict, NotFound
from lateen.domain.names import is_id
from lateen.domain.workspaces import Workspace
from lateen.ports.table import Check, Item, ItemNotFound, Key, Table

INDEX = "WORKSPACES"
BURIED = "DELETED-WORKSPACES"
"""Those of which a tombstone is left."""
ATTEMPTS = 20
"""Of a change that loses races; each loss is somebody else's success."""
BUSY = "it is being changed by others all the time; try again"


def partition(workspace_id: str) -> str:
    return f"WS#{workspace_id}"


def workspace_key(workspace_id: str) -> Key:
    return Key(partition(workspace_id), "METADATA")


def item_of(workspace: Workspace) -> Item:
    data = msgspec.to_builtins(workspace)
    del data["revision"]  # the item's own
    return Item(key=workspace_key(workspace.id), data=data)


def workspace_from(item: Item) -> Workspace:
    return msgspec.convert({**item.data, "revision": item.revision}, Workspace)


async def read_workspace(table: Table, caller: Caller, workspace_id: str) -> Workspace:
    """Raises: `NotFound`, also for one that was deleted or that the caller may not see."""
    workspace = await find_workspace(table, caller, workspace_id)
    if workspace.deleted_at is not None:
        raise NotFound("no such workspace")
    return workspace


async def find_workspace(table: Table, caller: Caller, workspace_id: str) -> Workspace:
    """As `read_workspace`, also a deleted one."""
    if not is_id(workspace_id):
        raise NotFound("no such workspace")
    caller.must_see(workspace_id, "workspace")
    try:
        return workspace_from(await table.get(workspace_key(workspace_id)))
    except ItemNotFound:
        raise NotFound("no such workspace") from None


def check_open(workspace: Workspace) -> Check:
    """For the transaction that makes something in it: it loses against a delete of the workspace.

    Raises: `Conflict` if the workspace is being deleted.
    """
    if workspace.is_closing:
        raise Conflict("the workspace is being deleted")
    return Check(workspace_key(workspace.id), workspace.revision)
