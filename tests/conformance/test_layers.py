"""Layers by boto3: published, listed, shared on paper, removed; and functions that have them."""

import base64
import hashlib
import io
import json
import re
import zipfile
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

from .conftest import REGION, Account, Create, zipped

IMPORTING = "import shared\ndef handler(event, context):\n    return shared.WORD\n"


def layer_zip(word: str = "one") -> bytes:
    return zipped(f"WORD = {word!r}\n", "python/shared.py")


def layer_arn(account: Account, name: str, version: int | None = None) -> str:
    arn = f"arn:aws:lambda:{REGION}:{account.account_id}:layer:{name}"
    return arn if version is None else f"{arn}:{version}"


def publish(client: Any, name: str, word: str = "one", **more: Any) -> dict[str, Any]:
    answer: dict[str, Any] = client.publish_layer_version(LayerName=name, Content={"ZipFile": layer_zip(word)}, **more)
    return answer


def refused(call: Any, **given: Any) -> tuple[int, str, str]:
    """Status, code and text."""
    with pytest.raises(ClientError) as found:
        call(**given)
    response = found.value.response
    error = response["Error"]
    return response["ResponseMetadata"]["HTTPStatusCode"], error["Code"], error["Message"]


def test_publish_and_get_show_what_aws_shows(account: Account, client: Any) -> None:
    """The zip can be fetched from where the answer says."""
    code = layer_zip()
    made = publish(
        client, "shown", Description="What all share", CompatibleRuntimes=["python3.12", "python3.9"],
        CompatibleArchitectures=["x86_64"], LicenseInfo="MIT",
    )  # fmt: skip
    assert made.pop("ResponseMetadata")["HTTPStatusCode"] == 201
    location = made["Content"].pop("Location")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000", made["CreatedDate"])
    assert made == {
        "Content": {"CodeSha256": base64.b64encode(hashlib.sha256(code).digest()).decode(), "CodeSize": len(code)},
        "LayerArn": layer_arn(account, "shown"),
        "LayerVersionArn": layer_arn(account, "shown", 1),
        "Description": "What all share",
        "CreatedDate": made["CreatedDate"],
        "Version": 1,
        "CompatibleRuntimes": ["python3.12", "python3.9"],
        "CompatibleArchitectures": ["x86_64"],
        "LicenseInfo": "MIT",
    }
    assert httpx.get(location, trust_env=False).content == code
    for found in (
        client.get_layer_version(LayerName="shown", VersionNumber=1),
        client.get_layer_version(LayerName=layer_arn(account, "shown"), VersionNumber=1),
        client.get_layer_version_by_arn(Arn=layer_arn(account, "shown", 1)),
    ):
        found.pop("ResponseMetadata")
        found["Content"].pop("Location")
        assert found == made
    plain = publish(client, "plain")
    assert not {"CompatibleRuntimes", "CompatibleArchitectures", "LicenseInfo"} & set(plain)
    assert plain["Description"] == ""


def test_listings_are_paged_and_filtered(account: Account, client: Any) -> None:
    """The newest version that fits, of each layer; versions newest first."""
    for runtimes in (["python3.12"], ["nodejs20.x"]):
        publish(client, "listed", CompatibleRuntimes=runtimes)
    publish(client, "other")
    listed = {each["LayerName"]: each for each in client.list_layers()["Layers"]}
    assert listed["listed"]["LayerArn"] == layer_arn(account, "listed")
    assert listed["listed"]["LatestMatchingVersion"]["Version"] == 2
    fitting = client.list_layers(CompatibleRuntime="python3.12")["Layers"]
    assert {each["LayerName"]: each["LatestMatchingVersion"]["Version"] for each in fitting}["listed"] == 1
    assert "other" not in {each["LayerName"] for each in fitting}
    pages = client.get_paginator("list_layer_versions").paginate(LayerName="listed", PaginationConfig={"PageSize": 1})
    assert [each["Version"] for page in pages for each in page["LayerVersions"]] == [2, 1]
    by_runtime = client.list_layer_versions(LayerName="listed", CompatibleRuntime="python3.12")["LayerVersions"]
    assert [each["Version"] for each in by_runtime] == [1]
    names = [
        each["LayerName"]
        for page in client.get_paginator("list_layers").paginate(PaginationConfig={"PageSize": 1})
        for each in page["Layers"]
    ]
    assert set(names) >= {"listed", "other"}
    assert len(names) == len(set(names))
    assert client.list_layer_versions(LayerName="nobody")["LayerVersions"] == []
    wrong = "1 validation error detected: Value 'none' at 'compatibleRuntime' failed to satisfy constraint: "
    for call, more in ((client.list_layers, {}), (client.list_layer_versions, {"LayerName": "listed"})):
        status, code, text = refused(call, CompatibleRuntime="none", **more)
        assert (status, code) == (400, "ValidationException")
        assert text.startswith(f"{wrong}Member must satisfy enum value set: [")


