"""The invoker in a real function pod, beside the real runtime container: from the controller's manifests, without the
controller."""

import asyncio
import base64
import contextlib
import hashlib
import http.client
import io
import json
import os
import threading
import time
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from secrets import token_hex
from typing import Any

import msgspec
import pytest
from botocore.config import Config
from botocore.session import get_session
from cluster_stores import ClusterStores
from invoker_process import package
from lateen_release import eventually, kubectl
from node_processes import processes_of

from lateen.adapters.dynamodb import DynamoTable
from lateen.adapters.dynamodb_schema import create_table
from lateen.adapters.kubernetes.config import FunctionsConfig
from lateen.adapters.kubernetes.manifests import objects_for
from lateen.adapters.kubernetes.runtime_images import RUNTIME_DIR
from lateen.domain.layers import UsedLayer
from lateen.ports.deployer import Deployment
from lateen_invoker import signing
from lateen_invoker.control import RuntimeCommand
from lateen_invoker.records import ExecutionRecord

pytestmark = pytest.mark.cluster

Json = dict[str, Any]
KEY = b"k" * 32
TAG = os.environ.get("LATEEN_IMAGE_TAG", "dev")
INVOKER, PYTHON = f"localhost/lateen/invoker:{TAG}", f"localhost/lateen/python3.12:{TAG}"
CODE = """
import os, time

def handler(event, context):
    what = event.get("rawPath", "/")
    if what.startswith("/sleep"):
        time.sleep(float(what[6:]))
    print("called", what)
    return event.get("rawQueryString") or "hello"
"""


class Pods:
    """A namespace with what function pods need in it, and functions in it."""

    def __init__(self, stores: ClusterStores) -> None:
        self.name = f"test-invoker-pod-{token_hex(4)}"
        self.stores = stores
        self.session = get_session()
        self.session.set_credentials(stores.access_key, stores.secret_key)
        self.s3 = self.session.create_client(
            "s3", region_name=stores.region, endpoint_url=stores.s3_endpoint,
            config=Config(s3={"addressing_style": "path"}),
        )  # fmt: skip
        self.s3.create_bucket(Bucket=self.name)
        create_table(
            self.name, region=stores.region, endpoint_url=stores.dynamodb_endpoint, session=lambda: self.session
        )
        credentials = (
            f"[default]\naws_access_key_id = {stores.access_key}\naws_secret_access_key = {stores.secret_key}\n"
        )
        apply(
            {
                "apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": self.name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
            },
            {
                "apiVersion": "v1", "kind": "ServiceAccount",
                "metadata": {"name": "lateen-function", "namespace": self.name},
            },
            {
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "stores", "namespace": self.name},
                "data": {"credentials": base64.b64encode(credentials.encode()).decode()},
            },
        )  # fmt: skip
        self.config = msgspec.json.decode(
            msgspec.json.encode(
                {
                    "release": "test", "namespace": self.name, "functionsNamespace": self.name, "drainLagS": 3,
                    "images": {"invoker": INVOKER, "runtimes": {"python3.12": PYTHON}},
                    "stores": {
                        "environment": {
                            "AWS_REGION": stores.region, "DYNAMODB_TABLE_NAME": self.name, "S3_BUCKET_NAME": self.name,
                            "AWS_ENDPOINT_URL_S3": stores.s3_endpoint, "LATEEN_S3_PATH_STYLE": "true",
                            "AWS_ENDPOINT_URL_DYNAMODB": stores.dynamodb_endpoint, "ENVIRONMENT": "test",
                        },
                        "credentialsSecret": "stores",
                    },
                    "network": {"platformSelector": {}, "policies": False},
                }
            ),
            type=FunctionsConfig,
        )  # fmt: skip
        runtime = tomllib.loads((Path(__file__).parents[2] / "runtimes/python3.12/runtime.toml").read_text())
        image = runtime["image"]
        self.command = RuntimeCommand(
            name="python3.12", execution_env=image["execution_env"], forks=image["forks"], channel=image["channel"],
            command=[word.replace("{runtime_dir}", RUNTIME_DIR) for word in image["command"]],
            runtime_dir=RUNTIME_DIR, environment=image["environment"],
            layers={name: value.replace("{version}", "3.12") for name, value in runtime["layers"].items()},
        )  # fmt: skip

    def layer(self, name: str, content: bytes) -> UsedLayer:
        """A version of one, in the store."""
        digest = hashlib.sha256(content).hexdigest()
        key = f"default/layers/{token_hex(8)}/{digest}.zip"
        self.s3.put_object(Bucket=self.name, Key=key, Body=content)
        arn = f"arn:aws:lambda:{self.stores.region}:123456789012:layer:{name}:1"
        return UsedLayer(arn=arn, key=key, sha256=digest, size=len(content), unzipped=1)

    def create(self, code: str = CODE, *, puts: bool = True, **changes: Any) -> "FunctionPod":
        artifact = package({"code.py": code})
        digest = hashlib.sha256(artifact).hexdigest()
        function_id = token_hex(8)
        key = f"default/{function_id}/{digest}.zip"
        if puts:
            self.s3.put_object(Bucket=self.name, Key=key, Body=artifact)
        given: Json = {
            "function_id": function_id, "function_name": "probe", "workspace_id": "default",
            "account_id": "123456789012", "hash": token_hex(16), "revision": 1, "version": "$LATEST",
            "runtime": "python3.12", "handler": "code.handler", "environment": {}, "timeout_s": 5, "memory_mib": 128,
            "concurrency": 4, "replicas": 1, "open": True, "artifact_key": key, "artifact_sha256": digest,
            "invoke_key": KEY, **changes,
        }  # fmt: skip
        deployment = Deployment(**given)
        objects = objects_for(deployment, self.config, command=self.command, image=PYTHON)
        began = time.monotonic()
        apply(objects.secret, objects.deployment, objects.service)
        return FunctionPod(self, deployment, began)

    async def records(self, function_id: str) -> list[ExecutionRecord]:
        table = DynamoTable(
            self.name, region=self.stores.region, endpoint_url=self.stores.dynamodb_endpoint,
            session=lambda: self.session,
        )  # fmt: skip
        page = await table.query(f"FN#{function_id}", begins="LOG#", limit=1000)
        await table.close()
        return [msgspec.convert(item.data, ExecutionRecord) for item in page.items]


