"""Asynchronous invocations by boto3: Event, and what is set for them."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError
from running_lateen import Start

from .conftest import CLIENT, REGION, ROLE, Account, Create, new_account, zipped

Seen = Callable[[str, str], list[Any]]

SAVING = """
import json
def handler(event, context):
    custom = context.client_context and context.client_context.custom
    print("SEEN " + json.dumps([context.aws_request_id, event, custom]))
    if event.get("fail"):
        raise ValueError("no")
    return {"done": True}
"""
TELLING = """
import json
def handler(event, context):
    print("SEEN " + json.dumps([event["requestContext"]["requestId"], event]))
"""


@pytest.fixture
def seen(account: Account) -> Iterator[Seen]:
    """What a function printed of the event with this request id, when it has."""
    headers = {"authorization": f"Bearer {account.key}"}
    with httpx.Client(base_url=account.endpoint, headers=headers, trust_env=False, timeout=30) as http:

        def look(name: str, request_id: str) -> list[Any]:
            (workspace,) = http.get("/api/workspaces").json()["items"]
            path = f"/api/workspaces/{workspace['id']}/functions"
            (function,) = http.get(path, params={"name": name}).json()["items"]
            until_s = time.monotonic() + 60
            while time.monotonic() < until_s:
                for record in http.get(f"/api/functions/{function['id']}/logs").json()["items"]:
                    for line in record["log_tail"].splitlines():
                        if line.startswith("SEEN ") and (found := json.loads(line[5:]))[0] == request_id:
                            return list(found[1:])
                time.sleep(0.1)
            raise AssertionError(f"{name} has not seen {request_id}")

        yield look


def test_event(client: Any, create: Create, seen: Seen) -> None:
    """202 without a body; the event runs under the request id of the answer, with its client context."""
    create("queued", SAVING)
    answer = client.invoke(
        FunctionName="queued",
        InvocationType="Event",
        Payload=json.dumps({"a": 1}),
        ClientContext="eyJjdXN0b20iOnsiYSI6IjEifX0=",
    )
    assert answer["StatusCode"] == 202
    assert answer["Payload"].read() == b""
    assert "ExecutedVersion" not in answer
    assert "FunctionError" not in answer
    assert seen("queued", answer["ResponseMetadata"]["RequestId"]) == [{"a": 1}, {"a": "1"}]


def test_events_are_refused(client: Any, create: Create) -> None:
    """As AWS does: no JSON, too large by a byte, no such function."""
    create("refused", SAVING)

    def refusal(**asked: Any) -> tuple[str, str, int]:
        with pytest.raises(ClientError) as refused:
            client.invoke(**{"FunctionName": "refused", "InvocationType": "Event"} | asked)
        response = refused.value.response
        return (
            response["Error"]["Code"],
            response["Error"]["Message"],
            response["ResponseMetadata"]["HTTPStatusCode"],
        )

    code, _, status = refusal(Payload=b"{")
    assert (code, status) == ("InvalidRequestContentException", 400)
    large = b'"' + b"x" * 1_048_575 + b'"'
    assert refusal(Payload=large) == (
        "RequestEntityTooLargeException",
        "1048577 byte payload is too large for the Event invocation type (limit 1048576 bytes)",
        413,
    )
    code, _, status = refusal(FunctionName="nobody", Payload=b"{}")
    assert (code, status) == ("ResourceNotFoundException", 404)


def test_a_destination_is_told(client: Any, create: Create, account: Account, seen: Seen) -> None:
    """OnSuccess and OnFailure with a function's ARN get AWS's record."""
    create("telling", TELLING)
    create("done", SAVING)
    target = {"Destination": account.arn("telling")}
    client.put_function_event_invoke_config(
        FunctionName="done",
        MaximumRetryAttempts=0,
        DestinationConfig={"OnSuccess": target, "OnFailure": target},
    )
    for fail, condition in ((False, "Success"), (True, "RetriesExhausted")):
        payload = {"a": 1, "fail": fail}
        answer = client.invoke(FunctionName="done", InvocationType="Event", Payload=json.dumps(payload))
        request_id = answer["ResponseMetadata"]["RequestId"]
        (record,) = seen("telling", request_id)
        assert record["requestContext"] == {
            "requestId": request_id,
            "functionArn": account.arn("done") + ":$LATEST",
            "condition": condition,
            "approximateInvokeCount": 1,
        }
        assert record["requestPayload"] == payload
        expected: dict[str, Any] = {"statusCode": 200, "executedVersion": "$LATEST"}
        assert record["responseContext"] == expected | ({"functionError": "Unhandled"} if fail else {})
        if fail:
            assert record["responsePayload"]["errorType"] == "ValueError"
        else:
            assert record["responsePayload"] == {"done": True}


def test_reserved_concurrency_of_zero(client: Any, create: Create, account: Account, seen: Seen) -> None:
    """An event is taken, and told of at once."""
    create("telling0", TELLING)
    create("stopped", SAVING)
    client.put_function_event_invoke_config(
        FunctionName="stopped", DestinationConfig={"OnFailure": {"Destination": account.arn("telling0")}}
    )
    client.put_function_concurrency(FunctionName="stopped", ReservedConcurrentExecutions=0)
    payload = {"a": 1}
    answer = client.invoke(FunctionName="stopped", InvocationType="Event", Payload=json.dumps(payload))
    assert answer["StatusCode"] == 202
    request_id = answer["ResponseMetadata"]["RequestId"]
    (record,) = seen("telling0", request_id)
    assert record["requestContext"]["condition"] == "ZeroReservedConcurrency"
    assert record["requestContext"]["approximateInvokeCount"] == 0
    assert "responseContext" not in record


def test_configurations(client: Any, create: Create, account: Account) -> None:
    """Put replaces, update merges, get shows, list pages, delete ends; times are times and ARNs are qualified."""
    create("configured", wait=False)
    name = {"FunctionName": "configured"}
    queue = "arn:aws:sqs:us-east-1:123456789012:q"
    made = client.put_function_event_invoke_config(
        **name, MaximumRetryAttempts=1, DestinationConfig={"OnFailure": {"Destination": queue}}
    )
    assert made["FunctionArn"] == account.arn("configured") + ":$LATEST"
    assert abs(made["LastModified"].timestamp() - time.time()) < 60
    assert made["MaximumRetryAttempts"] == 1
    assert "MaximumEventAgeInSeconds" not in made
    assert made["DestinationConfig"] == {"OnSuccess": {}, "OnFailure": {"Destination": queue}}
    merged = client.update_function_event_invoke_config(**name, MaximumEventAgeInSeconds=60)
    assert (merged["MaximumRetryAttempts"], merged["MaximumEventAgeInSeconds"]) == (1, 60)
    assert merged["DestinationConfig"]["OnFailure"] == {"Destination": queue}
    shown = client.get_function_event_invoke_config(**name, Qualifier="$LATEST")
    assert {key: shown[key] for key in merged if key != "ResponseMetadata"} == {
        key: merged[key] for key in merged if key != "ResponseMetadata"
    }
    replaced = client.put_function_event_invoke_config(**name, MaximumEventAgeInSeconds=21_600)
    assert replaced["DestinationConfig"] == {"OnSuccess": {}, "OnFailure": {}}
    assert "MaximumRetryAttempts" not in replaced
    listed = client.list_function_event_invoke_configs(**name)["FunctionEventInvokeConfigs"]
    assert [each["MaximumEventAgeInSeconds"] for each in listed] == [21_600]
    answer = client.delete_function_event_invoke_config(**name)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    missing = f"The function {account.arn('configured')}:$LATEST doesn't have an EventInvokeConfig"
    for call, more in (
        (client.get_function_event_invoke_config, {}),
        (client.delete_function_event_invoke_config, {}),
        (client.update_function_event_invoke_config, {"MaximumRetryAttempts": 1}),
    ):
        with pytest.raises(client.exceptions.ResourceNotFoundException) as refused:
            call(**name, **more)
        assert refused.value.response["Error"]["Message"] == missing
    for call in (client.get_function_event_invoke_config, client.delete_function_event_invoke_config):
        with pytest.raises(client.exceptions.ResourceNotFoundException) as refused:
            call(FunctionName="nobody")
        assert refused.value.response["Error"]["Message"] == missing.replace("configured", "nobody")


def test_wrong_configurations(client: Any, create: Create, account: Account) -> None:
    """Refused by AWS's codes and texts."""
    create("strict", wait=False)

    def refusal(change: Any = client.put_function_event_invoke_config, **asked: Any) -> tuple[str, str]:
        with pytest.raises(ClientError) as refused:
            change(**{"FunctionName": "strict"} | asked)
        error = refused.value.response["Error"]
        return error["Code"], error["Message"]

    itself = {"OnSuccess": {"Destination": account.arn("strict")}}
    assert refusal(DestinationConfig=itself) == (
        "InvalidParameterValueException",
        "The provided destination config is not valid: DestinationConfig.OnSuccess.Destination: "
        "You can't specify the function as a destination for itself.",
    )
    client.put_function_event_invoke_config(FunctionName="strict", MaximumRetryAttempts=1)
    for destination, text in (
        (account.arn("nobody"), f"The destination ARN {account.arn('nobody')} is invalid."),
        (away := account.arn("strict").replace(REGION, "eu-west-1"), f"The destination ARN {away} is invalid."),
        (f"arn:aws:lambda:{REGION}:000000000000:function:strict", "a function of another account"),
        (f"arn:aws:dynamodb:{REGION}:{account.account_id}:table/t", "an ARN of one of: lambda, sqs, sns, s3, events"),
    ):
        for side in ("OnSuccess", "OnFailure"):
            for change in (client.put_function_event_invoke_config, client.update_function_event_invoke_config):
                code, said = refusal(change, DestinationConfig={side: {"Destination": destination}})
                assert (code, text in said) == ("InvalidParameterValueException", True), said
    events = f"arn:aws:events:{REGION}:{account.account_id}:event-bus/b"
    for destination in ("arn:aws:s3:::bucket", f"arn:aws:sns:{REGION}:{account.account_id}:t", events):
        client.put_function_event_invoke_config(
            FunctionName="strict", DestinationConfig={"OnFailure": {"Destination": destination}}
        )
    assert refusal() == (
        "InvalidParameterValueException",
        "You must specify at least one of error handling or destination setting.",
    )
    assert refusal(FunctionName="nobody", MaximumRetryAttempts=1) == (
        "ResourceNotFoundException",
        "The function doesn't exist.",
    )
    assert refusal(MaximumRetryAttempts=1, Qualifier="no-such-alias") == (
        "ResourceNotFoundException",
        "The function doesn't exist.",
    )


