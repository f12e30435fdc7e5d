"""Logs: one line an event whatever is in it, and no secret in any."""

import io
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import getsource
from typing import Any

import pytest
from uvicorn.protocols.http import httptools_impl

from lateen import logs

SECRET = "ltn_" + "a2" * 8 + "b_" + "0123456789abcdef" * 3
HASH = "0123456789abcdef" * 2


@contextmanager
def logging_to(*, as_json: bool) -> Iterator[io.StringIO]:
    """The root logger, ours for a while."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.StringIO()
    logs.configure(level="INFO", json=as_json, environment="test", service="lateen", stream=stream)
    try:
        yield stream
    finally:
        root.handlers[:] = before
        root.setLevel(level)


log = logging.getLogger("lateen.test")


def json_line(*args: Any, **extra: Any) -> dict[str, Any]:
    with logging_to(as_json=True) as stream:
        log.info(*args, extra=extra)
    (line,) = stream.getvalue().splitlines()
    return dict(json.loads(line))


def test_json() -> None:
    """What every line has, and the facts as fields."""
    token = logs.request_id.set("r1")
    try:
        line = json_line("invocation finished", function="hello", duration_ms=1.5)
    finally:
        logs.request_id.reset(token)
    timestamp = line.pop("timestamp")
    assert len(timestamp) == len("2026-01-31T23:59:59.123Z")
    assert timestamp.endswith("Z")
    assert line == {
        "level": "INFO",
        "logger": "lateen.test",
        "message": "invocation finished",
        "service": "lateen",
        "environment": "test",
        "request_id": "r1",
        "function": "hello",
        "duration_ms": 1.5,
    }


@pytest.mark.parametrize(
    "value",
    [
        "a\nb",
        "\x1b[2J",
        "\x9b2J",
        "\u2028",
        "\u202e",
        "\u2066",
        "\ud800",
        "\x00",
        '"',
        b"x",
        object(),
        {1, 2},
        float("nan"),
    ],
)
def test_any_value_is_one_line(value: Any) -> None:
    """Nothing that a caller sends can begin a line of its own or reach the terminal as a command."""
    line = json_line("said %s", value, field=value)
    assert line["message"].startswith("said ")
    for as_json in (True, False):
        with logging_to(as_json=as_json) as stream:
            log.info("said %s", value, extra={"field": value})
        (text,) = stream.getvalue().split("\n")[:-1]
        assert text.isprintable()


def test_fields_cannot_pass_for_ours() -> None:
    line = json_line("x", level="ERROR", timestamp="now", service="other", logger="other")
    assert (line["level"], line["service"], line["logger"]) == ("INFO", "lateen", "lateen.test")
    assert line["timestamp"] != "now"


def test_secrets_are_masked() -> None:
    """Wherever they are: in a message, a field, a nested one, or a trace; and a hash is cut."""
    nested = {"headers": [f"authorization: Bearer {SECRET}", "Authorization: Basic dXNlcjpwYXNz"]}
    for as_json in (True, False):
        with logging_to(as_json=as_json) as stream:
            log.info("key %s at /%s", SECRET, HASH, extra={"secret": SECRET, "nested": nested, "path": f"/{HASH}/x"})
            try:
                raise ValueError(f"bad key {SECRET}")
            except ValueError:
                log.exception("failed")
        text = stream.getvalue()
        for word in (SECRET, SECRET[-48:], "dXNlcjpwYXNz", HASH):
            assert word not in text
        assert "ltn_a2a2a2a2a2a2a2a2b_***" in text
        assert "/01234567…" in text


def test_a_trace_in_text_is_marked() -> None:
    """No line of it passes for a line of the log."""
    with logging_to(as_json=False) as stream:
        try:
            raise ValueError("first\n12:00:00.000 INFO    lateen: forged\x1b[31m")
        except ValueError:
            log.exception("failed")
    first, *rest = stream.getvalue().splitlines()
    assert "failed" in first
    assert rest
    assert all(line.startswith("    | ") and line.isprintable() for line in rest)


def test_other_loggers_speak_the_same() -> None:
    """The server's too, and not about every request."""
    with logging_to(as_json=True) as stream:
        logging.getLogger("uvicorn.error").warning("careful")
        logging.getLogger("uvicorn.access").info("GET /secret")
        logging.getLogger("httpx").info("HTTP Request")
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["message"] == "careful"


def test_a_function_s_broken_answer_is_told_once() -> None:
    """By the gateway, which knows whose it is; the server's own line about it is left out, whatever its words."""
    words = re.findall(r'msg = "(ASGI callable returned without [^"]*completing[^"]*)"', getsource(httptools_impl))
    assert words
    with logging_to(as_json=True) as stream:
        for text in words:
            logging.getLogger("uvicorn.error").error(text)
        logging.getLogger("uvicorn.error").error("careful")
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["careful"]
