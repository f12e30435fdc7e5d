"""`/api/functions/{id}/versions` and `…/aliases`: what is refused and how, and what tools can rely on."""

from typing import Any

import pytest

from .conftest import Api


async def test_a_version_from_its_publication_to_its_end(api: Api) -> None:
    made = await api.function(description="Says hello", environment={"A": "b"})
    path = f"/api/functions/{made['id']}/versions"
    answer = await api("POST", path, json={"description": "the first"}, headers={"If-Match": '"1"'})
    assert answer.status_code == 201
    assert answer.headers["location"] == f"{path}/1"
    version = answer.json()
    assert version == {
        "function": made["id"],
        "version": "1",
        "description": "the first",
        **{
            name: made[name]
            for name in ("runtime", "handler", "environment", "timeout", "memory", "concurrency", "layers")
        },
        "logging_config": made["logging_config"],
        "role": None,
        "image": None,
        "image_config": None,
        "state": "Active",
        "state_reason": None,
        "code_sha256": made["code_sha256"],
        "code_size": made["code_size"],
        "published_at": version["published_at"],
    }
    again = await api("POST", path, json={})
    assert (again.status_code, again.json()) == (200, version)
    assert (await api("GET", f"{path}/1")).json() == version
    assert (await api("GET", path)).json() == {"items": [version], "next_cursor": None}
    assert (await api("GET", f"{path}/$LATEST")).json()["description"] == "Says hello"
    for _ in range(2):
        assert (await api("DELETE", f"{path}/1")).status_code == 204
    assert (await api("GET", f"{path}/1")).status_code == 404


async def test_what_is_refused_of_versions(api: Api, function: str) -> None:
    path = f"/api/functions/{function}/versions"
    stale = await api("POST", path, json={}, headers={"If-Match": '"1"'})
    assert (stale.status_code, stale.json()["type"]) == (412, "urn:lateen:problem:revision-mismatch")
    unknown = await api("POST", path, json={"name": "x"})
    assert (unknown.status_code, unknown.json()["errors"][0]["field"]) == (400, "name")
    latest = await api("DELETE", f"{path}/$LATEST")
    assert (latest.status_code, latest.json()["errors"][0]["field"]) == (400, "version")
    for nowhere in ("3", "0", "01", "live", "9" * 30):
        assert (await api("GET", f"{path}/{nowhere}")).status_code == 404
        assert (await api("POST", f"{path}/{nowhere}/restore")).status_code == 404
    assert (await api("GET", "/api/functions/nobody/versions")).status_code == 404
    stranger = await api.key(await api.workspace("other"))
    for method, below in (("GET", ""), ("POST", ""), ("GET", "/1"), ("DELETE", "/1"), ("POST", "/1/restore")):
        sent = {"json": {}} if (method, below) == ("POST", "") else {}
        refused = await api(method, path + below, key=stranger, **sent)
        assert (refused.status_code, refused.json()["detail"]) == (404, "no such function")


async def test_an_alias_from_its_making_to_its_end(api: Api, function: str) -> None:
    path = f"/api/functions/{function}/aliases"
    made = await api("PUT", f"{path}/live", json={"version": "1", "description": "for all"})
    assert (made.status_code, made.headers["location"], made.headers["etag"]) == (201, f"{path}/live", '"1"')
    alias = made.json()
    assert alias["url"].endswith(f"/{alias['hash']}")
    assert (alias["version"], alias["routing"], alias["previous"]) == ("1", {}, None)
    moved = await api("PUT", f"{path}/live", json={"version": "1", "routing": {"2": 0.1}}, headers={"If-Match": '"1"'})
    assert (moved.status_code, moved.headers["etag"]) == (200, '"2"')
    now = moved.json()
    assert (now["routing"], now["hash"], now["description"]) == ({"2": 0.1}, alias["hash"], "for all")
    assert now["previous"] == {"version": "1", "routing": {}}
    assert [each["name"] for each in (await api("GET", path)).json()["items"]] == ["live"]
    leads = await api("DELETE", f"/api/functions/{function}/versions/2")
    assert (leads.status_code, leads.json()["type"]) == (409, "urn:lateen:problem:conflict")
    assert "live" in leads.json()["detail"]
    gone = await api("DELETE", f"{path}/live", headers={"If-Match": '"1"'})
    assert gone.status_code == 412
    for _ in range(2):
        assert (await api("DELETE", f"{path}/live")).status_code == 204
    assert (await api("GET", f"{path}/live")).status_code == 404
    assert (await api("DELETE", f"/api/functions/{function}/versions/2")).status_code == 204


@pytest.mark.parametrize(
    ("name", "body", "field"),
    [
        ("live", {}, "version"),
        ("live", {"version": 1}, "version"),
        ("live", {"version": "x"}, "version"),
        ("live", {"version": "1", "routing": {"2": 2}}, "routing"),
        ("live", {"version": "1", "routing": {"2": "a"}}, "routing"),
        ("live", {"version": "1", "routing": {"1": 0.5}}, "routing"),
        ("live", {"version": "1", "routing": {"2": 0.5, "3": 0.1}}, "routing"),
        ("live", {"version": "$LATEST", "routing": {"2": 0.5}}, "routing"),
        ("live", {"version": "1", "description": "\u001b"}, "description"),
        ("live", {"version": "1", "weights": {}}, "weights"),
        ("1", {"version": "1"}, "name"),
        ("a%20b", {"version": "1"}, "name"),
    ],
)
async def test_what_no_alias_can_be(api: Api, function: str, name: str, body: dict[str, Any], field: str) -> None:
    refused = await api("PUT", f"/api/functions/{function}/aliases/{name}", json=body)
    assert refused.status_code == 400
    assert [error["field"].partition("[")[0] for error in refused.json()["errors"]] == [field]


async def test_an_alias_of_what_is_not_there(api: Api, function: str) -> None:
    refused = await api("PUT", f"/api/functions/{function}/aliases/live", json={"version": "3"})
    assert (refused.status_code, refused.json()["detail"]) == (404, "no such version")
    stale = await api(
        "PUT", f"/api/functions/{function}/aliases/live", json={"version": "1"}, headers={"If-Match": '"1"'}
    )
    assert stale.status_code == 404


async def test_a_qualifier_says_which_version_runs(api: Api, function: str) -> None:
    """And the answer says which one it was."""
    await api("PUT", f"/api/functions/{function}/aliases/live", json={"version": "2"})
    path = f"/api/functions/{function}/invocations"
    for qualifier, version in ((None, "$LATEST"), ("$LATEST", "$LATEST"), ("1", "1"), ("live", "2")):
        answer = await api("POST", path, params={"qualifier": qualifier} if qualifier else {}, json={})
        assert (answer.status_code, answer.headers["x-lateen-executed-version"]) == (200, version)
    assert (await api("POST", path, params={"qualifier": "3"}, json={})).status_code == 404
    assert (await api("POST", path, params={"qualifier": "none"}, json={})).status_code == 404
    for wrong in ("a b", "", "x" * 129, "a\n"):
        refused = await api("POST", path, params={"qualifier": wrong}, json={})
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "qualifier")


async def test_a_function_becomes_a_version_again(api: Api, function: str) -> None:
    first = (await api("GET", f"/api/functions/{function}/versions/1")).json()
    path = f"/api/functions/{function}/versions/1/restore"
    assert (await api("POST", path, headers={"If-Match": '"1"'})).status_code == 412
    restored = await api("POST", path)
    assert restored.status_code == 200
    assert restored.json()["code_sha256"] == first["code_sha256"]
    assert restored.headers["etag"] == f'"{restored.json()["revision"]}"'
