"""The gateway with real functions behind it: what callers of `/{hash}` get."""

import asyncio
import hashlib
import json
import os
import signal
from typing import Any

import httpx
import pytest

from lateen.domain.access import PLATFORM
from lateen.gateway.bodies import REQUEST_LIMIT

ECHO = """
import json
def handler(event, context):
    return {"statusCode": 200, "headers": {"x-id": context.aws_request_id}, "body": json.dumps(event)}
"""
SLOW = """
import time
def handler(event, context):
    time.sleep(float(event["queryStringParameters"]["s"]))
    return "done"
"""
BODY = """
import base64, hashlib
def handler(event, context):
    body = event.get("body", "")
    raw = base64.b64decode(body) if event["isBase64Encoded"] else body.encode()
    return {"statusCode": 200, "headers": {"content-type": "application/octet-stream"}, "isBase64Encoded": True,
            "body": base64.b64encode(raw).decode(), "cookies": ["n=" + str(len(raw))]}
"""


async def test_a_call_reaches_the_function_as_it_was_made(embedded: Any) -> None:
    """Method, path, query, headers, body and the caller's address arrive; the answer comes back with its request id."""
    function = await embedded.create(ECHO)
    async with embedded.client() as client:
        answer = await client.post(
            embedded.url_of(function, "/a%2Fb/c?x=1&x=2&y=%20"),
            content=b'{"n": 1}',
            headers={"content-type": "application/json", "x-mine": "yes", "user-agent": "test"},
        )
    event = answer.json()
    assert answer.status_code == 200
    assert event["rawPath"] == "/a%2Fb/c"
    assert event["rawQueryString"] == "x=1&x=2&y=%20"
    assert event["body"] == '{"n": 1}'
    assert event["headers"]["x-mine"] == "yes"
    assert event["headers"]["x-forwarded-for"] == event["requestContext"]["http"]["sourceIp"] == "127.0.0.1"
    assert event["requestContext"]["http"]["method"] == "POST"
    assert answer.headers["x-amzn-requestid"] == answer.headers["x-id"] == event["requestContext"]["requestId"]


async def test_what_belongs_to_one_connection_or_to_us_stays_here(embedded: Any) -> None:
    """Hop-by-hop headers, those that `Connection` names, and forged headers of ours never reach the function."""
    function = await embedded.create(ECHO)
    async with embedded.client() as client:
        answer = await client.get(
            embedded.url_of(function),
            headers={
                "connection": "keep-alive, X-Secret-Hop",
                "x-secret-hop": "1",
                "te": "trailers",
                "x-lateen-source": "6.6.6.6 https 443",
                "x-lateen-signature": "1.00",
                "x-lateen-request-id": "forged",
            },
        )
    event = answer.json()
    assert event["requestContext"]["http"]["sourceIp"] == "127.0.0.1"
    assert event["requestContext"]["requestId"] != "forged"
    assert not {"x-secret-hop", "te", "connection"} & set(event["headers"])
    assert not [name for name in event["headers"] if name.startswith("x-lateen")]


async def test_an_unknown_hash_is_not_found(embedded: Any) -> None:
    """Also one that belonged to a function that was deleted, at once."""
    function = await embedded.create(ECHO)
    async with embedded.client() as client:
        assert (await client.get(f"{embedded.url}/{'0' * 32}")).json()["message"] == "Not Found"
        assert (await client.get(embedded.url_of(function))).status_code == 200
        await embedded.functions.delete(PLATFORM, function.id)
        assert (await client.get(embedded.url_of(function))).status_code == 404


async def test_a_function_with_auth_key_wants_a_key_of_its_workspace(embedded: Any) -> None:
    """401 without or with a wrong or revoked key, 403 with another workspace's; and user code never sees the key."""
    function = await embedded.create(ECHO, auth="key")
    mine = await embedded.keys.create(PLATFORM, workspace_id="default")
    installation = await embedded.keys.create(PLATFORM, workspace_id=None)
    elsewhere = await embedded.workspaces.create(PLATFORM, name="elsewhere")
    theirs = await embedded.keys.create(PLATFORM, workspace_id=elsewhere.id)
    url = embedded.url_of(function)
    async with embedded.client() as client:

        async def status(authorization: str | None) -> int:
            headers = {} if authorization is None else {"authorization": authorization}
            return (await client.get(url, headers=headers)).status_code

        assert await status(None) == 401
        assert await status("Bearer nonsense") == 401
        assert await status(f"Basic {mine.secret}") == 401
        assert await status(f"Bearer {theirs.secret}") == 403
        assert await status(f"Bearer {installation.secret}") == 200
        answer = await client.get(url, headers={"authorization": f"Bearer {mine.secret}"})
        assert answer.status_code == 200
        assert "authorization" not in answer.json()["headers"]
        await embedded.keys.revoke(PLATFORM, mine.key.id)
        assert await status(f"Bearer {mine.secret}") == 401


