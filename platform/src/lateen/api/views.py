"""What answers hold: domain values as callers see them, without what is only ours."""

from typing import Annotated, Generic, TypeVar

from msgspec import Meta, Struct

from lateen.api.fields import Hash, Id, InvokeMode, Timestamp
from lateen.domain.aws_settings import ApplicationLogLevel, LogFormat, SystemLogLevel
from lateen.domain.events import EventInvokeConfig
from lateen.domain.function_urls import AuthType
from lateen.domain.functions import Auth, Described, Function, State
from lateen.domain.keys import ApiKey, NewKey
from lateen.domain.layers import LayerVersion
from lateen.domain.pages import Page as DomainPage
from lateen.domain.provisioned import ProvisionedState
from lateen.domain.runtimes import Runtime, RuntimeEntry
from lateen.domain.times import iso_ms
from lateen.domain.workspaces import Quota, Workspace
from lateen.services.aliases import DescribedAlias
from lateen.services.builds import Build, LogPage
from lateen.services.builds import State as BuildState
from lateen.services.dead_letters import DeadLetter
from lateen.services.function_urls import DescribedUrl
from lateen.services.provisioned import DescribedConfig

# Shown as they are.
from lateen.services.statistics import FunctionStatistics as FunctionStatistics
from lateen.services.statistics import FunctionTotals as FunctionTotals
from lateen_invoker.records import ErrorDocument, ExecutionRecord, Status

T = TypeVar("T")
U = TypeVar("U")


class Page(Struct, Generic[T], frozen=True):
    """One page of a list. `next_cursor` is what to send as `cursor` for the next one; null: this was the last."""

    items: list[T]
    next_cursor: str | None


class WorkspaceView(Struct, frozen=True, kw_only=True):
    id: Id
    name: str
    description: str
    account_id: Annotated[str, Meta(examples=["123456789012"])]
    """What the workspace is called in ARNs."""
    quota: Quota
    code_buckets: list[str]
    """S3 buckets, or folders in them, that callers may take code from."""
    revision: int
    created_at: Timestamp
    updated_at: Timestamp


class ImageSettingsView(Struct, frozen=True, kw_only=True):
    """Empty is the image's own."""

    entry_point: list[str]
    command: list[str]
    working_directory: str


class LoggingView(Struct, frozen=True, kw_only=True):
    log_format: LogFormat
    application_log_level: ApplicationLogLevel | None
    """Null: of Text there is none."""
    system_log_level: SystemLogLevel | None


class FunctionView(Struct, frozen=True, kw_only=True):
    id: Id
    workspace: Id
    name: str
    description: str
    runtime: str
    """Empty, as the handler, of a function that is an image."""
    handler: str
    image: str | None
    """The reference as it was given. Null: the package is a zip."""
    image_config: ImageSettingsView | None
    environment: dict[str, str]
    timeout: int
    memory: int
    concurrency: int
    replicas: int
    reserved_concurrency: int | None
    """Events that run at a time, at most, over all pods and versions; null: no limit of its own."""
    layers: list[str]
    """ARNs of layer versions, in the order in which they are unpacked."""
    logging_config: LoggingView
    auth: Auth
    hash: Hash
    url: Annotated[str, Meta(examples=["http://127.0.0.1:8000/0123456789abcdef0123456789abcdef"])]
    state: State
    state_reason: str | None
    """For a person: what is being done, or what is wrong."""
    revision: int
    """Counts changes of what you set; also the `ETag`."""
    code_sha256: str
    """Of the zip, hex. Of an image its digest, when that is known: see `state`."""
    code_size: int
    """Of the zip, bytes; 0 for an image."""
    created_at: Timestamp
    updated_at: Timestamp


