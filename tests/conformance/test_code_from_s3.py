"""Code and layers in buckets, by boto3 and the command line, with the S3 server that the cluster's tests have."""

import base64
import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex
from typing import Any

import boto3
import httpx
import pytest
from botocore.exceptions import ClientError
from cluster_stores import ClusterStores
from running_lateen import LATEEN, Running, Start, clean_environment

from .conftest import CLIENT, REGION, ROLE, Account, checked, new_account, zipped

pytestmark = pytest.mark.cluster

DENIED = (
    "Your access has been denied by S3, please make sure your request credentials have permission to GetObject for {}. "
    "S3 Error Code: AccessDenied. S3 Error Message: Access Denied"
)
TEMPLATE = """
Transform: AWS::Serverless-2016-10-31
Parameters:
  Bucket: {Type: String}
Resources:
  Words:
    Type: AWS::Serverless::LayerVersion
    Properties: {ContentUri: !Sub "s3://${Bucket}/team/layer.zip", LayerName: sam-words}
  Uri:
    Type: AWS::Serverless::Function
    Properties: {FunctionName: sam-uri, Runtime: python3.12, Handler: app.handler,
                 CodeUri: !Sub "s3://${Bucket}/team/app.zip", Layers: [!Ref Words]}
  Mapping:
    Type: AWS::Serverless::Function
    Properties: {FunctionName: sam-mapping, Runtime: python3.12, Handler: app.handler,
                 CodeUri: {Bucket: !Ref Bucket, Key: team/app.zip}}
  Plain:
    Type: AWS::Lambda::Function
    Properties: {FunctionName: sam-plain, Runtime: python3.12, Handler: app.handler,
                 Code: {S3Bucket: !Ref Bucket, S3Key: team/app.zip}}
"""


@pytest.fixture(scope="module")
def server(start: Start, cluster_stores: ClusterStores, tmp_path_factory: pytest.TempPathFactory) -> Running:
    """`lateen up` where AWS's variables name the S3 server."""
    return start(tmp_path_factory.mktemp("lateen") / "data", environment=cluster_stores.environment)


@pytest.fixture(scope="module")
def account(server: Running) -> Account:
    return new_account(server, "team")


@pytest.fixture(scope="module")
def client(account: Account) -> Iterator[Any]:
    with checked(account.session().client("lambda", endpoint_url=account.endpoint, config=CLIENT)) as client:
        yield client


@pytest.fixture(scope="module")
def s3(cluster_stores: ClusterStores) -> Any:
    session = boto3.Session(cluster_stores.access_key, cluster_stores.secret_key, region_name=REGION)
    return session.client("s3", endpoint_url=cluster_stores.s3_endpoint)


@pytest.fixture(scope="module")
def bucket(s3: Any, server: Running) -> str:
    """A bucket of which the workspace `team` may take what is below `team`."""
    name = f"packages-{token_hex(6)}"
    s3.create_bucket(Bucket=name)
    s3.put_object(Bucket=name, Key="team/app.zip", Body=zipped())
    s3.put_object(Bucket=name, Key="team/layer.zip", Body=zipped("WORD = 1\n", "python/shared.py"))
    s3.put_object(Bucket=name, Key="teams/app.zip", Body=zipped())
    shown = lateen(server, "workspace", "update", "team", "--code-bucket", f"s3://{name}/team")
    assert shown["code_buckets"] == [f"{name}/team"]
    return name


