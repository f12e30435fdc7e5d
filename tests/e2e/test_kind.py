"""`hack/kind-up` and `hack/kind-down`: which commands they run, in which order, with which arguments.

docker, kind, kubectl and helm are stand-ins that write down how they are called. Behind the forwarded port is a real
Lateen, so that the example is really deployed, called and shown.
"""

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from recording_stand_ins import Call, StandIns
from tests.e2e.conftest import ROOT, Running, clean_environment

CLUSTER = "lateen-stood-in"
KUBECONFIG = ROOT / ".cache" / f"kind-{CLUSTER}.kubeconfig"
RUNTIMES = [file.parent.name for file in sorted(ROOT.glob("runtimes/*/Dockerfile"))]
BUILT = [file.parent.name for file in sorted(ROOT.glob("runtimes/*/build.Dockerfile"))]
"""Runtimes that have an image which builds packages for them."""
NAMES = ["platform", "invoker", *RUNTIMES, *(f"{name}-build" for name in BUILT)]
IMAGES = [f"localhost/lateen/{name}:dev" for name in NAMES]
HELM = (
    "helm upgrade lateen charts/lateen --install --namespace lateen --create-namespace"
    " --values charts/lateen/values-local.yaml --values - --wait --wait-for-jobs --timeout 10m"
)
DOCKER_ASKED = "docker version --format {{.Server.Version}}"


@pytest.fixture
def stand_ins(server: Running, tmp_path: Path) -> StandIns:
    made = StandIns(tmp_path, ("docker", "kind", "kubectl", "helm"))
    port = server.endpoint.rpartition(":")[2]
    token = base64.b64encode((server.data / "admin").read_bytes().strip()).decode()
    made.answer("docker image inspect", prints="104857600\n")
    made.answer("kubectl --namespace lateen get secret", prints=token)
    made.answer(
        "kubectl --namespace lateen port-forward", prints=f"Forwarding from 127.0.0.1:{port} -> 8000\n", stays=True
    )
    return made


def run(stand_ins: StandIns, server: Running, script: str, *options: str) -> "subprocess.CompletedProcess[str]":
    environment = clean_environment(
        PATH=stand_ins.path,
        LATEEN_KIND_CLUSTER=CLUSTER,
        LATEEN_KIND_PORT=server.endpoint.rpartition(":")[2],
        LATEEN_BUILD_JOBS="1",
    )
    return subprocess.run(
        [ROOT / "hack" / script, *options], env=environment, capture_output=True, text=True, timeout=90, check=False
    )


def built() -> list[str]:
    lines = [DOCKER_ASKED]
    for name, image in zip(NAMES, IMAGES, strict=True):
        runtime = name.removesuffix("-build")
        file = f"runtimes/{runtime}/{'build.' if name != runtime else ''}Dockerfile"
        file = f"{name}/Dockerfile" if name in ("platform", "invoker") else file
        lines += [f"docker build --file {file} --tag {image} .", f"docker image inspect --format {{{{.Size}}}} {image}"]
    return lines


def installed() -> list[str]:
    return [
        "kubectl version",
        *built(),
        f"kind load docker-image --name {CLUSTER} {' '.join(IMAGES)}",
        HELM,
        "kubectl --namespace lateen get secret lateen-secrets -o jsonpath={.data.admin-token}",
        "kubectl --namespace lateen port-forward service/lateen-api :8000 --address 127.0.0.1",
    ]


def image(name: str) -> dict[str, str]:
    return {"registry": "localhost", "repository": f"lateen/{name}", "tag": "dev"}


def runtime(name: str) -> dict[str, Any]:
    build = {"build": {"enabled": True, "image": image(f"{name}-build")}}
    return {"image": image(name), **(build if name in BUILT else {})}


def values(*, ingress: str = "", url: str = "", host: str = "") -> dict[str, Any]:
    """What the chart is told beside charts/lateen/values-local.yaml."""
    return {
        "fullnameOverride": "lateen",
        "image": image("platform"),
        "url": url,
        "hosts": [host] if host else [],
        "ingress": {"enabled": bool(ingress), "className": ingress},
        "functions": {
            "ingress": {"enabled": bool(ingress)},
            "invoker": {"image": image("invoker")},
            "runtimes": {name: runtime(name) for name in RUNTIMES},
        },
    }


def given_to_helm(calls: list[Call]) -> Any:
    [call] = [call for call in calls if call.program == "helm"]
    return json.loads(call.stdin)


