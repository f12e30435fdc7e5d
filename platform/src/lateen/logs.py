"""Logging: one JSON line per event, or one line of text for a person.

Whatever a message or a field holds, it stays inside of its line: JSON escapes it, text is escaped here. As a last
resort keys are masked and a function's hash, which for an open function is permission to call it, is cut.
"""

import logging
import re
import sys
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import IO, Any

import msgspec

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""Of the request that runs; in every line that is logged meanwhile."""

# What a LogRecord has by itself; all else came as `extra`.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
_KEY = re.compile(r"ltn_([a-z2-7]{17})_[0-9a-f]{48}")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[^\s\"',]+")
_HASH_LENGTH = 32
_DIGITS = re.compile(rf"[0-9a-f]{{{_HASH_LENGTH},}}")
_UNSAFE = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_encoder = msgspec.json.Encoder(enc_hook=str, decimal_format="string")


def configure(*, level: str, json: bool, environment: str, service: str, stream: IO[str] | None = None) -> None:
    """Make all of the process log in one way. `stream`: stdout unless given."""
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(JsonFormatter(service=service, environment=environment) if json else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "litestar"):
        logger = logging.getLogger(name)
        logger.handlers[:] = []
        logger.propagate = True
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    # Our own line for each request says more; uvicorn's would hold whole paths.
    logging.getLogger("uvicorn.access").disabled = True
    # Starts and stops are our own lines too.
    for name in ("uvicorn.error", "httpx", "httpcore", "asyncio", "botocore", "boto3", "urllib3", "aiohttp"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def _is_news(record: logging.LogRecord) -> bool:
    """Not that an answer ends early because its function broke it off: the gateway has said so, with the function's id,
    and a function may do it as often as it likes."""
    return record.msg != "ASGI callable returned without completing response."


class JsonFormatter(logging.Formatter):
    def __init__(self, *, service: str, environment: str) -> None:
        super().__init__()
        self._service = service
        self._environment = environment

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "timestamp": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "service": self._service,
            "environment": self._environment,
        }
        if (rid := request_id.get()) is not None:
            line["request_id"] = rid
        for name, value in _extra(record).items():
            line.setdefault(name, value)
        if record.exc_info:
            line["exception"] = _trace(record)
        try:
            return _one_line(_encoder.encode(line))
        except (TypeError, ValueError, UnicodeError, RecursionError):
            return _one_line(_encoder.encode({name: _plain(value) for name, value in line.items()}))


class TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        facts = "".join(f" {name}={_shown(value)}" for name, value in _extra(record).items())
        if (rid := request_id.get()) is not None and "request_id" not in facts:
            facts += f" request_id={_shown(rid)}"
        message = escaped(masked(record.getMessage()))
        text = f"{_time(record)[11:-1]} {record.levelname:<7} {record.name}: {message}{facts}"
        if record.exc_info:
            # Each line of a trace is marked, so that no text in it passes for a line of the log.
            text += "".join(f"\n    | {escaped(line)}" for line in masked(_trace(record)).splitlines())
        return text


def _one_line(encoded: bytes) -> str:
    """JSON escapes what is below a space; further characters move a terminal or end a line for some readers."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", masked(encoded.decode()))


def masked(text: str) -> str:
    """Without keys, and with hashes cut to their first eight digits."""
    text = _KEY.sub(r"ltn_\1_***", text)
    lower = text.lower()
    # A pattern that minds no case looks at each character; nearly no line has these words.
    if "bearer" in lower or "basic" in lower:
        text = _BEARER.sub(r"\1 ***", text)
    return _DIGITS.sub(_cut, text)


def _cut(digits: re.Match[str]) -> str:
    return f"{digits[0][:8]}…" if len(digits[0]) == _HASH_LENGTH else digits[0]


def escaped(text: str) -> str:
    """One line that no terminal obeys: control characters, line breaks of any script and lone surrogates as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _trace(record: logging.LogRecord) -> str:
    assert record.exc_info is not None
    return "".join(traceback.format_exception(*record.exc_info)).rstrip()


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _OWN}


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else str(value)
    text = masked(text)
    return escaped(text) if text.isprintable() and " " not in text and text else escaped(repr(text))


def _plain(value: Any) -> str:
    return str(value).encode("utf-8", "backslashreplace").decode()
