"""The platform's processes of a cluster, run on the node itself: real stores, the real API server, real function pods.

Outside of a pod for the sake of tests that cut a process's roads to the stores, read its log or stop it. What needs the
cluster's names (the gateway, api) gets the cluster's resolver in a mount namespace of its own.
"""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from cluster_stores import ClusterStores

from lateen.services.keys import new_secret

LATEEN = Path(sys.executable).with_name("lateen")
WITH_RESOLVER = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
START_S = 30.0
IMAGE_TAG = os.environ.get("LATEEN_IMAGE_TAG") or "dev"


class PlatformProcesses:
    """What belongs to one installation: a table, a bucket, secrets, a configuration, and the processes started."""

    def __init__(self, folder: Path, stores: ClusterStores) -> None:
        self.folder = folder
        self.stores = stores
        self.name = f"lt-{secrets.token_hex(3)}"
        self.token = new_secret()
        self.processes: list[PlatformProcess] = []
        (folder / "secrets").mkdir(parents=True)
        (folder / "secrets" / "master-key").write_bytes(secrets.token_bytes(32))
        (folder / "secrets" / "admin-token").write_text(self.token)
        (folder / "aws").mkdir()
        (folder / "aws" / "credentials").write_text(
            f"[default]\naws_access_key_id = {stores.access_key}\naws_secret_access_key = {stores.secret_key}\n"
        )
        shop = {**stores.environment, "DYNAMODB_TABLE_NAME": self.name, "S3_BUCKET_NAME": self.name}
        shop["LATEEN_S3_PATH_STYLE"] = "true"
        of_pods = {name: value for name, value in shop.items() if "KEY" not in name}
        config = {
            "release": self.name,
            "namespace": self.name,
            "images": {
                "invoker": f"localhost/lateen/invoker:{IMAGE_TAG}",
                "runtimes": {"python3.12": f"localhost/lateen/python3.12:{IMAGE_TAG}"},
                "pullPolicy": "Never",
            },
            "stores": {"environment": of_pods, "credentialsSecret": f"{self.name}-aws"},
            "copiedSecrets": [{"name": f"{self.name}-aws", "folder": str(folder / "aws")}],
            "network": {"policies": False, "platformSelector": {"podSelector": {}}},
            # The node is shared with other tests, and what is requested is what fills it.
            "pods": {"requestRatio": 0.01, "invokerResources": {"requests": {"cpu": "5m", "memory": "32Mi"}}},
        }
        (folder / "functions.json").write_text(json.dumps(config))
        self.environment = {
            **shop,
            "PATH": os.environ["PATH"],
            "KUBECONFIG": os.environ["KUBECONFIG"],
            "ENVIRONMENT": "test",
            "LATEEN_SECRETS": str(folder / "secrets"),
            "LATEEN_FUNCTIONS_CONFIG": str(folder / "functions.json"),
            "LATEEN_HOST": "127.0.0.1",
            "LATEEN_HOSTS": "*",
            "LATEEN_RUNTIMES": str(Path(__file__).parents[2] / "runtimes"),
        }

    def prepare(self) -> None:
        """The stores as a first installation leaves them, and the namespace."""
        kubectl("create", "namespace", self.name)
        done = self.run("migrate", LATEEN_CREATE_TABLE="true", LATEEN_CREATE_BUCKET="true")
        assert done.returncode == 0, done.stdout

    def run(self, command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """A command that ends by itself."""
        return subprocess.run(
            [LATEEN, command],
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def start(self, command: str, **environment: str) -> "PlatformProcess":
        process = PlatformProcess(self, command, environment)
        self.processes.append(process)
        process.wait_until_ready()
        return process

    def close(self) -> None:
        for process in self.processes:
            process.kill()
        for line in kubectl("get", "namespaces", "-o", "name").splitlines():
            if line == f"namespace/{self.name}" or line.startswith(f"namespace/{self.name}-"):
                kubectl("delete", line, "--wait=false")


class PlatformProcess:
    def __init__(self, platform: PlatformProcesses, command: str, environment: dict[str, str]) -> None:
        self._platform = platform
        self.port, self.operations_port = free_port(), free_port()
        self.url, self.operations = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{self.operations_port}"
        ports = {"LATEEN_PORT": str(self.port), "LATEEN_OPERATIONS_PORT": str(self.operations_port)}
        resolver = platform.folder / "resolv.conf"
        if not resolver.exists():
            resolver.write_text(f"nameserver {resolver_address()}\noptions timeout:1 attempts:2\n")
        self.log = platform.folder / f"{command}-{self.port}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", WITH_RESOLVER, str(resolver), LATEEN, command],
                env=platform.environment | ports | environment,
                stdout=log,
                stderr=log,
            )

    def wait_until_ready(self) -> None:
        until(lambda: self.health() == 200 or self.process.poll() is not None)
        assert self.process.poll() is None, self.log.read_text()

    def health(self, path: str = "/health/ready") -> int:
        """Status of the operations port; 0: there is none."""
        try:
            return httpx.get(f"{self.operations}{path}", timeout=10, trust_env=False).status_code
        except httpx.HTTPError:
            return 0

    def metrics(self) -> str:
        return httpx.get(f"{self.operations}/metrics", timeout=10, trust_env=False).text

    def api(self, method: str, path: str, *, key: str | None = None, **request: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {key or self._platform.token}"}
        return httpx.request(method, f"{self.url}{path}", headers=headers, timeout=60, trust_env=False, **request)

    def stop(self, sig: int = signal.SIGTERM) -> int:
        """Returns: its exit code."""
        self.process.send_signal(sig)
        return self.process.wait(60)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def until(condition: Callable[[], object], *, within_s: float = START_S) -> None:
    end_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end_s, "it did not come to that"
        time.sleep(0.05)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def resolver_address() -> str:
    return kubectl("-n", "kube-system", "get", "service", "kube-dns", "-o", "jsonpath={.spec.clusterIP}")


def kubectl(*words: str, given: str | None = None) -> str:
    done = subprocess.run(["kubectl", *words], input=given, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"kubectl {words}: {done.stderr}"
    return done.stdout.strip()
