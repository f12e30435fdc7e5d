"""Refusals: one shape for all, a field and a reason where there is one, and nothing of the inside."""

from typing import Any

import httpx
import pytest

from lateen.api import problems
from lateen.domain.errors import LateenError
from lateen.ports.table import TableUnavailable

from .conftest import CODE, Api

# Every module that defines refusals is imported by the composition root.
import lateen.app  # noqa: F401  # isort: skip


@pytest.fixture
def api(shared_api: Api) -> Api:
    return shared_api


def all_subclasses(of: type[Any]) -> set[type[Any]]:
    return {each for sub in of.__subclasses__() for each in {sub} | all_subclasses(sub)}


def test_every_refusal_has_a_row() -> None:
    """A new error of the domain or of a port says here what it is to HTTP."""
    # What the controller says to itself reaches no caller.
    refusals = {e for e in all_subclasses(LateenError) if not e.__module__.startswith("lateen.adapters.kubernetes.")}
    assert refusals | {LateenError} == set(problems.PROBLEMS)
    assert set(problems.PROBLEMS.values()) <= set(problems.SLUGS)


def is_problem(answer: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["type"] == f"urn:lateen:problem:{slug}"
    assert body["status"] == status
    assert body["request_id"] == answer.headers["x-request-id"]
    assert body["title"]
    assert body["detail"]
    assert set(body) <= {"type", "title", "status", "detail", "errors", "error", "request_id"}
    return body


async def test_whole_body(api: Api) -> None:
    """What a program and a person get to see."""
    answer = await api("GET", "/api/workspaces/nothing", headers={"X-Request-Id": "abc-1"})
    assert answer.json() == {
        "type": "urn:lateen:problem:not-found",
        "title": "Not found",
        "status": 404,
        "detail": "no such workspace",
        "request_id": "abc-1",
    }


FUNCTIONS = "/api/workspaces/default/functions"
GOOD = {"name": "f", "runtime": "python3.12", "code": CODE}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": "a b"}, "name"),
        ({"name": ""}, "name"),
        ({"name": "a" * 65}, "name"),
        ({"name": "a\n"}, "name"),
        ({"name": None}, "name"),
        ({"name": 7}, "name"),
        ({"runtime": "cobol"}, "runtime"),
        ({"runtime": "../../etc"}, "runtime"),
        ({"runtime": "python", "version": "2.7"}, "version"),
        ({"code": "not base64!"}, "code"),
        ({"code": ""}, "code"),
        ({"code": "eA"}, "code"),
        ({"code": "AAAA"}, "code"),  # a NUL
        ({"code": "gICA"}, "code"),  # not UTF-8
        ({"code": "UEsDBAAAAAAA"}, "code"),  # begins as a zip
        ({"handler": "/etc/passwd"}, "handler"),
        ({"handler": "../x.y"}, "handler"),
        ({"handler": "a b"}, "handler"),
        ({"handler": "-c.x"}, "handler"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": 901}, "timeout"),
        ({"timeout": "3"}, "timeout"),
        ({"timeout": 3.5}, "timeout"),
        ({"timeout": True}, "timeout"),
        ({"timeout": 10**30}, "timeout"),
        ({"memory": 127}, "memory"),
        ({"memory": 10_241}, "memory"),
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": 101}, "concurrency"),
        ({"replicas": 0}, "replicas"),
        ({"auth": "anyone"}, "auth"),
        ({"auth": None}, "auth"),
        ({"description": "a" * 257}, "description"),
        ({"environment": {"A": 1}}, "environment"),
        ({"environment": {"A": None}}, "environment"),
        ({"environment": []}, "environment"),
        ({"environment": {"A" * 5000: "x"}}, "environment"),
        ({"environment": {"A": "x" * 5000}}, "environment"),
        ({"environment": {"1A": "x"}}, "environment"),
        ({"environment": {"AWS_REGION": "x"}}, "environment"),
        ({"unknown": 1}, "unknown"),
        ({"hash": "0" * 32}, "hash"),
    ],
)
async def test_each_field_is_refused_by_name(api: Api, fields: dict[str, Any], field: str) -> None:
    """Who sends something wrong learns which field it is and what it may be; nothing was made."""
    answer = await api("POST", FUNCTIONS, json=GOOD | fields)
    errors = is_problem(answer, 400, "invalid-input")["errors"]
    assert [each["field"].split(".")[0].split("[")[0] for each in errors] == [field]
    assert errors[0]["reason"]
    assert "/work" not in answer.text
    assert "Traceback" not in answer.text
    assert (await api("GET", FUNCTIONS)).json()["items"] == []


