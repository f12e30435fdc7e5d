"""The invoker with a function behind it: each way that an invocation can go, with our bootstrap and AWS's client."""

import base64
import json
import os
import random
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from invoker_process import HASH, InvokerProcess, aws_client, own_bootstrap

from lateen_invoker import control, signing
from lateen_invoker.control import Ready, RuntimeCommand
from lateen_invoker.forkserver import descendants

Start = Callable[[], InvokerProcess]
CODE = """
import json, os, subprocess, sys, threading, time
print("initialised")
calls = 0

def handler(event, context):
    global calls
    calls += 1
    what = event.get("rawPath", event.get("do", "/"))
    if what == "/calls":
        return calls
    if what == "/raise":
        raise ValueError("not for callers")
    if what.startswith("/exit"):
        os._exit(int(what[5:]))
    if what == "/kill":
        os.kill(os.getpid(), 9)
    if what == "/segfault":
        import ctypes
        ctypes.string_at(0)
    if what.startswith("/sleep"):
        time.sleep(float(what[6:]))
        return "slept"
    if what == "/garbage":
        return {1, 2}
    if what == "/large":
        return "x" * (6 * 1024 * 1024 + 100)
    if what == "/largest":
        return "x" * (6 * 1024 * 1024 + 98)
    if what == "/print":
        print("first line")
        print("to stderr", file=sys.stderr)
        subprocess.run(["/bin/echo", "from a child"])
        return "printed"
    if what == "/flood":
        for number in range(40000):
            print("x" * 99)
        print("the end")
        return "flooded"
    if what == "/endless":
        def shout():
            while True:
                os.write(1, b"y" * 65536)
        threading.Thread(target=shout, daemon=True).start()
        time.sleep(1)
        return "shouted"
    if what == "/memory":
        hoard = [bytes(bytearray(1 << 20)) for _ in range(int(os.environ["MIB"]))]
        time.sleep(1.5)
        return len(hoard)
    if what == "/bytes":
        return b'{"statusCode": 200, "body": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    if what.startswith("/long"):
        raise ValueError("x" * int(what[5:]))
    if what == "/leave":
        os.chdir(os.environ["TMPDIR"])
        for _ in range(2000):
            os.mkdir("d")
            os.chdir("d")
        os._exit(0)
    if what == "/grow":
        def grow():
            for _ in range(3):
                if os.fork() == 0:
                    hoard = bytes(bytearray(100 << 20))
                    time.sleep(60)
        threading.Timer(0.2, grow).start()
        return os.getpid()
    if what == "/forks":
        for _ in range(400):
            if os.fork() == 0:
                time.sleep(3)
                os._exit(0)
        time.sleep(1.5)
        return "forked"
    if what == "/structured":
        return {"statusCode": 418, "headers": {"X-Kind": "tea"}, "cookies": ["a=1", "b=2"], "body": "pot"}
    if what == "/event":
        return event
    if what == "/environment":
        return dict(os.environ)
    if what == "/context":
        return {
            "id": context.aws_request_id, "arn": context.invoked_function_arn,
            "left": context.get_remaining_time_in_millis(),
            "client": context.client_context.custom if context.client_context else None,
            "version": context.function_version, "memory": context.memory_limit_in_mb, "group": context.log_group_name,
        }
    return "hello"
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[InvokerProcess] = []

    def make() -> InvokerProcess:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        started.append(InvokerProcess(folder))
        return started[-1]

    yield make
    for invoker in started:
        invoker.close()


@pytest.fixture(params=["ours", "awslambdaric"])
def runtime(request: pytest.FixtureRequest) -> RuntimeCommand:
    return own_bootstrap() if request.param == "ours" else aws_client()


@pytest.fixture
def probe(start: Start, runtime: RuntimeCommand) -> InvokerProcess:
    invoker = start()
    # One environment: a client that speaks HTTP asks for its next event only after its answer has been read.
    ready = invoker.configure(CODE, runtime, timeout_s=2, concurrency=1, environment={"MIB": "300", "MINE": "ü"})
    assert isinstance(ready, Ready)
    assert ready.init_error is None
    return invoker


def test_an_answer(probe: InvokerProcess) -> None:
    """A plain value is the body; the request id is the record's."""
    answer = probe.call()
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"hello", "application/json")
    record = probe.record()
    assert record.request_id == answer.headers["x-amzn-requestid"]
    assert (record.status, record.cold, record.cold_reason, record.error) == ("success", True, "first", None)
    assert record.init_duration_ms is not None
    assert record.memory_peak_mib > 1


