"""Lambda extensions, external and internal: real programs beside a real runtime, embedded and under a pod's `init`."""

import base64
import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from extension_probe import COMMON, FUNCTION, INTERNAL, PROGRAM, Embedded, InPod, Reports, programs
from init_process import below, is_running, until
from invoker_process import Answer, aws_client
from runtimes_here import command

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
Start = Callable[..., "Embedded | InPod"]
Json = dict[str, Any]


@pytest.fixture
def reports() -> Iterator[Reports]:
    server = Reports()
    yield server
    server.close()


@pytest.fixture(params=["embedded", "init"])
def start(request: pytest.FixtureRequest, tmp_path: Path, reports: Reports) -> Iterator[Start]:
    """Starts a function. `does`: of each extension, what it does otherwise than the others."""
    started: list[Embedded | InPod] = []

    def make(
        code: str, extensions: Any, does: Json | None = None, runtime: Any = None, **configure: Any
    ) -> Embedded | InPod:
        one: Embedded | InPod = (Embedded if request.param == "embedded" else InPod)(tmp_path, runtime)
        started.append(one)
        environment = {"REPORTS": str(reports.port), "DOES": json.dumps(does or {})}
        one.start(code, extensions, environment=environment, **configure)
        return one

    yield make
    reports.let_go()
    for one in started:
        one.close()


def value(answer: Answer) -> Json:
    assert answer.status == 200, answer.body
    assert "x-amz-function-error" not in answer.headers, answer.body
    found: Json = json.loads(answer.body)
    return found


def error(answer: Answer) -> tuple[str, str]:
    assert answer.headers["x-amz-function-error"] == "Unhandled", answer.body
    told = json.loads(answer.body)
    return told["errorType"], told["errorMessage"].replace(answer.headers["x-amzn-requestid"], "ID")


@pytest.mark.parametrize("client", ["ours", "awslambdaric"])
def test_a_whole_life(start: Start, reports: Reports, client: str) -> None:
    """Started in order before the runtime, told of each event and of the end, and told what AWS tells."""
    runtime = None if client == "ours" else aws_client()
    function = start(FUNCTION, programs("b-second", "a-first"), {"a-first": {"events": ["INVOKE"]}}, runtime)
    assert function.init_error is None
    order = reports.order()
    assert order[-1] == ("function", "initialised")
    assert {who for who, what in order if what == "registered"} == {"a-first", "b-second"}
    assert reports.wait("b-second", "registered")["told"] == {
        "functionName": "probe", "functionVersion": "$LATEST", "handler": "lambda_function.handler",
    }  # fmt: skip
    environ = reports.wait("b-second", "started")["environ"]
    assert environ["AWS_LAMBDA_FUNCTION_NAME"] == "probe"
    if isinstance(function, Embedded):  # in a pod a function has its loopback for itself
        host, _, port = environ["AWS_LAMBDA_RUNTIME_API"].partition(":")
        with socket.create_connection((host, int(port)), 10) as stranger, stranger.makefile("rb") as told:
            # It is told before it has said anything, which could meet a closed connection.
            assert json.loads(told.read().partition(b"\r\n\r\n")[2])["errorType"] == "Forbidden"
    assert not {"_HANDLER", "AWS_EXECUTION_ENV", "LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR"} & set(environ)

    for number in (1, 2):
        answer = function.invoke({})
        called = value(answer)
        lines = base64.b64decode(answer.headers["x-amz-log-result"]).decode().splitlines()
        assert [line for line in lines if line.startswith("EXTENSION")] == [
            "EXTENSION\tName: a-first\tState: Ready\tEvents: [INVOKE]",
            "EXTENSION\tName: b-second\tState: Ready\tEvents: [INVOKE,SHUTDOWN]",
        ] * (number == 1)
        told = reports.wait("a-first", "INVOKE", number)
        event = told["event"]
        assert 0 < event.pop("deadlineMs") - told["now_ms"] <= 3000
        assert event.pop("tracing")["value"].startswith("Root=1-")
        assert event == {
            "eventType": "INVOKE", "requestId": called["id"], "invokedFunctionArn": called["arn"],
        }  # fmt: skip
        assert reports.wait("b-second", "INVOKE", number)["event"]["requestId"] == called["id"]

    function.stop()
    told = reports.wait("b-second", "SHUTDOWN")
    assert 0 < told["event"].pop("deadlineMs") - told["now_ms"] <= 2000
    assert told["event"] == {"eventType": "SHUTDOWN", "shutdownReason": "spindown"}
    assert reports.of("a-first", "SHUTDOWN") == []
    if client == "ours":  # AWS's has its own idea of signals
        function.stopped()
        assert reports.order().index(("function", "terminated")) < reports.order().index(("b-second", "SHUTDOWN"))


