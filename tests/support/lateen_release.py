"""An installed release as an operator, a caller and somebody with a key see it: kubectl, addresses, REST."""

import base64
import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

Json = dict[str, Any]
ACTIVE_S = 60.0


def kubectl(*arguments: str, input: str | None = None, timeout_s: float = 60.0) -> str:
    """What it prints. Raises: `KubectlRefused`."""
    done = subprocess.run(
        ["kubectl", *arguments], input=input, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    if done.returncode:
        raise KubectlRefused(done.stderr.strip())
    return done.stdout


class KubectlRefused(Exception):
    """The text is kubectl's."""


class Release:
    """Service and node addresses must be reachable from here."""

    def __init__(self, name: str, namespace: str, *, ingress: str = "") -> None:
        """Args:
        name: the chart's full name.
        ingress: what functions' URLs through the Ingress begin with.
        """
        self.name = name
        self.namespace = namespace
        self.ingress = ingress.rstrip("/")
        self.gateway = self.service_url("gateway")
        secret = json.loads(kubectl("get", "secret", f"{name}-secrets", "-n", namespace, "-o", "json"))
        self.token = base64.b64decode(secret["data"]["admin-token"]).decode().strip()
        self.api = httpx.Client(
            base_url=self.service_url("api"),
            # By the Service's name, under which the API may be addressed, at its address, which resolves from the node.
            headers={"authorization": f"Bearer {self.token}", "host": f"{name}-api.{namespace}.svc"},
            timeout=30,
            trust_env=False,
            # Each request goes where the Service sends it, and none over a connection whose pod is gone.
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    def service_url(self, component: str) -> str:
        service = self.get("service", f"{self.name}-{component}")
        return f"http://{service['spec']['clusterIP']}:{service['spec']['ports'][0]['port']}"

    def get(self, kind: str, name: str, namespace: str = "") -> Json:
        found: Json = json.loads(kubectl("get", kind, name, "-n", namespace or self.namespace, "-o", "json"))
        return found

    def listed(self, kind: str, selector: str, namespace: str = "") -> list[Json]:
        text = kubectl("get", kind, "-l", selector, "-n", namespace or self.namespace, "-o", "json")
        items: list[Json] = json.loads(text)["items"]
        return items

    def pods(self, component: str) -> list[Json]:
        """Those of the component that are not on their way out."""
        selector = f"app.kubernetes.io/instance={self.name},app.kubernetes.io/component={component}"
        return [pod for pod in self.listed("pods", selector) if "deletionTimestamp" not in pod["metadata"]]

    def namespace_of(self, function: Mapping[str, Any]) -> str:
        return f"{self.name}-{function['workspace']}"

    def function_pods(self, function: Mapping[str, Any]) -> list[Json]:
        """The same of a function's."""
        found = self.listed("pods", f"lateen.dev/function={function['id']}", self.namespace_of(function))
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def gateway_url(self, function: Mapping[str, Any]) -> str:
        return f"{self.gateway}/{function['hash']}"

    def ingress_url(self, function: Mapping[str, Any]) -> str:
        return f"{self.ingress}/{function['hash']}"

    def create(self, name: str, code: str | bytes, workspace: str = "default", **settings: Any) -> Json:
        """Created, not yet running."""
        sent = base64.b64encode(code.encode() if isinstance(code, str) else code).decode()
        body = {"name": name, "runtime": "python3.12", "code": sent, **settings}
        answer = self.api.post(f"/api/workspaces/{workspace}/functions", json=body)
        assert answer.status_code == 201, answer.text
        made: Json = answer.json()
        return made

    def deploy(self, name: str, code: str | bytes, **settings: Any) -> Json:
        """Created, and all its pods are ready."""
        made = self.create(name, code, **settings)
        shown = self.settled(made)
        assert shown["state"] == "Active", shown
        replicas = shown["replicas"]
        eventually(lambda: sum(map(is_ready, self.function_pods(made))) == replicas, "all replicas are ready")
        return made

    def call_through_ingress(self, function: Mapping[str, Any]) -> None:
        """Calls the function until the ingress controller has noticed it; the last call is a real one."""
        url = self.ingress_url(function)
        eventually(lambda: httpx.get(url, trust_env=False).status_code not in (404, 503), "a way through it", 30)

    def settled(self, function: Mapping[str, Any], within_s: float = ACTIVE_S) -> Json:
        """The function when it is no longer `Pending`, or as it is when time is over."""
        until = time.monotonic() + within_s
        while True:
            shown: Json = self.api.get(f"/api/functions/{function['id']}").json()
            if shown.get("state") != "Pending" or time.monotonic() > until:
                return shown
            time.sleep(0.1)

    def delete(self, function: Mapping[str, Any]) -> None:
        answer = self.api.delete(f"/api/functions/{function['id']}")
        assert answer.status_code == 204, answer.text

    def log_tails(self, function: Mapping[str, Any]) -> Iterator[str]:
        """What all recorded invocations printed, newest first. Raises: `httpx.HTTPStatusError`."""
        cursor: Json = {}
        while True:
            answer = self.api.get(f"/api/functions/{function['id']}/logs", params={"limit": 100, **cursor})
            answer.raise_for_status()
            page = answer.json()
            yield from (item["log_tail"] for item in page["items"])
            if not page["next_cursor"]:
                return
            cursor = {"cursor": page["next_cursor"]}


def is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(row["type"] == "Ready" and row["status"] == "True" for row in conditions)


def eventually(holds: Any, what: str, within_s: float = 60.0, every_s: float = 0.2) -> float:
    """Waits until `holds()` is true; the seconds that it took. Errors of the way there count as «not yet»."""
    began = time.monotonic()
    last: object = ""
    while (took := time.monotonic() - began) < within_s:
        try:
            if last := holds():
                return took
        except (httpx.HTTPError, KubectlRefused, KeyError, ValueError) as exc:
            last = exc
        time.sleep(every_s)
    raise AssertionError(f"after {within_s:.0f} s still not true: {what} ({last!r})")
