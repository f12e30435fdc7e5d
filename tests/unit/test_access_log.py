"""examples/access-log: the numbers are right, and no line, however made, breaks it."""

import base64
import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "access-log"
COMMON = '192.0.2.1 - alice [02/Mar/2026:06:25:01 +0000] "GET /a?b=c HTTP/1.1" 200 120'
COMBINED = COMMON + ' "https://www.example.com/" "curl/8 \\"quoted\\""'


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("access_log_example", EXAMPLE / "code.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def answer(example: ModuleType, body: str, **headers: str) -> dict[str, Any]:
    result: dict[str, Any] = example.handler({"body": body, "headers": headers}, None)
    return result


def report(example: ModuleType, *lines: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(answer(example, "\n".join(lines))["body"])
    return found


def line(path: str = "/", status: int = 200, took: str = "") -> str:
    return f'192.0.2.1 - - [02/Mar/2026:06:25:01 +0000] "GET {path} HTTP/1.1" {status} 10 "-" "-" {took}'.strip()


def test_counts_statuses_paths_and_bytes(example: ModuleType) -> None:
    """Both formats are read, query strings are cut off, and the report is ordered."""
    found = report(example, COMMON, COMBINED, line("/b", 503), "")
    assert (found["lines"], found["requests"], found["malformed"], found["bytes"]) == (3, 3, 0, 250)
    assert found["statuses"] == {"200": 2, "503": 1}
    assert [(top["path"], top["requests"], top["server_errors"]) for top in found["top_paths"]] == [
        ("/a", 2, 0),
        ("/b", 1, 1),
    ]
    assert found["from"] == found["to"] == "2026-03-02T06:25:01+00:00"
    assert found["latency_ms"] is None


def test_percentiles_are_nearest_rank(example: ModuleType) -> None:
    """Of 1 to 100 ms, p95 is 95 ms: a value that was measured, not one in between."""
    found = report(example, *(line(took=f"{ms / 1000:.3f}") for ms in range(100, 0, -1)))
    assert found["latency_ms"] == {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "max": 100.0}


def test_a_whole_number_is_microseconds(example: ModuleType) -> None:
    """Apache's %D and nginx's $request_time say the same."""
    assert report(example, line(took="34000"))["latency_ms"] == report(example, line(took="0.034"))["latency_ms"]
    assert report(example, line(took="-"))["latency_ms"] is None


def test_at_most_ten_paths(example: ModuleType) -> None:
    """The most frequent ones; the alphabet decides between equals."""
    found = report(example, *(line(f"/{number:02}") for number in range(30)), line("/29"))
    assert [top["path"] for top in found["top_paths"]] == ["/29"] + [f"/{number:02}" for number in range(9)]


@pytest.mark.parametrize(
    "bad",
    [
        "nonsense",
        COMMON[:40],
        COMMON.replace("Mar", "Foo"),
        COMMON.replace("02/", "31/").replace("Mar", "Feb"),
        COMMON.replace("200 120", "2000 120"),
        COMMON.replace("120", "9" * 5000),
        line(took="9" * 400 + ".0"),
        line(took="soon"),
        '{"status": 200}',
        "\x00\ufffd",
    ],
)
def test_malformed_lines_are_counted(example: ModuleType, bad: str) -> None:
    """One bad line costs one count and nothing else."""
    found = report(example, COMMON, bad)
    assert (found["lines"], found["requests"], found["malformed"]) == (2, 1, 1)


@pytest.mark.parametrize("request_line", ["", "\\x16\\x03\\x01", "GET /", "-", 'GET /a\\"b HTTP/1.1'])
def test_odd_request_lines_are_requests(example: ModuleType, request_line: str) -> None:
    """What a scanner sent is still a request with a status."""
    found = report(example, COMMON.replace("GET /a?b=c HTTP/1.1", request_line))
    assert (found["requests"], found["malformed"]) == (1, 0)


def test_hostile_lines_take_linear_time(example: ModuleType) -> None:
    """A megabyte that almost matches is refused in well under a second, and would take hours."""
    started = time.perf_counter()
    found = report(example, '1 - - [x] "' + '\\"' * 500_000, '1 - - [x] "' + "a" * 1_000_000, "1 " * 500_000)
    assert found["malformed"] == 3
    assert time.perf_counter() - started < 20


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html; charset=utf-8"),
        ("text/html;q=0.4, application/json;q=0.5", "application/json"),
        ("application/json", "application/json"),
        ("*/*", "application/json"),
        ("", "application/json"),
        (";;q=,,=", "application/json"),
    ],
)
def test_accept_chooses_the_form(example: ModuleType, accept: str, content_type: str) -> None:
    """Browsers get the page, everything else JSON."""
    answered = answer(example, line(took="0.010"), accept=accept)
    assert answered["statusCode"] == 200
    assert answered["headers"]["content-type"] == content_type


def test_the_page_escapes_what_strangers_sent(example: ModuleType) -> None:
    """A path with markup is shown, not run."""
    body = answer(example, line("/<script>alert(1)</script>"), accept="text/html")["body"]
    assert "<script>" not in body
    assert "/&lt;script&gt;alert(1)&lt;/script&gt;" in body


def test_a_log_without_a_good_line_has_a_page(example: ModuleType) -> None:
    """Nothing is divided by no requests."""
    assert "1 of 1 lines could not be read" in answer(example, "nonsense", accept="text/html")["body"]


def test_a_base64_body_is_read(example: ModuleType) -> None:
    """curl --data-binary without a text type arrives as Base64; bytes that are no UTF-8 do no harm."""
    body = base64.b64encode(b"\xff\xfe\n" + COMMON.encode()).decode()
    found = json.loads(example.handler({"body": body, "isBase64Encoded": True}, None)["body"])
    assert (found["requests"], found["malformed"]) == (1, 1)


@pytest.mark.parametrize("event", [{}, {"body": None, "headers": None}, {"body": " \n"}])
def test_an_empty_body_says_what_to_send(example: ModuleType, event: dict[str, Any]) -> None:
    """A GET in a browser gets a sentence, not a trace."""
    answered = example.handler(event, None)
    assert answered["statusCode"] == 400
    assert "POST" in json.loads(answered["body"])["message"]


def test_the_sample_is_what_its_script_writes(example: ModuleType) -> None:
    """The sample is synthetic and says how it was made; the report on it has everything in it."""
    made = subprocess.run([ROOT / "hack" / "make-access-log"], capture_output=True, check=True, text=True).stdout
    assert made == (EXAMPLE / "access.log").read_text()
    found = report(example, made)
    assert found["lines"] == 4000
    assert 0 < found["malformed"] < 40
    assert len(found["top_paths"]) == 10
    assert found["latency_ms"]["p50"] < found["latency_ms"]["p99"]
