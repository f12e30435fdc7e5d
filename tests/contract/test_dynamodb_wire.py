"""DynamoDB's protocol as this project speaks it, held against botocore, which is how AWS speaks it."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError, SSLError
from botocore.session import Session, get_session
from own_certificate import own_certificate
from store_proxy import Answer, refusal, store_proxy

from lateen.adapters.dynamodb_calls import CONFIG
from lateen.adapters.dynamodb_wire import DynamoWire, NotSent

EMPTY = Answer(200, b"{}")
REQUEST = {"TableName": "t", "Key": {"PK": {"S": "naïve \x00 \U0001f600"}, "SK": {"B": b"\x00\xff"}}}


def a_session(token: str | None = None) -> Session:
    made = get_session()
    made.set_credentials("AKIATEST", "secret/with+signs", token)
    return made


def a_wire(url: str | None, session: Session | None = None, region: str = "us-east-1") -> DynamoWire:
    session = session or a_session()
    client = session.create_client("dynamodb", region_name=region, endpoint_url=url, config=CONFIG)
    return DynamoWire(client, session)


@pytest.mark.parametrize("token", [None, "a/session+token=="])
@pytest.mark.parametrize(
    "url", [None, "http://127.0.0.1:8000", "https://stores.example.org:443", "http://proxy/dynamo/"]
)
@pytest.mark.parametrize("region", ["us-east-1", "cn-north-1", "us-gov-west-1"])
def test_signed_as_botocore_signs(url: str | None, token: str | None, region: str) -> None:
    """Headers and signature are the same to the last digit, for any endpoint, region and kind of credentials."""
    session = a_session(token)
    wire = a_wire(url, session, region)
    now = time.gmtime(1_800_000_000)
    headers = wire._signed("GetItem", b'{"a": 1}', now)
    authorization, agent = headers.pop("authorization"), headers.pop("user-agent")
    assert agent.startswith("Botocore/")
    request = AWSRequest("POST", wire._url, headers={**headers}, data=b'{"a": 1}')
    request.context["timestamp"] = time.strftime("%Y%m%dT%H%M%SZ", now)
    auth = SigV4Auth(session.get_credentials().get_frozen_credentials(), "dynamodb", region)
    text = auth.string_to_sign(request, auth.canonical_request(request))
    assert f"Signature={auth.signature(text, request)}" in authorization
    assert f"SignedHeaders={';'.join(headers)}," in authorization
    assert f"Credential=AKIATEST/{auth.credential_scope(request)}," in authorization


def test_aws_s_own_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an endpoint it is AWS's, in its variants, or what botocore's variable says."""
    assert a_wire(None, region="eu-west-1")._url == "https://dynamodb.eu-west-1.amazonaws.com/"
    assert a_wire(None, region="cn-north-1")._host == "dynamodb.cn-north-1.amazonaws.com.cn"
    monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", "true")
    assert a_wire(None)._host == "dynamodb-fips.us-east-1.amazonaws.com"
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://stores:8000")
    monkeypatch.delenv("AWS_USE_FIPS_ENDPOINT")
    assert a_wire(None)._url == "http://stores:8000/"


def test_the_body_is_what_botocore_sends() -> None:
    """The same JSON, binaries as base64, whatever the text."""
    with store_proxy("http://127.0.0.1:9") as proxy:
        proxy.always(EMPTY)
        a_wire(proxy.url).call("GetItem", REQUEST)
        a_session().create_client("dynamodb", region_name="us-east-1", endpoint_url=proxy.url).get_item(**REQUEST)
        ours, theirs = proxy.calls
        assert json.loads(ours.body) == json.loads(theirs.body)
        for name in ("content-type", "host", "x-amz-target"):
            assert ours.headers[name] == theirs.headers[name]


def test_refusals_are_botocore_s() -> None:
    """Code, message and what comes with them, as the rest of the adapter reads them."""
    with store_proxy("http://127.0.0.1:9") as proxy:
        proxy.always(refusal("ConditionalCheckFailedException", message="no", Item={"PK": {"S": "a"}}))
        with pytest.raises(ClientError) as refused:
            a_wire(proxy.url).call("PutItem", {})
        assert refused.value.response["Error"] == {"Code": "ConditionalCheckFailedException", "Message": "no"}
        assert refused.value.response["Item"] == {"PK": {"S": "a"}}


def test_connections_are_kept() -> None:
    """Calls one after the other share one."""
    with store_proxy("http://127.0.0.1:9") as proxy:
        proxy.always(EMPTY)
        wire = a_wire(proxy.url)
        for _ in range(5):
            wire.call("GetItem", REQUEST)
        assert len({call.connection for call in proxy.calls}) == 1


def test_a_certificate_of_an_own_authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`AWS_CA_BUNDLE` names who is believed; without it the server is not, and gets no request."""
    certificate, context = own_certificate(tmp_path)
    with store_proxy("http://127.0.0.1:9", tls=context) as proxy:
        proxy.always(EMPTY)
        with pytest.raises(SSLError):
            a_wire(proxy.url).call("GetItem", REQUEST)
        assert proxy.calls == []
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
        assert a_wire(proxy.url).call("GetItem", REQUEST) == {}


@pytest.mark.parametrize("credentials", ["", "user:p%40ss@"])
def test_an_http_proxy(credentials: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The standard variables name it, with a password if it wants one, and name what is reached without it."""
    with store_proxy("http://127.0.0.1:9") as proxy:
        proxy.always(EMPTY)
        monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("://", f"://{credentials}"))
        monkeypatch.setenv("NO_PROXY", "direct.invalid")
        assert a_wire("http://stores.invalid:8000").call("GetItem", REQUEST) == {}
        (call,) = proxy.calls
        assert call.target == "http://stores.invalid:8000/"
        assert call.headers["host"] == "stores.invalid:8000"
        assert ("proxy-authorization" in call.headers) == bool(credentials)
        with pytest.raises(NotSent):
            a_wire("http://direct.invalid:8000").call("GetItem", REQUEST)
        assert len(proxy.calls) == 1


def test_a_dead_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was sent, so anything may be tried again."""
    with store_proxy("http://127.0.0.1:9") as gone:
        url = gone.url
    monkeypatch.setenv("HTTP_PROXY", url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(NotSent):
        a_wire("http://stores.invalid:8000").call("GetItem", REQUEST)


def test_renewed_credentials_sign() -> None:
    """Credentials are asked for at each call, so that renewed ones are used at once."""
    session: Any = a_session("one")
    with store_proxy("http://127.0.0.1:9") as proxy:
        proxy.always(EMPTY)
        wire = a_wire(proxy.url, session)
        wire.call("GetItem", REQUEST)
        session.get_credentials().token = "two"
        session.get_credentials().secret_key = "other"
        wire.call("GetItem", REQUEST)
        first, second = proxy.calls
        assert [call.headers["x-amz-security-token"] for call in proxy.calls] == ["one", "two"]
        assert first.headers["authorization"] != second.headers["authorization"]
