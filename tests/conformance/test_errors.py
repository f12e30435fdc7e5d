"""Refusals: who may not, and what may not be, in AWS's words."""

import base64
import http.client
import io
import json
import zipfile
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import boto3
import httpx
import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from .conftest import REGION, ROLE, Account, Create, zipped

FUNCTIONS = "/2015-03-31/functions"


@pytest.fixture
def raw(account: Account) -> "Raw":
    return Raw(account)


class Raw:
    """Requests that are signed and then sent as they are, past all that a client checks."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.http = httpx.Client(trust_env=False)

    def __call__(
        self, method: str, path: str, body: Any = None, *, service: str = "lambda", token: str | None = None, **h: str
    ) -> httpx.Response:
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        request = AWSRequest(method, self.account.endpoint + path, data=data, headers=h)
        pair = self.account.access_key_id, self.account.secret_access_key
        SigV4Auth(Credentials(*pair, token), service, REGION).add_auth(request)
        return self.send(request)

    def send(self, request: AWSRequest) -> httpx.Response:
        prepared = request.prepare()
        return self.http.request(
            prepared.method, prepared.url, content=prepared.body or b"", headers=dict(prepared.headers)
        )


def error(answer: httpx.Response) -> tuple[int, str, Any]:
    document = answer.json()
    assert answer.headers["x-amzn-requestid"]
    return answer.status_code, answer.headers["x-amzn-errortype"], document.get("message", document.get("Message"))


def test_without_a_signature(raw: Raw) -> None:
    """Nothing is told, not even whether there is such a path."""
    for path in (FUNCTIONS, "/2015-03-31/nothing", "/2099-01-01/functions"):
        answer = raw.http.get(raw.account.endpoint + path)
        assert error(answer) == (403, "MissingAuthenticationTokenException", "Missing Authentication Token")


def test_signatures_that_are_wrong(raw: Raw) -> None:
    """A bearer key is no signature; another secret, an unknown key, a token of elsewhere, another service's."""
    bearer = raw.http.get(raw.account.endpoint + FUNCTIONS, headers={"authorization": f"Bearer {raw.account.key}"})
    assert error(bearer)[:2] == (403, "IncompleteSignatureException")
    other = Raw(raw.account._replace(secret_access_key="x" * 40))
    status, code, text = error(other("GET", FUNCTIONS))
    assert (status, code) == (403, "InvalidSignatureException")
    assert text.startswith("The request signature we calculated does not match the signature you provided.")
    for key in ("LTNAAAAAAAAAAAAAAAAA", "AKIAIOSFODNN7EXAMPLE"):
        unknown = Raw(raw.account._replace(access_key_id=key))("GET", FUNCTIONS)
        assert error(unknown) == (
            403, "UnrecognizedClientException", "The security token included in the request is invalid."
        )  # fmt: skip
    assert error(raw("GET", FUNCTIONS, token="of-elsewhere"))[:2] == (403, "UnrecognizedClientException")
    assert error(raw("GET", FUNCTIONS, service="s3")) == (
        403, "InvalidSignatureException", "Credential should be scoped to correct service: 'lambda'. "
    )  # fmt: skip


def test_old_signatures_expire(raw: Raw) -> None:
    """After five minutes, and nobody can send one again with another date."""
    request = AWSRequest("GET", raw.account.endpoint + FUNCTIONS)
    old = (datetime.now(UTC) - timedelta(minutes=6)).strftime("%Y%m%dT%H%M%SZ")

    class Late(SigV4Auth):
        def _modify_request_before_signing(self, request: Any) -> None:
            request.context["timestamp"] = old
            super()._modify_request_before_signing(request)

    Late(Credentials(*raw.account[1:3]), "lambda", REGION).add_auth(request)
    status, code, text = error(raw.send(request))
    assert (status, code) == (403, "InvalidSignatureException")
    assert text.startswith(f"Signature expired: {old} is now earlier than ")


def test_presigned_requests(raw: Raw) -> None:
    """The signature in the query, as `aws lambda` never does and some programs do."""
    request = AWSRequest("GET", f"{raw.account.endpoint}{FUNCTIONS}?MaxItems=1")
    SigV4QueryAuth(Credentials(*raw.account[1:3]), "lambda", REGION, expires=60).add_auth(request)
    assert raw.http.get(request.url).status_code == 200
    assert raw.http.get(request.url + "&MaxItems=2").status_code == 403


