"""api, gateway and controller as processes, on real stores and the real API server: what each sees of the others, what
goes on while a store is away, how they start and end."""

import asyncio
import base64
import json
import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cluster_stores import ClusterStores
from platform_processes import PlatformProcesses, kubectl, until
from tcp_road import TcpRoad

from lateen.adapters.kubernetes.access import Access
from lateen.adapters.kubernetes.api import KubernetesApi
from lateen.adapters.kubernetes.kinds import SECRET, Ref
from lateen.cluster.parts import ADMIN_TOKEN, MASTER_KEY
from lateen.cluster.secrets import Incomplete, ensure_secret, installation_values
from lateen.domain.keys import key_id_in

pytestmark = pytest.mark.cluster

ECHO = b"""
import time
def handler(event, context):
    wait_s = float(event.get("queryStringParameters", {}).get("s", 0)) if "requestContext" in event else 0
    time.sleep(wait_s)
    return event if "requestContext" not in event else event["requestContext"]["http"]["sourceIp"]
"""


class Cluster:
    """An installation whose processes reach DynamoDB and S3 by roads that tests close; pods have their own way."""

    def __init__(self, folder: Path, stores: ClusterStores) -> None:
        self.platform = PlatformProcesses(folder, stores)
        self.platform.prepare()
        self.dynamodb, self.s3 = TcpRoad(stores.dynamodb_endpoint), TcpRoad(stores.s3_endpoint)
        roads = {"AWS_ENDPOINT_URL_DYNAMODB": self.dynamodb.url, "AWS_ENDPOINT_URL_S3": self.s3.url}
        self.api = self.platform.start("api", **roads)
        self.other_api = self.platform.start("api", **roads)
        self.gateway = self.platform.start("gateway", **roads)
        self.controller = self.platform.start("controller", **roads)
        self.hashes: list[str] = []
        self.made: list[str] = []
        """Of the test that runs."""

    def function(self, name: str, **fields: Any) -> dict[str, Any]:
        body = {"name": name, "runtime": "python3.12", "code": base64.b64encode(ECHO).decode(), "timeout": 30} | fields
        made = self.api.api("POST", "/api/workspaces/default/functions", json=body)
        assert made.status_code == 201, made.text
        self.hashes.append(made.json()["hash"])
        self.made.append(made.json()["id"])
        return dict(made.json())

    def call(self, function: dict[str, Any], query: str = "", *, method: str = "GET") -> httpx.Response:
        url = f"{self.gateway.url}/{function['hash']}{query}"
        return httpx.request(method, url, timeout=60, trust_env=False)

    def close(self) -> None:
        self.platform.close()
        self.dynamodb.close()
        self.s3.close()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, cluster_stores: ClusterStores) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("platform"), cluster_stores)
    yield cluster
    cluster.close()


@pytest.fixture(autouse=True)
def tidy(request: pytest.FixtureRequest) -> Iterator[None]:
    """Functions go with their test, for the node is small."""
    yield
    if "cluster" in request.fixturenames:
        cluster: Cluster = request.getfixturevalue("cluster")
        while cluster.made:
            cluster.other_api.api("DELETE", f"/api/functions/{cluster.made.pop()}")


class Load:
    """Calls one after the other, in threads, until the end of the block."""

    def __init__(self, cluster: Cluster, function: dict[str, Any], *, callers: int = 4) -> None:
        self.answers: list[tuple[float, int, float]] = []
        """When it began (monotonic), status (0: none), seconds."""
        self._is_over = False
        self._url = f"{cluster.gateway.url}/{function['hash']}"
        self._threads = [
            threading.Thread(target=self._call, args=(("GET", "POST")[number % 2],)) for number in range(callers)
        ]

    def _call(self, method: str) -> None:
        with httpx.Client(timeout=60, trust_env=False) as client:
            while not self._is_over:
                began_s = time.monotonic()
                try:
                    status = client.request(method, self._url).status_code
                except httpx.HTTPError:
                    status = 0
                self.answers.append((began_s, status, time.monotonic() - began_s))
                time.sleep(0.01)

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        for thread in self._threads:
            thread.join()

    @property
    def failed(self) -> list[tuple[float, int, float]]:
        return [answer for answer in self.answers if answer[1] != 200]


