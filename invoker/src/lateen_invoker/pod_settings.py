"""Settings of an invoker in a pod, from its environment; the function itself is in `pod_configure.py`.

`LATEEN_` and the field's name in capitals, but for those that are shared with other programs of a deployment. The
stores' clients read variables of their own: `AWS_REGION`, `AWS_ENDPOINT_URL_S3`, `AWS_SHARED_CREDENTIALS_FILE` …,
`HTTPS_PROXY`, and `LATEEN_S3_PATH_STYLE`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from msgspec import Meta, Struct, ValidationError, convert
from msgspec.structs import fields

from lateen_invoker.fetching import DEFAULTS

_SHARED = {"environment": "ENVIRONMENT", "log_level": "LOG_LEVEL", "table": "DYNAMODB_TABLE_NAME"}
TcpPort = Annotated[int, Meta(ge=0, le=65_535)]


class PodSettings(Struct, frozen=True, kw_only=True):
    environment: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")] = "production"
    """What this installation is; in each log line."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_invocations: bool = False
    """One line for each invocation. Off: the execution record says more, and a busy function would fill the node."""
    table: Annotated[str, Meta(min_length=1)]
    """Name of the DynamoDB table of execution records."""
    configure: Path = Path(DEFAULTS["LATEEN_CONFIGURE"])
    """The function, as the controller wrote it down."""
    code: Path = Path(DEFAULTS["LATEEN_CODE"])
    """Folder, which exists, for the function's code; the same path in the runtime container."""
    layers: Path = Path(DEFAULTS["LATEEN_LAYERS"])
    """As `code`, for the function's layers; not there where it has none."""
    code_marker: Path = Path(DEFAULTS["LATEEN_CODE_MARKER"])
    """File that says which code and layers are whole; it must live as long as their folders, and outside of them."""
    fetch_seconds: Annotated[float, Meta(gt=0, le=86_400)] = float(DEFAULTS["LATEEN_FETCH_SECONDS"])
    """How long the object store is asked for the code while it can't be reached."""
    work: Path = Path("/tmp/lateen")  # noqa: S108 - of a container that has /tmp to itself
    """Folder of this process' own, made if absent."""
    host: str = ""
    """Address to listen on; empty: all, of IPv4 and IPv6."""
    port: TcpPort = 8080
    """Calls."""
    operations_port: TcpPort = 9090
    """Metrics and health, without a key."""
    keep_alive_seconds: Annotated[float, Meta(gt=0, le=86_400)] = 620.0
    """How long a connection may be idle: longer than proxies keep one, so that none is closed as it is used again."""
    memory_bytes: Annotated[int, Meta(ge=0)] = 0
    """That the container may have; 0: nobody has said."""
    probe_timeout_seconds: Annotated[float, Meta(gt=0, le=300)] = 1.0
    """`timeoutSeconds` of the readiness probe, which is held for nine tenths of it while the function gets ready."""
    environments: Literal["init", "children"] = "init"
    """Who starts environments: the runtime container's first process, or (for tests) this process itself."""
    init_socket: Path = Path("/run/lateen/init.sock")
    """Where the runtime container's first process finds us."""
    termination_log: Path = Path("/dev/termination-log")
    """What ended this process is written here, if it is there; the kubelet puts it into the pod's status."""

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Empty variables count as unset. Raises: `ValueError` in one line, which names the variable."""
        given: dict[str, Any] = {}
        for field in fields(cls):
            variable = _SHARED.get(field.name, f"LATEEN_{field.name.upper()}")
            text = env.get(variable, "").strip()
            if not text and field.required:
                raise ValueError(f"{variable} is not set")
            if not text:
                continue
            try:
                raw = text.upper() if field.name == "log_level" else text
                given[field.name] = Path(raw) if field.type is Path else convert(raw, field.type, strict=False)
            except ValidationError as exc:
                raise ValueError(f"{variable}: {exc}") from None
        return cls(**given)
