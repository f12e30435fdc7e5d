"""Functions with extensions: programs as people write them, a server that they report to, and invokers to run them.

What they report can be held up, so that a test decides who is fast and who is slow.
"""

import hashlib
import io
import json
import subprocess
import sys
import threading
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from init_process import end_all_below, init_binary
from invoker_process import Answer, InvokerProcess
from pod_process import PodInvoker

from lateen_invoker.control import Drain, Failed, Layer, RuntimeCommand
from lateen_invoker.records import ErrorDocument

Json = dict[str, Any]
COMMON = """
import http.client, json, os, signal, sys, threading, time

def call(host, method, path, body=None, headers={}):
    connection = http.client.HTTPConnection(host)
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    answer = connection.getresponse()
    text = answer.read()
    return answer.status, {name.lower(): value for name, value in answer.headers.items()}, json.loads(text or b"null")

def report(what, **facts):
    call("127.0.0.1:" + os.environ["REPORTS"], "POST", "/", {"who": NAME, "what": what, **facts})

def extension(method, path, body=None, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return call(os.environ["AWS_LAMBDA_RUNTIME_API"], method, "/2020-01-01/extension/" + path, body, named)
"""
PROGRAM = (
    f"#!{sys.executable}\n{COMMON}"
    + """
NAME = os.path.basename(sys.argv[0])
DOES = json.loads(os.environ["DOES"]).get(NAME, {})
report("started", environ=dict(os.environ), cwd=os.getcwd(), uid=os.getuid())
if DOES.get("fails") == "early":
    sys.exit(3)
status, headers, told = extension(
    "POST", "register", {"events": DOES.get("events", ["INVOKE", "SHUTDOWN"])}, Lambda_Extension_Name=NAME
)
me = {"Lambda_Extension_Identifier": headers["lambda-extension-identifier"]}
report("registered", status=status, told=told)
if DOES.get("fails") == "init":
    extension("POST", "init/error", {}, Lambda_Extension_Function_Error_Type="Extension.NoConfig", **me)
    sys.exit(1)
while True:
    status, headers, event = extension("GET", "event/next", **me)
    print(NAME, "was told of", event["eventType"], flush=True)
    report(event["eventType"], event=event, now_ms=time.time() * 1000)
    if event["eventType"] == "SHUTDOWN":
        break
    if DOES.get("fails") == "exit":
        extension("POST", "exit/error", {}, Lambda_Extension_Function_Error_Type="Extension.Broken", **me)
        sys.exit(1)
    if DOES.get("fails") == "crash":
        os.kill(os.getpid(), 9)
"""
)
FUNCTION = (
    COMMON
    + """
NAME = "function"

def terminated(number, frame):
    report("terminated")
    os._exit(0)

signal.signal(signal.SIGTERM, terminated)
report("initialised")

def handler(event, context):
    report("called", id=context.aws_request_id)
    if event.get("sleep"):
        time.sleep(event["sleep"])
    if event.get("exit"):
        os._exit(event["exit"])
    return {"id": context.aws_request_id, "arn": context.invoked_function_arn, "pid": os.getpid()}
"""
)
INTERNAL = FUNCTION.replace(
    'report("initialised")',
    """
status, headers, told = extension("POST", "register", {"events": ["INVOKE"]}, Lambda_Extension_Name="inside")

def inside():
    while True:
        _, _, event = extension("GET", "event/next", Lambda_Extension_Identifier=headers["lambda-extension-identifier"])
        report("inside " + event["eventType"], event=event)

threading.Thread(target=inside, daemon=True).start()
report("initialised", told=told)
""",
)