def test_what_one_process_makes_the_others_see(cluster: Cluster) -> None:
    """Created at one api, read at another at once, made by the controller, called through the gateway, deleted: then it
    is nowhere."""
    made = cluster.function("seen")
    assert cluster.other_api.api("GET", f"/api/functions/{made['id']}").json()["hash"] == made["hash"]
    assert cluster.call(made).text == "127.0.0.1"
    # Calls are served before the cluster calls the pod ready.

    def state() -> tuple[str, str | None]:
        read = cluster.other_api.api("GET", f"/api/functions/{made['id']}").json()
        return read["state"], read["state_reason"]

    until(lambda: state() == ("Active", None), within_s=30)
    event = cluster.other_api.api("POST", f"/api/functions/{made['id']}/invocations", json={"n": 1})
    assert (event.status_code, event.json()) == (200, {"n": 1})
    assert cluster.other_api.api("DELETE", f"/api/functions/{made['id']}").status_code == 204
    assert cluster.api.api("GET", f"/api/functions/{made['id']}").status_code == 404
    until(lambda: cluster.call(made).status_code == 404, within_s=6)
    kind = f"deployment/fn-{made['id']}"
    namespace = f"{cluster.platform.name}-default"
    until(lambda: not kubectl("-n", namespace, "get", kind, "--ignore-not-found", "-o", "name"), within_s=10)


def test_a_change_reaches_the_cluster_soon(cluster: Cluster) -> None:
    """By the feed, long before the next comparison of everything: in seconds even on a machine that is busy."""
    namespace = f"{cluster.platform.name}-default"
    took_s = []
    for number in range(3):
        made = cluster.function(f"quick-{number}")
        began_s = time.monotonic()
        kind = f"deployment/fn-{made['id']}"
        until(lambda kind=kind: kubectl("-n", namespace, "get", kind, "--ignore-not-found", "-o", "name"))  # type: ignore[misc]
        took_s.append(time.monotonic() - began_s)
        cluster.api.api("DELETE", f"/api/functions/{made['id']}")
    assert sorted(took_s)[1] < 5.0, took_s


def test_a_revoked_key_is_refused_everywhere_soon(cluster: Cluster) -> None:
    """At once where it was revoked, within five seconds elsewhere, functions that ask for a key included."""
    made = cluster.function("keyed", auth="key")
    key = cluster.api.api("POST", "/api/keys", json={"workspace": "default"}).json()
    secret = key["secret"]
    url = f"{cluster.gateway.url}/{made['hash']}"
    headers = {"authorization": f"Bearer {secret}"}
    assert cluster.call(made).status_code == 401
    assert httpx.get(url, headers=headers, timeout=60, trust_env=False).status_code == 200
    assert cluster.other_api.api("GET", "/api/workspaces/default", key=secret).status_code == 200
    assert cluster.api.api("DELETE", f"/api/keys/{key['id']}").status_code == 204
    assert cluster.api.api("GET", "/api/workspaces/default", key=secret).status_code == 401
    until(
        lambda: (
            cluster.other_api.api("GET", "/api/workspaces/default", key=secret).status_code == 401
            and httpx.get(url, headers=headers, timeout=60, trust_env=False).status_code == 401
        ),
        within_s=6,
    )