class VersionView(Struct, frozen=True, kw_only=True):
    function: Id
    version: Annotated[str, Meta(examples=["3"])]
    """Its number, or `$LATEST`."""
    description: str
    runtime: str
    handler: str
    image: str | None
    image_config: ImageSettingsView | None
    environment: dict[str, str]
    timeout: int
    memory: int
    concurrency: int
    logging_config: LoggingView
    state: State
    """`Active` also where it sleeps: a call starts it."""
    state_reason: str | None
    code_sha256: str
    """Of the zip, hex. Of an image its digest, when that is known: see `state`."""
    code_size: int
    """Of the zip, bytes."""
    published_at: Timestamp
    """Of `$LATEST`, when it was changed."""


class AliasTarget(Struct, frozen=True, kw_only=True):
    version: str
    routing: dict[str, float]
    """Another version and its share of the calls, 0 to 1."""


class AliasView(Struct, frozen=True, kw_only=True):
    function: Id
    name: Annotated[str, Meta(examples=["live"])]
    description: str
    version: str
    routing: dict[str, float]
    """Another version and its share of the calls, 0 to 1."""
    previous: AliasTarget | None
    """Where it led before, which serves until what it leads to runs."""
    state: State
    state_reason: str | None
    """For a person: what is being started, or what is wrong."""
    hash: Hash
    url: Annotated[str, Meta(examples=["http://127.0.0.1:8000/0123456789abcdef0123456789abcdef"])]
    revision: int
    """Counts its changes; also the `ETag`."""
    created_at: Timestamp
    updated_at: Timestamp


class CorsView(Struct, frozen=True, kw_only=True):
    """Null is not said."""

    allow_origins: list[str] | None
    allow_methods: list[str] | None
    allow_headers: list[str] | None
    expose_headers: list[str] | None
    max_age: int | None
    """Seconds."""
    allow_credentials: bool | None


class FunctionUrlView(Struct, frozen=True, kw_only=True):
    function: Id
    alias: Annotated[str | None, Meta(examples=["live"])]
    """Null: the function's own."""
    url: Annotated[str, Meta(examples=["http://127.0.0.1:8000/0123456789abcdef0123456789abcdef"])]
    auth_type: AuthType
    open: bool
    """Everybody may call it: `NONE`, and the resource policy says so."""
    invoke_mode: InvokeMode
    cors: CorsView | None
    created_at: Timestamp
    updated_at: Timestamp


class ProvisionedConcurrencyView(Struct, frozen=True, kw_only=True):
    function: Id
    qualifier: Annotated[str, Meta(examples=["live"])]
    """A version's number, or an alias."""
    requested: int
    """Environments that are to be kept started."""
    allocated: int
    """Of those, so many are."""
    state: ProvisionedState
    state_reason: str | None
    """For a person: why it failed."""
    updated_at: Timestamp


class EventConfigView(Struct, frozen=True, kw_only=True):
    """What holds for asynchronous invocations. Null: the default."""

    function: Id
    qualifier: Annotated[str, Meta(examples=["live"])]
    maximum_retry_attempts: int | None
    maximum_event_age: int | None
    """Seconds."""
    on_success: str | None
    """ARN of the function that is told of what succeeded."""
    on_failure: str | None
    """ARN of the function that is told of what was given up."""
    updated_at: Timestamp


