"""The chart's IAM policies: each component may make the calls that it makes, and no others."""

import asyncio
import base64
import json
import time
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Any

import httpx
import msgspec
import pytest
from aws_policies import BUCKET, PACKAGES, TABLE, Need, granted, is_allowed, read_policy, recorded
from botocore.session import get_session
from cluster_stores import ClusterStores
from invoker_process import package
from redis_server import RedisServer, need_redis

from lateen.cluster.api import ApiProcess
from lateen.cluster.gateway import GatewayProcess
from lateen.cluster.migrate import migrate
from lateen.cluster.parts import master_of, objects_of, table_of
from lateen.cluster.secrets import installation_values
from lateen.cluster.settings import ClusterSettings
from lateen.cluster.worker import WorkerProcess
from lateen.domain.access import PLATFORM
from lateen.domain.events import EventInvokeChange
from lateen.domain.functions import LATEST
from lateen.ports.table import Item, Key
from lateen.services.assembled import assemble, event_worker
from lateen.services.changes import ChangeReader
from lateen.services.controller import Controller
from lateen.services.dead_letters import DeadLetter, key_of
from lateen.services.events import INLINE_LIMIT_BYTES, Events
from lateen.services.tombstones import KEPT_S, Tombstones
from lateen.testing.fake_deployer import FakeAnswer, FakeDeployer, FakeInvoker
from lateen_invoker import control
from lateen_invoker.records import ExecutionRecord
from lateen_invoker.rollups import Rollup
from lateen_invoker.sink import Writer

CHECKOUT = Path(__file__).parents[2]
POLICIES = CHECKOUT / "charts" / "lateen" / "docs" / "iam"
RUNTIMES = CHECKOUT / "runtimes"
CODE = base64.b64encode(b"def handler(event, context):\n    return event\n").decode()
LAYER = base64.b64encode(package({"python/shared.py": "WORD = 1"})).decode()
CONFIG = {
    "release": "lateen",
    "namespace": "lateen",
    "images": {"invoker": "invoker", "runtimes": {"python3.12": "python"}},
    "stores": {},
    "network": {"platformSelector": {}},
}


def filled(name: str) -> dict[str, Any]:
    """The policy as the README's command makes it."""
    text = (POLICIES / f"{name}.json").read_text()
    for placeholder, value in {"REGION": "us-east-1", "ACCOUNT": "111122223333", "TABLE": "lateen"}.items():
        text = text.replace(placeholder, value)
    text = text.replace("PACKAGES", PACKAGES.rpartition(":")[2])
    found: dict[str, Any] = json.loads(text.replace("BUCKET", BUCKET.rpartition(":")[2]))
    return found


def check(name: str, needs: set[Need]) -> None:
    """What was needed is allowed, and what is allowed was needed."""
    policy = filled(name)
    assert {need for need in needs if not is_allowed(policy, need)} == set()
    assert granted(policy) == {need.action for need in needs}, name


@pytest.fixture
def settings(
    cluster_stores: ClusterStores,
    dynamodb_name: str,
    s3_bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> ClusterSettings:
    """Of an installation on real stores, filled by the migration."""
    for name, value in cluster_stores.environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "functions.json").write_text(json.dumps(CONFIG))
    for name, secret in installation_values().items():
        (tmp_path / name).write_bytes(secret)
    made = ClusterSettings(
        table=dynamodb_name,
        bucket=s3_bucket,
        s3_path_style=True,
        secrets=tmp_path,
        functions_config=tmp_path / "functions.json",
        runtimes=RUNTIMES,
        wait_seconds=5.0,
    )
    migrate(made)
    return made


@pytest.mark.cluster
async def test_api(settings: ClusterSettings) -> None:
    """Every kind of request of the REST surface, and what the process does beside it."""
    with recorded() as needs:
        await use_api(settings)
    check("api", needs)


