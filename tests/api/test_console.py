"""The console surface: functions by hash, in the key's own workspace."""

import base64

import pytest

from .conftest import Api

SOURCE = "def handler(event, context):\n    return 'hé'\n"


async def test_from_first_to_last(api: Api) -> None:
    made = await api("POST", "/lambda", json={"name": "hi", "file": SOURCE, "runtime": "python", "version": "3.12"})
    assert made.status_code == 201
    function = made.json()
    assert set(function) == {
        "hash", "name", "runtime", "version", "url", "auth", "state", "state_reason", "reg_date", "update_date"
    }  # fmt: skip
    assert (function["runtime"], function["version"], function["auth"]) == ("python", "3.12", "none")
    path = made.headers["location"]
    assert path == f"/lambda?hash={function['hash']}"
    assert (await api("GET", path)).json()["file"] == SOURCE
    changed = await api("PATCH", "/lambda", json={"hash": function["hash"], "file": "x = 1\n", "name": "ho"})
    assert (changed.status_code, changed.json()["name"], changed.json()["hash"]) == (200, "ho", function["hash"])
    assert (await api("GET", path)).json()["file"] == "x = 1\n"
    assert [each["name"] for each in (await api("GET", "/lambda/list")).json()["items"]] == ["ho"]
    assert (await api("DELETE", path)).status_code == 204
    assert (await api("DELETE", path)).status_code == 204
    assert (await api("GET", path)).status_code == 404
    assert (await api("GET", "/lambda/list")).json()["items"] == []
    assert (await api("DELETE", f"/lambda?hash={'0' * 32}")).status_code == 404


@pytest.mark.parametrize("runtime", [{"runtime": "python3.12"}, {"runtime": "python", "version": "3.12"}])
async def test_file_is_text_or_base64(api: Api, runtime: dict[str, str]) -> None:
    """And is given back as the text that it is."""
    for name, file in (("text", SOURCE), ("base64", base64.b64encode(SOURCE.encode()).decode())):
        made = await api("POST", "/lambda", json={"name": name, "file": file} | runtime)
        assert (await api("GET", made.headers["location"])).json()["file"] == SOURCE


async def test_in_the_keys_workspace(api: Api) -> None:
    """An installation's key works in `default`, a workspace's key in its own."""
    team = await api.workspace("team")
    key = await api.key(team)
    await api("POST", "/lambda", json={"name": "a", "file": "x = 1", "runtime": "python3.12"})
    await api("POST", "/lambda", key=key, json={"name": "b", "file": "x = 1", "runtime": "python3.12"})
    assert [each["name"] for each in (await api("GET", "/lambda/list")).json()["items"]] == ["a"]
    assert [each["name"] for each in (await api("GET", "/lambda/list", key=key)).json()["items"]] == ["b"]
    listed = (await api("GET", f"/api/workspaces/{team}/functions")).json()["items"]
    assert [each["name"] for each in listed] == ["b"]


async def test_runtimes_and_starters(api: Api) -> None:
    """Seeding them again changes nothing."""
    runtimes = (await api("GET", "/lambda/runtimes")).json()
    assert {"runtime", "version", "disabled", "reg_date", "update_date"} <= set(runtimes[0])
    assert ("python", "3.12") in {(each["runtime"], each["version"]) for each in runtimes}
    assert (await api("GET", "/lambda/setup")).json() == runtimes
    assert (await api("GET", "/lambda/setup")).json() == runtimes
    starters = (await api("GET", "/lambda/default")).json()
    assert {(each["runtime"], each["version"]) for each in starters} == {
        (each["runtime"], each["version"]) for each in runtimes
    }
    (starter,) = (await api("GET", "/lambda/default?runtime=python&version=3.12")).json()
    made = await api("POST", "/lambda", json={"name": "s", "file": starter["file"], "runtime": "python3.12"})
    assert made.status_code == 201
    assert (await api("GET", "/lambda/default?runtime=cobol")).json() == []
