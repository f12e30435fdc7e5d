"""What user code can't do in a function pod, shown by a function that tries, on a real node.

Each refusal has its counterpart: the same attempt, from where it is allowed, succeeds.
"""

import json
import os
import secrets
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from cluster_callers import CallerPod, invoke
from lateen_release import Json, Release, kubectl

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

METADATA = "169.254.169.254"
METADATA_PORT = 16_925
"""Not 80: the node gives that, at each of its addresses, to an ingress controller."""
INVOKER_UID = 65532

PROBE = (Path(__file__).parents[1] / "support" / "curious_function.py").read_text()
CONNECT = """
import socket, sys
for port in (8080, 9090):
    try:
        socket.create_connection((sys.argv[1], port), 3)
        print(port)
    except OSError:
        pass
"""
NEIGHBOUR = "def handler(event, context):\n    return 'neighbour'\n"


@pytest.fixture(scope="module")
def curious(release: Release) -> Iterator[Json]:
    function = release.deploy(
        f"curious-{secrets.token_hex(3)}", PROBE, timeout=30, memory=256, environment={"MINE": "1"}
    )
    yield function
    release.delete(function)


@pytest.fixture(scope="module")
def found(release: Release, curious: Json) -> Json:
    """What the function found without being told where to look."""
    report: Json = invoke(release, curious, {})
    return report


@pytest.fixture(scope="module")
def pod(release: Release, curious: Json) -> Json:
    [found] = release.function_pods(curious)
    return found


@pytest.fixture(scope="module")
def caller(release: Release) -> Iterator[CallerPod]:
    """A pod that no policy holds."""
    image = release.get("deployment", f"{release.name}-api")["spec"]["template"]["spec"]["containers"][0]["image"]
    with CallerPod(f"{release.name}-free", image=image) as free:
        yield free


def test_it_runs_as_nobody(found: Json, pod: Json) -> None:
    """A uid of its own that is not the invoker's, no group that is anybody else's, and not root's in any sense."""
    uid, effective_uid, gid, groups = found["ids"]
    assert uid == effective_uid
    assert uid >= 10_000
    assert uid != INVOKER_UID
    assert gid != 0
    assert 0 not in groups
    contexts = {
        row["name"]: row["securityContext"] for row in [*pod["spec"]["initContainers"], *pod["spec"]["containers"]]
    }
    assert contexts["runtime"]["runAsUser"] == uid
    assert contexts["invoker"]["runAsUser"] == INVOKER_UID
    assert found["become_root"] == "EPERM"


def test_functions_have_different_users(release: Release, curious: Json, found: Json) -> None:
    """Process limits are counted by user, over the whole node."""
    other = release.deploy(f"curious-{secrets.token_hex(3)}", PROBE, timeout=30, memory=256)
    try:
        assert invoke(release, other, {})["ids"][0] != found["ids"][0]
    finally:
        release.delete(other)


def test_it_has_no_capability_and_gets_none(found: Json) -> None:
    """Not now, not by a file, not by a namespace of its own; seccomp filters what it asks the kernel for."""
    nothing = ["0000000000000000"]
    capabilities = {name: value for name, value in found["status"].items() if name.startswith("Cap")}
    assert capabilities == dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), nothing)
    assert (found["status"]["NoNewPrivs"], found["status"]["Seccomp"]) == (["1"], ["2"])
    assert {found[what] for what in ("mount", "new_namespace", "new_network", "chroot")} == {"EPERM"}
    assert found["devices"] == []


def test_it_writes_to_its_tmp_only(found: Json) -> None:
    """Root file system, code and the shared volume are read-only."""
    written = found["write"]
    assert written.pop("/tmp/x") == "written"
    assert set(written.values()) <= {"EROFS", "EACCES", "ENOENT", "EPERM"}
    modes = {row.split()[1]: row.split()[3].split(",")[0] for row in found["mounts"]}
    assert (modes["/"], modes["/var/task"], modes["/run/lateen"]) == ("ro", "ro", "ro")


