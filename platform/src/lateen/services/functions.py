"""Functions: desired state, and the status that the controller reports. They are two items."""

import time
from collections.abc import AsyncIterator, Callable

from msgspec import UNSET, Struct, UnsetType

from lateen.domain.access import Caller
from lateen.domain.functions import Auth, Described, Function, FunctionStatus
from lateen.domain.master import MasterKey
from lateen.domain.pages import DEFAULT_LIMIT, Page
from lateen.ports.deployer import Deployment, Observation
from lateen.ports.objects import Objects
from lateen.ports.table import Table
from lateen.services.cursors import Cursors
from lateen.services.idempotency import Once
from lateen.services.runtimes import Runtimes


class NewFunction(Struct, frozen=True, kw_only=True):
    """What a create asks for. Numbers and names are checked again here, whoever checked them before."""

    name: str
    runtime: str
    version: str | None = None
    """Of the pair `runtime: python, version: "3.12"`; None: `runtime` is a whole name."""
    code: bytes
    """One source file, or a zip; see `packages.py`, also for what decodes Base64."""
    handler: str | None = None
    """None: the runtime's default."""
    environment: dict[str, str] = {}
    timeout_s: int = 3
    memory_mib: int = 128
    concurrency: int = 10
    replicas: int = 1
    auth: Auth = "none"
    description: str = ""


class FunctionChange(Struct, frozen=True, kw_only=True):
    """What an update changes; UNSET stays as it is. `environment` is replaced as a whole."""

    name: str | UnsetType = UNSET
    runtime: str | UnsetType = UNSET
    version: str | None | UnsetType = UNSET
    """Only beside `runtime`, or alone for another version of the same runtime."""
    code: bytes | UnsetType = UNSET
    handler: str | None | UnsetType = UNSET
    environment: dict[str, str] | UnsetType = UNSET
    timeout_s: int | UnsetType = UNSET
    memory_mib: int | UnsetType = UNSET
    concurrency: int | UnsetType = UNSET
    replicas: int | UnsetType = UNSET
    auth: Auth | UnsetType = UNSET
    description: str | UnsetType = UNSET


class Functions:
    def __init__(
        self,
        table: Table,
        objects: Objects,
        *,
        runtimes: Runtimes,
        master: MasterKey,
        cursors: Cursors,
        now: Callable[[], float] = time.time,
    ) -> None: ...

    def subscribe(self, listener: Callable[[Function], None]) -> None:
        """Be told of every create, update and delete (`deleted_at` is set) of this process, after it is stored.
        Called in the event loop; must not block or raise."""

    async def create(
        self, caller: Caller, workspace_id: str, new: NewFunction, *, once: Once | None = None
    ) -> Described:
        """Raises: `NotFound` (workspace), `InvalidInput`, `TooLarge`, `AlreadyExists`, `Conflict`."""
        raise NotImplementedError

    async def get(self, caller: Caller, function_id: str) -> Described:
        """Raises: `NotFound`."""
        raise NotImplementedError

    async def by_name(self, caller: Caller, workspace_id: str, name: str) -> Described:
        """Raises: `NotFound`."""
        raise NotImplementedError

    async def by_hash(self, caller: Caller, function_hash: str) -> Described:
        """Raises: `NotFound`."""
        raise NotImplementedError

    async def at_url(self, function_hash: str) -> Function:
        """What `/{hash}` serves, for the gateway, which knows no caller. Raises: `NotFound`."""
        raise NotImplementedError

    async def list(
        self, caller: Caller, workspace_id: str, *, limit: int = DEFAULT_LIMIT, cursor: str | None = None
    ) -> Page[Described]:
        """By name. Raises: `NotFound` (workspace), `InvalidInput`."""
        raise NotImplementedError

    async def source(self, caller: Caller, function_id: str) -> str | None:
        """The single source file as given; None: a zip was given. Raises: `NotFound`."""
        raise NotImplementedError

    async def update(
        self, caller: Caller, function_id: str, change: FunctionChange, *, expected: int | None = None
    ) -> Described:
        """Without `expected` updates that race apply one after the other; with it the later one is refused. What changes
        nothing keeps the revision.

        Args:
            expected: the revision that the caller knows (`If-Match`).
        Raises: `NotFound`, `InvalidInput`, `TooLarge`, `AlreadyExists`, `RevisionMismatch`.
        """
        raise NotImplementedError

    async def delete(self, caller: Caller, function_id: str, *, expected: int | None = None) -> bool:
        """Mark it deleted; its name is free at once. Again is no error: True if this call did it.

        Raises: `NotFound` if it never was, `RevisionMismatch`.
        """
        raise NotImplementedError

    async def delete_by_hash(self, caller: Caller, function_hash: str) -> bool:
        """As `delete`."""
        raise NotImplementedError

    def deployment_for(self, function: Function) -> Deployment:
        """What a deployer is told. Pure."""
        raise NotImplementedError

    async def report(self, observation: Observation) -> None:
        """Store what became of a revision. Reports about earlier revisions and deleted functions change nothing."""
        raise NotImplementedError

    def all(self) -> AsyncIterator[Function]:
        """Every function of every workspace that is not deleted; for the controller."""
        raise NotImplementedError

    def undeployed(self) -> AsyncIterator[Function]:
        """Those of which nothing was reported for their current revision."""
        raise NotImplementedError

    async def sweep(self, *, older_than_s: float = 3600) -> int:
        """Remove blobs that no function names. Returns: how many."""
        raise NotImplementedError
