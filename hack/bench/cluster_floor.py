"""A bare uvicorn server in a pod of the release's namespace: what the pod network takes of a server's processor time.

Beside the same server on this machine's loopback it says how much of a pod's cost is no program's. It runs in the
platform's image, as confined as a function's pod.
"""

import json
import os
from pathlib import Path

import peers
from lateen_release import Json, Release, eventually, is_ready, kubectl

PORT = 8080


class FloorPod:
    """From `__init__` until `remove`."""

    def __init__(self, release: Release) -> None:
        self._release = release
        self._name = f"bench-floor-{os.getpid()}"
        platform = release.pods("gateway")[0]["spec"]["containers"][0]
        kubectl(
            "apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": self._objects(platform)})
        )
        eventually(lambda: is_ready(self.pod()), "the floor's pod is ready")
        self.address = str(self.pod()["status"]["podIP"])

    def pod(self) -> Json:
        return self._release.get("pod", self._name)

    def remove(self) -> None:
        for kind in ("pod", "configmap"):
            kubectl("delete", kind, self._name, "-n", self._release.namespace, "--wait=false")

    def _objects(self, platform: Json) -> list[Json]:
        metadata = {"name": self._name, "namespace": self._release.namespace}
        serving = ["python", "-m", "uvicorn", "peers:asgi", "--app-dir", "/peers", "--host", "0.0.0.0"]
        container = {
            "name": "floor",
            "image": platform["image"],
            "imagePullPolicy": platform["imagePullPolicy"],
            "command": [*serving, "--port", str(PORT), "--log-level", "warning", "--no-access-log"],
            "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
            "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}},
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
                "runAsNonRoot": True,
                "runAsUser": 65_532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "volumeMounts": [{"name": "peers", "mountPath": "/peers", "readOnly": True}],
        }
        spec = {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 1,
            "containers": [container],
            "volumes": [{"name": "peers", "configMap": {"name": self._name}}],
        }
        source = Path(peers.__file__).read_text()
        return [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"peers.py": source}},
            {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec},
        ]