async def test_a_change_of_auth_holds_for_the_next_call(embedded: Any) -> None:
    """An open function that is closed answers nobody without a key any more, whatever invoker still runs."""
    function = await embedded.create(ECHO)
    async with embedded.client() as client:
        assert (await client.get(embedded.url_of(function))).status_code == 200
        await embedded.update(function, auth="key")
        assert (await client.get(embedded.url_of(function))).status_code == 401


@pytest.mark.parametrize("chunked", [False, True])
async def test_large_bodies_pass_both_ways_unharmed(embedded: Any, chunked: bool) -> None:
    """Ten times 4 MiB at once, with a length or chunked; each caller gets its own bytes back."""
    function = await embedded.create(BODY, memory_mib=512, timeout_s=30, concurrency=4)
    bodies = [os.urandom(4 * 1024 * 1024) for _ in range(10)]

    async def pieces(body: bytes) -> Any:
        for start in range(0, len(body), 100_000):
            yield body[start : start + 100_000]

    async with embedded.client() as client:

        async def call(body: bytes) -> bool:
            answer = await client.post(
                embedded.url_of(function),
                content=pieces(body) if chunked else body,
                headers={"content-type": "application/octet-stream"},
            )
            assert answer.status_code == 200, answer.text
            return hashlib.sha256(answer.content).digest() == hashlib.sha256(body).digest()

        assert all(await asyncio.gather(*(call(body) for body in bodies)))


async def test_a_body_that_is_too_large_is_refused(embedded: Any) -> None:
    """By its announced length before any of it is read, and by what arrives where it is chunked."""
    function = await embedded.create(ECHO)
    reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(embedded.url).port)
    writer.write(
        b"POST /%b HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % (function.hash.encode(), REQUEST_LIMIT + 1)
    )
    async with asyncio.timeout(5):
        answer = await reader.read(4096)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["message"] == "Request must be smaller than 6291456 bytes"

    async def endless() -> Any:
        for _ in range(70):
            yield b"x" * 100_000

    async with embedded.client() as client:
        assert (await client.post(embedded.url_of(function), content=endless())).status_code == 413
        assert (await client.get(embedded.url_of(function))).status_code == 200


async def test_head_has_the_length_and_no_body(embedded: Any) -> None:
    """And the connection behind it serves the next call."""
    function = await embedded.create(ECHO)
    async with embedded.client() as client:
        for _ in range(3):
            answer = await client.head(embedded.url_of(function))
            assert (answer.status_code, answer.content) == (200, b"")
            assert int(answer.headers["content-length"]) > 0
            assert (await client.get(embedded.url_of(function))).json()["rawPath"] == "/"


async def test_a_failing_function_says_its_error_type_and_nothing_more(embedded: Any) -> None:
    """502 with the type; the message and the trace are the owner's."""
    function = await embedded.create("def handler(event, context):\n    raise ValueError('secret')\n")
    async with embedded.client() as client:
        answer = await client.get(embedded.url_of(function))
    assert answer.status_code == 502
    assert answer.json()["message"] == "Internal Server Error"
    assert answer.json()["errorType"] == "ValueError"
    assert "secret" not in answer.text


async def test_an_invoker_that_dies_costs_the_calls_that_it_had_and_no_other(embedded: Any) -> None:
    """Its callers get 502 at once; the next call is served by a new one."""
    function = await embedded.create(SLOW, timeout_s=30)
    url = embedded.url_of(function)
    async with embedded.client() as client:
        assert (await client.get(url, params={"s": "0"})).status_code == 200
        for _ in range(3):
            calls = [asyncio.create_task(client.get(url, params={"s": "20"})) for _ in range(3)]
            await asyncio.sleep(0.2)
            os.kill(embedded.pid_of(function), signal.SIGKILL)
            async with asyncio.timeout(2):
                answers = await asyncio.gather(*calls)
            assert [(a.status_code, a.json()["errorType"]) for a in answers] == [(502, "Lateen.ConnectionLost")] * 3
            async with asyncio.timeout(10):
                answer = await client.get(url, params={"s": "0"})
            assert answer.status_code == 200, answer.text


