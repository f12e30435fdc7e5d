"""How long things take from a request to the API until they run in the cluster, and what the time goes to.

Kubernetes stamps whole seconds. So pods are watched, with the moment at which each change was seen, and when their
processes began is asked of this machine's kernel, which therefore has to be the node's.
"""

import base64
import contextlib
import json
import os
import statistics
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
from lateen_release import Json, Release, eventually, is_ready
from node_processes import NotOnThisNode, processes_of
from servers import HANDLER

ASK_EVERY_S = 0.01
FIRST_ANSWER_S = 60.0
THREADS = 8
APPLIED_S = 180.0
STAGES = {
    "accepted": "the API has answered",
    "pod": "the pod is there",
    "scheduled": "it has a node",
    "invoker": "the invoker's process runs",
    "address": "the cluster knows the pod's address",
    "init": "init's process runs",
    "gateway": "first 200 through the gateway",
    "ingress": "first 200 through Ingress",
    "ready": "the cluster knows that the pod is ready",
}


class Watch:
    """Objects of one kind and when each of their states was first seen, seconds since the epoch."""

    def __init__(self, kind: str, namespace: str, states: dict[str, Callable[[Json], bool]]) -> None:
        self.objects: dict[str, Json] = {}
        """By name, as last seen."""
        self.seen: dict[str, dict[str, float]] = {}
        self._states = states
        self._command = ["kubectl", "get", kind, "-n", namespace, "-w", "--output-watch-events", "-o", "json"]
        self._kubectl = self._start()
        self._is_over = False
        threading.Thread(target=self._read, daemon=True).start()

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)

    def _read(self) -> None:
        while not self._is_over:
            assert self._kubectl.stdout is not None
            for line in self._kubectl.stdout:
                self._note(json.loads(line)["object"])
            self._kubectl.wait()
            if not self._is_over:
                self._kubectl = self._start()  # an API server may end a watch at any time

    def _note(self, item: Json) -> None:
        now, name = time.time(), item["metadata"]["name"]
        self.objects[name] = item
        seen = self.seen.setdefault(name, {})
        for state, holds in self._states.items():
            if state not in seen and holds(item):
                seen[state] = now

    def stop(self) -> None:
        self._is_over = True
        self._kubectl.terminate()
        self._kubectl.wait()


def watch_pods(namespace: str) -> Watch:
    states: dict[str, Callable[[Json], bool]] = {
        "pod": lambda pod: True,
        "scheduled": lambda pod: "nodeName" in pod["spec"],
        "address": lambda pod: bool(pod["status"].get("podIP")),
        "ready": is_ready,
    }
    return Watch("pods", namespace, states)


def first_answers(release: Release, count: int) -> dict[str, list[float]]:
    """Seconds from the POST to each stage, for functions that are created one after the other."""
    took: dict[str, list[float]] = {stage: [] for stage in STAGES}
    watch = watch_pods(f"{release.name}-default")
    try:
        for number in range(count):
            for stage, seconds in _first_answer(release, watch, f"first-{os.getpid()}-{number}").items():
                took[stage].append(seconds)
    finally:
        watch.stop()
    return took


def _first_answer(release: Release, watch: Watch, name: str) -> dict[str, float]:
    began = time.time()
    function = release.create(name, HANDLER)
    stages = {"accepted": time.time() - began}
    try:
        with ThreadPoolExecutor(2) as threads:
            ways = {"gateway": release.gateway_url(function)}
            if release.ingress:
                ways["ingress"] = release.ingress_url(function)
            answered = {way: threads.submit(_until_200, url) for way, url in ways.items()}
            stages |= {way: moment.result() - began for way, moment in answered.items()}
        pod_name = release.function_pods(function)[0]["metadata"]["name"]
        eventually(lambda: "ready" in watch.seen.get(pod_name, {}), "the pod is seen ready", 10)
        pod = release.function_pods(function)[0]  # which has its containers' ids by now
        stages |= {state: moment - began for state, moment in watch.seen[pod_name].items()}
        for stage, container in (("invoker", "invoker"), ("init", "runtime")):
            with contextlib.suppress(NotOnThisNode):
                stages[stage] = started_at(processes_of(pod, container)[0].pid) - began
    finally:
        release.delete(function)
    return stages


