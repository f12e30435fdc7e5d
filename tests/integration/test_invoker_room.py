"""How much an invoker holds for its callers: bounded, whatever they send, announce or do not read, and nothing is left.

Real processes and sockets; what is held is what `/metrics` says of it, and what the kernel says of the process.
"""

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from invoker_process import HASH, KEY, InvokerProcess
from pod_process import PodInvoker

from lateen_invoker import signing
from lateen_invoker.http_port import BODY_LIMIT
from lateen_invoker.room import MIB, memory_mib, most_in, room_on_this_machine

CODE = """
import time
def handler(event, context):
    path = event.get("rawPath", "/")
    if path.startswith("/sleep"):
        time.sleep(float(path[6:]))
    if path == "/large":
        return {"statusCode": 200, "headers": {"content-type": "text/plain"}, "body": "x" * (5 << 20)}
    if path == "/exit":
        import os
        os._exit(1)
    return {"statusCode": 200, "body": str(len(event.get("body", "")))}
"""
ROOM = room_on_this_machine(2)
MOST = most_in(ROOM, is_small=False)
THROTTLED = {"Reason": "ConcurrentInvocationLimitExceeded", "Type": "User", "message": "Rate Exceeded."}


@pytest.fixture
def invoker(tmp_path: Path) -> Iterator[InvokerProcess]:
    process = InvokerProcess(tmp_path)
    process.configure(CODE, concurrency=2, queue=4, timeout_s=20)
    yield process
    process.close()


def head(path: str, *lines: str, method: str = "POST") -> bytes:
    lines = (f"{method} /{HASH}{path} HTTP/1.1", "host: x", "content-type: text/plain", *lines, "", "")
    return "\r\n".join(lines).encode()


def of_length(size: int, path: str = "/") -> bytes:
    return head(path, f"content-length: {size}")


def connected(port: int, data: bytes = b"") -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=30)
    with contextlib.suppress(ConnectionError):  # it need not take all of what it refuses
        sock.sendall(data)
    return sock


def answer_on(sock: socket.socket) -> bytes:
    """One answer with a length, or what came before the end."""
    received = b""
    while part := sock.recv(1 << 16):
        received += part
        first, found, body = received.partition(b"\r\n\r\n")
        if found and len(body) >= int(first.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]):
            break
    return received


def metric(text: bytes, name: str) -> int:
    return next(int(float(line.split()[1])) for line in text.decode().splitlines() if line.startswith(f"{name} "))


def told(invoker: InvokerProcess, name: str) -> int:
    signature = signing.sign(KEY, method="GET", target="/metrics", source="", request_id="", now_s=time.time())
    request = f"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{signing.SIGNATURE}: {signature}\r\n\r\n"
    return metric(invoker.raw(request.encode()), name)


def held(invoker: InvokerProcess) -> int:
    return told(invoker, "lateen_request_bytes")


def unread(invoker: InvokerProcess) -> int:
    return told(invoker, "lateen_unread_bytes")


def eventually(is_so: Callable[[], bool], within_s: float = 30) -> None:
    deadline = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def memory(invoker: InvokerProcess, which: str) -> int:
    """Bytes: `VmRSS` now, `VmHWM` at most so far."""
    lines = Path(f"/proc/{invoker.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{which}:"))


def is_small_served(invoker: InvokerProcess) -> bool:
    return invoker.call("/", "POST", b"hello", {"content-type": "text/plain"}).body == b"5"


