"""Answers that go out as they come: by URLs of InvokeMode RESPONSE_STREAM, and as AWS's event stream."""

import base64
import contextlib
import http.client
import json
import socket
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer
from invoker_process import HASH, KEY, InvokerProcess, program

from lateen_invoker import signing
from lateen_invoker.control import Ready
from lateen_invoker.invocations import STREAM_LIMIT
from lateen_invoker.urls import Cors, UrlSettings

PRELUDE = "application/vnd.awslambda.http-integration-response"
CLIENT = """
import base64, http.client, json, os, socket, time

host = os.environ["AWS_LAMBDA_RUNTIME_API"]
BASE = "/2018-06-01/runtime/"
gate = socket.create_connection(("127.0.0.1", int(os.environ["GATE"])))
connection = http.client.HTTPConnection(host)

def stream(kind, pieces, trailers=""):
    sock = socket.create_connection(host.split(":"))
    sock.sendall((
        f"POST {BASE}invocation/{id}/response HTTP/1.1\\r\\nhost: x\\r\\ntransfer-encoding: chunked\\r\\n"
        f"lambda-runtime-function-response-mode: streaming\\r\\ncontent-type: {kind}\\r\\n\\r\\n"
    ).encode())
    for piece in pieces:
        sock.sendall(b"%x\\r\\n%b\\r\\n" % (len(piece), piece))
    sock.sendall(f"0\\r\\n{trailers}\\r\\n".encode())
    answer = http.client.HTTPResponse(sock)
    answer.begin()
    return answer.status

while True:
    connection.request("GET", BASE + "invocation/next")
    answer = connection.getresponse()
    id, event = answer.headers["Lambda-Runtime-Aws-Request-Id"], json.loads(answer.read())
    if answer.status != 200:
        time.sleep(0.05)
        continue
"""


class Gate:
    """The test's end of a connection with each runtime process, by which the two wait for each other."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(30)
        self.port = self._listening.getsockname()[1]
        self._runtime: socket.socket | None = None

    @property
    def runtime(self) -> socket.socket:
        if self._runtime is None:
            self._runtime = self._listening.accept()[0]
            self._runtime.settimeout(30)
        return self._runtime

    def open(self) -> None:
        self.runtime.sendall(b"!")

    def close(self) -> None:
        self._listening.close()
        if self._runtime is not None:
            self._runtime.close()


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.close()


@pytest.fixture
def invoker(tmp_path: Path) -> Iterator[InvokerProcess]:
    process = InvokerProcess(tmp_path)
    yield process
    process.close()


def run(invoker: InvokerProcess, gate: Gate, loop: str, **changes: Any) -> None:
    """`loop`: what is done with an event, given `id`, `event` and `stream`."""
    source = CLIENT + textwrap.indent(textwrap.dedent(loop), "    ")
    ready = invoker.configure(
        {"bootstrap.py": source},
        program([sys.executable, "-c", "exec(open('bootstrap.py').read())"]),
        **{
            "timeout_s": 30,
            "concurrency": 1,
            "environment": {"GATE": str(gate.port)},
            "url": UrlSettings(streams=True),
            **changes,
        },
    )
    assert isinstance(ready, Ready)


@contextlib.contextmanager
def asked(
    invoker: InvokerProcess, path: str = "/", method: str = "GET", headers: dict[str, str] | None = None
) -> Iterator[http.client.HTTPResponse]:
    connection = http.client.HTTPConnection("127.0.0.1", invoker.port, timeout=60)
    with contextlib.closing(connection):
        connection.request(method, f"/{HASH}{path}", headers=headers or {})
        yield connection.getresponse()


@contextlib.contextmanager
def invoked(invoker: InvokerProcess, **headers: str) -> Iterator[http.client.HTTPResponse]:
    """By the platform, for an event stream."""
    target = "/_lateen/stream"
    signature = signing.sign(KEY, method="POST", target=target, source="", request_id="", now_s=time.time())
    connection = http.client.HTTPConnection("127.0.0.1", invoker.port, timeout=60)
    with contextlib.closing(connection):
        connection.request("POST", target, b"{}", {signing.SIGNATURE: signature, **headers})
        yield connection.getresponse()


def messages(data: bytes) -> list[tuple[str, bytes]]:
    """As botocore reads them, checksums included."""
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    return [(message.headers[":event-type"], message.payload) for message in buffer]


def test_pieces_reach_the_caller_as_they_come(invoker: InvokerProcess, gate: Gate) -> None:
    """The first piece is read while the function still waits; the type is the runtime's."""
    run(invoker, gate, """
        def pieces():
            yield b"one,"
            gate.recv(1)
            yield b"two"
        stream("text/plain", pieces())
        """)  # fmt: skip
    with asked(invoker) as answer:
        assert (answer.status, answer.headers["content-type"]) == (200, "text/plain")
        assert answer.headers["x-amzn-requestid"]
        assert answer.read1(100) == b"one,"
        gate.open()
        assert answer.read() == b"two"
    record = invoker.record()
    assert (record.status, record.error) == ("success", None)
    with invoked(invoker) as answer:
        assert answer.headers["content-type"] == "application/vnd.amazon.eventstream"
        first = answer.read1(65536)
        assert messages(first) == [("PayloadChunk", b"one,")]
        gate.open()
        assert messages(answer.read()) == [("PayloadChunk", b"two"), ("InvokeComplete", b"{}")]


