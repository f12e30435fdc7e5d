"""The invoker's log lines: JSON whatever they hold, and nothing secret in them."""

import json
import logging
import sys

import pytest

from lateen_invoker.json_log import JsonFormatter


def line(message: str, **extra: object) -> str:
    record = logging.makeLogRecord({"name": "lateen_invoker", "levelname": "INFO", "msg": message, **extra})
    return JsonFormatter(environment="test", facts={"function": "f1"}).format(record)


@pytest.mark.parametrize("text", ["a\nb", "\x1b[31mred", "\u2028", "\ud800", "\x9b", '"', "{}"])
def test_whatever_is_said_stays_in_its_line(text: str) -> None:
    """Line breaks of any script and a terminal's commands are escaped, and come back as they were."""
    formatted = line(text, reason=text)
    assert formatted.isprintable()
    assert formatted.isascii()
    assert json.loads(formatted)["message"] == text
    assert json.loads(formatted)["reason"] == text


def test_secrets_are_masked() -> None:
    """Keys, credentials in headers, and the hash that lets anybody call an open function."""
    key = "ltn_" + "a" * 17 + "_" + "0" * 48
    formatted = line(f"{key} Bearer abcdef {'0123456789abcdef' * 2}")
    assert json.loads(formatted)["message"] == "ltn_aaaaaaaaaaaaaaaaa_*** Bearer *** 01234567..."


def test_fields_are_the_platforms() -> None:
    """One reader understands both; a field that a record brings replaces none of them."""
    found = json.loads(line("said", service="forged", level="forged", port=8080))
    assert found["service"] == "invoker"
    assert found["level"] == "INFO"
    assert found["environment"] == "test"
    assert found["function"] == "f1"
    assert found["port"] == 8080
    assert found["timestamp"].endswith("Z")


def test_a_trace_is_a_field() -> None:
    """An exception doesn't break the line that tells of it."""
    try:
        raise ValueError("a\nb")
    except ValueError:
        formatted = line("failed", exc_info=sys.exc_info())
    assert formatted.isprintable()
    assert "ValueError" in json.loads(formatted)["exception"]
