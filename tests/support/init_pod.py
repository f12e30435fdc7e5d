"""A pod whose runtime container is a function pod's, with a driver in the invoker's place (`init_pod_driver.py`)."""

import json
import os
import socket
import time
import tomllib
from pathlib import Path
from typing import Any

import msgspec
from hostile_function import CODE
from lateen_release import eventually, kubectl
from node_processes import Process, processes_of

from lateen.adapters.kubernetes.config import FunctionsConfig
from lateen.adapters.kubernetes.pod_manifests import INVOKER, RUNTIME, pod_template_for
from lateen.adapters.kubernetes.runtime_images import RUNTIME_DIR
from lateen.ports.deployer import Deployment
from lateen_invoker.control import Configure, RuntimeCommand

Json = dict[str, Any]
ROOT = Path(__file__).parents[2]
TAG = os.environ.get("LATEEN_IMAGE_TAG", "dev")
INVOKER_IMAGE, RUNTIME_IMAGE = f"localhost/lateen/invoker:{TAG}", f"localhost/lateen/python3.12:{TAG}"
_NAME, _DRIVER = "probe", "/driver"


def python_in_its_image() -> RuntimeCommand:
    """As the controller reads it from the runtime's folder."""
    image = tomllib.loads((ROOT / "runtimes/python3.12/runtime.toml").read_text())["image"]
    return RuntimeCommand(
        name="python3.12", execution_env=image["execution_env"], forks=image["forks"], channel=image["channel"],
        command=[word.replace("{runtime_dir}", RUNTIME_DIR) for word in image["command"]], runtime_dir=RUNTIME_DIR,
        environment=image["environment"],
    )  # fmt: skip


class InitPod:
    """One pod in the namespace, until `delete`."""

    def __init__(
        self, namespace: str, name: str, *, image: str = RUNTIME_IMAGE, command: RuntimeCommand | None = None,
        code: str = CODE, memory_mib: int = 128, concurrency: int = 4, own_init: bool = False,
    ) -> None:  # fmt: skip
        """Args:
        own_init: the image has no init: an init container brings it.
        """
        self.namespace, self.name = namespace, name
        self.command = command or python_in_its_image()
        given: Json = {
            "function_id": name, "function_name": name, "workspace_id": "w", "account_id": "123456789012",
            "hash": "0" * 32, "version": "$LATEST", "handler": "code.handler", "environment": {}, "timeout_s": 5,
            "memory_mib": memory_mib, "concurrency": concurrency, "open": True, "invoke_key": b"k",
            "artifact_sha256": "",
        }  # fmt: skip
        configure = Configure(
            **given, queue=1, region="eu-central-1", artifact="", work_dir="/tmp/lateen", idle_s=600.0,
            runtime=self.command,
        )  # fmt: skip
        deployment = Deployment(**given, revision=1, runtime="python3.12", replicas=1, artifact_key="")
        template = pod_template_for(
            deployment, _config(namespace), image=image, labels={"app": name}, configuration="none"
        )
        spec = template["spec"]
        spec["serviceAccountName"] = "default"
        sidecar, runtime = spec["initContainers"][0], spec["containers"][0]
        sidecar["command"] = ["python", f"{_DRIVER}/driver.py", f"{_DRIVER}/configure.json", f"{_DRIVER}/code.py"]
        sidecar["env"], sidecar["readinessProbe"] = [], {"tcpSocket": {"port": 8080}, "periodSeconds": 1}
        del sidecar["livenessProbe"]
        _replace_volume(spec, "configuration", {"configMap": {"name": name}})
        for mount in sidecar["volumeMounts"]:
            if mount["name"] == "configuration":
                mount["mountPath"] = _DRIVER
        if own_init:
            _bring_init(spec, runtime)
        files = {
            "driver.py": (Path(__file__).parent / "init_pod_driver.py").read_text(),
            "configure.json": msgspec.json.encode(configure).decode(),
            "code.py": code,
        }
        metadata = {"name": name, "namespace": namespace}
        items = [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": files},
            {"apiVersion": "v1", "kind": "Pod", "metadata": {**metadata, "labels": {"app": name}}, "spec": spec},
        ]
        kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
        eventually(self._is_ready, "a pod that is ready", 60, 0.1)
        self.address = self.pod()["status"]["podIP"]
        self._connection = self.connect()

    def connect(self) -> "Connection":
        """One more: orders on it wait for each other, and for no other's."""
        return Connection(self.address)

    def order(self, order: str, **arguments: Any) -> Json:
        return self._connection.order(order, **arguments)

    def start(self, **variables: str) -> int:
        """An environment's number."""
        started = self.order("start", **variables)
        assert started.get("kind") == 2, started
        number: int = started["number"]
        return number

    def value(self, number: int, do: str, given: Any = None, **more: Any) -> Any:
        """What the handler answers."""
        answer = self.order("value", number=number, event={"do": do, "with": given, **more})
        assert answer["kind"] == 3, answer
        return answer["value"]

    def send(self, number: int, do: str, given: Any = None) -> None:
        self.order("send", number=number, event={"do": do, "with": given})

    def ended(self, number: int, within_s: float = 20) -> Json:
        return self.order("ended", number=number, within_s=within_s)

    def lives(self, number: int) -> bool:
        return bool(self.value(number, "echo", 1) == 1)

    def pod(self) -> Json:
        found: Json = json.loads(kubectl("get", "pod", self.name, "-n", self.namespace, "-o", "json"))
        return found

    def restarts(self, container: str = RUNTIME) -> int:
        status = self.pod()["status"]
        rows = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
        return next(int(row["restartCount"]) for row in rows if row["name"] == container)

    def processes(self, container: str = RUNTIME) -> list[Process]:
        """On the node; `inner_pid` is what `init` counts."""
        return processes_of(self.pod(), container)

    def delete(self, *, waits: bool = False) -> None:
        self._connection.close()
        kubectl("delete", "pod,configmap", self.name, "-n", self.namespace, "--ignore-not-found",
                f"--wait={'true' if waits else 'false'}", "--grace-period=1")  # fmt: skip

    def _is_ready(self) -> bool:
        conditions = self.pod()["status"].get("conditions", [])
        return any(row["type"] == "Ready" and row["status"] == "True" for row in conditions)


