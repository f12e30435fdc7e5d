"""Policies of layer versions: who else may use one. They are kept and shown; nobody outside of the workspace gets
anything by them."""

from typing import Any

from msgspec import Struct

from lateen.domain.access import Caller
from lateen.domain.errors import AlreadyExists, Conflict, NotFound, RevisionMismatch
from lateen.domain.layers import LayerVersion
from lateen.ports.table import Check, Item, ItemNotFound, Operation, Put, RevisionConflict, Table
from lateen.services.layer_items import policy_key, version_key
from lateen.services.layers import Layers
from lateen.services.tenants import ATTEMPTS, BUSY

Statement = dict[str, Any]


class LayerPolicy(Struct, frozen=True):
    statements: dict[str, Statement] = {}
    """By their ids, in the order in which they were added."""
    revision: int = 0
    """Counts its changes; 0: there is none."""


class LayerPolicies:
    def __init__(self, table: Table, layers: Layers) -> None:
        self._table = table
        self._layers = layers

    async def get(self, caller: Caller, workspace_id: str, name: str, version: int) -> tuple[LayerVersion, LayerPolicy]:
        """Raises: `NotFound` (layer version)."""
        layer = await self._layers.get(caller, workspace_id, name, version)
        return layer, await self._read(layer)

    async def add(self, layer: LayerVersion, sid: str, statement: Statement, *, expected: int | None) -> LayerPolicy:
        """Args:
            expected: the revision that the caller knows; None: any.
        Raises: `AlreadyExists` (the statement's id), `RevisionMismatch`, `NotFound` (layer version), `Conflict`.
        """
        for _ in range(ATTEMPTS):
            old = await self._expected(layer, expected)
            if sid in old.statements:
                raise AlreadyExists(f"a statement {sid!r} exists")
            if (stored := await self._stored(layer, old, {**old.statements, sid: statement})) is not None:
                return stored
        raise Conflict(BUSY)

    async def remove(self, layer: LayerVersion, sid: str, *, expected: int | None) -> None:
        """Raises: `NotFound` (statement or layer version), `RevisionMismatch`, `Conflict`."""
        for _ in range(ATTEMPTS):
            old = await self._expected(layer, expected)
            if sid not in old.statements:
                raise NotFound("no such statement")
            left = {name: statement for name, statement in old.statements.items() if name != sid}
            if await self._stored(layer, old, left) is not None:
                return
        raise Conflict(BUSY)

    async def _expected(self, layer: LayerVersion, expected: int | None) -> LayerPolicy:
        policy = await self._read(layer)
        if expected is not None and policy.revision != expected:
            raise RevisionMismatch(f"the policy is at revision {policy.revision}, not {expected}")
        return policy

    async def _read(self, layer: LayerVersion) -> LayerPolicy:
        try:
            item = await self._table.get(policy_key(layer.workspace_id, layer.name, layer.version))
        except ItemNotFound:
            return LayerPolicy()
        return LayerPolicy(item.data["statements"], item.revision)

    async def _stored(
        self, layer: LayerVersion, old: LayerPolicy, statements: dict[str, Statement]
    ) -> LayerPolicy | None:
        """None: somebody else was faster. Raises: `NotFound` where the layer version is gone."""
        key = policy_key(layer.workspace_id, layer.name, layer.version)
        there = version_key(layer.workspace_id, layer.name, layer.version)
        item = Item(key=key, data={"statements": statements})
        # A version's item is written once, so while it is there this is its revision.
        operations: list[Operation] = [Put(item, expected=old.revision or None), Check(there, 1)]
        try:
            stored = await self._table.transact(operations)
        except RevisionConflict as exc:
            if exc.key == there:
                raise NotFound("no such layer version") from exc
            return None
        return LayerPolicy(statements, stored[0].revision)
