"""`Invocables`: which version a call by name goes to, known without a store in between wherever that is possible.

What `Routes` is for hashes. Whoever changes a function, a version or an alias in this process tells it; what another
process changes is seen within the seconds for which anything is known.
"""

import random
import time
from collections.abc import Callable

from msgspec import Struct

from lateen.domain.access import PLATFORM
from lateen.domain.errors import NotFound
from lateen.domain.functions import LATEST, Function
from lateen.domain.names import is_id
from lateen.domain.versions import Target, check_qualifier, is_number
from lateen.ports.table import ItemNotFound, Table
from lateen.services.function_items import NO_SUCH_FUNCTION, live_function, name_key
from lateen.services.known import LIVES_S, Known
from lateen.services.serving import serving
from lateen.services.version_items import NO_SUCH_ALIAS, alias_from, alias_key, read_version

ENTRIES = 2_000

_Named = tuple[str, str, str]
"""Workspace, name, qualifier."""


class _Led(Struct, frozen=True):
    """Where a qualifier leads: the version of each call is drawn."""

    target: Target
    to: dict[str, Function]


class Invocables:
    def __init__(
        self,
        table: Table,
        *,
        lives_s: float = LIVES_S,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Args:
        lives_s: infinite where this process makes all changes and tells of them by `changed`.
        chance: a random number, 0 included, 1 not.
        """
        self._table = table
        self._chance = chance
        self._known: Known[_Named, _Led] = Known(self._read, entries=ENTRIES, lives_s=lives_s, clock=clock)

    async def find(self, workspace_id: str, name: str, qualifier: str | None = None) -> Function:
        """The version for one call.

        Args:
            qualifier: `$LATEST`, which it is if absent, a version's number or an alias.
        Raises: `NotFound`, `InvalidInput`, `Unavailable`.
        """
        led = await self._known.get((workspace_id, name, qualifier or LATEST))
        return led.to[led.target.pick(self._chance())]

    def changed(self, function: Function) -> None:
        """For `Functions.subscribe`. All names of the workspace, for it may have had another one."""
        self._known.forget_all(lambda named: named[0] == function.workspace_id)

    async def _read(self, named: _Named) -> _Led:
        workspace_id, name, qualifier = named
        function = await live_function(self._table, PLATFORM, name_key(workspace_id, name), is_id(workspace_id))
        if function.name != name:  # renamed between the two readings
            raise NotFound(NO_SUCH_FUNCTION)
        if qualifier == LATEST:
            return _Led(Target(LATEST), {LATEST: function})
        check_qualifier(qualifier)
        target = Target(qualifier)
        if not is_number(qualifier):
            try:
                alias = alias_from(await self._table.get(alias_key(workspace_id, function.id, qualifier)))
            except ItemNotFound:
                raise NotFound(NO_SUCH_ALIAS) from None
            target = await serving(self._table, alias)
        versions = {version: await read_version(self._table, function, version) for version in target.versions}
        return _Led(target, versions)