async def test_missing_field(api: Api) -> None:
    answer = await api("POST", FUNCTIONS, json={"name": "f", "runtime": "python3.12"})
    assert is_problem(answer, 400, "invalid-input")["errors"] == [{"field": "code", "reason": "required"}]


DEEP = b'{"name":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "required: a JSON object"),
        (b"{", "not JSON"),
        (b"{x}", "not JSON: "),
        (b'{"name":', "not JSON"),
        (b"[]", "expected `object`, got `array`"),
        (b"null", "expected `object`, got `null`"),
        (b'"x"', "expected `object`, got `str`"),
        (b"NaN", "not JSON: invalid character"),
        (b'{"name": "\xff"}', "not valid UTF-8"),
        (b'{"\xff": 1}', "not valid UTF-8"),
        (b'{"name": "a\x00b"}', "NUL characters are not accepted"),
        (b'{"name": "a\\u0000b"}', "NUL characters are not accepted"),
        (b'{"name": "a\\\\\\u0000b"}', "NUL characters are not accepted"),
        (b'{"name": "\\ud800"}', "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON: invalid character (byte 0)"),
        ('{"name":"é"}'.encode("utf-16"), "NUL characters are not accepted"),
        (DEEP, "nested more than 32 levels deep"),
        (b"[" * 1_000_000, "nested more than 32 levels deep"),
        (b'{"name":' * 5000, "nested more than 32 levels deep"),
        (b'{"timeout":' + b"1" * 100_000 + b"}", "a number has more than 64 digits"),
        (b'{"timeout":1e' + b"1" * 100_000 + b"}", "a number has more than 64 digits"),
        (b'{"x":[' + b"1," * 60_000 + b"1]}", "more than 50000 values"),
        (b'{"name": "abc', "not JSON: a string does not end"),
    ],
)
async def test_bad_json(api: Api, body: bytes, reason: str) -> None:
    """Malformed, deep, long and wrongly encoded bodies: a 400 that says why, at once, and the next call works."""
    for method, path in (("POST", "/api/workspaces"), ("POST", FUNCTIONS), ("POST", "/lambda"), ("PATCH", "/lambda")):
        answer = await api(method, path, content=body, headers={"content-type": "application/json"})
        (error,) = is_problem(answer, 400, "invalid-input")["errors"]
        assert error["field"] == "body"
        assert error["reason"].startswith(reason)
    assert (await api("GET", "/api/workspaces")).status_code == 200


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "application/jsonx",
        "application/json; charset=utf-16",
        "application/msgpack",
    ],
)
async def test_wrong_content_type(api: Api, content_type: str) -> None:
    """415, and what would be taken. So no page can post a form here either."""
    answer = await api("POST", "/api/workspaces", content=b'{"name":"x"}', headers={"content-type": content_type})
    is_problem(answer, 415, "unsupported-media-type")
    assert answer.headers["accept"] == "application/json"


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=UTF-8", None])
async def test_right_content_type(api: Api, content_type: str | None) -> None:
    """JSON however it is written; without a type the body speaks for itself."""
    headers = {"content-type": content_type} if content_type else {}
    made = await api("POST", "/api/workspaces", content=b'{"name":"x"}', headers=headers)
    assert made.status_code == 201
    assert (await api("DELETE", made.headers["location"])).status_code == 204


async def test_compressed_body(api: Api) -> None:
    """A small body can't become a large one."""
    answer = await api("POST", "/api/workspaces", content=b"\x1f\x8b", headers={"content-encoding": "gzip"})
    is_problem(answer, 415, "unsupported-media-type")


async def test_too_large(api: Api) -> None:
    """More than 1 MiB where no code is sent; by its stated length, and by what comes."""
    is_problem(await api("POST", "/api/workspaces", content=b" " * (1024 * 1024 + 1)), 413, "too-large")

    async def chunks() -> Any:
        for _ in range(20):
            yield b" " * 100_000

    is_problem(await api("POST", "/api/workspaces", content=chunks()), 413, "too-large")


