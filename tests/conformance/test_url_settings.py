"""What function URLs can be told: signatures, CORS, streaming, and URLs of aliases; by boto3 and plain HTTP."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from .conftest import REGION, Account, Create, new_account, zipped

EVENT = "def handler(event, context):\n    return {'statusCode': 200, 'body': event, 'headers': {'x-a': 'b'}}\n"
SAYS = "def handler(event, context):\n    return {'statusCode': 200, 'body': '%s'}\n"
EVERYBODY = {
    "StatementId": "everybody",
    "Action": "lambda:InvokeFunctionUrl",
    "Principal": "*",
    "FunctionUrlAuthType": "NONE",
}
STREAMING = """
const net = require("node:net");
const { once } = require("node:events");

exports.handler = awslambda.streamifyResponse(async (event, stream) => {
  const path = event.rawPath ?? event.path;
  if (path === "/plain") return stream.end("plain");
  if (event.rawPath) {
    stream = awslambda.HttpResponseStream.from(stream, { statusCode: 207, headers: { "x-a": "b" }, cookies: ["c=d"] });
  }
  stream.write("first ");
  const gate = net.connect(Number(process.env.GATE), "127.0.0.1");
  await once(gate, "data");
  gate.destroy();
  if (path === "/broken") throw new TypeError("in the middle");
  stream.end("second");
});
"""

GENEROUS = """
const net = require("node:net");
const { once } = require("node:events");

