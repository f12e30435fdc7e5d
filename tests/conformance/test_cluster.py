"""AWS's tools against the chart's api: boto3 by its Service, the AWS CLI by the Ingress. The whole suite runs against
embedded Lateen; here is what a cluster could make otherwise: several processes, pods, stores, addresses."""

import base64
import json
import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from lateen_release import Release, eventually

from .conftest import CLIENT, REGION, ROLE, Account, account_of, checked, zipped
from .test_tools import use_aws_cli
from .test_urls import EVERYBODY, status_of

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

HANDLER = """
def handler(event, context):
    print("version", context.function_version)
    return {"version": context.function_version, "path": event.get("rawPath"), "event": event.get("given")}
"""
DELAY = {"Delay": 1, "MaxAttempts": 120}


@pytest.fixture
def account_at(release: Release) -> Iterator[Callable[[str], Account]]:
    """A workspace of the test's own, which goes with it."""
    names: list[str] = []

    def account(endpoint: str) -> Account:
        names.append(f"aws-{secrets.token_hex(3)}")
        return account_of(endpoint, release.token, names[-1])

    yield account
    for name in names:
        (workspace,) = release.api.get("/api/workspaces", params={"name": name}).json()["items"]
        removed = release.api.delete(f"/api/workspaces/{workspace['id']}", params={"force": "true"})
        assert removed.status_code == 204, removed.text


@pytest.fixture
def account(release: Release, account_at: Callable[[str], Account]) -> Account:
    return account_at(release.service_url("api"))


@pytest.fixture
def client(account: Account) -> Iterator[Any]:
    """Every answer is held to the model."""
    with checked(account.session().client("lambda", endpoint_url=account.endpoint, config=CLIENT)) as client:
        yield client


def test_a_function_s_life_by_boto3(client: Any, account: Account, release: Release) -> None:
    """Created, active, invoked with its log, given an event, published, behind an alias and a URL, deleted."""
    one = {"FunctionName": "life"}
    made = client.create_function(
        **one, Runtime="python3.12", Role=ROLE, Handler="app.handler", Code={"ZipFile": zipped(HANDLER)}, Timeout=20
    )
    assert (made["FunctionArn"], made["State"]) == (account.arn("life"), "Pending")
    client.get_waiter("function_active_v2").wait(**one, WaiterConfig=DELAY)

    answer = client.invoke(**one, Payload=b'{"given": 1}', LogType="Tail")
    assert json.loads(answer["Payload"].read()) == {"version": "$LATEST", "path": None, "event": 1}
    tail = base64.b64decode(answer["LogResult"]).decode()
    assert "version $LATEST" in tail
    assert "REPORT RequestId" in tail
    assert client.invoke(**one, InvocationType="DryRun")["StatusCode"] == 204

    accepted = client.invoke(**one, InvocationType="Event", Payload=b"{}")
    assert accepted["StatusCode"] == 202
    request_id = accepted["ResponseMetadata"]["RequestId"]
    with httpx.Client(
        base_url=account.endpoint, headers={"authorization": f"Bearer {account.key}"}, trust_env=False
    ) as http:
        (workspace,) = http.get("/api/workspaces").json()["items"]
        (function,) = http.get(f"/api/workspaces/{workspace['id']}/functions").json()["items"]
        logs = f"/api/functions/{function['id']}/logs"
        eventually(lambda: request_id in http.get(logs).text, "the event has run", 120)

    assert client.publish_version(**one)["Version"] == "1"
    client.get_waiter("published_version_active").wait(**one, Qualifier="1", WaiterConfig=DELAY)
    client.create_alias(**one, Name="live", FunctionVersion="1")
    answer = client.invoke(**one, Qualifier="live")
    assert (answer["ExecutedVersion"], json.loads(answer["Payload"].read())["version"]) == ("1", "1")
    client.update_function_configuration(**one, Environment={"Variables": {"A": "1"}})
    client.get_waiter("function_updated_v2").wait(**one, WaiterConfig=DELAY)
    assert client.get_function_configuration(**one)["Environment"] == {"Variables": {"A": "1"}}

    code = client.get_function(**one)["Code"]["Location"]
    assert httpx.get(code, trust_env=False, timeout=30).content == zipped(HANDLER)

    url = client.create_function_url_config(**one, AuthType="NONE")["FunctionUrl"]
    assert url.startswith(release.ingress)
    client.add_permission(**one, **EVERYBODY)
    assert status_of(f"{url}a/b", 200) == 200
    # A busy node's ingress controller may take no connection for a moment.
    with httpx.Client(transport=httpx.HTTPTransport(retries=5), trust_env=False, timeout=60) as http:
        seen = [http.get(f"{url}a/b", headers={"connection": "close"}) for _ in range(20)]
    assert [(each.status_code, each.json().get("path")) for each in seen] == [(200, "/a/b")] * 20, seen[0].text

    client.delete_function(**one)
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_function(**one)
    assert status_of(url, 404) == 404