def test_a_structured_answer(probe: InvokerProcess) -> None:
    """Status, headers, cookies and body are the function's."""
    answer = probe.call("/structured")
    assert (answer.status, answer.body, answer.headers["x-kind"]) == (418, b"pot", "tea")
    assert answer.headers.get_all("set-cookie") == ["a=1", "b=2"]


def test_environments_are_reused(probe: InvokerProcess) -> None:
    """What a function keeps in memory is there the next time; only the first call is cold."""
    assert [probe.call("/calls").body for _ in range(3)] == [b"1", b"2", b"3"]
    assert [probe.record(n).cold for n in (1, 2, 3)] == [True, False, False]


@pytest.mark.parametrize(
    ("path", "error_type", "message"),
    [
        ("/raise", "ValueError", "not for callers"),
        ("/exit3", "Runtime.ExitError", "RequestId: {id} Error: Runtime exited with error: exit status 3"),
        ("/exit0", "Runtime.ExitError", "RequestId: {id} Error: Runtime exited without providing a reason"),
        ("/kill", "Runtime.ExitError", "RequestId: {id} Error: Runtime exited with error: signal: killed"),
        ("/segfault", "Runtime.ExitError",
         "RequestId: {id} Error: Runtime exited with error: signal: segmentation fault"),
        ("/sleep9", "Sandbox.Timedout", "RequestId: {id} Error: Task timed out after 2.00 seconds"),
        ("/garbage", "Runtime.MarshalError", None),
        ("/large", "Function.ResponseSizeTooLarge",
         "Response payload size exceeded maximum allowed payload size (6291556 bytes)."),
    ],
)  # fmt: skip
def test_failures(probe: InvokerProcess, path: str, error_type: str, message: str | None) -> None:
    """Each ends as on AWS; the URL's callers see the type only; the record has the rest; the next call works."""
    failed = probe.call(path)
    request_id = failed.headers["x-amzn-requestid"]
    assert failed.status == 502
    assert json.loads(failed.body) == {
        "message": "Internal Server Error", "errorType": error_type, "requestId": request_id,
    }  # fmt: skip
    record = probe.record()
    assert record.status == ("timeout" if path == "/sleep9" else "error")
    assert record.error is not None
    assert record.error.type == error_type
    if message is not None:
        assert record.error.message == message.format(id=request_id)
    if path == "/sleep9":
        assert f"{request_id} Task timed out after 2.00 seconds\n" in record.log_tail
    assert probe.call().body == b"hello"


def test_invoke_answers_with_the_runtimes_document(probe: InvokerProcess) -> None:
    """The platform's raw invoke passes event and answer untouched, and a function error as the runtime wrote it."""
    answer = probe.invoke(b'{ "do": "/event", "n": 1.50 }')
    assert (answer.status, json.loads(answer.body)) == (200, {"do": "/event", "n": 1.5})
    assert answer.headers["x-amz-executed-version"] == "$LATEST"
    assert "x-amz-function-error" not in answer.headers
    failed = probe.invoke(b'{"do": "/raise"}', {"x-amz-log-type": "Tail"})
    document = json.loads(failed.body)
    assert (failed.status, failed.headers["x-amz-function-error"]) == (200, "Unhandled")
    assert (document["errorType"], document["errorMessage"]) == ("ValueError", "not for callers")
    assert any("handler" in line for line in document["stackTrace"])
    tail = base64.b64decode(failed.headers["x-amz-log-result"]).decode()
    assert tail.startswith(f"START RequestId: {failed.headers['x-amzn-requestid']} Version: $LATEST\n")
    assert "not for callers" in tail
    assert "REPORT RequestId" in tail


def test_the_context(probe: InvokerProcess) -> None:
    """ARN, deadline, client context and the rest are what AWS gives."""
    client = base64.b64encode(json.dumps({"custom": {"k": "v"}}).encode()).decode()
    answer = probe.invoke(b'{"do": "/context"}', {"x-amz-client-context": client})
    context = json.loads(answer.body)
    assert 0 < context.pop("left") <= 2000
    assert context == {
        "id": answer.headers["x-amzn-requestid"], "arn": "arn:aws:lambda:eu-central-1:123456789012:function:probe",
        "client": {"k": "v"}, "version": "$LATEST", "memory": "128", "group": "/aws/lambda/probe",
    }  # fmt: skip


