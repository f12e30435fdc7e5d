"""What is measured, and how it is started: rows, servers on processor 0, an embedded Lateen of the benchmark's own."""

import base64
import contextlib
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import load
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
CONNECTIONS = 8
SMALL = 100
"""Bytes of an event."""
SETTLE_S = 0.5
HANDLER = 'def handler(event, context):\n    return {"statusCode": 200, "body": "hello"}\n'


class Row:
    """One thing that is measured: where to send requests, and whose processor time counts."""

    def __init__(
        self,
        name: str,
        port: int,
        path: str,
        roots: list[int],
        requests: int,
        *,
        around: int = 0,
        pair: tuple[str, str] | None = None,
    ) -> None:
        """Args:
        roots: process ids; each counts with all that descends from it.
        around: process id of more that works for it behind its back; counted apart.
        pair: access key id and secret with which requests are signed as AWS's tools do.
        """
        self.pair = pair
        self.name = name
        self.port = port
        self.path = path
        self.roots = roots
        self.requests = requests
        self.around = around
        self.cpu_us: list[float] = []
        self.around_us: list[float] = []

    def measure(self, size: int, connections: int, requests: int) -> tuple[float, float]:
        """Processor time a request and median latency, both in microseconds."""
        cpu_us, _, p50_us = self.measure_all(size, connections, requests)
        return cpu_us, p50_us

    def measure_all(self, size: int, connections: int, requests: int) -> tuple[float, float, float]:
        """As `measure`, with the processor time of everything around between the two."""
        body = b'{"text":"' + b"x" * (size - 11) + b'"}'
        headers = signed(self.path, self.port, body, self.pair) if self.pair is not None else {}
        request = load.request_bytes(self.path, self.port, body, headers=headers)
        load.run(self.port, request, connections=connections, requests=max(100, requests // 10))
        pids = [pid for root in self.roots for pid in load.tree(root)]
        around = load.tree(self.around) if self.around else pids
        before, before_around = load.cpu_s(pids), load.cpu_s(around)
        latencies = load.run(self.port, request, connections=connections, requests=requests)
        time.sleep(SETTLE_S)  # the records of the last calls are stored meanwhile
        cpu_us = (load.cpu_s(pids) - before) * 1e6 / requests
        return cpu_us, (load.cpu_s(around) - before_around) * 1e6 / requests, statistics.median(latencies)


def signed(path: str, port: int, body: bytes, pair: tuple[str, str], *, host: str = "127.0.0.1") -> dict[str, str]:
    """Headers as boto3 sends them with an Invoke; good for five minutes."""
    sent = {"X-Amz-Invocation-Type": "RequestResponse"}
    request = AWSRequest("POST", f"http://{host}:{port}{path}", data=body, headers=sent)
    request.headers["Content-Type"] = "application/json"
    SigV4Auth(Credentials(*pair), "lambda", "us-east-1").add_auth(request)
    return {name: value for name, value in request.headers.items() if name.lower() != "content-type"}


class Lateen:
    """A `lateen up` of our own on a free port, with its data and runtimes in a temporary folder."""

    def __init__(self, folder: Path, *, pinned: bool = True) -> None:
        self.folder = folder
        self.pinned = pinned
        self.runtimes = folder / "runtimes"
        shutil.copytree(REPOSITORY / "runtimes", self.runtimes)
        self.start()

    def start(self) -> None:
        self.port = free_port()
        environment = {**os.environ, "LATEEN_DATA": str(self.folder / "data"), "LATEEN_PORT": str(self.port)}
        environment |= {"LATEEN_RUNTIMES": str(self.runtimes), "LOG_LEVEL": "WARNING"}
        self.process = serve([script("lateen"), "up"], self.port, environment, pinned=self.pinned)
        token = (self.folder / "data" / "admin").read_text().strip()
        self.api = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", headers={"authorization": f"Bearer {token}"}, timeout=60
        )

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)

    def deploy(self, name: str, code: bytes, **settings: Any) -> dict[str, Any]:
        """Create the function and wait until it is active."""
        function = self.create(name, code, **settings)
        while (state := self.api.get(f"/api/functions/{function['id']}").json())["state"] == "Pending":
            time.sleep(0.02)
        if state["state"] != "Active":
            raise SystemExit(f"{name}: {state['state']}: {state['state_reason']}")
        return function

    def create(self, name: str, code: bytes, **settings: Any) -> dict[str, Any]:
        body = {"name": name, "runtime": "python3.12", "code": base64.b64encode(code).decode(), **settings}
        answer = self.api.post("/api/workspaces/default/functions", json=body)
        if answer.status_code != 201:
            raise SystemExit(f"{name}: {answer.text}")
        created: dict[str, Any] = answer.json()
        return created

    def invoker_of(self, function: dict[str, Any]) -> tuple[int, int]:
        """Process id and port of the invoker that serves the function: the one that knows its hash."""
        for pid in load.tree(self.process.pid):
            if "lateen_invoker" not in load.command_of(pid):
                continue
            for port in load.listening_ports(pid):
                with contextlib.suppress(httpx.HTTPError):
                    if httpx.get(f"http://127.0.0.1:{port}/{function['hash']}", timeout=5).text == "hello":
                        return pid, port
        raise SystemExit("no invoker serves the function")


def serve(
    command: list[str], port: int, environment: "dict[str, str] | None" = None, *, pinned: bool = True
) -> "subprocess.Popen[bytes]":
    """Start a server, on processor 0 unless it shall have all, and wait until it listens."""
    process = subprocess.Popen(
        command,
        cwd=HERE,
        env=environment,
        stdout=subprocess.DEVNULL,
        preexec_fn=(lambda: os.sched_setaffinity(0, {0})) if pinned else None,
    )
    for _ in range(300):
        with contextlib.suppress(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{port}/", timeout=5)
            return process
        if process.poll() is not None:
            raise SystemExit(f"{command[0]} ended with {process.returncode}")
        time.sleep(0.1)
    raise SystemExit(f"{command[0]} does not listen")


def end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def script(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def free_port() -> int:
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def goal(name: str, measured: float, bound: float, unit: str, *, least: bool = False) -> None:
    """A row of the table of goals. `least`: the bound is one from below."""
    digits = 2 if unit in ("×", "s") else 0
    verdict = "met" if (measured >= bound if least else measured <= bound) else "not met"
    print(f"| {name} | {measured:.{digits}f} {unit} | {bound:g} {unit} | {verdict} |")
