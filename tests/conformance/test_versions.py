"""Versions, aliases and asynchronous invocations by boto3."""

import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from .conftest import Account, Create, zipped

NUMBER = "def handler(event, context):\n    return [{number}, context.function_version, context.invoked_function_arn]\n"


def logs_of(account: Account, name: str) -> Callable[[], Any]:
    """Reads the function's execution records by REST."""
    rest = httpx.Client(base_url=account.endpoint, headers={"authorization": f"Bearer {account.key}"}, trust_env=False)
    (workspace,) = rest.get("/api/workspaces").json()["items"]
    (function,) = rest.get(f"/api/workspaces/{workspace['id']}/functions", params={"name": name}).json()["items"]
    return lambda: rest.get(f"/api/functions/{function['id']}/logs").json()["items"]


def put_code(client: Any, name: str, number: int, **more: Any) -> Any:
    answer = client.update_function_code(FunctionName=name, ZipFile=zipped(NUMBER.format(number=number)), **more)
    client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
    return answer


def ran(client: Any, name: str, **more: Any) -> Any:
    answer = client.invoke(FunctionName=name, **more)
    assert "FunctionError" not in answer, answer["Payload"].read()
    return json.loads(answer["Payload"].read()), answer["ExecutedVersion"]


def test_versions_are_numbered_and_stay(client: Any, account: Account, create: Create) -> None:
    """A version is what the function was; publishing without a change gives the last one."""
    create("numbered", NUMBER.format(number=1))
    arn = account.arn("numbered")
    first = client.publish_version(FunctionName="numbered", Description="the first")
    assert (first["Version"], first["FunctionArn"], first["Description"]) == ("1", f"{arn}:1", "the first")
    assert first["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert client.publish_version(FunctionName="numbered")["Version"] == "1"
    second = put_code(client, "numbered", 2, Publish=True)
    assert (second["Version"], second["FunctionArn"]) == ("2", f"{arn}:2")
    client.get_waiter("published_version_active").wait(FunctionName="numbered", Qualifier="2")
    pages = client.get_paginator("list_versions_by_function").paginate(
        FunctionName="numbered", PaginationConfig={"PageSize": 1}
    )
    listed = [version for page in pages for version in page["Versions"]]
    assert [version["Version"] for version in listed] == ["$LATEST", "1", "2"]
    assert [version["FunctionArn"] for version in listed] == [f"{arn}:$LATEST", f"{arn}:1", f"{arn}:2"]
    everything = client.list_functions(FunctionVersion="ALL")["Functions"]
    assert [version["Version"] for version in everything] == ["$LATEST", "1", "2"]
    put_code(client, "numbered", 3)
    assert ran(client, "numbered", Qualifier="1") == ([1, "1", f"{arn}:1"], "1")
    assert ran(client, "numbered:2") == ([2, "2", f"{arn}:2"], "2")
    assert ran(client, "numbered")[0][0] == 3
    shown = client.get_function(FunctionName="numbered", Qualifier="1")["Configuration"]
    assert (shown["CodeSha256"], shown["State"]) == (first["CodeSha256"], "Active")
    client.delete_function(FunctionName="numbered", Qualifier="1")
    with pytest.raises(client.exceptions.ResourceNotFoundException) as refused:
        client.get_function(FunctionName="numbered", Qualifier="1")
    assert refused.value.response["Message"] == f"Function not found: {arn}:1"
    assert client.publish_version(FunctionName="numbered")["Version"] == "3"


def test_publish_minds_what_the_caller_knows(client: Any, create: Create) -> None:
    """The code's hash and the revision id."""
    made = create("minded", Publish=True)
    assert (made["Version"], made["FunctionArn"].count(":")) == ("1", 6)
    with pytest.raises(client.exceptions.InvalidParameterValueException) as refused:
        client.publish_version(FunctionName="minded", CodeSha256="x")
    sha256 = made["CodeSha256"]
    assert refused.value.response["Error"]["Message"] == (
        f"CodeSHA256 (x) is different from current CodeSHA256 in $LATEST ({sha256}). Please try again with the "
        "CodeSHA256 in $LATEST."
    )
    with pytest.raises(client.exceptions.PreconditionFailedException):
        client.publish_version(FunctionName="minded", RevisionId="x")
    with pytest.raises(client.exceptions.InvalidParameterValueException) as refused:
        client.delete_function(FunctionName="minded", Qualifier="$LATEST")
    text = "$LATEST version cannot be deleted without deleting the function."
    assert refused.value.response["Error"]["Message"] == text


def test_revision_ids(client: Any, create: Create) -> None:
    """To publish a version changes that of `$LATEST`, to do it again without a change doesn't; an alias changes neither
    of them."""
    create("revisions")

    def of(**at: str) -> str:
        return str(client.get_function_configuration(FunctionName="revisions", **at)["RevisionId"])

    before = of()
    published = client.publish_version(FunctionName="revisions", RevisionId=before)["RevisionId"]
    after = of()
    assert len({before, published, after}) == 3
    client.get_waiter("published_version_active").wait(FunctionName="revisions", Qualifier="1")
    assert of(Qualifier="1") == published
    with pytest.raises(client.exceptions.PreconditionFailedException):
        client.publish_version(FunctionName="revisions", RevisionId=before)
    client.publish_version(FunctionName="revisions", RevisionId=after)
    client.create_alias(FunctionName="revisions", Name="live", FunctionVersion="1")
    assert (of(), of(Qualifier="1")) == (after, published)
    listed = client.list_functions(FunctionVersion="ALL")["Functions"]
    assert {each["Version"]: each["RevisionId"] for each in listed if each["FunctionName"] == "revisions"} == {
        "$LATEST": after,
        "1": published,
    }


def test_aliases(client: Any, account: Account, create: Create) -> None:
    """Made, shown, moved, shared between two versions, removed; and called."""
    create("aliased", NUMBER.format(number=1), Publish=True)
    arn = account.arn("aliased")
    made = client.create_alias(FunctionName="aliased", Name="live", FunctionVersion="1", Description="what is live")
    revision = made.pop("RevisionId")
    del made["ResponseMetadata"]
    shown = {"AliasArn": f"{arn}:live", "Name": "live", "FunctionVersion": "1", "Description": "what is live"}
    assert made == shown
    with pytest.raises(client.exceptions.ResourceConflictException) as refused:
        client.create_alias(FunctionName="aliased", Name="live", FunctionVersion="1")
    assert refused.value.response["Error"]["Message"] == f"Alias already exists: {arn}:live"
    assert ran(client, "aliased:live") == ([1, "1", f"{arn}:live"], "1")
    config = client.get_function(FunctionName="aliased", Qualifier="live")["Configuration"]
    assert (config["FunctionArn"], config["Version"]) == (f"{arn}:live", "1")
    put_code(client, "aliased", 2, Publish=True)
    weights = {"AdditionalVersionWeights": {"2": 0.5}}
    moved = client.update_alias(FunctionName="aliased", Name="live", RoutingConfig=weights, RevisionId=revision)
    assert (moved["RoutingConfig"], moved["FunctionVersion"]) == (weights, "1")
    with pytest.raises(client.exceptions.PreconditionFailedException):
        client.update_alias(FunctionName="aliased", Name="live", Description="late", RevisionId=revision)
    seen, end = set(), time.monotonic() + 60
    while seen != {"1", "2"} and time.monotonic() < end:
        seen.add(ran(client, "aliased", Qualifier="live")[1])
    assert seen == {"1", "2"}
    moved = client.update_alias(FunctionName="aliased", Name="live", FunctionVersion="2", RoutingConfig={})
    assert "RoutingConfig" not in moved
    client.create_alias(FunctionName="aliased", Name="old", FunctionVersion="1")
    assert [alias["Name"] for alias in client.list_aliases(FunctionName="aliased")["Aliases"]] == ["live", "old"]
    of_one = client.list_aliases(FunctionName="aliased", FunctionVersion="1")["Aliases"]
    assert [alias["Name"] for alias in of_one] == ["old"]
    for _ in range(2):
        client.delete_alias(FunctionName="aliased", Name="old")
    with pytest.raises(client.exceptions.ResourceNotFoundException) as missing:
        client.get_alias(FunctionName="aliased", Name="old")
    assert missing.value.response["Message"] == f"Cannot find alias arn: {arn}:old"
    with pytest.raises(client.exceptions.ResourceNotFoundException) as missing:
        client.update_alias(FunctionName="aliased", Name="old", FunctionVersion="1")
    assert missing.value.response["Message"] == f"Alias not found: {arn}:old"
    client.create_alias(FunctionName="aliased", Name="also", FunctionVersion="1", RoutingConfig=weights)
    with pytest.raises(client.exceptions.ResourceConflictException) as refused:
        client.delete_function(FunctionName="aliased", Qualifier="2")
    assert refused.value.response["Error"]["Message"] == (
        "Unable to delete version because the following aliases reference it: [also, live]"
    )


AT_WEIGHTS = "at 'routingConfig.additionalVersionWeights' failed to satisfy constraint: Map "


@pytest.mark.parametrize(
    ("version", "weights", "said"),
    [
        (
            "1",
            {"1": 0.5},
            "Invalid function version 1. Function version 1 is already included in routing configuration.",
        ),
        ("$LATEST", {"1": 0.5}, "$LATEST is not supported for an alias pointing to more than 1 version"),
        ("1", {"2": 0.1, "3": 0.1}, "Number of items in AdditionalVersionWeights cannot be greater than 1"),
        ("1", {"$LATEST": 0.5}, f"{AT_WEIGHTS}keys must satisfy constraint: "),
        ("1", {"2": 1.5}, f"{AT_WEIGHTS}value must satisfy constraint: "),
    ],
    ids=["its own version", "of the draft", "two more", "to the draft", "more than all"],
)
def test_weights_that_cannot_be(
    client: Any, create: Create, version: str, weights: dict[str, float], said: str
) -> None:
    """One other published version, and a part of the calls."""
    create("weighed", NUMBER.format(number=1), Publish=True)
    for number in (2, 3):
        put_code(client, "weighed", number, Publish=True)
    wrong = (client.exceptions.InvalidParameterValueException, client.exceptions.ClientError)
    with pytest.raises(wrong) as refused:
        client.create_alias(
            FunctionName="weighed",
            Name="a",
            FunctionVersion=version,
            RoutingConfig={"AdditionalVersionWeights": weights},
        )
    error = refused.value.response["Error"]
    assert error["Code"] == ("ValidationException" if AT_WEIGHTS in said else "InvalidParameterValueException")
    assert said in error["Message"]


def test_events_are_accepted_and_run(client: Any, account: Account, create: Create) -> None:
    """202 with an empty body, and what came of it is told to a function."""
    create("told", "def handler(event, context):\n    print(event['requestContext'], event['responsePayload'])\n")
    create("worker", "def handler(event, context):\n    return event['n'] * 2\n")
    arn = client.get_function_configuration(FunctionName="told")["FunctionArn"]
    config = client.put_function_event_invoke_config(
        FunctionName="worker", MaximumRetryAttempts=0, DestinationConfig={"OnSuccess": {"Destination": arn}}
    )
    assert config["DestinationConfig"] == {"OnSuccess": {"Destination": arn}, "OnFailure": {}}
    assert config["FunctionArn"].endswith(":function:worker:$LATEST")
    answer = client.invoke(FunctionName="worker", InvocationType="Event", Payload=b'{"n": 21}')
    assert (answer["StatusCode"], answer["Payload"].read()) == (202, b"")
    assert "ExecutedVersion" not in answer
    assert client.invoke_async(FunctionName="worker", InvokeArgs=b'{"n": 1}')["Status"] == 202
    logs = logs_of(account, "told")
    end = time.monotonic() + 60
    while not any(answer["ResponseMetadata"]["RequestId"] in each["log_tail"] for each in logs()):
        assert time.monotonic() < end, logs()
        time.sleep(0.2)
    with pytest.raises(client.exceptions.ClientError) as refused:
        client.invoke(FunctionName="worker", InvocationType="Event", Payload=b'"' + b"x" * 1_048_576 + b'"')
    assert refused.value.response["Error"]["Message"] == (
        "1048578 byte payload is too large for the Event invocation type (limit 1048576 bytes)"
    )


def test_event_invoke_config(client: Any, account: Account, create: Create) -> None:
    """Put replaces, update adds; the texts where there is none."""
    create("configured", wait=False)
    arn = account.arn("configured")
    none = f"The function {arn}:$LATEST doesn't have an EventInvokeConfig"
    for call in (client.get_function_event_invoke_config, client.delete_function_event_invoke_config):
        with pytest.raises(client.exceptions.ResourceNotFoundException) as refused:
            call(FunctionName="configured")
        assert refused.value.response["Message"] == none
    with pytest.raises(client.exceptions.ResourceNotFoundException) as refused:
        client.put_function_event_invoke_config(FunctionName="none", MaximumRetryAttempts=1)
    assert refused.value.response["Message"] == "The function doesn't exist."
    client.put_function_event_invoke_config(FunctionName="configured", MaximumRetryAttempts=1)
    client.update_function_event_invoke_config(FunctionName="configured", MaximumEventAgeInSeconds=60)
    shown = client.get_function_event_invoke_config(FunctionName="configured")
    assert (shown["MaximumRetryAttempts"], shown["MaximumEventAgeInSeconds"]) == (1, 60)
    client.put_function_event_invoke_config(FunctionName="configured", MaximumEventAgeInSeconds=90)
    shown = client.get_function_event_invoke_config(FunctionName="configured")
    assert "MaximumRetryAttempts" not in shown
    listed = client.list_function_event_invoke_configs(FunctionName="configured")["FunctionEventInvokeConfigs"]
    assert [each["FunctionArn"] for each in listed] == [f"{arn}:$LATEST"]
    client.delete_function_event_invoke_config(FunctionName="configured")
