"""DynamoDB Local and an S3 server as pods, for tests that need the real thing.

They live in a namespace of their own, which is made if absent and goes with the session that made it, unless
LATEEN_TEST_KEEP is set: a kept pair saves the next session some fifteen seconds. Tests share the servers and make
tables and buckets of their own.
"""

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest

NAMESPACE = "-".join(["lateen-test-stores", *filter(None, [os.environ.get("PYTEST_XDIST_WORKER")])])
"""Each process of tests that run beside each other has its own."""
REGION = "us-east-1"
# Of servers that hold nothing but tests' data, in a network that nobody else is in.
ACCESS_KEY = "LATEENTEST"
SECRET_KEY = "lateen-test-secret"
START_S = 120

DYNAMODB_IMAGE = "docker.io/amazon/dynamodb-local:latest"
S3_IMAGE = "docker.io/versity/versitygw:latest"
S3_DOMAIN = "s3.lateen.test"
"""Below it, the S3 server takes a host's first label for the bucket; no resolver knows it."""
_USER = 65532


@dataclass(frozen=True)
class ClusterStores:
    """Where the servers are, reachable from the node and from pods."""

    dynamodb_endpoint: str
    s3_endpoint: str
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY
    region: str = REGION

    @property
    def environment(self) -> dict[str, str]:
        """For a process that is to use them, as the AWS SDKs read it."""
        return {
            "AWS_ENDPOINT_URL_DYNAMODB": self.dynamodb_endpoint,
            "AWS_ENDPOINT_URL_S3": self.s3_endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": self.region,
        }


@pytest.fixture(scope="session")
def cluster_stores() -> Iterator[ClusterStores]:
    """One pair of servers for the session. Only for tests with the marker `cluster`."""
    existed = _kubectl("get", "namespace", NAMESPACE, "--ignore-not-found", "-o", "name") != ""
    yield start_stores(NAMESPACE)
    if not existed and not os.environ.get("LATEEN_TEST_KEEP"):
        stop_stores(NAMESPACE)


def start_stores(namespace: str) -> ClusterStores:
    """Make the pair in `namespace`, or find it there, and wait until both answer."""
    _kubectl("apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests(namespace)}))
    for name in ("dynamodb", "s3"):
        _kubectl("-n", namespace, "rollout", "status", f"deployment/{name}", f"--timeout={START_S}s")
    stores = ClusterStores(
        dynamodb_endpoint=f"http://{_address(namespace, 'dynamodb')}:8000",
        s3_endpoint=f"http://{_address(namespace, 's3')}:7070",
    )
    # A pod is ready a moment before its Service leads to it.
    for endpoint in (stores.dynamodb_endpoint, stores.s3_endpoint):
        _wait_for(endpoint)
    return stores


def stop_stores(namespace: str) -> None:
    """Remove the namespace; doesn't wait for the end of its pods."""
    _kubectl("delete", "namespace", namespace, "--ignore-not-found", "--wait=false")


def manifests(namespace: str) -> list[dict[str, Any]]:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}},
        *_server(
            namespace,
            "dynamodb",
            port=8000,
            probe={"tcpSocket": {"port": 8000}},
            image=DYNAMODB_IMAGE,
            args=["-inMemory", "-sharedDb"],
            env={"JAVA_TOOL_OPTIONS": "-Xmx320m", "DDB_LOCAL_TELEMETRY": "0"},
        ),
        *_server(
            namespace,
            "s3",
            port=7070,
            probe={"httpGet": {"path": "/health", "port": 7070}},
            image=S3_IMAGE,
            args=["--health", "/health", "--keep-alive", "--quiet", "--virtual-domain", S3_DOMAIN, "posix", "/data"],
            env={"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY},
        ),
    ]


def _server(
    namespace: str, name: str, *, port: int, probe: dict[str, Any], image: str, args: list[str], env: dict[str, str]
) -> list[dict[str, Any]]:
    metadata = {"name": name, "namespace": namespace, "labels": {"app": name}}
    container = {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": args,
        "env": [{"name": key, "value": value} for key, value in env.items()],
        "ports": [{"containerPort": port}],
        "readinessProbe": {**probe, "periodSeconds": 1, "failureThreshold": START_S},
        "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    pod = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "data", "emptyDir": {}}],
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "strategy": {"type": "Recreate"},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod},
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"selector": {"app": name}, "ports": [{"port": port, "targetPort": port}]},
    }
    return [deployment, service]


def _address(namespace: str, service: str) -> str:
    return _kubectl("-n", namespace, "get", "service", service, "-o", "jsonpath={.spec.clusterIP}")


def _wait_for(endpoint: str) -> None:
    where = urlsplit(endpoint)
    until = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection((where.hostname, where.port), timeout=2).close()
            return
        except OSError:
            assert time.monotonic() < until, f"{endpoint} does not answer"
            time.sleep(0.1)


def _kubectl(*words: str, given: str | None = None) -> str:
    done = subprocess.run(["kubectl", *words], input=given, capture_output=True, text=True, timeout=START_S + 10)
    assert done.returncode == 0, f"kubectl {words}: {done.stderr}"
    return done.stdout.strip()