def test_a_prelude_in_any_pieces(invoker: InvokerProcess, gate: Gate) -> None:
    """Status, headers and cookies come from it, wherever its bytes are cut, also with some of the body."""
    run(invoker, gate, f"""
        whole = json.dumps({{"statusCode": 207, "cookies": ["c=d"],
                            "headers": {{"x-a": "b", "content-length": "1", "location": "/there"}}}})
        whole = whole.encode() + bytes(8) + b"body" + bytes(8)
        size = int(event["rawQueryString"])
        stream("{PRELUDE}", [whole[at:at + size] for at in range(0, len(whole), size)])
        """)  # fmt: skip
    for size in (1, 5, 1000):
        with asked(invoker, f"/?{size}") as answer:
            assert (answer.status, answer.headers["x-a"], answer.headers["set-cookie"]) == (207, "b", "c=d")
            assert answer.headers["content-type"] == "application/json"
            assert answer.headers["location"] == f"/{HASH}/there"
            assert answer.headers.get_all("content-length") is None
            assert answer.read() == b"body" + bytes(8)


@pytest.mark.parametrize("prelude", [b"no end", b"[" + bytes(8), b'{"statusCode": 99}' + bytes(8), b"x" * 200_000])
def test_a_prelude_that_is_none(invoker: InvokerProcess, gate: Gate, prelude: bytes) -> None:
    """502, and the next call is answered as if nothing had been; the log says why."""
    run(invoker, gate, f"""
        stream("{PRELUDE}" if event["rawPath"] == "/bad" else "text/plain", [{prelude!r}, b"more"])
        """)  # fmt: skip
    with asked(invoker, "/bad") as answer:
        assert answer.status == 502
        assert json.loads(answer.read())["errorType"] == "InvalidAnswer"
    with asked(invoker, "/good") as answer:
        assert answer.read() == prelude + b"more"
    assert "The answer can't be sent" in invoker.record().log_tail


def test_an_error_in_the_middle(invoker: InvokerProcess, gate: Gate) -> None:
    """A URL's answer has no end then; an event stream tells the error in its last message. Records say it too."""
    error = base64.b64encode(b'{"errorType": "Broken", "errorMessage": "half way"}').decode()
    run(invoker, gate, f"""
        trailers = "Lambda-Runtime-Function-Error-Type: Broken\\r\\nLambda-Runtime-Function-Error-Body: {error}\\r\\n"
        stream("text/plain", [b"half"], trailers)
        """)  # fmt: skip
    with asked(invoker) as answer, pytest.raises(http.client.IncompleteRead) as cut:
        answer.read()
    assert cut.value.partial == b"half"
    with invoked(invoker) as answer:
        chunk, complete = messages(answer.read())
    assert chunk == ("PayloadChunk", b"half")
    assert json.loads(complete[1]) == {
        "ErrorCode": "Broken",
        "ErrorDetails": '{"errorType": "Broken", "errorMessage": "half way"}',
    }
    for number in (1, 2):
        record = invoker.record(number)
        assert record.status == "error"
        assert record.error is not None
        assert (record.error.type, record.error.message) == ("Broken", "half way")


