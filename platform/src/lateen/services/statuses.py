"""Statuses: what became of functions' desired state, told by the controller's observations."""

from collections.abc import Callable

import msgspec

from lateen.domain.functions import LATEST, Described, Function, FunctionStatus, deployment_id, status_shown
from lateen.domain.times import iso_ms
from lateen.ports.deployer import Deployment, Observation
from lateen.ports.table import Check, Item, ItemNotFound, Put, Table
from lateen.services.function_items import function_key, status_key, status_key_of
from lateen.services.image_digests import with_digest
from lateen.services.version_items import desired_key


async def is_reported(table: Table, workspace_id: str, deployment: str) -> bool:
    """Whether it was said of this deployment that there is something to reach: of a function ever, of a version since
    it runs."""
    status = await _reported(table, workspace_id, deployment)
    return status is not None and status.serves


async def failure_of(table: Table, deployment: Deployment) -> str | None:
    """Why nobody needs to wait for it: it has failed as it is now, and nothing of it serves. None: it is worth it."""
    status = await _reported(table, deployment.workspace_id, deployment.id)
    if status is None or status.state != "Failed" or status.serves:
        return None
    if deployment.version == LATEST:
        # The caller may not know yet that it was updated since.
        try:
            function = await table.get(function_key(deployment.workspace_id, deployment.function_id))
        except ItemNotFound:
            return None
        if status.revision < function.revision:
            return None
    return status.reason or "the function has failed"


async def _reported(table: Table, workspace_id: str, deployment: str) -> FunctionStatus | None:
    try:
        item = await table.get(status_key_of(workspace_id, deployment))
    except ItemNotFound:
        return None
    return msgspec.convert(item.data, FunctionStatus)


class Statuses:
    def __init__(self, table: Table, *, now: Callable[[], float]) -> None:
        self._table = table
        self._now = now

    async def described(self, function: Function) -> Described:
        status, _ = await self._read(function)
        return Described(await with_digest(self._table, function), status_shown(function, status))

    async def is_due(self, function: Function) -> bool:
        """Whether nothing was reported about the current revision, or not how it ended."""
        status, _ = await self._read(function)
        return status is None or status.revision < function.revision or status.state == "Pending"

    async def is_served(self, function: Function) -> bool:
        """Whether something of it, of an earlier revision maybe, was last said to serve calls."""
        return await is_reported(self._table, function.workspace_id, deployment_id(function.id, function.version))

    async def is_active(self, function: Function) -> bool:
        """Whether the current revision runs."""
        status, _ = await self._read(function)
        return status is not None and status.state == "Active" and status.revision >= function.revision

    async def store(self, function: Function, observation: Observation) -> bool:
        """Keep what is news. Returns: whether it is.

        Raises: `RevisionConflict` if the function or its status was changed meanwhile.
        """
        old, revision = await self._read(function)
        new = FunctionStatus(
            state=observation.state,
            reason=observation.reason,
            revision=observation.revision,
            settled=old.settled_revision if old is not None and observation.state == "Pending" else 0,
            serves=observation.serves,
            kept=observation.kept,
            updated_at=iso_ms(self._now()),
        )
        if old is not None and (
            old.revision > new.revision
            or (
                (old.revision == new.revision and new.state == "Pending")
                and (old.state != "Pending" or (old.serves and not new.serves))
            )
            or msgspec.structs.replace(new, updated_at=old.updated_at) == old
        ):
            return False
        status = Item(key=status_key(function), data=msgspec.to_builtins(new))
        # The check keeps a report that races with a delete from leaving a status behind.
        await self._table.transact([Put(status, expected=revision), Check(*desired_key(function))])
        return True

    async def forget(self, function: Function) -> None:
        """It does not run any more."""
        await self._table.delete(status_key(function))

    async def _read(self, function: Function) -> tuple[FunctionStatus | None, int | None]:
        try:
            item = await self._table.get(status_key(function))
        except ItemNotFound:
            return None, None
        return msgspec.convert(item.data, FunctionStatus), item.revision
