"""Who is let in: nobody without a key, but to a short list of paths."""

import httpx
import pytest
from litestar.routes import HTTPRoute

from lateen.api.application import litestar_app
from lateen.api.docs import ASSET_PATHS
from lateen.api.edge import PUBLIC

from .conftest import Api

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
WRONG = "ltn_" + "a" * 17 + "_" + "0" * 48


@pytest.fixture
def api(shared_api: Api) -> Api:
    return shared_api


def routes() -> list[str]:
    app = litestar_app(None, readiness=None, metrics=None)  # type: ignore[arg-type]
    found = sorted({route.path for route in app.routes if isinstance(route, HTTPRoute)})
    assert len(found) > 20
    return [path.replace(":str", "").replace("{", "").replace("}", "") for path in found]


def test_the_public_paths_are_these() -> None:
    """Adding one is a decision, made here too."""
    assert {"/health", "/health/live", "/health/ready", "/docs", "/redoc", "/openapi.json"} | ASSET_PATHS == PUBLIC
    assert all(path.startswith(("/docs/", "/redoc/")) for path in ASSET_PATHS)


@pytest.mark.parametrize("path", [*routes(), "/", "/nothing", "/api/nothing", "/lambda/nothing"])
async def test_every_route_and_method_asks_for_a_key(api: Api, path: str) -> None:
    """The whole matrix: a route or method that is added later is closed until it is listed as public."""
    for method in METHODS:
        for key in (None, WRONG):
            answer = await api(method, path, key=key, json={} if method in ("POST", "PATCH", "PUT") else None)
            if path in PUBLIC:
                assert answer.status_code in (200, 204, 405), (method, path, answer.text)
            else:
                assert answer.status_code == 401, (method, path, answer.text)
                assert answer.headers["www-authenticate"] == 'Bearer realm="lateen"'


@pytest.mark.parametrize(
    "path",
    ["//health/../api/keys", "/health/", "/%68ealth/x", "/docs/../api/keys", "/API/keys", "/api/keys/", "//api//keys"],
)
async def test_other_spellings_are_no_way_around(api: Api, path: str) -> None:
    """What is not letter by letter a public path needs a key."""
    answer = await api.client.send(httpx.Request("GET", httpx.URL("http://localhost:8000", raw_path=path.encode())))
    assert answer.status_code == 401


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic YTpi",
        "Bearer {key} x",
        "{key}",
        "Bearer x\x80",
        "Bearer " + "a" * 2000,
        "Token {key}",
    ],
)
async def test_malformed_credentials(api: Api, authorization: str) -> None:
    """Each is a 401, and says so in our words."""
    header = authorization.format(key=api.secret).encode("latin-1")
    answer = await api.client.get("/api/keys", headers={b"authorization": header})  # type: ignore[dict-item]
    assert answer.status_code == 401
    assert answer.json()["type"] == "urn:lateen:problem:unauthenticated"


async def test_two_keys_in_one_request(api: Api) -> None:
    """Which of the two would count is nobody's guess."""
    headers = [("authorization", f"Bearer {api.secret}"), ("authorization", "Bearer other")]
    assert (await api.client.get("/api/keys", headers=headers)).status_code == 401


async def test_revoked_key(api: Api) -> None:
    """From the answer on."""
    made = (await api("POST", "/api/keys", json={})).json()
    assert (await api("GET", "/api/keys", key=made["secret"])).status_code == 200
    assert (await api("DELETE", f"/api/keys/{made['id']}")).status_code == 204
    assert (await api("GET", "/api/keys", key=made["secret"])).status_code == 401


async def test_another_workspaces_things_are_not_there(api: Api) -> None:
    """A key sees its own workspace; the rest answers as if it did not exist, on every route that names a thing."""
    ours, theirs = await api.workspace("ours"), await api.workspace("theirs")
    key, their_key = await api.key(ours), await api.key(theirs)
    function = await api.function(workspace=theirs)
    keys = (await api("GET", "/api/keys", key=their_key)).json()["items"]
    calls = [
        ("GET", f"/api/workspaces/{theirs}", None),
        ("GET", f"/api/workspaces/{theirs}/functions", None),
        ("POST", f"/api/workspaces/{theirs}/functions", {"name": "x", "runtime": "python3.12", "code": "eD0x"}),
        ("GET", f"/api/functions/{function['id']}", None),
        ("PATCH", f"/api/functions/{function['id']}", {"timeout": 5}),
        ("DELETE", f"/api/functions/{function['id']}", None),
        ("GET", f"/api/functions/{function['id']}/logs", None),
        ("POST", f"/api/functions/{function['id']}/invocations", {}),
        ("POST", "/api/keys", {"workspace": theirs}),
        ("DELETE", f"/api/keys/{keys[0]['id']}", None),
        ("GET", f"/lambda?hash={function['hash']}", None),
        ("PATCH", "/lambda", {"hash": function["hash"], "name": "y"}),
        ("DELETE", f"/lambda?hash={function['hash']}", None),
    ]
    for method, path, body in calls:
        answer = await api(method, path, key=key, json=body)
        assert answer.status_code == 404, (method, path, answer.text)
        missing = path.replace(function["id"], "a" * 17).replace(theirs, "b" * 17).replace(function["hash"], "c" * 32)
        missing = missing.replace(keys[0]["id"], "d" * 17)
        body = (
            {
                n: v.replace(theirs, "b" * 17).replace(function["hash"], "c" * 32)
                for n, v in body.items()
                if isinstance(v, str)
            }
            if body
            else body
        )
        same = await api(method, missing, key=key, json=body)
        assert (same.status_code, same.json()["detail"]) == (404, answer.json()["detail"])
    assert [w["id"] for w in (await api("GET", "/api/workspaces", key=key)).json()["items"]] == [ours]
    assert (await api("GET", f"/api/functions/{function['id']}", key=their_key)).status_code == 200


async def test_workspaces_are_the_installations(api: Api) -> None:
    """A workspace's key makes and removes none, its own neither."""
    ours = await api.workspace("another")
    key = await api.key(ours)
    assert (await api("POST", "/api/workspaces", key=key, json={"name": "mine"})).status_code == 403
    assert (await api("DELETE", f"/api/workspaces/{ours}", key=key)).status_code == 403
