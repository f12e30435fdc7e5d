"""Provisioned concurrency by boto3: set, shown, kept, taken away."""

import json
import time
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

from .conftest import Account, Create, zipped

CODE = """
import os

calls = 0


def handler(event, context):
    global calls
    calls += 1
    return {
        "type": os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"],
        "version": os.environ["AWS_LAMBDA_FUNCTION_VERSION"],
        "calls": calls,
    }
"""
BROKEN = "raise ValueError('not today')\n"


def refused(call: Any, **parameters: Any) -> tuple[str, str]:
    """Code and text."""
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


def published(client: Any, name: str) -> str:
    version: str = client.publish_version(FunctionName=name)["Version"]
    return version


def changed(client: Any, name: str, source: str) -> None:
    client.update_function_code(FunctionName=name, ZipFile=zipped(source))
    client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})


def settled(client: Any, name: str, qualifier: str) -> Any:
    """What is said when it is over."""
    until_s = time.monotonic() + 90
    while True:
        shown = client.get_provisioned_concurrency_config(FunctionName=name, Qualifier=qualifier)
        if shown["Status"] != "IN_PROGRESS" or time.monotonic() > until_s:
            return shown
        time.sleep(0.2)


def invoked(client: Any, name: str, qualifier: str) -> Any:
    return json.load(client.invoke(FunctionName=name, Qualifier=qualifier, Payload=b"{}")["Payload"])


def was_cold(account: Account, name: str) -> bool:
    """Of the only execution of the function's version 1."""
    key = {"authorization": f"Bearer {account.key}"}
    with httpx.Client(base_url=account.endpoint, headers=key, trust_env=False) as rest:
        (workspace,) = rest.get("/api/workspaces").json()["items"]
        (shown,) = rest.get(f"/api/workspaces/{workspace['id']}/functions", params={"name": name}).json()["items"]
        until_s = time.monotonic() + 60
        while time.monotonic() < until_s:
            if found := rest.get(f"/api/functions/{shown['id']}/logs").raise_for_status().json()["items"]:
                (record,) = found
                assert record["version"] == "1"
                return bool(record["cold"])
            time.sleep(0.2)
    raise AssertionError("no record")


