"""The REST surface: what is made, listed, changed and removed, and how two who do so at once get along."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from lateen.domain.access import PLATFORM
from lateen.domain.events import EventInvokeChange
from lateen.testing.fake_deployer import FakeAnswer
from lateen_invoker.records import ErrorDocument, ExecutionRecord

from .conftest import CODE, Api, run_api

FUNCTIONS = "/api/workspaces/default/functions"


async def test_workspace_from_first_to_last(api: Api) -> None:
    made = await api("POST", "/api/workspaces", json={"name": "team", "description": "of two"})
    assert made.status_code == 201
    workspace = made.json()
    path = made.headers["location"]
    assert path == f"/api/workspaces/{workspace['id']}"
    assert made.headers["etag"] == '"1"'
    assert set(workspace) == {
        "id", "name", "description", "account_id", "quota", "code_buckets", "revision", "created_at", "updated_at"
    }  # fmt: skip
    assert (await api("GET", path)).json() == workspace
    changed = await api("PATCH", path, json={"description": ""})
    assert (changed.json()["description"], changed.json()["revision"]) == ("", 2)
    assert (await api("DELETE", path)).status_code == 204
    assert (await api("DELETE", path)).status_code == 204
    assert (await api("GET", path)).status_code == 404
    assert (await api("DELETE", "/api/workspaces/never")).status_code == 404


async def test_a_workspaces_quota(api: Api) -> None:
    """Absent: the installation's. It is replaced as a whole, and amounts that Kubernetes would not take are refused."""
    made = (await api("POST", "/api/workspaces", json={"name": "q", "quota": {"pods": 5, "memory": "64Gi"}})).json()
    assert made["quota"] == {"pods": 5, "cpu": None, "memory": "64Gi"}
    path = f"/api/workspaces/{made['id']}"
    same = await api("PATCH", path, json={"description": "x"})
    assert same.json()["quota"] == made["quota"]
    changed = await api("PATCH", path, json={"quota": {"cpu": "1500m"}})
    assert changed.json()["quota"] == {"pods": None, "cpu": "1500m", "memory": None}
    for quota in ({"cpu": "1e3"}, {"cpu": "0"}, {"memory": "64 Gi"}, {"memory": "1Gi\n"}, {"pods": -1}, {"gpus": 1}):
        refused = await api("PATCH", path, json={"quota": quota})
        assert refused.status_code == 400, quota
    plain = (await api("POST", "/api/workspaces", json={"name": "p"})).json()
    assert plain["quota"] == {"pods": None, "cpu": None, "memory": None}


async def test_workspace_with_functions(api: Api) -> None:
    """Removed only with `force`, and then all of it."""
    workspace = await api.workspace("team")
    function = await api.function(workspace=workspace)
    refused = await api("DELETE", f"/api/workspaces/{workspace}")
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:lateen:problem:conflict")
    assert (await api("DELETE", f"/api/workspaces/{workspace}?force=true")).status_code == 204
    assert (await api("GET", f"/api/functions/{function['id']}")).status_code == 404


async def test_names_are_unique(api: Api) -> None:
    """Workspaces in the installation, functions in their workspace; a removed one's name is free at once."""
    function = await api.function("same")
    taken = await api("POST", FUNCTIONS, json={"name": "same", "runtime": "python3.12", "code": CODE})
    assert (taken.status_code, taken.json()["type"]) == (409, "urn:lateen:problem:already-exists")
    other = await api.workspace("other")
    await api.function("same", workspace=other)
    assert (await api("POST", "/api/workspaces", json={"name": "other"})).status_code == 409
    await api("DELETE", f"/api/functions/{function['id']}")
    again = await api.function("same")
    assert again["id"] != function["id"]
    assert again["hash"] != function["hash"]