@pytest.mark.cluster
async def test_code_from_buckets(settings: ClusterSettings) -> None:
    """Beside its own policy the api reads packages, versions among them; nothing of its own bucket for callers."""
    bucket = f"packages-{token_hex(6)}"
    client = get_session().create_client("s3", region_name=settings.region)
    client.create_bucket(Bucket=bucket)
    client.put_object(Bucket=bucket, Key="app.zip", Body=package({"code.py": "def handler(event, context): pass"}))
    process = ApiProcess(settings)
    new = {"name": "packed", "runtime": "python3.12"}
    async with process.running(), client_of(process.app, (settings.secrets / "admin-token").read_text()) as http:

        async def create(**code: str) -> int:
            return (await http.post("/api/workspaces/default/functions", json=new | {"code_s3": code})).status_code

        for listed, status in (([settings.bucket], 400), ([bucket], 200)):
            answer = await http.patch("/api/workspaces/default", json={"code_buckets": listed})
            assert answer.status_code == status
        with recorded() as needs:
            assert await create(bucket=settings.bucket, key="installation") == 403
            assert not [need for need in needs if need.action.startswith("s3:")]
            # A server without versions has none, but is asked for them.
            assert await create(bucket=bucket, key="app.zip", version="0") in (201, 400)
            assert await create(bucket=bucket, key="app.zip") in (201, 409)
    check("code-buckets", {need for need in needs if need.resource.startswith(PACKAGES)})
    assert {need.action for need in needs if need.resource.startswith(BUCKET)} <= granted(filled("api"))


@pytest.mark.cluster
async def test_gateway(settings: ClusterSettings) -> None:
    """Calls of functions, with keys and without: reads, and no other store."""
    open_, closed = await use_api(settings)
    key = {"authorization": f"Bearer {(settings.secrets / 'admin-token').read_text()}"}
    with recorded() as needs:
        process = GatewayProcess(settings)
        async with process.running(), client_of(process.app) as client:
            assert (await client.get("/" + "0" * 32)).status_code == 404
            assert (await client.get(f"/{closed}")).status_code in (401, 403)
            for call in (client.get(f"/{open_}"), client.get(f"/{closed}", headers=key)):
                with suppress(TimeoutError):  # its pods are nowhere, and it waits for them
                    assert (await asyncio.wait_for(call, 1.0)).status_code >= 500
            await process.readiness.check(stores=True)
    check("gateway", needs)


@pytest.mark.cluster
async def test_controller(settings: ClusterSettings) -> None:
    """Comparing, reporting, following the feed of changes, sweeping code and records."""
    await use_api(settings)
    with recorded() as needs:
        table, objects = table_of(settings), objects_of(settings)
        services = assemble(table, objects, master=master_of(settings), runtimes=RUNTIMES)
        now_s = time.time()
        tombstones = Tombstones(table, objects, functions=services.functions, now=lambda: now_s)
        controller = asyncio.create_task(Controller(functions=services.functions, deployer=FakeDeployer()).run())
        await ChangeReader(table, act=services.functions.look_at).poll()
        await asyncio.sleep(1)
        await services.functions.sweep(older_than_s=-60)
        assert await services.layers.sweep(older_than_s=-60) == 1
        for _ in range(3):
            await tombstones.sweep()
            now_s += KEPT_S
        await asyncio.gather(table.ping(), objects.ping())
        # A build: what its Job sent is read, stored under its content's name, and its log is written.
        await objects.put("default/_builds/incoming-1.zip", b"zip")
        assert b"".join([chunk async for chunk in objects.read("default/_builds/incoming-1.zip")]) == b"zip"
        await table.write([Item(key=Key("BUILDLOG#default#1", "000001-000000"), data={"text": "log"})])
        controller.cancel()
        await asyncio.gather(controller, return_exceptions=True)
        await table.close()
        await objects.close()
    check("controller", needs)


@pytest.mark.cluster
def test_migration(settings: ClusterSettings) -> None:
    """A first start that makes table and bucket, and one that finds them."""
    from msgspec.structs import replace

    first = replace(settings, table=f"{settings.table}-new", bucket=f"{settings.bucket}-new")
    with recorded() as needs:
        for _ in range(2):
            migrate(replace(first, create_table=True, create_bucket=True))
        migrate(first)
    check("migrate", needs)