def test_what_is_not_there(account: Account, client: Any) -> None:
    """Each in AWS's words; deleting it is no error."""
    publish(client, "once")
    client.delete_layer_version(LayerName="once", VersionNumber=1)
    client.delete_layer_version(LayerName="once", VersionNumber=1)
    client.delete_layer_version(LayerName="never", VersionNumber=7)
    absent = (404, "ResourceNotFoundException", "The resource you requested does not exist.")
    assert refused(client.get_layer_version, LayerName="once", VersionNumber=1) == absent
    assert refused(client.get_layer_version, LayerName="never", VersionNumber=1) == absent
    assert refused(client.get_layer_version_by_arn, Arn=layer_arn(account, "once", 1)) == absent
    too_low = (400, "InvalidParameterValueException", "Layer Version Cannot be less than 1.")
    for call in (client.get_layer_version, client.delete_layer_version):
        assert refused(call, LayerName="once", VersionNumber=0) == too_low
        assert refused(call, LayerName="once", VersionNumber=-1) == too_low
    assert publish(client, "once")["Version"] == 2


@pytest.mark.parametrize(
    ("given", "code", "text"),
    [
        ({"Content": {"ZipFile": b"no zip"}}, "InvalidParameterValueException", "Could not unzip uploaded file."),
        ({"Content": {}}, "InvalidParameterValueException", ""),
        ({"LayerName": "a b"}, "ValidationException", "1 validation error detected: Value 'a b' at 'layerName'"),
        ({"LicenseInfo": "x" * 513}, "ValidationException", "1 validation error detected: Value"),
        ({"CompatibleArchitectures": ["vax"]}, "ValidationException", "1 validation error detected: Value"),
        ({"CompatibleRuntimes": ["python3.12"] * 16}, "ValidationException", "1 validation error detected: Value"),
    ],
)
def test_what_is_refused(client: Any, given: dict[str, Any], code: str, text: str) -> None:
    asked = {"LayerName": "refused", "Content": {"ZipFile": layer_zip()}} | given
    status, found, message = refused(client.publish_layer_version, **asked)
    assert (status, found) == (400, code)
    assert message.startswith(text)
    assert client.list_layer_versions(LayerName="refused")["LayerVersions"] == []


def test_policies(account: Account, client: Any) -> None:
    """Statements are added and removed one by one, by who knows the latest revision."""
    publish(client, "shared")
    version: dict[str, Any] = {"LayerName": "shared", "VersionNumber": 1}
    none = (404, "ResourceNotFoundException", "No policy is associated with the given resource.")
    assert refused(client.get_layer_version_policy, **version) == none
    statement = {"StatementId": "all", "Action": "lambda:GetLayerVersion", "Principal": "*"}
    added = client.add_layer_version_permission(**version, **statement)
    assert added["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert json.loads(added["Statement"]) == {
        "Sid": "all",
        "Effect": "Allow",
        "Principal": "*",
        "Action": "lambda:GetLayerVersion",
        "Resource": layer_arn(account, "shared", 1),
    }
    taken = (
        409,
        "ResourceConflictException",
        "The statement id (all) provided already exists. Please provide a new statement id, or remove the existing "
        "statement.",
    )
    assert refused(client.add_layer_version_permission, **version, **statement) == taken
    second = client.add_layer_version_permission(
        **version, **statement | {"StatementId": "one", "Principal": "210987654321"}, RevisionId=added["RevisionId"]
    )
    policy = client.get_layer_version_policy(**version)
    assert policy["RevisionId"] == second["RevisionId"] != added["RevisionId"]
    document = json.loads(policy["Policy"])
    assert [each["Sid"] for each in document["Statement"]] == ["all", "one"]
    assert document["Statement"][1]["Principal"] == {"AWS": "arn:aws:iam::210987654321:root"}
    stale: dict[str, Any] = {"RevisionId": added["RevisionId"]}
    for call, more in (
        (client.add_layer_version_permission, statement | {"StatementId": "late"}),
        (client.remove_layer_version_permission, {"StatementId": "one"}),
    ):
        assert refused(call, **version, **more, **stale)[:2] == (412, "PreconditionFailedException")
    client.remove_layer_version_permission(**version, StatementId="one")
    gone = (404, "ResourceNotFoundException", "Statement one is not found in resource policy.")
    assert refused(client.remove_layer_version_permission, **version, StatementId="one") == gone
    absent = layer_arn(account, "shared", 9)
    assert refused(client.add_layer_version_permission, **version | {"VersionNumber": 9}, **statement) == (
        404, "ResourceNotFoundException", f"Layer version {absent} does not exist.",
    )  # fmt: skip