def lines(calls: list[Call]) -> list[str]:
    return [call.line for call in calls]


@pytest.mark.skipif(not RUNTIMES, reason="there is no image to build")
def test_kind_up_makes_a_cluster_and_ends_with_an_answer(stand_ins: StandIns, server: Running) -> None:
    """Cluster, ingress controller, images, chart, example; the last line is where functions are."""
    ran = run(stand_ins, server, "kind-up")
    assert ran.returncode == 0, ran.stderr
    port = server.endpoint.rpartition(":")[2]
    calls = stand_ins.calls
    manifest = "kubernetes/ingress-nginx/controller-v1.14.3/deploy/static/provider/kind/deploy.yaml"
    assert lines(calls) == [
        DOCKER_ASKED,
        "kind get clusters",
        f"kind create cluster --name {CLUSTER} --wait 180s --config -",
        f"kind export kubeconfig --name {CLUSTER} --kubeconfig {KUBECONFIG}",
        f"kubectl apply --filename https://raw.githubusercontent.com/{manifest}",
        "kubectl --namespace ingress-nginx rollout status deployment/ingress-nginx-controller --timeout 300s",
        *installed(),
    ]
    assert calls[2].stdin == (
        "kind: Cluster\n"
        "apiVersion: kind.x-k8s.io/v1alpha4\n"
        "nodes:\n"
        "  - role: control-plane\n"
        "    labels:\n"
        '      ingress-ready: "true"\n'
        "    extraPortMappings:\n"
        "      - containerPort: 80\n"
        f"        hostPort: {port}\n"
        "        listenAddress: 127.0.0.1\n"
    )
    assert given_to_helm(calls) == values(ingress="nginx", url=f"http://localhost:{port}", host="localhost")
    shown = ran.stdout.split("examples/access-log/access.log ")[1]
    url, _, answered = shown.partition("\n")
    document, end = json.JSONDecoder().raw_decode(answered)
    assert document["requests"] > 3000
    assert url.startswith(f"http://localhost:{port}/")
    assert answered[end:].rstrip().splitlines()[-1] == (
        f"Functions are at http://localhost:{port}/{{hash}}; the example: {url}"
    )


def test_kind_up_again_uses_what_is_there(stand_ins: StandIns, server: Running) -> None:
    """No second cluster; without building and without an ingress controller where that is asked for."""
    stand_ins.answer("kind get clusters", prints=f"other\n{CLUSTER}\n")
    environment = {"LATEEN_INGRESS_MANIFEST": "none"}
    ran = subprocess.run(
        [ROOT / "hack" / "kind-up", "--no-build"],
        env=clean_environment(PATH=stand_ins.path, LATEEN_KIND_CLUSTER=CLUSTER, **environment),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert lines(stand_ins.calls) == [
        DOCKER_ASKED,
        "kind get clusters",
        f"kind export kubeconfig --name {CLUSTER} --kubeconfig {KUBECONFIG}",
        "kubectl version",
        HELM,
        "kubectl --namespace lateen get secret lateen-secrets -o jsonpath={.data.admin-token}",
        "kubectl --namespace lateen port-forward service/lateen-api :8000 --address 127.0.0.1",
        "kubectl --namespace lateen port-forward service/lateen-gateway :8000 --address 127.0.0.1",
    ]
    assert given_to_helm(stand_ins.calls) == values()
    assert "then the example is at http://127.0.0.1:8001/" in ran.stdout.splitlines()[-1]


def test_what_fails_ends_it(stand_ins: StandIns, server: Running) -> None:
    """A chart that can't be installed: nothing is deployed, and the exit code says so."""
    stand_ins.answer("helm upgrade", code=3)
    ran = run(stand_ins, server, "kind-up", "--no-build")
    assert ran.returncode == 3
    assert lines(stand_ins.calls)[-1].startswith("helm upgrade lateen")


def test_kind_down_removes_the_cluster(stand_ins: StandIns, server: Running) -> None:
    """And the file that led to it."""
    KUBECONFIG.parent.mkdir(exist_ok=True)
    KUBECONFIG.touch()
    ran = run(stand_ins, server, "kind-down")
    assert ran.returncode == 0, ran.stderr
    assert lines(stand_ins.calls) == [f"kind delete cluster --name {CLUSTER}"]
    assert not KUBECONFIG.exists()