def test_warm_calls_go_on_while_the_stores_are_away(cluster: Cluster) -> None:
    """Longer than anything is known for. The api says 503 with Retry-After, and is still ready for the kubelet; when
    the stores are back everything works again by itself."""
    made = cluster.function("warm")
    assert cluster.call(made).status_code == 200
    with Load(cluster, made) as load:
        time.sleep(1)
        cluster.dynamodb.shut()
        cluster.s3.shut()
        cut_s = time.monotonic()
        while time.monotonic() < cut_s + 12:
            for path in (f"/api/functions/{made['id']}", "/api/workspaces"):
                began_s = time.monotonic()
                answer = cluster.api.api("GET", path)
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "1"), answer.text
                assert answer.json()["type"] == "urn:lateen:problem:unavailable"
                assert time.monotonic() - began_s < 8
            for process in (cluster.api, cluster.gateway, cluster.controller):
                assert process.health() == 200
                assert process.health("/health/ready?stores=true") == 503
        cluster.dynamodb.open()
        cluster.s3.open()
        opened_s = time.monotonic()
        until(lambda: cluster.api.api("GET", f"/api/functions/{made['id']}").status_code == 200, within_s=10)
        after = cluster.function("after")
        assert cluster.call(after).status_code == 200
        assert time.monotonic() - opened_s < 20
    assert load.failed == []
    slowest_s = max(seconds for _, _, seconds in load.answers)
    assert slowest_s < 4, slowest_s
    assert len(load.answers) > 500
    assert "lateen_gateway_stale_answers_total" in cluster.gateway.metrics()


def test_a_single_pod_that_is_evicted_means_delay_and_no_failure(cluster: Cluster) -> None:
    """Its calls wait for its successor; those that it had are answered by it."""
    made = cluster.function("moving")
    assert cluster.call(made).status_code == 200
    until(lambda: cluster.api.api("GET", f"/api/functions/{made['id']}").json()["state"] == "Active")
    long_call: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: long_call.append(cluster.call(made, "?s=8")))
    with Load(cluster, made, callers=6) as load:
        thread.start()
        time.sleep(1)
        namespace = f"{cluster.platform.name}-default"
        selector = f"lateen.dev/function={made['id']}"
        (pod,) = kubectl("-n", namespace, "get", "pods", "-l", selector, "-o", "name").splitlines()
        evict(namespace, pod.removeprefix("pod/"))
        time.sleep(11)
    thread.join()
    assert load.failed == []
    assert [answer.status_code for answer in long_call] == [200]
    assert max(seconds for _, _, seconds in load.answers) < 10
    assert load.answers[-1][0] > load.answers[0][0] + 8


def evict(namespace: str, pod: str) -> None:
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace}}
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction"
    kubectl("create", "--raw", path, "-f", "-", given=json.dumps(eviction))


def test_the_gateway_serves_functions_and_nothing_else(cluster: Cluster) -> None:
    """No management, no health, no metrics on the port that callers reach; the same 404 for all."""
    for path in ("/", "/health", "/metrics", "/api/workspaces", "/_lateen/invoke", "/docs", f"/{'0' * 31}", "/%2e"):
        answer = httpx.get(f"{cluster.gateway.url}{path}", timeout=10, trust_env=False)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json"), path
    answer = httpx.get(f"{cluster.gateway.url}/{'0' * 32}", timeout=10, trust_env=False)
    assert (answer.status_code, answer.json()["message"]) == (404, "Not Found")


def test_every_metric_says_what_it_is(cluster: Cluster) -> None:
    """Help text and a type, for those of the process too; one of the controllers leads."""
    for process in (cluster.api, cluster.gateway, cluster.controller):
        text = process.metrics()
        names = {line.split(" ")[2] for line in text.splitlines() if line.startswith("# TYPE")}
        helped = {
            line.split(" ")[2] for line in text.splitlines() if line.startswith("# HELP") and len(line.split(" ")) > 3
        }
        assert names == helped
        assert "process_resident_memory_bytes" in names
    assert "lateen_controller_leads 1.0" in cluster.controller.metrics()


