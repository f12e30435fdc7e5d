"""A small blob's one request: addressed and signed as botocore would, and botocore's where there is more to it."""

import hashlib
import time
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.session import Session
from urllib3.exceptions import ProtocolError

from lateen.adapters import s3_wire
from lateen.adapters.s3_wire import S3Wire

KEY = "ws/fn/0123abcd.zip"


class Scripted:
    """A wire whose requests are kept, and answered as is said."""

    def __init__(self, *answers: int | Exception, url: str | None = None, path_style: bool = False, token: str = ""):
        self.session = Session()
        self.session._credentials = Credentials("AKIATEST", "secret", token or None)
        config = Config(s3={"addressing_style": "path" if path_style else "virtual"})
        client = self.session.create_client("s3", region_name="eu-west-1", endpoint_url=url, config=config)
        self.wire = S3Wire(client, self.session)
        self.wire.sdk = SimpleNamespace(put_object=lambda **request: self.left.append(request))
        self.wire._pool = SimpleNamespace(urlopen=self._answer)
        self.answers = list(answers)
        self.sent: list[tuple[str, bytes, dict[str, str]]] = []
        self.left: list[dict[str, Any]] = []
        """To botocore."""

    def _answer(self, _method: str, url: str, *, body: bytes, headers: dict[str, str], **_: Any) -> Any:
        self.sent.append((url, body, headers))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(status=answer, data=b"<Error><Code>SlowDown</Code></Error>")


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_wire, "FIRST_WAIT_S", 0.0)


@pytest.mark.parametrize("token", ["", "a/session+token=="])
@pytest.mark.parametrize(
    ("url", "path_style", "expected"),
    [
        (None, False, "https://code.s3.eu-west-1.amazonaws.com/ws/fn/0123abcd.zip"),
        (None, True, "https://s3.eu-west-1.amazonaws.com/code/ws/fn/0123abcd.zip"),
        ("http://127.0.0.1:7070", True, "http://127.0.0.1:7070/code/ws/fn/0123abcd.zip"),
        ("http://stores.example.org:80/s3/", True, "http://stores.example.org:80/s3/code/ws/fn/0123abcd.zip"),
        ("https://stores.example.org", False, "https://code.stores.example.org/ws/fn/0123abcd.zip"),
    ],
)
def test_signed_as_botocore_signs(url: str | None, path_style: bool, expected: str, token: str) -> None:
    """To the last digit, for each way to address a bucket and each kind of credentials."""
    scripted = Scripted(200, url=url, path_style=path_style, token=token)
    scripted.wire.put("code", KEY, b"body")
    ((sent_to, body, headers),) = scripted.sent
    assert (sent_to, body, scripted.left) == (expected, b"body", [])
    assert headers["x-amz-content-sha256"] == hashlib.sha256(b"body").hexdigest()
    authorization, agent = headers.pop("authorization"), headers.pop("user-agent")
    assert agent.startswith("Botocore/")
    assert headers.pop("host") in expected
    request = AWSRequest("PUT", expected, headers=headers, data=b"body")
    request.context["timestamp"] = headers["x-amz-date"]
    auth = S3SigV4Auth(scripted.session.get_credentials().get_frozen_credentials(), "s3", "eu-west-1")
    text = auth.string_to_sign(request, auth.canonical_request(request))
    assert f"Signature={auth.signature(text, request)}" in authorization
    assert abs(time.time() - time.mktime(time.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ")) + time.timezone) < 60


@pytest.mark.parametrize("passing", [503, 500, 429, ProtocolError("reset")])
def test_what_passes_is_tried_again(passing: int | Exception) -> None:
    """Three times in all; then it is told in botocore's words."""
    scripted = Scripted(passing, passing, 200)
    scripted.wire.put("code", KEY, b"body")
    assert len(scripted.sent) == 3
    scripted = Scripted(passing, passing, passing)
    with pytest.raises((ClientError, EndpointConnectionError)) as refused:
        scripted.wire.put("code", KEY, b"body")
    assert scripted.left == []
    if isinstance(refused.value, ClientError):
        assert refused.value.response["Error"]["Code"] == "SlowDown"


def test_a_refusal_is_final() -> None:
    """What would be refused again is asked once."""
    scripted = Scripted(403)
    with pytest.raises(ClientError):
        scripted.wire.put("code", KEY, b"body")
    assert len(scripted.sent) == 1


@pytest.mark.parametrize("status", [301, 307, 400])
def test_a_bucket_elsewhere_is_found_by_botocore(status: int) -> None:
    """It knows how the right region is told."""
    scripted = Scripted(status)
    scripted.wire.put("code", KEY, b"body")
    assert [request["Bucket"] for request in scripted.left] == ["code"]


@pytest.mark.parametrize(
    ("bucket", "size"), [("a.b", 1), ("arn:aws:s3:us-east-1:1:accesspoint/x", 1), ("code", 2 << 20)]
)
def test_what_is_not_plain_is_botocores(bucket: str, size: int) -> None:
    """Names that a certificate doesn't fit, access points, large blobs."""
    scripted = Scripted()
    scripted.wire.put(bucket, KEY, b"x" * size)
    assert (len(scripted.sent), len(scripted.left)) == (0, 1)