class Connection:
    """To the driver."""

    def __init__(self, address: str) -> None:
        self._socket = socket.create_connection((address, 8080), timeout=60)
        self._stream = self._socket.makefile("rwb")

    def order(self, order: str, **arguments: Any) -> Json:
        self._stream.write(json.dumps({"order": order, **arguments}).encode() + b"\n")
        self._stream.flush()
        answer: Json = json.loads(self._stream.readline())
        assert "failed" not in answer, answer
        return answer

    def close(self) -> None:
        self._socket.close()


def make_namespace(name: str) -> None:
    """As the controller makes those of workspaces: nothing but restricted pods."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    kubectl("apply", "-f", "-", input=json.dumps(manifest))
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if kubectl("get", "serviceaccount", "default", "-n", name, "--ignore-not-found", "-o", "name"):
            return
        time.sleep(0.1)
    raise AssertionError("the namespace has no service account")


def _config(namespace: str) -> FunctionsConfig:
    return msgspec.convert(
        {
            "release": "test", "namespace": namespace, "functionsNamespace": namespace,
            "images": {"invoker": INVOKER_IMAGE, "runtimes": {"python3.12": RUNTIME_IMAGE}}, "stores": {},
            "network": {"platformSelector": {}},
        },
        type=FunctionsConfig,
    )  # fmt: skip


def _replace_volume(spec: Json, name: str, source: Json) -> None:
    for volume in spec["volumes"]:
        if volume["name"] == name:
            volume.clear()
            volume.update({"name": name, **source})


def _bring_init(spec: Json, runtime: Json) -> None:
    """An image without init gets it from the invoker's, which has it too."""
    spec["volumes"].append({"name": "init", "emptyDir": {}})
    mount = {"name": "init", "mountPath": "/lateen"}
    runtime["volumeMounts"].append({**mount, "readOnly": True})
    copying = "import shutil; shutil.copy('/lateen/init', '/copied/init')"  # the image has no shell
    bringer = {
        "name": "init", "image": INVOKER_IMAGE, "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", copying], "volumeMounts": [{"name": "init", "mountPath": "/copied"}],
        "securityContext": spec["initContainers"][0]["securityContext"],
    }  # fmt: skip
    spec["initContainers"].insert(0, bringer)


__all__ = ["INVOKER", "RUNTIME", "InitPod", "make_namespace", "python_in_its_image"]
