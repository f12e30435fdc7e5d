"""The invoker's log in a pod: one JSON line per event on stdout, as the platform's other parts write theirs.

Whatever a message or a field holds stays inside of its line. As a last resort keys are masked and a function's hash,
which for an open function is permission to call it, is cut.
"""

import json
import logging
import re
import sys
import time
import traceback
from collections.abc import Mapping
from typing import Any

SERVICE = "invoker"
TRACE_LIMIT = 8192
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_KEY = re.compile(r"ltn_([a-z2-7]{17})_[0-9a-f]{48}")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[^\s\"',]+")
_HASH = re.compile(r"(?<![0-9a-f])([0-9a-f]{8})[0-9a-f]{24}(?![0-9a-f])")


class JsonFormatter(logging.Formatter):
    """`facts` are in each line."""

    def __init__(self, *, environment: str, facts: Mapping[str, str]) -> None:
        super().__init__()
        self._constant = {"service": SERVICE, "environment": environment, **facts}

    def format(self, record: logging.LogRecord) -> str:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "timestamp": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **self._constant,
        }
        for name, value in vars(record).items():
            if name not in _OWN:
                line.setdefault(name, value)
        if record.exc_info:
            line["exception"] = "".join(traceback.format_exception(*record.exc_info))[-TRACE_LIMIT:].rstrip()
        # ASCII only: what moves a terminal, or ends a line for some readers, is escaped with the rest.
        return masked(json.dumps(line, default=str, separators=(",", ":")))


def masked(text: str) -> str:
    """Without keys, and with hashes cut to their first eight digits."""
    text = _KEY.sub(r"ltn_\1_***", text)
    text = _BEARER.sub(r"\1 ***", text)
    return _HASH.sub(r"\1...", text)


def log_to_stdout(env: Mapping[str, str], **facts: str) -> None:
    """Make all of the process log so; `ENVIRONMENT` and `LOG_LEVEL` have been checked."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter(environment=env.get("ENVIRONMENT") or "production", facts=facts))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel((env.get("LOG_LEVEL") or "INFO").upper())
    for name in ("asyncio", "botocore", "urllib3"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