def test_a_function_has_layers(account: Account, client: Any, create: Create) -> None:
    """Shown with their sizes; replaced as a whole; in the answers of the code that runs."""
    one, two = publish(client, "word", "one"), publish(client, "word2", "two")
    both = [one["LayerVersionArn"], two["LayerVersionArn"]]
    made = create("layered", IMPORTING, Layers=both)
    sizes = {each["LayerVersionArn"]: each["Content"]["CodeSize"] for each in (one, two)}
    assert made["Layers"] == [{"Arn": arn, "CodeSize": sizes[arn]} for arn in both]
    assert json.load(client.invoke(FunctionName="layered")["Payload"]) == "two"
    waiter = client.get_waiter("function_updated_v2")
    client.update_function_configuration(FunctionName="layered", Layers=[both[0]])
    waiter.wait(FunctionName="layered", WaiterConfig={"Delay": 1})
    assert json.load(client.invoke(FunctionName="layered")["Payload"]) == "one"
    client.delete_layer_version(LayerName="word", VersionNumber=1)
    shown = client.update_function_configuration(FunctionName="layered", Timeout=9)
    assert [each["Arn"] for each in shown["Layers"]] == [both[0]]
    waiter.wait(FunctionName="layered", WaiterConfig={"Delay": 1})
    assert json.load(client.invoke(FunctionName="layered")["Payload"]) == "one"
    assert "Layers" not in client.update_function_configuration(FunctionName="layered", Layers=[])
    waiter.wait(FunctionName="layered", WaiterConfig={"Delay": 1})


def test_layers_that_a_function_can_t_have(account: Account, client: Any, create: Create) -> None:
    first, second = publish(client, "twice")["LayerVersionArn"], publish(client, "twice")["LayerVersionArn"]
    absent = layer_arn(account, "nowhere", 1)
    create("bare", wait=True)
    for layers, code, text in (
        ([absent], "InvalidParameterValueException", f"Layer version {absent} does not exist."),
        (
            [first, second],
            "InvalidParameterValueException",
            "Two different versions of the same layer are not allowed to be referenced in the same function. "
            f"{first} and {second} are versions of the same layer.",
        ),
        (
            [layer_arn(account, f"l{number}", 1) for number in range(6)],
            "InvalidParameterValueException",
            "Cannot reference more than 5 layers.",
        ),
    ):
        found = refused(client.update_function_configuration, FunctionName="bare", Layers=layers)
        assert found == (400, code, text)
    malformed = refused(client.update_function_configuration, FunctionName="bare", Layers=["twice"])
    assert malformed[:2] == (400, "ValidationException")


def test_a_bomb_is_refused(client: Any) -> None:
    """By what comes out of it, in AWS's words."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data", bytes(262_144_001))
    assert refused(client.publish_layer_version, LayerName="bomb", Content={"ZipFile": whole.getvalue()}) == (
        400, "InvalidParameterValueException", "Unzipped size must be smaller than 262144000 bytes",
    )  # fmt: skip
