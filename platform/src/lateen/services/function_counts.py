"""`FunctionCounts`: how many functions a workspace has, and that it gets no more than it may have.

Counted by their names, again every few seconds, and what this process makes meanwhile is added. So processes that make
functions at the same moment may together go slightly beyond; what a cluster holds for a workspace has a bound of its
own.
"""

from collections.abc import Callable

from msgspec import Struct

from lateen.domain.errors import Conflict
from lateen.ports.table import QUERY_LIMIT, Table
from lateen.services.function_items import NAME_PREFIX
from lateen.services.tenants import partition

LIVES_S = 5.0
WORKSPACES = 1000


class _Count(Struct):
    functions: int
    until_s: float


class FunctionCounts:
    def __init__(self, table: Table, *, most: int | None, monotonic: Callable[[], float]) -> None:
        """Args:
        most: functions of one workspace; None: any number.
        monotonic: seconds.
        """
        self._table = table
        self._most = most
        self._monotonic = monotonic
        self._counts: dict[str, _Count] = {}

    async def check_room(self, workspace_id: str) -> None:
        """For one more. Raises: `Conflict`."""
        if self._most is None:
            return
        known = self._counts.get(workspace_id)
        if known is None or known.until_s <= self._monotonic():
            known = _Count(await self._counted(workspace_id), self._monotonic() + LIVES_S)
            self._counts.pop(workspace_id, None)
            self._counts[workspace_id] = known
            if len(self._counts) > WORKSPACES:
                del self._counts[next(iter(self._counts))]
        if known.functions >= self._most:
            known.until_s = 0.0  # some may be deleted at any moment
            raise Conflict(
                f"the workspace has {known.functions} functions, and may have {self._most} (functions.limits.functions)"
            )

    def made(self, workspace_id: str) -> None:
        if (known := self._counts.get(workspace_id)) is not None:
            known.functions += 1

    async def _counted(self, workspace_id: str) -> int:
        count, after = 0, None
        while True:
            page = await self._table.query(partition(workspace_id), begins=NAME_PREFIX, after=after, limit=QUERY_LIMIT)
            count += len(page.items)
            if (after := page.next) is None:
                return count
