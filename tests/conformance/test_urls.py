"""Function URLs and resource policies by boto3."""

import json
import time
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

from .conftest import Account, Create

PAGE = "def handler(event, context):\n    return {'statusCode': 201, 'body': event['rawPath']}\n"
EVERYBODY = {
    "StatementId": "everybody",
    "Action": "lambda:InvokeFunctionUrl",
    "Principal": "*",
    "FunctionUrlAuthType": "NONE",
}


def status_of(url: str, wanted: int) -> int:
    """Once it is as wanted, or after a minute."""
    end = time.monotonic() + 60
    while True:
        status = httpx.get(url, trust_env=False, timeout=60).status_code
        if status == wanted or time.monotonic() > end:
            return status
        time.sleep(0.2)


def test_a_url_is_open_with_a_policy_only(client: Any, account: Account, create: Create) -> None:
    """Both are needed, and either one's end closes it."""
    create("page", PAGE)
    made = client.create_function_url_config(FunctionName="page", AuthType="NONE")
    url = made["FunctionUrl"]
    assert url.endswith("/")
    assert (made["FunctionArn"], made["AuthType"], made["InvokeMode"]) == (account.arn("page"), "NONE", "BUFFERED")
    assert status_of(f"{url}a/b", 404) == 404
    statement = json.loads(client.add_permission(FunctionName="page", **EVERYBODY)["Statement"])
    assert statement == {
        "Sid": "everybody",
        "Effect": "Allow",
        "Principal": "*",
        "Action": "lambda:InvokeFunctionUrl",
        "Resource": account.arn("page"),
        "Condition": {"StringEquals": {"lambda:FunctionUrlAuthType": "NONE"}},
    }
    assert status_of(f"{url}a/b", 201) == 201
    assert httpx.get(f"{url}a/b", trust_env=False, timeout=60).text == "/a/b"
    client.remove_permission(FunctionName="page", StatementId="everybody")
    assert status_of(url, 404) == 404
    client.add_permission(FunctionName="page", **EVERYBODY)
    assert status_of(url, 201) == 201
    shown = client.get_function_url_config(FunctionName="page")
    assert client.list_function_url_configs(FunctionName="page")["FunctionUrlConfigs"][0]["FunctionUrl"] == url
    assert client.update_function_url_config(FunctionName="page")["FunctionUrl"] == shown["FunctionUrl"]
    with pytest.raises(client.exceptions.ResourceConflictException) as refused:
        client.create_function_url_config(FunctionName="page", AuthType="NONE")
    assert refused.value.response["Error"]["Message"] == (
        f"Failed to create function url config for [functionArn = {account.arn('page')}]. Error message:  "
        "FunctionUrlConfig exists for this Lambda function"
    )
    client.delete_function_url_config(FunctionName="page")
    assert status_of(url, 404) == 404
    for call in (client.get_function_url_config, client.delete_function_url_config):
        with pytest.raises(client.exceptions.ResourceNotFoundException) as missing:
            call(FunctionName="page")
        assert missing.value.response["Message"] == "The resource you requested does not exist."
    with pytest.raises(client.exceptions.ResourceNotFoundException) as missing:
        client.create_function_url_config(FunctionName="none", AuthType="NONE")
    assert missing.value.response["Message"] == "Function does not exist"


def test_what_of_urls_is_refused(client: Any, account: Account, create: Create) -> None:
    """By the model's constraints, in AWS's words; and what can't be in a header."""
    create("refusing", wait=False)
    for asked, text in (
        (
            {"Cors": {"AllowMethods": ["OPTIONS"]}},
            "1 validation error detected: Value '[OPTIONS]' at 'cors.allowMethods' failed to satisfy constraint: "
            "Member must satisfy constraint: [Member must have length less than or equal to 6]",
        ),
        (
            {"Cors": {"MaxAge": 86401}},
            "1 validation error detected: Value '86401' at 'cors.maxAge' failed to satisfy constraint: "
            "Member must have value less than or equal to 86400",
        ),
        ({"InvokeMode": "BOTH"}, "Member must satisfy enum value set: [BUFFERED, RESPONSE_STREAM]"),
        ({"AuthType": "KEY"}, "Member must satisfy enum value set"),
        ({"Qualifier": "$LATEST"}, "at 'qualifier' failed to satisfy constraint"),
        ({"Qualifier": "1"}, "at 'qualifier' failed to satisfy constraint"),
        ({"Cors": {"AllowOrigins": ["https://a\rX: y"]}}, "AllowOrigins"),
        ({"Cors": {"AllowHeaders": ["x" * 1000] * 20}}, "16384"),
    ):
        with pytest.raises(ClientError) as refused:
            client.create_function_url_config(FunctionName="refusing", **{"AuthType": "NONE"} | asked)
        assert text in refused.value.response["Error"]["Message"]
    with pytest.raises(client.exceptions.ResourceNotFoundException) as missing:
        client.create_function_url_config(FunctionName="refusing", AuthType="NONE", Qualifier="live")
    assert missing.value.response["Message"] == "Function does not exist"
    assert client.list_function_url_configs(FunctionName="refusing")["FunctionUrlConfigs"] == []


