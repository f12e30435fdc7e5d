"""What the command line says where no Lateen answers."""

import ssl
from collections.abc import Callable

import httpx

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
