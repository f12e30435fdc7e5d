"""Provisioned concurrency: how many environments are kept started, set for a version or an alias that leads to it."""

import time
from collections.abc import Callable

import msgspec
from msgspec import Struct

from lateen.domain.access import PLATFORM
from lateen.domain.errors import Conflict, InvalidInput, NotFound
from lateen.domain.functions import ACCOUNT_CONCURRENCY, LATEST, UNRESERVED, Function, FunctionStatus, deployment_id
from lateen.domain.pages import DEFAULT_LIMIT, Page
from lateen.domain.provisioned import ProvisionedConfig, ProvisionedStatus, status_of
from lateen.domain.times import iso_ms
from lateen.domain.versions import is_number
from lateen.ports.table import Check, Item, ItemNotFound, Put, RevisionConflict, Table
from lateen.services.cursors import Cursors, check_limit
from lateen.services.function_items import function_key, id_key, live_function, status_key_of
from lateen.services.functions import Functions
from lateen.services.provisioned_items import (
    config_from,
    config_item,
    configs_of,
    provisioned_by_others,
    provisioned_floors,
)
from lateen.services.reserved import reserved_by_others
from lateen.services.tenants import ATTEMPTS, BUSY, partition
from lateen.services.version_items import (
    NO_SUCH_ALIAS,
    Head,
    alias_from,
    alias_key,
    aliases_prefix,
    items_of,
    provisioned_key,
    provisioned_prefix,
    read_version,
)

NO_CONFIG = "no provisioned concurrency is set"
UNPUBLISHED = "Provisioned Concurrency Configs cannot be applied to unpublished function versions."


class DescribedConfig(Struct, frozen=True):
    config: ProvisionedConfig
    status: ProvisionedStatus