@pytest.mark.cluster
async def test_function_pods(settings: ClusterSettings, tmp_path: Path) -> None:
    """Code is read and records are written, and of the table's partitions only those of functions."""
    from lateen_invoker import fetch

    objects = objects_of(settings)
    await objects.put("ws/fn/code.zip", b"code")
    await objects.close()
    record = ExecutionRecord(
        request_id="r", function_id="f", version="1", timestamp="2026-01-31T23:59:59.123Z", status="success",
        duration_ms=1.0,
    )  # fmt: skip
    with recorded() as needs:
        client = get_session().create_client("s3", region_name=settings.region)
        with open(tmp_path / "package", "wb") as package:
            wanted = fetch.Wanted("ws/fn/code.zip", "", tmp_path, "the code", over=False)
            fetch._download(client, settings.bucket, wanted, package)
        writer = Writer(
            lambda: get_session().create_client("dynamodb", region_name=settings.region), settings.table, retention_s=60
        )
        rollup = Rollup(function_id="f", series="MINUTES", start=0, writer="w", slots=[])
        assert writer.write(control.Records(batch=1, records=[record], rollups=[rollup])) == 0
    check("function-pods", needs)


@pytest.mark.cluster
async def test_worker(settings: ClusterSettings, tmp_path: Path) -> None:
    """Events that end well and badly, small ones and large ones; and what the process does beside it."""
    need_redis()
    await use_api(settings)
    server = RedisServer(tmp_path / "redis")
    server.start()
    process = WorkerProcess(msgspec.structs.replace(settings, redis_url=server.url))
    services = assemble(process._table, process._objects, master=master_of(settings), runtimes=RUNTIMES)
    function = (await services.functions.by_name(PLATFORM, "default", "open-2")).function
    await services.event_configs.put(function, LATEST, EventInvokeChange(maximum_retry_attempts=0))
    events, invoker = Events(process._queue, process._objects), FakeInvoker()
    process._worker = event_worker(services, process._queue, events, invoker=invoker, concurrency=4, region="us-east-1")
    try:
        with recorded() as needs:
            async with process.running():
                await process.readiness.check(stores=True)
                for number, answer in enumerate([FakeAnswer(), FakeAnswer(function_error="Unhandled")]):
                    invoker.answer = answer
                    for size in (10, INLINE_LIMIT_BYTES + 1):
                        await events.accept(function, b"1" * size)
                    async with asyncio.timeout(30):
                        while process._worker._runs.ended.total() < 2 * (number + 1):
                            await asyncio.sleep(0.05)
        assert process._worker._runs.ended == {"success": 2, "failed": 2}
        check("worker", needs)
    finally:
        server.kill()


def test_function_pods_reach_nothing_else() -> None:
    """No read of the table, no partition but a function's, no blob written, removed or listed."""
    policy = filled("function-pods")
    functions = frozenset({"FN#a", "FN#b"})
    assert is_allowed(policy, Need("dynamodb:BatchWriteItem", TABLE, functions))
    for keys in (functions | {"WS#a"}, frozenset({"KEY#a"}), frozenset({"CHANGES"})):
        assert not is_allowed(policy, Need("dynamodb:BatchWriteItem", TABLE, keys))
    for action in ("GetItem", "Query", "Scan", "PutItem", "DeleteItem", "UpdateItem"):
        assert not is_allowed(policy, Need(f"dynamodb:{action}", TABLE, functions))
    assert is_allowed(policy, Need("s3:GetObject", f"{BUCKET}/ws/fn/0.zip"))
    assert not is_allowed(policy, Need("s3:GetObject", "arn:aws:s3:::other/ws/fn/0.zip"))
    for action, resource in (("PutObject", f"{BUCKET}/x"), ("DeleteObject", f"{BUCKET}/x"), ("ListBucket", BUCKET)):
        assert not is_allowed(policy, Need(f"s3:{action}", resource))


