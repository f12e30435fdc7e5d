"""`/api/functions/{id}/url`: settings of a URL, by REST; AWS's tools see the same ones."""

from typing import Any

import pytest

from .conftest import Api

CORS = {"allow_origins": ["*"], "allow_methods": ["GET"], "max_age": 60, "allow_credentials": True}


async def stored(api: Api, function: str, body: dict[str, Any], **params: str) -> dict[str, Any]:
    answer = await api("PUT", f"/api/functions/{function}/url", json=body, params=params)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def auth(api: Api, function: str) -> str:
    return str((await api("GET", f"/api/functions/{function}")).json()["auth"])


async def test_settings_of_a_functions_url(api: Api) -> None:
    """Set, shown, replaced as a whole, removed; who may call it follows, and the same again changes nothing."""
    made = await api.function()
    path = f"/api/functions/{made['id']}/url"
    assert (await api("GET", path)).status_code == 404
    found = await stored(api, made["id"], {"auth_type": "NONE", "invoke_mode": "RESPONSE_STREAM", "cors": CORS})
    assert found == {
        "function": made["id"],
        "alias": None,
        "url": made["url"],
        "auth_type": "NONE",
        "open": True,
        "invoke_mode": "RESPONSE_STREAM",
        "cors": {"allow_headers": None, "expose_headers": None, **CORS},
        "created_at": found["created_at"],
        "updated_at": found["created_at"],
    }
    assert (await api("GET", path)).json() == found
    revision = (await api("GET", f"/api/functions/{made['id']}")).json()["revision"]
    assert await stored(api, made["id"], {"auth_type": "NONE", "invoke_mode": "RESPONSE_STREAM", "cors": CORS}) == found
    assert (await api("GET", f"/api/functions/{made['id']}")).json()["revision"] == revision
    found = await stored(api, made["id"], {"auth_type": "AWS_IAM", "cors": {}})
    assert (found["auth_type"], found["open"], found["invoke_mode"], found["cors"]) == (
        "AWS_IAM", False, "BUFFERED", None,
    )  # fmt: skip
    assert await auth(api, made["id"]) == "iam"
    assert [(await api("DELETE", path)).status_code for _ in range(2)] == [204, 204]
    assert (await api("GET", path)).status_code == 404
    assert await auth(api, made["id"]) == "iam"


async def test_nothing_is_opened_beside_the_settings(api: Api) -> None:
    """`auth` may ask for more than a URL's settings, and not for less."""
    made = await api.function()
    path = f"/api/functions/{made['id']}"
    await stored(api, made["id"], {"auth_type": "AWS_IAM"})
    refused = await api("PATCH", path, json={"auth": "none"})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "auth")
    assert (await api("PATCH", path, json={"auth": "key"})).status_code == 200
    assert not (await api("GET", f"{path}/url")).json()["open"]
    assert (await api("DELETE", f"{path}/url")).status_code == 204
    assert (await api("PATCH", path, json={"auth": "none"})).status_code == 200
    # To remove what is not there closes nothing.
    assert (await api("DELETE", f"{path}/url")).status_code == 204
    assert await auth(api, made["id"]) == "none"


async def test_settings_of_an_aliass_url(api: Api, function: str) -> None:
    """Its own, beside the function's."""
    path = f"/api/functions/{function}"
    alias = (await api("PUT", f"{path}/aliases/live", json={"version": "1"})).json()
    found = await stored(api, function, {"auth_type": "NONE", "cors": CORS}, alias="live")
    assert (found["alias"], found["url"], found["open"]) == ("live", alias["url"], True)
    assert (await api("GET", f"{path}/url")).status_code == 404
    own = await stored(api, function, {"auth_type": "AWS_IAM"})
    assert own["url"] != found["url"]
    assert (await api("GET", f"{path}/url", params={"alias": "live"})).json() == found
    assert not (await stored(api, function, {"auth_type": "AWS_IAM"}, alias="live"))["open"]
    for _ in range(2):
        assert (await api("DELETE", f"{path}/url", params={"alias": "live"})).status_code == 204
    for method in ("GET", "DELETE"):
        assert (await api(method, f"{path}/url", params={"alias": "none"})).status_code == 404
    assert (await api("PUT", f"{path}/url", params={"alias": "none"}, json={"auth_type": "NONE"})).status_code == 404
    assert (await api("GET", f"{path}/url")).json() == own


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "auth_type"),
        ({"auth_type": "OPEN"}, "auth_type"),
        ({"auth_type": "NONE", "invoke_mode": "FAST"}, "invoke_mode"),
        ({"auth_type": "NONE", "cors": {"origins": ["*"]}}, "cors.origins"),
        ({"auth_type": "NONE", "cors": {"max_age": 86_401}}, "cors.max_age"),
        ({"auth_type": "NONE", "cors": {"allow_origins": ["a\r\nx: y"]}}, "cors.allow_origins[0]"),
        ({"auth_type": "NONE", "cors": {"allow_headers": ["a,b"]}}, "cors.allow_headers[0]"),
        ({"auth_type": "NONE", "cors": {"allow_methods": ["OPTIONS"]}}, "cors.allow_methods[0]"),
        ({"auth_type": "NONE", "cors": {"expose_headers": ["x" * 1000] * 17}}, "cors"),
    ],
)
async def test_what_no_url_can_be_told(api: Api, body: dict[str, Any], field: str) -> None:
    function = str((await api.function())["id"])
    refused = await api("PUT", f"/api/functions/{function}/url", json=body)
    assert refused.status_code == 400
    assert [error["field"] for error in refused.json()["errors"]] == [field]
    for wrong in ("1", "a b", "$LATEST"):
        answer = await api("PUT", f"/api/functions/{function}/url", params={"alias": wrong}, json={"auth_type": "NONE"})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "alias")


async def test_a_stranger_sees_no_url(api: Api) -> None:
    function = str((await api.function())["id"])
    stranger = await api.key(await api.workspace("other"))
    for method in ("GET", "PUT", "DELETE"):
        sent = {"json": {"auth_type": "NONE"}} if method == "PUT" else {}
        answer = await api(method, f"/api/functions/{function}/url", key=stranger, **sent)
        assert (answer.status_code, answer.json()["detail"]) == (404, "no such function")