class FunctionPod:
    """A function with one pod, called at its Service or at the pod's own address."""

    def __init__(self, pods: Pods, deployment: Deployment, began: float) -> None:
        self.deployment = deployment
        self.began = began
        """When its manifests were applied."""
        self.name = f"fn-{deployment.function_id}"
        self._namespace = pods.name
        service = json.loads(kubectl("get", "service", self.name, "-n", self._namespace, "-o", "json"))
        self.service = service["spec"]["clusterIP"]

    def pod(self) -> Json:
        found = json.loads(
            kubectl("get", "pods", "-n", self._namespace, "-l", f"lateen.dev/function={self.deployment.function_id}",
                    "-o", "json")
        )["items"]  # fmt: skip
        living = [pod for pod in found if "deletionTimestamp" not in pod["metadata"]] or found
        return living[0] if living else {"metadata": {"name": ""}, "status": {}}

    def statuses(self, container: str) -> Json:
        status = self.pod()["status"]
        rows = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
        return next((row for row in rows if row["name"] == container), {})

    def call(self, path: str = "/", *, address: str = "", port: int = 8080, timeout_s: float = 30) -> tuple[int, str]:
        connection = http.client.HTTPConnection(address or self.service, port, timeout=timeout_s)
        with contextlib.closing(connection):
            connection.request("GET", f"/{self.deployment.hash}{path}")
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def state(self) -> Json:
        target = "/_lateen/state"
        signature = signing.sign(KEY, method="GET", target=target, source="", request_id="", now_s=time.time())
        connection = http.client.HTTPConnection(self.service, 8080, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", target, headers={signing.SIGNATURE: signature})
            found: Json = json.loads(connection.getresponse().read())
            return found

    def answers(self, path: str = "/") -> bool:
        try:
            return self.call(path, timeout_s=3)[0] == 200
        except OSError:
            return False

    def first_answer_s(self) -> float:
        """Seconds from the manifests to the first 200 at the Service."""
        eventually(lambda: self.answers(), "an answer", 90, 0.02)
        return time.monotonic() - self.began

    def log(self, container: str = "invoker") -> str:
        return kubectl("logs", "-n", self._namespace, self.pod()["metadata"]["name"], "-c", container)

    def line(self, message: str) -> Json:
        lines = [json.loads(line) for line in self.log().splitlines()]
        found: Json = next(line for line in lines if line["message"] == message)
        return found

    def delete(self) -> None:
        kubectl("delete", "pod", "-n", self._namespace, self.pod()["metadata"]["name"], "--wait=false")


@pytest.fixture(scope="module")
def pods(cluster_stores: ClusterStores) -> Iterator[Pods]:
    made = Pods(cluster_stores)
    yield made
    kubectl("delete", "namespace", made.name, "--wait=false")


@pytest.fixture(scope="module")
def function(pods: Pods) -> FunctionPod:
    """One that all tests may call."""
    made = pods.create()
    made.first_answer_s()
    return made


def apply(*manifests: Json) -> None:
    kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests)}))


