"""Records of invocations, as callers see them."""

from msgspec import Struct

from lateen.api.fields import Id, Timestamp
from lateen_invoker.records import ErrorDocument, ExecutionRecord, Status


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


def log_view(record: ExecutionRecord) -> LogView:
    return LogView(**{name: getattr(record, name) for name in LogView.__struct_fields__})