def test_revoked_keys_sign_no_more(server: Any, account: Account) -> None:
    """At once."""
    admin = {"authorization": f"Bearer {account.key}"}
    made = httpx.post(f"{account.endpoint}/api/keys", json={}, headers=admin, trust_env=False).json()
    pair = made["aws_access_key_id"], made["aws_secret_access_key"]
    raw = Raw(account._replace(access_key_id=pair[0], secret_access_key=pair[1]))
    assert raw("GET", FUNCTIONS).status_code == 200
    httpx.delete(f"{account.endpoint}/api/keys/{made['id']}", headers=admin, trust_env=False).raise_for_status()
    assert error(raw("GET", FUNCTIONS))[:2] == (403, "UnrecognizedClientException")


def test_other_accounts_functions_are_not_to_be_seen(
    client: Any, account: Account, create: Create, server: Any
) -> None:
    """Each workspace is an account; an ARN of another one is denied, a region of elsewhere holds nothing."""
    create("mine", wait=False)
    admin = (server.data / "admin").read_text().strip()
    made = httpx.post(
        f"{account.endpoint}/api/keys", json={}, headers={"authorization": f"Bearer {admin}"}, trust_env=False
    ).json()
    other = boto3.client(
        "lambda", endpoint_url=account.endpoint, region_name=REGION,
        aws_access_key_id=made["aws_access_key_id"], aws_secret_access_key=made["aws_secret_access_key"],
        config=Config(retries={"max_attempts": 1}),
    )  # fmt: skip
    with pytest.raises(other.exceptions.ResourceNotFoundException):
        other.get_function(FunctionName="mine")
    with pytest.raises(ClientError) as refused:
        other.get_function(FunctionName=account.arn("mine"))
    assert refused.value.response["Error"]["Code"] == "AccessDeniedException"
    with pytest.raises(client.exceptions.ResourceNotFoundException) as refused:
        client.get_function(FunctionName=account.arn("mine").replace(REGION, "eu-west-1"))
    assert refused.value.response["Error"]["Message"] == (
        f"Functions from 'eu-west-1' are not reachable in this region ('{REGION}')"
    )


def test_unknown_operations(raw: Raw) -> None:
    """404 as of an operation that nobody has, and never 500."""
    for method, path in (
        ("GET", "/2015-03-31/nothing"),
        ("GET", "/2099-01-01/functions"),
        ("PATCH", FUNCTIONS),
        ("GET", "/2025-11-30/capacity-providers"),
        ("POST", f"{FUNCTIONS}/f/unknown"),
        ("GET", f"{FUNCTIONS}/%FF%FE/x/y/z"),
        ("POST", "/2025-12-01/durable-executions/x/stop"),
    ):
        answer = raw(method, path)
        assert (answer.status_code, answer.headers["x-amzn-errortype"]) == (404, "UnknownOperationException"), path


def test_constraints_of_the_model(raw: Raw) -> None:
    """All that is wrong at once, in AWS's words."""
    asked = {"FunctionName": "v", "Role": "no arn", "Code": {}, "Timeout": 0, "MemorySize": 99_999_999}
    status, code, text = error(raw("POST", FUNCTIONS, asked))
    assert (status, code) == (400, "ValidationException")
    role = r"arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+"
    start, *rest = text.split("; ")
    assert start.startswith("3 validation errors detected: Value ")
    assert sorted([start.removeprefix("3 validation errors detected: "), *rest]) == [
        "Value '0' at 'timeout' failed to satisfy constraint: Member must have value greater than or equal to 1",
        "Value '99999999' at 'memorySize' failed to satisfy constraint: Member must have value less than or equal to "
        "32768",
        f"Value 'no arn' at 'role' failed to satisfy constraint: Member must satisfy regular expression pattern: "
        f"{role}",
    ]
    status, code, text = error(raw("POST", FUNCTIONS, {"FunctionName": "v"}))
    assert text == (
        "2 validation errors detected: Value null at 'role' failed to satisfy constraint: Member must not be null; "
        "Value null at 'code' failed to satisfy constraint: Member must not be null"
    )
    status, code, text = error(raw("GET", f"{FUNCTIONS}?MaxItems=0"))
    assert text == (
        "1 validation error detected: Value '0' at 'maxItems' failed to satisfy constraint: Member must have value "
        "greater than or equal to 1"
    )
    asked = {"FunctionName": "v", "Role": ROLE, "Code": {}, "Architectures": ["arm64", "x86_64"]}
    assert "Value '[arm64, x86_64]' at 'architectures'" in error(raw("POST", FUNCTIONS, asked))[2]


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b'"x"', b'{"FunctionName": 7}', b'{"FunctionName": "f", "Tags": []}',
     b'{"FunctionName": "f", "Timeout": "9"}', b'{"FunctionName": "f", "Publish": "yes"}', b"\xff",
     b'{"FunctionName": "\\ud800"}', b"[" * 50_000],
)  # fmt: skip
def test_wrong_types(raw: Raw, body: bytes) -> None:
    """400, whatever it is."""
    assert error(raw("POST", FUNCTIONS, body))[:2] == (400, "SerializationException")


