"""Whose the stores are. Two installations in one table or bucket would remove each other's functions and code."""

import hmac

from lateen.domain.master import MasterKey
from lateen.ports.objects import ObjectNotFound, Objects
from lateen.ports.table import Item, ItemNotFound, Key, RevisionConflict, Table

KEY = Key("INSTALLATION", "MARK")
BLOB = "installation"
"""Not where functions' code is, so no sweep looks at it."""


class OthersStores(Exception):
    """The stores belong to another installation; the text says which, and what to do."""


async def claim(table: Table, objects: Objects, master: MasterKey) -> None:
    """Put this installation's mark on its stores, unless it is there. It follows from the master key, so it is the same
    after everything else was lost.

    Raises: `OthersStores`, `Unavailable`.
    """
    mark = master.derive("installation").hex()[:32]
    found = await _marked_table(table, mark)
    if not hmac.compare_digest(found, mark):
        raise OthersStores(f"the table {_REASON}")
    if not hmac.compare_digest(await _marked_bucket(objects, mark), mark):
        raise OthersStores(f"the bucket {_REASON}")


_REASON = (
    "belongs to an installation with another master key. Each release needs a table and a bucket of its own; one that "
    "takes another's place needs its Secret too"
)


async def _marked_table(table: Table, mark: str) -> str:
    try:
        await table.put(Item(key=KEY, data={"mark": mark}), expected=None)
    except RevisionConflict:
        try:
            return str((await table.get(KEY)).data["mark"])
        except ItemNotFound:  # nobody removes it
            return ""
    return mark


async def _marked_bucket(objects: Objects, mark: str) -> str:
    try:
        return b"".join([part async for part in objects.read(BLOB)]).decode("ascii", "replace")
    except ObjectNotFound:
        await objects.put(BLOB, mark.encode())
    return mark
