"""What requests hold, and what the use cases are asked then. Wire names differ from ours only here."""

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from lateen.api.fields import (
    NO_NUL,
    AliasVersion,
    Architectures,
    Base64,
    Bucket,
    CodeBuckets,
    CorsHeaders,
    CorsMaxAge,
    CorsMethods,
    CorsOrigins,
    Description,
    DestinationArn,
    Folder,
    Handler,
    Hash,
    Id,
    ImageUri,
    ImageWords,
    InvokeMode,
    LayerArns,
    LayerContent,
    LayerName,
    LayerRuntimes,
    License,
    MaximumEventAge,
    MaximumRetryAttempts,
    Name,
    ObjectText,
    Provisioned,
    RoleArn,
    Routing,
    RuntimeName,
    Variables,
    Version,
)  # fmt: skip
from lateen.domain.aws_settings import (
    ApplicationLogLevel,
    AwsSettings,
    LogFormat,
    LogSettings,
    SystemLogLevel,
)
from lateen.domain.code_places import CodePlace
from lateen.domain.errors import InvalidInput
from lateen.domain.events import EventInvokeChange
from lateen.domain.function_urls import AuthType, FunctionUrl
from lateen.domain.functions import Auth, Concurrency, MemoryMib, Replicas, ReservedConcurrency, TimeoutS
from lateen.domain.images import Image, ImageConfig
from lateen.domain.workspaces import Quota
from lateen.services.aliases import AliasChange
from lateen.services.build_settings import MAX_VALUE, MAX_VARIABLES
from lateen.services.build_settings import NAME as BUILD_VARIABLE
from lateen.services.functions import FunctionChange, NewFunction
from lateen.services.layers import NewLayer
from lateen.services.packages import decode_base64
from lateen_invoker.urls import Cors, UrlSettings


