"""The shape of an execution record: what an invocation leaves behind. Control plane and invoker share it."""

from typing import Literal

from msgspec import Struct

Status = Literal["success", "error", "timeout"]


class ErrorDocument(Struct, frozen=True, omit_defaults=True):
    """A function's error in our words; the caller of an invoke gets the runtime's own document, byte for byte."""

    type: str
    message: str = ""
    trace: list[str] = []


class ExecutionRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One invocation. Times in UTC, durations in milliseconds, memory in MiB."""

    request_id: str
    function_id: str
    version: str
    timestamp: str
    """When the event reached the invoker: `2026-01-31T23:59:59.123Z`, fixed width."""
    status: Status
    duration_ms: float
    """From the event's delivery to the environment until its answer."""
    queued_ms: float = 0.0
    """Time that the caller waited for an environment, its start included."""
    cold: bool = False
    cold_reason: str | None = None
    """Why a new environment was needed: `first`, `scale-up`, `idle`, or `replaced` (the one before was ended)."""
    init_duration_ms: float | None = None
    """Only where `cold`: from the environment's start until it asked for its first event."""
    memory_mib: int = 0
    memory_peak_mib: int = 0
    """Peak resident memory of the environment so far."""
    log_tail: str = ""
    """START, what the function printed, END and REPORT; the output is cut in its middle, with a mark, beyond 64 KiB."""
    log_truncated: bool = False
    error: ErrorDocument | None = None


def sort_key(record: ExecutionRecord) -> str:
    """`LOG#{timestamp}#{log_id}`, given by the data model and ordered by time."""
    return f"LOG#{record.timestamp}#{record.request_id}"
