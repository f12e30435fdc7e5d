"""What handlers print and log: the forms of AWS's client, on the pipe that the invoker reads."""

import io
import json
import logging
import os
import sys
import time
import traceback

from lateen_runtime.json_text import to_json


class _Output(io.TextIOWrapper):
    """Nothing stays in a buffer: what was printed is seen even if the process is killed a moment later."""

    def write(self, text):
        written = super().write(text)
        self.flush()
        return written


def open_output():
    sys.stdout = _Output(_to(1), encoding="utf-8", errors="surrogateescape")
    sys.stderr = _Output(_to(2), encoding="utf-8", errors="backslashreplace")


def _to(fd):
    return io.BufferedWriter(io.FileIO(fd, "w", closefd=False))


class _Current:
    request_id = ""


current = _Current()
"""The invocation that runs."""


class LambdaLoggerHandler(logging.Handler):
    def emit(self, record):
        line = self.format(record)
        # A trace comes without a line end; on AWS each record is an event of its own, whatever it ends with.
        sys.stdout.write(line if line.endswith("\n") else line + "\n")


class LambdaLoggerFilter(logging.Filter):
    def filter(self, record):
        record.aws_request_id = current.request_id
        record.tenant_id = None
        return True


_LOG_TIME = "%Y-%m-%dT%H:%M:%SZ"
_NO_EXTRA = frozenset(vars(logging.makeLogRecord({}))) | {"aws_request_id", "tenant_id", "message", "asctime"}
_log_encoder = json.JSONEncoder(ensure_ascii=False, default=str)


class JsonFormatter(logging.Formatter):
    def format(self, record):
        record.levelno = min(50, max(0, record.levelno)) // 10 * 10
        record.levelname = logging.getLevelName(record.levelno)
        line = {
            "timestamp": self.formatTime(record, _LOG_TIME),
            "level": record.levelname,
            "message": record.msg if isinstance(record.msg, dict) and not record.args else record.getMessage(),
            "logger": record.name,
        }
        if record.exc_info:
            error_type, error, trace = record.exc_info
            line["stackTrace"] = traceback.format_tb(trace)
            line["errorType"] = error_type.__name__ if error_type is not None else None
            line["errorMessage"] = str(error)
        line["requestId"] = getattr(record, "aws_request_id", None)
        if record.exc_info:
            line["location"] = f"{record.pathname}:{record.funcName}:{record.lineno}"
        for name, value in vars(record).items():
            if name not in _NO_EXTRA and name not in line:
                line[name] = value
        return _log_encoder.encode({name: value for name, value in line.items() if value is not None}) + "\n"


def _logs_json():
    return os.environ.get("AWS_LAMBDA_LOG_FORMAT", "").upper() == "JSON"


def set_up_logging():
    logging.Formatter.converter = time.gmtime
    handler = LambdaLoggerHandler()
    if _logs_json():
        handler.setFormatter(JsonFormatter())
    else:
        line = "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s\n"
        handler.setFormatter(logging.Formatter(line, "%Y-%m-%dT%H:%M:%S"))
    level = os.environ.get("AWS_LAMBDA_LOG_LEVEL", "").upper()
    level = "DEBUG" if level == "TRACE" else level
    if level in logging.getLevelNamesMapping():
        logging.getLogger().setLevel(level)
    handler.addFilter(LambdaLoggerFilter())
    logging.getLogger().addHandler(handler)


def log_error(document):
    """The error as one event of the log: AWS keeps its lines together by carriage returns and no-break spaces."""
    if _logs_json():
        stamp = time.strftime(_LOG_TIME, time.gmtime())
        sys.stdout.write(to_json({"timestamp": stamp, "level": "ERROR", **document}) + "\n")
        return
    head = "[ERROR]"
    if document["errorType"]:
        head += f" {document['errorType']}"
    if document["errorMessage"]:
        head += f"{':' if document['errorType'] else ''} {document['errorMessage']}"
    lines = [head, "Traceback (most recent call last):"]
    for entry in document["stackTrace"]:
        for line in entry.splitlines() or [""]:
            text = line.lstrip(" ")
            lines.append("\u00a0" * (len(line) - len(text)) + text)
    sys.stdout.write("\r".join(lines) + "\n")