def test_many_large_bodies(invoker: InvokerProcess) -> None:
    """A hundred callers with all but the last byte of 6 MiB each: those for whom there is room go on, the others are
    told at once that they were not executed; the process stays small, and small calls are answered meanwhile."""
    before = memory(invoker, "VmRSS")
    body = b"x" * (BODY_LIMIT - 1)
    callers = [connected(invoker.port, of_length(BODY_LIMIT) + body) for _ in range(100)]
    admitted = MOST // (BODY_LIMIT + 200)
    eventually(lambda: told(invoker, "lateen_throttles_total") == 100 - admitted)
    assert held(invoker) <= MOST
    assert is_small_served(invoker)
    # Beside what is held, one body being put together.
    assert memory(invoker, "VmHWM") - before < ROOM + 2 * BODY_LIMIT
    for caller in callers[:admitted]:
        caller.sendall(b"x")
        assert answer_on(caller).endswith(b"\r\n\r\n%d" % BODY_LIMIT)
    for caller in callers:
        caller.close()
    eventually(lambda: held(invoker) == 0)


def test_who_is_refused(invoker: InvokerProcess) -> None:
    """Is told as any other throttled caller is, before it sends its body, and that another pod may be tried."""
    waiting = [connected(invoker.port, of_length(BODY_LIMIT)) for _ in range(30)]
    eventually(lambda: held(invoker) > MOST - BODY_LIMIT - 200)
    refused = connected(invoker.port, head("/", f"content-length: {BODY_LIMIT}", "expect: 100-continue"))
    first, _, said = answer_on(refused).partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
    assert f"\r\n{signing.REFUSED}: 1\r\n".encode() in first
    assert json.loads(said) == THROTTLED
    for each in (*waiting, refused):
        each.close()
    eventually(lambda: held(invoker) == 0)
    assert is_small_served(invoker)


def test_slow_uploads_lock_no_small_event_out(invoker: InvokerProcess) -> None:
    """As many as there is room for, of which not a byte comes: small calls are answered, whole or in pieces, and such
    as are a little larger."""
    slow = [connected(invoker.port, of_length(BODY_LIMIT)) for _ in range(30)]
    slow += [connected(invoker.port, of_length(65_000)) for _ in range(10)]
    eventually(lambda: held(invoker) > MOST - BODY_LIMIT)
    assert is_small_served(invoker)
    with connected(invoker.port, of_length(5)) as sock:
        time.sleep(0.1)
        sock.sendall(b"hello")
        assert answer_on(sock).endswith(b"\r\n\r\n5")
    assert invoker.call("/", "POST", b"x" * 50_000, {"content-type": "text/plain"}).body == b"50000"
    for each in slow:
        each.close()
    eventually(lambda: held(invoker) == 0)


def chunked(size: int) -> bytes:
    return b"%x\r\n%b\r\n" % (size, b"x" * size)


def test_nothing_is_left_however_a_request_ends(invoker: InvokerProcess) -> None:
    """Answered, refused, late, cut off by its caller at any point, in chunks, one behind the other: at the end nothing
    is counted as held."""
    port, mib = invoker.port, b"x" * MIB

    # Answered: whole, in chunks, and two of which one waits for the other.
    for data in (of_length(MIB) + mib, head("/", "transfer-encoding: chunked") + chunked(MIB) + b"0\r\n\r\n"):
        with connected(port, data) as sock:
            assert answer_on(sock).endswith(b"\r\n\r\n1048576")
    with connected(port, (of_length(MIB, "/sleep0.3") + mib) * 2) as sock:
        eventually(lambda: held(invoker) > MIB)
        assert answer_on(sock).endswith(b"\r\n\r\n1048576")
        assert answer_on(sock).endswith(b"\r\n\r\n1048576")
    eventually(lambda: held(invoker) == 0)

    # Its process ends, or it is late.
    with connected(port, of_length(MIB, "/exit") + mib) as sock:
        assert answer_on(sock).startswith(b"HTTP/1.1 502 ")
    assert held(invoker) == 0

    # Not understood, too large, nowhere, not allowed.
    for data, status in (
        (head("/", "transfer-encoding: chunked") + chunked(MIB) + b"zz\r\n", 400),
        (head("/", "transfer-encoding: chunked") + chunked(MIB) * 7, 413),
        (of_length(MIB).replace(HASH.encode(), b"nowhere") + mib, 404),
        (of_length(MIB).replace(b"/" + HASH.encode(), b"/_lateen/invoke") + mib, 404),
    ):
        with connected(port, data) as sock:
            assert answer_on(sock).startswith(b"HTTP/1.1 %d " % status)
    eventually(lambda: held(invoker) == 0)

    # Its caller leaves: during the upload, while it waits, while it runs, and with others of its own behind it.
    for data in (
        of_length(MIB) + mib[:1000],
        head("/", "transfer-encoding: chunked") + chunked(MIB),
        (of_length(MIB, "/sleep0.2") + mib) * 3 + of_length(MIB) + mib[:1000],
    ):
        with connected(port, data):
            eventually(lambda: held(invoker) > 0)
        eventually(lambda: held(invoker) == 0)
    with connected(port, of_length(MIB, "/sleep0.2") + mib):
        eventually(lambda: told(invoker, "lateen_invocations_running") > 0)
        assert held(invoker) == 0  # its runtime has it
    assert held(invoker) == 0

    # It waits, and there are too many: the pool refuses it.
    callers = [connected(port, of_length(MIB, "/sleep1") + mib) for _ in range(8)]
    eventually(lambda: held(invoker) >= 4 * MIB)
    statuses = [answer_on(caller)[9:12] for caller in callers]
    assert set(statuses) == {b"200", b"429"}
    for caller in callers:
        caller.close()
    assert held(invoker) == 0
    assert is_small_served(invoker)


