"""Settings of a function under AWS's names. They are part of its one record; but for its role and how it logs, only
AWS's tools know them, and they are of no meaning elsewhere.

Names and shapes are those of AWS's `FunctionConfiguration`. What is absent was never given.
"""

from typing import Literal

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from lateen.domain.errors import InvalidInput
from lateen_invoker.control import SystemLogLevel as SystemLogLevel

LogFormat = Literal["Text", "JSON"]
ApplicationLogLevel = Literal["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"]
DEFAULT_LEVEL: Literal["INFO"] = "INFO"
ROLE = r"^arn:(aws[a-zA-Z-]*)?:iam::[0-9]{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+\Z"
"""Source: the Lambda API's model."""
ROLE_LENGTH = 2048


class LogSettings(Struct, frozen=True, kw_only=True):
    """How a function logs. UNSET: AWS's default, which is INFO where the format is JSON."""

    log_format: LogFormat = "Text"
    application_log_level: ApplicationLogLevel | UnsetType = UNSET
    system_log_level: SystemLogLevel | UnsetType = UNSET


class AwsSettings(Struct, frozen=True, kw_only=True, omit_defaults=True):
    role: str = ""
    """ARN of an IAM role. Checked by its shape and shown; whether code has its credentials is for a cluster to say."""
    runtime: str = ""
    """As it was given: one of the runtime's names."""
    has_environment: bool = False
    """`Environment` was given, though maybe without variables."""
    architectures: tuple[str, ...] = ("x86_64",)
    ephemeral_storage_mib: int = 512
    tracing_mode: str = "PassThrough"
    dead_letter_arn: str | None = None
    snap_start: str = "None"
    log_format: LogFormat = "Text"
    application_log_level: ApplicationLogLevel | None = None
    """Of JSON: what is less is not printed."""
    system_log_level: SystemLogLevel | None = None
    """Of JSON: what the platform says of invocations below that is left out."""
    log_group: str | None = None
    """None: `/aws/lambda/{function name}`."""

    def with_logs(self, logs: LogSettings) -> "AwsSettings":
        """Raises: `InvalidInput` that names the field as the REST API does."""
        levels: dict[str, str | None] = {}
        for name in ("application_log_level", "system_log_level"):
            level = getattr(logs, name)
            if level is not UNSET and logs.log_format != "JSON":
                raise InvalidInput(f"logging_config.{name}", "only beside the format JSON")
            levels[name] = level if level is not UNSET else DEFAULT_LEVEL if logs.log_format == "JSON" else None
        return replace(self, log_format=logs.log_format, **levels)

    @property
    def log_variables(self) -> dict[str, str]:
        """What AWS tells a runtime of that, by the environment."""
        if self.log_format != "JSON":
            return {}
        level = self.application_log_level or DEFAULT_LEVEL
        return {"AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": level}
