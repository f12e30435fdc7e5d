"""What a function's owner says about its asynchronous invocations, for each qualifier of it."""

import re
import time
from collections.abc import Callable, Sequence

import msgspec

from lateen.domain.errors import Conflict, InvalidInput, NotFound
from lateen.domain.events import EventInvokeChange, EventInvokeConfig, check_config
from lateen.domain.functions import LATEST, Function
from lateen.domain.pages import DEFAULT_LIMIT, Page
from lateen.domain.versions import is_number
from lateen.ports.table import Check, Item, ItemNotFound, Key, Put, RevisionConflict, Table
from lateen.services.cursors import Cursors, check_limit
from lateen.services.function_items import NO_SUCH_FUNCTION, function_from, function_key
from lateen.services.tenants import ATTEMPTS, BUSY
from lateen.services.version_items import NO_SUCH_ALIAS, Head, alias_key, read_version

PREFIX = "EVENTS#"
NO_CONFIG = "nothing is set for asynchronous invocations"
_QUALIFIER = re.compile(r"^(\$LATEST|[A-Za-z0-9_-]{1,128})\Z")


class EventConfigs:
    """The function is given by those who have found that the caller may see it."""

    def __init__(self, table: Table, *, cursors: Cursors, now: Callable[[], float] = time.time) -> None:
        self._table = table
        self._cursors = cursors
        self._now = now

    async def put(self, function: Function, qualifier: str, change: EventInvokeChange) -> EventInvokeConfig:
        """Whatever was set before is replaced. Raises: `InvalidInput`, `NotFound` (function, version or alias)."""
        return await self._change(
            function, qualifier, lambda old: change.applied_to(EventInvokeConfig(qualifier=qualifier))
        )

    async def update(self, function: Function, qualifier: str, change: EventInvokeChange) -> EventInvokeConfig:
        """What the change leaves out stays. Raises: as `put`, and `NotFound` where nothing is set."""

        def applied(old: EventInvokeConfig | None) -> EventInvokeConfig:
            if old is None:
                raise NotFound(NO_CONFIG)
            return change.applied_to(old)

        return await self._change(function, qualifier, applied)

    async def get(self, function: Function, qualifier: str) -> EventInvokeConfig:
        """Raises: `NotFound`."""
        config, _ = await self._read(function.id, qualifier)
        if config is None:
            raise NotFound(NO_CONFIG)
        return config

    async def in_force(self, function: Function, qualifier: str | None) -> EventInvokeConfig:
        """What holds for events that were sent to this qualifier: what is set, else the defaults."""
        qualifier = qualifier or LATEST
        config, _ = await self._read(function.id, qualifier)
        return config or EventInvokeConfig(qualifier=qualifier)

    async def delete(self, function: Function, qualifier: str) -> None:
        """Raises: `NotFound`."""
        for _ in range(ATTEMPTS):
            config, revision = await self._read(function.id, qualifier)
            if config is None:
                raise NotFound(NO_CONFIG)
            try:
                await self._table.delete(config_key(function.id, qualifier), expected=revision)
            except RevisionConflict:
                continue
            return
        raise Conflict(BUSY)

    async def list(
        self, function: Function, *, limit: int = DEFAULT_LIMIT, cursor: str | None = None
    ) -> Page[EventInvokeConfig]:
        """By qualifier. Raises: `InvalidInput`."""
        check_limit(limit)
        listing = f"event-configs/{function.id}"
        page = await self._table.query(
            f"FN#{function.id}", begins=PREFIX, after=self._cursors.open(listing, cursor), limit=limit
        )
        found = [_config_from(item) for item in page.items]
        return Page(found, self._cursors.seal(listing, page.next) if page.next else None)

    async def _change(
        self,
        function: Function,
        qualifier: str,
        change: Callable[[EventInvokeConfig | None], EventInvokeConfig],
    ) -> EventInvokeConfig:
        if not _QUALIFIER.match(qualifier):
            raise InvalidInput("Qualifier", "$LATEST, a version's number or an alias")
        for _ in range(ATTEMPTS):
            checks = await self._still_there(function, qualifier)
            old, revision = await self._read(function.id, qualifier)
            new = msgspec.structs.replace(change(old), updated_at_s=self._now())
            check_config(new, account_id=function.account_id, name=function.name)
            item = Item(key=config_key(function.id, qualifier), data=msgspec.to_builtins(new))
            try:
                await self._table.transact([Put(item, expected=revision), *checks])
            except RevisionConflict:
                continue
            return new
        raise Conflict(BUSY)

    async def _still_there(self, function: Function, qualifier: str) -> Sequence[Check]:
        """Lose against a delete, which would otherwise leave what is written here behind, for a later alias too.

        Raises: `NotFound`.
        """
        key = function_key(function.workspace_id, function.id)
        try:
            item = await self._table.get(key)
        except ItemNotFound:
            raise NotFound(NO_SUCH_FUNCTION) from None
        if function_from(item).deleted_at is not None:
            raise NotFound(NO_SUCH_FUNCTION)
        checks = [Check(key, item.revision)]
        if qualifier != LATEST:
            head = await Head.read(self._table, function)  # before what it is about
            if is_number(qualifier):
                await read_version(self._table, function, qualifier)
            else:
                try:
                    await self._table.get(alias_key(function.workspace_id, function.id, qualifier))
                except ItemNotFound:
                    raise NotFound(NO_SUCH_ALIAS) from None
            checks.append(head.same())
        return checks

    async def _read(self, function_id: str, qualifier: str) -> tuple[EventInvokeConfig | None, int | None]:
        try:
            item = await self._table.get(config_key(function_id, qualifier))
        except ItemNotFound:
            return None, None
        return _config_from(item), item.revision


def config_key(function_id: str, qualifier: str) -> Key:
    return Key(f"FN#{function_id}", PREFIX + qualifier)


def _config_from(item: Item) -> EventInvokeConfig:
    return msgspec.convert(item.data, EventInvokeConfig)
