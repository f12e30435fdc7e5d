"""The invoker of a pod as a plain process: how it gets ready, what its ports say, and what it says in its log."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from invoker_process import HASH, KEY, program
from open_files import few_open_files
from pod_process import NO_STORES, PodInvoker

from lateen_invoker.pod_settings import PodSettings

Start = Callable[..., PodInvoker]
CODE = """
import os, time

def handler(event, context):
    what = event.get("rawPath", "/")
    if what.startswith("/sleep"):
        time.sleep(float(what[6:]))
    if what == "/pid":
        return os.getpid()
    if what == "/event":
        return event
    return "hello"
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[PodInvoker] = []

    def start(code: Any = CODE, *given: Any, **changes: Any) -> PodInvoker:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        started.append(PodInvoker(folder, code, *given, **changes))
        return started[-1]

    yield start
    for invoker in started:
        invoker.close()


def test_a_function_answers(start: Start) -> None:
    """With its code there and its records going nowhere, a pod serves its URL and the platform's signed invoke."""
    pod = start()
    assert pod.ready() == 200
    assert pod.call("/").body == b"hello"
    assert json.loads(pod.signed("/_lateen/invoke", "POST", b"{}").body) == "hello"
    assert pod.call("/").headers["x-amzn-requestid"]


def test_who_asks_whether_it_is_ready_waits_for_the_answer(start: Start) -> None:
    """The readiness probe is held until the first environment has initialised, so nobody has to ask twice."""
    pod = start("import time; time.sleep(1)\n" + CODE)
    began = time.monotonic()
    assert pod.operations("/health/ready").status == 200
    assert time.monotonic() - began > 0.5
    assert pod.operations("/health/live").status == 200


def test_a_probe_is_not_held_beyond_its_own_timeout(start: Start) -> None:
    """Nine tenths of it: a probe that is cut off would count as an error of another kind."""
    pod = start("import time; time.sleep(5)\n" + CODE, variables={"LATEEN_PROBE_TIMEOUT_SECONDS": "1"})
    began = time.monotonic()
    assert pod.operations("/health/ready").status == 503
    assert 0.8 < time.monotonic() - began < 3
    assert pod.ready() == 200


def test_an_initialisation_that_fails_is_ready_and_says_so(start: Start) -> None:
    """An import error is the function's own: the pod is ready, its state names the error, and each call answers it."""
    pod = start("raise ValueError('not today')")
    assert pod.ready() == 200
    state = pod.state()
    assert state["ready"] is True
    assert state["revision"] == 7
    assert state["init_error"] == {"type": "Runtime.Unknown", "message": "not today"} or (
        "not today" in state["init_error"]["message"]
    )
    assert pod.call("/").status == 502
    assert "not today" in pod.signed("/_lateen/invoke", "POST", b"{}").body.decode()
    assert pod.operations("/health/ready").status == 200


def test_only_the_platform_reads_the_state(start: Start) -> None:
    """Without a signature, or with another function's key, `/_lateen/state` is 403; also before it is ready."""
    pod = start("import time; time.sleep(1)\n" + CODE)
    assert pod.state() == {"ready": False, "init_error": None, "revision": 7, "reason": None}
    for _ in range(2):
        assert pod.signed("/_lateen/state", key=b"x" * 32).status == 403
        connection = socket.create_connection(("127.0.0.1", pod.port))
        connection.sendall(b"GET /_lateen/state HTTP/1.1\r\nhost: f\r\nconnection: close\r\n\r\n")
        assert connection.recv(64).startswith(b"HTTP/1.1 403")
        assert pod.ready() == 200
    assert pod.state() == {"ready": True, "init_error": None, "revision": 7, "reason": None}


def test_a_function_with_a_key_is_closed(start: Start) -> None:
    """Where `auth` isn't none the pod's own URL asks for the platform's signature."""
    pod = start(open=False)
    assert pod.ready() == 200
    assert pod.call("/").status == 403
    assert pod.signed(f"/{HASH}/").status == 200
    assert pod.signed(f"/{HASH}/", key=b"x" * 32).status == 403


def test_operations_have_a_port_of_their_own(start: Start) -> None:
    """Metrics without a key are on the operations port only, and no function is called there."""
    pod = start()
    assert pod.ready() == 200
    pod.call("/")
    metrics = pod.operations("/metrics")
    assert metrics.status == 200
    assert b"lateen_invocations_total 1.0" in metrics.body
    assert pod.operations(f"/{HASH}/").status == 404
    assert pod.operations("/_lateen/state").status == 404
    assert pod.operations("/health/ready", method="POST").status == 405
    assert pod.signed("/health/ready").status == 404
    connection = socket.create_connection(("127.0.0.1", pod.port))
    connection.sendall(b"GET /metrics HTTP/1.1\r\nhost: f\r\nconnection: close\r\n\r\n")
    assert connection.recv(64).startswith(b"HTTP/1.1 403")


