"""What the command line says where no Lateen answers."""

import ssl
from collections.abc import Callable

import httpx
import pytest

from .conftest import Ended, Server

ASKED = "GET /api/workspaces/w1/functions"


def test_a_certificate_that_is_not_trusted_is_told(lateen: Server, ended: Callable[..., Ended]) -> None:
    """Something answers, so it is not looked for."""
    failed = httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed")
    failed.__cause__ = OSError()
    failed.__cause__.__context__ = ssl.SSLError()
    lateen.answers[ASKED] = failed
    code, _, said = ended("list")
    assert code == 1
    assert said.startswith(f"error: no TLS with http://lateen.example: {failed}\nhint: SSL_CERT_FILE")


def test_a_redirection_says_where_it_leads(lateen: Server, ended: Callable[..., Ended]) -> None:
    """Nothing is sent there: the key is the endpoint's."""
    lateen.answers[ASKED] = httpx.Response(308, headers={"location": "https://lateen.example:8443/api?a=b"})
    code, _, said = ended("list")
    assert code == 1
    assert "leads to https://lateen.example:8443/api?a=b\n" in said
    assert said.endswith("hint: if that is Lateen, set LATEEN_ENDPOINT to https://lateen.example:8443\n")
    assert {request.url.host for request in lateen.asked} == {"lateen.example"}
    assert {request.url.scheme for request in lateen.asked} == {"http"}


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("HTTP_PROXY", "socks5://proxy.example", "hint: HTTP_PROXY"),
        ("HTTPS_PROXY", "foo://x", "hint: HTTP_PROXY"),
        ("SSL_CERT_FILE", "/nope", "hint: SSL_CERT_FILE"),
    ],
)
def test_an_environment_that_no_request_can_be_made_with(
    lateen: Server, ended: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    """With the variables to look at, and no trace."""
    monkeypatch.setenv(name, value)
    code, _, told = ended("list")
    assert (code, lateen.asked) == (1, [])
    assert told.startswith("error: ")
    assert told.splitlines()[1].startswith(said)


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, json={"data": []}),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={"items": ["a"]}),
        httpx.Response(200, json={"items": None}),
    ],
)
@pytest.mark.parametrize("path", ["GET /api/workspaces", ASKED])
def test_another_server_s_json_is_not_lateen_s(
    lateen: Server, ended: Callable[..., Ended], path: str, answer: httpx.Response
) -> None:
    lateen.answers[path] = answer
    code, _, said = ended("list")
    assert code == 1
    assert said.startswith("error: http://lateen.example is not Lateen: ")
    assert said.endswith("\nhint: check LATEEN_ENDPOINT\n")


def test_an_answer_that_can_t_be_unpacked(lateen: Server, ended: Callable[..., Ended]) -> None:
    lateen.answers[ASKED] = lambda _: httpx.Response(200, headers={"content-encoding": "gzip"}, content=b"no gzip")
    code, _, said = ended("list")
    assert code == 1
    assert said.startswith("error: no answer from http://lateen.example: ")


@pytest.mark.parametrize(
    "arguments",
    [("logs", "hello", "--contains", "\udcff"), ("invoke", "hello", "--data", '{"a": "\udcff"}')],
)
def test_an_argument_that_is_no_text(lateen: Server, ended: Callable[..., Ended], arguments: tuple[str, ...]) -> None:
    """As any other misuse."""
    lateen.has_function()
    code, _, said = ended(*arguments)
    assert code == 2
    assert "is not UTF-8\nhint: see 'lateen --help'\n" in said


def test_an_age_that_is_before_all_time(lateen: Server, ended: Callable[..., Ended]) -> None:
    code, _, said = ended("logs", "hello", "--since", "999999d")
    assert (code, lateen.asked) == (2, [])
    assert "'999999d' is neither" in said