class WorkspaceQuota(Quota, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the workspace's functions may use together, where they run as pods. null: what the installation allows."""


class CreateWorkspace(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: Name
    description: Description = ""
    quota: WorkspaceQuota = WorkspaceQuota()
    code_buckets: CodeBuckets = []


class UpdateWorkspace(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is absent stays as it is; `quota` and `code_buckets` are replaced as a whole."""

    name: Name | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    quota: WorkspaceQuota | UnsetType = UNSET
    code_buckets: CodeBuckets | UnsetType = UNSET


class S3Object(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A zip in one of the workspace's `code_buckets`. It is read once, now."""

    bucket: Bucket
    key: ObjectText
    version: ObjectText | None = None
    """null: the newest."""


class ImageSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is said over an image's own settings; AWS's `ImageConfig`. Empty is the image's own."""

    entry_point: ImageWords = []
    """Without it `/lambda-entrypoint.sh`, which AWS's base images have."""
    command: ImageWords = []
    """The entry point's arguments. With an `entry_point` the image's own are not known, and so there are none."""
    working_directory: Folder = ""


class LoggingSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How it logs; AWS's `LoggingConfig`. Levels are JSON's, and INFO where they are absent; Text has none."""

    log_format: LogFormat = "Text"
    application_log_level: ApplicationLogLevel | UnsetType = UNSET
    """What the function logs below that is not printed."""
    system_log_level: SystemLogLevel | UnsetType = UNSET
    """What is said of its invocations below that is left out; with WARN nothing of those that succeed."""


class CreateFunction(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Either code, as `code` or `code_s3`, and its `runtime`, or an `image`."""

    name: Name
    runtime: RuntimeName | UnsetType = UNSET
    """A whole name (`python3.12`), or the first of a pair (`python`) with `version`."""
    version: Version | None = None
    code: Base64 | UnsetType = UNSET
    code_s3: S3Object | UnsetType = UNSET
    image: ImageUri | UnsetType = UNSET
    """A container image with a client of the Lambda Runtime API, such as those made from AWS's base images."""
    image_config: ImageSettings | UnsetType = UNSET
    handler: Handler | None = None
    """null: the runtime's default."""
    environment: Variables = {}
    timeout: TimeoutS = 3
    """Seconds."""
    memory: MemoryMib = 128
    """MiB per environment."""
    concurrency: Concurrency = 10
    """Environments a pod, each with one event at a time."""
    replicas: Replicas = 1
    reserved_concurrency: ReservedConcurrency | None = None
    """Events that run at a time, at most, over all pods and versions; 0: none. null: no limit of its own. Those of a
    workspace's functions add up to 900 at most."""
    auth: Auth = "none"
    """Who may call its URL: whoever knows it, or the workspace's keys."""
    description: Description = ""
    layers: LayerArns = []
    logging_config: LoggingSettings = LoggingSettings()
    role: RoleArn | None = None


class UpdateFunction(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is absent stays as it is; `environment` and `layers` are replaced as a whole."""

    name: Name | UnsetType = UNSET
    runtime: RuntimeName | UnsetType = UNSET
    version: Version | UnsetType | None = UNSET
    code: Base64 | UnsetType = UNSET
    code_s3: S3Object | UnsetType = UNSET
    image: ImageUri | UnsetType = UNSET
    """Of a function that has one. The same again, with a tag, is a new revision: what the tag leads to may be new."""
    image_config: ImageSettings | UnsetType = UNSET
    """Replaced as a whole."""
    handler: Handler | UnsetType | None = UNSET
    environment: Variables | UnsetType = UNSET
    timeout: TimeoutS | UnsetType = UNSET
    memory: MemoryMib | UnsetType = UNSET
    concurrency: Concurrency | UnsetType = UNSET
    replicas: Replicas | UnsetType = UNSET
    reserved_concurrency: ReservedConcurrency | UnsetType | None = UNSET
    auth: Auth | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    layers: LayerArns | UnsetType = UNSET
    logging_config: LoggingSettings | UnsetType = UNSET
    """Replaced as a whole."""
    role: RoleArn | UnsetType | None = UNSET
    """null: none."""


class PublishLayer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Either `content` or `content_s3`."""

    name: LayerName
    content: LayerContent | UnsetType = UNSET
    content_s3: S3Object | UnsetType = UNSET
    description: Description = ""
    runtimes: LayerRuntimes = []
    """What it is said to be for; nothing is refused for that."""
    architectures: Architectures = []
    license: License = ""


class PublishVersion(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    description: Description | None = None
    """null: the function's."""


class PutAlias(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is absent stays as it is, of a new alias empty; but for `routing`, which is replaced as a whole."""

    version: AliasVersion
    routing: Routing = {}
    description: Description | UnsetType = UNSET


class CorsSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may read answers in a browser; null is not said. Preflights are answered without the function then."""

    allow_origins: CorsOrigins | None = None
    allow_methods: CorsMethods | None = None
    allow_headers: CorsHeaders | None = None
    expose_headers: CorsHeaders | None = None
    max_age: CorsMaxAge | None = None
    allow_credentials: bool | None = None


class PutFunctionUrl(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is absent is the default again."""

    auth_type: AuthType
    """`NONE` lets everybody call it, `AWS_IAM` who signs with a key pair of the workspace."""
    invoke_mode: InvokeMode = "BUFFERED"
    """`RESPONSE_STREAM`: what the function streams goes out as it comes."""
    cors: CorsSettings | None = None
    """null: that is the function's own business, preflights included."""


class PutProvisionedConcurrency(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    requested: Provisioned
    """Environments that are kept started."""


class PutEventConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is absent or null is the default again."""

    maximum_retry_attempts: MaximumRetryAttempts | None = None
    """After an error of the function."""
    maximum_event_age: MaximumEventAge | None = None
    """Seconds after which an event is given up that there was no room for."""
    on_success: DestinationArn | None = None
    """ARN of the function that is told of what succeeded."""
    on_failure: DestinationArn | None = None
    """ARN of the function that is told of what was given up."""


class UpdateBuildSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    variables: Annotated[
        dict[
            Annotated[str, Meta(pattern=BUILD_VARIABLE)],
            Annotated[str, Meta(max_length=MAX_VALUE, pattern=NO_NUL)] | None,
        ],
        Meta(max_length=MAX_VARIABLES),
    ]
    """What is absent stays as it is, null removes. Their names begin as the runtimes' tools want it: `PIP_INDEX_URL`,
    `NPM_CONFIG_REGISTRY`, `GOPROXY`."""


class CreateKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    workspace: Id | None = None
    """Null: a key like the one that asks, of its workspace or of the whole installation."""
    description: Description = ""


class ConsoleCreate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: Name
    file: Annotated[
        str, Meta(min_length=1, pattern=NO_NUL, examples=["def handler(event, context):\n    return 'hello'\n"])
    ]
    """Source text, or Base64 of source or of a zip."""
    runtime: RuntimeName
    version: Version | None = None


class ConsoleUpdate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    hash: Hash
    name: Name | UnsetType = UNSET
    file: Annotated[str, Meta(min_length=1, pattern=NO_NUL)] | UnsetType = UNSET
    runtime: RuntimeName | UnsetType = UNSET
    version: Version | UnsetType | None = UNSET


def new_function(asked: CreateFunction) -> NewFunction:
    """Raises: `InvalidInput`, `TooLarge` for the code."""
    return NewFunction(
        name=asked.name,
        runtime=None if asked.runtime is UNSET else asked.runtime,
        version=asked.version,
        code=None if (code := _code_of(asked)) is UNSET else code,
        image=_image_of(asked),
        handler=asked.handler,
        environment=asked.environment,
        timeout_s=asked.timeout,
        memory_mib=asked.memory,
        concurrency=asked.concurrency,
        replicas=asked.replicas,
        reserved_concurrency=asked.reserved_concurrency,
        auth=asked.auth,
        description=asked.description,
        layers=asked.layers,
        aws=AwsSettings(role=asked.role or "").with_logs(_logs(asked.logging_config)),
    )


def _logs(asked: LoggingSettings) -> LogSettings:
    return LogSettings(
        log_format=asked.log_format,
        application_log_level=asked.application_log_level,
        system_log_level=asked.system_log_level,
    )


def _code_of(asked: CreateFunction | UpdateFunction) -> bytes | CodePlace | UnsetType:
    if asked.code_s3 is UNSET:
        return UNSET if asked.code is UNSET else decode_base64(asked.code)
    if asked.code is not UNSET:
        raise InvalidInput("code_s3", "not beside `code`")
    return _place_of(asked.code_s3)


def _place_of(asked: S3Object) -> CodePlace:
    return CodePlace(bucket=asked.bucket, key=asked.key, version=asked.version)


def _image_of(asked: CreateFunction) -> Image | None:
    if asked.image is UNSET:
        if asked.image_config is not UNSET:
            raise InvalidInput("image_config", "only beside `image`")
        return None
    return Image(
        uri=asked.image, config=ImageConfig() if asked.image_config is UNSET else _image_config(asked.image_config)
    )


def _image_config(asked: ImageSettings) -> ImageConfig:
    return ImageConfig(
        entry_point=tuple(asked.entry_point),
        command=tuple(asked.command),
        working_directory=asked.working_directory,
    )


def alias_change(asked: PutAlias) -> AliasChange:
    return AliasChange(version=asked.version, weights=asked.routing, description=asked.description)


def function_url(asked: PutFunctionUrl) -> FunctionUrl:
    return FunctionUrl(
        auth_type=asked.auth_type,
        settings=UrlSettings(
            streams=asked.invoke_mode == "RESPONSE_STREAM", cors=None if asked.cors is None else _cors(asked.cors)
        ),
    )


def _cors(asked: CorsSettings) -> Cors | None:
    """None where nothing is said."""
    cors = Cors(
        allow_origins=_texts(asked.allow_origins),
        allow_methods=_texts(asked.allow_methods),
        allow_headers=_texts(asked.allow_headers),
        expose_headers=_texts(asked.expose_headers),
        max_age_s=asked.max_age,
        allow_credentials=asked.allow_credentials,
    )
    return None if cors == Cors() else cors


def _texts(given: list[str] | None) -> tuple[str, ...] | None:
    return None if given is None else tuple(given)


def event_config_change(asked: PutEventConfig) -> EventInvokeChange:
    return EventInvokeChange(
        maximum_retry_attempts=asked.maximum_retry_attempts,
        maximum_event_age_s=asked.maximum_event_age,
        on_success=asked.on_success,
        on_failure=asked.on_failure,
    )


def function_change(asked: UpdateFunction) -> FunctionChange:
    """Raises: `InvalidInput`, `TooLarge` for the code."""
    return FunctionChange(
        name=asked.name,
        runtime=asked.runtime,
        version=asked.version,
        code=_code_of(asked),
        image_uri=asked.image,
        image_config=UNSET if asked.image_config is UNSET else _image_config(asked.image_config),
        handler=asked.handler,
        environment=asked.environment,
        timeout_s=asked.timeout,
        memory_mib=asked.memory,
        concurrency=asked.concurrency,
        replicas=asked.replicas,
        reserved_concurrency=asked.reserved_concurrency,
        auth=asked.auth,
        description=asked.description,
        layers=asked.layers,
        logs=UNSET if asked.logging_config is UNSET else _logs(asked.logging_config),
        role=UNSET if asked.role is UNSET else asked.role or "",
    )


def new_layer(asked: PublishLayer) -> NewLayer:
    """Raises: `InvalidInput`, `TooLarge` for the content."""
    return NewLayer(
        name=asked.name,
        content=_content_of(asked),
        description=asked.description,
        runtimes=tuple(asked.runtimes),
        architectures=tuple(asked.architectures),
        license=asked.license,
    )


def _content_of(asked: PublishLayer) -> bytes | CodePlace:
    if asked.content is not UNSET and asked.content_s3 is UNSET:
        return decode_base64(asked.content, "content")
    if asked.content_s3 is UNSET or asked.content is not UNSET:
        raise InvalidInput("content", "either this or `content_s3` is required")
    return _place_of(asked.content_s3)