def _until_200(url: str) -> float:
    """When it came. Everything before is what a client sees that asks without a pause."""
    until = time.monotonic() + FIRST_ANSWER_S
    with httpx.Client(timeout=FIRST_ANSWER_S, trust_env=False) as client:
        while time.monotonic() < until:
            if client.post(url, json={}).status_code == 200:
                return time.time()
            time.sleep(ASK_EVERY_S)
    raise SystemExit(f"no answer within {FIRST_ANSWER_S:.0f} s")


def new_answers(release: Release, count: int) -> list[float]:
    """Seconds from a PATCH of the code to its first answer through the gateway; no call may fail meanwhile."""
    code = 'def handler(event, context):\n    return {{"statusCode": 200, "body": "{0}"}}\n'
    function = release.deploy(f"update-{os.getpid()}", code.format(0))
    took: list[float] = []
    try:
        with httpx.Client(timeout=FIRST_ANSWER_S, trust_env=False) as client:
            for version in range(1, count + 1):
                body = {"code": _base64(code.format(version))}
                began = time.monotonic()
                assert release.api.patch(f"/api/functions/{function['id']}", json=body).status_code == 200
                while True:
                    answer = client.post(release.gateway_url(function), json={})
                    if answer.status_code != 200:
                        raise SystemExit(f"a call failed during the update: {answer.status_code} {answer.text}")
                    if answer.text == str(version):
                        break
                    time.sleep(ASK_EVERY_S)
                took.append(time.monotonic() - began)
                release.settled(function)
    finally:
        release.delete(function)
    return took


def at_once(release: Release, count: int) -> tuple[float, float]:
    """So many functions created at once: accepted a second, and applied a second.

    Their workspace's quota lets few pods start: what a node of two processors would do from the first one on is start
    pods, which says nothing about the platform.
    """
    made = release.api.post("/api/workspaces", json={"name": f"bench-{os.getpid()}", "quota": {"pods": 2}})
    assert made.status_code == 201, made.text
    workspace = made.json()["id"]
    namespace = f"{release.name}-{workspace}"
    kinds = {kind: Watch(kind, namespace, {"there": lambda _: True}) for kind in ("deployments", "services")}
    try:
        body = {"runtime": "python3.12", "code": _base64(HANDLER), "concurrency": 1}

        def create(number: int) -> None:
            answer = release.api.post(f"/api/workspaces/{workspace}/functions", json={"name": f"f-{number}", **body})
            assert answer.status_code == 201, answer.text

        began = time.time()
        with ThreadPoolExecutor(THREADS) as threads:
            list(threads.map(create, range(count)))
        accepted_s = time.time() - began
        eventually(lambda: all(len(w.seen) >= count for w in kinds.values()), "all are applied", APPLIED_S)
        applied_s = max(seen["there"] for watch in kinds.values() for seen in watch.seen.values()) - began
        return count / accepted_s, count / applied_s
    finally:
        for watch in kinds.values():
            watch.stop()
        eventually(lambda: _removed(release, workspace), "the workspace is removed", APPLIED_S, every_s=2)


def _removed(release: Release, workspace: str) -> bool:
    answer = release.api.delete(f"/api/workspaces/{workspace}", params={"force": "true"}, timeout=60)
    return answer.status_code == 204


def started_at(pid: int) -> float:
    """When a process began, seconds since the epoch, to a hundredth."""
    with open(f"/proc/{pid}/stat") as stat, open("/proc/uptime") as uptime:
        since_boot_s = int(stat.read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        return time.time() - float(uptime.read().split()[0]) + since_boot_s


def report_stages(took: dict[str, list[float]]) -> None:
    count = max(map(len, took.values()))
    print(f"\nFrom the POST that creates a function, median of {count}\n")
    print("| | s | lowest | highest |\n| --- | --- | --- | --- |")
    for stage, words in STAGES.items():
        if seconds := took[stage]:
            print(f"| {words} | {statistics.median(seconds):.2f} | {min(seconds):.2f} | {max(seconds):.2f} |")


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
