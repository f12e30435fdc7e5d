"""Access log: what a web server's log says, as JSON or as a page.

Send a log in Apache's common or combined format (nginx writes the same) as the body of a POST. A number after the
last field is taken as the time that the request took: with a decimal point seconds (nginx's `$request_time`), without
one microseconds (Apache's `%D`). Lines of any other form are counted and left out. Standard library only.
"""

import base64
import html
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, NamedTuple

TOP_PATHS = 10
PERCENTILES = (50, 90, 95, 99)
USAGE = "send a web server's log as the body of a POST: curl --data-binary @access.log URL"
NOT_HTTP = "(not HTTP)"
"""Stands for the path where the request line is none: TLS on the plain port, scanners, an empty line."""

# Each alternative begins with another character, so that no line, however made, takes more than one pass.
_TEXT = r'"((?:[^"\\]|\\.)*)"'
_TIME_TAKEN = r"(\d{1,12}(?:\.\d{1,9})?|-)"
_LINE = re.compile(
    rf"(\S+) \S+ \S+ \[([^\]]+)\] {_TEXT} (\d{{3}}) (\d{{1,15}}|-)(?: {_TEXT} {_TEXT})?(?: {_TIME_TAKEN})?\s*",
    re.ASCII,
)


class Request(NamedTuple):
    """One line of the log. `seconds` is None where the log doesn't say how long it took."""

    time: datetime
    path: str
    status: int
    size: int
    seconds: float | None


def handler(event: Any, context: object) -> dict[str, Any]:
    """Answers a function URL's event, or one that only has `body`."""
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    text = _body_of(event)
    if not text.strip():
        return _answer(400, "application/json", json.dumps({"message": USAGE}))
    report = report_on(text.splitlines())
    if _prefers_html(headers.get("accept", "")):
        return _answer(200, "text/html; charset=utf-8", page(report))
    return _answer(200, "application/json", as_json(report))


def parse(line: str) -> Request | None:
    """The request that a line tells of, or None if it is no line of an access log."""
    if (found := _LINE.fullmatch(line)) is None:
        return None
    _client, when, request, status, size, _referrer, _agent, took = found.groups()
    try:
        time = datetime.strptime(when, "%d/%b/%Y:%H:%M:%S %z")
    except ValueError:
        return None
    words = request.split(" ")
    path = words[1].partition("?")[0] if len(words) == 3 and words[2].startswith("HTTP/") else NOT_HTTP
    return Request(time, path, int(status), 0 if size == "-" else int(size), _seconds(took))


def report_on(lines: Iterable[str]) -> dict[str, Any]:
    """What the page and the JSON show. Times are in milliseconds, sizes in bytes; blank lines don't count."""
    count = malformed = size = 0
    first = last = None
    statuses: Counter[int] = Counter()
    paths: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    all_ms: list[float] = []
    ms_of: defaultdict[str, list[float]] = defaultdict(list)
    for line in filter(str.strip, lines):
        count += 1
        if (request := parse(line)) is None:
            malformed += 1
            continue
        first = min(first or request.time, request.time)
        last = max(last or request.time, request.time)
        size += request.size
        statuses[request.status] += 1
        paths[request.path] += 1
        errors[request.path] += request.status >= 500
        if request.seconds is not None:
            all_ms.append(request.seconds * 1000)
            ms_of[request.path].append(request.seconds * 1000)
    # Of paths that are equally frequent the alphabet decides, so that one log always gives one report.
    top = sorted(paths.items(), key=lambda item: (-item[1], item[0]))[:TOP_PATHS]
    return {
        "lines": count,
        "malformed": malformed,
        "requests": count - malformed,
        "from": first.isoformat() if first else None,
        "to": last.isoformat() if last else None,
        "bytes": size,
        "statuses": {str(status): statuses[status] for status in sorted(statuses)},
        "top_paths": [
            {"path": path, "requests": requests, "server_errors": errors[path], "latency_ms": _latency(ms_of[path])}
            for path, requests in top
        ],
        "latency_ms": _latency(all_ms),
    }