async def test_function_from_first_to_last(api: Api) -> None:
    body = {
        "name": "hello",
        "runtime": "python",
        "version": "3.12",
        "code": CODE,
        "handler": "code.handler",
        "environment": {"GREETING": "hi"},
        "timeout": 10,
        "memory": 256,
        "concurrency": 2,
        "replicas": 2,
        "auth": "key",
        "description": "says hello",
    }
    made = await api("POST", FUNCTIONS, json=body)
    assert made.status_code == 201
    function = made.json()
    assert made.headers["location"] == f"/api/functions/{function['id']}"
    assert made.headers["etag"] == '"1"'
    kept = {name: value for name, value in body.items() if name not in ("code", "version", "runtime")}
    assert {name: function[name] for name in kept} == kept
    assert function["runtime"] == "python3.12"
    assert function["url"] == f"http://127.0.0.1:8000/{function['hash']}"
    assert (function["state"], function["workspace"], function["revision"]) == ("Pending", "default", 1)
    assert len(function["code_sha256"]) == 64
    assert function["code_size"] > 0
    path = made.headers["location"]
    for _ in range(200):
        if (shown := (await api("GET", path)).json())["state"] == "Active":
            break
        await asyncio.sleep(0.01)
    assert (shown["state"], shown["state_reason"]) == ("Active", None)
    changed = await api("PATCH", path, json={"timeout": 20, "environment": {}}, headers={"If-Match": '"1"'})
    assert changed.headers["etag"] == '"2"'
    assert (changed.json()["timeout"], changed.json()["environment"]) == (20, {})
    assert changed.json()["memory"] == 256
    assert changed.json()["hash"] == function["hash"]
    unchanged = await api("PATCH", path, json={"timeout": 20})
    assert unchanged.json()["revision"] == 2
    assert (await api("DELETE", path)).status_code == 204
    assert (await api("DELETE", path)).status_code == 204
    assert (await api("GET", path)).status_code == 404
    assert (await api("PATCH", path, json={"timeout": 3})).status_code == 404
    assert (await api("GET", FUNCTIONS)).json() == {"items": [], "next_cursor": None}


async def test_a_function_that_does_not_start_says_why(api: Api) -> None:
    api.deployer.broken["bad"] = "no such interpreter"
    function = await api.function("bad")
    for _ in range(200):
        shown = (await api("GET", f"/api/functions/{function['id']}")).json()
        if shown["state"] != "Pending":
            break
        await asyncio.sleep(0.01)
    assert (shown["state"], shown["state_reason"]) == ("Failed", "no such interpreter")


async def test_how_a_function_logs(api: Api) -> None:
    """Replaced as a whole; levels are JSON's, and INFO unless told."""
    made = await api.function()
    path = f"/api/functions/{made['id']}"
    plain = {"log_format": "Text", "application_log_level": None, "system_log_level": None}
    assert made["logging_config"] == plain
    asked = {"log_format": "JSON", "application_log_level": "WARN"}
    changed = (await api("PATCH", path, json={"logging_config": asked})).json()
    assert changed["logging_config"] == {**asked, "system_log_level": "INFO"}
    assert changed["revision"] == made["revision"] + 1
    assert (await api("PATCH", path, json={"logging_config": asked})).json()["revision"] == changed["revision"]
    other = await api.function("other", logging_config={"log_format": "JSON", "system_log_level": "WARN"})
    assert other["logging_config"]["application_log_level"] == "INFO"
    for wrong, field in (
        ({"application_log_level": "WARN"}, "logging_config.application_log_level"),
        ({"log_format": "Text", "system_log_level": "WARN"}, "logging_config.system_log_level"),
        ({"log_format": "XML"}, "logging_config.log_format"),
        ({"log_format": "JSON", "application_log_level": "LOUD"}, "logging_config.application_log_level"),
        ({"log_group": "g"}, "logging_config.log_group"),
    ):
        refused = await api("PATCH", path, json={"logging_config": wrong})
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, field)
    assert (await api("PATCH", path, json={"logging_config": {}})).json()["logging_config"] == plain


