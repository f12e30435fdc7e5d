"""A real Prometheus, Debian's, finds every component and function pod by the annotations that the chart gives them, and
what it reads there has help and few labels.

Debian's build leaves Prometheus' own Kubernetes discovery out, so the tests hand it the pods over HTTP, all of them,
with the labels that `kubernetes_sd_configs` would give; which are scraped, and where, its relabelling decides.
"""

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx
import pytest
from lateen_release import Json, Release, eventually, kubectl

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(180)]

# The relabelling that Prometheus' own example for pods has; nothing in it knows Lateen.
CONFIGURATION = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: pods
    http_sd_configs: [{{url: "{pods}", refresh_interval: 2s}}]
    relabel_configs:
      - {{source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_scrape], action: keep, regex: "true"}}
      - {{source_labels: [__meta_kubernetes_pod_phase], action: drop, regex: Pending|Succeeded|Failed}}
      - source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_path]
        regex: (.+)
        target_label: __metrics_path__
      - source_labels: [__meta_kubernetes_pod_ip, __meta_kubernetes_pod_annotation_prometheus_io_port]
        regex: (.+);(\\d+)
        replacement: $1:$2
        target_label: __address__
      - {{source_labels: [__meta_kubernetes_pod_name], target_label: pod}}
"""
PROMETHEUS_S_OWN = re.compile(r"up|scrape_.*|ALERTS.*")
SUFFIX = re.compile(r"_(total|bucket|sum|count|created|info)$")
OURS_FROM_THE_SCRAPE = {"__name__", "instance", "job", "pod"}
LABELS = {
    *OURS_FROM_THE_SCRAPE,
    *("method", "route", "status"),  # of the management surfaces: a route is its template
    *("kind", "reason", "state", "le"),
    *("verb", "outcome", "result"),  # of the controller's writes, and of events
    *("implementation", "major", "minor", "patchlevel", "version"),  # python_info
}
MOST_VALUES = 60
"""Of a label, buckets apart; a route for each of the API's, and some."""
UNBOUNDED = re.compile(r"[0-9a-f]{16,}|[0-9a-f]{8}-[0-9a-f]{4}-|\d{4}-\d\d-\d\dT")


@pytest.fixture(scope="module")
def called(release: Release) -> Iterator[Json]:
    """A function that was called in ways that could each leave a label behind: paths, errors, refusals."""
    code = (
        "class {0}(Exception): pass\n"
        "def handler(event, context):\n"
        "    if event['rawPath'].endswith('/fail'): raise {0}('no')\n"
        "    return {{'statusCode': 200, 'body': 'hello'}}\n"
    ).format(f"Error{secrets.token_hex(8)}")
    function = release.deploy(f"metrics-{secrets.token_hex(3)}", code, replicas=2)
    with httpx.Client(timeout=30, trust_env=False) as client:
        for number in range(20):
            assert client.get(f"{release.gateway_url(function)}/{secrets.token_hex(16)}").status_code == 200
            assert client.get(f"{release.gateway_url(function)}/{number}/fail").status_code == 502
            assert client.get(f"{release.gateway}/{secrets.token_hex(16)}").status_code == 404
            release.api.get(f"/api/functions/{secrets.token_hex(8)}")
            release.api.get(f"/{secrets.token_hex(8)}")
    yield function
    release.delete(function)


@pytest.fixture(scope="module")
def pods(release: Release, called: Json) -> Iterator[str]:
    """Where Prometheus asks for the pods."""

    class Pods(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            namespaces = (release.namespace, release.namespace_of(called))
            found = [
                pod
                for namespace in namespaces
                for pod in json.loads(kubectl("get", "pods", "-n", namespace, "-o", "json"))["items"]
            ]
            text = json.dumps([target(pod) for pod in found if pod["status"].get("podIP")]).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Pods) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def target(pod: Json) -> Json:
    """As `kubernetes_sd_configs` shows a pod."""
    metadata, address = pod["metadata"], pod["status"]["podIP"]
    labels = {
        "__meta_kubernetes_namespace": metadata["namespace"],
        "__meta_kubernetes_pod_name": metadata["name"],
        "__meta_kubernetes_pod_ip": address,
        "__meta_kubernetes_pod_phase": pod["status"]["phase"],
    }
    for kind in ("annotation", "label"):
        for name, value in metadata.get(f"{kind}s", {}).items():
            labels[f"__meta_kubernetes_pod_{kind}_{re.sub(r'[^a-zA-Z0-9_]', '_', name)}"] = value
    return {"targets": [address], "labels": labels}


