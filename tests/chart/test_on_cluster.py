"""The real API server takes what the chart makes: every field known, every pod within Pod Security `restricted`."""

import json
import subprocess
from collections.abc import Iterator, Sequence

import pytest
from chart import NAMESPACE, PROFILES, RELEASE, Manifest, helm, profile, program

pytestmark = pytest.mark.cluster

OPTIONAL = {"HTTPRoute", "PodMonitor", "ServiceMonitor", "PrometheusRule"}
"""Kinds that come with what is not part of Kubernetes itself."""
RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}


def kubectl(*words: str, given: str | None = None, may_fail: bool = False) -> str:
    done = subprocess.run([program("kubectl"), *words], input=given, capture_output=True, text=True, timeout=90)
    assert may_fail or done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def a_list(manifests: Sequence[Manifest]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests)})


@pytest.fixture(scope="module")
def places() -> Iterator[dict[str, str]]:
    """A namespace for each that a rendering names, under a name of the tests' own."""
    names = {each: f"chart-test-{each}" for each in (NAMESPACE, "lateen-functions", "monitoring")}
    made = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}}
        for name in names.values()
    ]
    kubectl("apply", "-f", "-", given=a_list(made))
    yield names
    kubectl("delete", "namespace", *names.values(), "--wait=false", "--ignore-not-found", may_fail=True)


@pytest.mark.parametrize("name", PROFILES)
def test_api_server_takes_every_object(name: str, places: dict[str, str]) -> None:
    """A server-side dry run with strict validation: an unknown or doubled field is an error, and so is a pod that
    `restricted` refuses. Deployments and jobs are taken whatever their pods are like, but with a warning."""
    text = json.dumps(profile(name))
    for place, made in places.items():
        text = text.replace(f'"namespace": "{place}"', f'"namespace": "{made}"')
    absent = OPTIONAL - served_kinds()
    manifests = [each for each in json.loads(text) if each["kind"] not in absent]
    said = kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", given=a_list(manifests))
    assert said.count("(server dry run)") == len(manifests)
    assert "Warning" not in said


def test_pods_of_every_template_are_restricted(places: dict[str, str]) -> None:
    """As pods, so that admission itself judges them; the same would be refused with root."""
    pods = []
    for name in PROFILES:
        for each in profile(name):
            if each["kind"] in ("Deployment", "Job"):
                # Classes and accounts are the operator's, and not there.
                spec = {
                    key: value
                    for key, value in each["spec"]["template"]["spec"].items()
                    if key not in {"priorityClassName", "serviceAccountName"}
                }
                metadata = {"name": f"{name}-{each['metadata']['name']}", "namespace": places[NAMESPACE]}
                spec |= {"restartPolicy": "Never"}
                pods.append({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    assert len(pods) > 20
    kubectl("create", "--dry-run=server", "-f", "-", given=a_list(pods))
    pods[0]["spec"]["securityContext"] = {"runAsUser": 0}
    said = kubectl("create", "--dry-run=server", "-f", "-", given=a_list(pods[:1]), may_fail=True)
    assert 'violates PodSecurity "restricted' in said


def test_helm_itself_would_install_it(places: dict[str, str]) -> None:
    """With hooks, against the server: names, kinds and the Kubernetes version are as the chart wants them."""
    namespace = places[NAMESPACE]
    helm("install", RELEASE, str(PROFILES["local"][0].parent), "--namespace", namespace, "--dry-run=server")


def served_kinds() -> set[str]:
    return {line.split()[-1] for line in kubectl("api-resources", "--no-headers").splitlines()}
