"""`Routes`: which function `/{hash}` leads to, known without a store in between wherever that is possible.

An alias has a hash of its own. Its routes are kept apart, so that those of functions cost what they cost without any:
`now` never knows them, and `find` draws a lot for each call.
"""

import math
import random
import time
from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from lateen.domain.access import PLATFORM
from lateen.domain.errors import NotFound
from lateen.domain.function_urls import is_open
from lateen.domain.functions import Function
from lateen.domain.master import MasterKey
from lateen.domain.names import is_hash
from lateen.domain.versions import Alias, Target
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
from lateen.services.serving import serving
from lateen.services.version_items import alias_from, alias_hash_key, alias_key, read_version
from lateen_invoker.urls import PLAIN

ROUTES = 10_000


class _Owner(Struct, frozen=True):
    """The alias that a hash leads to, for good."""

    workspace_id: str
    function_id: str
    name: str


class _Shared(Struct, frozen=True):
    """Where an alias leads: the version of each call is drawn, its deployment is `to`."""

    target: Target
    to: dict[str, Deployment]


class Routes:
    """By the bytes of the hash, as they come."""

    def __init__(
        self,
        table: Table,
        *,
        master: MasterKey,
        lives_s: float = LIVES_S,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Args:
        lives_s: infinite where this process makes all changes and tells of them by `changed`.
        chance: a random number, 0 included, 1 not.
        """
        self._table = table
        self._master = master
        # Who never starts a function needs no variables of it, which may be secrets and many.
        self._keeps_variables = lives_s == math.inf
        # Where a hash leads never changes, so reading a route again is one read and not two.
        self._owners: dict[bytes, Key] = {}
        self.known: Known[bytes, Deployment] = Known(self._read, entries=ROUTES, lives_s=lives_s, clock=clock)
        self.now: Callable[[bytes], Deployment | None] = self.known.now
        self._chance = chance
        self._aliases: dict[bytes, _Owner] = {}
        self._shared: Known[bytes, _Shared] = Known(self._read_alias, entries=ROUTES, lives_s=lives_s, clock=clock)

    async def find(self, url_hash: bytes) -> Deployment:
        """Of an alias the version for one call. Raises: `NotFound`, `Unavailable`."""
        if url_hash not in self._aliases:
            try:
                return await self.known.get(url_hash)
            except NotFound:
                if not await self._is_alias(url_hash):
                    raise
        shared = await self._shared.get(url_hash)
        return shared.to[shared.target.pick(self._chance())]

    def alias_of(self, url_hash: bytes) -> str:
        """Its name, of a hash that was found and is one's; else empty."""
        owner = self._aliases.get(url_hash)
        return "" if owner is None else owner.name

    def changed(self, function: Function) -> None:
        """For `Functions.subscribe`."""
        self.known.forget(function.hash.encode())
        for url_hash, owner in self._aliases.items():
            if owner.function_id == function.id:
                self._shared.forget(url_hash)

    async def _read(self, url_hash: bytes) -> Deployment:
        function = await self._function(url_hash)
        if function.deleted_at is not None:
            raise NotFound(NO_SUCH_FUNCTION)
        return self._deployment(function)

    def _deployment(self, function: Function) -> Deployment:
        return deployment_of(
            function if self._keeps_variables else replace(function, environment={}), master=self._master
        )

    async def _is_alias(self, url_hash: bytes) -> bool:
        text = url_hash.decode("latin-1")
        if not is_hash(text):
            return False
        try:
            found = (await self._table.get(alias_hash_key(text))).data
        except ItemNotFound:
            return False
        if len(self._aliases) >= ROUTES:
            oldest = next(iter(self._aliases))
            del self._aliases[oldest]
            self._shared.forget(oldest)  # `changed` would not find it
        self._aliases[url_hash] = _Owner(found["workspace_id"], found["function_id"], found["alias"])
        return True

    async def _read_alias(self, url_hash: bytes) -> _Shared:
        owner = self._aliases.get(url_hash)
        if owner is None:  # many others came between
            raise NotFound(NO_SUCH_FUNCTION)
        try:
            function = function_from(await self._table.get(function_key(owner.workspace_id, owner.function_id)))
            alias = alias_from(await self._table.get(alias_key(owner.workspace_id, owner.function_id, owner.name)))
        except ItemNotFound:
            raise NotFound(NO_SUCH_FUNCTION) from None
        # An alias of this name that was made later has another hash.
        if function.deleted_at is not None or alias.hash.encode() != url_hash:
            raise NotFound(NO_SUCH_FUNCTION)
        target = await serving(self._table, alias)
        versions = [await read_version(self._table, function, version) for version in target.versions]
        return _Shared(
            target,
            {version.version: _for_alias(self._deployment(version), function, alias) for version in versions},
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


def _for_alias(deployment: Deployment, function: Function, alias: Alias) -> Deployment:
    """With who may call the alias's URL, and how it answers.

    It is the function's, unless URLs were configured: then an alias has the one that it was given.
    """
    if alias.url is not None:
        url = alias.url.url
        opens, is_signed = is_open(alias.url, alias.policy), url.auth_type == "AWS_IAM"
        return replace(deployment, open=opens, signed=is_signed, closed=not opens and not is_signed, url=url.settings)
    if function.url is not None:
        return replace(deployment, open=False, signed=False, closed=True, url=PLAIN)
    return replace(deployment, open=function.auth == "none", url=PLAIN)