@pytest.fixture(scope="module")
def wanted(release: Release, called: Json) -> set[str]:
    """Names of the pods that are to be found: the function's two and the components'."""
    components = [release.pods(component) for component in ("api", "gateway", "controller", "worker")]
    assert all(components)
    return {pod["metadata"]["name"] for pods in (*components, release.function_pods(called)) for pod in pods}


@pytest.fixture(scope="module")
def prometheus(pods: str, wanted: set[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Its HTTP API."""
    if (program := shutil.which("prometheus")) is None:
        reason = "needs Debian's package prometheus, or another one on PATH"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "prometheus.yml").write_text(CONFIGURATION.format(pods=pods))
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    command = [program, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10, trust_env=False) as client:
            eventually(lambda: client.get("/-/ready").status_code == 200, f"{folder / 'log'} says ready", 30)
            # Each pod was read at least twice.
            twice = "count_over_time(up[1m]) > 1"
            eventually(lambda: len(scraped(client, twice)) >= len(wanted), "all pods are scraped", 30)
            yield client
    finally:
        process.terminate()
        process.wait(30)


def scraped(client: httpx.Client, query: str) -> list[Json]:
    answer: Json = client.get("/api/v1/query", params={"query": query}).json()
    rows: list[Json] = answer["data"]["result"]
    return rows


def test_every_pod_is_found_and_read(wanted: set[str], prometheus: httpx.Client) -> None:
    """All replicas of api, gateway and controller and both pods of the function are targets, and all are up."""
    targets = prometheus.get("/api/v1/targets", params={"state": "active"}).json()["data"]["activeTargets"]
    errors = {row["labels"]["pod"]: row["lastError"] for row in targets if row["health"] != "up"}
    assert not errors
    assert {row["labels"]["pod"] for row in targets} >= wanted
    assert len(targets) == len({row["scrapeUrl"] for row in targets}), "a pod is read twice"


def test_each_part_counts_what_it_is_there_for(release: Release, called: Json, prometheus: httpx.Client) -> None:
    """The forty calls show at the pods that ran them, twenty of them as errors, and at the gateway."""
    names = "|".join(pod["metadata"]["name"] for pod in release.function_pods(called))

    def total(metric: str, pods: str) -> float:
        rows = scraped(prometheus, f'sum({metric}{{pod=~"{pods}"}})')
        return float(rows[0]["value"][1]) if rows else 0.0

    eventually(lambda: total("lateen_invocations_total", names) == 40, "40 invocations are counted", 10)
    assert total("lateen_invocation_errors_total", names) == 20
    assert total("lateen_http_requests_total", f"{release.name}-api-.*") >= 40
    assert total("lateen_gateway_answers_total", f"{release.name}-gateway-.*") >= 60


def test_every_metric_has_help(prometheus: httpx.Client) -> None:
    """No metric is a riddle, and ours begin with `lateen_`."""
    metadata = prometheus.get("/api/v1/metadata").json()["data"]
    names = prometheus.get("/api/v1/label/__name__/values").json()["data"]
    without = [name for name in names if not PROMETHEUS_S_OWN.fullmatch(name) and not help_of(name, metadata)]
    assert not without
    assert [name for name in names if name.startswith("lateen_")]
    assert not [name for name in metadata if not name.startswith(("lateen_", "process_", "python_"))]


def help_of(name: str, metadata: Mapping[str, list[Json]]) -> str:
    for family in (name, SUFFIX.sub("", name)):
        if texts := [str(row["help"]).strip() for row in metadata.get(family, [])]:
            return min(texts, key=len)
    return ""


def test_labels_are_bounded(prometheus: httpx.Client) -> None:
    """No label but those listed, none with many values, and in none an id, a hash, a path or a moment."""
    series = prometheus.get("/api/v1/series", params={"match[]": '{job="pods"}'}).json()["data"]
    values: dict[str, set[str]] = defaultdict(set)
    for row in series:
        for label, value in row.items():
            values[label].add(value)
    assert set(values) <= LABELS
    for label in values.keys() - OURS_FROM_THE_SCRAPE:
        assert len(values[label]) <= MOST_VALUES, label
        assert not [value for value in values[label] if UNBOUNDED.search(value)], label
