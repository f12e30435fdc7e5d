"""What an invocation costs in a cluster, and how long things take there: `make bench-cluster`.

Measures the release that `hack/cluster-up` has installed, on a node that is this machine, beside an embedded Lateen and
a bare server in the same run. Nothing is pinned to a processor: client, servers, ingress controller and the node's own
programs share the machine, so requests a second say what this machine gave, and processor time is what compares.
"""

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx
import load
from servers import (
    CONNECTIONS,
    HANDLER,
    REPOSITORY,
    SETTLE_S,
    SMALL,
    Lateen,
    end,
    free_port,
    goal,
    script,
    serve,
    signed,
)

sys.path.append(str(REPOSITORY / "tests" / "support"))

import cluster_floor
import cluster_starts
from cluster_floor import FloorPod
from lateen_release import Json, Release, is_ready
from node_processes import processes_of

FUNCTION = "function"
HOP = "gateway"
IDLE_S = 15.0
Parts = dict[str, Callable[[], list[int]]]


class Figures(NamedTuple):
    per_second: float
    p50_ms: float
    cpu_us: dict[str, tuple[float, float]]
    """Processor time a request, by part: in its own code, in the kernel."""


class Row:
    """One way to a function, and the processes whose time it takes."""

    def __init__(
        self,
        name: str,
        url: str,
        parts: Parts,
        requests: int,
        *,
        host: str = "",
        pair: tuple[str, str] | None = None,
    ) -> None:
        """Args:
        host: what the server is called in requests, where that isn't its address.
        pair: access key id and secret with which requests are signed as AWS's tools do.
        """
        self.name = name
        self.parts = parts
        self.requests = requests
        self.rounds: list[Figures] = []
        where = urlsplit(url)
        self._host, self._port, self._path = where.hostname or "", where.port or 80, where.path or "/"
        self._called = host or self._host
        self._pair = pair

    def measure(self, scale: float) -> None:
        requests = max(200, int(self.requests * scale))
        body = b'{"text":"' + b"x" * (SMALL - 11) + b'"}'
        headers = signed(self._path, self._port, body, self._pair, host=self._called) if self._pair else {}
        request = load.request_bytes(self._path, self._port, body, host=self._called, headers=headers)
        load.run(self._port, request, connections=CONNECTIONS, requests=requests // 10, host=self._host)
        time.sleep(SETTLE_S)
        pids = {part: of() for part, of in self.parts.items()}
        before, began = {part: load.times_s(of) for part, of in pids.items()}, time.perf_counter()
        latencies = load.run(self._port, request, connections=CONNECTIONS, requests=requests, host=self._host)
        took_s = time.perf_counter() - began
        time.sleep(SETTLE_S)  # the records of the last calls are stored meanwhile
        # A process that came meanwhile, one that writes records, counts from its beginning.
        after = {part: load.times_s(of()) for part, of in self.parts.items()}
        cpu_us = {
            part: ((user - before[part][0]) * 1e6 / requests, (system - before[part][1]) * 1e6 / requests)
            for part, (user, system) in after.items()
        }
        self.rounds.append(Figures(requests / took_s, statistics.median(latencies) / 1000, cpu_us))

    def cpu(self, part: str) -> float:
        return statistics.median(sum(figures.cpu_us[part]) for figures in self.rounds)

    def own(self, part: str) -> float:
        """Of that, in its own code."""
        return statistics.median(figures.cpu_us[part][0] for figures in self.rounds)

    def shown(self, part: str) -> str:
        return f"{self.cpu(part):.0f} ({self.own(part):.0f})" if part in self.parts else ""


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-cluster", description=__doc__)
    parser.add_argument("--release", default=os.environ.get("LATEEN_RELEASE", "lateen"), help="and its namespace")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of requests")
    parser.add_argument("--functions", type=int, default=200, help="that are created at once; 0: none")
    parser.add_argument("--starts", type=int, default=20, help="creations and updates; 0: none")
    arguments = parser.parse_args()
    release = Release(arguments.release, arguments.release)
    with contextlib.ExitStack() as stack:
        hello = release.deploy(f"bench-{os.getpid()}", HANDLER)
        stack.callback(release.delete, hello)
        if not hello["url"].startswith(release.gateway):
            release.ingress = hello["url"].removesuffix(f"/{hello['hash']}")
        idle_mib = idle(release, hello)
        rows = start(release, hello, stack)
        for _ in range(arguments.rounds):
            for row in rows.values():
                row.measure(arguments.scale)
        report(rows)
        took = cluster_starts.first_answers(release, arguments.starts)
        updates = cluster_starts.new_answers(release, arguments.starts) if arguments.starts else []
        if arguments.starts:
            cluster_starts.report_stages(took)
        rates = cluster_starts.at_once(release, arguments.functions) if arguments.functions else None
    print("\n| goal | measured | bound | |\n| --- | --- | --- | --- |")
    if arguments.starts:
        goal("create to first 200 through the gateway, median", statistics.median(took["gateway"]), 3, "s")
    if rates:
        goal(
            f"{arguments.functions} functions created at once, accepted, at least",
            rates[0],
            100,
            "a second",
            least=True,
        )
        goal("the same, Deployment and Service applied, at least", rates[1], 20, "a second", least=True)
    hop, floor, inside = rows["gateway"], rows["floor"], rows["floor-pod"]
    goal("the gateway's hop beside the floor", hop.cpu(HOP) / floor.cpu("all"), 2, "×")
    goal("the same beside the floor in a pod", hop.cpu(HOP) / inside.cpu("all"), 2, "×")
    invoke = rows["signed"]
    plain = hop.cpu(HOP) + hop.cpu(FUNCTION)
    goal("a signed Invoke beside the plain URL", (invoke.cpu(HOP) + invoke.cpu(FUNCTION)) / plain, 3, "×")
    pod, embedded = rows["pod"], rows["embedded"]
    goal("the function's pod beside embedded", pod.cpu(FUNCTION) / embedded.cpu(FUNCTION), 1.1, "×")
    goal("the same without the kernel's part", pod.own(FUNCTION) / embedded.own(FUNCTION), 1.1, "×")
    print(
        f"\nAn idle invoker takes {idle_mib[0]:.0f} MiB (PSS), the runtime container beside it {idle_mib[1]:.0f} MiB."
    )
    if updates:
        low, high = min(updates), max(updates)
        middle = statistics.median(updates)
        print(f"Update to first new answer, median of {len(updates)}: {middle:.2f} s ({low:.2f}–{high:.2f}).")


def idle(release: Release, function: Json) -> tuple[float, float]:
    """PSS of invoker and runtime container after one call and a pause, MiB."""
    assert httpx.post(release.gateway_url(function), json={}, timeout=60, trust_env=False).status_code == 200
    time.sleep(IDLE_S)
    pod = release.function_pods(function)[0]
    invoker, runtime = (
        load.pss_mib([process.pid for process in processes_of(pod, name)]) for name in ("invoker", "runtime")
    )
    return invoker, runtime


def start(release: Release, hello: Json, stack: contextlib.ExitStack) -> dict[str, Row]:
    """Everything that is measured."""
    port = free_port()
    uvicorn = [script("uvicorn"), "peers:asgi", "--port", str(port), "--log-level", "warning", "--no-access-log"]
    floor = serve(uvicorn, port, pinned=False)
    stack.callback(end, floor)
    lateen = Lateen(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lateen-bench-"))), pinned=False)
    stack.callback(end, lateen.process)
    beside = lateen.deploy("hello", HANDLER.encode())
    invoker, invoker_port = lateen.invoker_of(beside)

    def platform() -> list[int]:
        inside = set(load.tree(invoker))
        return [pid for pid in load.tree(lateen.process.pid) if pid not in inside]

    embedded: Parts = {FUNCTION: lambda: load.tree(invoker), HOP: platform}
    pods: Parts = {
        FUNCTION: lambda: [*_function(release, hello, writers=False)],
        "records": lambda: [*_function(release, hello, writers=True)],
    }
    inside = FloorPod(release)
    stack.callback(inside.remove)
    gateways: Parts = {HOP: lambda: [*_component(release, "gateway")]}
    address = release.function_pods(hello)[0]["status"]["podIP"]
    rows = {
        "floor": Row(
            "bare uvicorn, ASGI hello", f"http://127.0.0.1:{port}/", {"all": lambda: load.tree(floor.pid)}, 10_000
        ),
        "floor-pod": Row(
            "the same in a pod",
            f"http://{inside.address}:{cluster_floor.PORT}/",
            {"all": lambda: [process.pid for process in processes_of(inside.pod(), "floor")]},
            10_000,
        ),
        "embedded": Row(
            "embedded, straight to the invoker", f"http://127.0.0.1:{invoker_port}/{beside['hash']}", embedded, 5_000
        ),
        "embedded-gateway": Row(
            "embedded, through the gateway", f"http://127.0.0.1:{lateen.port}/{beside['hash']}", embedded, 5_000
        ),
        "pod": Row("straight to the pod", f"http://{address}:8080/{hello['hash']}", pods, 5_000),
        "gateway": Row("gateway → pod", release.gateway_url(hello), pods | gateways, 5_000),
    }
    key = release.api.post("/api/keys", json={"workspace": "default"}).json()
    stack.callback(release.api.delete, f"/api/keys/{key['id']}")
    rows["signed"] = Row(
        "signed Invoke → api → pod",
        f"{release.service_url('api')}/2015-03-31/functions/{hello['name']}/invocations",
        pods | {HOP: lambda: [*_component(release, "api")]},
        3_000,
        host=release.api.headers["host"],
        pair=(key["aws_access_key_id"], key["aws_secret_access_key"]),
    )
    if release.ingress:
        rows["ingress"] = Row("Ingress → pod", release.ingress_url(hello), pods, 5_000)
    return rows


def _function(release: Release, function: Json, *, writers: bool) -> Iterator[int]:
    """Processes of a function's pods: those that write records, or all others."""
    for pod in release.function_pods(function):
        for container in ("invoker", "runtime"):
            for process in processes_of(pod, container):
                if ("sink" in process.command) == writers:
                    yield process.pid


def _component(release: Release, component: str) -> Iterator[int]:
    for pod in filter(is_ready, release.pods(component)):
        for row in pod["status"]["containerStatuses"]:
            yield from (process.pid for process in processes_of(pod, row["name"]))


def report(rows: dict[str, Row]) -> None:
    rounds = len(rows["floor"].rounds)
    print(f"\n{SMALL} B events, {CONNECTIONS} connections, medians of {rounds} rounds\n")
    print(
        "| | requests a second | median ms | CPU µs a request (own code): function | gateway or api | writing records |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for row in rows.values():
        per_second = statistics.median(figures.per_second for figures in row.rounds)
        p50_ms = statistics.median(figures.p50_ms for figures in row.rounds)
        function, hop, records = (row.shown(part) for part in (FUNCTION, HOP, "records"))
        function = function or row.shown("all")
        print(f"| {row.name} | {per_second:.0f} | {p50_ms:.2f} | {function} | {hop} | {records} |")


if __name__ == "__main__":
    main()