exports.handler = awslambda.streamifyResponse(async (event, stream) => {
  const gate = net.connect(Number(process.env.GATE), "127.0.0.1");
  await once(gate, "connect");
  for (let number = 0; number < 64; number++) {
    await new Promise((done) => gate.write(".", done));
    stream.write(Buffer.alloc(1024 * 1024, number));
  }
  gate.end();
  stream.end();
});
"""


def eventually(url: str, wanted: int, **asked: Any) -> httpx.Response:
    """The answer once its status is as wanted, or after a minute."""
    end = time.monotonic() + 60
    while True:
        answer = httpx.request(url=url, trust_env=False, timeout=60, **{"method": "GET"} | asked)
        if answer.status_code == wanted or time.monotonic() > end:
            assert answer.status_code == wanted
            return answer
        time.sleep(0.2)


def signed(account: Account, url: str, *, method: str = "GET", body: bytes = b"", service: str = "lambda") -> Any:
    request = AWSRequest(method, url, data=body, headers={"x-more": "a  b"})
    pair = Credentials(account.access_key_id, account.secret_access_key)
    SigV4Auth(pair, service, REGION).add_auth(request)
    return {"method": method, "content": body, "headers": dict(request.headers)}


def test_a_url_that_asks_for_a_signature(client: Any, server: Any, account: Account, create: Create) -> None:
    """Keys of the workspace, by header or by query; nobody else. The function is told who it is, and sees no key."""
    create("signed", EVENT)
    made = client.create_function_url_config(FunctionName="signed", AuthType="AWS_IAM")
    assert made["AuthType"] == "AWS_IAM"
    url = f"{made['FunctionUrl']}a%20b/c?x=1&x=2&y=%2F"
    refused = eventually(url, 403)
    assert refused.headers["x-amzn-errortype"] == "AccessDeniedException"
    assert refused.json() == {
        "Message": "Forbidden. For troubleshooting Function URL authorization issues, see: "
        "https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html"
    }
    event = eventually(url, 200, **signed(account, url, method="POST", body=b"x" * 300_000)).json()
    iam = event["requestContext"]["authorizer"]["iam"]
    assert (iam["accessKey"], iam["accountId"]) == (account.access_key_id, account.account_id)
    assert iam["userArn"] == account.session().client("sts", endpoint_url=account.endpoint).get_caller_identity()["Arn"]
    assert (iam["cognitoIdentity"], event["requestContext"]["authentication"]) == (None, None)
    assert event["requestContext"]["accountId"] == account.account_id
    assert "authorization" not in event["headers"]
    assert (event["rawPath"], event["queryStringParameters"]) == ("/a%20b/c", {"x": "1,2", "y": "/"})
    presigned = AWSRequest("GET", made["FunctionUrl"])
    pair = Credentials(account.access_key_id, account.secret_access_key)
    SigV4QueryAuth(pair, "lambda", REGION, expires=60).add_auth(presigned)
    assert eventually(presigned.url, 200).json()["requestContext"]["authorizer"]["iam"]["accessKey"] == pair.access_key

    def status(wanted: int, code: str, asked: Any) -> None:
        answer = httpx.request(url=url, trust_env=False, timeout=60, **asked)
        assert (answer.status_code, answer.headers.get("x-amzn-errortype")) == (wanted, code)

    status(403, "AccessDeniedException", signed(new_account(server, "strangers"), url))
    status(403, "InvalidSignatureException", signed(account._replace(secret_access_key="wrong"), url))
    status(403, "UnrecognizedClientException", signed(account._replace(access_key_id="AKIAIOSFODNN7EXAMPLE"), url))
    status(403, "InvalidSignatureException", signed(account, url, service="execute-api"))
    status(403, "InvalidSignatureException", signed(account, url, method="POST", body=b"a") | {"content": b"b"})
    client.update_function_url_config(FunctionName="signed", AuthType="NONE")
    client.add_permission(FunctionName="signed", **EVERYBODY)
    assert "authorizer" not in eventually(url, 200).json()["requestContext"]
    client.update_function_url_config(FunctionName="signed", AuthType="AWS_IAM")
    assert eventually(url, 403).headers["x-amzn-errortype"] == "AccessDeniedException"


@pytest.mark.parametrize("auth", ["NONE", "AWS_IAM"])
def test_cors(client: Any, account: Account, create: Create, auth: str) -> None:
    """Shown as it was given, replaced as a whole, obeyed whoever may call; preflights need no signature."""
    name = f"cors-{auth.lower()}"
    create(name, EVENT)
    cors = {
        "AllowOrigins": ["https://a.example", "https://b.example"],
        "AllowMethods": ["GET", "PUT"],
        "AllowHeaders": ["X-One", "authorization"],
        "ExposeHeaders": ["x-a"],
        "MaxAge": 60,
        "AllowCredentials": True,
    }
    made = client.create_function_url_config(FunctionName=name, AuthType=auth, Cors=cors)
    client.add_permission(FunctionName=name, **EVERYBODY)
    assert made["Cors"] == cors == client.get_function_url_config(FunctionName=name)["Cors"]
    url = made["FunctionUrl"]
    asks = {"origin": "https://b.example", "access-control-request-method": "PUT"}
    asks["access-control-request-headers"] = "x-one,authorization"
    client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
    allowed = eventually(url, 200, method="OPTIONS", headers=asks)
    assert allowed.content == b""
    assert {name: value for name, value in allowed.headers.items() if "access-control" in name or name == "vary"} == {
        "access-control-allow-origin": "https://b.example",
        "access-control-allow-methods": "GET,PUT",
        "access-control-allow-headers": "X-One,authorization",
        "access-control-max-age": "60",
        "access-control-allow-credentials": "true",
        "vary": "Origin",
    }
    for wrong in ({"origin": "https://c.example"}, {"access-control-request-method": "DELETE"}):
        answer = eventually(url, 200, method="OPTIONS", headers=asks | wrong)
        assert "access-control-allow-origin" not in answer.headers
    request = signed(account, url)
    request["headers"]["origin"] = "https://a.example"
    answer = eventually(url, 200, **request)
    assert answer.headers["access-control-allow-origin"] == "https://a.example"
    assert answer.headers["access-control-expose-headers"] == "x-a"
    assert answer.headers["x-a"] == "b"
    if auth == "AWS_IAM":
        refused = eventually(url, 403, headers={"origin": "https://a.example"})
        assert refused.headers["access-control-allow-origin"] == "https://a.example"
        return
    changed = client.update_function_url_config(FunctionName=name, Cors={"AllowOrigins": ["*"], "MaxAge": 0})
    assert changed["Cors"] == {"AllowOrigins": ["*"], "MaxAge": 0}
    assert "Cors" not in client.update_function_url_config(FunctionName=name, Cors={})
    assert "Cors" not in client.get_function_url_config(FunctionName=name)


def test_urls_of_aliases(client: Any, account: Account, create: Create) -> None:
    """Each has a URL, a policy and settings of its own; what is done to one is not done to the others."""
    create("aliased", SAYS % "one")
    arn = account.arn("aliased")
    client.publish_version(FunctionName="aliased")
    client.update_function_code(FunctionName="aliased", ZipFile=zipped(SAYS % "two"))
    client.get_waiter("function_updated_v2").wait(FunctionName="aliased", WaiterConfig={"Delay": 1})
    for alias in ("live", "next"):
        client.create_alias(FunctionName="aliased", Name=alias, FunctionVersion="1")
    urls = {}
    for alias, asked in (
        ("live", {"AuthType": "NONE", "Cors": {"AllowOrigins": ["*"]}}),
        ("next", {"AuthType": "AWS_IAM"}),
    ):
        made = client.create_function_url_config(FunctionName="aliased", Qualifier=alias, **asked)
        assert (made["FunctionArn"], made["AuthType"]) == (f"{arn}:{alias}", asked["AuthType"])
        urls[alias] = made["FunctionUrl"]
        with pytest.raises(client.exceptions.ResourceConflictException) as twice:
            client.create_function_url_config(FunctionName="aliased", Qualifier=alias, **asked)
        assert f"[functionArn = {arn}:{alias}]" in twice.value.response["Error"]["Message"]
    assert len({*urls.values()}) == 2
    eventually(urls["live"], 404)
    statement = json.loads(client.add_permission(FunctionName="aliased", Qualifier="live", **EVERYBODY)["Statement"])
    assert statement["Resource"] == f"{arn}:live"
    policy = client.get_policy(FunctionName="aliased", Qualifier="live")["Policy"]
    assert json.loads(policy)["Statement"] == [statement]
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_policy(FunctionName="aliased")
    opened = eventually(urls["live"], 200, headers={"origin": "https://a.example"})
    assert (opened.text, opened.headers["access-control-allow-origin"]) == ("one", "*")
    assert eventually(urls["next"], 200, **signed(account, urls["next"])).text == "one"
    assert eventually(urls["next"], 403).json()["Message"].startswith("Forbidden")
    own = client.create_function_url_config(FunctionName="aliased", AuthType="NONE")["FunctionUrl"]
    eventually(own, 404)
    client.add_permission(FunctionName="aliased", **EVERYBODY)
    assert eventually(own, 200).text == "two"
    assert [each["FunctionUrl"] for each in listed(client)] == [own, urls["live"], urls["next"]]
    assert [each["FunctionUrl"] for each in listed(client, MaxItems=2)] == [own, urls["live"]]
    client.delete_function_url_config(FunctionName="aliased", Qualifier="next")
    eventually(urls["next"], 404)
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_function_url_config(FunctionName="aliased", Qualifier="next")
    client.remove_permission(FunctionName="aliased", Qualifier="live", StatementId="everybody")
    eventually(urls["live"], 404)
    assert eventually(own, 200).text == "two"


def test_rest_and_aws_tools_set_the_same_urls(client: Any, account: Account, create: Create) -> None:
    """What one has set the other one shows, changes and removes; for a function and for an alias."""
    create("shared", SAYS % "shared")
    client.publish_version(FunctionName="shared")
    client.create_alias(FunctionName="shared", Name="live", FunctionVersion="1")
    key = {"authorization": f"Bearer {account.key}"}
    with httpx.Client(base_url=account.endpoint, headers=key, trust_env=False, timeout=60) as rest:
        where = rest.get("/api/workspaces").json()["items"][0]["id"]
        (made,) = rest.get(f"/api/workspaces/{where}/functions", params={"name": "shared"}).json()["items"]
        path = f"/api/functions/{made['id']}/url"
        cors = {"allow_origins": ["https://a.example"], "allow_credentials": True}
        for qualifier, alias in (({}, {}), ({"Qualifier": "live"}, {"alias": "live"})):
            asked = {"auth_type": "NONE", "cors": cors, "invoke_mode": "RESPONSE_STREAM"}
            stored = rest.put(path, params=alias, json=asked).raise_for_status().json()
            at = {"FunctionName": "shared", **qualifier}
            shown = client.get_function_url_config(**at)
            assert (shown["AuthType"], shown["InvokeMode"]) == ("NONE", "RESPONSE_STREAM")
            assert shown["Cors"] == {"AllowOrigins": ["https://a.example"], "AllowCredentials": True}
            assert shown["FunctionUrl"] == f"{stored['url']}/"
            (statement,) = json.loads(client.get_policy(**at)["Policy"])["Statement"]
            assert statement["Resource"] == shown["FunctionArn"]
            assert eventually(stored["url"], 200).text == "shared"
            client.remove_permission(StatementId=statement["Sid"], **at)
            assert not rest.get(path, params=alias).json()["open"]
            eventually(stored["url"], 404)
            client.update_function_url_config(AuthType="AWS_IAM", Cors={}, **at)
            found = rest.get(path, params=alias).json()
            assert (found["auth_type"], found["cors"], found["created_at"]) == ("AWS_IAM", None, stored["created_at"])
            assert rest.delete(path, params=alias).status_code == 204
            with pytest.raises(client.exceptions.ResourceNotFoundException):
                client.get_function_url_config(**at)


def listed(client: Any, **asked: Any) -> Any:
    return client.list_function_url_configs(FunctionName="aliased", **asked)["FunctionUrlConfigs"]


class Gate:
    """Where the function waits until the test goes on."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(60)
        self.port = self._listening.getsockname()[1]

    def open(self) -> None:
        with self._listening.accept()[0] as waiting:
            waiting.sendall(b"!")

    def heard(self) -> socket.socket:
        """The next function that comes here."""
        connection = self._listening.accept()[0]
        connection.settimeout(60)
        return connection

    def close(self) -> None:
        self._listening.close()


