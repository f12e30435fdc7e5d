"""`Deployer`: makes a function version run, says where, and stops it. `Endpoints` is the part that says where."""

from collections.abc import AsyncIterator, Collection
from typing import Protocol

from msgspec import Struct

from lateen.domain.errors import Unavailable
from lateen.domain.functions import State
from lateen.domain.layers import UsedLayer


class Deployment(Struct, frozen=True, kw_only=True):
    """One function as it shall run: its desired state, with everything resolved that a deployer needs."""

    function_id: str
    function_name: str
    workspace_id: str
    account_id: str
    hash: str
    revision: int
    """Of the desired state; a higher one replaces a lower one."""
    version: str
    runtime: str
    """Canonical name of a folder under `runtimes/`."""
    handler: str
    environment: dict[str, str]
    timeout_s: int
    memory_mib: int
    concurrency: int
    replicas: int
    open: bool
    """Its URL asks for no key."""
    artifact_key: str
    """Empty where its code has yet to be built: it can be called where it runs, and not be started."""
    artifact_sha256: str
    layers: tuple[UsedLayer, ...] = ()
    """In the order in which they are unpacked."""
    invoke_key: bytes


class Observation(Struct, frozen=True, kw_only=True):
    """What became of a deployment. `reason` is for a person: what is wrong and where to look."""

    function_id: str
    revision: int
    state: State
    reason: str | None = None


class Endpoint(Struct, frozen=True):
    """Where an invoker of the function answers HTTP, and the key that signs what is sent there."""

    host: str
    """A name or an address; one that begins with NUL is an abstract Unix address, and the port means nothing."""
    port: int
    invoke_key: bytes


class NotRunning(Unavailable):
    """The function has no endpoint: it failed to start, or was removed meanwhile. The text says why."""


class NotYetRunning(NotRunning):
    """Nothing leads to the function at the moment; worth another try in the next one."""


class Endpoints(Protocol):
    async def endpoint(self, deployment: Deployment) -> Endpoint:
        """A ready endpoint, waking the function if it sleeps. Raises: `NotRunning`, `NotYetRunning`."""

    def endpoint_now(self, deployment: Deployment) -> Endpoint | None:
        """A ready endpoint where there is one without waiting."""


class Deployer(Protocol):
    async def apply(self, deployment: Deployment) -> None:
        """Make it run, beside what runs of it already; replace that without a failed call. Idempotent.
        What comes of it is told by `observations`."""

    async def remove(self, function_id: str) -> None:
        """Stop it: what runs is finished within the function's timeout. What isn't there is no error."""

    async def deployed(self) -> Collection[str]:
        """Ids of all functions of which something may run."""

    def observations(self) -> AsyncIterator[Observation]:
        """State changes of all deployments, as they happen; one reader."""


class Engine(Deployer, Endpoints, Protocol):
    """Both at once, where one process does both."""
