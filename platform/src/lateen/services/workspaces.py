"""Workspaces: made, listed, changed and deleted by the installation's keys; each key sees its own."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from lateen.domain.access import PLATFORM, Caller
from lateen.domain.errors import AlreadyExists, Conflict, NotFound, RevisionMismatch, Unavailable
from lateen.domain.names import check_description, check_name, new_account_id, new_id
from lateen.domain.pages import DEFAULT_LIMIT, Page
from lateen.domain.times import iso_ms
from lateen.domain.workspaces import DEFAULT_ID, Quota, Workspace
from lateen.ports.table import Delete, Item, ItemNotFound, Key, Operation, Put, RevisionConflict, Table
from lateen.services.build_settings import settings_key
from lateen.services.builds import remove_builds
from lateen.services.code_sources import CodeSources
from lateen.services.cursors import Cursors, check_limit
from lateen.services.functions import Functions
from lateen.services.idempotency import Idempotency, Once
from lateen.services.keys import Keys
from lateen.services.layers import Layers
from lateen.services.tenants import (
    ATTEMPTS,
    BURIED,
    BUSY,
    INDEX,
    find_workspace,
    item_of,
    read_workspace,
    workspace_from,
)
from lateen.services.unreadable import passed_over

log = logging.getLogger(__name__)


class WorkspaceChange(Struct, frozen=True, kw_only=True):
    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    quota: Quota | UnsetType = UNSET
    code_buckets: Sequence[str] | UnsetType = UNSET


class Workspaces:
    def __init__(
        self,
        table: Table,
        *,
        functions: Functions,
        layers: Layers,
        keys: Keys,
        sources: CodeSources,
        cursors: Cursors,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._table = table
        self._functions = functions
        self._layers = layers
        self._keys = keys
        self._sources = sources
        self._cursors = cursors
        self._now = now
        self._idempotency = Idempotency(table, now=now)

    async def ensure_default(self) -> Workspace:
        """Make the workspace `default` unless it is there. For every start."""
        for _ in range(ATTEMPTS):
            try:
                return await read_workspace(self._table, PLATFORM, DEFAULT_ID)
            except NotFound:
                pass
            try:
                return await self._store(self._new(DEFAULT_ID, DEFAULT_ID))
            except RevisionConflict:
                continue
        raise Conflict(BUSY)

    async def create(
        self,
        caller: Caller,
        *,
        name: str,
        description: str = "",
        quota: Quota | None = None,
        code_buckets: Sequence[str] = (),
        once: Once | None = None,
    ) -> Workspace:
        """Raises: `Forbidden`, `InvalidInput`, `AlreadyExists`, `Conflict` (by `once`)."""
        caller.must_be_installation()
        check_name(name)
        check_description(description)
        self._sources.check(code_buckets)
        for _ in range(ATTEMPTS):
            if (outcome := await self._idempotency.outcome(caller, once)) is not None:
                return msgspec.convert(outcome, Workspace)
            workspace = self._new(
                new_id(), name, description=description, quota=quota or Quota(), code_buckets=tuple(code_buckets)
            )
            made = msgspec.to_builtins(msgspec.structs.replace(workspace, revision=1))
            try:
                return await self._store(workspace, *self._idempotency.record(caller, once, made))
            except RevisionConflict as exc:
                if exc.key == _name_key(name):
                    raise AlreadyExists(f"a workspace named {name!r} exists") from exc
                continue  # the same request was faster, or an account id was drawn twice
        raise Conflict(BUSY)

    async def get(self, caller: Caller, workspace_id: str) -> Workspace:
        """Raises: `NotFound`."""
        return await read_workspace(self._table, caller, workspace_id)

    async def list(
        self, caller: Caller, *, name: str | None = None, limit: int = DEFAULT_LIMIT, cursor: str | None = None
    ) -> Page[Workspace]:
        """By name. A workspace's key sees its own. `name`: the one of this name, if there is one."""
        check_limit(limit)
        after = self._cursors.open("workspaces", cursor)
        if caller.workspace_id is not None:
            own = await self.get(caller, caller.workspace_id)
            return Page([own] if name in (None, own.name) else [])
        if name is not None:
            try:
                one = await self._listed(await self._table.get(_name_key(name)))
            except ItemNotFound:
                one = None
            return Page([] if one is None else [one])
        page = await self._table.query(INDEX, begins="NAME#", after=after, limit=limit)
        found = await asyncio.gather(*(self._listed(item) for item in page.items))
        return Page(
            [w for w in found if w is not None], self._cursors.seal("workspaces", page.next) if page.next else None
        )

    async def all(self) -> AsyncIterator[Workspace]:
        """That are not deleted, but those that can't be read; for the controller."""
        after = None
        while True:
            page = await self._table.query(INDEX, begins="WS#", after=after)
            for item in page.items:
                workspace = None
                with passed_over(log, "workspace", but=Unavailable, workspace=str(item.data.get("workspace_id"))):
                    workspace = await self._listed(item)
                if workspace is not None:
                    yield workspace
            if (after := page.next) is None:
                return

    async def update(
        self, caller: Caller, workspace_id: str, change: WorkspaceChange, *, expected: int | None = None
    ) -> Workspace:
        """Args:
            expected: the revision that the caller knows (`If-Match`).
        Raises: `NotFound`, `Forbidden`, `InvalidInput`, `AlreadyExists`, `RevisionMismatch`.
        """
        for _ in range(ATTEMPTS):
            old = await self.get(caller, workspace_id)
            caller.must_be_installation()
            _check_expected(old, expected)
            new = msgspec.structs.replace(
                old,
                name=old.name if change.name is UNSET else change.name,
                description=old.description if change.description is UNSET else change.description,
                quota=old.quota if change.quota is UNSET else change.quota,
                code_buckets=old.code_buckets if change.code_buckets is UNSET else tuple(change.code_buckets),
            )
            check_name(new.name)
            check_description(new.description)
            if change.code_buckets is not UNSET:
                self._sources.check(new.code_buckets)
            if new == old:
                return old
            new = msgspec.structs.replace(new, updated_at=iso_ms(self._now()))
            operations: list[Operation] = [Put(item_of(new), expected=old.revision)]
            if new.name != old.name:
                operations += [Delete(_name_key(old.name)), Put(_name_item(new), expected=None)]
            try:
                return workspace_from((await self._table.transact(operations))[0])
            except RevisionConflict as exc:
                if exc.key == _name_key(new.name):
                    raise AlreadyExists(f"a workspace named {new.name!r} exists") from exc
                continue
        raise Conflict(BUSY)

    async def delete(
        self, caller: Caller, workspace_id: str, *, force: bool = False, expected: int | None = None
    ) -> None:
        """Remove it with its layers and keys; again is no error while there is a tombstone.

        Args:
            force: remove its functions too.
        Raises: `NotFound`, `Forbidden`, `RevisionMismatch`, `Conflict` while functions exist, and for `default`.
        """
        workspace = await find_workspace(self._table, caller, workspace_id)
        caller.must_be_installation()
        if workspace.deleted_at is not None:
            return
        _check_expected(workspace, expected)
        if workspace.id == DEFAULT_ID:
            raise Conflict("the default workspace can't be deleted")
        if not force and await self._functions.exist_in(workspace_id):
            await self._mark(caller, workspace, is_closing=False)  # an earlier delete may have broken off
            raise Conflict(_HAS_FUNCTIONS)
        # Closed first, so that nothing is made in it from here on: a create checks this item in its transaction.
        workspace = await self._mark(caller, workspace, is_closing=True, is_final=force, expected=expected)
        if force:
            await self._functions.delete_all(workspace_id)
        else:
            await self._close_empty(caller, workspace)
        await self._layers.delete_all(workspace_id)
        await remove_builds(self._table, workspace_id)
        await self._keys.revoke_all(workspace_id)
        await self._bury(caller, workspace)

    async def _close_empty(self, caller: Caller, workspace: Workspace) -> None:
        """For good. Raises: `Conflict` if functions exist; then it is open again."""
        for _ in range(ATTEMPTS):
            workspace = await self._mark(caller, workspace, is_closing=True)
            if await self._functions.exist_in(workspace.id):
                await self._mark(caller, workspace, is_closing=False)
                raise Conflict(_HAS_FUNCTIONS)
            if workspace.is_final or workspace.deleted_at is not None:
                return
            final = msgspec.structs.replace(workspace, is_final=True)
            try:
                # At this revision: another delete, which saw a function, may have opened it since.
                await self._table.put(item_of(final), expected=workspace.revision)
            except RevisionConflict:
                workspace = await find_workspace(self._table, caller, workspace.id)
                continue
            return
        raise Conflict(BUSY)

    async def _mark(
        self,
        caller: Caller,
        workspace: Workspace,
        *,
        is_closing: bool,
        is_final: bool = False,
        expected: int | None = None,
    ) -> Workspace:
        for _ in range(ATTEMPTS):
            marked = msgspec.structs.replace(
                workspace, is_closing=is_closing or workspace.is_final, is_final=is_final or workspace.is_final
            )
            if marked == workspace or workspace.deleted_at is not None:
                return workspace
            try:
                return workspace_from(await self._table.put(item_of(marked), expected=workspace.revision))
            except RevisionConflict:
                workspace = await find_workspace(self._table, caller, workspace.id)
                _check_expected(workspace, expected)
        raise Conflict(BUSY)

    async def _bury(self, caller: Caller, workspace: Workspace) -> None:
        for _ in range(ATTEMPTS):
            workspace = await find_workspace(self._table, caller, workspace.id)
            if workspace.deleted_at is not None:
                return
            buried = msgspec.structs.replace(workspace, description="", deleted_at=iso_ms(self._now()))
            try:
                await self._table.transact(
                    [
                        Put(item_of(buried), expected=workspace.revision),
                        Delete(_name_key(workspace.name)),
                        Delete(_listed_key(workspace.id)),
                        Put(Item(key=Key(BURIED, f"WS#{workspace.id}"), data=_pointer(workspace)), expected=None),
                        Delete(_account_key(workspace.account_id)),
                        Delete(settings_key(workspace.id)),
                    ]
                )
            except RevisionConflict:
                continue
            return
        raise Conflict(BUSY)

    def _new(self, workspace_id: str, name: str, **more: Any) -> Workspace:
        now = iso_ms(self._now())
        return Workspace(
            id=workspace_id,
            name=name,
            **more,
            account_id=new_account_id(),
            created_at=now,
            updated_at=now,
        )

    async def _store(self, workspace: Workspace, *more: Operation) -> Workspace:
        pointer = _pointer(workspace)
        stored = await self._table.transact(
            [
                Put(item_of(workspace), expected=None),
                *more,
                Put(_name_item(workspace), expected=None),
                Put(Item(key=_listed_key(workspace.id), data=pointer), expected=None),
                Put(Item(key=_account_key(workspace.account_id), data=pointer), expected=None),
            ]
        )
        return workspace_from(stored[0])

    async def _listed(self, pointer: Item) -> Workspace | None:
        try:
            return await read_workspace(self._table, PLATFORM, pointer.data["workspace_id"])
        except NotFound:  # deleted since the listing was read
            return None


_HAS_FUNCTIONS = "the workspace has functions; delete them first, or force it"


def _check_expected(workspace: Workspace, expected: int | None) -> None:
    if expected is not None and workspace.revision != expected:
        raise RevisionMismatch(f"the workspace is at revision {workspace.revision}, not {expected}")


def _name_key(name: str) -> Key:
    return Key(INDEX, f"NAME#{name}")


def _name_item(workspace: Workspace) -> Item:
    return Item(key=_name_key(workspace.name), data=_pointer(workspace))


def _listed_key(workspace_id: str) -> Key:
    return Key(INDEX, f"WS#{workspace_id}")


def _pointer(workspace: Workspace) -> dict[str, str]:
    return {"workspace_id": workspace.id}


def _account_key(account_id: str) -> Key:
    return Key(f"ACCOUNT#{account_id}", "WORKSPACE")
