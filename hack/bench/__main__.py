"""What an invocation costs, beside peers, in one run on one core: `make bench`.

Servers share processor 0, the client has another one. Processor time is the kernel's, of all processes that serve;
figures are medians over rounds in which each row has its turn, so that a noisy machine is noisy for all. Everything
is on: event 2.0, execution records, metrics, log capture, isolation.
"""

import argparse
import contextlib
import os
import re
import statistics
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import load
from servers import CONNECTIONS, HANDLER, REPOSITORY, SMALL, Lateen, Row, end, free_port, goal, script, serve

LARGE = 100_000
WHERE = "import sys\ndef handler(event, context):\n    return sys.executable\n"
DYING = "import os\ndef handler(event, context):\n    os._exit(0)\n"
RIC = """
name = "{name}"
runtime = "{name}"
version = "{version}"
file = "lambda_function.py"
handler = "lambda_function.handler"

[embedded]
interpreters = ["{interpreter}"]
probe = ["-I", "-S", "{probe}"]
command = ["{{interpreter}}", "-m", "awslambdaric", "lambda_function.handler"]
{execution_env}
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of requests")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lateen-bench-")))
        rows, lateen, hello = start(folder, stack)
        if len(os.sched_getaffinity(0)) > 1:
            os.sched_setaffinity(0, {1})
        for _ in range(arguments.rounds):
            for row in rows.values():
                cpu_us, around_us, _ = row.measure_all(SMALL, CONNECTIONS, int(row.requests * arguments.scale))
                row.cpu_us.append(cpu_us)
                row.around_us.append(around_us)
        report(rows)
        floor, ours = rows["floor"], rows["lateen"]
        one = [pair(floor, ours, 1, SMALL, int(3000 * arguments.scale)) for _ in range(5)]
        large = [pair(floor, ours, 0, LARGE, int(4000 * arguments.scale)) for _ in range(5)]
        report_goals(rows, one, large)
        report_starts(lateen, hello, ours)


def pair(floor: Row, ours: Row, connections: int, size: int, requests: int) -> tuple[float, float]:
    """One connection: latencies in microseconds; 0: processor time a request over all connections."""
    which = 1 if connections else 0
    counts = (size, connections or CONNECTIONS, requests)
    return floor.measure(*counts)[which], ours.measure(*counts)[which]


def start(folder: Path, stack: contextlib.ExitStack) -> "tuple[dict[str, Row], Lateen, dict[str, Any]]":
    """All servers, each with the one function."""
    floor_port, framework_port = free_port(), free_port()
    uvicorn = [script("uvicorn"), "peers:asgi", "--port", str(floor_port), "--log-level", "warning", "--no-access-log"]
    floor = serve(uvicorn, floor_port)
    stack.callback(end, floor)
    framework = serve(
        [script("functions-framework"), "--source", "peers.py", "--target", "functions_framework", "--port",
         str(framework_port)],
        framework_port,
    )  # fmt: skip
    stack.callback(end, framework)
    lateen = Lateen(folder)
    stack.callback(lambda: end(lateen.process))
    where = lateen.deploy("where", WHERE.encode())
    interpreter = httpx.get(where["url"]).text
    lateen.stop()
    package = client_package(folder, interpreter)
    version = re.search(r"python(3\.\d+)", Path(interpreter).name)
    for name, line in (("ric", ""), ("ric-env", 'execution_env = "AWS_Lambda_python3.12"')):
        (lateen.runtimes / name).mkdir()
        (lateen.runtimes / name / "runtime.toml").write_text(
            RIC.format(
                name=name,
                version=version[1] if version else "3.12",
                interpreter=interpreter,
                execution_env=line,
                probe=lateen.runtimes / "python3.12" / "probe.py",
            )
        )
    lateen.start()
    hello = lateen.deploy("hello", HANDLER.encode())
    functions = {"lateen": hello}
    for name in ("ric", "ric-env"):
        functions[name] = lateen.deploy(name, package, runtime=name, memory=256)
    rows = {
        "floor": Row("bare uvicorn, ASGI hello", floor_port, "/", [floor.pid], 20_000),
        "framework": Row("functions-framework, gunicorn", framework_port, "/", [framework.pid], 3_000),
    }
    for name, title, requests in (
        ("lateen", "Lateen", 10_000),
        ("ric", "Lateen, unmodified awslambdaric", 3_000),
        ("ric-env", "the same with AWS_EXECUTION_ENV", 2_000),
    ):
        invoker, port = lateen.invoker_of(functions[name])
        rows[name] = Row(
            title,
            port,
            f"/{functions[name]['hash']}",
            [invoker],
            requests,
            around=lateen.process.pid,
        )
    rows["gateway"] = Row(
        "Lateen through its gateway, all of it", lateen.port, f"/{hello['hash']}", [lateen.process.pid], 6_000
    )
    key = lateen.api.post("/api/keys", json={"workspace": "default"}).json()
    rows["signed"] = Row(
        "Lateen's Invoke, signed as AWS's tools do, all of it",
        lateen.port,
        f"/2015-03-31/functions/{hello['name']}/invocations",
        [lateen.process.pid],
        4_000,
        pair=(key["aws_access_key_id"], key["aws_secret_access_key"]),
    )
    return rows, lateen, hello


def report(rows: "dict[str, Row]") -> None:
    floor = statistics.median(rows["floor"].cpu_us)
    framework = statistics.median(rows["framework"].cpu_us)
    rounds = len(rows["floor"].cpu_us)
    print(f"\n{SMALL} B events, {CONNECTIONS} connections, medians of {rounds} rounds (lowest, highest)\n")
    print("| | CPU µs a request | × functions-framework | × uvicorn floor |")
    print("| --- | --- | --- | --- |")
    for row in rows.values():
        cpu = statistics.median(row.cpu_us)
        spread = f"{min(row.cpu_us):.0f}–{max(row.cpu_us):.0f}"
        print(f"| {row.name} | {cpu:.0f} ({spread}) | {cpu / framework:.2f} | {cpu / floor:.2f} |")


def report_goals(
    rows: "dict[str, Row]", latency: "list[tuple[float, float]]", large: "list[tuple[float, float]]"
) -> None:
    """The figures that the project holds itself to."""
    median = statistics.median
    floor, framework = median(rows["floor"].cpu_us), median(rows["framework"].cpu_us)
    ours, gateway = rows["lateen"], rows["gateway"]
    print("\n| goal | measured | at most | |\n| --- | --- | --- | --- |")
    goal("CPU beside functions-framework", median(ours.cpu_us) / framework, 0.45, "×")
    goal("CPU beside the floor", median(ours.cpu_us) / floor, 3.2, "×")
    goal("unmodified awslambdaric beside functions-framework", median(rows["ric"].cpu_us) / framework, 0.9, "×")
    goal("the same with AWS_EXECUTION_ENV", median(rows["ric-env"].cpu_us) / framework, 1.5, "×")
    hop = median(gateway.cpu_us) - median(ours.around_us)
    goal("the gateway's hop beside the floor", hop / floor, 2.0, "×")
    goal("a signed Invoke beside the plain URL", median(rows["signed"].cpu_us) / median(gateway.cpu_us), 3.0, "×")
    over = [mine - theirs for theirs, mine in latency]
    goal("one connection, median latency over the floor's", median(over), 100, "µs")
    theirs, mine = (median(column) for column in zip(*large, strict=True))
    goal("100 KB events, CPU beside the floor", mine / theirs, 2.0, "×")


def report_starts(lateen: Lateen, hello: dict[str, Any], ours: Row) -> None:
    invoker, _ = lateen.invoker_of(hello)
    pids = load.tree(invoker)
    after_load = f"{load.pss_mib(pids):.0f} MiB with {len(pids) - 1} processes of its function"
    fresh = lateen.deploy("fresh", HANDLER.encode())
    httpx.get(fresh["url"])
    pids = load.tree(lateen.invoker_of(fresh)[0])
    goal("invoker and one idle environment, PSS", load.pss_mib(pids), 60, "MiB")
    dying = lateen.deploy("dying", DYING.encode())
    for _ in range(30):
        httpx.get(dying["url"])
    time.sleep(1)
    items = lateen.api.get(f"/api/functions/{dying['id']}/logs", params={"limit": 30}).json()["items"]
    inits = [item["init_duration_ms"] for item in items if item.get("init_duration_ms")]
    goal("cold start of a forked environment, median", statistics.median(inits), 15, "ms")
    firsts = []
    for number in range(9):
        began = time.perf_counter()
        created = lateen.create(f"first-{number}", HANDLER.encode())
        answer = httpx.get(created["url"], timeout=30)
        assert answer.status_code == 200, answer.text
        firsts.append((time.perf_counter() - began) * 1000)
        time.sleep(1)
    goal("create to first 200, median", statistics.median(firsts), 150, "ms")
    around, cpu = statistics.median(ours.around_us), statistics.median(ours.cpu_us)
    print(
        f"\nStoring the execution records takes {around - cpu:.0f} µs of CPU a call in the platform's process, not in"
    )
    print(f"Lateen's first row. After the load its invoker took {after_load}.")


def client_package(folder: Path, interpreter: str) -> bytes:
    """AWS's client and the handler, as a function's package."""
    target = folder / "ric"
    subprocess.run(
        [str(REPOSITORY / "hack" / "uv"), "pip", "install", "--quiet", "--target", str(target), "--python", interpreter,
         "awslambdaric"],
        check=True,
    )  # fmt: skip
    (target / "lambda_function.py").write_text(HANDLER)
    package = folder / "ric.zip"
    with zipfile.ZipFile(package, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files_in(target):
            archive.write(file, file.relative_to(target))
    return package.read_bytes()


def files_in(folder: Path) -> Iterator[Path]:
    return (file for file in sorted(folder.rglob("*")) if file.is_file() and "__pycache__" not in file.parts)


if __name__ == "__main__":
    main()