def test_the_environment_variables(probe: InvokerProcess) -> None:
    """Those that AWS documents, the user's, and nothing of ours."""
    seen = json.loads(probe.call("/environment").body)
    assert seen.items() >= {
        "_HANDLER": "lambda_function.handler", "AWS_REGION": "eu-central-1", "AWS_DEFAULT_REGION": "eu-central-1",
        "MINE": "ü",
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.12", "AWS_LAMBDA_FUNCTION_NAME": "probe", "TZ": ":UTC",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128", "LANG": "en_US.UTF-8",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand", "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/probe",
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
    }.items()  # fmt: skip
    assert seen["_X_AMZN_TRACE_ID"].startswith("Root=1-")
    assert {
        "LAMBDA_TASK_ROOT",
        "LAMBDA_RUNTIME_DIR",
        "AWS_LAMBDA_RUNTIME_API",
        "AWS_LAMBDA_LOG_STREAM_NAME",
    } <= seen.keys()
    assert not [name for name in seen if "LATEEN" in name or "SECRET" in name or "TOKEN" in name]


def test_the_log(probe: InvokerProcess) -> None:
    """START, all that was printed, by whom ever, END and REPORT; initialisation belongs to the first call."""
    answer = probe.call("/print")
    request_id = answer.headers["x-amzn-requestid"]
    log = probe.record().log_tail
    assert log.startswith(f"START RequestId: {request_id} Version: $LATEST\ninitialised\nfirst line\n")
    assert "to stderr\n" in log
    assert "from a child\n" in log
    head, _, report = log.partition(f"END RequestId: {request_id}\n")
    assert report.startswith(f"REPORT RequestId: {request_id}\tDuration: ")
    assert "\tMemory Size: 128 MB\tMax Memory Used: " in report
    assert "\tInit Duration: " in report
    assert head.count("START") == 1
    probe.call("/print")
    assert "Init Duration" not in probe.record(2).log_tail


def test_a_flood_of_output_is_cut(probe: InvokerProcess) -> None:
    """4 MB printed: beginning and end are kept, the middle is named, and the caller waits no longer for it."""
    assert probe.call("/flood").body == b"flooded"
    record = probe.record()
    assert record.log_truncated
    assert len(record.log_tail) < 70_000
    assert "initialised" in record.log_tail
    assert "the end" in record.log_tail
    assert "bytes of output left out" in record.log_tail


def test_endless_output_costs_nobody_anything(probe: InvokerProcess) -> None:
    """A thread that never stops printing: the invoker stays small, others are answered, the record is bounded."""
    assert probe.call("/endless").body == b"shouted"
    assert [probe.call("/calls").status for _ in range(5)] == [200] * 5
    assert len(probe.record().log_tail) < 70_000
    with open(f"/proc/{probe.process.pid}/status") as status:
        peak_kib = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    assert peak_kib < 128 * 1024


def test_memory(probe: InvokerProcess) -> None:
    """Beyond its memory an environment ends, the error says why, and the next call works."""
    failed = probe.call("/memory")
    assert failed.status == 502
    assert json.loads(failed.body)["errorType"] == "Runtime.OutOfMemory"
    assert probe.call().body == b"hello"


def test_memory_between_events(start: Start) -> None:
    """What goes on growing when its caller has been answered ends too, and the next call works."""
    invoker = start()
    invoker.configure(CODE)
    assert invoker.call("/grow").status == 200
    below = descendants(invoker.process.pid)
    wait_until(lambda: len(descendants(invoker.process.pid)) > len(below))
    wait_until(lambda: len(descendants(invoker.process.pid)) < len(below))
    assert invoker.call("/calls").body == b"1"


def test_memory_at_initialisation(start: Start) -> None:
    """The limit holds before the first event too."""
    ready = start().configure("import time\nhoard = bytes(bytearray(300 << 20))\ntime.sleep(3)")
    assert isinstance(ready, Ready)
    assert ready.init_error is not None
    assert ready.init_error.type == "Runtime.OutOfMemory"


@pytest.mark.parametrize("size", [100_000, 7_000_000])
def test_an_error_with_a_long_message(probe: InvokerProcess, size: int) -> None:
    """The caller and the record learn its type, or that it was too large, and the environment lives on."""
    assert probe.call("/calls").body == b"1"
    said = json.loads(probe.call(f"/long{size}").body)["errorType"]
    error = probe.record(2).error
    assert error is not None
    assert error.type == said
    assert error.message == ("x" * 4096 if size < 1 << 20 else "too large")
    assert probe.call("/calls").body == b"3"


