"""What the log of an invocation says: what the platform says of it around what the function printed."""

import json
import math
import time
from typing import Any

from lateen_invoker.control import Configure
from lateen_invoker.invocations import Invocation, Outcome, error_document

_NOT_OF_RUNTIMES = {
    "Runtime.ExitError", "Runtime.InvalidEntrypoint", "Runtime.OutOfMemory", "Runtime.StartError",
    "Function.ResponseSizeTooLarge",
}  # fmt: skip


def log_text(invocation: Invocation, configure: Configure) -> str:
    """START, the output, END and REPORT, as AWS prints them; or their counterparts where it logs JSON."""
    request_id = invocation.request_id
    duration_ms = (invocation.ended_at - invocation.started_at) * 1000
    output = invocation.log.decode("utf-8", "replace")
    if output and not output.endswith("\n"):
        output += "\n"
    if configure.system_log_level is not None:
        return _json_text(invocation, configure, output)
    init = invocation.init_duration_ms
    if invocation.status == "timeout":
        seconds = invocation.deadline - invocation.started_at
        output += f"{timestamp(time.time())} {request_id} Task timed out after {seconds:.2f} seconds\n"
    elif invocation.status == "error" and invocation.outcome is not None:
        output += _said_for_it(invocation.outcome)
    return (
        f"START RequestId: {request_id} Version: {configure.version}\n{output}"
        f"END RequestId: {request_id}\n"
        f"REPORT RequestId: {request_id}\tDuration: {duration_ms:.2f} ms\t"
        f"Billed Duration: {math.ceil(duration_ms)} ms\t"
        f"Memory Size: {configure.memory_mib} MB\tMax Memory Used: {mib(invocation.peak_memory_kib)} MB\t"
        + (f"Init Duration: {init:.2f} ms\t" if init is not None else "")
        + "\n"
    )


def _said_for_it(outcome: Outcome) -> str:
    """What a runtime could not say itself, for it has ended or knows nothing of it: the message and AWS's name."""
    kind = outcome.error_type
    if kind not in _NOT_OF_RUNTIMES and not kind.startswith("Extension."):
        return ""
    return f"{error_document(outcome.body).message}\n{kind}\n"


def _json_text(invocation: Invocation, configure: Configure, output: str) -> str:
    """`platform.start` and `platform.report` around it. Those of less than the level are left out, as AWS rates them.

    Source: AWS Lambda Telemetry API, Event schema reference.
    """
    level = configure.system_log_level
    duration_ms = (invocation.ended_at - invocation.started_at) * 1000
    begun_s = invocation.arrived_s + invocation.started_at - invocation.queued_at
    start = report = ""
    if level != "WARN":
        record: dict[str, Any] = {"requestId": invocation.request_id, "version": configure.version}
        start = _event("platform.start", begun_s, record)
    if level != "WARN" or invocation.status != "success":
        metrics = {
            "durationMs": round(duration_ms, 3),
            "billedDurationMs": math.ceil(duration_ms),
            "memorySizeMB": configure.memory_mib,
            "maxMemoryUsedMB": mib(invocation.peak_memory_kib),
        }
        if invocation.init_duration_ms is not None:
            metrics["initDurationMs"] = round(invocation.init_duration_ms, 3)
        record = {"requestId": invocation.request_id, "metrics": metrics, "status": invocation.status}
        if invocation.status == "error" and invocation.outcome is not None:
            record["errorType"] = error_document(invocation.outcome.body).type
        report = _event("platform.report", begun_s + duration_ms / 1000, record)
    return start + output + report


def _event(kind: str, time_s: float, record: dict[str, Any]) -> str:
    return json.dumps({"time": timestamp(time_s), "type": kind, "record": record}, separators=(",", ":")) + "\n"


def mib(kib: int) -> int:
    return -(-kib // 1024)


_last_second, _last_text = 0, ""


def timestamp(now_s: float) -> str:
    """`2026-01-31T23:59:59.123Z`."""
    # The part before the dot is made once a second.
    global _last_second, _last_text
    second = int(now_s)
    if second != _last_second:
        _last_second, _last_text = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
    return f"{_last_text}.{int((now_s - second) * 1000):03d}Z"