def percentile(ordered: list[float], percent: int) -> float:
    """The smallest value that at least `percent` of `ordered` (ascending, not empty) do not exceed: nearest rank."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def as_json(report: dict[str, Any]) -> str:
    """One line a fact and one a path, so that the whole report fits on a screen."""
    fields = []
    for name, value in report.items():
        text = json.dumps(value)
        if isinstance(value, list) and value:
            text = "[\n" + ",\n".join(f"    {json.dumps(entry)}" for entry in value) + "\n  ]"
        fields.append(f"  {json.dumps(name)}: {text}")
    return "{\n" + ",\n".join(fields) + "\n}\n"


def page(report: dict[str, Any]) -> str:
    """The report as one HTML page that loads nothing. Paths come from strangers: all text is escaped."""
    statuses = "".join(
        _row(status, number, bar=number / report["requests"]) for status, number in report["statuses"].items()
    )
    paths = "".join(
        _row(entry["path"], entry["requests"], entry["server_errors"], _ms(entry["latency_ms"], "p50"),
             _ms(entry["latency_ms"], "p95"))
        for entry in report["top_paths"]
    )  # fmt: skip
    columns = [f"p{percent}" for percent in PERCENTILES] + ["max"]
    latency = (
        f"<table><tr>{_cells('th', columns)}</tr>{_row(*(_ms(report['latency_ms'], key) for key in columns))}</table>"
    )
    span = f"{report['from']} to {report['to']}" if report["from"] else "no request"
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Access log</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 56rem; margin: 2rem auto; padding: 0 1rem; color: #1b2733 }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ padding: .3rem .6rem; text-align: right; border-bottom: 1px solid #d9e0e6 }}
th:first-child, td:first-child {{ text-align: left; overflow-wrap: anywhere }}
td.bar {{ width: 50%; text-align: left }} td.bar i {{ display: block; height: .8rem; background: #2f6f9f }}
</style>
<h1>Access log</h1>
<p>{report["requests"]:,} requests, {report["bytes"]:,} bytes, {html.escape(span)}.
{report["malformed"]:,} of {report["lines"]:,} lines could not be read.</p>
<h2>Statuses</h2><table><tr>{_cells("th", ["status", "requests", ""])}</tr>{statuses}</table>
<h2>Top paths</h2><table><tr>{_cells("th", ["path", "requests", "5xx", "p50", "p95"])}</tr>{paths}</table>
<h2>Latency</h2>{latency if report["latency_ms"] else "<p>The log has no request times.</p>"}
"""


def _body_of(event: dict[str, Any]) -> str:
    body = event.get("body") or ""
    if event.get("isBase64Encoded"):
        return base64.b64decode(body).decode("utf-8", "replace")
    return str(body)


def _prefers_html(accept: str) -> bool:
    """Whether `Accept` names HTML, and JSON no earlier than it. Browsers do; curl and scripts don't."""
    weights = dict(_weights(accept))
    return weights.get("text/html", 0.0) > weights.get("application/json", 0.0)


def _weights(accept: str) -> Iterator[tuple[str, float]]:
    for entry in accept.lower().split(","):
        kind, _, parameters = entry.partition(";")
        quality = re.search(r"\bq=([01](?:\.\d{0,3})?)\s*(?:;|$)", parameters)
        yield kind.strip(), float(quality[1]) if quality else 1.0


def _seconds(took: str | None) -> float | None:
    if took is None or took == "-":
        return None
    return float(took) if "." in took else int(took) / 1_000_000


def _latency(ms: list[float]) -> dict[str, float] | None:
    if not ms:
        return None
    ms.sort()
    return {f"p{percent}": round(percentile(ms, percent), 1) for percent in PERCENTILES} | {"max": round(ms[-1], 1)}


def _ms(latency: dict[str, float] | None, key: str) -> str:
    return f"{latency[key]:,.1f} ms" if latency else "–"


def _row(*values: object, bar: float | None = None) -> str:
    drawn = "" if bar is None else f'<td class="bar"><i style="width:{bar:.1%}"></i></td>'
    return f"<tr>{_cells('td', values)}{drawn}</tr>"


def _cells(tag: str, values: Iterable[object]) -> str:
    return "".join(f"<{tag}>{html.escape(str(value))}</{tag}>" for value in values)


def _answer(status: int, content_type: str, body: str) -> dict[str, Any]:
    headers = {
        "content-type": content_type,
        "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'",
        "x-content-type-options": "nosniff",
    }
    return {"statusCode": status, "headers": headers, "body": body}
