"""Health, metrics, request ids, pages from elsewhere, documentation, and the end."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from lateen.api.docs import ASSET_PATHS

from .conftest import PROGRAM, Api, StartServer, free_port, run_api


async def test_health(shared_api: Api) -> None:
    for path in ("/health", "/health/live"):
        answer = await shared_api("GET", path, key=None)
        assert (answer.status_code, answer.json()) == (200, {"status": "healthy"})


async def test_ready_names_the_store_that_is_down(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """503, unless the stores are not asked about."""
    ready = await api("GET", "/health/ready", key=None)
    assert (ready.status_code, ready.json()) == (200, {"status": "ready", "stores": {"table": "ok", "objects": "ok"}})
    for path in (Path(api.platform.settings.data, "objects"),):
        path.rename(path.with_name("gone"))
    down = await api("GET", "/health/ready", key=None)
    assert down.status_code == 503
    assert down.json() == {"status": "unready", "stores": {"table": "ok", "objects": "down"}}
    assert down.headers["retry-after"]
    alone = await api("GET", "/health/ready?stores=false", key=None)
    assert (alone.status_code, alone.json()) == (200, {"status": "ready"})


async def test_ready_does_not_wait_for_a_store_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has a deadline, which is a setting."""

    async def hang() -> None:
        await asyncio.sleep(60)

    async with run_api(tmp_path, store_seconds=0.1) as api:
        monkeypatch.setitem(api.platform.readiness._stores, "table", hang)  # type: ignore[arg-type]
        began = time.monotonic()
        answer = await api("GET", "/health/ready", key=None)
        assert time.monotonic() - began < 20
        assert (answer.status_code, answer.json()["stores"]) == (503, {"table": "down", "objects": "ok"})


async def test_ready_asks_a_store_once_for_all_who_ask_meanwhile(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes no key, so it must not be a way to have the stores asked without end."""
    asked, answers = [], asyncio.Event()

    async def ask() -> None:
        asked.append(1)
        await answers.wait()

    monkeypatch.setitem(api.platform.readiness._stores, "table", ask)  # type: ignore[arg-type]
    waiting = [asyncio.create_task(api("GET", "/health/ready", key=None)) for _ in range(20)]
    while not asked:
        await asyncio.sleep(0.01)
    left = waiting.pop(0)
    left.cancel()
    await asyncio.sleep(0.1)
    answers.set()
    assert {each.status_code for each in await asyncio.gather(*waiting)} == {200}
    assert len(asked) == 1
    assert (await api("GET", "/health/ready", key=None)).status_code == 200
    assert len(asked) == 2


async def test_metrics(api: Api) -> None:
    """With a key; a route is counted by its template, an unknown path as one."""
    function = await api.function()
    await api("GET", f"/api/functions/{function['id']}")
    await api("GET", "/api/functions/never")
    await api("GET", "/some/path")
    answer = await api("GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    lines = answer.text.splitlines()
    route = 'method="GET",route="/api/functions/{function_id}"'
    assert f'lateen_http_requests_total{{{route},status="200"}} 1.0' in lines
    assert f'lateen_http_requests_total{{{route},status="404"}} 1.0' in lines
    assert 'lateen_http_requests_total{method="GET",route="other",status="404"} 1.0' in lines
    assert any(line.startswith("process_resident_memory_bytes") for line in lines)
    assert any(line.startswith("# TYPE lateen_gateway_answers") for line in lines)
    assert function["id"] not in answer.text
    assert function["hash"] not in answer.text


async def test_metrics_are_the_installations(shared_api: Api) -> None:
    """The invokers' name every workspace's functions, so a workspace's key doesn't get them."""
    answer = await shared_api("GET", "/metrics", key=await shared_api.key(await shared_api.workspace("tenant")))
    assert (answer.status_code, answer.json()["type"]) == (403, "urn:lateen:problem:forbidden")


@pytest.mark.parametrize("given", ["abc", "3f0c8f0e-2f5a-4c53-9d3b-0f6f0b6f6a55", "a:b_c.d"])
async def test_request_id_is_the_callers(shared_api: Api, given: str) -> None:
    answer = await shared_api("GET", "/health", headers={"X-Request-Id": given})
    assert answer.headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "a b", "a" * 129, '"', "\xe9", "{}", "a\tb"])
async def test_request_id_is_ours(shared_api: Api, given: str) -> None:
    """Where the caller's is none that should be in a log."""
    answer = await shared_api("GET", "/health", headers={"X-Request-Id": given.encode("latin-1")})
    assert re.fullmatch(r"[0-9a-f-]{36}", answer.headers["x-request-id"])


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "localhost@evil", "127.1", "0.0.0.0",
     "a b", "[::2]", "localhost:99999999"],
)  # fmt: skip
async def test_other_host_names_are_refused(shared_api: Api, host: str) -> None:
    """A page whose own name was made to point here sends that name. Health is asked by whatever name there is."""
    answer = await shared_api("GET", "/api/workspaces", headers={"Host": host})
    assert answer.status_code == 421
    assert answer.json()["type"] == "urn:lateen:problem:misdirected"
    assert (await shared_api("GET", "/docs", headers={"Host": host})).status_code == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000"])
