"""`Routes`: which function `/{hash}` leads to, known without a store in between wherever that is possible."""

import math
import time
from collections.abc import Callable

from msgspec.structs import replace

from lateen.domain.access import PLATFORM
from lateen.domain.errors import NotFound
from lateen.domain.functions import Function
from lateen.domain.master import MasterKey
from lateen.domain.names import is_hash
from lateen.ports.deployer import Deployment
from lateen.ports.table import ItemNotFound, Key, Table
from lateen.services.deployments import deployment_of
from lateen.services.function_items import (
    NO_SUCH_FUNCTION,
    find_function,
    function_from,
    function_key,
    hash_key,
)
from lateen.services.known import LIVES_S, Known

ROUTES = 10_000


class Routes:
    """By the bytes of the hash, as they come."""

    def __init__(
        self,
        table: Table,
        *,
        master: MasterKey,
        lives_s: float = LIVES_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Args:
        lives_s: infinite where this process makes all changes and tells of them by `changed`.
        """
        self._table = table
        self._master = master
        # Who never starts a function needs no variables of it, which may be secrets and many.
        self._keeps_variables = lives_s == math.inf
        # Where a hash leads never changes, so reading a route again is one read and not two.
        self._owners: dict[bytes, Key] = {}
        self.known: Known[bytes, Deployment] = Known(self._read, entries=ROUTES, lives_s=lives_s, clock=clock)
        self.now: Callable[[bytes], Deployment | None] = self.known.now

    async def find(self, url_hash: bytes) -> Deployment:
        """Raises: `NotFound`, `Unavailable`."""
        return await self.known.get(url_hash)

    def changed(self, function: Function) -> None:
        """For `Functions.subscribe`."""
        self.known.forget(function.hash.encode())

    async def _read(self, url_hash: bytes) -> Deployment:
        function = await self._function(url_hash)
        if function.deleted_at is not None:
            raise NotFound(NO_SUCH_FUNCTION)
        return deployment_of(
            function if self._keeps_variables else replace(function, environment={}), master=self._master
        )

    async def _function(self, url_hash: bytes) -> Function:
        if (owner := self._owners.get(url_hash)) is not None:
            try:
                return function_from(await self._table.get(owner))
            except ItemNotFound:
                raise NotFound(NO_SUCH_FUNCTION) from None
        text = url_hash.decode("latin-1")
        function = await find_function(self._table, PLATFORM, hash_key(text), is_hash(text))
        if len(self._owners) >= ROUTES:
            del self._owners[next(iter(self._owners))]
        self._owners[url_hash] = function_key(function.workspace_id, function.id)
        return function