class Reports:
    """What was reported, in the order in which it came. A report that is held is answered when it is let go."""

    def __init__(self) -> None:
        self._said = threading.Condition()
        self._all: list[Json] = []
        self._held: set[tuple[str, str]] = set()
        reports = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                reports._take(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                # Whoever reported may be gone.
                with suppress(OSError):
                    self.send_response(200)
                    self.send_header("content-length", "0")
                    self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def hold(self, who: str, what: str) -> None:
        self._held.add((who, what))

    def let_go(self) -> None:
        with self._said:
            self._held.clear()
            self._said.notify_all()

    def wait(self, who: str, what: str, number: int = 1) -> Json:
        """The n-th such report, from 1."""
        with self._said:
            there = self._said.wait_for(lambda: len(self.of(who, what)) >= number, 30)
            assert there, f"{who} has not reported {what} {number} times: {[(r['who'], r['what']) for r in self._all]}"
            return self.of(who, what)[number - 1]

    def of(self, who: str, what: str) -> list[Json]:
        return [report for report in self._all if (report["who"], report["what"]) == (who, what)]

    def order(self) -> list[tuple[str, str]]:
        return [(report["who"], report["what"]) for report in self._all]

    def close(self) -> None:
        self.let_go()
        self._server.shutdown()
        self._server.server_close()

    def _take(self, report: Json) -> None:
        with self._said:
            self._all.append(report)
            self._said.notify_all()
            self._said.wait_for(lambda: (report["who"], report["what"]) not in self._held, 60)


class Embedded:
    """A function behind an invoker as beside an embedded platform, its extensions in a layer."""

    def __init__(self, folder: Path, runtime: RuntimeCommand | None) -> None:
        self._folder = folder
        self._runtime = runtime
        self._process = InvokerProcess(folder)

    def start(self, code: str, extensions: Mapping[str, tuple[str, int]], **configure: Any) -> None:
        layer = self._folder / "layer.zip"
        layer.write_bytes(zipped({f"extensions/{name}": given for name, given in extensions.items()}))
        digest = hashlib.sha256(layer.read_bytes()).hexdigest()
        layers = [Layer("arn:aws:lambda:eu-central-1:123456789012:layer:x:1", layer.as_uri(), digest)]
        ready = self._process.configure(code, self._runtime, layers=layers if extensions else [], **configure)
        assert not isinstance(ready, Failed), ready
        self.init_error: ErrorDocument | None = ready.init_error

    def invoke(self, event: Json) -> Answer:
        return self._process.invoke(json.dumps(event).encode(), {"x-amz-log-type": "Tail"})

    @property
    def pid(self) -> int:
        return self._process.process.pid

    def stop(self) -> None:
        self._process.send(Drain(within_s=5.0))

    def stopped(self) -> None:
        assert self._process.process.wait(15) == 0

    def close(self) -> None:
        self._process.close()


class InPod:
    """The same behind a pod's invoker and `init`, without a pod; its extensions are there as in an image."""

    def __init__(self, folder: Path, runtime: RuntimeCommand | None) -> None:
        self._folder = folder
        self._runtime = runtime
        self._invoker: PodInvoker | None = None
        self._init: subprocess.Popen[bytes] | None = None

    def start(self, code: str, extensions: Mapping[str, tuple[str, int]], **configure: Any) -> None:
        layers, socket = self._folder / "layers", self._folder / "init.sock"
        (layers / "extensions").mkdir(parents=True)
        for name, (text, mode) in extensions.items():
            (layers / "extensions" / name).write_text(text)
            (layers / "extensions" / name).chmod(mode)
        variables = {
            "LATEEN_ENVIRONMENTS": "init", "LATEEN_INIT_SOCKET": str(socket), "LATEEN_LAYERS": str(layers),
            "LATEEN_WORK": str(self._folder / "work"),
        }  # fmt: skip
        configure = {"handler": "lambda_function.handler", **configure}
        self._invoker = PodInvoker(
            self._folder, {"lambda_function.py": code}, self._runtime, variables=variables, **configure
        )  # fmt: skip
        self._init = subprocess.Popen([str(init_binary()), str(socket)])
        assert self._invoker.ready() == 200, (self._invoker.log, self._invoker.stderr)
        error = self._invoker.state()["init_error"]
        self.init_error = None if error is None else ErrorDocument(error["type"], error["message"])

    def invoke(self, event: Json) -> Answer:
        assert self._invoker is not None
        return self._invoker.signed("/_lateen/invoke", "POST", json.dumps(event).encode(), log=True)

    @property
    def pid(self) -> int:
        assert self._init is not None
        return self._init.pid

    def stop(self) -> None:
        assert self._invoker is not None
        self._invoker.stop()

    def stopped(self) -> None:
        assert self._invoker is not None
        assert self._init is not None
        assert self._invoker.wait() == 0
        assert self._init.wait(10) == 0

    def close(self) -> None:
        if self._invoker is not None:
            self._invoker.close()
        if self._init is not None and self._init.poll() is None:
            end_all_below(self._init.pid)
            self._init.kill()
            self._init.wait()


def zipped(files: Mapping[str, tuple[str, int]]) -> bytes:
    """A zip of files with their modes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, (text, mode) in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (0o100000 | mode) << 16
            archive.writestr(entry, text)
    return buffer.getvalue()


def programs(*names: str) -> dict[str, tuple[str, int]]:
    return dict.fromkeys(names, (PROGRAM, 0o755))


__all__: Sequence[str] = [
    "COMMON",
    "FUNCTION",
    "INTERNAL",
    "PROGRAM",
    "Embedded",
    "InPod",
    "Reports",
    "programs",
    "zipped",
]
