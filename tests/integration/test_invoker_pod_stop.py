"""How the invoker of a pod stops: a load generator goes on through it, and no call is cut or refused."""

import http.client
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from invoker_process import HASH
from pod_process import PodInvoker
from store_proxy import Answer, store_proxy

Start = Callable[..., PodInvoker]
CODE = """
import time

def handler(event, context):
    what = event.get("rawPath", "/")
    if what.startswith("/sleep"):
        time.sleep(float(what[6:]))
    return event.get("rawQueryString", "")
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """With a table that takes all records: without one each stop would wait three seconds for it."""
    started: list[PodInvoker] = []

    def start(**changes: Any) -> PodInvoker:
        started.append(PodInvoker(tmp_path, CODE, variables={"AWS_ENDPOINT_URL_DYNAMODB": table.url}, **changes))
        assert started[-1].ready() == 200
        return started[-1]

    with store_proxy("http://127.0.0.1:9") as table:
        table.always(Answer(200, b'{"UnprocessedItems":{}}'))
        yield start
        for pod in started:
            pod.close()


class Caller(threading.Thread):
    """Calls again and again, as a gateway that has not yet heard that the pod stops: on one connection for as long as
    that is kept, and none that the pod said it would close. `answers`: what each call got."""

    def __init__(self, pod: PodInvoker, until: threading.Event, *, keeps: bool, seed: int) -> None:
        super().__init__(daemon=True)
        self._pod = pod
        self._until = until
        self._keeps = keeps
        self._random = random.Random(seed)
        self.answers: list[tuple[float, int, bool]] = []
        """When it was sent, its status (0: none), and whether the pod closes the connection."""
        self.start()

    def run(self) -> None:
        connection: http.client.HTTPConnection | None = None
        number = 0
        while not self._until.is_set():
            number += 1
            if connection is None or not self._keeps:
                connection = http.client.HTTPConnection("127.0.0.1", self._pod.port, timeout=20)
            sent = time.monotonic()
            try:
                connection.request("GET", f"/{HASH}/sleep{self._random.choice(['0', '0.01', '0.2'])}?{number}")
                answer = connection.getresponse()
                body = answer.read()
            except (OSError, http.client.HTTPException):
                self.answers.append((sent, 0, True))
                connection = None
                continue
            is_right = body == str(number).encode()
            closes = answer.getheader("connection") == "close"
            self.answers.append((sent, answer.status if is_right else 0, closes))
            if closes:
                connection = None
            time.sleep(self._random.uniform(0, 0.02))


def test_no_call_is_cut_or_refused(start: Start) -> None:
    """Through a whole stop: callers go on for most of the lag, on kept connections and on new ones, and every call is
    answered as ever. The answers of a stopping pod end their connections."""
    pod = start(drain_lag_s=4.0, timeout_s=5)
    over = threading.Event()
    callers = [Caller(pod, over, keeps=seed % 2 == 0, seed=seed) for seed in range(6)]
    time.sleep(1)
    stopped = time.monotonic()
    pod.stop()
    pod.line("stopping")
    told = time.monotonic()
    assert pod.operations("/health/ready").status == 503
    assert time.monotonic() - stopped < 2
    time.sleep(1.7)  # endpoints lag, but less than the pod allows for
    over.set()
    for caller in callers:
        caller.join(20)
    assert pod.wait() == 0
    answers = [answer for caller in callers for answer in caller.answers]
    assert len(answers) > 100
    assert {status for _, status, _ in answers} == {200}
    assert not any(closes for sent, _, closes in answers if sent < stopped - 0.5)
    assert all(closes for sent, _, closes in answers if sent > told)
    assert sum(sent > told for sent, _, _ in answers) > 20


def test_a_call_may_take_the_functions_timeout(start: Start) -> None:
    """A call that began at the end of the lag is answered, however long the function may take."""
    pod = start(drain_lag_s=0.5, timeout_s=4)
    got: list[bytes] = []
    pod.stop()
    pod.line("stopping")
    time.sleep(0.4)
    caller = threading.Thread(target=lambda: got.append(pod.call("/sleep3?late").body))
    caller.start()
    assert pod.wait() == 0
    caller.join(5)
    assert got == [b"late"]
    assert pod.line("stopped")["took_s"] > 3


def test_a_call_that_is_still_being_sent_is_taken(start: Start) -> None:
    """A request of which half had come when the lag ended is read to its end, and answered."""
    pod = start(drain_lag_s=0.5, timeout_s=4)
    with socket.create_connection(("127.0.0.1", pod.port)) as connection:
        pod.stop()
        pod.line("stopping")
        time.sleep(0.3)
        connection.sendall(f"POST /{HASH}/?half HTTP/1.1\r\nhost: f\r\ncontent-length: 4\r\n\r\nab".encode())
        time.sleep(1)
        connection.sendall(b"cd")
        received = b""
        while part := connection.recv(65536):
            received += part
    assert received.startswith(b"HTTP/1.1 200")
    assert received.endswith(b"\r\n\r\nhalf")
    assert pod.wait() == 0


def test_what_a_client_has_sent_ahead_is_answered(start: Start) -> None:
    """Requests in a row on one connection are all answered before it closes."""
    pod = start(drain_lag_s=0.5, timeout_s=4)
    one = f"GET /{HASH}/sleep0.2?{{}} HTTP/1.1\r\nhost: f\r\n\r\n"
    with socket.create_connection(("127.0.0.1", pod.port)) as connection:
        pod.stop()
        pod.line("stopping")
        connection.sendall("".join(one.format(number) for number in range(4)).encode())
        received = b""
        while part := connection.recv(65536):
            received += part
    assert received.count(b"HTTP/1.1 200") == 4
    assert received.count(b"connection: close") == 1
    assert pod.wait() == 0


def test_a_call_without_end_is_cut_in_time(start: Start) -> None:
    """Who never finishes sending doesn't keep the pod beyond its grace period."""
    pod = start(drain_lag_s=0.2, timeout_s=1)
    with socket.create_connection(("127.0.0.1", pod.port)) as connection:
        connection.sendall(f"POST /{HASH}/ HTTP/1.1\r\nhost: f\r\ncontent-length: 4\r\n\r\nab".encode())
        began = time.monotonic()
        pod.stop()
        assert pod.wait() == 0
        assert time.monotonic() - began < 10
        assert connection.recv(1) == b""


def test_idle_connections_keep_nobody(start: Start) -> None:
    """A connection without a request is closed when the lag is over."""
    pod = start(drain_lag_s=0.5)
    with socket.create_connection(("127.0.0.1", pod.port)) as connection:
        connection.sendall(f"GET /{HASH}/?one HTTP/1.1\r\nhost: f\r\n\r\n".encode())
        assert connection.recv(65536).endswith(b"one")
        pod.stop()
        began = time.monotonic()
        assert connection.recv(1) == b""
        assert 0.4 < time.monotonic() - began < 10
    assert pod.wait() == 0


def test_a_pod_that_never_got_ready_stops_at_once(tmp_path: Path) -> None:
    """Nobody can have called it, so nobody is waited for."""
    pod = PodInvoker(tmp_path, "import time; time.sleep(30)", stores={"AWS_ENDPOINT_URL": "http://127.0.0.1:9"})
    pod.line("the code is waited for")
    began = time.monotonic()
    pod.stop()
    assert pod.wait() == 0
    assert time.monotonic() - began < 10
    pod.close()