@contextlib.contextmanager
def opening(gate: Gate) -> Iterator[None]:
    """Beside what is done meanwhile."""
    beside = threading.Thread(target=gate.open, daemon=True)
    beside.start()
    yield
    beside.join(60)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.close()


def test_streaming(client: Any, create: Create, gate: Gate) -> None:
    """node20's `streamifyResponse`: each piece is here before the function goes on, by URL and by invoke; an error in
    the middle has no end by URL, and is told by invoke. A buffered URL has it all at once."""
    create(
        "streaming",
        Runtime="nodejs20.x",
        Handler="index.handler",
        Code={"ZipFile": zipped(STREAMING, "index.js")},
        Environment={"Variables": {"GATE": str(gate.port)}},
        Timeout=60,
    )
    made = client.create_function_url_config(FunctionName="streaming", AuthType="NONE", InvokeMode="RESPONSE_STREAM")
    assert made["InvokeMode"] == "RESPONSE_STREAM"
    client.add_permission(FunctionName="streaming", **EVERYBODY)
    url = made["FunctionUrl"]
    assert eventually(f"{url}plain", 200).content == b"plain"
    client.get_waiter("function_updated_v2").wait(FunctionName="streaming", WaiterConfig={"Delay": 1})
    with httpx.stream("GET", url, trust_env=False, timeout=60) as answer:
        assert (answer.status_code, answer.headers["x-a"], answer.headers["set-cookie"]) == (207, "b", "c=d")
        pieces = answer.iter_raw()
        assert next(pieces) == b"first "
        gate.open()
        assert b"".join(pieces) == b"second"
    with httpx.stream("GET", f"{url}broken", trust_env=False, timeout=60) as answer:
        pieces = answer.iter_raw()
        assert next(pieces) == b"first "
        gate.open()
        with pytest.raises(httpx.RemoteProtocolError):
            next(pieces)
    for path in ("/whole", "/broken"):
        events = iter(
            client.invoke_with_response_stream(
                FunctionName="streaming", Payload=json.dumps({"path": path}), LogType="Tail"
            )["EventStream"]
        )
        assert next(events) == {"PayloadChunk": {"Payload": b"first "}}
        gate.open()
        *pieces, complete = events
        if path == "/whole":
            assert pieces == [{"PayloadChunk": {"Payload": b"second"}}]
            assert "ErrorCode" not in complete["InvokeComplete"]
        else:
            assert (pieces, complete["InvokeComplete"]["ErrorCode"]) == ([], "TypeError")
            assert json.loads(complete["InvokeComplete"]["ErrorDetails"])["errorMessage"] == "in the middle"
        assert complete["InvokeComplete"]["LogResult"]
    client.update_function_url_config(FunctionName="streaming", InvokeMode="BUFFERED")
    client.get_waiter("function_updated_v2").wait(FunctionName="streaming", WaiterConfig={"Delay": 1})
    with opening(gate):
        whole = httpx.get(url, trust_env=False, timeout=60)
    assert (whole.status_code, whole.text, whole.headers["content-length"]) == (207, "first second", "12")