def test_an_answer_that_nobody_can_read(probe: InvokerProcess) -> None:
    """Bytes that look like JSON and are nested without end: their caller is told, the environment lives on."""
    assert probe.call("/calls").body == b"1"
    assert json.loads(probe.call("/bytes").body)["errorType"] == "InvalidAnswer"
    assert probe.call("/calls").body == b"3"


def test_what_an_environment_leaves_is_removed(start: Start) -> None:
    """However deep it is."""
    invoker = start()
    invoker.configure(CODE)
    invoker.call("/leave")
    wait_until(lambda: not os.path.exists(invoker.folder / "work" / "environments" / "1"))


@pytest.mark.parametrize("sandbox", [True, False])
def test_many_processes(start: Start, sandbox: bool) -> None:
    """Beyond their number the environment ends with all of them, also where the kernel's own limit holds nobody."""
    invoker = start()
    invoker.configure(CODE, sandbox=sandbox)
    assert invoker.call("/forks").status == 502
    assert invoker.call().body == b"hello"
    wait_until(lambda: len(descendants(invoker.process.pid)) < 10)


def test_the_largest_answer(probe: InvokerProcess) -> None:
    """6 MiB and 100 bytes are an answer, whole."""
    assert probe.call("/largest").body == b"x" * (6 * 1024 * 1024 + 98)


def test_the_largest_event(probe: InvokerProcess) -> None:
    """6 MiB of body reach the function; one byte more is refused before it is read."""
    body = os.urandom(3 * 1024 * 1024).hex().encode()
    assert len(body) == 6 * 1024 * 1024
    answer = probe.call("/calls", "POST", body, {"content-type": "text/plain"})
    assert (answer.status, answer.body) == (200, b"1")
    assert probe.call("/", "POST", body + b"x").status == 413


def test_what_calls_leave_in_the_invoker(start: Start) -> None:
    """Neither what was printed nor headers nor bodies stay, in circles that no reference count ends."""
    invoker = start()
    invoker.configure("def handler(event, context):\n    print('x' * 60_000)")
    for _ in range(300):
        invoker.call(body=b"x" * 100_000, headers={"x-long": "x" * 10_000})
    before = memory_kib(invoker.process.pid, "VmRSS:")
    for _ in range(600):
        invoker.call(body=b"x" * 100_000, headers={"x-long": "x" * 10_000})
    assert memory_kib(invoker.process.pid, "VmRSS:") - before < 15 * 1024


def test_twenty_of_the_largest_at_once(start: Start) -> None:
    """Bodies come back as they were, and the invoker grows by 150 MB at most."""
    invoker = start()
    invoker.configure(
        "def handler(event, context):\n    return {'statusCode': 200, 'body': event['body']}",
        memory_mib=512,
        timeout_s=20,
    )
    before = memory_kib(invoker.process.pid, "VmHWM:")
    bodies = [bytes([65 + number]) * (6 * 1024 * 1024 - 100) for number in range(20)]

    def echo(body: bytes) -> bool:
        return invoker.call("/", "POST", body, {"content-type": "text/plain"}).body == body

    with ThreadPoolExecutor(20) as callers:
        assert all(callers.map(echo, bodies))
    assert memory_kib(invoker.process.pid, "VmHWM:") - before < 150 * 1000 * 1000 // 1024


def test_one_event_at_a_time(start: Start, runtime: RuntimeCommand) -> None:
    """Two environments, six callers at once: never more than two run, all are answered."""
    invoker = start()
    invoker.configure(CODE, runtime, concurrency=2, timeout_s=10)
    with ThreadPoolExecutor(6) as callers:
        began = time.monotonic()
        answers = list(callers.map(invoker.call, ["/sleep0.3"] * 6))
        took = time.monotonic() - began
    assert [answer.body for answer in answers] == [b"slept"] * 6
    assert took >= 0.9


def test_who_finds_the_queue_full_is_refused_at_once(start: Start) -> None:
    """One environment, a queue of two, five callers: two are told 429 while the others wait, and that nothing ran."""
    invoker = start()
    invoker.configure(CODE, concurrency=1, queue=2, timeout_s=10)
    with ThreadPoolExecutor(5) as callers:
        answers = list(callers.map(invoker.call, ["/sleep0.5"] * 5))
    assert sorted(answer.status for answer in answers) == [200, 200, 200, 429, 429]
    refused = next(answer for answer in answers if answer.status == 429)
    assert json.loads(refused.body)["message"] == "Rate Exceeded."
    assert [("x-lateen-refused" in answer.headers) for answer in answers] == [a.status == 429 for a in answers]