def test_a_stop_finishes_what_runs(cluster: Cluster) -> None:
    """Unready at once, calls that come in the lag are served, one that runs is finished; exit code 0."""
    made = cluster.function("long")
    assert cluster.call(made).status_code == 200
    gateway = cluster.platform.start("gateway", LATEEN_DRAIN_LAG_SECONDS="2", LATEEN_DRAIN_SECONDS="30")
    url = f"{gateway.url}/{made['hash']}"
    found: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: found.append(httpx.get(f"{url}?s=5", timeout=60, trust_env=False)))
    thread.start()
    time.sleep(1)
    codes: list[int] = []
    stopping = threading.Thread(target=lambda: codes.append(gateway.stop()))
    stopping.start()
    until(lambda: gateway.health() == 503, within_s=1)
    assert gateway.health("/health/live") == 200
    answer = httpx.get(url, timeout=60, trust_env=False)
    assert (answer.status_code, answer.headers["connection"]) == (200, "close")
    thread.join()
    stopping.join()
    assert [answer.status_code for answer in found] == [200]
    assert codes == [0]


def test_another_controller_takes_over(cluster: Cluster) -> None:
    """When the one that leads stops, the other one acts within seconds, on what was changed meanwhile too."""
    second = cluster.platform.start("controller")
    assert "lateen_controller_leads 0.0" in second.metrics()
    assert cluster.controller.stop() == 0
    made = cluster.function("taken-over")
    assert cluster.call(made).status_code == 200
    assert "lateen_controller_leads 1.0" in second.metrics()
    cluster.controller = second


def test_migrating_again_changes_nothing(cluster: Cluster) -> None:
    """Not the administrator's key, not the default workspace; and without being asked it makes no table."""
    before = cluster.api.api("GET", "/api/workspaces").json()
    again = cluster.platform.run("migrate")
    assert again.returncode == 0, again.stdout
    assert cluster.api.api("GET", "/api/workspaces").json() == before
    missing = cluster.platform.run("migrate", DYNAMODB_TABLE_NAME="not-there", LATEEN_WAIT_SECONDS="1")
    assert missing.returncode == 1
    assert "not-there" in missing.stdout
    away = cluster.platform.run("migrate", AWS_ENDPOINT_URL_DYNAMODB="http://127.0.0.1:9", LATEEN_WAIT_SECONDS="1")
    assert away.returncode == 1


def test_no_secret_is_in_any_log(cluster: Cluster) -> None:
    """Neither the token, nor the master key, nor a function's whole hash, whatever happened in the tests above."""
    assert cluster.hashes
    for process in cluster.platform.processes:
        text = process.log.read_text()
        assert cluster.platform.token not in text
        assert not [each for each in cluster.hashes if each in text]
        assert '"level":"ERROR"' not in text, [line for line in text.splitlines() if '"ERROR"' in line][:3]


async def test_the_installations_secret_is_made_once() -> None:
    """What is there is left as it is, also by two that come at once; what lacks a key is refused, not mended."""
    namespace = f"lt-secrets-{secrets.token_hex(3)}"
    kubectl("create", "namespace", namespace)
    api = KubernetesApi(Access.found())
    keys = frozenset({MASTER_KEY, ADMIN_TOKEN})

    async def ensure(name: str) -> bool:
        ref = Ref(SECRET, namespace, name)
        return await ensure_secret(api, ref, labels={"a": "b"}, keys=keys, values=installation_values)

    async def data(name: str) -> Any:
        found = await api.get(Ref(SECRET, namespace, name))
        assert found is not None
        return found["data"]

    try:
        assert sorted(await asyncio.gather(*(ensure("one") for _ in range(5)))) == [False, False, False, False, True]
        first = await data("one")
        assert not await ensure("one")
        assert await data("one") == first
        assert len(base64.b64decode(first[MASTER_KEY])) == 32
        assert key_id_in(base64.b64decode(first[ADMIN_TOKEN]).decode()) is not None
        kubectl("-n", namespace, "create", "secret", "generic", "half", "--from-literal=master-key=x")
        with pytest.raises(Incomplete, match=ADMIN_TOKEN):
            await ensure("half")
    finally:
        await api.close()
        kubectl("delete", "namespace", namespace, "--wait=false")