def test_no_policy_has_wildcards() -> None:
    """Actions are named one by one, and resources are one table and one bucket."""
    files = sorted(POLICIES.glob("*.json"))
    assert [file.stem for file in files] == [
        "api", "code-buckets", "controller", "function-pods", "gateway", "migrate", "worker"
    ]  # fmt: skip
    for file in files:
        policy = read_policy(file)
        assert policy["Version"] == "2012-10-17"
        assert not [action for action in granted(policy) if "*" in action]
        for statement in policy["Statement"]:
            assert statement["Resource"] in (
                "arn:aws:dynamodb:REGION:ACCOUNT:table/TABLE",
                "arn:aws:s3:::BUCKET",
                "arn:aws:s3:::BUCKET/*",
                "arn:aws:s3:::BUCKET/events/*",
                "arn:aws:s3:::PACKAGES/*",
            )


def test_each_policy_is_described() -> None:
    """The README names the policies and each action, so that nobody has to guess why it is needed."""
    text = (POLICIES / "README.md").read_text()
    for file in POLICIES.glob("*.json"):
        assert f"({file.name})" in text
        for action in granted(read_policy(file)):
            assert action.partition(":")[2] in text


async def use_api(settings: ClusterSettings) -> tuple[str, str]:
    """Returns: the hashes of two functions that are left, one open, one that wants a key."""
    process = ApiProcess(settings)
    token = (settings.secrets / "admin-token").read_text()
    async with process.running(), client_of(process.app, token) as client:

        async def call(method: str, path: str, **json_body: Any) -> Any:
            answer = await client.request(method, f"/api/{path}", json=json_body or None)
            assert answer.is_success, (path, answer.text)
            return answer.json() if answer.content else None

        workspace = (await call("POST", "workspaces", name="other"))["id"]
        await call("GET", "workspaces")
        await call("GET", f"workspaces/{workspace}")
        await call("PATCH", f"workspaces/{workspace}", name="another")
        key = (await call("POST", "keys", workspace=workspace))["id"]
        await call("GET", "keys")
        await call("DELETE", f"keys/{key}")
        hashes = []
        for name, auth in (("open", "none"), ("closed", "key"), ("deleted", "none")):
            function = await call(
                "POST", "workspaces/default/functions", name=name, runtime="python3.12", code=CODE, auth=auth
            )
            hashes.append(function["hash"])
            await call("GET", f"functions/{function['id']}")
            await call("PATCH", f"functions/{function['id']}", code=CODE, name=f"{name}-2", timeout=5)
            await call("GET", f"functions/{function['id']}/logs")
        await call("GET", "workspaces/default/functions")
        letter = DeadLetter(
            request_id="0" * 36, qualifier=None, condition="RetriesExhausted", reason="it failed", attempts=3,
            accepted_at="2026-01-31T23:59:59.123Z", ended_at="2026-01-31T23:59:59.123Z", event=None,
            event_key="events/2026-01-31/default/0.json", answer=None,
        )  # fmt: skip
        await process._objects.put(str(letter.event_key), b"1")
        data = msgspec.to_builtins(letter)
        await process._table.write([Item(key=key_of(function["id"], letter.id), data=data)])
        await call("DELETE", f"functions/{function['id']}/dead-letters/{letter.id}")
        layer = await call("POST", "workspaces/default/layers", name="shared", content=LAYER)
        await call("PATCH", f"functions/{function['id']}", layers=[layer["arn"]])
        await call("GET", "workspaces/default/layers/shared/versions")
        await call("DELETE", "workspaces/default/layers/shared/versions/1")
        await call("DELETE", f"functions/{function['id']}")
        await call("DELETE", f"workspaces/{workspace}")
        await client.get("/lambda/list")
        assert (await client.get("/lambda", params={"hash": hashes[0]})).is_success
        await process.readiness.check(stores=True)
        await asyncio.sleep(0.3)  # the feed of changes is written behind the requests
    return hashes[0], hashes[1]


def client_of(app: Any, token: str | None = None) -> httpx.AsyncClient:
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost", headers=headers)