STREAMS = """
exports.handler = awslambda.streamifyResponse(async (event, stream) => {
  const signer = event.requestContext?.authorizer?.iam.accessKey ?? "nobody";
  const head = { statusCode: 207, headers: { "x-a": "b", "x-signer": signer } };
  if (event.rawPath) stream = awslambda.HttpResponseStream.from(stream, head);
  stream.write("first ");
  if (event.rawPath === "/quick") return stream.end();
  await new Promise((done) => setTimeout(done, 15000));
  stream.end("second");
});
"""


def test_streams_and_signatures_at_urls(client: Any, account: Account, release: Release) -> None:
    """By the Ingress to the pod, by the gateway, and as an event stream, a piece is here while the next one is not
    made yet. A URL that asks for signatures has no way past the gateway."""
    one = {"FunctionName": "streams"}
    client.create_function(
        **one, Runtime="nodejs20.x", Role=ROLE, Handler="index.handler", Code={"ZipFile": zipped(STREAMS, "index.js")},
        Timeout=60,
    )  # fmt: skip
    cors = {"AllowOrigins": ["https://a.example"], "AllowMethods": ["PUT"]}
    made = client.create_function_url_config(**one, AuthType="NONE", InvokeMode="RESPONSE_STREAM", Cors=cors)
    client.add_permission(**one, **EVERYBODY)
    client.get_waiter("function_updated_v2").wait(**one, WaiterConfig=DELAY)
    url = made["FunctionUrl"]
    path = url.removeprefix(release.ingress)
    preflight = {"origin": "https://a.example", "access-control-request-method": "PUT"}
    for base in (release.ingress, release.gateway):

        def streams(base: str = base) -> bool:
            answer = httpx.get(f"{base}{path}quick", trust_env=False, timeout=60)
            asked = httpx.options(f"{base}{path}", headers=preflight, trust_env=False, timeout=60)
            return (
                answer.status_code == 207
                and "transfer-encoding" in answer.headers
                and asked.headers.get("access-control-allow-origin") == "https://a.example"
            )

        # Where the ingress controller lags, a call may yet meet a pod of before, and the next one a new one.
        eventually(streams, "new pods serve", 60)

    def comes_in_pieces(base: str) -> None:
        with httpx.stream("GET", f"{base}{path}", trust_env=False, timeout=60) as answer:
            assert (answer.status_code, answer.headers["x-a"]) == (207, "b")
            pieces, begin_s = answer.iter_raw(), time.monotonic()
            assert next(pieces) == b"first "
            assert b"".join(pieces) == b"second"
            assert time.monotonic() - begin_s > 5

    # Beside each other, for each takes fifteen seconds.
    with ThreadPoolExecutor() as threads:
        roads = [threads.submit(comes_in_pieces, base) for base in (release.ingress, release.gateway)]
        first, *rest = client.invoke_with_response_stream(**one)["EventStream"]
        assert first == {"PayloadChunk": {"Payload": b"first "}}
        assert rest[0] == {"PayloadChunk": {"Payload": b"second"}}
        for road in roads:
            road.result()

    client.update_function_url_config(**one, AuthType="AWS_IAM")
    for base in (release.ingress, release.gateway):

        def is_told_who_calls(url: str = f"{base}{path}quick") -> bool:
            request = AWSRequest("GET", url)
            pair = Credentials(account.access_key_id, account.secret_access_key)
            SigV4Auth(pair, "lambda", REGION).add_auth(request)
            answer = httpx.get(url, headers=dict(request.headers), trust_env=False, timeout=60)
            return answer.headers.get("x-signer") == account.access_key_id

        eventually(is_told_who_calls, "the gateway is asked", 60)
        unsigned = httpx.get(f"{base}{path}quick", trust_env=False, timeout=60)
        assert (unsigned.status_code, unsigned.headers["x-amzn-errortype"]) == (403, "AccessDeniedException")


def test_the_aws_cli_by_the_ingress(account_at: Callable[[str], Account], release: Release, tmp_path: Path) -> None:
    """Signed for the host that the Ingress is reached by; STS, which is asked at `/`, too."""
    (tmp_path / "code.zip").write_bytes(zipped())
    account = account_at(release.ingress)
    use_aws_cli(account, tmp_path / "code.zip", tmp_path)


def test_a_revoked_pair_signs_no_more(account: Account, release: Release) -> None:
    """In every process of the api, within the five seconds for which one is remembered."""
    session = account.session()
    client = session.client("lambda", endpoint_url=account.endpoint, config=CLIENT)
    assert client.list_functions()["Functions"] == []
    keys = release.api.get("/api/keys").json()["items"]
    (key,) = [each for each in keys if each["aws_access_key_id"] == account.access_key_id]
    assert release.api.delete(f"/api/keys/{key['id']}").status_code == 204

    def is_refused() -> bool:
        try:
            client.list_functions()
        except client.exceptions.ClientError as exc:
            return bool(exc.response["Error"]["Code"] == "UnrecognizedClientException")
        return False

    eventually(lambda: all(is_refused() for _ in range(10)), "no process takes it", 20)
    client.close()
