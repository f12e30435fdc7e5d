"""Where layers lie in the table: one item a layer, which counts, and one a version that is not deleted."""

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from lateen.domain.errors import InvalidInput
from lateen.domain.layers import LayerVersion, UsedLayer, check_layers, parse_arn
from lateen.ports.table import Check, Item, ItemNotFound, Key, Table
from lateen.services.tenants import partition

LAYER, VERSION = "LAYER#", "LAYERVERSION#"


class Used(Struct, frozen=True):
    """The layers of a function that is to be stored."""

    layers: tuple[UsedLayer, ...] = ()
    checks: tuple[Check, ...] = ()
    """For the transaction that stores it: that those which are new to it have not been deleted meanwhile."""


def layer_key(workspace_id: str, name: str) -> Key:
    return Key(partition(workspace_id), f"{LAYER}{name}")


def version_key(workspace_id: str, name: str, version: int) -> Key:
    # Ten digits: sort keys are compared as texts.
    return Key(partition(workspace_id), f"{VERSION}{name}#{version:010}")


def versions_prefix(name: str) -> str:
    return f"{VERSION}{name}#"


def policy_key(workspace_id: str, name: str, version: int) -> Key:
    return Key(partition(workspace_id), f"LAYERPOLICY#{name}#{version:010}")


def version_item(layer: LayerVersion) -> Item:
    return Item(key=version_key(layer.workspace_id, layer.name, layer.version), data=msgspec.to_builtins(layer))


def version_from(item: Item) -> LayerVersion:
    return msgspec.convert(item.data, LayerVersion)


async def layers_used(
    table: Table, workspace_id: str, account_id: str, arns: Sequence[str], *, had: Sequence[UsedLayer] = ()
) -> Used:
    """What a function is asked to have.

    Args:
        had: those that it has. They stay usable by it when they are deleted, so they are not looked for again.
    Raises: `InvalidInput` in AWS's words.
    """
    check_layers(arns)
    known = {layer.arn: layer for layer in had}
    layers: list[UsedLayer] = []
    checks: list[Check] = []
    for arn in arns:
        if arn in known:
            layers.append(known[arn])
            continue
        parsed = parse_arn(arn)
        missing = InvalidInput("layers", f"Layer version {arn} does not exist.")
        if parsed.account_id != account_id:
            raise missing
        key = version_key(workspace_id, parsed.name, parsed.version)
        try:
            item = await table.get(key)
        except ItemNotFound:
            raise missing from None
        found = version_from(item)
        if found.arn != arn:  # of another region
            raise missing
        layers.append(found.used)
        checks.append(Check(key, item.revision))
    return Used(tuple(layers), tuple(checks))