def refused(client: Any, **asked: Any) -> str:
    given = {"FunctionName": "f", "Runtime": "python3.12", "Role": ROLE, "Handler": "app.handler"}
    with pytest.raises(client.exceptions.InvalidParameterValueException) as exc:
        client.create_function(**{**given, "Code": {"ZipFile": zipped()}, **asked})
    return str(exc.value.response["Error"]["Message"])


def test_handlers_of_any_characters(client: Any, create: Any) -> None:
    """They are taken and shown as they are; one that is not there is the function's error, in AWS's words. Few are
    refused at once, with the reason."""
    function = create("handlers", Handler="größe\\$(x)/.hidden.handler")
    assert function["Handler"] == "größe\\$(x)/.hidden.handler"
    for handler, error_type in (
        ("app.$LATEST", "Runtime.HandlerNotFound"),
        ("a\\b.handler", "Runtime.ImportModuleError"),
        ("処理", "Runtime.MalformedHandlerName"),
    ):
        client.update_function_configuration(FunctionName="handlers", Handler=handler)
        client.get_waiter("function_updated_v2").wait(FunctionName="handlers", WaiterConfig={"Delay": 1})
        assert client.get_function_configuration(FunctionName="handlers")["Handler"] == handler
        answer = client.invoke(FunctionName="handlers")
        assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
        assert json.loads(answer["Payload"].read())["errorType"] == error_type
    for handler in ("../app.handler", "/etc/app.handler", "-m.app", "app\x01.handler"):
        assert "no '..' as a folder" in refused(client, Handler=handler)