def test_a_function_answers_and_its_record_is_stored(pods: Pods, function: FunctionPod) -> None:
    """Code from S3, environments from the other container, the record in DynamoDB."""
    assert function.call("/?in-a-pod") == (200, "in-a-pod")
    assert function.state() == {"ready": True, "init_error": None, "revision": 0, "reason": None}

    def last() -> ExecutionRecord | None:
        found = asyncio.run(pods.records(function.deployment.function_id))
        return found[-1] if found and found[-1].cold_reason is None else None

    eventually(last, "its record", 20)
    record = last()
    assert record is not None
    assert record.status == "success"
    assert record.memory_peak_mib > 0
    assert "called /" in record.log_tail


def test_how_long_a_start_takes(pods: Pods, record_property: Callable[[str, object], None]) -> None:
    """From the manifests to the first answer; where the time goes is in the invoker's own line."""
    function = pods.create()
    seconds = function.first_answer_s()
    ready = function.line("ready")
    record_property("first_answer_s", round(seconds, 2))
    record_property(
        "ready", {name: ready[name] for name in ("code_s", "runtime_s", "ready_s", "since_start_s", "fetch")}
    )
    print(f"first answer after {seconds:.2f} s; {ready}")
    assert seconds < 15


def test_a_stopping_pod_finishes_and_takes_what_comes(pods: Pods) -> None:
    """`kubectl delete pod` under load: who still calls the pod's own address within the lag is answered, as is what
    runs; the pod is no endpoint any more at once; the last records are stored."""

    function = pods.create()
    function.first_answer_s()
    pod = function.pod()
    address = pod["status"]["podIP"]
    over = threading.Event()
    got: list[int] = []

    def call_on() -> None:
        while not over.is_set():
            try:
                got.append(function.call("/sleep0.02", address=address)[0])
            except OSError:
                got.append(0)

    slow: list[tuple[int, str]] = []
    callers = [threading.Thread(target=call_on) for _ in range(3)]
    callers.append(threading.Thread(target=lambda: slow.append(function.call("/sleep4?slow", address=address))))
    for caller in callers:
        caller.start()
    time.sleep(0.5)
    function.delete()
    deleted = time.monotonic()
    eventually(lambda: not _is_endpoint(pods.name, function.name, address), "no endpoint", 3, 0.02)
    time.sleep(max(0.0, deleted + 2.5 - time.monotonic()))
    over.set()
    for caller in callers:
        caller.join(20)
    assert slow == [(200, "slow")]
    assert set(got) == {200}
    assert len(got) > 50

    def is_gone() -> bool:
        return not kubectl("get", "pod", "-n", pods.name, pod["metadata"]["name"], "--ignore-not-found", "-o", "name")

    eventually(is_gone, "the end of the pod", 20)
    assert time.monotonic() - deleted < 19  # the grace period is 20 s
    stored = asyncio.run(pods.records(function.deployment.function_id))
    assert len(stored) >= len(got) + 1