async def test_a_role(api: Api) -> None:
    """The one that AWS's tools know; how else a function logs and runs stays as it is."""
    arn = "arn:aws:iam::123456789012:role/service/orders"
    made = await api.function(role=arn, logging_config={"log_format": "JSON"})
    path = f"/api/functions/{made['id']}"
    assert made["role"] == arn
    changed = (await api("PATCH", path, json={"role": arn.replace("orders", "other")})).json()
    assert (changed["role"], changed["revision"]) == ("arn:aws:iam::123456789012:role/service/other", 2)
    assert changed["logging_config"] == made["logging_config"]
    assert (await api("PATCH", path, json={"logging_config": {}})).json()["role"] == changed["role"]
    for wrong in ("orders", "arn:aws:iam::1:role/x", f"{arn}\n", "arn:aws:iam::123456789012:user/x", "", 1):
        refused = await api("PATCH", path, json={"role": wrong})
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "role")
    assert (await api("PATCH", path, json={"role": None})).json()["role"] is None
    assert (await api.function("without"))["role"] is None


async def test_if_match(api: Api) -> None:
    """The slower of two editors is told; `*` and no header are told nothing."""
    function = await api.function()
    path = f"/api/functions/{function['id']}"
    for tag, status in (
        ('"1"', 200),
        ('"1"', 412),
        ('W/"2"', 412),
        ('"x"', 412),
        ('"1", "2"', 200),
        ('"1", "7"', 412),
        ("*", 200),
        ("3", 400),
        ('"4', 400),
        ("nonsense", 400),
        ("null", 400),
        ('"99999999999999999999"', 412),
    ):
        before = (await api("GET", path)).json()["timeout"]
        answer = await api("PATCH", path, json={"timeout": before + 1}, headers={"If-Match": tag})
        assert answer.status_code == status, (tag, answer.text)
        if status == 412:
            assert answer.json()["type"] == "urn:lateen:problem:revision-mismatch"
    assert (await api("DELETE", path, headers={"If-Match": '"1"'})).status_code == 412
    workspace = await api.workspace("w")
    assert (await api("PATCH", f"/api/workspaces/{workspace}", json={}, headers={"If-Match": '"9"'})).status_code == 412
    assert (await api("DELETE", f"/api/workspaces/{workspace}", headers={"If-Match": '"9"'})).status_code == 412
    assert (await api("DELETE", f"/api/workspaces/{workspace}", headers={"If-Match": '"1"'})).status_code == 204