def test_an_ingress_says_for_whom_it_asks(start: Start) -> None:
    """The event has the caller's address and protocol as the ingress controller saw them; what the caller claimed
    stays in the header and is nobody's address."""
    pod = start()
    assert pod.ready() == 200
    headers = {"x-forwarded-for": "1.2.3.4, 203.0.113.9", "x-forwarded-proto": "https", "x-forwarded-port": "443"}
    event = json.loads(pod.call("/event", headers=headers).body)
    assert event["requestContext"]["http"]["sourceIp"] == "203.0.113.9"
    assert event["headers"]["x-forwarded-for"] == "1.2.3.4,203.0.113.9"
    assert event["headers"]["x-forwarded-proto"] == "https"
    assert event["headers"]["x-forwarded-port"] == "443"
    for host, protocol, port in (
        ("functions.example.com", "https", "443"),
        ("functions.example.com", "http", "80"),
        ("functions.example.com:8443", "https", "8443"),
        ("8443", "https", "443"),
        ("[2001:db8::1]", "https", "443"),
    ):
        event = json.loads(pod.call("/event", headers={"host": host, "x-forwarded-proto": protocol}).body)
        assert (event["headers"]["host"], event["headers"]["x-forwarded-port"]) == (host, port)
    event = json.loads(pod.call("/event", headers={"x-forwarded-for": "<script>"}).body)
    assert event["requestContext"]["http"]["sourceIp"] == "127.0.0.1"


def test_one_environment_stays(start: Start) -> None:
    """Environments without calls end, but the last one: nothing would wake a pod's function but a slow first call."""
    pod = start(idle_s=0.3)
    assert pod.ready() == 200
    with ThreadPoolExecutor(3) as callers:
        list(callers.map(lambda _: pod.call("/sleep0.3"), range(3)))
    deadline = time.monotonic() + 10
    while b"lateen_environments 1.0" not in pod.operations("/metrics").body and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1.5)
    assert b"lateen_environments 1.0" in pod.operations("/metrics").body
    assert pod.operations("/health/ready").status == 200
    assert pod.call("/").body == b"hello"


def test_a_table_that_is_away_slows_no_call(start: Start) -> None:
    """Records wait in their buffer and are lost in the end; calls don't notice, and the process says it once."""
    pod = start()
    assert pod.ready() == 200
    assert pod.call("/").status == 200
    waiting = pod.line("execution records wait for the table")
    assert waiting["reason"] == "EndpointConnectionError"
    began = time.monotonic()
    for _ in range(100):
        assert pod.call("/").status == 200
    assert time.monotonic() - began < 20
    pod.stop()
    assert pod.wait() == 0
    assert sum(line["message"] == "execution records wait for the table" for line in pod.log) == 1
    assert pod.line("execution records lost")["count"] == 101


def test_the_log_is_lines_of_json(start: Start) -> None:
    """Each line has the platform's fields, names the function, and has neither its hash nor its key."""
    pod = start(variables={"LATEEN_LOG_INVOCATIONS": "true"})
    assert pod.ready() == 200
    answer = pod.call("/")
    line = pod.line("invocation")
    assert line["request_id"] == answer.headers["x-amzn-requestid"]
    assert line["status"] == "success"
    for line in pod.log:
        assert {"timestamp", "level", "logger", "message", "service", "environment"} <= set(line)
        assert line["service"] == "invoker"
        assert line["environment"] == "test"
        assert line.get("function") == "f1" or line["logger"].endswith("sink")
        assert HASH not in json.dumps(line)
        assert KEY.decode() not in json.dumps(line)


def test_invocations_are_not_logged_unless_asked_for(start: Start) -> None:
    """The execution record says more; a line for each call would fill the node's disk."""
    pod = start()
    assert pod.ready() == 200
    pod.call("/")
    pod.stop()
    assert pod.wait() == 0
    assert not [line for line in pod.log if line["message"] == "invocation"]