class Provisioned:
    """The function is given by those who have found that the caller may see it. Refusals are in AWS's words."""

    def __init__(
        self, table: Table, *, functions: Functions, cursors: Cursors, now: Callable[[], float] = time.time
    ) -> None:
        self._table = table
        self._functions = functions
        self._cursors = cursors
        self._now = now

    async def put(self, function: Function, qualifier: str, requested: int) -> DescribedConfig:
        """Args:
            qualifier: a published version's number, or an alias.
        Raises: `NotFound`, `InvalidInput`, `Conflict` where its version has provisioned concurrency otherwise.
        """
        for _ in range(ATTEMPTS):
            function = await live_function(self._table, PLATFORM, id_key(function.id), True)
            head = await Head.read(self._table, function)
            old, revision = await self._read(function, qualifier)
            await self._check_qualifier(function, qualifier)
            await self._check_limits(function, qualifier, requested)
            new = ProvisionedConfig(qualifier=qualifier, requested=requested, updated_at=iso_ms(self._now()))
            try:
                await self._table.transact(
                    [
                        Put(config_item(function, new), expected=revision),
                        # What was looked at is still so: versions, aliases, and what else is set for them.
                        head.changed(),
                        Check(function_key(function.workspace_id, function.id), function.revision),
                    ]
                )
            except RevisionConflict:
                continue
            if old is None or old.requested != requested:
                self._functions.tell(function)
            return await self._described(function, new)
        raise Conflict(BUSY)

    async def get(self, function: Function, qualifier: str) -> DescribedConfig:
        """Raises: `NotFound`."""
        config, _ = await self._read(function, qualifier)
        if config is None:
            raise NotFound(NO_CONFIG)
        return await self._described(function, config)

    async def list(
        self, function: Function, *, limit: int = DEFAULT_LIMIT, cursor: str | None = None
    ) -> Page[DescribedConfig]:
        """By qualifier. Raises: `InvalidInput`."""
        check_limit(limit)
        listing = f"provisioned/{function.id}"
        page = await self._table.query(
            partition(function.workspace_id),
            begins=provisioned_prefix(function.id),
            after=self._cursors.open(listing, cursor),
            limit=limit,
        )
        found = [await self._described(function, config_from(item)) for item in page.items]
        return Page(found, self._cursors.seal(listing, page.next) if page.next else None)

    async def delete(self, function: Function, qualifier: str) -> None:
        """Again is no error."""
        for _ in range(ATTEMPTS):
            config, revision = await self._read(function, qualifier)
            if config is None:
                return
            try:
                await self._table.delete(
                    provisioned_key(function.workspace_id, function.id, qualifier), expected=revision
                )
            except RevisionConflict:
                continue
            self._functions.tell(await live_function(self._table, PLATFORM, id_key(function.id), True))
            return
        raise Conflict(BUSY)

    async def _check_qualifier(self, function: Function, qualifier: str) -> None:
        configs = await configs_of(self._table, function)
        if qualifier == LATEST:
            raise InvalidInput("qualifier", UNPUBLISHED)
        if is_number(qualifier):
            version = (await read_version(self._table, function, qualifier)).version
        else:
            try:
                item = await self._table.get(alias_key(function.workspace_id, function.id, qualifier))
            except ItemNotFound:
                raise NotFound(NO_SUCH_ALIAS) from None
            target = alias_from(item).target
            if target.weights:
                raise InvalidInput("qualifier", "Alias with weights can not be used with Provisioned Concurrency")
            if (version := target.version) == LATEST:
                raise InvalidInput("qualifier", UNPUBLISHED)
            if version in configs:
                raise Conflict(
                    "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version"
                )
        async for item in items_of(self._table, function.workspace_id, aliases_prefix(function.id)):
            alias = alias_from(item)
            if alias.name != qualifier and alias.name in configs and version in alias.target.versions:
                raise Conflict("Version is pointed by a Provisioned Concurrency alias")

    async def _check_limits(self, function: Function, qualifier: str, requested: int) -> None:
        """Two that ask at the same moment for different functions may together go beyond the account's."""
        configs = await configs_of(self._table, function)
        others = sum(config.requested for config in configs.values() if config.qualifier != qualifier)
        if function.reserved_concurrency is not None:
            if others + requested > function.reserved_concurrency:
                raise InvalidInput(
                    "requested",
                    "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for "
                    "function",
                )
            return
        others += await provisioned_by_others(self._table, function)
        left = ACCOUNT_CONCURRENCY - others - await reserved_by_others(self._table, function)
        if requested > left:
            raise InvalidInput(
                "requested",
                "Specified ConcurrentExecutions for function is greater than account's unreserved concurrency "
                f"[{left}].",
            )
        if left - requested < UNRESERVED:
            raise InvalidInput(
                "requested",
                "Specified ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below "
                f"its minimum value of [{UNRESERVED}].",
            )

    async def _described(self, function: Function, config: ProvisionedConfig) -> DescribedConfig:
        """Of an alias that leads to two versions, what became of the one that is worse off."""
        floors = await provisioned_floors(self._table, function)
        versions: tuple[str, ...] = (config.qualifier,)
        if not is_number(config.qualifier):
            try:
                item = await self._table.get(alias_key(function.workspace_id, function.id, config.qualifier))
            except ItemNotFound:  # both go at once, after this was read
                raise NotFound(NO_CONFIG) from None
            versions = alias_from(item).target.versions
        found = [
            status_of(config, floors.get(version, 0), await self._reported(function, version)) for version in versions
        ]
        return DescribedConfig(
            config, min(found, key=lambda status: ("FAILED", "IN_PROGRESS", "READY").index(status.state))
        )

    async def _reported(self, function: Function, version: str) -> FunctionStatus | None:
        try:
            item = await self._table.get(status_key_of(function.workspace_id, deployment_id(function.id, version)))
        except ItemNotFound:
            return None
        return msgspec.convert(item.data, FunctionStatus)

    async def _read(self, function: Function, qualifier: str) -> tuple[ProvisionedConfig | None, int | None]:
        try:
            item: Item = await self._table.get(provisioned_key(function.workspace_id, function.id, qualifier))
        except ItemNotFound:
            return None, None
        return config_from(item), item.revision
