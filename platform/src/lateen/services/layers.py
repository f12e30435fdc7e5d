"""Layers: published, listed, deleted. Functions name versions of them, and keep those that are deleted later."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import msgspec
from msgspec import Struct

from lateen.domain.access import Caller
from lateen.domain.code_places import CodePlace
from lateen.domain.errors import Conflict, NotFound
from lateen.domain.layers import LayerVersion, arn_of, check_layer_name, check_texts, is_layer_name
from lateen.domain.names import new_id
from lateen.domain.pages import DEFAULT_LIMIT, Page
from lateen.domain.times import iso_ms
from lateen.domain.workspaces import Workspace
from lateen.ports.objects import Objects
from lateen.ports.table import Delete, Item, ItemNotFound, Put, RevisionConflict, Table
from lateen.services.artifacts import Artifacts
from lateen.services.code_sources import CodeSources
from lateen.services.cursors import Cursors, check_limit
from lateen.services.idempotency import Idempotency, Once
from lateen.services.layer_items import (
    LAYER,
    VERSION,
    layer_key,
    policy_key,
    version_from,
    version_item,
    version_key,
    versions_prefix,
)
from lateen.services.layer_sweep import OLDER_THAN_S, LayerSweep
from lateen.services.packages import Package
from lateen.services.tenants import ATTEMPTS, BUSY, check_open, partition, read_workspace
from lateen.services.zips import MAX_FETCHED

NO_SUCH_LAYER = "no such layer version"
_LARGEST = 10**10
"""A version's number has fewer digits than this."""


class NewLayer(Struct, frozen=True, kw_only=True):
    """What a publish asks for."""

    name: str
    content: bytes | CodePlace
    """A zip."""
    description: str = ""
    runtimes: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    license: str = ""


