"""What a workspace's functions have reserved of the concurrency that they all have together."""

import asyncio

from lateen.domain.errors import InvalidInput
from lateen.domain.functions import RESERVED, Function
from lateen.ports.table import ItemNotFound, Table
from lateen.services.function_items import NAME_PREFIX, function_key
from lateen.services.provisioned_items import configs_of, provisioned_by_others
from lateen.services.tenants import partition


class BelowProvisioned(InvalidInput):
    """The reason is in AWS's words."""


async def check_reserved(table: Table, function: Function, *, before: int | None = None) -> None:
    """Two that reserve at the same moment may together go beyond, as on AWS.

    Raises: `InvalidInput` where too little is left for functions that reserve nothing, `BelowProvisioned`.
    """
    wanted = function.reserved_concurrency
    if wanted is None or wanted == before:
        return
    if before is None or wanted < before:
        provisioned = sum(config.requested for config in (await configs_of(table, function)).values())
        if wanted < provisioned:
            raise BelowProvisioned(
                "reserved_concurrency",
                f"ReservedConcurrentExecutions {wanted} should not be lower than function's total provisioned "
                f"concurrency [{provisioned}].",
            )
    if wanted <= (before or 0):
        return
    taken = await reserved_by_others(table, function) + await provisioned_by_others(table, function)
    if taken + wanted > RESERVED[1]:
        raise InvalidInput("reserved_concurrency", f"a workspace's functions may reserve {RESERVED[1]} together")


async def reserved_by_others(table: Table, function: Function) -> int:
    # By the names and not by the functions' items: of those the deleted ones are still there.
    reserved: dict[str, int] = {}
    after = None
    while True:
        page = await table.query(partition(function.workspace_id), begins=NAME_PREFIX, after=after)
        ids = [pointer.data["function_id"] for pointer in page.items]
        found = await asyncio.gather(*(_reserved(table, function.workspace_id, each) for each in ids))
        reserved |= zip(ids, found, strict=True)
        if (after := page.next) is None:
            return sum(each for function_id, each in reserved.items() if function_id != function.id)


async def _reserved(table: Table, workspace_id: str, function_id: str) -> int:
    try:
        item = await table.get(function_key(workspace_id, function_id))
    except ItemNotFound:
        return 0
    return 0 if item.data.get("deleted_at") else item.data.get("reserved_concurrency") or 0