async def test_of_many_that_change_the_same_revision_one_wins(api: Api) -> None:
    function = await api.function()
    path = f"/api/functions/{function['id']}"
    answers = await asyncio.gather(
        *(api("PATCH", path, json={"timeout": 10 + i}, headers={"If-Match": '"1"'}) for i in range(10))
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 9


async def test_idempotency_key(api: Api) -> None:
    """A create that is sent again, also at the same time, is answered as the first one and makes nothing."""
    for path, body in (
        ("/api/workspaces", {"name": "once"}),
        (FUNCTIONS, {"name": "once", "runtime": "python3.12", "code": CODE}),
        ("/api/keys", {"description": "once"}),
        ("/lambda", {"name": "once-more", "runtime": "python", "version": "3.12", "file": "x = 1\n"}),
    ):
        headers = {"Idempotency-Key": f"key-of{path}"}
        answers = await asyncio.gather(*(api("POST", path, json=body, headers=headers) for _ in range(5)))
        assert {answer.status_code for answer in answers} == {201}, answers[0].text
        same = {str(answer.json().get("id") or answer.json()["hash"]) for answer in answers}
        assert len(same) == 1
        other = await api("POST", path, json=body | {"name": "other"} if "name" in body else {}, headers=headers)
        assert (other.status_code, other.json()["type"]) == (409, "urn:lateen:problem:conflict")
    for bad in ("", "null", "a b", "a" * 256, "\xe9"):
        refused = await api(
            "POST", "/api/workspaces", json={"name": "x"}, headers={"Idempotency-Key": bad.encode("latin-1")}
        )
        assert refused.status_code == 400
        assert refused.json()["errors"][0]["field"] == "Idempotency-Key"


async def test_every_list_has_pages(api: Api) -> None:
    """All entries once, in order, however small the pages are."""
    for name in "cab":
        await api.function(name)
        await api.workspace(name)
        await api.key()
    for path, count in ((FUNCTIONS, 3), ("/api/workspaces", 4), ("/api/keys", 4), ("/lambda/list", 3)):
        whole = (await api("GET", path)).json()
        assert whole["next_cursor"] is None
        assert len(whole["items"]) == count
        collected: list[Any] = []
        cursor = ""
        for _ in range(10):
            page = (await api("GET", f"{path}?limit=1{cursor}")).json()
            assert len(page["items"]) <= 1
            collected += page["items"]
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
        assert collected == whole["items"]
    assert [each["name"] for each in (await api("GET", FUNCTIONS)).json()["items"]] == ["a", "b", "c"]


async def test_keys(api: Api) -> None:
    """The secrets are in the answer to the create and nowhere else; a removed key is no error again."""
    made = await api("POST", "/api/keys", json={"workspace": "default", "description": "ci"})
    key = made.json()
    assert made.status_code == 201
    assert made.headers["cache-control"] == "no-store"
    assert set(key) == {
        "id", "workspace", "description", "aws_access_key_id", "created_at", "secret", "aws_secret_access_key"
    }  # fmt: skip
    listed = await api("GET", "/api/keys")
    assert {"id", "workspace", "description", "aws_access_key_id", "created_at"} == set(listed.json()["items"][0])
    assert key["secret"] not in listed.text
    assert key["aws_secret_access_key"] not in listed.text
    assert (await api("DELETE", f"/api/keys/{key['id']}")).status_code == 204
    assert (await api("DELETE", f"/api/keys/{key['id']}")).status_code == 204
    assert (await api("DELETE", "/api/keys/never")).status_code == 404


async def test_no_secret_in_a_function(api: Api) -> None:
    """Nor in a list of them, nor in their logs."""
    await api.function()
    text = "".join([(await api("GET", path)).text for path in (FUNCTIONS, "/lambda/list", "/api/workspaces")])
    for word in (api.secret, "invoke_key", "artifact_key", "source_key", "secret"):
        assert word not in text


async def test_invocation(api: Api) -> None:
    """The event goes in and the answer comes out byte for byte."""
    function = await api.function()
    path = f"/api/functions/{function['id']}/invocations"
    for event in (
        b'{"a":  1}',
        b"[1, 2]",
        b'"\xc3\xa9"',
        b"null",
        b"1e5",
        b'{"deep":' + b"[" * 500 + b"]" * 500 + b"}",
    ):
        answer = await api("POST", path, content=event)
        assert (answer.status_code, answer.content) == (200, event)
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-amzn-requestid"]
    assert (await api("POST", path)).content == b"{}"
    assert api.invoker.events[-1] == b""


@pytest.fixture(scope="module")
async def invocations(shared_api: Api) -> str:
    """Where a function of the shared platform is called."""
    return f"/api/functions/{(await shared_api.function())['id']}/invocations"


@pytest.mark.parametrize(
    "event",
    [b"{", b"\xff", b'"\xff"', b"NaN", b"[" * 1_000_000, b"{}{}", b'"a\x00b"', b"x" * 100, b"\xef\xbb\xbf{}", b" "],
)
async def test_event_that_is_no_json(shared_api: Api, invocations: str, event: bytes) -> None:
    """Is refused here; no function sees it."""
    before = len(shared_api.invoker.events)
    answer = await shared_api("POST", invocations, content=event)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "body"
    assert len(shared_api.invoker.events) == before


async def test_event_that_is_too_large(api: Api) -> None:
    function = await api.function()
    event = b'"' + b"x" * (6 * 1024 * 1024) + b'"'
    answer = await api("POST", f"/api/functions/{function['id']}/invocations", content=event)
    assert answer.status_code == 413
    assert api.invoker.events == []


async def test_function_error(api: Api) -> None:
    """424 with type, message and trace: the caller has a key, and no check of a status takes it for an answer."""
    function = await api.function()
    path = f"/api/functions/{function['id']}/invocations"
    document = (
        b'{"errorMessage": "no", "errorType": "ValueError", "requestId": "r", "stackTrace": ["line 1", "line 2"]}'
    )
    api.invoker.answer = FakeAnswer(body=document, function_error="Unhandled")
    answer = await api("POST", path, content=b"{}")
    assert answer.status_code == 424
    assert answer.headers["x-lateen-function-error"] == "ValueError"
    assert answer.json() == {
        "type": "urn:lateen:problem:function-error",
        "title": "The function failed",
        "status": 424,
        "detail": "ValueError: no",
        "error": {"type": "ValueError", "message": "no", "trace": ["line 1", "line 2"]},
        "request_id": answer.headers["x-request-id"],
    }


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"not JSON",
        b"[]",
        b'"x"',
        b"{}",
        b"\xff\xfe",
        b'{"errorType": 1, "errorMessage": {"a": [1]}, "stackTrace": "x"}',
        b'{"errorType": "a\\r\\nx-evil: 1", "errorMessage": "b"}',
        b'{"errorType": "\\u00e9\\u0000", "trace": [1, null, {}]}',
        b'{"errorType": "' + b"A" * 100_000 + b'"}',
        b"[" * 100_000,
    ],
)
async def test_error_documents_that_user_code_made_up(shared_api: Api, invocations: str, document: bytes) -> None:
    """Whatever is in them, the answer is a whole problem and its headers are ours."""
    shared_api.invoker.answer = FakeAnswer(body=document, function_error="Unhandled")
    answer = await shared_api("POST", invocations, content=b"{}")
    assert answer.status_code == 424
    assert set(answer.json()["error"]) == {"type", "message", "trace"}
    assert answer.headers["x-lateen-function-error"].isascii()
    assert "x-evil" not in answer.headers


