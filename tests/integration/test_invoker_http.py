"""The invoker's HTTP port and bad clients: clear refusals, nothing held, and the next call works."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from invoker_process import HASH, KEY, InvokerProcess

from lateen_invoker import signing

CODE = """
import time
def handler(event, context):
    if event["rawPath"] == "/sleep":
        time.sleep(0.3)
    if event["rawPath"] == "/leave":
        return {"statusCode": 302, "headers": {"location": "/there"}}
    return {"statusCode": 200, "body": event["requestContext"]["http"]["method"] + " " + event["rawPath"] + " "
            + event.get("body", "")}
"""
URL = f"/{HASH}/"


@pytest.fixture(scope="module")
def invoker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InvokerProcess]:
    folder: Path = tmp_path_factory.mktemp("invoker")
    process = InvokerProcess(folder)
    process.configure(CODE)
    yield process
    assert process.call("/after").body == b"GET /after "
    process.close()


def head(method: str = "GET", target: str = URL, *lines: str) -> bytes:
    return "\r\n".join((f"{method} {target} HTTP/1.1", "host: x", *lines, "", "")).encode("latin-1")


@pytest.mark.parametrize("target", [f"/{HASH}", f"/{HASH}?a=/b"])
def test_a_service_worker_rules_over_no_other_function(invoker: InvokerProcess, target: str) -> None:
    """Browsers say that they want such a script; by its address it would be given the whole host."""
    assert invoker.raw(head("GET", target, "service-worker: script", "connection: close")).startswith(b"HTTP/1.1 403 ")
    assert invoker.raw(head("GET", f"{URL}worker.js", "service-worker: script", "connection: close")).startswith(
        b"HTTP/1.1 200 "
    )
    assert invoker.raw(head("GET", target, "connection: close")).startswith(b"HTTP/1.1 200 ")


def test_a_redirection_leads_to_the_function(invoker: InvokerProcess) -> None:
    """A path from the host's root is one below the function's URL."""
    answer = invoker.raw(head("GET", f"{URL}leave", "connection: close"))
    assert f"\r\nlocation: {URL}there\r\n".encode() in answer


def test_a_proxy_may_give_a_function_a_host_of_its_own(invoker: InvokerProcess) -> None:
    """It puts the function's path before each of its own, and says so. Nothing else is believed of anybody."""
    for said, there in (("/", "/there"), ("", f"{URL}there"), ("//example.org", f"{URL}there")):
        answer = invoker.raw(head("GET", f"{URL}leave", f"x-forwarded-prefix: {said}", "connection: close"))
        assert f"\r\nlocation: {there}\r\n".encode() in answer


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (f"GET {URL} HTTP/1.1\r\n\r\n".encode(), 400),
        (f"GET {URL} HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n".encode(), 400),
        (head("POST", URL, "content-length: 5", "transfer-encoding: chunked") + b"0\r\n\r\nGET / HTTP/1.1\r\n", 400),
        (head("POST", URL, "content-length: 5", "content-length: 6") + b"hello!", 400),
        (head("POST", URL, "content-length: -1"), 400),
        (head("POST", URL, "content-length: 1e3"), 400),
        (head("POST", URL, "content-length: +5") + b"hello", 400),
        (head("POST", URL, "transfer-encoding: xchunked") + b"0\r\n\r\n", 400),
        (head("POST", URL, "transfer-encoding: chunked, identity") + b"0\r\n\r\n", 400),
        (head("POST", URL, "transfer-encoding: chunked") + b"zz\r\nhello\r\n0\r\n\r\n", 400),
        (head("POST", URL, "transfer-encoding: chunked") + b"ffffffffffffffffff\r\n", 400),
        (head("GET", URL, "x: a\rb"), 400),
        (head("GET", URL, "x y: a"), 400),
        (head("GET", URL, " folded"), 400),
        (head("GET", URL, "x: a\0b"), 400),
        (head("FOO"), 400),
        (head("GET", f"http://elsewhere{URL}"), 404),
        (head("CONNECT", "x:443"), 400),
        (head("GET", f"/{HASH[:-1]}/"), 404),
        (head("GET", f"/{HASH}x/"), 404),
        (head("GET", f"/{HASH}%2f"), 404),
        (head("GET", f"//{HASH}/"), 404),
        (head("GET", "/"), 404),
        (head("GET", "/../etc/passwd"), 404),
        (head("GET", "/metrics"), 403),
        (head("POST", "/_lateen/invoke"), 403),
        (head("GET", URL, "x-lateen-signature: 1.a"), 403),
        (head("GET", URL, *(f"h{n}: v" for n in range(400))), 431),
        (head("GET", URL, "x: " + "y" * 140_000), 431),
        (head("GET", URL + "a" * 140_000), 431),
        (head("POST", URL, "content-length: 6291457"), 413),
        (head("POST", URL, "content-length: 99999999999999999999"), 400),
    ],
)
def test_refusals(invoker: InvokerProcess, data: bytes, status: int) -> None:
    """One answer with the right status; nothing behind a message that can't be understood is taken for another one."""
    answer = invoker.raw(data, timeout=0.4)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert answer.count(b"HTTP/1.1") == 1
    assert "message" in json.loads(answer.partition(b"\r\n\r\n")[2])