@pytest.mark.parametrize("way", ["url", "invoke"])
def test_readers_that_are_slow_and_such_that_leave(
    client: Any, account: Account, create: Create, gate: Gate, way: str
) -> None:
    """A function waits for a reader that takes nothing, so nothing between the two fills up. When that one leaves, the
    function goes on to its end, and serves the next."""
    name = f"generous-{way}"
    create(
        name,
        Runtime="nodejs20.x",
        Handler="index.handler",
        Code={"ZipFile": zipped(GENEROUS, "index.js")},
        Environment={"Variables": {"GATE": str(gate.port)}},
        Timeout=60,
    )
    if way == "url":
        url = client.create_function_url_config(FunctionName=name, AuthType="AWS_IAM", InvokeMode="RESPONSE_STREAM")[
            "FunctionUrl"
        ]
        client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
        request = signed(account, url)
    else:
        url = f"{account.endpoint}/2021-11-15/functions/{name}/response-streaming-invocations"
        request = signed(account, url, method="POST", body=b"{}")
    with httpx.stream(url=url, trust_env=False, timeout=60, **request) as answer:
        assert answer.status_code == 200
        with gate.heard() as function:
            told, before = len(function.recv(1)), 0
            while told != before:  # until it gets no further
                before = told
                function.settimeout(2)
                with contextlib.suppress(TimeoutError):
                    told += len(function.recv(64))
            assert told < 48
            answer.close()
            function.settimeout(60)
            while more := function.recv(64):
                told += len(more)
            assert told == 64
    with httpx.stream(url=url, trust_env=False, timeout=60, **request) as answer, gate.heard():
        size = sum(len(part) for part in answer.iter_raw())
    assert 64 * 1024 * 1024 <= size < 65 * 1024 * 1024