def test_what_lambda_itself_refuses(client: Any) -> None:
    """InvalidParameterValueException and its texts."""
    assert refused(client, FunctionName="n" * 65).endswith(
        "at 'functionName' failed to satisfy constraint: Member must have length less than or equal to 64"
    )
    text = refused(client, Runtime="cobol85")
    assert text.startswith(
        "Value cobol85 at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: ["
    )
    assert "python3.12" in text
    assert text.endswith("] or be a valid ARN")
    bad = "Could not unzip uploaded file. Please check your file, then try to upload again."
    assert refused(client, Code={"ZipFile": b"no zip"}) == bad
    assert refused(client, Code={"ZipFile": b"PK\x03\x04 and no more"}) == bad
    with pytest.raises(ClientError) as denied:
        client.create_function(
            FunctionName="x", Runtime="python3.12", Role=ROLE, Handler="app.handler",
            Code={"S3Bucket": "bucket", "S3Key": "key"},
        )  # fmt: skip
    error = denied.value.response["Error"]
    assert error["Code"] == "AccessDeniedException"
    assert error["Message"].startswith("Your access has been denied by S3, please make sure your request credentials")
    start = (
        "Lambda was unable to configure your environment variables because the environment variables you have provided"
    )
    variables = {"LONG": "x" * 5000}
    assert refused(client, Environment={"Variables": variables}) == (
        f"{start} exceeded the 4KB limit. String measured: " + json.dumps(variables, separators=(",", ":"))
    )
    assert refused(client, Environment={"Variables": {"AWS_REGION": "x", "OK": "y"}}) == (
        f"{start} contains reserved keys that are currently not supported for modification. Reserved keys used in this "
        "request: AWS_REGION"
    )
    assert refused(client, MemorySize=10_241) == (
        "'MemorySize' value failed to satisfy constraint: Member must have value less than or equal to 10240"
    )
    with pytest.raises(ClientError) as long:
        client.create_function(
            FunctionName="x", Runtime="python3.12", Role=ROLE, Handler="app.handler", Code={"ZipFile": zipped()},
            Timeout=901,
        )  # fmt: skip
    assert (long.value.response["Error"]["Code"], long.value.response["Error"]["Message"]) == (
        "ValidationException",
        "1 validation error detected: Value '901' at 'timeout' failed to satisfy constraint: Member must have value "
        "less than or equal to 900",
    )
    assert refused(client, Tags={f"t{n}": "" for n in range(51)}) == "Number of tags exceeds resource tag limit."
    assert refused(client, ImageConfig={"Command": ["app.handler"]}) == (
        "Please don't provide ImageConfig when creating a function with packageType Zip."
    )
    layer = "arn:aws:lambda:us-east-1:123456789012:layer:none:1"
    assert layer in refused(client, Layers=[layer])
    for setting in (
        {"VpcConfig": {"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}},
        {"KMSKeyArn": "arn:aws:kms:us-east-1:123456789012:key/x"},
        {"PackageType": "Image", "Code": {"ImageUri": "x"}},
        {"SnapStart": {"ApplyOn": "PublishedVersions"}},
    ):
        assert "is not offered by this installation." in refused(client, **setting)


def test_unzipped_size(client: Any) -> None:
    """What comes out counts, not what is sent."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(3):
            archive.writestr(f"{number}", b"\0" * 90_000_000)
    text = refused(client, Code={"ZipFile": whole.getvalue()})
    assert text == "Unzipped size must be smaller than 262144000 bytes"


def test_too_large_a_request(raw: Raw) -> None:
    """Refused by its length, before it is read."""
    request = AWSRequest("POST", raw.account.endpoint + FUNCTIONS, data=b"")
    SigV4Auth(Credentials(*raw.account[1:3]), "lambda", REGION).add_auth(request)
    where = urlsplit(raw.account.endpoint)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)
    connection.putrequest("POST", FUNCTIONS)
    for name, value in {**dict(request.prepare().headers), "Content-Length": "70167212"}.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    assert (answer.status, answer.headers["x-amzn-ErrorType"]) == (413, "RequestEntityTooLargeException")
    text = "Request must be smaller than 70167211 bytes for the CreateFunction operation"
    assert json.load(answer)["message"] == text
    connection.close()


def test_names_that_exist(client: Any, create: Create) -> None:
    create("twice", wait=False)
    with pytest.raises(client.exceptions.ResourceConflictException) as exc:
        create("twice", wait=False)
    assert exc.value.response["Error"]["Message"] == "Function already exist: twice"
    assert exc.value.response["Type"] == "User"


def test_identity(account: Account) -> None:
    """What the CLI and Terraform ask of STS and IAM on the way."""
    session = account.session()
    sts = session.client("sts", endpoint_url=account.endpoint, config=Config(retries={"max_attempts": 1}))
    assert sts.get_caller_identity()["Account"] == account.account_id
    with pytest.raises(ClientError) as exc:
        sts.get_session_token()
    assert exc.value.response["Error"]["Code"] == "InvalidAction"
    iam = session.client("iam", endpoint_url=account.endpoint, config=Config(retries={"max_attempts": 1}))
    assert iam.get_role(RoleName="lambda")["Role"]["Arn"] == f"arn:aws:iam::{account.account_id}:role/lambda"
    assert iam.list_role_policies(RoleName="lambda")["PolicyNames"] == []
    assert iam.list_attached_role_policies(RoleName="lambda")["AttachedPolicies"] == []
    answer = httpx.post(f"{account.endpoint}/", data={"Action": "GetCallerIdentity"}, trust_env=False)
    assert answer.status_code == 401


def test_null_is_nothing(raw: Raw, account: Account) -> None:
    """A member that is null is as one that is left out, at any depth; a variable that is null is refused."""
    code = {"ZipFile": base64.b64encode(zipped("def handler(event, context): pass")).decode(), "S3Bucket": None}
    made = {"FunctionName": "nulls", "Role": ROLE, "Runtime": "python3.12", "Handler": "app.handler"}
    logging = {"LogFormat": None, "LogGroup": None, "ApplicationLogLevel": None}
    nulls = {"LoggingConfig": logging, "TracingConfig": {"Mode": None}, "VpcConfig": None, "DeadLetterConfig": {}}
    answer = raw("POST", FUNCTIONS, {**made, **nulls, "Code": code, "Environment": {"Variables": None}})
    assert answer.status_code == 201, answer.text
    assert answer.json()["LoggingConfig"] == {"LogFormat": "Text", "LogGroup": "/aws/lambda/nulls"}
    answer = raw("PUT", f"{FUNCTIONS}/nulls/configuration", {"Environment": {"Variables": {"A": None}}})
    assert error(answer)[1] == "ValidationException"
    assert "'environment.variables' failed to satisfy constraint: Member must not be null" in error(answer)[2]
    answer = raw("PUT", f"{FUNCTIONS}/nulls/configuration", {**nulls, "Layers": [None]})
    assert error(answer)[1] == "ValidationException"
    answer = raw("GET", f"{FUNCTIONS}/nulls/configuration")
    assert (answer.status_code, answer.json()["Environment"]) == (200, {"Variables": {}})