async def test_methods(api: Api) -> None:
    """405, with what the path takes."""
    for method in ("PUT", "DELETE", "PATCH", "TRACE"):
        answer = await api(method, "/api/workspaces")
        is_problem(answer, 405, "method-not-allowed")
        assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"
    options = await api("OPTIONS", "/api/workspaces")
    assert (options.status_code, options.content) == (204, b"")
    assert options.headers["allow"] == "GET, HEAD, OPTIONS, POST"


async def test_no_such_path(api: Api) -> None:
    for path in ("/", "/api", "/api/nothing", "/lambda/x/y", "/0123", "/api/functions", "/api/keys/a/b"):
        is_problem(await api("GET", path), 404, "not-found")


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"/api/functions/%00", 400),
        (b"/api/functions/a%00b/logs", 400),
        (b"/api/functions/%ff", 400),
        (b"/api/workspaces?limit=%00", 400),
        (b"/api/workspaces?cursor=%ff", 400),
        (b"/api/functions/..%2f..%2fetc%2fpasswd", 404),
        (b"/api/functions/WS%23default", 404),
        (b"/api/functions/FN%23x/logs", 404),
        (b"/api/functions/" + b"a" * 5000, 404),
        (b"/api/functions/%E2%80%AE", 404),
        (b"/api/workspaces/METADATA", 404),
        (b"/api/workspaces/..", 404),
        (b"/lambda?hash=WS%23default", 400),
        (b"/lambda?hash=" + b"G" * 32, 400),
    ],
)
async def test_ids_that_are_keys_or_paths(api: Api, raw: bytes, status: int) -> None:
    """An id is looked up as an id or not at all."""
    headers = {"authorization": f"Bearer {api.secret}"}
    request = httpx.Request("GET", httpx.URL("http://localhost:8000", raw_path=raw), headers=headers)
    answer = await api.client.send(request)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=101", "limit=-1", "limit=x", "limit=", "limit=1e9", "limit=" + "9" * 5000, "cursor=x", "cursor=",
     "cursor=a%20b", "cursor=" + "A" * 2000,
     "cursor=null", "limit=null", "limit=true"],
)  # fmt: skip
async def test_bad_parameters(api: Api, query: str) -> None:
    """Named like fields, on every list."""
    lists = ("/api/workspaces", FUNCTIONS, "/api/keys", "/lambda/list")
    for path in lists:
        body = is_problem(await api("GET", f"{path}?{query}"), 400, "invalid-input")
        assert [each["field"] for each in body["errors"]] == [query.partition("=")[0]]


async def test_a_cursor_fits_one_list(api: Api) -> None:
    """One of another list is refused, and so is one that was changed."""
    workspace = await api.workspace("listed")
    functions = f"/api/workspaces/{workspace}/functions"
    await api.function("a", workspace)
    await api.function("b", workspace)
    cursor = (await api("GET", f"{functions}?limit=1")).json()["next_cursor"]
    assert (await api("GET", f"{functions}?limit=1&cursor={cursor}")).status_code == 200
    for path, other in (("/api/keys", cursor), (functions, cursor[:-4] + "AAAA"), (functions, "A" + cursor)):
        is_problem(await api("GET", f"{path}?cursor={other}"), 400, "invalid-input")


async def test_a_store_that_is_away(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 and when to come back; nothing of the driver."""

    async def away(*_: Any, **__: Any) -> Any:
        raise TableUnavailable("the store does not answer") from OSError("/secret/path: disk")

    monkeypatch.setattr(type(api.platform.table), "query", away)
    answer = await api("GET", "/api/workspaces")
    is_problem(answer, 503, "unavailable")
    assert answer.headers["retry-after"] == "1"
    assert "secret" not in answer.text


async def test_a_fault_of_ours(api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """500 without a word of what happened; the log has it, once."""

    async def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(api.platform.workspaces, "list", broken)
    answer = await api("GET", "/api/workspaces")
    is_problem(answer, 500, "internal")
    assert "secret" not in answer.text
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == ["request failed"]
    assert (await api("GET", "/api/keys")).status_code == 200