def test_a_version_is_kept_started(client: Any, create: Create, account: Account) -> None:
    """Put, get, list, an invocation that nobody waits a start for, delete."""
    create("kept", CODE)
    version = published(client, "kept")
    at = {"FunctionName": "kept", "Qualifier": version}
    assert client.list_provisioned_concurrency_configs(FunctionName="kept")["ProvisionedConcurrencyConfigs"] == []
    put = client.put_provisioned_concurrency_config(**at, ProvisionedConcurrentExecutions=2)
    assert put["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert put["RequestedProvisionedConcurrentExecutions"] == 2
    assert put["Status"] == "IN_PROGRESS"
    assert put["AllocatedProvisionedConcurrentExecutions"] == put["AvailableProvisionedConcurrentExecutions"] == 0
    shown = settled(client, "kept", version)
    assert (shown["Status"], shown["AllocatedProvisionedConcurrentExecutions"]) == ("READY", 2)
    assert shown["AvailableProvisionedConcurrentExecutions"] == 2
    assert shown["LastModified"] == put["LastModified"]
    (listed,) = client.list_provisioned_concurrency_configs(FunctionName="kept")["ProvisionedConcurrencyConfigs"]
    assert listed["FunctionArn"] == f"{account.arn('kept')}:{version}"
    assert (listed["RequestedProvisionedConcurrentExecutions"], listed["Status"]) == (2, "READY")
    answer = invoked(client, "kept", version)
    assert answer == {"type": "provisioned-concurrency", "version": version, "calls": 1}
    assert not was_cold(account, "kept")
    assert invoked(client, "kept", "$LATEST")["type"] == "on-demand"
    # Beyond what there is room for, which is 10 environments of the one pod.
    client.put_provisioned_concurrency_config(**at, ProvisionedConcurrentExecutions=11)
    shown = settled(client, "kept", version)
    assert (shown["Status"], shown["AllocatedProvisionedConcurrentExecutions"]) == ("FAILED", 10)
    assert "room for 10" in shown["StatusReason"]
    deleted = client.delete_provisioned_concurrency_config(**at)
    assert deleted["ResponseMetadata"]["HTTPStatusCode"] == 204
    client.delete_provisioned_concurrency_config(**at)
    none = (
        "ProvisionedConcurrencyConfigNotFoundException",
        "No Provisioned Concurrency Config found for this function",
    )
    assert refused(client.get_provisioned_concurrency_config, **at) == none
    until_s = time.monotonic() + 60
    while (kind := invoked(client, "kept", version)["type"]) != "on-demand" and time.monotonic() < until_s:
        time.sleep(0.2)
    assert kind == "on-demand"


def test_an_alias_takes_it_along(client: Any, create: Create) -> None:
    """To the version that it leads to; and it goes with its alias."""
    create("led", CODE)
    one = published(client, "led")
    client.create_alias(FunctionName="led", Name="live", FunctionVersion=one)
    at = {"FunctionName": "led", "Qualifier": "live"}
    client.put_provisioned_concurrency_config(**at, ProvisionedConcurrentExecutions=1)
    assert settled(client, "led", "live")["Status"] == "READY"
    assert invoked(client, "led", "live")["type"] == "provisioned-concurrency"
    code, text = refused(client.update_alias, FunctionName="led", Name="live", FunctionVersion="$LATEST")
    assert (code, "$LATEST can't have" in text) == ("InvalidParameterValueException", True)
    # One config for one version.
    put = client.put_provisioned_concurrency_config
    pointed = ("ResourceConflictException", "Version is pointed by a Provisioned Concurrency alias")
    assert refused(put, FunctionName="led", Qualifier=one, ProvisionedConcurrentExecutions=1) == pointed
    changed(client, "led", CODE + "\n")
    two = published(client, "led")
    client.update_alias(FunctionName="led", Name="live", FunctionVersion=two)
    assert settled(client, "led", "live")["Status"] == "READY"
    assert invoked(client, "led", "live") == {"type": "provisioned-concurrency", "version": two, "calls": 1}
    until_s = time.monotonic() + 60
    while (kind := invoked(client, "led", one)["type"]) != "on-demand" and time.monotonic() < until_s:
        time.sleep(0.2)
    assert kind == "on-demand"
    client.delete_alias(FunctionName="led", Name="live")
    client.create_alias(FunctionName="led", Name="live", FunctionVersion=two)
    assert client.list_provisioned_concurrency_configs(FunctionName="led")["ProvisionedConcurrencyConfigs"] == []
    put(FunctionName="led", Qualifier=one, ProvisionedConcurrentExecutions=1)
    client.update_alias(FunctionName="led", Name="live", FunctionVersion=one)
    already = "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version"
    assert refused(put, **at, ProvisionedConcurrentExecutions=1) == ("ResourceConflictException", already)
    client.update_alias(FunctionName="led", Name="live", FunctionVersion=two)
    client.delete_function(FunctionName="led", Qualifier=one)
    assert client.list_provisioned_concurrency_configs(FunctionName="led")["ProvisionedConcurrencyConfigs"] == []


def test_code_that_fails_when_it_is_loaded(client: Any, create: Create) -> None:
    create("broken", BROKEN)
    version = published(client, "broken")
    at = {"FunctionName": "broken", "Qualifier": version}
    client.put_provisioned_concurrency_config(**at, ProvisionedConcurrentExecutions=2)
    shown = settled(client, "broken", version)
    assert (shown["Status"], shown["AllocatedProvisionedConcurrentExecutions"]) == ("FAILED", 0)
    assert "not today" in shown["StatusReason"]


def test_what_is_refused(client: Any, create: Create, account: Account) -> None:
    """With AWS's words."""
    create("greedy")
    version = published(client, "greedy")
    put, get = client.put_provisioned_concurrency_config, client.get_provisioned_concurrency_config
    delete = client.delete_provisioned_concurrency_config
    at = {"FunctionName": "greedy", "Qualifier": version}
    wrong = "InvalidParameterValueException"
    unpublished = "Provisioned Concurrency Configs cannot be applied to unpublished function versions."
    latest = {"FunctionName": "greedy", "Qualifier": "$LATEST"}
    assert refused(put, **latest, ProvisionedConcurrentExecutions=1) == (wrong, unpublished)
    neither = "The function resource provided must be an alias or a published version."
    assert refused(get, **latest) == (wrong, neither)
    assert refused(delete, **latest) == (wrong, neither)
    client.create_alias(FunctionName="greedy", Name="draft", FunctionVersion="$LATEST")
    draft = {"FunctionName": "greedy", "Qualifier": "draft"}
    assert refused(put, **draft, ProvisionedConcurrentExecutions=1) == (wrong, unpublished)
    missing = "ResourceNotFoundException"
    arn = account.arn("greedy")
    for call in (get, delete):
        assert refused(call, FunctionName="greedy", Qualifier="9") == (missing, f"Function not found: {arn}:9")
        nowhere = (missing, f"Cannot find alias arn: {arn}:none")
        assert refused(call, FunctionName="greedy", Qualifier="none") == nowhere
    assert refused(put, FunctionName="greedy", Qualifier="9", ProvisionedConcurrentExecutions=1)[0] == missing
    assert refused(get, FunctionName="nobody", Qualifier="1")[0] == missing
    beyond = "Specified ConcurrentExecutions for function is greater than account's unreserved concurrency [1000]."
    assert refused(put, **at, ProvisionedConcurrentExecutions=1001) == (wrong, beyond)
    below = (
        "Specified ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its "
        "minimum value of [100]."
    )
    assert refused(put, **at, ProvisionedConcurrentExecutions=901) == (wrong, below)
    client.put_function_concurrency(FunctionName="greedy", ReservedConcurrentExecutions=2)
    more = "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function"
    assert refused(put, **at, ProvisionedConcurrentExecutions=3) == (wrong, more)
    put(**at, ProvisionedConcurrentExecutions=2)
    code, text = refused(client.put_function_concurrency, FunctionName="greedy", ReservedConcurrentExecutions=1)
    assert code == wrong
    assert "total provisioned concurrency [2]" in text
    client.delete_provisioned_concurrency_config(**at)
    client.update_function_configuration(FunctionName="greedy", Description="another")
    other = published(client, "greedy")
    weights = {"AdditionalVersionWeights": {other: 0.5}}
    client.create_alias(FunctionName="greedy", Name="shared", FunctionVersion=version, RoutingConfig=weights)
    code, text = refused(put, FunctionName="greedy", Qualifier="shared", ProvisionedConcurrentExecutions=1)
    assert (code, text) == (wrong, "Alias with weights can not be used with Provisioned Concurrency")
