"""What tests of faults have in common: a writer beside the fault, the checker's word, and the faults themselves."""

import json
import os
import secrets
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

import httpx
from lateen_release import Json, Release, eventually, is_ready, kubectl
from node_processes import Process, processes_of
from prober import Prober, Verdict, check, printed_probes

SALT = "faults"
RECORDED_S = 20.0
"""Time for the records of the last calls to reach the table."""


class Writes:
    """Makes workspaces at a steady pace beside the block and keeps what was acknowledged."""

    def __init__(self, release: Release, *, every_s: float = 0.1) -> None:
        self.acknowledged: list[str] = []
        self.statuses: Counter[int] = Counter()
        self.broken: list[str] = []
        """Requests without an answer: the connection broke, or time ran out."""
        self.without_retry_after = 0
        self.longest_s = 0.0
        self._release = release
        self._every_s = every_s
        self._over = Event()
        self._thread = Thread(target=self._write, daemon=True)

    def __enter__(self) -> "Writes":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(60)

    def _write(self) -> None:
        for number in range(500):
            if self._over.wait(self._every_s):
                return
            began = time.monotonic()
            try:
                answer = self._release.api.post("/api/workspaces", json={"name": f"w-{secrets.token_hex(4)}-{number}"})
            except httpx.HTTPError as exc:
                self.broken.append(repr(exc))
                continue
            finally:
                self.longest_s = max(self.longest_s, time.monotonic() - began)
            self.statuses[answer.status_code] += 1
            if answer.status_code == 201:
                self.acknowledged.append(answer.json()["id"])
            elif answer.status_code == 503 and "retry-after" not in answer.headers:
                self.without_retry_after += 1

    def missing(self) -> list[str]:
        """Acknowledged, but not there; what is there is removed."""
        gone = [
            workspace
            for workspace in self.acknowledged
            if self._release.api.get(f"/api/workspaces/{workspace}").status_code != 200
        ]
        for workspace in self.acknowledged:
            self._release.api.delete(f"/api/workspaces/{workspace}")
        return gone


def judged(release: Release, function: Json, prober: Prober, *, within_s: float = RECORDED_S) -> Verdict:
    """The checker's word on the prober's history, with what the function's records say when all are there, or then."""
    answered = {probe.id for probe in prober.probes if probe.status == 200}

    def executed() -> list[str]:
        return [probe for probe in printed_probes(release.log_tails(function)) if probe.startswith(prober.run)]

    until = time.monotonic() + within_s
    while not answered <= set(found := executed()) and time.monotonic() < until:
        time.sleep(1)
    verdict = check(prober.probes, SALT, found)
    print(verdict)
    # Whatever is done to Lateen, these never happen.
    assert not [*verdict.wrong, *verdict.swapped, *verdict.duplicates, *verdict.phantoms], verdict
    return verdict


def whole(release: Release, component: str, count: int = 2) -> Callable[[], bool]:
    """Whether so many pods of a component are ready."""
    return lambda: sum(map(is_ready, release.pods(component))) >= count


def restarted(release: Release, pod: Json, container: str, fetch: Callable[[], list[Json]]) -> Callable[[], bool]:
    """Whether the container has been started again and its pod is ready."""

    def count(of: Json) -> int:
        rows = [*of["status"].get("initContainerStatuses", []), *of["status"]["containerStatuses"]]
        return sum(int(row["restartCount"]) for row in rows if row["name"] == container)

    before, uid = count(pod), pod["metadata"]["uid"]
    return lambda: any(p["metadata"]["uid"] == uid and count(p) > before and is_ready(p) for p in fetch())


def first_process(pod: Json, container: str) -> Process:
    return processes_of(pod, container)[0]


def evict(pod: Json) -> None:
    """By the eviction API; a budget that says no is asked again, but not for ever."""
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": namespace}}
    path = f"/api/v1/namespaces/{namespace}/pods/{name}/eviction"
    eventually(lambda: kubectl("create", "--raw", path, "-f", "-", input=json.dumps(eviction)), f"{name} is evicted")


def helm(*words: str) -> None:
    done = subprocess.run(["helm", *words], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr


def leaders(release: Release) -> list[Json]:
    """The controller's pod that holds the lease."""
    leases = json.loads(kubectl("get", "leases", "-n", release.namespace, "-o", "json"))["items"]
    holders = [lease["spec"].get("holderIdentity", "") for lease in leases]
    return [pod for pod in release.pods("controller") if any(h.startswith(pod["metadata"]["name"]) for h in holders)]


def uids(pods: list[Json]) -> set[str]:
    return {pod["metadata"]["uid"] for pod in pods}


@contextmanager
def stores_stopped(release: Release) -> Iterator[None]:
    """DynamoDB and S3 stand still: they take connections and answer nothing. At the end they go on in any case."""
    pods = [pod for name in ("dynamodb", "s3") for pod in release.pods(name)]
    stopped = [p for pod in pods for row in pod["status"]["containerStatuses"] for p in processes_of(pod, row["name"])]
    assert len(pods) >= 2
    try:
        for process in stopped:
            os.kill(process.pid, signal.SIGSTOP)
        yield
    finally:
        for process in stopped:
            os.kill(process.pid, signal.SIGCONT)


def dropped(release: Release, function: Json) -> int:
    """Execution records that the function's pods count as lost."""
    total = 0.0
    for pod in release.function_pods(function):
        text = httpx.get(f"http://{pod['status']['podIP']}:9090/metrics", timeout=10, trust_env=False).text
        total += sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("lateen_records_dropped"))
    return int(total)
