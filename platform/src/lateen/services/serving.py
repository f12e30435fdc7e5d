"""Where the calls of an alias go at the moment: to its target as soon as all of that runs, and until then to what it
led to before. So an alias is moved without a call that waits for a start, or fails because the new version can't."""

import msgspec

from lateen.domain.functions import LATEST, FunctionStatus, deployment_id
from lateen.domain.versions import Alias, Target
from lateen.ports.table import ItemNotFound, Table
from lateen.services.function_items import status_key_of


async def serving(table: Table, alias: Alias) -> Target:
    if alias.before is None or await runs(table, alias, alias.target) or not await runs(table, alias, alias.before):
        return alias.target
    return alias.before


async def runs(table: Table, alias: Alias, target: Target) -> bool:
    """Whether the controller said so of each version."""
    statuses = [await version_status(table, alias, version) for version in target.versions if version != LATEST]
    return all(status is not None and status.state == "Active" for status in statuses)


async def version_status(table: Table, alias: Alias, version: str) -> FunctionStatus | None:
    """What was reported of it; None: nothing since it was wanted last."""
    try:
        item = await table.get(status_key_of(alias.workspace_id, deployment_id(alias.function_id, version)))
    except ItemNotFound:
        return None
    return msgspec.convert(item.data, FunctionStatus)


async def needed(table: Table, alias: Alias) -> set[str]:
    """The versions that this alias has need of now."""
    versions = set(alias.target.versions)
    if alias.before is not None and not await runs(table, alias, alias.target):
        versions |= set(alias.before.versions)
    return versions - {LATEST}