def test_a_workspace_whose_events_wait(start: Start, tmp_path: Path) -> None:
    """Beyond the bytes that they may have it is throttled, as AWS says that, and another account is not."""
    lateen = start(tmp_path / "data", environment={"LATEEN_QUEUE_WORKSPACE_MIB": "1"})
    payload = json.dumps("x" * 120_000)
    clients = []
    for name in ("full", "other"):
        account = new_account(lateen, name)
        clients.append(account.session().client("lambda", endpoint_url=account.endpoint, config=CLIENT))
        clients[-1].create_function(
            FunctionName="fails",
            Runtime="python3.12",
            Role=ROLE,
            Handler="app.handler",
            Code={"ZipFile": zipped("def handler(event, context):\n    raise ValueError('later')\n")},
        )
    full, other = clients
    sent = {"FunctionName": "fails", "InvocationType": "Event", "Payload": payload}
    for _ in range(8):
        assert full.invoke(**sent)["StatusCode"] == 202
    with pytest.raises(full.exceptions.TooManyRequestsException) as refused:
        full.invoke(**sent)
    assert refused.value.response["Reason"] == "CallerRateLimitExceeded"
    assert "events of a workspace that wait may have 1 MiB" in refused.value.response["Error"]["Message"]
    assert other.invoke(**sent)["StatusCode"] == 202