@pytest.mark.parametrize(
    ("status", "answered", "slug"),
    [(429, 429, "too-many-requests"), (502, 502, "lost"), (503, 503, "unavailable"), (504, 504, "function-timeout"),
     (413, 413, "too-large")],
)  # fmt: skip
async def test_what_the_platform_says_of_an_invocation(
    shared_api: Api, invocations: str, status: int, answered: int, slug: str
) -> None:
    """In our words, not the invoker's."""
    shared_api.invoker.answer = FakeAnswer(status=status, body=b'{"message":"inner"}')
    answer = await shared_api("POST", invocations, content=b"{}")
    assert (answer.status_code, answer.json()["type"]) == (answered, f"urn:lateen:problem:{slug}")
    assert "inner" not in answer.text


def a_record(function: str, number: int, **values: Any) -> ExecutionRecord:
    given = {"status": "success", "duration_ms": 1.5, "log_tail": f"line {number}"} | values
    return ExecutionRecord(
        request_id=f"r{number}",
        function_id=function,
        version="$LATEST",
        timestamp=f"2026-01-31T00:00:0{number}.000Z",
        **given,
    )


async def test_logs(api: Api) -> None:
    """Newest first, in pages, since a moment, by status, with all that a record has."""
    function = await api.function()
    failed = a_record(function["id"], 3, status="error", error=ErrorDocument("E", "m", ["t"]), cold=True)
    records = [a_record(function["id"], 1), a_record(function["id"], 2), failed]
    await api.platform.records.store(function["id"], records)
    path = f"/api/functions/{function['id']}/logs"

    async def ids(query: str) -> list[str]:
        answer = await api("GET", f"{path}?{query}")
        assert answer.status_code == 200, answer.text
        return [each["request_id"] for each in answer.json()["items"]]

    assert await ids("limit=100") == ["r3", "r2", "r1"]
    assert await ids("limit=1") == ["r3"]
    assert await ids("status=success") == ["r2", "r1"]
    assert await ids("since=2026-01-31T00:00:02Z") == ["r3", "r2"]
    assert await ids("since=2026-01-31T01:00:02%2B01:00") == ["r3", "r2"]
    newest = (await api("GET", f"{path}?limit=1")).json()
    assert newest["items"] == [
        {
            "request_id": "r3",
            "function_id": function["id"],
            "version": "$LATEST",
            "timestamp": "2026-01-31T00:00:03.000Z",
            "status": "error",
            "duration_ms": 1.5,
            "queued_ms": 0.0,
            "cold": True,
            "cold_reason": None,
            "init_duration_ms": None,
            "memory_mib": 0,
            "memory_peak_mib": 0,
            "log_tail": "line 3",
            "log_truncated": False,
            "error": {"type": "E", "message": "m", "trace": ["t"]},
        }
    ]
    assert await ids(f"limit=1&cursor={newest['next_cursor']}") == ["r2"]
    for query, field in (("since=yesterday", "since"), ("since=2026-01-31", "since"), ("status=odd", "status")):
        refused = await api("GET", f"{path}?{query}")
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, field)
    assert (await api("GET", "/api/functions/never/logs")).status_code == 404