@pytest.mark.parametrize(
    ("code", "error_type"),
    [
        ("import nothing_like_this", "Runtime.ImportModuleError"),
        ("def handler(", "Runtime.UserCodeSyntaxError"),
        ("x = 1", "Runtime.HandlerNotFound"),
        ("raise RuntimeError('at import')", "RuntimeError"),
        ("import os\nos._exit(4)", "Runtime.ExitError"),
    ],
)
def test_failed_initialisation(start: Start, runtime: RuntimeCommand, code: str, error_type: str) -> None:
    """The deployment is told, and so is each call, as on AWS, with what was printed in its log."""
    invoker = start()
    ready = invoker.configure("print('so far')\n" + code, runtime)
    assert isinstance(ready, Ready)
    assert ready.init_error is not None
    assert ready.init_error.type == error_type
    for number in (1, 2):
        failed = invoker.call()
        assert (failed.status, json.loads(failed.body)["errorType"]) == (502, error_type)
        record = invoker.record(number)
        assert "so far" in record.log_tail or code.startswith("def")
        if error_type == "Runtime.ExitError":
            how = f"RequestId: {record.request_id} Error: Runtime exited with error: exit status 4\n"
            assert how in record.log_tail


@pytest.mark.slow
def test_a_slow_initialisation_keeps_nobody_waiting_for_ever(start: Start) -> None:
    """Ten seconds, as on AWS; then the environment is ended and the deployment says so."""
    invoker = start()
    began = time.monotonic()
    ready = invoker.configure("import time\ntime.sleep(60)")
    assert isinstance(ready, Ready)
    assert ready.init_error is not None
    assert ready.init_error.type == "Sandbox.Timedout"
    assert 9 < time.monotonic() - began < 30
    answer = json.loads(invoker.invoke(b"{}").body)
    record = invoker.record()
    assert answer["errorMessage"] == f"RequestId: {record.request_id} Error: Task timed out after 10.00 seconds"
    assert f" {record.request_id} Task timed out after 10.00 seconds\n" in record.log_tail


def test_wrong_code_never_runs(start: Start) -> None:
    """Another SHA-256 than the deployment's is a failure in words."""
    failed = start().configure(CODE, artifact_sha256="0" * 64)
    assert failed == control.Failed(reason="the code does not have the SHA-256 that it was deployed with")