def test_a_caller_that_left_is_not_held(invoker: InvokerProcess) -> None:
    """Whoever goes while waiting for an environment leaves nothing here: neither in the count nor in memory."""
    patient = [connected(invoker.port, head("/sleep3", method="GET")) for _ in range(3)]
    eventually(lambda: told(invoker, "lateen_invocations_waiting") == 1)
    before = memory(invoker, "VmRSS")
    body = b"x" * BODY_LIMIT
    for waiting in (2, 3, 4):
        with connected(invoker.port, of_length(BODY_LIMIT) + body):
            eventually(lambda waiting=waiting: told(invoker, "lateen_invocations_waiting") == waiting)  # type: ignore[misc]
            assert held(invoker) >= BODY_LIMIT
        eventually(lambda: held(invoker) == 0)
    assert told(invoker, "lateen_invocations_waiting") == 4
    assert memory(invoker, "VmRSS") - before < 2 * BODY_LIMIT
    for each in patient:
        assert answer_on(each).endswith(b"0")
        each.close()


def test_requests_sent_ahead(tmp_path: Path) -> None:
    """What connections send while they wait for a first answer is counted too; beyond the room it is not wanted."""
    invoker = InvokerProcess(tmp_path)
    invoker.configure(CODE, concurrency=2, queue=100, timeout_s=20)
    busy = [connected(invoker.port, head("/sleep5", method="GET")) for _ in range(2)]
    eventually(lambda: told(invoker, "lateen_invocations_running") == 2)
    before = memory(invoker, "VmRSS")
    ahead = f"GET /{HASH} HTTP/1.1\r\nhost: x\r\n\r\n".encode() * 4000
    callers = [socket.create_connection(("127.0.0.1", invoker.port), timeout=30) for _ in range(60)]
    for caller in callers:
        caller.setblocking(False)
        caller.send(ahead)
    eventually(lambda: told(invoker, "lateen_throttles_total") > 0)
    assert 0 < held(invoker) <= ROOM
    assert memory(invoker, "VmRSS") - before < ROOM
    for caller in callers:
        caller.close()
    eventually(lambda: held(invoker) == 0)
    assert answer_on(busy[0]).endswith(b"0")
    invoker.close()