async def test_logs_are_a_hundred_unless_told(api: Api) -> None:
    """As the query says that nobody has to give."""
    function = await api.function()
    many = [msgspec.structs.replace(a_record(function["id"], 0), request_id=f"r{number}") for number in range(101)]
    await api.platform.records.store(function["id"], many)
    page = (await api("GET", f"/api/functions/{function['id']}/logs")).json()
    assert len(page["items"]) == 100
    assert page["next_cursor"] is not None


async def test_lists_by_name(api: Api) -> None:
    """The one of exactly this name or none, and never another workspace's."""
    team = await api.workspace("team")
    for name in ("one", "One", "null", "one-more"):
        await api.function(name)
    await api.function("theirs", workspace=team)

    async def names(path: str, **options: Any) -> list[str]:
        answer = await api("GET", path, **options)
        assert answer.status_code == 200, answer.text
        assert answer.json()["next_cursor"] is None
        return [each["name"] for each in answer.json()["items"]]

    assert await names(f"{FUNCTIONS}?name=one") == ["one"]
    assert await names(f"{FUNCTIONS}?name=null") == ["null"]
    assert await names(f"{FUNCTIONS}?name=theirs") == []
    assert await names("/api/workspaces?name=team") == ["team"]
    assert await names("/api/workspaces?name=tea") == await names("/api/workspaces?name=null") == []
    tenant = await api.key(team)
    assert await names("/api/workspaces?name=team", key=tenant) == ["team"]
    assert await names("/api/workspaces?name=default", key=tenant) == []
    assert (await api("GET", f"{FUNCTIONS}?name=one", key=tenant)).status_code == 404
    for query in ("name=", "name=a%20b", "name=" + "a" * 65):
        refused = await api("GET", f"{FUNCTIONS}?{query}")
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "name")


async def test_an_event_is_taken(api: Api) -> None:
    """202 with its request id, by the parameter or by AWS's header; the function gets it untouched, by and by."""
    function = await api.function()
    path = f"/api/functions/{function['id']}/invocations"
    ids = set()
    for request in (
        {"params": {"type": "event"}},
        {"headers": {"X-Amz-Invocation-Type": "Event"}},
        {"params": {"type": "event"}, "headers": {"X-Amz-Invocation-Type": "RequestResponse"}},
    ):
        answer = await api("POST", path, content=b'{ "a": 1 }', **request)
        assert answer.status_code == 202
        assert answer.json() == {"request_id": answer.headers["x-amzn-requestid"]}
        ids.add(answer.json()["request_id"])
    assert len(ids) == 3
    async with asyncio.timeout(20):
        while len(api.invoker.events) < 3:
            await asyncio.sleep(0.02)
    assert api.invoker.events == [b'{ "a": 1 }'] * 3
    for request in ({}, {"params": {"type": "request"}}, {"headers": {"X-Amz-Invocation-Type": "RequestResponse"}}):
        answer = await api("POST", path, content=b"1", **request)
        assert (answer.status_code, answer.content) == (200, b"1")


