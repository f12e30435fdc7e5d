"""Reserved concurrency in the cluster: what truly runs at one moment, in all pods of a function, as it says itself."""

import asyncio
import base64
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import overlap
import pytest
from cluster_stores import ClusterStores
from platform_processes import PlatformProcesses, kubectl, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

RESERVED = 7


class Cluster:
    def __init__(self, folder: Any, stores: ClusterStores) -> None:
        self.platform = PlatformProcesses(folder, stores)
        self.platform.prepare()
        self.api, self.gateway = self.platform.start("api"), self.platform.start("gateway")
        self.controller = self.platform.start("controller")

    def ask(self, method: str, path: str, **sent: Any) -> Any:
        answer: httpx.Response = self.api.api(method, path, **sent)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def settled(self, path: str) -> None:
        until(lambda: self.ask("GET", path)["state"] == "Active", within_s=90)

    def pods(self, function_id: str) -> list[Any]:
        found = json.loads(kubectl("get", "pods", "-A", "-l", f"lateen.dev/function={function_id}", "-o", "json"))
        return [pod for pod in found["items"] if "deletionTimestamp" not in pod["metadata"]]

    def service(self, function_id: str) -> str:
        """Where an Ingress would send calls of the function's URL."""
        label = f"lateen.dev/function={function_id},lateen.dev/version=latest"
        (found,) = json.loads(kubectl("get", "services", "-A", "-l", label, "-o", "json"))["items"]
        return f"http://{found['spec']['clusterIP']}:8080"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, cluster_stores: ClusterStores) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("platform"), cluster_stores)
    yield cluster
    cluster.platform.close()


def encoded(code: str) -> str:
    return base64.b64encode(code.encode()).decode()


class Calls:
    """To one function by all ways there are, and what became of them."""

    def __init__(self, cluster: Cluster, function: Any, aliases: tuple[str, ...] = ()) -> None:
        straight = cluster.service(function["id"])
        invoke = f"{cluster.api.url}/api/functions/{function['id']}/invocations"
        key = {"authorization": f"Bearer {cluster.platform.token}"}
        self.ways: list[tuple[str, dict[str, Any]]] = [
            (f"{cluster.gateway.url}/{function['hash']}", {}),
            (f"{straight}/{function['hash']}", {}),
            (invoke, {"headers": key}),
            *((invoke, {"headers": key, "params": {"qualifier": alias}}) for alias in aliases),
        ]
        self.ran: list[dict[str, Any]] = []
        self.others: Counter[int] = Counter()

    async def call(self, client: httpx.AsyncClient, number: int) -> None:
        url, options = self.ways[number % len(self.ways)]
        answer = await client.post(url, json={}, **options)
        if answer.status_code == 200:
            self.ran.append(answer.json())
        else:
            self.others[answer.status_code] += 1

    def burst(self, count: int) -> None:
        async def all_at_once() -> None:
            async with client() as http:
                await asyncio.gather(*(self.call(http, number) for number in range(count)))

        asyncio.run(all_at_once())


def client() -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    return httpx.AsyncClient(timeout=60, limits=limits, trust_env=False)


@pytest.fixture(scope="module")
def function(cluster: Cluster) -> Any:
    made = cluster.ask(
        "POST",
        "/api/workspaces/default/functions",
        json={
            "name": "reserved",
            "runtime": "python3.12",
            "code": encoded(overlap.code(0.3, "first")),
            "replicas": 2,
            "reserved_concurrency": RESERVED,
            "timeout": 10,
        },
    )
    cluster.settled(f"/api/functions/{made['id']}")
    until(lambda: len(cluster.pods(made["id"])) == 2)
    return made


def test_a_burst_on_two_replicas(cluster: Cluster, function: Any) -> None:
    """200 at once by the gateway, straight to the pods and by the api: seven run, who is beyond that is told 429."""
    most = 0
    for _ in range(3):  # so that a slow machine has its environments started
        calls = Calls(cluster, function)
        calls.burst(200)
        assert set(calls.others) <= {429}
        assert calls.others[429] > 0
        most = overlap.most_at_once(calls.ran)
        assert most <= RESERVED
        if most == RESERVED:
            break
    assert most == RESERVED


def test_a_rollout_in_a_burst(cluster: Cluster, function: Any) -> None:
    """New pods beside old ones that are still busy, and a version's pods beside both; all together run seven."""
    path = f"/api/functions/{function['id']}"
    cluster.ask("POST", f"{path}/versions", json={})
    cluster.ask("PUT", f"{path}/aliases/live", json={"version": "1"})
    cluster.settled(f"{path}/aliases/live")
    calls = Calls(cluster, function, ("live",))

    async def under_load() -> None:
        is_over = asyncio.Event()

        async def caller(http: httpx.AsyncClient, number: int) -> None:
            while not is_over.is_set():
                await calls.call(http, number)

        async with client() as http:
            callers = [asyncio.create_task(caller(http, number)) for number in range(40)]
            await asyncio.sleep(1)
            change = {"code": encoded(overlap.code(0.3, "second"))}
            await asyncio.to_thread(cluster.ask, "PATCH", path, json=change)
            await asyncio.to_thread(cluster.settled, path)
            # The pods that are replaced are still there for some seconds.
            await asyncio.sleep(2)
            is_over.set()
            await asyncio.gather(*callers)

    asyncio.run(under_load())
    assert set(calls.others) <= {429}
    assert overlap.most_at_once(calls.ran) <= RESERVED
    assert {(each["version"], each["code"]) for each in calls.ran} == {
        ("$LATEST", "first"),
        ("$LATEST", "second"),
        ("1", "first"),
    }


def test_a_change_restarts_nothing(cluster: Cluster, function: Any) -> None:
    """More, less and none: told to the pods that run, also by a controller that has just begun to lead."""
    path = f"/api/functions/{function['id']}"
    pods = {pod["metadata"]["uid"] for pod in cluster.pods(function["id"])}

    def at_once(reserved: int) -> int:
        cluster.ask("PATCH", path, json={"reserved_concurrency": reserved})
        cluster.settled(path)
        until(lambda: peak() == reserved, within_s=30)
        return peak()

    def peak() -> int:
        calls = Calls(cluster, function, ("live",))
        calls.burst(40)
        assert set(calls.others) <= {429}
        return overlap.most_at_once(calls.ran)

    assert at_once(3) == 3
    cluster.controller.stop()
    assert peak() == 3
    cluster.controller = cluster.platform.start("controller")
    assert at_once(9) == 9
    assert at_once(0) == 0
    assert at_once(2) == 2
    assert {pod["metadata"]["uid"] for pod in cluster.pods(function["id"])} == pods