@pytest.mark.parametrize(
    ("variables", "configure", "said"),
    [
        ({"DYNAMODB_TABLE_NAME": ""}, {}, "DYNAMODB_TABLE_NAME is not set"),
        ({"LATEEN_PORT": "http"}, {}, "LATEEN_PORT: "),
        ({"LOG_LEVEL": "loud"}, {}, "LOG_LEVEL: "),
        ({}, {"timeout_s": 0}, "timeout_s"),
        ({}, {"hash": "../../etc"}, "hash"),
        ({}, {"artifact_sha256": "none"}, "artifact_sha256"),
        ({"LATEEN_CONFIGURE": "/nonexistent/configure.json"}, {}, "No such file or directory"),
    ],
)
def test_a_wrong_setting_is_one_line_and_exit_2(
    start: Start, variables: dict[str, str], configure: dict[str, Any], said: str
) -> None:
    """What can't be understood is named, before anything runs."""
    pod = start(variables=variables, **configure)
    assert pod.wait() == 2
    assert said in pod.stderr.decode()
    assert pod.stderr.count(b"\n") == 1


def test_unknown_words_are_refused(tmp_path: Path) -> None:
    """A controller and an invoker that don't fit each other say so at once."""
    (tmp_path / "configure.json").write_text('{"surprise": 1}')
    variables = {"LATEEN_CONFIGURE": str(tmp_path / "configure.json"), "DYNAMODB_TABLE_NAME": "t", **NO_STORES}
    ended = subprocess.run(
        [sys.executable, "-m", "lateen_invoker", "--pod"], env={**variables, "PATH": os.defpath}, capture_output=True
    )
    assert ended.returncode == 2
    assert ended.stderr.count(b"\n") == 1


def test_code_that_is_there_is_not_fetched_again(start: Start) -> None:
    """A container that starts again uses the code that it fetched: the store may be away by then."""
    pod = start()
    assert pod.ready() == 200
    pod.process.kill()
    pod.wait()
    pod.start()
    assert pod.ready() == 200
    assert pod.call("/").body == b"hello"


def test_what_a_killed_invoker_left_is_in_nobodys_way(start: Start) -> None:
    """Its successor starts environments at once, though folders of the same names lie there."""
    pod = start()
    assert pod.ready() == 200
    pod.process.kill()
    pod.wait()
    pod.start()
    assert pod.ready() == 200
    pod.process.terminate()
    pod.wait()
    assert not [line for line in pod.log if line["message"] == "environment not started"]


def test_half_of_the_code_is_none(start: Start) -> None:
    """Without the marker what lies in the folder is not trusted: it is removed, and fetched, which here can't be."""
    pod = start(variables={"LATEEN_FETCH_SECONDS": "2"})
    assert pod.ready() == 200
    pod.process.kill()
    pod.wait()
    pod.marker.write_text("0" * 64)
    (pod.code / "folder").mkdir()
    (pod.code / "folder" / "file").write_text("x")
    (pod.code / "link").symlink_to(pod.folder)
    pod.start()
    assert pod.line("the code is waited for")["reason"] == (
        "the object store can't be reached (EndpointConnectionError)"
    )
    assert pod.state()["reason"] == "the object store can't be reached (EndpointConnectionError)"
    assert list(pod.code.iterdir()) == []
    assert (pod.folder / "configure.json").exists()
    assert pod.wait() == 1
    assert pod.termination_log.read_text() == "the object store can't be reached (EndpointConnectionError)"


def test_a_fetch_that_dies_is_begun_again(start: Start) -> None:
    """`kill -9` of the process that fetches the code costs a moment."""
    pod = start(stores=NO_STORES)
    pod.line("the code is waited for")
    (child,) = pod.children("lateen_invoker.fetch")
    pod.put_code()  # as if the store were back
    os.kill(child, signal.SIGKILL)
    assert pod.ready() == 200
    assert pod.line("the process that fetches the code has died")
    assert pod.call("/").body == b"hello"


def test_a_runtime_that_is_no_program_is_the_functions_error(start: Start) -> None:
    """What can't be executed in the runtime's image settles the first initialisation, badly."""
    pod = start(CODE, program(["/nonexistent/bootstrap"]))
    assert pod.ready() == 200
    assert pod.state()["init_error"]["type"].startswith("Runtime.")
    assert pod.call("/").status == 502


def test_who_comes_early_waits(start: Start) -> None:
    """A caller that finds a pod whose invoker has just been started again is answered when the code is there."""
    pod = start(stores=NO_STORES)
    pod.line("the code is waited for")
    with ThreadPoolExecutor(5) as callers:
        early = [callers.submit(pod.call, f"/sleep0?{number}") for number in range(4)]
        early.append(callers.submit(pod.signed, "/_lateen/invoke", "POST", b"{}"))
        time.sleep(0.5)
        assert not any(call.done() for call in early)
        pod.put_code()
        (child,) = pod.children("lateen_invoker.fetch")
        os.kill(child, signal.SIGKILL)
        assert {call.result().status for call in early} == {200}