def test_a_chunked_body_beyond_the_limit(invoker: InvokerProcess) -> None:
    """Counted as it comes, whatever was announced."""
    chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    answer = invoker.raw(head("POST", URL, "transfer-encoding: chunked") + chunk * 7 + b"0\r\n\r\n", timeout=3)
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_chunked_body(invoker: InvokerProcess) -> None:
    """Reaches the function whole; trailers are not taken for headers of its end."""
    body = b"5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nx-trailer: t\r\n\r\n"
    request = head("POST", URL, "content-type: text/plain", "transfer-encoding: chunked", "connection: close") + body
    assert invoker.raw(request).endswith(b"POST / hello world")


def test_pipelined_requests(invoker: InvokerProcess) -> None:
    """Fifty at once on one connection: fifty answers, in their order."""
    requests = b"".join(head("GET", f"{URL}{n}") for n in range(49)) + head("GET", f"{URL}49", "connection: close")
    answers = invoker.raw(requests)
    assert [line for line in answers.split(b"\r\n") if b"GET /" in line] or answers.count(b"HTTP/1.1 200") == 50
    bodies = [part.partition(b"\r\n\r\n")[2].strip() for part in answers.split(b"HTTP/1.1 200 OK\r\n")[1:]]
    assert bodies == [b"GET /%d" % n for n in range(50)]


def test_garbage_behind_a_request(invoker: InvokerProcess) -> None:
    """The request before it is answered; the garbage closes the connection."""
    answer = invoker.raw(head("GET", f"{URL}sleep") + b"\x00garbage\r\n\r\n", timeout=3)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"GET /sleep ")
    assert b"connection: close" in answer


def test_head_has_no_body(invoker: InvokerProcess) -> None:
    """The length is that of the body that GET would have."""
    answer = invoker.raw(head("HEAD", URL, "connection: close"))
    assert b"content-length: 7\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


def test_continue(invoker: InvokerProcess) -> None:
    """Who asks first is told to go on."""
    with socket.create_connection(("127.0.0.1", invoker.port), timeout=5) as sock:
        sock.sendall(head("POST", URL, "content-type: text/plain", "content-length: 2", "expect: 100-continue"))
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"hi")
        assert sock.recv(1000).endswith(b"POST / hi")


def test_http_1_0(invoker: InvokerProcess) -> None:
    """Answered without a Host and closed."""
    answer = invoker.raw(f"GET {URL} HTTP/1.0\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"connection: close" in answer


@pytest.mark.slow
def test_slow_clients_hold_nothing(invoker: InvokerProcess) -> None:
    """A head that takes longer than ten seconds is refused; a hundred such clients delay nobody."""
    slow = [socket.create_connection(("127.0.0.1", invoker.port), timeout=20) for _ in range(100)]
    for sock in slow:
        sock.sendall(b"GET /" + HASH.encode())
    began = time.monotonic()
    assert invoker.call("/quick").body == b"GET /quick "
    assert time.monotonic() - began < 5
    for sock in slow[:3]:
        received = b""
        while part := sock.recv(1000):
            received += part
        assert received.startswith(b"HTTP/1.1 408 ")
    assert 8 < time.monotonic() - began < 30
    for sock in slow:
        sock.close()


def test_signed_source(invoker: InvokerProcess) -> None:
    """The platform's word about the caller is believed; a client's own is not."""
    source = "203.0.113.9 https 443"
    signature = signing.sign(KEY, method="GET", target=URL, source=source, request_id="r-7", now_s=time.time())
    lines = [f"x-lateen-signature: {signature}", f"x-lateen-source: {source}", "x-lateen-request-id: r-7"]
    assert b"x-amzn-requestid: r-7\r\n" in invoker.raw(head("GET", URL, *lines, "connection: close"))
    forged = invoker.raw(head("GET", URL, lines[0], "x-lateen-source: 198.51.100.1 https 443", "connection: close"))
    assert forged.startswith(b"HTTP/1.1 403 ")
    unsigned = invoker.raw(head("GET", URL, *lines[1:], "connection: close"))
    assert b"x-amzn-requestid: r-7" not in unsigned
    old = signing.sign(KEY, method="GET", target=URL, source="", request_id="", now_s=time.time() - 3600)
    answer = invoker.raw(head("GET", URL, f"x-lateen-signature: {old}", "connection: close"))
    assert answer.startswith(b"HTTP/1.1 403 ")