def test_the_caller_does_not_wait_for_extensions(start: Start, reports: Reports) -> None:
    """It has its answer while one still works; the environment's next event waits for that one."""
    function = start(FUNCTION, programs("slow"), concurrency=1, timeout_s=20)
    reports.hold("slow", "INVOKE")
    first = value(function.invoke({}))
    reports.wait("slow", "INVOKE")
    answers: list[Json] = []
    second = threading.Thread(target=lambda: answers.append(value(function.invoke({}))))
    second.start()
    second.join(0.5)
    assert answers == []
    assert len(reports.of("function", "called")) == 1
    reports.let_go()
    second.join(20)
    assert answers[0]["pid"] == first["pid"]
    assert reports.wait("slow", "INVOKE", 2)["event"]["requestId"] == answers[0]["id"]


def test_an_extension_that_takes_too_long(start: Start, reports: Reports) -> None:
    """The function's time is that of its extensions too: the environment ends, and the answer was given."""
    function = start(FUNCTION, programs("slow", "watcher"), {"watcher": {"events": ["SHUTDOWN"]}}, timeout_s=1)
    reports.hold("slow", "INVOKE")
    first = value(function.invoke({}))
    assert reports.wait("watcher", "SHUTDOWN")["event"]["shutdownReason"] == "timeout"
    reports.let_go()
    assert value(function.invoke({}))["id"] != first["id"]
    assert len(reports.of("function", "initialised")) == 2


def test_the_end_of_a_function_that_fails(start: Start, reports: Reports) -> None:
    """Extensions are told why: its time was over, or its process ended. Its caller does not wait for that."""
    function = start(FUNCTION, programs("watcher"), timeout_s=1)
    reports.hold("watcher", "SHUTDOWN")
    assert error(function.invoke({"sleep": 30}))[0] == "Sandbox.Timedout"
    assert reports.wait("watcher", "SHUTDOWN")["event"]["shutdownReason"] == "timeout"
    failed = error(function.invoke({"exit": 5}))
    assert failed == ("Runtime.ExitError", "RequestId: ID Error: Runtime exited with error: exit status 5")
    assert reports.wait("watcher", "SHUTDOWN", 2)["event"]["shutdownReason"] == "failure"
    reports.let_go()
    value(function.invoke({}))


@pytest.mark.parametrize(
    ("does", "error_type", "how"),
    [
        ("early", "Extension.Crash", "exit status 3"),
        ("init", "Extension.InitError", "exit status 1"),
        ("not executable", "Extension.LaunchError", "fork/exec {folder}/one: permission denied"),
        ("no program", "Extension.LaunchError", "fork/exec {folder}/one: exec format error"),
    ],
)
def test_failing_at_the_start(start: Start, reports: Reports, does: str, error_type: str, how: str) -> None:
    """The initialisation fails with what AWS calls it, and so does each call, for each tries again."""
    one = {"not executable": (PROGRAM, 0o644), "no program": ("words", 0o755)}.get(does, (PROGRAM, 0o755))
    function = start(FUNCTION, {"one": one, **programs("other")}, {"one": {"fails": does}})
    assert function.init_error is not None
    folder = function.init_error.message.partition("fork/exec ")[2].partition("/one:")[0]
    assert function.init_error.type == error_type
    assert function.init_error.message == f"RequestId:  Error: {how.format(folder=folder)}"
    failed = function.invoke({})
    assert error(failed)[0] == error_type
    log = base64.b64decode(failed.headers["x-amz-log-result"]).decode()
    assert "EXTENSION\tName: one\tState: Exited\tEvents: " in log
    assert f"\tError Type: {error_type}\n" in log
    assert reports.of("function", "called") == []


