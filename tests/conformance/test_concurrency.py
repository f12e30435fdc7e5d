"""Reserved concurrency by boto3: set, shown, kept, taken away."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import overlap
import pytest
from botocore.exceptions import ClientError

from .conftest import Account, Create


def refused(call: Any, **parameters: Any) -> tuple[str, str]:
    """Code and text."""
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


def test_it_is_shown_and_kept(client: Any, create: Create) -> None:
    """Put, get, delete; and of twenty invocations at once two run at a time, the others are told why not."""
    create("reserved", overlap.code(0.3))
    name = {"FunctionName": "reserved"}
    assert "Concurrency" not in client.get_function(**name)
    assert "ReservedConcurrentExecutions" not in client.get_function_concurrency(**name)
    put = client.put_function_concurrency(**name, ReservedConcurrentExecutions=2)
    assert put["ReservedConcurrentExecutions"] == 2
    assert client.get_function_concurrency(**name)["ReservedConcurrentExecutions"] == 2
    assert client.get_function(**name)["Concurrency"] == {"ReservedConcurrentExecutions": 2}
    settings = client.get_account_settings()["AccountLimit"]
    assert (settings["ConcurrentExecutions"], settings["UnreservedConcurrentExecutions"]) == (1000, 998)
    time.sleep(1)  # a change counts from a moment after the answer on

    def invoke(_: int) -> Any:
        try:
            return json.load(client.invoke(**name)["Payload"])
        except ClientError as exc:
            return exc.response

    most, until_s = 0, time.monotonic() + 60
    while most != 2 and time.monotonic() < until_s:
        with ThreadPoolExecutor(20) as threads:
            answers = list(threads.map(invoke, range(20)))
        ran = [answer for answer in answers if "began" in answer]
        throttled = [answer for answer in answers if "began" not in answer]
        most = overlap.most_at_once(ran)
        assert most <= 2
    assert most == 2
    assert throttled
    for answer in throttled:
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 429
        assert answer["Error"]["Code"] == "TooManyRequestsException"
        assert answer["Error"]["Message"] == "Rate Exceeded."
        assert answer["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
    client.delete_function_concurrency(**name)
    assert "Concurrency" not in client.get_function(**name)


def test_none_is_let_through(client: Any, create: Create, account: Account) -> None:
    """0 throttles every way to the function, its URL included; it is the same figure for REST."""
    create("braked")
    name = {"FunctionName": "braked"}
    client.add_permission(
        **name,
        StatementId="all",
        Action="lambda:InvokeFunctionUrl",
        Principal="*",
        FunctionUrlAuthType="NONE",
    )
    url = client.create_function_url_config(**name, AuthType="NONE")["FunctionUrl"]
    client.put_function_concurrency(**name, ReservedConcurrentExecutions=0)
    time.sleep(1)
    code, text = refused(client.invoke, **name)
    assert (code, text) == ("TooManyRequestsException", "Rate Exceeded.")
    assert httpx.get(url, trust_env=False, timeout=30).status_code == 429
    key = {"authorization": f"Bearer {account.key}"}
    with httpx.Client(base_url=account.endpoint, headers=key, trust_env=False) as rest:
        (workspace,) = rest.get("/api/workspaces").json()["items"]
        functions = f"/api/workspaces/{workspace['id']}/functions"
        (shown,) = rest.get(functions, params={"name": "braked"}).json()["items"]
        assert shown["reserved_concurrency"] == 0
        by_id = f"/api/functions/{shown['id']}"
        refusal = rest.post(f"{by_id}/invocations", json={})
        assert (refusal.status_code, "reserved concurrency" in refusal.json()["detail"]) == (429, True)
        rest.patch(by_id, json={"reserved_concurrency": 1}).raise_for_status()
    assert client.get_function_concurrency(**name)["ReservedConcurrentExecutions"] == 1
    time.sleep(1)
    assert client.invoke(**name, Payload=b"1")["StatusCode"] == 200


def test_what_is_refused(client: Any, create: Create, account: Account) -> None:
    """With AWS's words."""
    create("greedy", wait=False)
    put = client.put_function_concurrency
    below = (
        "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below "
        "its minimum value of [100]."
    )
    too_much = ("InvalidParameterValueException", below)
    assert refused(put, FunctionName="greedy", ReservedConcurrentExecutions=901) == too_much
    assert refused(put, FunctionName="greedy", ReservedConcurrentExecutions=5000) == too_much
    assert refused(put, FunctionName="nobody", ReservedConcurrentExecutions=1) == (
        "ResourceNotFoundException",
        f"Function not found: {account.arn('nobody')}:$LATEST",
    )
    no_function = (
        "InvalidParameterValueException",
        "This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. "
        "Please specify either a function name or an unqualified function ARN.",
    )
    for qualifier in ("$LATEST", "1", "live"):
        one = f"{account.arn('greedy')}:{qualifier}"
        assert refused(put, FunctionName=one, ReservedConcurrentExecutions=1) == no_function
        assert refused(client.delete_function_concurrency, FunctionName=one) == no_function