async def test_what_a_caller_is_told_is_found_in_the_log(embedded: Any, caplog: pytest.LogCaptureFixture) -> None:
    """By the request id of its answer, where the gateway itself had to answer."""
    function = await embedded.create(SLOW, timeout_s=30)
    url = embedded.url_of(function)
    async with embedded.client() as client:
        assert (await client.get(url, params={"s": "0"})).status_code == 200
        call = asyncio.create_task(client.get(url, params={"s": "20"}))
        await asyncio.sleep(0.2)
        os.kill(embedded.pid_of(function), signal.SIGKILL)
        lost = (await call).json()
        await embedded.deployer.remove(function.id)
        away = (await client.get(url, params={"s": "0"})).json()
    logged = {line.getMessage(): vars(line).get("request_id") for line in caplog.records}
    assert logged["call not answered by its invoker"] == lost["requestId"]
    assert logged["no endpoint"] == away["requestId"] != lost["requestId"]


async def test_callers_that_leave_harm_nobody(embedded: Any) -> None:
    """200 callers hang up at random moments of their call while others ask; no answer is missing or another's."""
    function = await embedded.create(
        "import time\ndef handler(event, context):\n    time.sleep(0.005)\n    return event['rawPath']\n"
    )
    port = httpx.URL(embedded.url).port
    await embedded.settled(function)

    async def leave(number: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /%b/left/%d HTTP/1.1\r\nhost: x\r\n\r\n" % (function.hash.encode(), number))
        await asyncio.sleep(number % 17 / 1000)
        writer.transport.abort()

    async with embedded.client() as client:

        async def ask(number: int) -> None:
            answer = await client.get(embedded.url_of(function, f"/stay/{number}"))
            assert (answer.status_code, answer.text) == (200, f"/stay/{number}")

        for start in range(0, 200, 20):
            each = range(start, start + 20)
            await asyncio.gather(*(leave(n) for n in each), *(ask(n) for n in each))


async def test_who_leaves_a_long_call_frees_its_connection(embedded: Any) -> None:
    """The invoker is told within a second, long before the function would have answered."""
    function = await embedded.create(SLOW, timeout_s=60)
    port = httpx.URL(embedded.url).port
    await embedded.settled(function)
    endpoint = embedded.deployer.running()[function.id]
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /%b?s=4 HTTP/1.1\r\nhost: x\r\n\r\n" % function.hash.encode())
    while not embedded.pool.is_busy(endpoint):
        await asyncio.sleep(0.01)
    writer.transport.abort()
    async with asyncio.timeout(1):
        while embedded.pool.is_busy(endpoint):
            await asyncio.sleep(0.01)


async def test_a_herd_on_a_cold_function_is_served(embedded: Any) -> None:
    """500 callers at once of a function that sleeps: one start, every answer right."""
    function = await embedded.create("def handler(event, context):\n    return event['rawPath']\n")
    port = httpx.URL(embedded.url).port

    async def ask(number: int) -> bytes:
        # Not httpx, whose own pool is what 500 connections at once would measure.
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /%b/%d HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n" % (function.hash.encode(), number))
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        return head[:12] + b" " + body

    answers = await asyncio.gather(*(ask(number) for number in range(500)))
    assert answers == [b"HTTP/1.1 200 /%d" % number for number in range(500)]


async def test_http_1_0_needs_no_host(embedded: Any) -> None:
    """As simple health checkers ask."""
    function = await embedded.create("def handler(event, context):\n    return event['rawPath']\n")
    reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(embedded.url).port)
    writer.write(b"GET /%b/alive HTTP/1.0\r\n\r\n" % function.hash.encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert (head.split(b" ")[1], body) == (b"200", b"/alive")


async def test_beyond_the_queue_callers_are_told_to_come_back(start_embedded: Any) -> None:
    """429 in AWS's words, at once, and never a 5xx."""
    embedded = await start_embedded(queue=5)
    function = await embedded.create(SLOW, concurrency=1, timeout_s=10)
    await embedded.settled(function)
    async with embedded.client() as client:
        calls = [client.get(embedded.url_of(function), params={"s": "0.1"}) for _ in range(20)]
        answers = await asyncio.gather(*calls)
    refused = [answer for answer in answers if answer.status_code != 200]
    assert len(refused) >= 10
    assert {answer.status_code for answer in refused} == {429}
    assert refused[0].json()["message"] == "Rate Exceeded."


async def test_an_event_passes_untouched(embedded: Any) -> None:
    """`invoke` gives the handler the caller's JSON, byte for byte as it came back, with error and log where due."""
    function = await embedded.create(
        "def handler(event, context):\n    print('seen', event)\n    return event if event else 1 / 0\n"
    )
    answer = await embedded.invocations.invoke(function, b'{"a": [1, "\xc3\xa9"]}')
    assert (answer.status, json.loads(answer.body), answer.function_error) == (200, {"a": [1, "é"]}, None)
    answer = await embedded.invocations.invoke(function, b"", log_tail=True)
    assert (answer.status, answer.function_error) == (200, "Unhandled")
    assert json.loads(answer.body)["errorType"] == "ZeroDivisionError"
    assert answer.log_result