@pytest.mark.parametrize(
    ("does", "error_type", "how"),
    [("crash", "Extension.Crash", "signal: killed"), ("exit", "Extension.ExitError", "exit status 1")],
)
def test_failing_while_an_event_runs(start: Start, reports: Reports, does: str, error_type: str, how: str) -> None:
    """Its caller is told, the other extensions too, and the next event meets another environment."""
    function = start(FUNCTION, programs("bad", "other"), {"bad": {"fails": does}}, timeout_s=60)
    reports.hold("bad", "INVOKE")
    answers: list[Answer] = []
    caller = threading.Thread(target=lambda: answers.append(function.invoke({"sleep": 30})))
    caller.start()
    reports.wait("function", "called")
    reports.let_go()
    caller.join(30)
    assert error(answers[0]) == (error_type, f"RequestId: ID Error: {how}")
    assert reports.wait("other", "SHUTDOWN")["event"]["shutdownReason"] == "failure"
    assert error(function.invoke({"sleep": 30}))[0] == error_type
    assert len(reports.of("bad", "started")) == 2


@pytest.mark.parametrize("start", ["embedded"], indirect=True)
def test_more_than_there_may_be(start: Start, reports: Reports) -> None:
    """Ten is the most."""
    function = start(FUNCTION, programs(*(f"e{number:02}" for number in range(11))))
    assert function.init_error is not None
    assert function.init_error.type == "Extension.LaunchError"
    assert reports.of("function", "initialised") == []


def test_an_internal_one(start: Start, reports: Reports) -> None:
    """A part of the runtime that registers is told of events, and waited for; at the end the runtime gets a SIGTERM."""
    function = start(INTERNAL, {}, concurrency=1, timeout_s=20)
    assert reports.wait("function", "initialised")["told"]["functionName"] == "probe"
    reports.hold("function", "inside INVOKE")
    first = value(function.invoke({}))
    assert reports.wait("function", "inside INVOKE")["event"]["requestId"] == first["id"]
    answers: list[Json] = []
    second = threading.Thread(target=lambda: answers.append(value(function.invoke({}))))
    second.start()
    second.join(0.5)
    assert answers == []
    reports.let_go()
    second.join(20)
    assert answers[0]["pid"] == first["pid"]
    function.stop()
    reports.wait("function", "terminated")


INTERNAL_NODE = """
const api = `http://${process.env.AWS_LAMBDA_RUNTIME_API}/2020-01-01/extension`;
const report = (who, what) => fetch(
  `http://127.0.0.1:${process.env.REPORTS}`, { method: "POST", body: JSON.stringify({ who, what }) },
).then((answer) => answer.text());
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

process.on("SIGTERM", () => report("function", "terminated").then(() => process.exit(0)));
const registered = await fetch(`${api}/register`, {
  method: "POST", headers: { "Lambda-Extension-Name": "inside" }, body: JSON.stringify({ events: ["INVOKE"] }),
});
await registered.text();
const headers = { "Lambda-Extension-Identifier": registered.headers.get("lambda-extension-identifier") };
const inside = async () => {
  for (;;) {
    await sleep(100);
    await (await fetch(`${api}/event/next`, { headers })).text();
    await report("inside", "INVOKE");
  }
};
inside();
export const handler = async ({ size }) => [process.pid, "x".repeat(size)];
"""


@pytest.mark.parametrize("start", ["embedded"], indirect=True)
def test_an_internal_one_in_node(start: Start, reports: Reports) -> None:
    """It works on after the answer and between two events, and hears of the end."""
    function = start(
        {"index.mjs": INTERNAL_NODE}, {}, runtime=command("node20"), handler="index.handler", concurrency=1
    )
    assert function.init_error is None
    pids = set()
    for number, size in enumerate((1, 1, 300_000, 1), 1):
        pid, text = json.loads(function.invoke({"size": size, "sent": "x" * size}).body)
        assert len(text) == size
        pids.add(pid)
        reports.wait("inside", "INVOKE", number)
    assert len(pids) == 1
    function.stop()
    reports.wait("function", "terminated")
    function.stopped()