def test_it_has_no_credential(found: Json, pod: Json) -> None:
    """No service account token, no AWS credential, nothing of the platform's in its environment or its files."""
    assert found["tokens"] == []
    # Which code was unpacked, for the invoker's next start.
    assert [path for path, _ in found["platform_files"]] in ([], ["/run/lateen/code"])
    assert found["environment"]["MINE"] == "1"
    names = set(found["environment"])
    assert not {name for name in names if "SECRET" in name or "TOKEN" in name or "CREDENTIALS" in name or "KEY" in name}
    assert not {name for name in names if name.startswith(("LATEEN_", "KUBERNETES_")) or "_SERVICE_HOST" in name}
    assert not {
        name for name in names if name.startswith("AWS_ENDPOINT_URL") or name in ("AWS_ROLE_ARN", "S3_BUCKET_NAME")
    }
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert pod["spec"]["enableServiceLinks"] is False
    [runtime] = pod["spec"]["containers"]
    mounted = {row["mountPath"] for row in runtime["volumeMounts"]}
    assert mounted == {"/var/task", "/run/lateen", "/tmp"}
    secret_volumes = {row["name"] for row in pod["spec"]["volumes"] if "secret" in row or "projected" in row}
    assert not secret_volumes & {row["name"] for row in runtime["volumeMounts"]}


def test_it_sees_neither_the_invoker_nor_into_init(found: Json) -> None:
    """Its own container's processes only; init's environment, memory and descriptors are closed to it."""
    assert not [row for row in found["processes"].values() if "lateen_invoker" in row["command"]]
    assert "/lateen/init" in found["processes"]["1"]["command"]
    assert found["processes"]["1"]["uid"] in (0, found["ids"][0])  # not dumpable: its files in /proc are root's
    assert set(found["init"].values()) <= {"EACCES", "EPERM", "EBADF", "ENOSYS"}, found["init"]


def test_the_socket_of_init_is_gone(found: Json) -> None:
    """Nobody but init ever spoke to the invoker there."""
    assert set(found["run_folder"]) <= {"code"}


def test_no_file_makes_it_somebody_else(found: Json) -> None:
    """No set-uid program in the image, and such a bit would do nothing."""
    assert found["setuid_files"] == []


@pytest.fixture(scope="module")
def neighbours(release: Release) -> Iterator[list[Json]]:
    """One function in the same workspace, one in another."""
    answer = release.api.post("/api/workspaces", json={"name": f"other-{secrets.token_hex(3)}"})
    assert answer.status_code == 201, answer.text
    workspace = answer.json()["id"]
    same = release.deploy(f"neighbour-{secrets.token_hex(3)}", NEIGHBOUR)
    other = release.deploy(f"neighbour-{secrets.token_hex(3)}", NEIGHBOUR, workspace=workspace)
    yield [same, other]
    release.delete(same)
    release.delete(other)
    release.api.delete(f"/api/workspaces/{workspace}", params={"force": True})


def listening(release: Release, neighbours: list[Json]) -> dict[str, tuple[str, int]]:
    """What is there to be reached, by what it is."""
    targets: dict[str, tuple[str, int]] = {}
    kubernetes = json.loads(kubectl("get", "service", "kubernetes", "-n", "default", "-o", "json"))
    targets["API server's Service"] = (kubernetes["spec"]["clusterIP"], 443)
    endpoints = json.loads(
        kubectl("get", "endpointslices", "-n", "default", "-l", "kubernetes.io/service-name=kubernetes", "-o", "json")
    )
    for slice_ in endpoints["items"]:
        for endpoint in slice_["endpoints"]:
            targets["API server"] = (endpoint["addresses"][0], slice_["ports"][0]["port"])
    for component in ("api", "gateway"):
        service = release.get("service", f"{release.name}-{component}")["spec"]
        targets[f"{component}'s Service"] = (service["clusterIP"], service["ports"][0]["port"])
        targets[component] = (release.pods(component)[0]["status"]["podIP"], 8000)
        targets[f"{component}'s operations"] = (release.pods(component)[0]["status"]["podIP"], 9090)
    targets["controller's operations"] = (release.pods("controller")[0]["status"]["podIP"], 9090)
    for what, function in zip(("neighbour", "stranger"), neighbours, strict=True):
        namespace = release.namespace_of(function)
        service = release.get("service", f"fn-{function['id']}", namespace)["spec"]
        [its_pod] = release.function_pods(function)
        targets[f"{what}'s Service"] = (service["clusterIP"], service["ports"][0]["port"])
        targets[what] = (its_pod["status"]["podIP"], 8080)
        targets[f"{what}'s operations"] = (its_pod["status"]["podIP"], 9090)
    node = json.loads(kubectl("get", "nodes", "-o", "json"))["items"][0]
    [address] = [row["address"] for row in node["status"]["addresses"] if row["type"] == "InternalIP"]
    targets["kubelet"] = (address, 10250)
    return targets