async def test_our_host_names(shared_api: Api, host: str) -> None:
    assert (await shared_api("GET", "/api/workspaces", headers={"Host": host})).status_code == 200


async def test_health_is_for_every_host_and_page(shared_api: Api) -> None:
    headers = {"Host": "10.1.2.3", "Origin": "https://evil.example"}
    for path in ("/health", "/health/live", "/health/ready"):
        assert (await shared_api("GET", path, key=None, headers=headers)).status_code == 200


async def test_a_functions_url_is_for_every_host_and_page(shared_api: Api) -> None:
    """The function decides; here it does not run, which is another answer than that of the check."""
    function = await shared_api.function()
    headers = {"Host": "shop.example", "Origin": "https://elsewhere.example"}
    answer = await shared_api("GET", f"/{function['hash']}", key=None, headers=headers)
    assert answer.status_code == 503


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "http://localhost:9000", "http://localhost", "file://", "http://localhost:8000/"],
)
async def test_pages_from_elsewhere_are_refused(shared_api: Api, origin: str) -> None:
    """With a key too, and also where they only ask whether they may."""
    for method in ("GET", "POST", "OPTIONS"):
        headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        answer = await shared_api(method, "/api/workspaces", headers=headers)
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers
    assert (await shared_api("GET", "/api/workspaces", headers={"Origin": "http://localhost:8000"})).status_code == 200


async def test_cors(tmp_path: Path) -> None:
    """Origins that the setting names may call, from the preflight to the answer, refusals included."""
    async with run_api(tmp_path, cors_origins=("https://console.example",)) as api:
        headers = {"Origin": "https://console.example"}
        asked = headers | {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "authorization"}
        preflight = await api("OPTIONS", "/api/workspaces", key=None, headers=asked)
        assert preflight.status_code == 204
        assert preflight.headers["access-control-allow-origin"] == "https://console.example"
        assert "PATCH" in preflight.headers["access-control-allow-methods"]
        assert "Authorization" in preflight.headers["access-control-allow-headers"]
        for answer in (
            await api("GET", "/api/workspaces", headers=headers),
            await api("GET", "/api/workspaces", key=None, headers=headers),
        ):
            assert answer.headers["access-control-allow-origin"] == "https://console.example"
            assert "ETag" in answer.headers["access-control-expose-headers"]
            assert answer.headers["vary"] == "Origin"
        assert (await api("GET", "/api/keys", headers={"Origin": "https://other.example"})).status_code == 403
        assert "access-control-allow-origin" not in (await api("GET", "/api/workspaces")).headers


async def test_who_opened_the_documentation_sees_nothing_of_it(shared_api: Api) -> None:
    """A key that is typed into it is not for the page of a function, which is of the same origin."""
    for path in ("/docs", "/redoc"):
        page = await shared_api("GET", path, key=None)
        assert page.headers["cross-origin-opener-policy"] == "same-origin", path