class BuildView(Struct, frozen=True, kw_only=True):
    """How the code of a function was built, and a part of what that printed."""

    id: Annotated[str, Meta(examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"])]
    state: BuildState
    attempt: int
    """Counts from 1; 0 before the first."""
    started_at: Timestamp | None
    ended_at: Timestamp | None
    reason: str | None
    """Why it failed, with the last lines."""
    log: str
    """What was printed since `after`, without secrets; the beginning of it, where that is much."""
    next: str
    """What to send as `after` for what comes."""


class BuildSettingsView(Struct, frozen=True):
    variables: list[str]
    """Names."""


class LayerView(Struct, frozen=True, kw_only=True):
    """A version of a layer."""

    name: str
    version: int
    """From 1, and never used again."""
    arn: Annotated[str, Meta(examples=["arn:aws:lambda:us-east-1:123456789012:layer:shared:1"])]
    """What a function names it by."""
    description: str
    runtimes: list[str]
    architectures: list[str]
    license: str
    size: int
    """Of the zip, bytes."""
    unzipped_size: int
    """Of all its files, bytes."""
    sha256: str
    """Of the zip, hex."""
    created_at: Timestamp


class LogView(Struct, frozen=True, kw_only=True):
    """One invocation. Durations in milliseconds, memory in MiB."""

    request_id: str
    function_id: Id
    version: str
    timestamp: Timestamp
    """When the event reached the function's invoker."""
    status: Status
    duration_ms: float
    queued_ms: float
    """Time that the caller waited for an environment, its start included."""
    cold: bool
    """A new environment was started for it."""
    cold_reason: str | None
    init_duration_ms: float | None
    memory_mib: int
    memory_peak_mib: int
    log_tail: str
    """START, what the function printed, END and REPORT; the output is cut in its middle, with a mark, beyond 64 KiB."""
    log_truncated: bool
    error: ErrorDocument | None


class AcceptedView(Struct, frozen=True):
    """An event that was stored. `request_id` is that of all its attempts."""

    request_id: str


class DeadLetterView(Struct, frozen=True, kw_only=True):
    request_id: str
    qualifier: str | None
    condition: str
    """Why it ended: `RetriesExhausted`, `EventAgeExceeded`, `ZeroReservedConcurrency`, `DestinationFailed`,
    `DeliveriesExhausted`."""
    reason: str
    """For a person."""
    attempts: int
    """How often the function ran."""
    accepted_at: Timestamp
    ended_at: Timestamp
    event: str | None
    """JSON as it was sent. Null: it has more than 128 KiB, and lies in the object store."""
    answer: str | None
    """What the function answered last, where it ran; cut beyond 32 KiB."""


class KeyView(Struct, frozen=True, kw_only=True):
    id: Id
    workspace: Id | None
    """Null: of the whole installation."""
    description: str
    aws_access_key_id: Annotated[str, Meta(examples=["LTNABCDEFGHIJKLMNOPQ"])]
    created_at: Timestamp


class NewKeyView(KeyView, frozen=True, kw_only=True):
    """The two secrets are shown this once."""

    secret: Annotated[str, Meta(examples=["ltn_abcdefghijklmnopq_…"])]
    aws_secret_access_key: Annotated[str, Meta(examples=["…"])]


class ConsoleFunction(Struct, frozen=True, kw_only=True):
    hash: Hash
    name: str
    runtime: Annotated[str, Meta(examples=["python"])]
    """`image` where the package is one."""
    version: Annotated[str, Meta(examples=["3.12"])]
    url: str
    auth: Auth
    state: State
    state_reason: str | None
    reg_date: Timestamp
    update_date: Timestamp


class ConsoleSource(ConsoleFunction, frozen=True, kw_only=True):
    file: str | None
    """The source file as it was given; null: it was a zip."""


class ConsoleStarter(Struct, frozen=True, kw_only=True):
    runtime: Annotated[str, Meta(examples=["python"])]
    version: Annotated[str, Meta(examples=["3.12"])]
    name: Annotated[str, Meta(examples=["code.py"])]
    """What a single source file is called."""
    file: str
    """The starter code."""


class ConsoleRuntime(Struct, frozen=True, kw_only=True):
    name: Annotated[str, Meta(examples=["python3.12"])]
    """Canonical."""
    runtime: Annotated[str, Meta(examples=["python"])]
    version: Annotated[str, Meta(examples=["3.12"])]
    aliases: list[str]
    """Further names of it, such as AWS's."""
    file: Annotated[str, Meta(examples=["code.py"])]
    """What a single source file is called."""
    sources: list[str]
    """How the names of its source files end."""
    disabled: bool
    disabled_reason: str | None
    deprecated: str | None
    reg_date: Timestamp
    update_date: Timestamp


def page_of(page: DomainPage[U], items: list[T]) -> Page[T]:
    return Page(items, page.cursor)


def workspace_view(workspace: Workspace) -> WorkspaceView:
    return WorkspaceView(
        id=workspace.id,
        name=workspace.name,
        description=workspace.description,
        account_id=workspace.account_id,
        quota=workspace.quota,
        code_buckets=list(workspace.code_buckets),
        revision=workspace.revision,
        created_at=workspace.created_at,
        updated_at=workspace.updated_at,
    )


def build_view(build_id: str, build: Build | None, page: LogPage | None) -> BuildView:
    build = build or Build(id=build_id, workspace_id="", runtime="")
    return BuildView(
        id=build.id,
        state=build.state,
        attempt=build.attempt,
        started_at=build.started_at,
        ended_at=build.ended_at,
        reason=build.reason,
        log="" if page is None else page.text,
        next="" if page is None else page.next,
    )


def function_view(described: Described, base_url: str) -> FunctionView:
    function, status = described.function, described.status
    return FunctionView(
        id=function.id,
        workspace=function.workspace_id,
        name=function.name,
        description=function.description,
        runtime=function.runtime,
        handler=function.handler,
        image=None if function.image is None else function.image.uri,
        image_config=_image_settings(function),
        environment=function.environment,
        timeout=function.timeout_s,
        memory=function.memory_mib,
        concurrency=function.concurrency,
        replicas=function.replicas,
        reserved_concurrency=function.reserved_concurrency,
        auth=function.auth,
        layers=[layer.arn for layer in function.layers],
        logging_config=_logging(function),
        hash=function.hash,
        url=f"{base_url}/{function.hash}",
        state=status.state,
        state_reason=status.reason,
        revision=function.revision,
        code_sha256=function.code.sha256,
        code_size=function.code.size,
        created_at=function.created_at,
        updated_at=function.updated_at,
    )


def _logging(function: Function) -> LoggingView:
    return LoggingView(
        log_format=function.aws.log_format,
        application_log_level=function.aws.application_log_level,
        system_log_level=function.aws.system_log_level,
    )


def _image_settings(function: Function) -> ImageSettingsView | None:
    if function.image is None:
        return None
    config = function.image.config
    return ImageSettingsView(
        entry_point=list(config.entry_point),
        command=list(config.command),
        working_directory=config.working_directory,
    )


def version_view(described: Described) -> VersionView:
    function = described.function
    return VersionView(
        function=function.id,
        version=function.version,
        description=function.description,
        runtime=function.runtime,
        handler=function.handler,
        image=None if function.image is None else function.image.uri,
        image_config=_image_settings(function),
        environment=function.environment,
        timeout=function.timeout_s,
        memory=function.memory_mib,
        concurrency=function.concurrency,
        logging_config=_logging(function),
        state=described.status.state,
        state_reason=described.status.reason,
        code_sha256=function.code.sha256,
        code_size=function.code.size,
        published_at=function.updated_at,
    )


def alias_view(described: DescribedAlias, base_url: str) -> AliasView:
    alias = described.alias
    before = alias.before
    return AliasView(
        function=alias.function_id,
        name=alias.name,
        description=alias.description,
        version=alias.target.version,
        routing=alias.target.weights,
        previous=None if before is None else AliasTarget(version=before.version, routing=before.weights),
        state=described.status.state,
        state_reason=described.status.reason,
        hash=alias.hash,
        url=f"{base_url}/{alias.hash}",
        revision=alias.revision,
        created_at=alias.created_at,
        updated_at=alias.updated_at,
    )


def function_url_view(described: DescribedUrl, base_url: str) -> FunctionUrlView:
    config = described.config
    settings, cors = config.url.settings, config.url.settings.cors
    return FunctionUrlView(
        function=described.function_id,
        alias=described.alias,
        url=f"{base_url}/{described.hash}",
        auth_type=config.url.auth_type,
        open=described.is_open,
        invoke_mode="RESPONSE_STREAM" if settings.streams else "BUFFERED",
        cors=None
        if cors is None
        else CorsView(
            allow_origins=_texts(cors.allow_origins),
            allow_methods=_texts(cors.allow_methods),
            allow_headers=_texts(cors.allow_headers),
            expose_headers=_texts(cors.expose_headers),
            max_age=cors.max_age_s,
            allow_credentials=cors.allow_credentials,
        ),
        created_at=config.created_at,
        updated_at=config.updated_at,
    )


def _texts(given: tuple[str, ...] | None) -> list[str] | None:
    return None if given is None else list(given)


def provisioned_view(function: Function, described: DescribedConfig) -> ProvisionedConcurrencyView:
    config, status = described.config, described.status
    return ProvisionedConcurrencyView(
        function=function.id,
        qualifier=config.qualifier,
        requested=config.requested,
        allocated=status.allocated,
        state=status.state,
        state_reason=status.reason,
        updated_at=config.updated_at,
    )


def event_config_view(function: Function, config: EventInvokeConfig) -> EventConfigView:
    return EventConfigView(
        function=function.id,
        qualifier=config.qualifier,
        maximum_retry_attempts=config.maximum_retry_attempts,
        maximum_event_age=config.maximum_event_age_s,
        on_success=config.on_success,
        on_failure=config.on_failure,
        updated_at=iso_ms(config.updated_at_s),
    )


def layer_view(layer: LayerVersion) -> LayerView:
    return LayerView(
        name=layer.name,
        version=layer.version,
        arn=layer.arn,
        description=layer.description,
        runtimes=list(layer.runtimes),
        architectures=list(layer.architectures),
        license=layer.license,
        size=layer.size,
        unzipped_size=layer.unzipped,
        sha256=layer.sha256,
        created_at=layer.created_at,
    )


def log_view(record: ExecutionRecord) -> LogView:
    return LogView(**{name: getattr(record, name) for name in LogView.__struct_fields__})


def key_view(key: ApiKey) -> KeyView:
    return KeyView(
        id=key.id,
        workspace=key.workspace_id,
        description=key.description,
        aws_access_key_id=key.access_key_id,
        created_at=key.created_at,
    )


def new_key_view(made: NewKey) -> NewKeyView:
    return NewKeyView(
        id=made.key.id,
        workspace=made.key.workspace_id,
        description=made.key.description,
        aws_access_key_id=made.aws.access_key_id,
        created_at=made.key.created_at,
        secret=made.secret,
        aws_secret_access_key=made.aws.secret_access_key,
    )


def console_function(described: Described, runtime: Runtime | None, base_url: str) -> ConsoleFunction:
    """`runtime`: the function's; None: it is not installed any more."""
    function = described.function
    return ConsoleFunction(
        hash=function.hash,
        name=function.name,
        runtime=runtime.runtime if runtime else function.runtime or "image",
        version=runtime.version if runtime else "",
        url=f"{base_url}/{function.hash}",
        auth=function.auth,
        state=described.status.state,
        state_reason=described.status.reason,
        reg_date=function.created_at,
        update_date=function.updated_at,
    )


def console_runtime(entry: RuntimeEntry) -> ConsoleRuntime:
    return ConsoleRuntime(
        name=entry.runtime.name,
        aliases=list(entry.runtime.aliases),
        file=entry.runtime.file,
        sources=list(entry.runtime.sources),
        runtime=entry.runtime.runtime,
        version=entry.runtime.version,
        disabled=entry.runtime.disabled is not None,
        disabled_reason=entry.runtime.disabled,
        deprecated=entry.runtime.deprecated,
        reg_date=entry.reg_date,
        update_date=entry.update_date,
    )


def dead_letter_view(letter: DeadLetter) -> DeadLetterView:
    return DeadLetterView(
        request_id=letter.request_id,
        qualifier=letter.qualifier,
        condition=letter.condition,
        reason=letter.reason,
        attempts=letter.attempts,
        accepted_at=letter.accepted_at,
        ended_at=letter.ended_at,
        event=letter.event,
        answer=letter.answer,
    )
