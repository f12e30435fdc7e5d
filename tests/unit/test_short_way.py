"""What may take the short way: only what every parser reads in one way, whole, and nothing after it."""

import random

import httptools
import pytest

from lateen.gateway.short_way import plain_status, plain_target

HASH = "0123456789abcdef" * 2
LINE = f"/{HASH}/a?b=%20c".encode()
PLAIN = b"POST " + LINE + b" HTTP/1.1\r\nHost: x:80\r\nUser-Agent: t/1 (\xc3\xa9)\r\nContent-Length: 5\r\n\r\nhello"


@pytest.mark.parametrize(
    "request_bytes",
    [
        PLAIN,
        PLAIN.replace(b"POST", b"DELETE"),
        PLAIN.replace(b"Content-Length: 5", b"CONTENT-LENGTH:\t5 "),
        b"GET " + LINE + b" HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST " + LINE + b" HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n",
    ],
)
def test_a_plain_request_is_known(request_bytes: bytes) -> None:
    """With its method and its target as they are."""
    assert plain_target(request_bytes) == (request_bytes.split(b" ")[0], LINE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"hello", b"hell"),
        (b"hello", b"hello!"),
        (b"hello", b"helloGET / HTTP/1.1\r\nhost: x\r\n\r\n"),
        (b"\r\n\r\nhello", b"\r\n"),
        (b"Content-Length: 5\r\n", b""),
        (b"Content-Length: 5", b"Content-Length: +5"),
        (b"Content-Length: 5", b"Content-Length: 5,5"),
        (b"Content-Length: 5", b"Content-Length: 0x5"),
        (b"Content-Length: 5", b"Content-Length: \xb2"),
        (b"Content-Length: 5", b"Content-Length: 5\r\nContent-Length: 5"),
        (b"Content-Length: 5", b"Content-Length : 5"),
        (b"Content-Length: 5", b"Content-Length: 5\r\nTransfer-Encoding: chunked"),
        (b"Content-Length: 5", b"Content-Length: 5\r\ntransfer-encoding:identity"),
        (b"Host: x:80\r\n", b""),
        (b"Host: x:80", b"Host: x:80\r\nhost: y"),
        (b"User-Agent", b"Connection"),
        (b"User-Agent", b"X-Lateen-Source"),
        (b"User-Agent", b"x-LATEEN-signature"),
        (b"User-Agent", b"Expect"),
        (b"User-Agent", b"Upgrade"),
        (b"User-Agent", b"TE"),
        (b"User-Agent", b"Proxy-Authorization"),
        (b"User-Agent", b"User Agent"),
        (b"User-Agent", b" User-Agent"),
        (b"User-Agent: ", b"User-Agent\r\n : "),
        (b"User-Agent: t", b"User-Agent: \0"),
        (b"User-Agent: t", b"User-Agent: \n"),
        (b"User-Agent: t", b"User-Agent: a\rb"),
        (b"User-Agent: t", b"User-Agent: a\x7fb"),
        (b"User-Agent: t", b"User-Agent: " + b"a" * 9000),
        (b"User-Agent: t", b"a: b\r\n" * 120 + b"User-Agent: t"),
        (b"\r\nHost", b"\nHost"),
        (b"POST", b"HEAD"),
        (b"POST", b"CONNECT"),
        (b"POST", b"post"),
        (b"POST", b"\r\nPOST"),
        (b"POST ", b"POST  "),
        (b" HTTP/1.1", b" HTTP/1.0"),
        (b" HTTP/1.1", b"#f HTTP/1.1"),
        (b" HTTP/1.1", b" x HTTP/1.1"),
        (b"POST /", b"POST http://x/"),
    ],
)
def test_anything_else_takes_the_long_way(old: bytes, new: bytes) -> None:
    """What is incomplete, ambiguous, about the connection, or pretends to be ours."""
    assert old in PLAIN
    assert plain_target(PLAIN.replace(old, new, 1)) is None


ANSWER = b"HTTP/1.1 201 Created\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nhello"


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        (b"", b"", 201),
        (b"201 Created", b"404 Not Found", 404),
        (b"hello", b"hell", None),
        (b"hello", b"hello!", None),
        (b"content-length: 5", b"transfer-encoding: chunked", None),
        (b"content-length: 5", b"content-length: 5\r\ncontent-length: 5", None),
        (b"content-length: 5", b"content-length: 5\r\nconnection: close", None),
        (b"content-length: 5", b"content-length: x", None),
        (b"201", b"101", None),
        (b"201", b"999", None),
        (b"HTTP/1.1", b"HTTP/2.0", None),
    ],
)
def test_an_answer_goes_back_as_it_is_only_where_it_is_whole(old: bytes, new: bytes, status: int | None) -> None:
    """One message with its length, in one piece, of which the connection outlives."""
    assert plain_status(ANSWER.replace(old, new, 1)) == status


class Parsed:
    """What llhttp, which servers here and behind use, makes of a request."""

    def __init__(self, data: bytes) -> None:
        self.url, self.body, self.messages = b"", b"", 0
        self.names: list[bytes] = []
        httptools.HttpRequestParser(self).feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.names.append(name.lower())

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.messages += 1


def test_what_is_taken_for_plain_is_one_request_for_the_parser_too() -> None:
    """20,000 damaged requests: whichever passes is read by llhttp as that one request, with that body."""
    chance = random.Random(11)
    pieces = [
        b"\r\n",
        b"\n",
        b"\r",
        b":",
        b" ",
        b"\t",
        b"\0",
        b"\xff",
        b"0",
        b"5",
        b"x-lateen-source: a",
        b"GET / HTTP/1.1",
    ]
    passed = 0
    for _ in range(20_000):
        data = bytearray(PLAIN)
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(data))
            match chance.randrange(3):
                case 0:
                    data[at] = chance.randrange(256)
                case 1:
                    del data[at : at + chance.randint(1, 4)]
                case _:
                    data[at:at] = chance.choice(pieces)
        if (found := plain_target(bytes(data))) is None:
            continue
        passed += 1
        parsed = Parsed(bytes(data))
        assert (parsed.messages, parsed.url) == (1, found[1]), data
        assert bytes(data).endswith(b"\r\n\r\n" + parsed.body)
        assert not {b"connection", b"transfer-encoding", b"x-lateen-source"} & set(parsed.names)
        assert parsed.names.count(b"host") == 1
    assert passed > 1000