async def test_the_documentation_asks_no_other_host(shared_api: Api) -> None:
    """Pages, their files, and what they may load: all from here, and no script that is not a file."""
    for path in ("/docs", "/redoc"):
        page = await shared_api("GET", path, key=None)
        assert page.status_code == 200
        named = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert named
        assert set(named) <= ASSET_PATHS
        assert "<script>" not in page.text
        policy = dict(part.strip().partition(" ")[::2] for part in page.headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == "'self'"
        assert "http" not in page.headers["content-security-policy"]
        assert "//" not in page.text.replace("<!doctype html>", "")
    for path in ASSET_PATHS:
        file = await shared_api("GET", path, key=None)
        assert (file.status_code, bool(file.content)) == (200, True)
        assert file.headers["x-content-type-options"] == "nosniff"
        assert file.headers["content-type"].split(";")[0] in ("text/css", "text/javascript", "image/png")
        assert b"https://cdn." not in file.content
    assert (await shared_api("GET", "/docs/../../../etc/passwd", key=None)).status_code in (401, 404)


async def test_head_is_get_without_a_body(serve: StartServer) -> None:
    served = await serve()
    answer = await served.exchange(b"HEAD /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"content-length: 20" in answer
    assert answer.endswith(b"\r\n\r\n")


async def test_one_log_line_for_each_request(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    """With what an operator looks for, and without what nobody may read there."""
    caplog.set_level("INFO")
    function = await api.function()
    caplog.clear()
    await api("GET", f"/lambda?hash={function['hash']}", headers={"X-Request-Id": "r1"})
    (line,) = [record for record in caplog.records if record.message == "request finished"]
    facts = vars(line)
    assert (facts["method"], facts["route"], facts["status"]) == ("GET", "/lambda", 200)
    assert facts["duration_ms"] > 0
    assert facts["key_id"] in api.secret
    assert api.secret not in str(facts)
    assert function["hash"] not in str(facts)


async def test_stop_finishes_what_runs(serve: StartServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unready at once; a request that runs gets its answer; then the server ends by itself."""
    served = await serve(drain_lag_seconds=0.5)
    release = asyncio.Event()

    async def slow(*_: Any, **__: Any) -> Any:
        await release.wait()
        return await type(served.platform.workspaces).get(served.platform.workspaces, *_, **__)

    monkeypatch.setattr(served.platform.workspaces, "get", slow)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.port}", trust_env=False) as client:
        headers = {"Authorization": f"Bearer {served.secret}"}
        running = asyncio.create_task(client.get("/api/workspaces/default", headers=headers))
        await asyncio.sleep(0.1)
        served.server.stop()
        ready = await client.get("/health/ready")
        assert (ready.status_code, ready.json()) == (503, {"status": "unready", "reason": "stopping"})
        assert (await client.get("/health/ready?stores=false")).status_code == 503
        assert (await client.get("/health/live")).status_code == 200
        await asyncio.sleep(0.8)
        assert not served.task.done()
        release.set()
        answer = await running
        assert answer.status_code == 200
        assert answer.headers["connection"] == "close"
    await asyncio.wait_for(served.task, 3)


@pytest.mark.parametrize("how", ["second stop", "time is up"])
async def test_stop_does_not_wait_for_ever(serve: StartServer, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """A second signal, or the end of the time: what runs is cut with a 503, and everything is closed in order."""
    served = await serve(drain_seconds=1.0 if how == "time is up" else 30.0)

    async def for_ever(*_: Any, **__: Any) -> Any:
        await asyncio.sleep(60)

    monkeypatch.setattr(served.platform.workspaces, "get", for_ever)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.port}", trust_env=False) as client:
        headers = {"Authorization": f"Bearer {served.secret}"}
        running = asyncio.create_task(client.get("/api/workspaces/default", headers=headers))
        await asyncio.sleep(0.1)
        served.server.stop()
        await asyncio.sleep(0.3)
        assert not served.task.done()
        if how == "second stop":
            served.server.stop()
        answer = await asyncio.wait_for(running, 3)
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:lateen:problem:unavailable")
    await asyncio.wait_for(served.task, 3)
    assert served.platform.table._is_closed


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_process_in_order(tmp_path: Path, sig: signal.Signals) -> None:
    """Exit status 0, every line of its log is one JSON object, and no secret is in any of them."""
    port = free_port()
    env = os.environ | {"LATEEN_DATA": str(tmp_path / "data"), "LATEEN_PORT": str(port), "ENVIRONMENT": "test"}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            async with asyncio.timeout(20):
                while True:
                    try:
                        await client.get("/health")
                        break
                    except httpx.TransportError:
                        await asyncio.sleep(0.05)
            secret = (tmp_path / "data" / "admin").read_text().strip()
            headers = {"Authorization": f"Bearer {secret}", "X-Request-Id": "rid-1"}
            assert (await client.get("/api/workspaces", headers=headers)).status_code == 200
            await client.get("/x\u2028y%0a{}", headers={"Authorization": f"Bearer {secret}x"})
        process.send_signal(sig)
        output, _ = await asyncio.to_thread(process.communicate, timeout=15)
    finally:
        process.kill()
    assert process.returncode == 0
    lines = [json.loads(line) for line in output.splitlines()]
    for line in lines:
        assert {"timestamp", "level", "logger", "message", "service", "environment"} <= set(line)
        assert (line["service"], line["environment"]) == ("lateen", "test")
    assert [line["request_id"] for line in lines if line.get("route") == "/api/workspaces"] == ["rid-1"]
    assert [line["message"] for line in lines][-2:] == ["stopping", "stopped"]
    assert secret not in output.decode()
    assert (tmp_path / "data" / "admin").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "data" / "master").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


async def test_a_second_start_finds_everything(tmp_path: Path) -> None:
    """The same key, the same functions."""
    async with run_api(tmp_path) as api:
        secret, function = api.secret, await api.function()
    async with run_api(tmp_path) as api:
        assert api.secret == secret
        assert (await api("GET", f"/api/functions/{function['id']}")).json()["hash"] == function["hash"]
