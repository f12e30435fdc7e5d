"""The Runtime API: other clients than ours, streaming, and what hostile code may do with it."""

import json
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from invoker_process import HASH, InvokerProcess, aws_client, own_bootstrap, program

from lateen_invoker.control import Ready, RuntimeCommand

CLIENT = """
import http.client, json, os, sys, threading, time

host = os.environ["AWS_LAMBDA_RUNTIME_API"]
BASE = "/2018-06-01/runtime/"

def ask(method, path, body=None, headers={}, **kw):
    connection = http.client.HTTPConnection(host, timeout=5)
    connection.request(method, path if path.startswith("/") else BASE + path, body, headers, **kw)
    answer = connection.getresponse()
    return answer.status, dict(answer.headers), answer.read()
"""


@pytest.fixture
def invoker(tmp_path: Path) -> Iterator[InvokerProcess]:
    process = InvokerProcess(tmp_path)
    yield process
    process.close()


def run_program(invoker: InvokerProcess, loop: str) -> Ready:
    """A runtime of its own making: `loop` is the body of a loop over events, given `id` and `event`."""
    source = CLIENT + textwrap.dedent("""
        connection = http.client.HTTPConnection(host)
        while True:
            connection.request("GET", BASE + "invocation/next")
            answer = connection.getresponse()
            id, event = answer.headers["Lambda-Runtime-Aws-Request-Id"], json.loads(answer.read())
        """)
    source += textwrap.indent(textwrap.dedent(loop), "    ")
    # The program is part of the code package, as a custom runtime's bootstrap is on AWS.
    ready = invoker.configure(
        {"bootstrap.py": source}, program([sys.executable, "-c", "exec(open('bootstrap.py').read())"]), timeout_s=2
    )
    assert isinstance(ready, Ready)
    return ready


def test_a_custom_runtime(invoker: InvokerProcess) -> None:
    """Any program that asks for events and answers them is a runtime."""
    run_program(invoker, 'ask("POST", f"invocation/{id}/response", json.dumps({"path": event["rawPath"]}))')
    assert json.loads(invoker.call("/x").body) == {"path": "/x"}


def test_headers_of_an_event(invoker: InvokerProcess) -> None:
    """Request id, deadline, ARN and trace id come as AWS names them."""
    run_program(
        invoker,
        """
        headers = {k.lower(): v for k, v in answer.headers.items()}
        ask("POST", f"invocation/{id}/response", json.dumps([headers, time.time() * 1000]))
        """,
    )
    answer = invoker.call(headers={"x-amzn-trace-id": "Root=1-5759e988-bd862e3fe1be46a994272793"})
    headers, now_ms = json.loads(answer.body)
    assert headers["lambda-runtime-aws-request-id"] == answer.headers["x-amzn-requestid"]
    assert headers["lambda-runtime-invoked-function-arn"] == "arn:aws:lambda:eu-central-1:123456789012:function:probe"
    assert headers["lambda-runtime-trace-id"] == "Root=1-5759e988-bd862e3fe1be46a994272793"
    assert 0 < int(headers["lambda-runtime-deadline-ms"]) - now_ms <= 2000
    assert headers["content-type"] == "application/json"
    assert "lambda-runtime-client-context" not in headers


def test_a_streamed_response(invoker: InvokerProcess) -> None:
    """Chunks are put together; a prelude says status, headers and cookies."""
    run_program(
        invoker,
        """
        def chunks():
            if event["rawPath"] == "/prelude":
                yield json.dumps({"statusCode": 206, "headers": {"x-a": "b"}, "cookies": ["c=d"]}).encode()
                yield bytes(8)
            yield b"part one, "
            yield b"part two"
        kind = "application/vnd.awslambda.http-integration-response" if event["rawPath"] == "/prelude" else "text/plain"
        ask("POST", f"invocation/{id}/response", chunks(), {
            "Lambda-Runtime-Function-Response-Mode": "streaming", "Transfer-Encoding": "chunked", "Content-Type": kind,
        }, encode_chunked=True)
        """,
    )
    answer = invoker.call("/prelude")
    assert (answer.status, answer.body, answer.headers["x-a"], answer.headers["set-cookie"]) == (
        206, b"part one, part two", "b", "c=d",
    )  # fmt: skip
    assert invoker.invoke(b'{"rawPath": "/"}').body == b"part one, part two"