def test_a_caller_that_leaves(start: Start, runtime: RuntimeCommand) -> None:
    """Its event runs to its end, the environment is as good as before, and nobody gets its answer."""
    invoker = start()
    invoker.configure(CODE, runtime, concurrency=1)
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", invoker.port)) as sock:
            sock.sendall(f"GET /{HASH}/sleep0.1 HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            time.sleep(0.03)
    assert invoker.call().body == b"hello"
    assert invoker.record(2).status == "success"


def test_cancelled_callers_never_get_anothers_answer(start: Start) -> None:
    """Callers come and go at random moments; each answer that arrives is the asker's own."""
    invoker = start()
    invoker.configure("import time\ndef handler(e, c):\n    time.sleep(0.002)\n    return e['rawPath']", concurrency=4)
    seed = int(os.environ.get("LATEEN_TEST_SEED", "0")) or random.randrange(1, 1 << 32)
    print(f"LATEEN_TEST_SEED={seed}")

    def caller(number: int) -> None:
        chance = random.Random(seed + number)
        for turn in range(40):
            path = f"/{number}-{turn}"
            with socket.create_connection(("127.0.0.1", invoker.port), timeout=10) as sock:
                sock.sendall(f"GET /{HASH}{path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
                if chance.random() < 0.5:
                    time.sleep(chance.random() * 0.005)
                    continue
                answer = b""
                while not answer.endswith(path.encode()) and (part := sock.recv(4096)):
                    answer += part
                assert answer.endswith(b"\r\n\r\n" + path.encode())

    with ThreadPoolExecutor(8) as callers:
        list(callers.map(caller, range(8)))
    assert invoker.call("/last").body == b"/last"


def test_callers_who_left_take_no_place_in_the_queue(start: Start) -> None:
    """A queue full of them refuses nobody."""
    invoker = start()
    invoker.configure(CODE, concurrency=1, queue=3)
    with ThreadPoolExecutor(2) as callers:
        running = [callers.submit(invoker.call, f"/sleep{seconds}") for seconds in (1, 0)]
        time.sleep(0.2)
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", invoker.port)) as leaving:
                leaving.sendall(f"GET /{HASH}/left HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                time.sleep(0.1)
        assert invoker.call("/calls").status == 200
        assert [call.result().status for call in running] == [200, 200]


def test_idle_environments_end(start: Start) -> None:
    """After its time nothing of the function runs but the invoker, which says so; a call starts it again."""
    invoker = start()
    invoker.configure(CODE, idle_s=0.3)
    assert invoker.call("/calls").body == b"1"
    invoker.wait_for(control.Idle)
    assert invoker.call("/calls").body == b"1"
    assert invoker.record(2).cold_reason == "idle"


def test_draining_finishes_what_runs(start: Start) -> None:
    """The running call is answered, its record is stored, then the process ends with 0."""
    invoker = start()
    invoker.configure(CODE)
    with ThreadPoolExecutor(1) as caller:
        running = caller.submit(invoker.call, "/sleep0.5")
        time.sleep(0.2)
        assert invoker.drain() == 0
        assert running.result().body == b"slept"
    assert invoker.record().status == "success"


def test_nothing_outlives_the_platform(start: Start) -> None:
    """The end of the control socket is the end of the invoker and of everything that it started, running or not."""
    invoker = start()
    invoker.configure(CODE)
    caller = ThreadPoolExecutor(1)
    caller.submit(invoker.call, "/sleep30")
    time.sleep(0.3)
    below = descendants(invoker.process.pid)
    assert below
    invoker.close()
    caller.shutdown()
    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in below))


def test_nothing_outlives_a_killed_invoker(start: Start) -> None:
    """Also on kill -9 of the invoker itself."""
    invoker = start()
    invoker.configure(CODE)
    below = descendants(invoker.process.pid)
    assert below
    invoker.process.kill()
    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in below))


def test_records_wait_for_a_slow_store(start: Start) -> None:
    """While the platform acknowledges nothing, calls are as fast as before, and what was kept is sent afterwards."""
    invoker = start()
    invoker.configure(CODE)
    invoker.is_storing = False
    invoker.call()
    invoker.record(1)
    for _ in range(49):
        assert invoker.call().status == 200
    time.sleep(0.5)
    assert len(invoker.records) == 1
    invoker.is_storing = True
    invoker.send(control.RecordsStored(batch=1))
    assert invoker.record(50).status == "success"


def test_log_lines_go_to_the_platform(start: Start, tmp_path: Path) -> None:
    """With their level and their fields, so that they are written in the platform's form."""
    invoker = start()
    invoker.configure(CODE)
    # A file where the next environment's folder should be.
    (invoker.folder / "work" / "environments" / "2").write_text("")
    assert invoker.call("/exit1").status == 502
    assert invoker.call().status == 502
    line = invoker.wait_for(control.Log)
    assert (line.level, line.logger, line.message) == (40, "lateen_invoker.pool", "environment not started")
    assert "File exists" in line.fields["reason"]


def test_metrics(start: Start) -> None:
    """Counts, errors by kind, cold starts, environments, queue; only for who holds the function's key."""
    invoker = start()
    invoker.configure(CODE)
    for path in ("/", "/raise", "/exit3"):
        invoker.call(path)
    invoker.record(3)
    assert invoker.raw(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").startswith(b"HTTP/1.1 403")
    signature = signing.sign(b"k" * 32, method="GET", target="/metrics", source="", request_id="", now_s=time.time())
    text = invoker.raw(
        f"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-lateen-signature: {signature}\r\n\r\n".encode()
    ).decode()
    for line in (
        "lateen_invocations_total 3.0",
        'lateen_invocation_errors_total{kind="Function"} 1.0',
        'lateen_invocation_errors_total{kind="Runtime.ExitError"} 1.0',
        'lateen_cold_starts_total{reason="first"} 1.0',
        'lateen_invocation_seconds_bucket{le="+Inf"} 3.0',
        "lateen_invocations_waiting 0.0",
    ):
        assert line in text


def memory_kib(pid: int, name: str) -> int:
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name))


def wait_until(is_so: Callable[[], bool], within_s: float = 5.0) -> None:
    end = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)