class Layers:
    def __init__(
        self,
        table: Table,
        objects: Objects,
        *,
        used: Callable[[str], Awaitable[set[str] | None]],
        sources: CodeSources,
        cursors: Cursors,
        region: str,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Args:
        used: keys of the layers' zips that the functions of a workspace have.
        region: part of every ARN.
        """
        self._table = table
        self._objects = objects
        self._artifacts = Artifacts(objects)
        self._sources = sources
        self._sweep = LayerSweep(table, objects, used=used, now=now)
        self._cursors = cursors
        self._region = region
        self._now = now
        self._idempotency = Idempotency(table, now=now)

    async def publish(
        self, caller: Caller, workspace_id: str, new: NewLayer, *, once: Once | None = None
    ) -> LayerVersion:
        """The next version.

        Raises: `NotFound` (workspace), `InvalidInput`, `TooLarge`, `Conflict`; `Forbidden`, `Unavailable` (a bucket).
        """
        workspace = await read_workspace(self._table, caller, workspace_id)
        if (made := await self._made(caller, once)) is not None:
            return made
        check_layer_name(new.name)
        check_texts(
            description=new.description, license=new.license, runtimes=new.runtimes, architectures=new.architectures
        )
        package = await self._package(workspace.id, new.content)
        # An id of its own for each, so that no publish can bring back a blob that is about to be swept.
        key = f"{workspace.id}/layers/{new_id()}/{package.sha256}.zip"
        await self._objects.put(key, package.artifact)
        # Those of this process wait for each other instead of losing races.
        async with self._artifacts.changing(f"{workspace.id}/{new.name}"):
            return await self._store(caller, workspace, new, key, package, once)

    async def get(self, caller: Caller, workspace_id: str, name: str, version: int) -> LayerVersion:
        """Raises: `NotFound`."""
        await read_workspace(self._table, caller, workspace_id)
        if not is_layer_name(name) or not 0 < version < _LARGEST:
            raise NotFound(NO_SUCH_LAYER)
        try:
            return version_from(await self._table.get(version_key(workspace_id, name, version)))
        except ItemNotFound:
            raise NotFound(NO_SUCH_LAYER) from None

    async def list(
        self, caller: Caller, workspace_id: str, *, limit: int = DEFAULT_LIMIT, cursor: str | None = None
    ) -> Page[LayerVersion]:
        """By name: the newest version of each layer. A page may be short and still have a next one: of some layers all
        versions are deleted. Raises: `NotFound` (workspace), `InvalidInput`."""
        check_limit(limit)
        listing = f"layers/{workspace_id}"
        after = self._cursors.open(listing, cursor)
        await read_workspace(self._table, caller, workspace_id)
        page = await self._table.query(partition(workspace_id), begins=LAYER, after=after, limit=limit)
        newest = await asyncio.gather(*(self._newest(workspace_id, item.data["name"]) for item in page.items))
        return Page(
            [layer for layer in newest if layer is not None],
            self._cursors.seal(listing, page.next) if page.next else None,
        )

    async def versions(
        self, caller: Caller, workspace_id: str, name: str, *, limit: int = DEFAULT_LIMIT, cursor: str | None = None
    ) -> Page[LayerVersion]:
        """Newest first; none of a layer that is not there. Raises: `NotFound` (workspace), `InvalidInput`."""
        check_limit(limit)
        listing = f"layers/{workspace_id}/{name}"
        after = self._cursors.open(listing, cursor)
        await read_workspace(self._table, caller, workspace_id)
        if not is_layer_name(name):
            return Page([])
        page = await self._table.query(
            partition(workspace_id), begins=versions_prefix(name), after=after, limit=limit, descending=True
        )
        return Page(
            [version_from(item) for item in page.items], self._cursors.seal(listing, page.next) if page.next else None
        )

    async def delete(self, caller: Caller, workspace_id: str, name: str, version: int) -> None:
        """Functions that have it keep it; no other one can have it from now on. Again is no error.

        Raises: `NotFound` (workspace).
        """
        await read_workspace(self._table, caller, workspace_id)
        if is_layer_name(name) and 0 < version < _LARGEST:
            await self._delete(workspace_id, name, version)

    async def delete_all(self, workspace_id: str) -> None:
        """All layers of a workspace that ends."""
        after = None
        while True:
            page = await self._table.query(partition(workspace_id), begins=VERSION, after=after)
            for item in page.items:
                await self._delete(workspace_id, item.data["name"], item.data["version"])
            if (after := page.next) is None:
                return

    async def url(self, layer: LayerVersion) -> str:
        """Where its zip can be fetched for a while."""
        return await self._objects.url(layer.key)

    async def _package(self, workspace_id: str, content: bytes | CodePlace) -> Package:
        if isinstance(content, bytes):
            return await self._artifacts.zip(content, "content")
        async with self._sources.fetched(workspace_id, content, "content_s3") as fetched:
            return await self._artifacts.zip(fetched, "content", limit=MAX_FETCHED)

    async def _store(
        self, caller: Caller, workspace: Workspace, new: NewLayer, key: str, package: Package, once: Once | None
    ) -> LayerVersion:
        for _ in range(ATTEMPTS):
            last, revision = await self._last(workspace.id, new.name)
            layer = LayerVersion(
                workspace_id=workspace.id,
                arn=arn_of(self._region, workspace.account_id, new.name, last + 1),
                name=new.name,
                version=last + 1,
                description=new.description,
                runtimes=new.runtimes,
                architectures=new.architectures,
                license=new.license,
                key=key,
                sha256=package.sha256,
                size=len(package.artifact),
                unzipped=package.unzipped,
                created_at=iso_ms(self._now()),
            )
            counted = Item(key=layer_key(workspace.id, new.name), data={"name": new.name, "last": layer.version})
            try:
                await self._table.transact(
                    [
                        *self._idempotency.record(caller, once, msgspec.to_builtins(layer)),
                        check_open(workspace),
                        Put(counted, expected=revision),
                        Put(version_item(layer), expected=None),
                    ]
                )
            except RevisionConflict:
                if (made := await self._made(caller, once)) is not None:
                    return made
                workspace = await read_workspace(self._table, caller, workspace.id)
                continue
            return layer
        raise Conflict(BUSY)

    async def _made(self, caller: Caller, once: Once | None) -> LayerVersion | None:
        """The answer to an earlier request with the same Idempotency-Key."""
        outcome = await self._idempotency.outcome(caller, once)
        return None if outcome is None else msgspec.convert(outcome, LayerVersion)

    async def sweep(self, *, older_than_s: float = OLDER_THAN_S) -> int:
        """Remove zips that nothing names any more. Returns: how many."""
        return await self._sweep.run(older_than_s=older_than_s)

    async def _delete(self, workspace_id: str, name: str, version: int) -> None:
        await self._table.transact(
            [Delete(version_key(workspace_id, name, version)), Delete(policy_key(workspace_id, name, version))]
        )

    async def _last(self, workspace_id: str, name: str) -> tuple[int, int | None]:
        """The highest number that was given out, and the revision of what says so."""
        try:
            item = await self._table.get(layer_key(workspace_id, name))
        except ItemNotFound:
            return 0, None
        return item.data["last"], item.revision

    async def _newest(self, workspace_id: str, name: str) -> LayerVersion | None:
        page = await self._table.query(partition(workspace_id), begins=versions_prefix(name), descending=True, limit=1)
        return version_from(page.items[0]) if page.items else None