def test_policies(client: Any, account: Account, create: Create) -> None:
    """Statements are kept, shown and removed; the texts where there are none."""
    create("guarded", wait=False)
    with pytest.raises(client.exceptions.ResourceNotFoundException) as missing:
        client.remove_permission(FunctionName="guarded", StatementId="s3")
    assert missing.value.response["Message"] == "No policy is associated with the given resource."
    given = {"Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com", "SourceArn": "arn:aws:s3:::bucket"}
    client.add_permission(FunctionName="guarded", StatementId="s3", SourceAccount="123456789012", **given)
    with pytest.raises(client.exceptions.ResourceConflictException) as refused:
        client.add_permission(FunctionName="guarded", StatementId="s3", **given)
    assert refused.value.response["Error"]["Message"] == (
        "The statement id (s3) provided already exists. Please provide a new statement id, or remove the existing "
        "statement."
    )
    found = client.get_policy(FunctionName="guarded")
    assert json.loads(found["Policy"]) == {
        "Version": "2012-10-17",
        "Id": "default",
        "Statement": [
            {
                "Sid": "s3",
                "Effect": "Allow",
                "Principal": {"Service": "s3.amazonaws.com"},
                "Action": "lambda:InvokeFunction",
                "Resource": account.arn("guarded"),
                "Condition": {
                    "StringEquals": {"AWS:SourceAccount": "123456789012"},
                    "ArnLike": {"AWS:SourceArn": "arn:aws:s3:::bucket"},
                },
            }
        ],
    }
    with pytest.raises(client.exceptions.PreconditionFailedException):
        client.add_permission(FunctionName="guarded", StatementId="late", RevisionId="x", **given)
    with pytest.raises(client.exceptions.ResourceNotFoundException) as missing:
        client.remove_permission(FunctionName="guarded", StatementId="other")
    assert missing.value.response["Message"] == "Statement other is not found in resource policy."
    client.remove_permission(FunctionName="guarded", StatementId="s3")
    with pytest.raises(client.exceptions.ResourceNotFoundException) as missing:
        client.get_policy(FunctionName="guarded")
    assert missing.value.response["Message"] == "The resource you requested does not exist."


def test_policies_of_versions_and_aliases(client: Any, account: Account, create: Create) -> None:
    """Each has one of its own, with the same statement ids maybe; it goes with its version."""
    create("several", Publish=True)
    client.create_alias(FunctionName="several", Name="live", FunctionVersion="1")
    given = {"FunctionName": "several", "StatementId": "s3", "Action": "lambda:InvokeFunction"}
    given["Principal"] = "s3.amazonaws.com"
    arn = account.arn("several")
    for qualifier in ("1", "live"):
        statement = json.loads(client.add_permission(**given, Qualifier=qualifier)["Statement"])
        assert statement["Resource"] == f"{arn}:{qualifier}"
        with pytest.raises(client.exceptions.ResourceConflictException):
            client.add_permission(**given, Qualifier=qualifier)
        policy = client.get_policy(FunctionName="several", Qualifier=qualifier)["Policy"]
        assert json.loads(policy)["Statement"] == [statement]
    assert json.loads(client.get_policy(FunctionName=f"{arn}:1")["Policy"])["Statement"][0]["Resource"] == f"{arn}:1"
    for unset in ({}, {"Qualifier": "$LATEST"}):
        with pytest.raises(client.exceptions.ResourceNotFoundException):
            client.get_policy(FunctionName="several", **unset)
    with pytest.raises(client.exceptions.InvalidParameterValueException) as latest:
        client.add_permission(**given, Qualifier="$LATEST")
    assert latest.value.response["Error"]["Message"] == "We currently do not support adding policies for $LATEST."
    for nowhere in ("9", "none"):
        with pytest.raises(client.exceptions.ResourceNotFoundException) as missing:
            client.add_permission(**given, Qualifier=nowhere)
        assert missing.value.response["Message"] == f"Function not found: {arn}:{nowhere}"
    client.remove_permission(FunctionName="several", StatementId="s3", Qualifier="1")
    with pytest.raises(client.exceptions.ResourceNotFoundException) as missing:
        client.remove_permission(FunctionName="several", StatementId="s3", Qualifier="1")
    assert missing.value.response["Message"] == "No policy is associated with the given resource."
    assert client.get_policy(FunctionName="several", Qualifier="live")["Policy"]


def test_revision_ids_of_policies(client: Any, create: Create) -> None:
    """A policy has that of what it is about, which changes with it; who knows another one is refused."""
    create("revised", Publish=True)
    client.create_alias(FunctionName="revised", Name="live", FunctionVersion="1")
    for at in ({}, {"Qualifier": "1"}, {"Qualifier": "live"}):

        def now(at: dict[str, str] = at) -> str:
            if at.get("Qualifier") == "live":
                return str(client.get_alias(FunctionName="revised", Name="live")["RevisionId"])
            return str(client.get_function_configuration(FunctionName="revised", **at)["RevisionId"])

        given = {"FunctionName": "revised", "StatementId": "s3", **at}
        asked = {**given, "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com"}
        before = now()
        for wrong in ("x", "00000000-0000-4000-8000-000000000000"):
            with pytest.raises(client.exceptions.PreconditionFailedException):
                client.add_permission(**asked, RevisionId=wrong)
        client.add_permission(**asked, RevisionId=before)
        added = now()
        assert client.get_policy(FunctionName="revised", **at)["RevisionId"] == added != before
        with pytest.raises(client.exceptions.PreconditionFailedException):
            client.remove_permission(**given, RevisionId=before)
        client.remove_permission(**given, RevisionId=added)
        assert now() not in (before, added)
