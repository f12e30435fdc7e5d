"""Functions and their versions, as callers see them."""

from typing import Annotated

from msgspec import Meta, Struct

from lateen.api.fields import Hash, Id, Timestamp
from lateen.domain.aws_settings import ApplicationLogLevel, LogFormat, SystemLogLevel
from lateen.domain.functions import Auth, Described, Function, State


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
    role: str | None
    """ARN of an IAM role. Null: none."""
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
    layers: list[str]
    """ARNs of layer versions, in the order in which they are unpacked."""
    logging_config: LoggingView
    role: str | None
    state: State
    """`Active` also where it sleeps: a call starts it."""
    state_reason: str | None
    code_sha256: str
    """Of the zip, hex. Of an image its digest, when that is known: see `state`."""
    code_size: int
    """Of the zip, bytes."""
    published_at: Timestamp
    """Of `$LATEST`, when it was changed."""


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
        role=function.aws.role or None,
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
        layers=[layer.arn for layer in function.layers],
        logging_config=_logging(function),
        role=function.aws.role or None,
        state=described.status.state,
        state_reason=described.status.reason,
        code_sha256=function.code.sha256,
        code_size=function.code.size,
        published_at=function.updated_at,
    )
