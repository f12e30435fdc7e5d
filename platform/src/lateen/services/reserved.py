"""What a workspace's functions have reserved of the concurrency that they all have together."""

from lateen.domain.errors import InvalidInput
from lateen.domain.functions import RESERVED, Function
from lateen.ports.table import QUERY_LIMIT, Table
from lateen.services.function_items import FUNCTION_PREFIX
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
    reserved, after = 0, None
    while True:
        page = await table.query(
            partition(function.workspace_id), begins=FUNCTION_PREFIX, after=after, limit=QUERY_LIMIT
        )
        reserved += sum(
            item.data.get("reserved_concurrency") or 0
            for item in page.items
            if item.data.get("deleted_at") is None and item.data["id"] != function.id
        )
        if (after := page.next) is None:
            return reserved