def test_an_error_in_the_middle_of_a_stream(invoker: InvokerProcess) -> None:
    """Told by trailers: the caller gets the error, not half an answer."""
    run_program(
        invoker,
        """
        import base64, socket
        error = base64.b64encode(b'{"errorType": "Broken", "errorMessage": "half way"}').decode()
        sock = socket.create_connection(host.split(":"))
        sock.sendall((
            f"POST {BASE}invocation/{id}/response HTTP/1.1\\r\\nhost: x\\r\\ntransfer-encoding: chunked\\r\\n"
            "lambda-runtime-function-response-mode: streaming\\r\\n"
            "trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\\r\\n\\r\\n"
            f"4\\r\\nhalf\\r\\n0\\r\\nLambda-Runtime-Function-Error-Type: Broken\\r\\n"
            f"Lambda-Runtime-Function-Error-Body: {error}\\r\\n\\r\\n"
        ).encode())
        sock.recv(1000)
        """,
    )
    answer = invoker.invoke(b"{}")
    assert answer.headers["x-amz-function-error"] == "Unhandled"
    assert json.loads(answer.body) == {"errorType": "Broken", "errorMessage": "half way"}


def test_refusals(invoker: InvokerProcess) -> None:
    """Unknown ids, second answers, wrong paths and methods are refused as the Lambda emulator refuses them."""
    run_program(
        invoker,
        """
        seen = [
            ask("POST", "invocation/nobody/response", "1"),
            ask("POST", "invocation/../../x/response", "1"),
            ask("GET", "invocation/next"),
            ask("POST", "init/error", "{}"),
            ask("GET", "nothing"),
            ask("POST", "invocation/next"),
            ask("GET", "/2018-06-01/ping"),
            ask("POST", f"invocation/{id}/error", "not json", {"Lambda-Runtime-Function-Error-Type": "Some.Type"}),
            ask("POST", f"invocation/{id}/response", "2"),
            ask("POST", f"invocation/{id}/error", "{}"),
        ]
        print(json.dumps([[status, json.loads(body)["errorType"] if body[:1] == b"{" and status > 299 else None]
                          for status, _, body in seen]))
        sys.stdout.flush()
        """,
    )
    answer = invoker.call()
    assert json.loads(answer.body)["errorType"] == "Some.Type"
    invoker.call()
    log = invoker.record(2).log_tail + invoker.record(1).log_tail
    seen = json.loads(next(line for line in log.splitlines() if line.startswith("[[")))
    assert seen == [
        [400, "InvalidRequestID"], [404, "NotFound"], [403, "InvalidStateTransition"], [403, "InvalidStateTransition"],
        [404, "NotFound"], [405, "MethodNotAllowed"], [200, None], [202, None], [403, "InvalidStateTransition"],
        [403, "InvalidStateTransition"],
    ]  # fmt: skip


def test_an_answer_beyond_the_limit(invoker: InvokerProcess) -> None:
    """413 to the runtime, the size error to the caller, and not a byte of it kept."""
    run_program(
        invoker,
        """
        status, _, body = ask("POST", f"invocation/{id}/response", b"x" * 20_000_000)
        assert (status, json.loads(body)["errorType"]) == (413, "RequestEntityTooLarge")
        """,
    )
    for _ in range(3):
        assert json.loads(invoker.call().body)["errorType"] == "Function.ResponseSizeTooLarge"
    with open(f"/proc/{invoker.process.pid}/status") as status:
        assert next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) < 100 * 1024


def test_an_init_error(invoker: InvokerProcess) -> None:
    """Reported by a runtime before it ever asked for an event."""
    source = (
        CLIENT
        + """
document = '{"errorType": "No.Luck", "errorMessage": "today"}'
ask("POST", "init/error", document, {"Lambda-Runtime-Function-Error-Type": "No.Luck"})
sys.exit(1)
"""
    )
    ready = invoker.configure(
        {"bootstrap.py": source}, program([sys.executable, "-c", "exec(open('bootstrap.py').read())"])
    )
    assert isinstance(ready, Ready)
    assert ready.init_error is not None
    assert (ready.init_error.type, ready.init_error.message) == ("No.Luck", "today")
    assert json.loads(invoker.call().body)["errorType"] == "No.Luck"


def test_who_asks_twice_and_leaves_gets_no_event(invoker: InvokerProcess) -> None:
    """A connection that is gone is given nothing, so that the next caller doesn't wait for its deadline."""
    source = """
import os, re, socket, time
host, port = os.environ["AWS_LAMBDA_RUNTIME_API"].split(":")
ask = b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n"
connection = socket.create_connection((host, int(port)))
connection.sendall(ask)
time.sleep(0.3)
connection.sendall(ask)
time.sleep(0.1)
if found := re.search(rb"request-id: (\\S+)", connection.recv(65536)):
    path = b"/2018-06-01/runtime/invocation/%b/response" % found[1]
    connection.sendall(b"POST %b HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 1\\r\\n\\r\\n1" % path)
    time.sleep(5)
connection.close()
time.sleep(5)
"""
    invoker.configure({"bootstrap.py": source}, program([sys.executable, "-c", "exec(open('bootstrap.py').read())"]))
    time.sleep(1)
    assert (answer := invoker.call()).status == 200, answer.body


