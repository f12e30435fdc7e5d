"""Function URLs: requests become events of payload format 2.0, answers become responses."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lateen_invoker.function_url import InvalidAnswer, event_for, located, response_from, whole, with_prelude

HASH = "0123456789abcdef0123456789abcdef"
JSON = b"content-type: application/json\r\n"


def event(**changes: object) -> dict[str, object]:
    given_: dict[str, object] = {
        "method": "GET",
        "path": "/",
        "query": "",
        "protocol": "HTTP/1.1",
        "headers": {"host": "f.example.org"},
        "cookie": None,
        "body": b"",
        "source_ip": "192.0.2.1",
        "request_id": "r-1",
        "function_hash": HASH,
        "now_s": 1583348638.4,
    }
    made: dict[str, object] = json.loads(b"".join(whole(*event_for(**{**given_, **changes}))))  # type: ignore[arg-type]
    return made


def test_the_whole_event() -> None:
    """Every member as AWS documents it, and no other."""
    assert event(
        method="POST",
        path="/a%20b",
        query="x=1&y=a+b&x=%32&empty",
        headers={
            "host": "f.example.org:8000",
            "user-agent": "curl/8",
            "content-type": "application/json; charset=utf-8",
        },
        cookie="a=1; b=2",
        body='{"ü":1}'.encode(),
    ) == {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/a%20b",
        "rawQueryString": "x=1&y=a+b&x=%32&empty",
        "cookies": ["a=1", "b=2"],
        "headers": {
            "host": "f.example.org:8000",
            "user-agent": "curl/8",
            "content-type": "application/json; charset=utf-8",
        },
        "queryStringParameters": {"x": "1,2", "y": "a b", "empty": ""},
        "requestContext": {
            "accountId": "anonymous",
            "apiId": HASH,
            "domainName": "f.example.org:8000",
            "domainPrefix": "f",
            "http": {
                "method": "POST",
                "path": "/a%20b",
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1",
                "userAgent": "curl/8",
            },
            "requestId": "r-1",
            "routeKey": "$default",
            "stage": "$default",
            "time": "04/Mar/2020:19:03:58 +0000",
            "timeEpoch": 1583348638400,
        },
        "body": '{"ü":1}',
        "isBase64Encoded": False,
    }


def test_absent_parts_are_absent() -> None:
    """No cookies, no parameters and no body leave no members behind."""
    assert {"cookies", "queryStringParameters", "body"}.isdisjoint(event())


@pytest.mark.parametrize("content_type", ["image/png", "", "multipart/form-data; boundary=x"])
def test_bodies_that_are_not_text_come_as_base64(content_type: str) -> None:
    """The content type decides."""
    made = event(headers={"host": "h", "content-type": content_type}, body=b"\x00\xffdata")
    assert made["isBase64Encoded"] is True
    assert base64.b64decode(str(made["body"])) == b"\x00\xffdata"


def test_large_bodies_that_only_claim_to_be_text() -> None:
    """In JSON a control character has six bytes: an event has no more than three times the size of its body."""
    text = b'"Here\\is\ta text.\r\n' * 100_000
    for body, is_text in ((text, True), (b"\x01" * (2 << 20), False), (b"\x01" * 1000, True)):
        made = event(headers={"host": "h", "content-type": "text/plain"}, body=body)
        assert made["isBase64Encoded"] is not is_text
        given = str(made["body"]).encode()
        assert (given if is_text else base64.b64decode(given)) == body
        assert len(json.dumps(made)) < 3 * len(body) + 10_000


def test_text_that_is_not_utf8_keeps_its_bytes() -> None:
    """A body said to be text and which is none is not damaged."""
    made = event(headers={"host": "h", "content-type": "text/plain"}, body=b"\xff")
    assert (made["isBase64Encoded"], base64.b64decode(str(made["body"]))) == (True, b"\xff")


@given(body=st.binary(max_size=200), query=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60))
def test_any_request_makes_an_event(body: bytes, query: str) -> None:
    """Whatever a client sends, the function gets JSON with the same body in it."""
    made = event(body=body, query=query)
    assert made["rawQueryString"] == query
    assert base64.b64decode(str(made.get("body", ""))) == body


@pytest.mark.parametrize(
    ("answer", "status", "head", "body"),
    [
        ({"statusCode": 201, "body": "made"}, 201, JSON, b"made"),
        ({"statusCode": "404"}, 404, JSON, b""),
        (
            {"statusCode": 200, "headers": {"Content-Type": "text/html"}, "body": "<p>"},
            200,
            b"content-type: text/html\r\n",
            b"<p>",
        ),
        (
            {"statusCode": 200, "headers": {"X-N": 3, "X-B": True}, "cookies": ["a=1", "b=2"]},
            200,
            b"x-n: 3\r\nx-b: true\r\ncontent-type: application/json\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n",
            b"",
        ),
        ({"statusCode": 200, "body": "AP8=", "isBase64Encoded": True}, 200, JSON, b"\x00\xff"),
        ({"statusCode": 200, "body": {"a": 1}}, 200, JSON, b'{"a":1}'),
        ({"statusCode": 200, "headers": None, "body": None, "cookies": None}, 200, JSON, b""),
        (
            {
                "statusCode": 200,
                "headers": {
                    "Content-Length": "9",
                    "Service-Worker-Allowed": "/",
                    "Cross-Origin-Opener-Policy": "same-origin",
                    "Clear-Site-Data": "*",
                    "NEL": "{}",
                    "Transfer-Encoding": "chunked",
                    "Connection": "x",
                    "Date": "now",
                    "X-Amzn-RequestId": "r",
                },
            },
            200,
            JSON,
            b"",
        ),
    ],
)
def test_structured_answers(answer: object, status: int, head: bytes, body: bytes) -> None:
    """An object with a statusCode says the response; what would desynchronise the connection is left out."""
    response = response_from(json.dumps(answer).encode())
    assert (response.status, response.head, response.body) == (status, head, body)


def test_a_function_can_not_say_that_it_was_not_executed() -> None:
    """By that header the gateway knows that it may send a call to another pod: the invoker's word only."""
    answer = b'{"statusCode": 503, "headers": {"X-Lateen-Refused": "1", "x-other": "2"}, "body": ""}'
    assert response_from(answer).head == b"x-other: 2\r\n" + JSON
    assert b"refused" not in with_prelude(answer + b"\0" * 8).head


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        ("/login?next=/", f"/{HASH}/login?next=/"),
        ("/", f"/{HASH}/"),
        ("http://F.example.org/a", f"http://F.example.org/{HASH}/a"),
        ("https://f.example.org", f"https://f.example.org/{HASH}"),
        ("//f.example.org/a", f"//f.example.org/{HASH}/a"),
        (f"/{'a' * 33}", f"/{HASH}/{'a' * 33}"),
        # What is said of somewhere else, or with the path that it has here, is meant so.
        (f"/{HASH}/a", f"/{HASH}/a"),
        (f"https://f.example.org/{'0' * 32}?a", f"https://f.example.org/{'0' * 32}?a"),
        ("https://example.org/a", "https://example.org/a"),
        ("//example.org/a", "//example.org/a"),
        ("a/b", "a/b"),
        ("?page=2", "?page=2"),
        ("mailto:a@example.org", "mailto:a@example.org"),
        ("", ""),
    ],
)
def test_redirections_stay_with_the_function(said: str, sent: str) -> None:
    """On AWS the root of the host is the function's; here it is below its hash, of which its code knows nothing."""
    answer = {"statusCode": 302, "headers": {"x-a": "location: /b", "Location": said, "content-location": "/c"}}
    head = response_from(json.dumps(answer).encode()).head
    expected = f"x-a: location: /b\r\nlocation: {sent}\r\ncontent-location: /c\r\n".encode() + JSON
    assert located(head, f"/{HASH}", "f.example.org") == expected


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b'"plain"', b"plain"),
        (b"null", b"null"),
        (b"[1, 2]", b"[1, 2]"),
        (b' {"a": 1}', b' {"a": 1}'),
        (b"3.5", b"3.5"),
        (b'{"headers": 5}', b'{"headers": 5}'),
        (b'"\\u00fc"', "ü".encode()),
    ],
)
def test_plain_values(answer: bytes, body: bytes) -> None:
    """Anything without a statusCode is the body, as JSON; a string comes without its quotes."""
    response = response_from(answer)
    assert (response.status, response.head, response.body) == (200, JSON, body)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"not json",
        b'{"statusCode":',
        b'{"statusCode": 99}',
        b'{"statusCode": 101}',
        b'{"statusCode": 600}',
        b'{"statusCode": "abc"}',
        b'{"statusCode": 200.5}',
        b'{"statusCode": null}',
        b'{"statusCode": 200, "headers": {"a b": "c"}}',
        b'{"statusCode": 200, "headers": {"a": "b\\r\\nset-cookie: c=d"}}',
        b'{"statusCode": 200, "headers": {"a": "\\u0000"}}',
        b'{"statusCode": 200, "headers": {"a": []}}',
        b'{"statusCode": 200, "headers": []}',
        b'{"statusCode": 200, "cookies": [1]}',
        b'{"statusCode": 200, "cookies": ["a\\nb"]}',
        b'{"statusCode": 200, "body": "%%", "isBase64Encoded": true}',
        b"[" * 100_000,
        b'{"statusCode": 200, "body": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'"\xff"',
        b'{"statusCode": 200, "body": "\xff"}',
    ],
)
def test_answers_that_cannot_be_sent(answer: bytes) -> None:
    """Garbage, wrong types and split headers never reach a client."""
    with pytest.raises(InvalidAnswer):
        response_from(answer)


def test_a_stream_with_a_prelude() -> None:
    """The prelude says status, headers and cookies; what follows eight zero bytes is the body."""
    response = with_prelude(b'{"statusCode": 206, "headers": {"content-type": "text/plain"}}' + b"\0" * 8 + b"part\0s")
    assert (response.status, response.head, response.body) == (206, b"content-type: text/plain\r\n", b"part\0s")
    for prelude in (b'{"statusCode": 200}', b'{"body": "\xff"}' + b"\0" * 8, b'{"body": ' + b"[" * 99_999 + b"\0" * 8):
        with pytest.raises(InvalidAnswer):
            with_prelude(prelude)


@given(st.binary(max_size=300))
def test_any_answer_is_a_response_or_refused(answer: bytes) -> None:
    """No answer breaks the invoker."""
    try:
        response = response_from(answer)
    except InvalidAnswer:
        return
    assert 200 <= response.status <= 599
    assert b"\r\n\r\n" not in response.head
