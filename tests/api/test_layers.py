"""Layers on the REST surface."""

import base64
import io
import zipfile

from .conftest import CODE, Api

LAYERS = "/api/workspaces/default/layers"
FUNCTIONS = "/api/workspaces/default/functions"


def content(word: str = "1") -> str:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("python/shared.py", f"WORD = {word}\n")
    return base64.b64encode(whole.getvalue()).decode()


async def publish(api: Api, name: str = "shared", **more: object) -> dict[str, object]:
    made = await api("POST", LAYERS, json={"name": name, "content": content(), **more})
    assert made.status_code == 201, made.text
    shown: dict[str, object] = made.json()
    return shown


async def test_a_layer_from_first_to_last(api: Api) -> None:
    made = await api("POST", LAYERS, json={"name": "shared", "content": content(), "runtimes": ["python3.12"]})
    layer = made.json()
    path = made.headers["location"]
    assert path == f"{LAYERS}/shared/versions/1"
    assert set(layer) == {
        "name", "version", "arn", "description", "runtimes", "architectures", "license", "size", "unzipped_size",
        "sha256", "created_at",
    }  # fmt: skip
    assert (layer["version"], layer["runtimes"], layer["unzipped_size"]) == (1, ["python3.12"], 9)
    assert (await api("GET", path)).json() == layer
    second = await publish(api)
    assert (await api("GET", LAYERS)).json()["items"] == [second]
    assert (await api("GET", f"{LAYERS}/shared/versions")).json()["items"] == [second, layer]
    assert (await api("DELETE", path)).status_code == 204
    assert (await api("DELETE", path)).status_code == 204
    assert (await api("GET", path)).status_code == 404
    assert (await api("GET", f"{LAYERS}/shared/versions")).json()["items"] == [second]


async def test_the_same_request_publishes_once(api: Api) -> None:
    body = {"name": "shared", "content": content()}
    first, again = [await api("POST", LAYERS, json=body, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert first.json() == again.json()
    assert len((await api("GET", f"{LAYERS}/shared/versions")).json()["items"]) == 1


async def test_functions_have_layers(api: Api) -> None:
    """Absent stays, a list replaces, the empty one takes them away; the order is what was asked for."""
    one, two = await publish(api, "one"), await publish(api, "two")
    body = {"name": "f", "runtime": "python3.12", "code": CODE, "layers": [two["arn"], one["arn"]]}
    made = (await api("POST", FUNCTIONS, json=body)).json()
    assert made["layers"] == [two["arn"], one["arn"]]
    path = f"/api/functions/{made['id']}"
    assert (await api("PATCH", path, json={"timeout": 9})).json()["layers"] == made["layers"]
    assert (await api("PATCH", path, json={"layers": [one["arn"]]})).json()["layers"] == [one["arn"]]
    assert (await api("PATCH", path, json={"layers": []})).json()["layers"] == []


async def test_what_is_wrong_is_said_by_its_field(api: Api) -> None:
    layer = await publish(api)
    absent = str(layer["arn"])[:-1] + "9"
    function = {"name": "f", "runtime": "python3.12", "code": CODE}
    for path, body, field in (
        (FUNCTIONS, function | {"layers": [absent]}, "layers"),
        (FUNCTIONS, function | {"layers": ["shared"]}, "layers"),
        (FUNCTIONS, function | {"layers": [absent] * 6}, "layers"),
        (FUNCTIONS, function | {"layers": [layer["arn"], absent]}, "layers"),
        (LAYERS, {"name": "a b", "content": content()}, "name"),
        (LAYERS, {"name": "x"}, "content"),
        (LAYERS, {"name": "x", "content": CODE}, "content"),
        (LAYERS, {"name": "x", "content": "?" * 8}, "content"),
        (LAYERS, {"name": "x", "content": content(), "architectures": ["vax"]}, "architectures"),
        (LAYERS, {"name": "x", "content": content(), "more": 1}, "more"),
    ):
        refused = await api("POST", path, json=body)
        assert refused.status_code == 400, refused.text
        assert refused.json()["type"] == "urn:lateen:problem:invalid-input"
        assert refused.json()["errors"][0]["field"].startswith(field), refused.text
    for missing in (f"{LAYERS}/shared/versions/0", f"{LAYERS}/shared/versions/{10**30}", f"{LAYERS}/a%20b/versions/1"):
        assert (await api("GET", missing)).status_code == 404
    assert (await api("GET", "/api/workspaces/nobody/layers")).status_code == 404


async def test_others_see_nothing_of_them(api: Api) -> None:
    """Neither by list nor by name, and a function of theirs can't have them."""
    layer = await publish(api)
    other = await api.workspace("other")
    assert (await api("GET", f"/api/workspaces/{other}/layers")).json()["items"] == []
    body = {"name": "f", "runtime": "python3.12", "code": CODE, "layers": [layer["arn"]]}
    assert (await api("POST", f"/api/workspaces/{other}/functions", json=body)).status_code == 400
