"""Functions by version and by alias, wherever AWS's tools name one."""

import base64
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .conftest import Account, Create, zipped

SOURCE = """
import os
def handler(event, context):
    return [{number}, os.environ["AWS_LAMBDA_FUNCTION_VERSION"], context.invoked_function_arn]
"""


@pytest.fixture
def two(client: Any, create: Create) -> str:
    """A function with the versions 1 and 2, each with code of its own; the draft is 3."""
    name = "two"
    create(name, SOURCE.format(number=1))
    for number in (2, 3):
        client.publish_version(FunctionName=name, Description=f"number {number - 1}")
        client.update_function_code(FunctionName=name, ZipFile=zipped(SOURCE.format(number=number)))
        client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
    return name


def refused(code: str, status: int, text: str, call: Any, **asked: Any) -> None:
    with pytest.raises(ClientError) as caught:
        call(**asked)
    answer = caught.value.response
    assert (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]) == (code, status)
    assert text in answer["Error"]["Message"]


def answer_of(client: Any, name: str, **asked: Any) -> tuple[list[Any], str]:
    answer = client.invoke(FunctionName=name, Payload=b"{}", **asked)
    assert "FunctionError" not in answer
    return json.loads(answer["Payload"].read()), answer["ExecutedVersion"]


def test_versions_are_shown_and_listed(client: Any, account: Account, two: str) -> None:
    """`$LATEST` first, then by number; each by its qualified ARN, the listing without states."""
    client.get_waiter("published_version_active").wait(
        FunctionName=two, Qualifier="1", WaiterConfig={"Delay": 1, "MaxAttempts": 30}
    )
    whole = client.list_versions_by_function(FunctionName=two)
    assert "NextMarker" not in whole
    listed = whole["Versions"]
    arn = account.arn(two)
    assert [(each["Version"], each["FunctionArn"]) for each in listed] == [
        ("$LATEST", f"{arn}:$LATEST"),
        ("1", f"{arn}:1"),
        ("2", f"{arn}:2"),
    ]
    assert [each["Description"] for each in listed] == ["", "number 1", "number 2"]
    assert len({each["CodeSha256"] for each in listed}) == 3
    assert len({each["RevisionId"] for each in listed}) == 3
    assert not any("State" in each or "LastUpdateStatus" in each for each in listed)
    one = client.get_function_configuration(FunctionName=two, Qualifier="1")
    assert (one["Version"], one["FunctionArn"], one["State"]) == ("1", f"{arn}:1", "Active")
    assert one["CodeSha256"] == listed[1]["CodeSha256"]
    by_arn = client.get_function(FunctionName=f"{arn}:1")["Configuration"]
    assert by_arn["RevisionId"] == one["RevisionId"]
    pages = client.get_paginator("list_versions_by_function").paginate(
        FunctionName=two, PaginationConfig={"PageSize": 1}
    )
    assert [each["Version"] for page in pages for each in page["Versions"]] == ["$LATEST", "1", "2"]


def test_publishing_with_a_change(client: Any, account: Account, create: Create) -> None:
    """A create names the version, an update its ARN too."""
    made = create("at-once", Publish=True)
    arn = account.arn("at-once")
    assert (made["Version"], made["FunctionArn"], made["State"]) == ("1", arn, "Pending")
    changed = client.update_function_code(FunctionName="at-once", ZipFile=zipped("x = 1\n"), Publish=True)
    assert (changed["Version"], changed["FunctionArn"]) == ("2", f"{arn}:2")
    assert len(client.list_versions_by_function(FunctionName="at-once")["Versions"]) == 3


def test_a_version_is_removed(client: Any, account: Account, two: str) -> None:
    """Again is no error. Not under an alias; the draft goes with its function only."""
    arn = account.arn(two)
    client.create_alias(FunctionName=two, Name="live", FunctionVersion="2")
    refused("ResourceConflictException", 409, "live", client.delete_function, FunctionName=two, Qualifier="2")
    refused("InvalidParameterValueException", 400, "$LATEST version cannot be deleted", client.delete_function,
            FunctionName=two, Qualifier="$LATEST")  # fmt: skip
    refused("InvalidParameterValueException", 400, "Deletion of aliases", client.delete_function,
            FunctionName=two, Qualifier="live")  # fmt: skip
    for number in ("1", "1", "9"):
        answer = client.delete_function(FunctionName=two, Qualifier=number)
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    gone = f"Function not found: {arn}:1"
    for call in (client.get_function, client.get_function_configuration):
        refused("ResourceNotFoundException", 404, gone, call, FunctionName=two, Qualifier="1")
    assert answer_of(client, two, Qualifier="2")[0][0] == 2


def test_what_a_call_is_told(client: Any, account: Account, two: str) -> None:
    """By whatever name a version is called, it is told that name, and the caller which version ran."""
    client.create_alias(FunctionName=two, Name="live", FunctionVersion="2")
    arn = account.arn(two)
    for asked, version, number, told in (
        ({}, "$LATEST", 3, arn),
        ({"Qualifier": "$LATEST"}, "$LATEST", 3, f"{arn}:$LATEST"),
        ({"Qualifier": "1"}, "1", 1, f"{arn}:1"),
        ({"Qualifier": "live"}, "2", 2, f"{arn}:live"),
    ):
        answer, executed = answer_of(client, two, **asked)
        assert (answer, executed) == ([number, version, told], version)
    assert answer_of(client, f"{arn}:live") == ([2, "2", f"{arn}:live"], "2")
    tail = client.invoke(FunctionName=two, Qualifier="live", LogType="Tail")["LogResult"]
    assert "Version: 2\n" in base64.b64decode(tail).decode()
    for wrong in ("9", "nothing"):
        refused("ResourceNotFoundException", 404, f"Function not found: {arn}:{wrong}", client.invoke,
                FunctionName=two, Qualifier=wrong)  # fmt: skip


@pytest.mark.parametrize(
    ("code", "status", "asked"),
    [
        ("ResourceNotFoundException", 404, {"FunctionVersion": "9"}),
        ("ResourceNotFoundException", 404, {"FunctionVersion": "1", "RoutingConfig": {"9": 0.5}}),
        ("InvalidParameterValueException", 400, {"FunctionVersion": "$LATEST", "RoutingConfig": {"1": 0.5}}),
        ("InvalidParameterValueException", 400, {"FunctionVersion": "1", "RoutingConfig": {"1": 0.5}}),
        ("InvalidParameterValueException", 400, {"FunctionVersion": "1", "RoutingConfig": {"2": 0.5, "3": 0.1}}),
        ("ValidationException", 400, {"FunctionVersion": "1", "RoutingConfig": {"2": 1.5}}),
        ("ValidationException", 400, {"FunctionVersion": "1", "RoutingConfig": {"$LATEST": 0.5}}),
        ("ValidationException", 400, {"FunctionVersion": "live"}),
        ("ValidationException", 400, {"Name": "1", "FunctionVersion": "1"}),
        ("ValidationException", 400, {"Name": "a b", "FunctionVersion": "1"}),
    ],
)
def test_what_no_alias_can_be(client: Any, two: str, code: str, status: int, asked: dict[str, Any]) -> None:
    if "RoutingConfig" in asked:
        asked = asked | {"RoutingConfig": {"AdditionalVersionWeights": asked["RoutingConfig"]}}
    refused(code, status, "", client.create_alias, **{"FunctionName": two, "Name": "wrong"} | asked)
    assert client.list_aliases(FunctionName=two)["Aliases"] == []
