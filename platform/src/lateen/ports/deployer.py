"""`Deployer`: makes a function version run, says where, and stops it. `Endpoints` is the part that says where."""

from collections.abc import AsyncIterator, Collection
from typing import Protocol

from msgspec import Struct
from msgspec.structs import force_setattr

from lateen.domain.aws_settings import SystemLogLevel
from lateen.domain.errors import Unavailable
from lateen.domain.functions import LATEST, Kept, State, deployment_id
from lateen.domain.images import Image
from lateen.domain.layers import UsedLayer
from lateen_invoker.urls import PLAIN, UrlSettings


class Deployment(Struct, frozen=True, kw_only=True):
    """One version of a function as it shall run: its desired state, with everything resolved that a deployer needs."""

    id: str = ""
    """`deployment_id` of function and version; follows from them."""
    function_id: str
    function_name: str
    workspace_id: str
    account_id: str
    hash: str
    revision: int
    """Of the desired state; a higher one replaces a lower one of the same version."""
    version: str
    runtime: str
    """Canonical name of a folder under `runtimes/`; empty for an image."""
    handler: str
    environment: dict[str, str]
    role: str = ""
    """ARN of an IAM role, which its code shall have the credentials of, where there are such things."""
    system_log_level: SystemLogLevel | None = None
    """What is said of its invocations is JSON, from this level on. None: it is text."""
    timeout_s: int
    memory_mib: int
    concurrency: int
    replicas: int
    reserved: int | None = None
    """Events that all versions of the function together may run at a time; None: no limit of its own."""
    provisioned: int = 0
    """Environments of this version that are kept started, over all pods."""
    open: bool
    """Its URL asks for no key."""
    signed: bool = False
    """Its URL asks for AWS's signature."""
    closed: bool = False
    """Its URL is nobody's to call."""
    url: UrlSettings = PLAIN
    """How its URL answers who may call it."""
    artifact_key: str
    """Empty where its code is in an image, or has yet to be built: then it can be called where it runs, and not be
    started."""
    artifact_sha256: str
    image: Image | None = None
    layers: tuple[UsedLayer, ...] = ()
    """In the order in which they are unpacked."""
    invoke_key: bytes

    def __post_init__(self) -> None:
        # A field and no property: it is looked at on every call.
        force_setattr(self, "id", deployment_id(self.function_id, self.version))


class Observation(Struct, frozen=True, kw_only=True):
    """What became of a deployment. `reason` is for a person: what is wrong and where to look."""

    function_id: str
    version: str = LATEST
    revision: int
    state: State
    reason: str | None = None
    serves: bool = True
    """As `FunctionStatus.serves`."""
    kept: Kept | None = None
    """As `FunctionStatus.kept`."""

    @property
    def id(self) -> str:
        """The deployment's."""
        return deployment_id(self.function_id, self.version)


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

    def hold(self, deployment: Deployment) -> None:
        """From now on all that runs of the function, of whichever version and revision, may run `reserved` events at a
        time, together, and unless it is `open` nobody is led to it past the gateway. Takes effect without a restart;
        the limit as fast as what runs beyond it ends. Whatever else this deployment, of `$LATEST`, says is of no
        account: it may be one that can't be started."""

    async def remove(self, function_id: str, version: str | None = None) -> None:
        """Stop it: what runs is finished within the function's timeout. What isn't there is no error.

        Args:
            version: this one only; None: all of the function.
        """

    async def deployed(self) -> Collection[str]:
        """Ids of all functions of which something may run."""

    async def deployed_versions(self) -> Collection[tuple[str, str]]:
        """Function id and number of all published versions that may run."""

    def observations(self) -> AsyncIterator[Observation]:
        """State changes of all deployments, as they happen; one reader."""


class Engine(Deployer, Endpoints, Protocol):
    """Both at once, where one process does both."""