def run(server: Running, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    given = clean_environment(LATEEN_ENDPOINT=server.endpoint, LATEEN_DATA=str(server.data), **environment)
    return subprocess.run([LATEEN, *words], env=given, capture_output=True, text=True, timeout=90)


def lateen(server: Running, *words: str, **environment: str) -> Any:
    done = run(server, *words, "--output", "json", **environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refused(call: Any, **given: Any) -> tuple[int, str, str]:
    """Status, code and text."""
    with pytest.raises(ClientError) as found:
        call(**given)
    response = found.value.response
    error = response["Error"]
    return response["ResponseMetadata"]["HTTPStatusCode"], error["Code"], error["Message"]


def new(name: str, **code: Any) -> dict[str, Any]:
    return {"FunctionName": name, "Runtime": "python3.12", "Role": ROLE, "Handler": "app.handler", "Code": code}


def sha256(content: bytes) -> str:
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


def test_a_function_from_first_to_last(client: Any, s3: Any, bucket: str) -> None:
    """Created, called, updated, published; what is shown of its code is what lay in the bucket, and can be fetched."""
    made = client.create_function(**new("first", S3Bucket=bucket, S3Key="team/app.zip"))
    assert (made["CodeSha256"], made["CodeSize"]) == (sha256(zipped()), len(zipped()))
    client.get_waiter("function_active_v2").wait(FunctionName="first", WaiterConfig={"Delay": 1})
    answer = client.invoke(FunctionName="first", Payload=b'{"word": 1}')
    assert json.load(answer["Payload"]) == {"word": 1}
    second = zipped("def handler(event, context):\n    return 2\n")
    s3.put_object(Bucket=bucket, Key="team/second.zip", Body=second)
    place = {"S3Bucket": bucket, "S3Key": "team/second.zip"}
    dry = client.update_function_code(FunctionName="first", DryRun=True, **place)
    assert dry["CodeSha256"] == sha256(second)
    assert refused(client.update_function_code, FunctionName="first", DryRun=True, **place | {"S3Key": "team/x"})[
        1
    ] == ("InvalidParameterValueException")
    changed = client.update_function_code(FunctionName="first", Publish=True, **place)
    assert (changed["Version"], changed["CodeSha256"]) == ("1", sha256(second))
    client.get_waiter("function_updated_v2").wait(FunctionName="first", WaiterConfig={"Delay": 1})
    s3.delete_object(Bucket=bucket, Key="team/second.zip")
    assert json.load(client.invoke(FunctionName="first")["Payload"]) == 2
    code = client.get_function(FunctionName="first", Qualifier="1")["Code"]
    assert code["RepositoryType"] == "S3"
    assert httpx.get(code["Location"], trust_env=False).content == second


def test_a_layer(client: Any, bucket: str) -> None:
    content = zipped("WORD = 1\n", "python/shared.py")
    place = {"S3Bucket": bucket, "S3Key": "team/layer.zip"}
    made = client.publish_layer_version(LayerName="words", Content=place)["Content"]
    assert (made["CodeSha256"], made["CodeSize"]) == (sha256(content), len(content))
    shown = client.get_layer_version(LayerName="words", VersionNumber=1)["Content"]
    assert httpx.get(shown["Location"], trust_env=False).content == content
    assert refused(client.publish_layer_version, LayerName="words", Content=place | {"S3Key": "team/none"}) == (
        400,
        "InvalidParameterValueException",
        "Error occurred while GetObject. S3 Error Code: NoSuchKey. S3 Error Message: The specified key does not exist.",
    )


def test_what_lambda_refuses(client: Any, s3: Any, bucket: str) -> None:
    """In its words; what is not listed is denied as it is where a caller's own rights decide."""

    def told(**code: Any) -> tuple[int, str, str]:
        return refused(client.create_function, **new("refused", **code))

    invalid = 400, "InvalidParameterValueException"
    assert told(S3Bucket=bucket, S3Key="team/none.zip") == (
        *invalid,
        "Error occurred while GetObject. S3 Error Code: NoSuchKey. S3 Error Message: The specified key does not exist.",
    )
    for place in ({"S3Bucket": bucket, "S3Key": "teams/app.zip"}, {"S3Bucket": "lateen", "S3Key": "team/app.zip"}):
        status, code, text = told(**place)
        assert (status, code) == (403, "AccessDeniedException")
        assert text.startswith(
            DENIED.format(f"{place['S3Bucket']}/{place['S3Key']}") + ". The workspace 'team' may not "
        )
    assert told(S3Bucket=bucket, S3Key="team/../teams/app.zip")[:2] == invalid
    s3.put_object(Bucket=bucket, Key="team/text", Body=b"def handler(event, context): pass")
    assert told(S3Bucket=bucket, S3Key="team/text")[2].startswith("Could not unzip uploaded file.")
    assert told(S3Bucket=bucket) == (*invalid, "Please provide a source for function code.")
    assert told(ZipFile=zipped(), S3Bucket=bucket, S3Key="team/app.zip") == (
        *invalid, "Please do not provide other FunctionCode parameters when providing a ZipFile."
    )  # fmt: skip
    assert told(S3Bucket=bucket, S3Key="team/app.zip", S3ObjectStorageMode="REFERENCE")[:2] == invalid
    assert told(S3Bucket="a/b", S3Key="x")[1] == "ValidationException"


def test_a_bucket_that_is_not_there(client: Any, server: Running, bucket: str) -> None:
    """Once it is listed."""
    shown = lateen(server, "workspace", "update", "team", "--code-bucket", f"{bucket}-none")
    assert shown["code_buckets"] == [f"{bucket}/team", f"{bucket}-none"]
    assert refused(client.create_function, **new("refused", S3Bucket=f"{bucket}-none", S3Key="app.zip")) == (
        400,
        "InvalidParameterValueException",
        "Error occurred while GetObject. S3 Error Code: NoSuchBucket. S3 Error Message: The specified bucket does not "
        "exist",
    )
    words = ("--no-code-buckets", "--code-bucket", f"{bucket}/team")
    assert lateen(server, "workspace", "update", "team", *words)["code_buckets"] == [f"{bucket}/team"]


def test_the_command_line(server: Running, account: Account, bucket: str, tmp_path: Path) -> None:
    """A function, a layer, and a template whose code lies in a bucket; again it changes nothing."""
    key = {"LATEEN_TOKEN": account.key}
    made = lateen(
        server, "deploy", f"s3://{bucket}/team/app.zip", "--runtime", "python3.12", "--handler", "app.handler", **key
    )
    assert (made["name"], made["state"]) == ("app", "Active")
    again = lateen(server, "update", "app", "--code", f"s3://{bucket}/team/app.zip", **key)
    assert again["revision"] == made["revision"]
    layer = lateen(server, "layer", "publish", "by-hand", f"s3://{bucket}/team/layer.zip", **key)
    assert layer["version"] == 1
    denied = run(server, "deploy", f"s3://{bucket}/teams/app.zip", "--runtime", "python3.12", **key)
    assert denied.returncode == 1
    assert DENIED.format(f"{bucket}/teams/app.zip") in denied.stderr
    unsaid = run(server, "deploy", f"s3://{bucket}/team/app.zip", "--name", "unsaid", **key)
    assert (unsaid.returncode, "name one with --runtime; here are: " in unsaid.stderr) == (1, True)
    (tmp_path / "template.yaml").write_text(TEMPLATE)
    words = ("deploy", str(tmp_path), "--parameter", f"Bucket={bucket}")
    first, second = lateen(server, *words, **key), lateen(server, *words, **key)
    assert {each["name"]: each["state"] for each in first["functions"].values()} == {
        "sam-uri": "Active", "sam-mapping": "Active", "sam-plain": "Active"
    }  # fmt: skip
    assert (first["left_out"], first["failed"]) == ({}, {})
    for part in ("functions", "layers"):
        assert {each: found.get("revision") for each, found in second[part].items()} == {
            each: found.get("revision") for each, found in first[part].items()
        }
    assert second["layers"]["Words"]["version"] == 1