def test_init_killed_is_an_error_for_who_waits_and_nothing_after(function: FunctionPod) -> None:
    """`kill -9` of the runtime container's first process: the caller in flight hears of it at once, the next ones wait
    until it is back. The invoker goes on."""
    restarts = function.statuses("invoker").get("restartCount")
    slow: list[tuple[int, str]] = []
    caller = threading.Thread(target=lambda: slow.append(function.call("/sleep4")))
    caller.start()
    time.sleep(1)
    killed = time.monotonic()
    processes_of(function.pod(), "runtime")[0].kill()
    caller.join(10)
    assert slow[0][0] == 502
    assert time.monotonic() - killed < 2.5
    assert function.call("/?after", timeout_s=30) == (200, "after")
    print(f"answers {time.monotonic() - killed:.2f} s after the kill")
    assert function.statuses("invoker")["restartCount"] == restarts


def test_an_invoker_killed_comes_back_with_its_code(function: FunctionPod) -> None:
    """`kill -9` of the sidecar: it is started again, fetches nothing, and the function answers within ten seconds."""
    killed = time.monotonic()
    processes_of(function.pod(), "invoker")[0].kill()
    eventually(lambda: function.statuses("invoker").get("restartCount", 0) > 0, "a restart", 20)
    eventually(lambda: function.answers("/?again"), "an answer", 20, 0.05)
    print(f"answers {time.monotonic() - killed:.2f} s after the kill")
    assert time.monotonic() - killed < 10
    assert function.line("ready")["fetch"] == {}


def test_code_that_is_missing_is_in_the_pods_status(pods: Pods) -> None:
    """Where the controller looks for a reason that a person can act on."""
    function = pods.create(puts=False)

    def reason() -> str:
        status = function.statuses("invoker")
        ended = status.get("state", {}).get("terminated") or status.get("lastState", {}).get("terminated") or {}
        return str(ended.get("message", ""))

    eventually(lambda: reason() == "the code was not found in the object store", "a reason", 30)


def test_idle_memory(function: FunctionPod, record_property: Callable[[str, object], None]) -> None:
    """What the sidecar holds with one warm function: stated in the documentation, so it must not grow unseen."""
    assert function.call("/?warm") == (200, "warm")
    kib = {process.command: _memory_kib(process.pid) for process in processes_of(function.pod(), "invoker")}
    invoker = next(sizes for command, sizes in kib.items() if "--pod" in command)
    record_property("invoker_kib", kib)
    print(kib)
    assert invoker["Pss"] < 40 * 1024


def _memory_kib(pid: int) -> dict[str, int]:
    rows = [line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]]
    return {row[0].rstrip(":"): int(row[1]) for row in rows if row[0] in ("Rss:", "Pss:", "Private_Dirty:")}


def _is_endpoint(namespace: str, service: str, address: str) -> bool:
    slices = json.loads(
        kubectl("get", "endpointslices", "-n", namespace, "-l", f"kubernetes.io/service-name={service}", "-o", "json")
    )
    return any(
        address in endpoint["addresses"] and endpoint["conditions"].get("ready")
        for each in slices["items"] for endpoint in each.get("endpoints") or []
    )  # fmt: skip


LAYERED = """
import json, os, shared, subprocess

def tried(function):
    try:
        return function()
    except OSError as exc:
        return type(exc).__name__

def handler(event, context):
    return json.dumps({
        "word": shared.WORD,
        "kept": open("/opt/data").read(),
        "tool": tried(lambda: subprocess.run(["tool"], capture_output=True, text=True).stdout),
        "write": [tried(lambda: open(path, "w") and "done") for path in ("/opt/data", "/opt/new", "/opt/bin/tool")],
        "rename": tried(lambda: os.rename("/opt/data", "/opt/other")),
        "mount": [line.split()[3].split(",")[0] for line in open("/proc/self/mounts").read().splitlines()
                  if line.split()[1] == "/opt"],
        "names": sorted(os.listdir("/opt")),
    })
"""