REFUSED = (
    COMMON
    + """
import socket, uuid
seen = []

def ask(method, path, body=None, **headers):
    status, _, told = extension(method, path, body, **headers)
    seen.append([status, (told or {}).get("errorType")])

def put(path):
    status, _, told = call(os.environ["AWS_LAMBDA_RUNTIME_API"], "PUT", path, {})
    seen.append([status, told["errorType"]])

def registered(name):
    _, headers, told = extension(
        "POST", "register", {"events": []}, Lambda_Extension_Name=name, Lambda_Extension_Accept_Feature="x, accountId"
    )
    assert told["accountId"] == "123456789012"
    return {"Lambda_Extension_Identifier": headers["lambda-extension-identifier"]}

waiting = []

def wait_for_next(me):
    sock = socket.create_connection(os.environ["AWS_LAMBDA_RUNTIME_API"].split(":"))
    waiting.append(sock)
    head = f"lambda-extension-identifier: {me['Lambda_Extension_Identifier']}"
    # The second is refused, by when the first waits.
    sock.sendall(f"GET /2020-01-01/extension/event/next HTTP/1.1\\r\\nhost: x\\r\\n{head}\\r\\n\\r\\n".encode() * 2)
    text = b""
    while not text.endswith(b"}"):
        text += sock.recv(4096)
    return [int(text.split()[1]), json.loads(text.partition(b"\\r\\n\\r\\n")[2])["errorType"]]

one = {"Lambda_Extension_Name": "one"}
ask("POST", "register", {"events": []})
ask("POST", "register", ["INVOKE"], **one)
ask("POST", "register", {"events": "INVOKE"}, **one)
ask("POST", "register", {"events": ["SHUTDOWN"]}, **one)
ask("GET", "event/next")
ask("GET", "event/next", Lambda_Extension_Identifier="me")
ask("GET", "event/next", Lambda_Extension_Identifier=str(uuid.uuid4()))
me = registered("one")
ask("POST", "register", {"events": []}, **one)
ask("POST", "exit/error", {}, **me)
seen.append(wait_for_next(me))
ask("POST", "init/error", {}, Lambda_Extension_Function_Error_Type="X", **me)
for number in range(9):
    wait_for_next(registered(f"n{number}"))
ask("POST", "register", {"events": []}, Lambda_Extension_Name="eleventh")
ask("POST", "event/next", **me)
put("/2022-07-01/telemetry")
put("/2020-08-15/logs")

def handler(event, context):
    ask("POST", "register", {"events": []}, Lambda_Extension_Name="late")
    return seen
"""
)


@pytest.mark.parametrize("start", ["embedded"], indirect=True)
def test_refusals(start: Start) -> None:
    """What is wrong is 403 with AWS's name for it; telemetry, which there is none of, is the emulator's 202."""
    function = start(REFUSED, {})
    assert function.init_error is None
    assert json.loads(function.invoke({}).body) == [
        [403, "Extension.InvalidExtensionName"], [403, "InvalidRequestFormat"], [403, "InvalidRequestFormat"],
        [403, "Extension.InvalidEventType"], [403, "Extension.MissingExtensionIdentifier"],
        [403, "Extension.InvalidExtensionIdentifier"], [403, "Extension.UnknownExtensionIdentifier"],
        [403, "Extension.InvalidExtensionState"], [403, "Extension.MissingHeader"],
        [403, "Extension.InvalidExtensionState"], [403, "Extension.InvalidExtensionState"],
        [403, "Extension.TooManyExtensions"], [404, "NotFound"], [202, "Telemetry.NotSupported"],
        [202, "Logs.NotSupported"], [403, "Extension.RegistrationClosed"],
    ]  # fmt: skip


def test_nothing_outlives_its_invoker(start: Start, reports: Reports) -> None:
    """Extensions end with what ends all else, whatever they would still have to do."""
    function = start(FUNCTION, programs("one"))
    value(function.invoke({}))
    processes = below(function.pid)
    assert len([pid for pid in processes if b"extensions/one" in command_line(pid)]) == 1
    function.close()
    until(lambda: not any(is_running(pid) for pid in processes))


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
