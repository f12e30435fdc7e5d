"""Where provisioned concurrency lies in the table, and what follows for versions and limits."""

import msgspec

from lateen.domain.functions import Function
from lateen.domain.provisioned import ProvisionedConfig
from lateen.domain.versions import is_number
from lateen.ports.table import Item, ItemNotFound, Table
from lateen.services.function_items import function_from, function_key
from lateen.services.serving import needed
from lateen.services.version_items import alias_from, alias_key, items_of, provisioned_key, provisioned_prefix


def config_item(function: Function, config: ProvisionedConfig) -> Item:
    key = provisioned_key(function.workspace_id, function.id, config.qualifier)
    return Item(key=key, data=msgspec.to_builtins(config))


def config_from(item: Item) -> ProvisionedConfig:
    return msgspec.convert(item.data, ProvisionedConfig)


async def configs_of(table: Table, function: Function) -> dict[str, ProvisionedConfig]:
    """By qualifier."""
    found = items_of(table, function.workspace_id, provisioned_prefix(function.id))
    return {(config := config_from(item)).qualifier: config async for item in found}


async def provisioned_floors(table: Table, function: Function) -> dict[str, int]:
    """Environments that are to be kept started, by version: the most that is set for it or for an alias that has need
    of it."""
    floors: dict[str, int] = {}
    for qualifier, config in (await configs_of(table, function)).items():
        versions = {qualifier}
        if not is_number(qualifier):
            try:
                item = await table.get(alias_key(function.workspace_id, function.id, qualifier))
            except ItemNotFound:
                continue
            versions = await needed(table, alias_from(item))
        for version in versions:
            floors[version] = max(floors.get(version, 0), config.requested)
    return floors


async def provisioned_by_others(table: Table, function: Function) -> int:
    """What the workspace's other functions that reserve nothing have together: it comes off what nobody reserved."""
    sums: dict[str, int] = {}
    async for item in items_of(table, function.workspace_id, "PROVISIONED#"):
        function_id = item.key.sk.split("#")[1]
        if function_id != function.id:
            sums[function_id] = sums.get(function_id, 0) + config_from(item).requested
    total = 0
    for function_id, provisioned in sums.items():
        try:
            other = function_from(await table.get(function_key(function.workspace_id, function_id)))
        except ItemNotFound:
            continue
        if other.deleted_at is None and other.reserved_concurrency is None:
            total += provisioned
    return total
