"""Settings of a function that only AWS's tools know. They are part of its one record, and of no meaning elsewhere.

Names and shapes are those of AWS's `FunctionConfiguration`. What is absent was never given.
"""

from msgspec import Struct


class AwsSettings(Struct, frozen=True, kw_only=True, omit_defaults=True):
    role: str = ""
    """ARN of an IAM role. Checked by its shape and shown; there is no IAM that it would mean anything to."""
    runtime: str = ""
    """As it was given: one of the runtime's names."""
    has_environment: bool = False
    """`Environment` was given, though maybe without variables."""
    architectures: tuple[str, ...] = ("x86_64",)
    ephemeral_storage_mib: int = 512
    tracing_mode: str = "PassThrough"
    dead_letter_arn: str | None = None
    snap_start: str = "None"
    log_format: str = "Text"
    application_log_level: str | None = None
    system_log_level: str | None = None
    log_group: str | None = None
    """None: `/aws/lambda/{function name}`."""
