"""Functions: what users want (desired state), what became of it (status), and the numbers' limits."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from lateen.domain.aws_settings import AwsSettings
from lateen.domain.errors import InvalidInput
from lateen.domain.function_urls import FunctionUrl
from lateen.domain.images import Image
from lateen.domain.layers import UsedLayer

Auth = Literal["none", "key", "iam"]
"""Who may call a function's URL: whoever knows it, keys of its workspace, or (`iam`) nobody, but where its URL was
configured with AuthType AWS_IAM who signs with a key pair of its workspace."""
AUTHS: tuple[Auth, ...] = ("none", "key", "iam")
State = Literal["Pending", "Active", "Failed"]

TIMEOUT_S = (1, 900)
MEMORY_MIB = (128, 10_240)
CONCURRENCY = (1, 100)
REPLICAS = (1, 100)
ACCOUNT_CONCURRENCY, UNRESERVED = 1000, 100
"""What a workspace's functions may reserve together is the first without the second: AWS's defaults."""
RESERVED = (0, ACCOUNT_CONCURRENCY - UNRESERVED)

TimeoutS = Annotated[int, Meta(ge=TIMEOUT_S[0], le=TIMEOUT_S[1])]
MemoryMib = Annotated[int, Meta(ge=MEMORY_MIB[0], le=MEMORY_MIB[1])]
Concurrency = Annotated[int, Meta(ge=CONCURRENCY[0], le=CONCURRENCY[1])]
Replicas = Annotated[int, Meta(ge=REPLICAS[0], le=REPLICAS[1])]
ReservedConcurrency = Annotated[int, Meta(ge=RESERVED[0], le=RESERVED[1])]

LATEST = "$LATEST"
"""The draft; every other version is a number, and never changes."""


class CodeBuild(Struct, frozen=True):
    """That the code is not run as it was given, but built first (`services/builds.py`)."""

    id: str
    """64 hex digits: of the source, the runtime and its recipe, the platform and the workspace's settings."""
    lock: str
    """64 hex digits: of the files that say what it depends on; what was fetched is kept by it."""


class Code(Struct, frozen=True, kw_only=True):
    """Where a function's code lies. Keys are those of the object store."""

    artifact_key: str
    """The zip, as it was given. Empty: the code is in an image."""
    sha256: str
    """Of the zip, hex; or `Image.sha256`."""
    size: int
    """Of the zip, bytes; 0 for an image."""
    unzipped: int = 0
    """Bytes of all files in the zip; 0: not known."""
    source_key: str | None = None
    """The single source file as given; None: a zip was given."""
    source_file: str | None = None
    """Its name inside the artifact."""
    build: CodeBuild | None = None
    """None: the zip is run as it is."""


class Function(Struct, frozen=True, kw_only=True):
    """Desired state. `revision` counts users' changes and nothing else."""

    id: str
    version: str = LATEST
    """`$LATEST`, or the number of the version that this is."""
    workspace_id: str
    account_id: str
    hash: str
    """The URL's path; 32 hex digits, random and permanent."""
    name: str
    """Unique in the workspace."""
    description: str = ""
    runtime: str
    """Canonical name. Empty, as the handler: an image has its own."""
    handler: str
    environment: dict[str, str] = {}
    timeout_s: int = 3
    memory_mib: int = 128
    """Per environment."""
    concurrency: int = 10
    """Environments a pod."""
    replicas: int = 1
    reserved_concurrency: int | None = None
    """Events that run at a time, at most, over all versions; 0: none do. None: no limit of its own."""
    auth: Auth = "none"
    url: FunctionUrl | None = None
    """As it was configured, if it was."""
    layers: tuple[UsedLayer, ...] = ()
    """Unpacked into `/opt` in this order, a later one over those before."""
    aws: AwsSettings = AwsSettings()
    code: Code
    image: Image | None = None
    """None: the package is a zip. A function's is always of one kind."""
    revision: int = 0
    rolled: int = 0
    """The last revision that changed anything but what is reserved, which replaces nothing; 0: the current one."""
    configured: int = 0
    """The last one that changed anything but that, its URL and who may call it; 0: the current one."""
    created_at: str
    updated_at: str
    deleted_at: str | None = None


def rolled_revision(function: Function) -> int:
    """The one that a report has to be about to be news of what runs."""
    return function.rolled or function.revision


def configured_revision(function: Function) -> int:
    """The one that has to be through before AWS takes the next update."""
    return function.configured or function.revision


def deployment_id(function_id: str, version: str) -> str:
    """What one version of a function is called where it runs; of `$LATEST` the function's own id, which has no dash."""
    return function_id if version == LATEST else f"{function_id}-{version}"


def version_in(deployed: str) -> tuple[str, str]:
    """Function id and version of a `deployment_id`."""
    function_id, _, number = deployed.rpartition("-")
    return (function_id, number) if function_id and number.isdigit() else (deployed, LATEST)


class Kept(Struct, frozen=True):
    """Of a version with provisioned concurrency: what a report is about."""

    wanted: int
    """Environments that are to be kept started, over all pods."""
    started: int
    """Of those, so many had initialised well before anything was served by them."""


class FunctionStatus(Struct, frozen=True, kw_only=True):
    """What became of the desired state. Only the controller's reports change it."""

    state: State
    reason: str | None = None
    """For a person."""
    revision: int = 0
    """Of the desired state that the report was about; 0 before the first."""
    settled: int = 0
    """While it is Pending: the last revision that was reported to be Active or Failed; 0: none was."""
    serves: bool = True
    """Whether calls may be sent where it runs: something of it serves there, of an earlier revision maybe, or soon
    will."""
    kept: Kept | None = None
    """None: no provisioned concurrency is in force, or not in all pods yet."""
    updated_at: str | None = None

    @property
    def settled_revision(self) -> int:
        return self.settled if self.state == "Pending" else self.revision


class Described(Struct, frozen=True):
    """A function as people see it."""

    function: Function
    status: FunctionStatus


def status_shown(function: Function, reported: FunctionStatus | None) -> FunctionStatus:
    """A report about an earlier revision says nothing about this one: that is still pending."""
    if (
        reported is not None
        and reported.revision >= rolled_revision(function)
        and (reported.state != "Pending" or reported.reason is not None)
    ):
        return reported
    if function.version != LATEST:  # it can be called; where it doesn't run it is started then
        return FunctionStatus(state="Active", revision=function.revision)
    doing = "created" if function.revision == 1 else "updated"
    return FunctionStatus(
        state="Pending",
        reason=f"The function is being {doing}.",
        revision=function.revision,
        settled=0 if reported is None else reported.settled_revision,
    )


def check_numbers(function: Function) -> None:
    """Raises: `InvalidInput` that names the field as the REST API does."""
    for field, value, (lowest, highest) in (
        ("timeout", function.timeout_s, TIMEOUT_S),
        ("memory", function.memory_mib, MEMORY_MIB),
        ("concurrency", function.concurrency, CONCURRENCY),
        ("replicas", function.replicas, REPLICAS),
    ):
        if not lowest <= value <= highest:
            raise InvalidInput(field, f"{lowest} to {highest}")
    reserved = function.reserved_concurrency
    if reserved is not None and not RESERVED[0] <= reserved <= RESERVED[1]:
        raise InvalidInput("reserved_concurrency", f"{RESERVED[0]} to {RESERVED[1]}")