HOSTILE = (
    CLIENT
    + """
import socket
def handler(event, context):
    what = event["rawPath"]
    if what == "/early":
        status, _, _ = ask("POST", f"invocation/{context.aws_request_id}/response", '"early"')
        return "late"
    if what == "/other":
        return [ask("POST", f"invocation/{i}/response", '"stolen"')[0] for i in ("x" * 36, "", "../next")]
    if what == "/next":
        def steal():
            print("stolen", ask("GET", "invocation/next")[0], flush=True)
        threading.Thread(target=steal, daemon=True).start()
        time.sleep(0.3)
        return "kept"
    if what == "/port":
        listener = socket.socket()
        try:
            listener.bind(("127.0.0.1", int(host.rpartition(":")[2])))
            return "taken"
        except OSError:
            return "not taken"
    if what == "/garbage":
        for fd in range(3, 64):
            try:
                os.write(fd, b"\\xff" * 4096)
            except OSError:
                pass
        return "written"
    if what == "/forged":
        import struct
        frame = lambda kind, meta, body: struct.pack("<IBH", 3 + len(meta) + len(body), kind, len(meta)) + meta + body
        for fd in range(3, 64):
            try:
                os.write(fd, frame(3, b"someone-else", b'"forged"'))
                os.write(fd, frame(3, context.aws_request_id.encode(), b'"first"'))
            except OSError:
                pass
        return "second"
    if what == "/smuggle":
        import struct
        for fd in range(3, 64):
            try:
                os.write(fd, struct.pack("<IBH", 0xffffffff, 3, 0xffff))
            except OSError:
                pass
        return "sent"
    if what == "/init":
        return [ask("POST", "init/error", "{}")[0] for _ in range(3)]
    if what == "/ports":
        return host
    return what
"""
)


@pytest.fixture(params=["ours", "awslambdaric"])
def hostile(request: pytest.FixtureRequest, invoker: InvokerProcess) -> InvokerProcess:
    runtime: RuntimeCommand = own_bootstrap() if request.param == "ours" else aws_client()
    ready = invoker.configure(HOSTILE, runtime, timeout_s=2, concurrency=1)
    assert isinstance(ready, Ready)
    assert ready.init_error is None
    return invoker


def test_an_early_answer_is_the_answer(hostile: InvokerProcess) -> None:
    """Its own caller gets the first one; the next caller gets its own."""
    assert hostile.call("/early").body == b"early"
    assert hostile.call("/own").body == b"/own"


def test_other_invocations_cannot_be_answered(hostile: InvokerProcess) -> None:
    """Unknown ids and paths for ids are refused."""
    assert set(json.loads(hostile.call("/other").body)) <= {400, 404}
    assert hostile.call("/own").body == b"/own"


def test_a_stolen_next_takes_no_event_from_others(hostile: InvokerProcess) -> None:
    """A thread that asks for events gets none while one runs; callers after it get their own answers."""
    assert hostile.call("/next").body == b"kept"
    for number in range(5):
        answer = hostile.call(f"/{number}")
        assert answer.body == f"/{number}".encode() or json.loads(answer.body)["errorType"] == "Sandbox.Timedout"
    assert hostile.call("/last").body == b"/last"


@pytest.mark.parametrize("path", ["/garbage", "/forged", "/smuggle", "/port", "/init"])
def test_the_channel_in_hostile_hands(hostile: InvokerProcess, path: str) -> None:
    """Whatever is written where: this caller gets an answer or an error, the next ones get their own answers."""
    answer = hostile.call(path)
    assert answer.status == 502 or (answer.status, answer.body) in (
        (200, b"written"), (200, b"first"), (200, b"second"), (200, b"sent"), (200, b"not taken"),
        (200, b"[403, 403, 403]"),
    )  # fmt: skip
    for number in range(3):
        assert hostile.call(f"/{number}").body == f"/{number}".encode()


def test_strangers_are_refused(invoker: InvokerProcess) -> None:
    """A process that does not belong to the environment gets nothing from its port."""
    import http.client

    invoker.configure(HOSTILE)
    host = invoker.call("/ports").body.decode()
    for path in ("/2018-06-01/runtime/invocation/next", "/2018-06-01/ping"):
        connection = http.client.HTTPConnection(host, timeout=5)
        connection.request("GET", path)
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())["errorType"]) == (403, "Forbidden")
    assert invoker.call(f"/{HASH}").body == f"/{HASH}".encode()
