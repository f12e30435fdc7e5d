"""Settings of the platform, from the environment. Read once, where the process starts; nothing else looks there.

Names without a prefix are shared with other programs of a deployment: `ENVIRONMENT`, `LOG_LEVEL`, `CORS_ORIGINS`,
`AWS_REGION`, `WORKER_CONCURRENCY`. All others are `LATEEN_` and the field's name in capitals.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from msgspec import Meta, Struct, ValidationError, convert
from msgspec.structs import fields

from lateen.gateway.proxies import Proxies
from lateen.ports.queue import TENANT_LIMIT_BYTES

_SHARED = {
    "environment": "ENVIRONMENT",
    "log_level": "LOG_LEVEL",
    "cors_origins": "CORS_ORIGINS",
    "region": "AWS_REGION",
    "table": "DYNAMODB_TABLE_NAME",
    "bucket": "S3_BUCKET_NAME",
    "worker_concurrency": "WORKER_CONCURRENCY",
}
_LISTS = frozenset({"cors_origins", "hosts", "trusted_proxies", "secret_labels"})
_SWITCHES = frozenset({"sandbox", "s3_path_style", "create_table", "create_bucket"})
_PATHS = frozenset({"data", "runtimes", "secrets", "functions_config", "redis_url_file", "redis_password_file"})

Seconds = Annotated[float, Meta(gt=0, le=86_400)]


class BadSetting(Exception):
    """A variable's value is refused. The text names the variable and says what it may be."""


class Settings(Struct, frozen=True, kw_only=True):
    environment: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")] = "development"
    """What this installation is: `development`, `production` …; in each log line."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["", "json", "text"] = ""
    """Empty: text where `environment` is `development`, else JSON."""
    cors_origins: tuple[str, ...] = ()
    """Web origins whose pages may call the management API: `https://console.example.org`, comma-separated; `*`: all."""
    region: Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,32}\Z")] = "us-east-1"
    data: Path = Path(".lateen")
    """The folder of the embedded stores."""
    runtimes: Path | None = None
    """The folder with the runtimes; unset: the checkout's own."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8000
    """TCP port to listen on; 0: the kernel chooses one."""
    hosts: tuple[str, ...] = ()
    """Further host names, comma-separated, by which the management API may be addressed beside localhost; `*`: any."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks of proxies, comma-separated, whose `X-Forwarded-For`, `-Proto` and `-Port` are believed."""
    url: str = ""
    """What functions' URLs begin with; empty: `http://127.0.0.1:{port}`."""
    retention_days: Annotated[int, Meta(ge=1, le=3650)] = 7
    """Days that execution records are kept."""
    idle_seconds: Seconds = 600.0
    """Seconds without a call after which a function's processes end."""
    sandbox: bool = True
    """False: all code is trusted, environments are plain child processes."""
    build_seconds: Seconds = 600.0
    """Seconds that a build of a function's code may take."""
    worker_concurrency: Annotated[int, Meta(ge=1, le=1000)] = 10
    """Asynchronous invocations that run at a time, for each worker."""
    queue_workspace_mib: Annotated[int, Meta(ge=1, le=1_048_576)] = TENANT_LIMIT_BYTES // 1024**2
    """MiB that the asynchronous invocations of one workspace may have while they wait; each counts 256 bytes more than
    it has."""
    header_seconds: Seconds = 10.0
    """Seconds that a caller may take for a request's head."""
    body_seconds: Seconds = 30.0
    """Seconds that a caller may take for a request's body, plus one for every 16 KiB of it."""
    keep_alive_seconds: Seconds = 75.0
    """Seconds that a connection may be idle between requests."""
    store_seconds: Seconds = 2.0
    """Seconds that a store may take to answer the readiness check."""
    drain_seconds: Seconds = 30.0
    """Seconds that running requests may take after SIGTERM."""
    drain_lag_seconds: Annotated[float, Meta(ge=0, le=300)] = 0.0
    """Seconds for which new requests are still taken after SIGTERM, already unready; a load balancer's lag."""

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Empty variables count as unset. Raises: `BadSetting`."""
        given: dict[str, Any] = {}
        for field in fields(cls):
            variable = variable_of(field.name)
            if not (text := env.get(variable, "").strip()):
                continue
            try:
                given[field.name] = convert(_raw(field.name, text), field.type, strict=False)
            except (ValidationError, ValueError) as exc:
                raise BadSetting(f"{variable}: {exc}") from exc
        settings = cls(**given)
        for origin in settings.cors_origins:
            if origin != "*" and not _is_origin(origin):
                raise BadSetting(f"CORS_ORIGINS: '{origin}' is not an origin such as https://console.example.org")
        try:
            Proxies(settings.trusted_proxies)
        except ValueError as exc:
            raise BadSetting(f"LATEEN_TRUSTED_PROXIES: {exc}") from exc
        return settings

    @property
    def base_url(self) -> str:
        """Without a slash at its end."""
        return self.url.rstrip("/") or f"http://127.0.0.1:{self.port}"

    @property
    def logs_json(self) -> bool:
        return self.log_format == "json" or (not self.log_format and self.environment != "development")


def variable_of(field: str) -> str:
    """The environment variable of a field."""
    return _SHARED.get(field, f"LATEEN_{field.upper()}")


def _raw(field: str, text: str) -> Any:
    if field in _LISTS:
        return tuple(part.strip().rstrip("/").lower() for part in text.split(",") if part.strip())
    if field == "log_level":
        return text.upper()
    if field in _PATHS:
        return Path(text)
    if field in _SWITCHES and text.lower() in {"no", "off", "yes", "on"}:
        return text.lower() in {"yes", "on"}
    return text


def _is_origin(text: str) -> bool:
    parts = urlsplit(text)
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and text == f"{parts.scheme}://{parts.netloc}"
