"""Lateen installed on the cluster that KUBECONFIG names, once for a test run, by `hack/cluster-up`.

The images have to be in the cluster already: tests must run where nothing can be fetched. LATEEN_TEST_RELEASE names a
release that is there and stays, which is how one works on a test.
"""

import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from lateen_release import Release, kubectl

ROOT = Path(__file__).parents[2]
INSTALL_S = 600
REMOVE_S = 300
VALUES = {
    # Tests address the API by its Service's address, which is no name of it.
    "hosts": ["*"],
    # A test's node is small, and other tests install their own beside it.
    **{name: {"resources": {"requests": {"cpu": "10m"}}} for name in ("api", "gateway", "controller", "worker")},
    "localStores": {name: {"resources": {"requests": {"cpu": "10m"}}} for name in ("dynamodb", "s3", "redis")},
    "functions": {"invoker": {"resources": {"requests": {"cpu": "5m"}}}},
}
INGRESS_SERVICES = ("traefik", "ingress-nginx-controller")


@cache
def unreachable() -> str:
    """Why there is no cluster to test on; empty: there is one. Asked once."""
    asked = ["kubectl", "get", "--raw", "/readyz", "--request-timeout=5s"]
    try:
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=15, check=False)
    except FileNotFoundError:
        return "kubectl is not on PATH"
    except subprocess.TimeoutExpired:
        return "kubectl gets no answer"
    return "" if answer.returncode == 0 else f"kubectl: {answer.stderr.strip().splitlines()[-1]}"


class IngressController(NamedTuple):
    """`url`: the address at which it listens; `class_name`: its ingress class."""

    url: str
    class_name: str


@pytest.fixture(scope="session")
def ingress_controller() -> IngressController:
    """Of the cluster: LATEEN_TEST_INGRESS and LATEEN_TEST_INGRESS_CLASS, else Traefik's or ingress-nginx's Service."""
    classes = [row["metadata"]["name"] for row in json.loads(kubectl("get", "ingressclass", "-o", "json"))["items"]]
    assert classes, "the cluster has no ingress class"
    class_name = os.environ.get("LATEEN_TEST_INGRESS_CLASS") or classes[0]
    if given := os.environ.get("LATEEN_TEST_INGRESS"):
        return IngressController(given.rstrip("/"), class_name)
    services = json.loads(kubectl("get", "services", "--all-namespaces", "-o", "json"))["items"]
    found = [row["spec"]["clusterIP"] for row in services if row["metadata"]["name"] in INGRESS_SERVICES]
    assert found, f"there is no Service called {' or '.join(INGRESS_SERVICES)}: name its address in LATEEN_TEST_INGRESS"
    return IngressController(f"http://{found[0]}", class_name)


class Installed(NamedTuple):
    """`printed`: what hack/cluster-up wrote to stdout; empty where the release was there before."""

    release: Release
    printed: str


@pytest.fixture(scope="session")
def installed(ingress_controller: IngressController, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    if name := os.environ.get("LATEEN_TEST_RELEASE"):
        yield Installed(Release(name, name, ingress=ingress_controller.url), "")
        return
    name = f"lateen-test-{secrets.token_hex(3)}"
    values = tmp_path_factory.mktemp("install") / "values.json"
    values.write_text(json.dumps(VALUES))
    environment = os.environ | {
        "LATEEN_RELEASE": name,
        "LATEEN_VALUES": str(values),
        "LATEEN_URL": ingress_controller.url,
        "LATEEN_INGRESS_CLASS": ingress_controller.class_name,
    }
    try:
        printed = _run("hack/cluster-up", "--no-build", environment=environment, timeout_s=INSTALL_S)
        yield Installed(Release(name, name, ingress=ingress_controller.url), printed)
    finally:
        if not os.environ.get("LATEEN_TEST_KEEP"):
            _run("hack/cluster-down", environment=environment, timeout_s=REMOVE_S)
            assert left_of(name) == []


@pytest.fixture(scope="session")
def release(installed: Installed) -> Release:
    """For all tests of the run: what one leaves behind, the others see."""
    return installed.release


def left_of(name: str) -> list[str]:
    """What the cluster still has of a release, cluster-wide things included."""
    kinds = "namespaces,clusterroles,clusterrolebindings,pods,services,secrets,ingresses"
    rows = json.loads(kubectl("get", kinds, "-A", "-l", f"app.kubernetes.io/instance={name}", "-o", "json"))["items"]
    return [f"{row['kind']} {row['metadata']['name']}" for row in rows]


def _run(*words: str, environment: dict[str, str], timeout_s: float) -> str:
    ended = subprocess.run(
        words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    assert ended.returncode == 0, f"{words[0]} ended with {ended.returncode}\n{ended.stdout}{ended.stderr}"
    return ended.stdout