async def test_events_are_refused(api: Api) -> None:
    """What is no JSON, too large, of an unknown type or for nobody is refused before anything is stored."""
    function = await api.function()
    path = f"/api/functions/{function['id']}/invocations"
    event = {"params": {"type": "event"}}
    for request, status in (
        ({**event, "content": b"{"}, 400),
        ({**event, "content": b'"' + b"x" * 1_048_575 + b'"'}, 413),
        ({"params": {"type": "other"}, "content": b"{}"}, 400),
        ({"headers": {"X-Amz-Invocation-Type": "DryRun"}, "content": b"{}"}, 400),
        ({"headers": {"X-Amz-Invocation-Type": "null"}, "content": b"{}"}, 400),
        ({**event, "content": b"{}", "key": None}, 401),
    ):
        refused = await api("POST", path, **request)
        assert refused.status_code == status
        for place in set(request) & {"params", "headers"} if status == 400 and request["content"] == b"{}" else ():
            assert [error["field"] for error in refused.json()["errors"]] == list(request[place])
    assert (await api("POST", "/api/functions/nobody/invocations", content=b"{}", **event)).status_code == 404
    other = await api.key(await api.workspace("other"))
    assert (await api("POST", path, content=b"{}", key=other, **event)).status_code == 404
    await asyncio.sleep(0.5)
    assert api.invoker.events == []


async def test_a_workspace_whose_events_wait(tmp_path: Path) -> None:
    """It gets 429 with the reason when they have as many bytes as they may, and others are not concerned. When its
    events are done, or its functions are gone, there is room again."""
    event = json.dumps("x" * 120_000).encode()

    async def send(api: Api, function: dict[str, Any]) -> httpx.Response:
        path = f"/api/functions/{function['id']}/invocations"
        return await api("POST", path, params={"type": "event"}, content=event)

    async with run_api(tmp_path / "own", queue_workspace_mib=1) as api:
        api.invoker.answer = FakeAnswer(status=429)
        busy, idle, other = (
            await api.function(name="busy"),
            await api.function(name="idle"),
            await api.function(workspace=await api.workspace("other")),
        )
        assert [(await send(api, busy)).status_code for _ in range(9)] == [202] * 8 + [429]
        refused = await send(api, idle)
        assert refused.headers["retry-after"] == "1"
        assert {name: refused.json()[name] for name in ("type", "status", "detail")} == {
            "type": "urn:lateen:problem:too-many-requests",
            "status": 429,
            "detail": "there is no room for it: the events of a workspace that wait may have 1 MiB together",
        }
        assert (await send(api, other)).status_code == 202
        assert (await api("DELETE", f"/api/functions/{busy['id']}")).status_code == 204
        async with asyncio.timeout(60):
            while (await send(api, idle)).status_code == 429:
                await asyncio.sleep(0.1)


async def test_dead_letters(api: Api) -> None:
    """What was never done can be seen, by those who may see the function."""
    function = await api.function()
    path = f"/api/functions/{function['id']}"
    assert (await api("GET", f"{path}/dead-letters")).json() == {"items": [], "next_cursor": None}
    await api.platform.event_configs.put(
        (await api.platform.functions.get(PLATFORM, function["id"])).function,
        "$LATEST",
        EventInvokeChange(maximum_retry_attempts=0),
    )
    api.invoker.answer = FakeAnswer(function_error="Unhandled", body=b'{"errorType":"E"}')
    sent = await api("POST", f"{path}/invocations", params={"type": "event"}, content=b'{"a":1}')
    async with asyncio.timeout(20):
        while not (found := (await api("GET", f"{path}/dead-letters")).json()["items"]):
            await asyncio.sleep(0.05)
    (letter,) = found
    accepted_at = letter.pop("accepted_at")
    assert accepted_at <= letter.pop("ended_at")
    assert letter == {
        "id": f"{accepted_at}_{sent.json()['request_id']}",
        "request_id": sent.json()["request_id"],
        "qualifier": None,
        "condition": "RetriesExhausted",
        "reason": "the function failed in each attempt",
        "attempts": 1,
        "event": '{"a":1}',
        "answer": '{"errorType":"E"}',
    }
    other = await api.key(await api.workspace("other"))
    assert (await api("GET", f"{path}/dead-letters", key=other)).status_code == 404
    assert (await api("GET", f"{path}/dead-letters", params={"limit": "0"})).status_code == 400
