"""What images' tags led to when they were given. One item for each time, so a version has the bytes of the draft that
it was published of, whichever of the two ran first."""

import msgspec

from lateen.domain.functions import Function
from lateen.ports.table import Check, Item, ItemNotFound, Key, Put, Table
from lateen.services.function_items import function_from, function_key
from lateen.services.tenants import partition
from lateen.services.version_items import desired_key, digests_prefix, draft_in, items_of, versions_prefix


async def with_digest(table: Table, function: Function) -> Function:
    """The function with the digest of its image, where that was found out; else as it is."""
    if function.image is None or function.image.digest is not None:
        return function
    try:
        item = await table.get(_key(function))
    except ItemNotFound:
        return function
    image = msgspec.structs.replace(function.image, resolved=item.data["digest"])
    code = msgspec.structs.replace(function.code, sha256=image.sha256)
    return msgspec.structs.replace(function, image=image, code=code)


async def store_digest(table: Table, function: Function, digest: str | None) -> None:
    """For good. `digest`: None: there is none.

    Raises: `RevisionConflict` if the function was changed meanwhile, or somebody else has found one.
    """
    item = Item(key=_key(function), data={"digest": digest or ""})
    await table.transact([Put(item, expected=None), Check(*desired_key(function))])


async def sweep_digests(table: Table, function: Function) -> None:
    """Remove those of images that neither the draft nor a version has any more. Raises: `ItemNotFound`."""
    found = [item.key async for item in items_of(table, function.workspace_id, digests_prefix(function.id))]
    # In this order: what becomes a version's is the draft's before, and what becomes the draft's again is a version's.
    draft = function_from(await table.get(function_key(function.workspace_id, function.id)))
    versions = items_of(table, function.workspace_id, versions_prefix(function.id))
    named = {_key(each) for each in [draft, *[draft_in(item) async for item in versions]] if each.image is not None}
    for key in found:
        if key not in named:
            await table.delete(key)


def _key(function: Function) -> Key:
    assert function.image is not None
    return Key(partition(function.workspace_id), f"{digests_prefix(function.id)}{function.image.reference}")
