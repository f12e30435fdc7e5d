"""`/api/functions/{id}/provisioned-concurrency`: what is kept started, by REST."""

from typing import Any

import pytest

from .conftest import Api


def path_of(function: str, qualifier: str = "") -> str:
    path = f"/api/functions/{function}/provisioned-concurrency"
    return f"{path}/{qualifier}" if qualifier else path


async def test_of_an_alias_from_its_setting_to_its_end(api: Api, function: str) -> None:
    """Shown, listed, changed, removed; the alias is what it is of."""
    await api("PUT", f"/api/functions/{function}/aliases/live", json={"version": "1"})
    path = path_of(function, "live")
    assert (await api("GET", path)).status_code == 404
    put = await api("PUT", path, json={"requested": 2})
    assert put.status_code == 200, put.text
    found = put.json()
    assert (found["function"], found["qualifier"], found["requested"]) == (function, "live", 2)
    assert (found["state"], found["allocated"], found["state_reason"]) == ("IN_PROGRESS", 0, None)
    assert (await api("GET", path)).json() == found
    assert (await api("GET", path_of(function))).json() == {"items": [found], "next_cursor": None}
    assert (await api("PUT", path, json={"requested": 3})).json()["requested"] == 3
    pointed = await api("PUT", path_of(function, "1"), json={"requested": 1})
    assert (pointed.status_code, pointed.json()["type"]) == (409, "urn:lateen:problem:conflict")
    assert [(await api("DELETE", path)).status_code for _ in range(2)] == [204, 204]
    assert (await api("GET", path_of(function))).json()["items"] == []


async def test_no_less_is_reserved_than_is_provisioned(api: Api, function: str) -> None:
    """Either way: the refusal names the field, and why."""
    await api("PUT", path_of(function, "1"), json={"requested": 4})
    refused = await api("PATCH", f"/api/functions/{function}", json={"reserved_concurrency": 3})
    assert (refused.status_code, refused.json()["type"]) == (400, "urn:lateen:problem:invalid-input")
    (error,) = refused.json()["errors"]
    assert error["field"] == "reserved_concurrency"
    assert "total provisioned concurrency [4]" in error["reason"]
    assert (await api("PATCH", f"/api/functions/{function}", json={"reserved_concurrency": 4})).status_code == 200
    assert (await api("PUT", path_of(function, "1"), json={"requested": 4})).status_code == 200
    refused = await api("PUT", path_of(function, "2"), json={"requested": 1})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "requested")


async def test_all_but_a_hundred_of_the_account_s_can_be_provisioned(api: Api, function: str) -> None:
    """Also where a part of it was before."""
    for requested, status in ((900, 200), (900, 200), (901, 400), (899, 200)):
        assert (await api("PUT", path_of(function, "1"), json={"requested": requested})).status_code == status
    assert (await api("PUT", path_of(function, "2"), json={"requested": 1})).status_code == 200
    assert (await api("PUT", path_of(function, "2"), json={"requested": 2})).status_code == 400


@pytest.mark.parametrize(
    ("qualifier", "body", "status", "field"),
    [
        ("1", {}, 400, "requested"),
        ("1", {"requested": 0}, 400, "requested"),
        ("1", {"requested": 901}, 400, "requested"),
        ("1", {"requested": "2"}, 400, "requested"),
        ("1", {"requested": 2, "more": 1}, 400, "more"),
        ("$LATEST", {"requested": 2}, 400, "qualifier"),
        ("a b", {"requested": 2}, 400, "qualifier"),
        ("x" * 129, {"requested": 2}, 400, "qualifier"),
        ("9", {"requested": 2}, 404, None),
        ("none", {"requested": 2}, 404, None),
    ],
)
async def test_what_is_refused(
    api: Api,
    function: str,
    qualifier: str,
    body: dict[str, Any],
    status: int,
    field: str | None,
) -> None:
    refused = await api("PUT", path_of(function, qualifier), json=body)
    assert refused.status_code == status, refused.text
    assert [error["field"] for error in refused.json().get("errors", [])] == ([field] if field else [])


async def test_a_stranger_sees_nothing(api: Api, function: str) -> None:
    stranger = await api.key(await api.workspace("other"))
    for method, qualifier in (("GET", ""), ("GET", "1"), ("PUT", "1"), ("DELETE", "1")):
        sent = {"json": {"requested": 1}} if method == "PUT" else {}
        answer = await api(method, path_of(function, qualifier), key=stranger, **sent)
        assert (answer.status_code, answer.json()["detail"]) == (404, "no such function")