def test_layers_are_opt(pods: Pods) -> None:
    """Each over those before, read-only for the runtime, programs on its path; still so after the invoker was killed,
    which fetches nothing again."""
    tool = zipfile.ZipInfo("bin/tool")
    tool.external_attr = 0o100755 << 16
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("python/shared.py", "WORD = 'first'\n")
        archive.writestr("data", "of the first")
        archive.writestr(tool, "#!/bin/sh\necho of a layer\n")
    layers = (
        pods.layer("first", whole.getvalue()),
        pods.layer("second", package({"python/shared.py": "WORD = 'second'\n"})),
    )
    function = pods.create(LAYERED, layers=layers)
    function.first_answer_s()

    def seen() -> Json:
        found: Json = json.loads(function.call()[1])
        return found

    expected = {
        "word": "second",
        "kept": "of the first",
        "tool": "of a layer\n",
        "write": ["OSError"] * 3,
        "rename": "OSError",
        "mount": ["ro"],
        "names": ["bin", "data", "python"],
    }
    assert seen() == expected
    processes_of(function.pod(), "invoker")[0].kill()
    eventually(lambda: function.statuses("invoker").get("restartCount", 0) > 0, "a restart", 60)
    eventually(function.answers, "an answer", 60, 0.05)
    assert seen() == expected
    assert function.line("ready")["fetch"] == {}


EXTENSION = """#!/usr/local/bin/python3
import http.client, json, os, sys

def call(method, path, body=None, headers={}):
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    connection.request(method, "/2020-01-01/extension/" + path, body, headers)
    answer = connection.getresponse()
    return answer.headers, json.loads(answer.read())

def note(*words):
    with open("/tmp/noted", "a") as file:
        print(*words, file=file)

headers, told = call(
    "POST", "register", json.dumps({"events": ["INVOKE", "SHUTDOWN"]}), {"Lambda-Extension-Name": "watcher"}
)
note("registered for", told["functionName"], "as", os.getuid())
while True:
    _, event = call("GET", "event/next", None, {"Lambda-Extension-Identifier": headers["Lambda-Extension-Identifier"]})
    note(event["eventType"], event.get("requestId", event.get("shutdownReason")))
    if event["eventType"] == "SHUTDOWN":
        sys.exit()
"""
WATCHED = """
import json, os, time
started = open("/tmp/noted").read().splitlines()

def handler(event, context):
    if event["rawPath"] == "/long":
        time.sleep(3)
    if event["rawPath"] == "/too-long":
        time.sleep(60)
    return json.dumps(
        {"id": context.aws_request_id, "uid": os.getuid(), "started": started,
         "noted": open("/tmp/noted").read().splitlines()}
    )
"""


def test_an_extension_in_a_layer(pods: Pods) -> None:
    """It registers before the runtime starts, as the function's user, and is told of events and of the end."""
    program = zipfile.ZipInfo("extensions/watcher")
    program.external_attr = 0o100755 << 16
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr(program, EXTENSION)
    function = pods.create(WATCHED, layers=(pods.layer("watcher", whole.getvalue()),), timeout_s=4)
    function.first_answer_s()

    def seen(path: str = "/") -> Json:
        found: Json = json.loads(function.call(path)[1])
        return found

    first = seen()
    assert f"registered for probe as {first['uid']}" in first["started"]
    eventually(lambda: f"INVOKE {first['id']}" in seen()["noted"], "the event's note")
    assert not any(note.startswith("SHUTDOWN") for note in seen()["noted"])
    late = threading.Thread(target=function.call, args=("/too-long",))
    late.start()
    seen("/long")  # in another environment, which stays: what is in /tmp goes with the last one
    late.join()
    eventually(lambda: "SHUTDOWN timeout" in seen()["noted"], "the note of the end")


def test_a_layer_that_is_missing_is_in_the_pods_status(pods: Pods) -> None:
    """By its ARN; no code runs without it."""
    absent = msgspec.structs.replace(pods.layer("absent", b"x"), key="default/layers/none/0.zip")
    function = pods.create(layers=(absent,))
    reason = f"the layer {absent.arn} was not found in the object store"

    def told() -> bool:
        status = function.statuses("invoker")
        ends = [status.get(name, {}).get("terminated", {}) for name in ("state", "lastState")]
        return any(end.get("message", "").startswith(reason) for end in ends)

    eventually(told, "the reason", 90)