def test_answers_that_nobody_reads(invoker: InvokerProcess) -> None:
    """Sixty callers who ask for 5 MiB each and read nothing: the process stays small, who has not read for longest is
    cut off, small calls are answered meanwhile, and one who does read gets all of it."""
    before = memory(invoker, "VmRSS")
    callers = []
    for number in range(60):
        callers.append(connected(invoker.port, head("/large", method="GET")))
        eventually(lambda number=number: told(invoker, "lateen_invocations_total") > number)  # type: ignore[misc]
    assert ROOM // 2 < unread(invoker) <= ROOM
    assert told(invoker, "lateen_answers_cut_total") >= 60 - ROOM // (4 << 20)
    assert is_small_served(invoker)
    assert memory(invoker, "VmHWM") - before < ROOM + 6 * BODY_LIMIT
    assert len(answer_on(callers[-1])) > 5 << 20
    assert len(answer_on(callers[0])) < 5 << 20
    for caller in callers:
        caller.close()
    eventually(lambda: unread(invoker) == 0)
    assert invoker.call("/large").status == 200


def test_more_is_not_asked_of_who_does_not_read(invoker: InvokerProcess) -> None:
    """The next request of a connection runs when the answer before it has been read."""
    with connected(invoker.port, head("/large", method="GET") * 3) as sock:
        eventually(lambda: unread(invoker) > MIB)
        time.sleep(0.2)
        assert told(invoker, "lateen_invocations_total") == 1
        # Whole, and not one by one: the next one may lie behind the rest of the one before.
        received = 0
        while received <= 15 << 20:
            part = len(sock.recv(1 << 20))
            assert part
            received += part
    assert told(invoker, "lateen_invocations_total") == 3
    eventually(lambda: (unread(invoker), held(invoker)) == (0, 0))


def test_a_pod_goes_by_the_memory_that_it_has(tmp_path: Path) -> None:
    """With 128 MiB there is room for one largest body, also before there is a function: what comes early is held, and
    answered when there is one."""
    pod = PodInvoker(tmp_path, "import time; time.sleep(2)\n" + CODE, variables={"LATEEN_MEMORY_BYTES": f"{128 * MIB}"})
    try:
        early = connected(pod.port, of_length(BODY_LIMIT) + b"x" * BODY_LIMIT)
        eventually(lambda: metric(pod.operations("/metrics").body, "lateen_request_bytes") >= BODY_LIMIT)
        second = connected(pod.port, of_length(BODY_LIMIT))
        assert answer_on(second).startswith(b"HTTP/1.1 429 ")
        assert metric(pod.operations("/metrics").body, "lateen_throttles_total") == 1
        assert answer_on(early).endswith(b"\r\n\r\n%d" % BODY_LIMIT)
        assert metric(pod.operations("/metrics").body, "lateen_request_bytes") == 0
        for sock in (early, second):
            sock.close()
        # It stops while somebody uploads: that is waited for no longer than anything else.
        with connected(pod.port, of_length(MIB) + bytes(1000)):
            pod.stop()
            assert pod.wait(60) == 0
    finally:
        pod.close()


def test_a_pod_stays_within_the_memory_that_it_has(tmp_path: Path) -> None:
    """The smallest sidecar, and sixty callers with 6 MiB of bytes each who do not read what they get for it: it stays
    below its limit, with what the process beside it takes that writes records."""
    limit = memory_mib(1) * MIB
    pod = PodInvoker(tmp_path, CODE, concurrency=1, variables={"LATEEN_MEMORY_BYTES": str(limit)})
    try:
        assert pod.ready() == 200
        data = of_length(BODY_LIMIT, "/large").replace(b"text/plain", b"application/octet-stream") + bytes(BODY_LIMIT)
        callers = [connected(pod.port, data) for _ in range(60)]
        eventually(lambda: metric(pod.operations("/metrics").body, "lateen_request_bytes") == 0)
        assert pod.call("/").body == b"0"
        lines = Path(f"/proc/{pod.process.pid}/status").read_text().splitlines()
        assert next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")) < limit - 64 * MIB
        assert metric(pod.operations("/metrics").body, "lateen_throttles_total") > 0
        for caller in callers:
            caller.close()
        eventually(lambda: metric(pod.operations("/metrics").body, "lateen_unread_bytes") == 0)
    finally:
        pod.close()