def test_who_sends_ahead_early_is_answered_too(start: Start) -> None:
    """Calls in a row on one connection, sent before the code was there, are all answered when it is."""
    pod = start(stores=NO_STORES)
    pod.line("the code is waited for")
    with socket.create_connection(("127.0.0.1", pod.port), timeout=20) as connection:
        connection.sendall(f"GET /{HASH}/ HTTP/1.1\r\nhost: f\r\n\r\n".encode() * 2)
        connection.sendall(f"GET /{HASH}/ HTTP/1.1\r\nhost: f\r\nconnection: close\r\n\r\n".encode())
        time.sleep(0.3)
        pod.put_code()
        (child,) = pod.children("lateen_invoker.fetch")
        os.kill(child, signal.SIGKILL)
        received = b""
        while part := connection.recv(65536):
            received += part
    assert received.count(b"HTTP/1.1 200") == 3


def test_who_comes_early_to_a_pod_that_stops_is_told(start: Start) -> None:
    """Nobody is kept waiting for a function that will not be there."""
    pod = start(stores=NO_STORES)
    pod.line("the code is waited for")
    with ThreadPoolExecutor(1) as callers:
        early = callers.submit(pod.call, "/")
        time.sleep(0.3)
        pod.stop()
        assert early.result(5).status == 503
        assert early.result().headers["x-lateen-refused"] == "1"  # another pod may have it
    assert pod.wait() == 0


def test_who_comes_early_waits_for_the_first_initialisation(start: Start) -> None:
    """However long that takes: a call doesn't begin while nobody knows how the function begins."""
    pod = start("import time\ntime.sleep(1.5)\n" + CODE)
    assert pod.call("/").body == b"hello"
    assert pod.state()["ready"]


def test_who_left_early_is_not_served(start: Start) -> None:
    """What nobody waits for any more is not executed when its turn comes."""
    pod = start(stores=NO_STORES, variables={"LATEEN_LOG_INVOCATIONS": "true"})
    pod.line("the code is waited for")
    with socket.create_connection(("127.0.0.1", pod.port), timeout=20) as connection:
        connection.sendall(f"GET /{HASH}/left HTTP/1.1\r\nhost: f\r\n\r\n".encode())
        time.sleep(0.3)
    time.sleep(0.2)
    pod.put_code()
    (child,) = pod.children("lateen_invoker.fetch")
    os.kill(child, signal.SIGKILL)
    assert pod.call("/").body == b"hello"
    pod.line("invocation")
    pod.stop()
    pod.wait()
    assert len([line for line in pod.log if line["message"] == "invocation"]) == 1


def test_who_comes_early_in_vain_is_told(start: Start) -> None:
    """Where the code will never come, callers learn that nothing was executed, and don't just lose the connection."""
    pod = start(stores=NO_STORES, variables={"LATEEN_FETCH_SECONDS": "2"})
    early = pod.call("/")
    assert early.status == 503
    assert early.headers["x-lateen-refused"] == "1"
    assert pod.wait() == 1


def test_idle_connections_are_kept_longer_than_by_proxies(start: Start) -> None:
    """A connection that the pod closes while a proxy uses it again is a failed call, so proxies must be first: nginx
    keeps one for 60 s, Traefik for 90, AWS's network load balancer for 350, Google's for 600."""
    assert PodSettings.from_env({"DYNAMODB_TABLE_NAME": "t"}).keep_alive_seconds > 600
    pod = start(variables={"LATEEN_KEEP_ALIVE_SECONDS": "1"})
    assert pod.ready() == 200
    with socket.create_connection(("127.0.0.1", pod.port), timeout=10) as connection:
        connection.sendall(f"GET /{HASH}/ HTTP/1.1\r\nhost: f\r\n\r\n".encode())
        assert connection.recv(65536).endswith(b"hello")
        began = time.monotonic()
        assert connection.recv(1) == b""
        assert 0.9 < time.monotonic() - began < 4


def test_many_callers_stay_whatever_a_container_is_given(start: Start) -> None:
    """Often that is 1024 open files, with a hard limit far above: the process takes what it may."""
    with few_open_files(128):
        pod = start()
    assert pod.ready() == 200
    callers = [socket.create_connection(("127.0.0.1", pod.port), timeout=20) for _ in range(200)]
    for caller in callers:
        caller.sendall(f"GET /{HASH}/ HTTP/1.1\r\nhost: f\r\n\r\n".encode())
        assert caller.recv(65536).endswith(b"hello")
        caller.close()
