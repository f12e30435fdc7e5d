"""Which published versions shall run: those that aliases have need of, and those that somebody has asked for lately,
or wants kept started."""

import asyncio
import logging
import time
from collections.abc import Callable

from msgspec import Struct

from lateen.domain.errors import LateenError, NotFound
from lateen.domain.functions import Function
from lateen.ports.deployer import Deployment
from lateen.ports.table import Item, Table
from lateen.services.provisioned_items import provisioned_floors
from lateen.services.serving import needed
from lateen.services.version_items import (
    alias_from,
    aliases_prefix,
    items_of,
    read_version,
    wanted_key,
    wanted_prefix,
)

log = logging.getLogger(__name__)

WANTED_S = 600
"""For which a version that was called runs on, where its pods cost something."""
AGAIN_S = 60.0
"""Between two times that one process says so of a version that is called all the time."""
KNOWN = 10_000


class Wanted(Struct, frozen=True):
    """A version that shall run."""

    version: Function
    provisioned: int
    """Environments of it that are kept started; 0: it may sleep."""


async def wanted_versions(table: Table, function: Function) -> dict[str, Wanted]:
    """By number; what was deleted meanwhile is left out."""
    floors = await provisioned_floors(table, function)
    versions = set(floors)
    async for item in items_of(table, function.workspace_id, aliases_prefix(function.id)):
        versions |= await needed(table, alias_from(item))
    async for item in items_of(table, function.workspace_id, wanted_prefix(function.id)):
        versions.add(item.data["version"])
    wanted: dict[str, Wanted] = {}
    for version in sorted(versions):
        try:
            wanted[version] = Wanted(await read_version(table, function, version), floors.get(version, 0))
        except NotFound:
            continue
    return wanted


async def functions_with_wanted(table: Table, workspace_id: str) -> set[str]:
    """Ids of those that have an alias, or a version that was asked for or is to be kept started."""
    return {
        item.key.sk.split("#")[1]
        for prefix in ("ALIAS#", "WANTED#", "PROVISIONED#")
        async for item in items_of(table, workspace_id, prefix)
    }


class Waking:
    """Says that a version is wanted, of processes that start nothing themselves."""

    def __init__(
        self,
        table: Table,
        *,
        changed: Callable[[str], None],
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Args:
        changed: has the controller look at a function.
        """
        self._table = table
        self._changed = changed
        self._now = now
        self._clock = clock
        self._said_at_s: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def want(self, deployment: Deployment) -> None:
        """Behind the caller's back; what is lost is said again by a later call, or by the same one that still waits."""
        now_s = self._clock()
        if now_s - self._said_at_s.get(deployment.id, -AGAIN_S) < AGAIN_S:
            return
        self._said_at_s.pop(deployment.id, None)
        self._said_at_s[deployment.id] = now_s
        if len(self._said_at_s) > KNOWN:
            del self._said_at_s[next(iter(self._said_at_s))]
        task = asyncio.get_running_loop().create_task(self._say(deployment))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _say(self, deployment: Deployment) -> None:
        key = wanted_key(deployment.workspace_id, deployment.function_id, deployment.version)
        item = Item(key=key, data={"version": deployment.version}, expires_at=int(self._now()) + WANTED_S)
        try:
            await self._table.write([item])
        except LateenError as exc:
            self._said_at_s.pop(deployment.id, None)
            log.warning("version not asked for", extra={"function": deployment.function_id, "reason": str(exc)})
            return
        self._changed(deployment.function_id)
