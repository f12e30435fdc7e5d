"""Versions with api, gateway and controller as processes of their own: who wants one has it run, wherever he asks."""

import base64
import json
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from cluster_stores import ClusterStores
from platform_processes import PlatformProcesses, kubectl, until

pytestmark = pytest.mark.cluster

CODE = """
def handler(event, context):
    return [{number}, context.function_version, context.invoked_function_arn.rpartition(":")[2]]
"""


class Cluster:
    def __init__(self, folder: Any, stores: ClusterStores) -> None:
        self.platform = PlatformProcesses(folder, stores)
        self.platform.prepare()
        self.api, self.gateway = self.platform.start("api"), self.platform.start("gateway")
        self.controller = self.platform.start("controller")

    def ask(self, method: str, path: str, **sent: Any) -> httpx.Response:
        answer: httpx.Response = self.api.api(method, path, **sent)
        assert answer.is_success, answer.text
        return answer


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, cluster_stores: ClusterStores) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("platform"), cluster_stores)
    yield cluster
    cluster.platform.close()


def code(number: int) -> str:
    return base64.b64encode(CODE.format(number=number).encode()).decode()


def test_versions_where_they_are_asked_for(cluster: Cluster) -> None:
    """By number one is started when it is called; an alias's pods are there before its calls go to them, and no call
    fails on the way; when the function goes all of it goes."""
    made = cluster.ask(
        "POST",
        "/api/workspaces/default/functions",
        json={"name": "versions", "runtime": "python3.12", "code": code(1), "concurrency": 2},
    ).json()
    path = f"/api/functions/{made['id']}"
    for number in (2, 3):
        cluster.ask("POST", f"{path}/versions", json={})
        cluster.ask("PATCH", path, json={"code": code(number)})
    first = cluster.ask("POST", f"{path}/invocations", params={"qualifier": "1"}, json={})
    assert first.json() == [1, "1", "1"]
    assert first.headers["x-lateen-executed-version"] == "1"
    alias = cluster.ask("PUT", f"{path}/aliases/live", json={"version": "1"}).json()
    url = f"{cluster.gateway.url}/{alias['hash']}"
    until(lambda: httpx.get(url, timeout=60, trust_env=False).status_code == 200, within_s=60)
    statuses: Counter[int] = Counter()
    seen: set[int] = set()
    is_over = threading.Event()

    def call() -> None:
        with httpx.Client(timeout=60, trust_env=False) as client:
            while not is_over.is_set():
                answer = client.get(url)
                statuses[answer.status_code] += 1
                if answer.status_code == 200:
                    seen.add(answer.json()[0])

    caller = threading.Thread(target=call)
    caller.start()
    try:
        cluster.ask("PUT", f"{path}/aliases/live", json={"version": "2"})
        until(lambda: 2 in seen, within_s=90)
    finally:
        is_over.set()
        caller.join()
    assert set(statuses) == {200}
    assert httpx.get(url, timeout=60, trust_env=False).json() == [2, "2", "live"]
    cluster.ask("DELETE", path)
    until(lambda: httpx.get(url, timeout=60, trust_env=False).status_code == 404, within_s=20)
    label = f"lateen.dev/function={made['id']}"
    until(lambda: not kubectl("get", "deployments,services", "-A", "-l", label, "-o", "name").strip(), within_s=60)


def test_an_aliass_environments_are_there_before_anybody_calls(cluster: Cluster) -> None:
    """READY once they have initialised; the first call finds one, and is not a cold one."""
    source = (
        "import os\n"
        "def handler(event, context):\n"
        "    return os.environ['AWS_LAMBDA_INITIALIZATION_TYPE'], context.function_version\n"
    )
    made = cluster.ask(
        "POST",
        "/api/workspaces/default/functions",
        json={"name": "kept", "runtime": "python3.12", "code": base64.b64encode(source.encode()).decode()},
    ).json()
    path = f"/api/functions/{made['id']}"
    cluster.ask("POST", f"{path}/versions", json={})
    cluster.ask("PUT", f"{path}/aliases/live", json={"version": "1"})
    provisioned = f"{path}/provisioned-concurrency/live"
    assert cluster.ask("PUT", provisioned, json={"requested": 2}).json()["state"] == "IN_PROGRESS"
    until(lambda: cluster.ask("GET", provisioned).json()["state"] != "IN_PROGRESS", within_s=90)
    shown = cluster.ask("GET", provisioned).json()
    assert (shown["state"], shown["allocated"], shown["state_reason"]) == ("READY", 2, None)
    assert cluster.ask("GET", f"{path}/logs").json()["items"] == []
    (pod,) = [
        each
        for each in pods_of(made["id"])
        if each["metadata"]["labels"]["lateen.dev/version"] == "1" and "deletionTimestamp" not in each["metadata"]
    ]
    answer = cluster.ask("POST", f"{path}/invocations", params={"qualifier": "live"}, json={})
    assert answer.json() == ["provisioned-concurrency", "1"]
    until(lambda: cluster.ask("GET", f"{path}/logs").json()["items"], within_s=60)
    (record,) = cluster.ask("GET", f"{path}/logs").json()["items"]
    assert (record["version"], record["cold"]) == ("1", False)
    assert pod["metadata"]["name"] in [each["metadata"]["name"] for each in pods_of(made["id"])]
    assert cluster.ask("DELETE", provisioned).status_code == 204
    cluster.ask("DELETE", path)


def pods_of(function_id: str) -> list[Any]:
    found = kubectl("get", "pods", "-A", "-l", f"lateen.dev/function={function_id}", "-o", "json")
    return list(json.loads(found)["items"])
