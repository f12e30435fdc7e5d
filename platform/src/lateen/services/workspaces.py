"""Workspaces: made, listed, changed and deleted by the installation's keys; each key sees its own."""

import time
from collections.abc import Callable

from msgspec import UNSET, Struct, UnsetType

from lateen.domain.access import Caller
from lateen.domain.pages import DEFAULT_LIMIT, Page
from lateen.domain.workspaces import Workspace
from lateen.ports.table import Table
from lateen.services.cursors import Cursors
from lateen.services.functions import Functions
from lateen.services.idempotency import Once
from lateen.services.keys import Keys


class WorkspaceChange(Struct, frozen=True, kw_only=True):
    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET


class Workspaces:
    def __init__(
        self, table: Table, *, functions: Functions, keys: Keys, cursors: Cursors, now: Callable[[], float] = time.time
    ) -> None: ...

    async def ensure_default(self) -> Workspace:
        """Make the workspace `default` unless it is there. For every start."""
        raise NotImplementedError

    async def create(self, caller: Caller, *, name: str, description: str = "", once: Once | None = None) -> Workspace:
        """Raises: `Forbidden`, `InvalidInput`, `AlreadyExists`, `Conflict` (by `once`)."""
        raise NotImplementedError

    async def get(self, caller: Caller, workspace_id: str) -> Workspace:
        """Raises: `NotFound`."""
        raise NotImplementedError

    async def list(self, caller: Caller, *, limit: int = DEFAULT_LIMIT, cursor: str | None = None) -> Page[Workspace]:
        """By name. A workspace's key sees its own."""
        raise NotImplementedError

    async def update(
        self, caller: Caller, workspace_id: str, change: WorkspaceChange, *, expected: int | None = None
    ) -> Workspace:
        """Args:
            expected: the revision that the caller knows (`If-Match`).
        Raises: `NotFound`, `Forbidden`, `InvalidInput`, `AlreadyExists`, `RevisionMismatch`.
        """
        raise NotImplementedError

    async def delete(
        self, caller: Caller, workspace_id: str, *, force: bool = False, expected: int | None = None
    ) -> None:
        """Remove it with its keys; again is no error.

        Args:
            force: remove its functions too.
        Raises: `NotFound`, `Forbidden`, `RevisionMismatch`, `Conflict` while functions exist, and for `default`.
        """
        raise NotImplementedError