@pytest.mark.parametrize(
    ("how", "error_type"),
    [
        ("gate.recv(1); os._exit(3)", "Runtime.ExitError"),
        ("gate.recv(1)", "Sandbox.Timedout"),
        ("gate.recv(1); raise BrokenPipeError", "Runtime.TruncatedResponse"),
    ],
)
def test_a_runtime_that_leaves_in_the_middle(invoker: InvokerProcess, gate: Gate, how: str, error_type: str) -> None:
    """It ends, takes too long, or closes its connection: the answer is cut, and the next call finds a good one."""
    run(
        invoker,
        gate,
        f"""
        def pieces():
            yield b"half"
            if event["rawPath"] == "/bad":
                {how}
        try:
            stream("text/plain", pieces())
        except BrokenPipeError:
            pass
        """,
        timeout_s=3,
    )
    with asked(invoker, "/bad") as answer:
        assert answer.read1(100) == b"half"
        if error_type != "Sandbox.Timedout":
            gate.open()
        with pytest.raises(http.client.IncompleteRead):
            answer.read()
    record = invoker.record()
    assert record.error is not None
    assert record.error.type == error_type
    with asked(invoker, "/good") as answer:
        assert answer.read() == b"half"


def test_a_slow_reader_holds_the_function_back(invoker: InvokerProcess, gate: Gate) -> None:
    """What it doesn't take is not kept here: the function waits. Then it gets every byte."""
    pieces, size = 64, 1024 * 1024
    run(invoker, gate, f"""
        def pieces():
            for number in range({pieces}):
                gate.sendall(b".")
                yield bytes([number]) * {size}
        stream("text/plain", pieces())
        """)  # fmt: skip
    begun = threading.Event()
    told = 0

    def count() -> None:
        nonlocal told
        while told < pieces:
            told += len(gate.runtime.recv(1))
            begun.set()

    counting = threading.Thread(target=count, daemon=True)
    counting.start()
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    with sock:
        sock.settimeout(60)
        sock.connect(("127.0.0.1", invoker.port))
        sock.sendall(f"GET /{HASH}/ HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        assert begun.wait(30)
        before = -1
        while told != before:  # until the function gets no further
            before = told
            time.sleep(1)
        assert before < pieces // 2
        answer = http.client.HTTPResponse(sock)
        answer.begin()
        for number in range(pieces):
            assert answer.read(size) == bytes([number]) * size
        assert answer.read() == b""
    counting.join(10)
    assert invoker.record().status == "success"


def test_a_caller_that_leaves(invoker: InvokerProcess, gate: Gate) -> None:
    """The function goes on to its end, as on AWS, however much it has still to say; the next call is answered."""
    run(invoker, gate, """
        def pieces():
            yield b"begun"
            if event["rawPath"] == "/left":
                gate.recv(1)
                for number in range(64):
                    yield bytes(1024 * 1024)
        stream("text/plain", pieces())
        """)  # fmt: skip
    with asked(invoker, "/left") as answer:
        assert answer.read1(100) == b"begun"
    gate.open()
    with asked(invoker, "/next") as answer:
        assert answer.read() == b"begun"
    assert [invoker.record(number).status for number in (1, 2)] == ["success", "success"]


def test_two_streams_of_one_answer(invoker: InvokerProcess, gate: Gate) -> None:
    """Only the first is the answer: nothing would hold the other one back."""
    run(
        invoker,
        gate,
        """
        def pieces():
            yield b"one"
            if event["rawPath"] == "/twice":
                gate.recv(1)
                stream("text/plain", [b"two"])
        stream("text/plain", pieces())
        """,
    )
    with asked(invoker, "/twice") as answer:
        assert answer.read1(100) == b"one"
        gate.open()
        assert answer.read() == b""
    with asked(invoker) as answer:
        assert answer.read() == b"one"


def test_more_than_a_stream_may_have(invoker: InvokerProcess, gate: Gate) -> None:
    """Cut at the limit; the event stream says why, and the runtime is told."""
    run(
        invoker,
        gate,
        f"""
        piece = bytes(8 * 1024 * 1024)
        status = stream("text/plain", (piece for _ in range({STREAM_LIMIT // (8 * 1024 * 1024) + 1})))
        gate.sendall(b"%d" % status)
        """,
    )
    with invoked(invoker) as answer:
        size, last = 0, b""
        while part := answer.read(1024 * 1024):
            size += len(part)
            last = (last + part)[-400:]
    assert STREAM_LIMIT - 8 * 1024 * 1024 <= size < STREAM_LIMIT * 1.01
    assert b"Function.ResponseSizeTooLarge" in last
    assert f"({STREAM_LIMIT} bytes)".encode() in last
    assert gate.runtime.recv(3) == b"403"


def test_what_is_no_stream(invoker: InvokerProcess, gate: Gate) -> None:
    """Under RESPONSE_STREAM an ordinary answer is what it is otherwise, and a failure too."""
    run(invoker, gate, """
        what = "error" if event.get("rawPath") == "/error" else "response"
        body = '{"errorType": "E"}' if what == "error" else '{"statusCode": 201, "body": "plain"}'
        connection.request("POST", BASE + f"invocation/{id}/{what}", body)
        connection.getresponse().read()
        """)  # fmt: skip
    with asked(invoker) as answer:
        assert (answer.status, answer.read(), answer.headers["content-length"]) == (201, b"plain", "5")
    with asked(invoker, "/error") as answer:
        assert (answer.status, json.loads(answer.read())["errorType"]) == (502, "E")
    with invoked(invoker, **{"x-amz-log-type": "Tail"}) as answer:
        chunk, complete = messages(answer.read())
    assert chunk == ("PayloadChunk", b'{"statusCode": 201, "body": "plain"}')
    assert base64.b64decode(json.loads(complete[1])["LogResult"]).startswith(b"START RequestId")


def test_callers_that_know_no_chunks(invoker: InvokerProcess, gate: Gate) -> None:
    """HTTP/1.0 reads to the end of the connection; HEAD gets the head; a connection serves the next request."""
    run(invoker, gate, 'stream("text/plain", [b"one", b"two"])')
    assert invoker.raw(f"GET /{HASH}/ HTTP/1.0\r\n\r\n".encode()).partition(b"\r\n\r\n")[2] == b"onetwo"
    connection = http.client.HTTPConnection("127.0.0.1", invoker.port, timeout=30)
    with contextlib.closing(connection):
        for method, body in (("HEAD", b""), ("GET", b"onetwo"), ("GET", b"onetwo")):
            connection.request(method, f"/{HASH}/")
            answer = connection.getresponse()
            assert (answer.status, answer.headers["content-type"], answer.read()) == (200, "text/plain", body)
    both = f"GET /{HASH}/ HTTP/1.1\r\nhost: x\r\n\r\n" * 2
    assert invoker.raw(both.encode(), timeout=2).count(b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n") == 2


def test_cors(invoker: InvokerProcess, gate: Gate) -> None:
    """Preflights never reach the function, and the headers of its answers are the configuration's."""
    settings = Cors(allow_origins=("https://a.example",), allow_methods=("PUT",), expose_headers=("x-a",))
    run(
        invoker,
        gate,
        """
        head = {"statusCode": 200, "headers": {"Access-Control-Allow-Origin": "*", "x-a": "b"}}
        if event["rawPath"] == "/streamed":
            stream("application/vnd.awslambda.http-integration-response", [json.dumps(head).encode() + bytes(8)])
        else:
            connection.request("POST", BASE + f"invocation/{id}/response", json.dumps(head))
            connection.getresponse().read()
        """,
        url=UrlSettings(streams=True, cors=settings),
    )
    preflight = {"origin": "https://a.example", "access-control-request-method": "PUT"}
    with asked(invoker, method="OPTIONS", headers=preflight) as answer:
        assert (answer.status, answer.read()) == (200, b"")
        assert answer.headers["access-control-allow-origin"] == "https://a.example"
        assert answer.headers["access-control-allow-methods"] == "PUT"
    for path in ("/streamed", "/plain"):
        with asked(invoker, path, headers={"origin": "https://a.example"}) as answer:
            assert answer.headers.get_all("access-control-allow-origin") == ["https://a.example"]
            assert (answer.headers["access-control-expose-headers"], answer.headers["x-a"]) == ("x-a", "b")
        with asked(invoker, path, headers={"origin": "https://b.example"}) as answer:
            assert answer.headers["access-control-allow-origin"] is None
            assert (answer.headers["x-a"], answer.headers["vary"]) == ("b", "Origin")
    assert len([invoker.record(number) for number in range(1, 5)]) == 4