def is_open(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=3):
            return True
    except OSError:
        return False


def test_it_reaches_nothing_inside(release: Release, curious: Json, neighbours: list[Json]) -> None:
    """Not the API server, the control plane, the kubelet, nor another function, of its own workspace or a stranger's;
    all of them listen, as the node itself sees. What it may reach, it does: the resolver, and its own pod."""
    targets = listening(release, neighbours)
    assert [what for what, address in targets.items() if not is_open(*address)] == []
    resolver = json.loads(kubectl("get", "service", "kube-dns", "-n", "kube-system", "-o", "json"))["spec"]["clusterIP"]
    report = invoke(release, curious, {"connect": [*targets.values(), (resolver, 53), ("127.0.0.1", 8080)]})["connect"]
    reached = {address for address, answer in report.items() if answer == "connected"}
    assert reached == {f"{resolver}:53", "127.0.0.1:8080"}


class _Metadata(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"credentials")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def metadata_service() -> Iterator[None]:
    """What a cloud has at this address, on the node: we must be root there, in its network."""
    if os.geteuid() != 0:
        pytest.skip("giving the node an address needs root on it")
    address = ["ip", "address", "add", f"{METADATA}/32", "dev", "lo"]
    added = subprocess.run(address, capture_output=True, text=True, check=False)
    if added.returncode != 0 and "exists" not in added.stderr:
        pytest.skip(f"no address for it: {added.stderr.strip()}")
    try:
        server = ThreadingHTTPServer((METADATA, METADATA_PORT), _Metadata)
        Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()
        server.server_close()
    finally:
        with suppress(FileNotFoundError):
            subprocess.run([*address[:2], "del", *address[3:]], capture_output=True, check=False)


def test_it_reaches_no_metadata_address(
    release: Release, curious: Json, caller: CallerPod, metadata_service: None
) -> None:
    """A pod that no policy holds gets credentials there; a function gets no connection."""
    assert caller.call(f"http://{METADATA}:{METADATA_PORT}/", method="GET") == (200, "credentials")
    report = invoke(release, curious, {"connect": [(METADATA, METADATA_PORT)]})["connect"]
    assert report[f"{METADATA}:{METADATA_PORT}"] != "connected"


def test_nobody_reaches_its_pod(release: Release, curious: Json, caller: CallerPod, pod: Json) -> None:
    """Other pods get in through gateway and ingress controller only; operations are for Prometheus."""
    address = pod["status"]["podIP"]
    assert is_open(address, 8080)
    assert caller.run(CONNECT, address) == ""
    assert caller.call(release.gateway_url(curious))[0] == 200


def test_its_namespace_holds_pods_to_the_restricted_profile(release: Release, curious: Json) -> None:
    """The API server refuses others; there is a quota and default limits, and a policy for all pods both ways."""
    namespace = release.namespace_of(curious)
    labels = json.loads(kubectl("get", "namespace", namespace, "-o", "json"))["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    pod = {"containers": [{"name": "x", "image": "x", "securityContext": {"privileged": True}}]}
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "namespace": namespace}, "spec": pod}
    tried = subprocess.run(
        ["kubectl", "create", "--dry-run=server", "-f", "-"], input=json.dumps(manifest), capture_output=True, text=True
    )
    assert tried.returncode != 0
    assert "violates PodSecurity" in tried.stderr
    kinds = {
        row["kind"]
        for row in json.loads(kubectl("get", "resourcequota,limitrange", "-n", namespace, "-o", "json"))["items"]
    }
    assert kinds == {"ResourceQuota", "LimitRange"}
    policies = json.loads(kubectl("get", "networkpolicies", "-n", namespace, "-o", "json"))["items"]
    everything = [
        row["spec"]
        for row in policies
        if row["spec"]["podSelector"] == {} and set(row["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    ]
    assert everything


def test_the_signed_routes_refuse_who_does_not_sign(curious: Json, pod: Json) -> None:
    """Raw events and state are for the platform, also for who is on the node."""
    for method, path in (("POST", "/_lateen/invoke"), ("GET", "/_lateen/state")):
        connection = HTTPConnection(pod["status"]["podIP"], 8080, timeout=5)
        connection.request(method, path, body=b"{}" if method == "POST" else None)
        assert connection.getresponse().status in {401, 403}
        connection.close()
