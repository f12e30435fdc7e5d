"""Invoke by boto3: what AWS's callers rely on."""

import base64
import json
import re
import threading
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .conftest import Account, Create

ABOUT = """
import json, os
print("a line")
def handler(event, context):
    print("to the log")
    return {
        "id": context.aws_request_id,
        "arn": context.invoked_function_arn,
        "name": context.function_name,
        "memory": context.memory_limit_in_mb,
        "context": context.client_context and context.client_context.custom,
    }
"""
FAILS = """
import os, time
def handler(event, context):
    how = event["how"]
    if how == "raise":
        raise KeyError("no such thing")
    if how == "sleep":
        time.sleep(20)
    if how == "exit":
        os._exit(3)
    if how == "large":
        return "x" * (6 * 1024 * 1024 + 200)
    if how == "busy":
        time.sleep(3)
    return how
"""


@pytest.fixture
def about(create: Create) -> None:
    create("about", ABOUT)


@pytest.fixture
def fails(create: Create) -> None:
    create("fails", FAILS)


def test_request_and_answer(client: Any, account: Account, about: None) -> None:
    """The request id in the answer is the function's own, and the version that ran is named."""
    answer = client.invoke(FunctionName="about", Payload=b"{}")
    seen = json.loads(answer["Payload"].read())
    assert answer["ResponseMetadata"]["RequestId"] == seen["id"]
    assert (answer["StatusCode"], answer["ExecutedVersion"]) == (200, "$LATEST")
    assert (seen["arn"], seen["name"], int(seen["memory"])) == (account.arn("about"), "about", 128)
    assert "FunctionError" not in answer
    assert "LogResult" not in answer


@pytest.mark.parametrize("event", [b'{"a": [1, 2.50, "\xc3\xa4"]}', b'"text"', b"null", b"12", b"[]"])
def test_events_are_passed_on(client: Any, create: Create, event: bytes) -> None:
    """Any JSON; what comes back is the same value."""
    create("echo")
    assert json.loads(client.invoke(FunctionName="echo", Payload=event)["Payload"].read()) == json.loads(event)


def test_no_payload_is_an_empty_object(client: Any, create: Create) -> None:
    create("echo")
    assert client.invoke(FunctionName="echo")["Payload"].read() == b"{}"


def test_log_tail(client: Any, about: None) -> None:
    """START, what was printed, END and REPORT."""
    answer = client.invoke(FunctionName="about", LogType="Tail")
    request_id = answer["ResponseMetadata"]["RequestId"]
    log = base64.b64decode(answer["LogResult"]).decode()
    assert re.fullmatch(
        rf"(?s)(INIT_START.*?\n)?START RequestId: {request_id} Version: \$LATEST\n(a line\n)?to the log\n"
        rf"END RequestId: {request_id}\nREPORT RequestId: {request_id}\tDuration: [0-9.]+ ms\t"
        r"Billed Duration: [0-9]+ ms\tMemory Size: 128 MB\tMax Memory Used: [0-9]+ MB\t"
        r"(Init Duration: [0-9.]+ ms\t)?\n",
        log,
    ), log


def test_client_context(client: Any, about: None) -> None:
    """Base64 of JSON; anything else is refused before anything runs."""
    text = base64.b64encode(json.dumps({"custom": {"a": "b"}}).encode()).decode()
    answer = client.invoke(FunctionName="about", ClientContext=text)
    assert json.loads(answer["Payload"].read())["context"] == {"a": "b"}
    for wrong in ("no base64!", base64.b64encode(b"no json").decode()):
        with pytest.raises(client.exceptions.InvalidRequestContentException):
            client.invoke(FunctionName="about", ClientContext=wrong)


def test_dry_run(client: Any, about: None) -> None:
    """Nothing runs, and the answer is empty."""
    answer = client.invoke(FunctionName="about", InvocationType="DryRun")
    assert (answer["StatusCode"], answer["Payload"].read()) == (204, b"")


@pytest.mark.parametrize(
    ("how", "error", "text"),
    [
        ("raise", "KeyError", r"'no such thing'"),
        ("exit", "Runtime.ExitError", r"RequestId: {id} Error: Runtime exited with error: exit status 3"),
        (
            "large",
            "Function.ResponseSizeTooLarge",
            r"Response payload size exceeded maximum allowed payload size \(6291556 bytes\)\.",
        ),
        ("sleep", "Sandbox.Timedout", r"RequestId: {id} Error: Task timed out after 3\.00 seconds"),
    ],
)
def test_functions_that_fail(client: Any, fails: None, how: str, error: str, text: str) -> None:
    """200 and an error document, whoever failed it; the next call is served."""
    answer = client.invoke(FunctionName="fails", Payload=json.dumps({"how": how}))
    document = json.loads(answer["Payload"].read())
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    assert document["errorType"] == error
    assert re.fullmatch(text.replace("{id}", answer["ResponseMetadata"]["RequestId"]), document["errorMessage"])
    if how == "raise":
        assert document["stackTrace"]
        assert document["requestId"] == answer["ResponseMetadata"]["RequestId"]
    assert client.invoke(FunctionName="fails", Payload=b'{"how": "well"}')["Payload"].read() == b'"well"'


@pytest.mark.parametrize("payload", [b"{", b'{"a":}', b"\xff", b"undefined", b"[" * 100_000])
def test_what_is_no_json_is_refused(client: Any, about: None, payload: bytes) -> None:
    with pytest.raises(client.exceptions.InvalidRequestContentException) as refused:
        client.invoke(FunctionName="about", Payload=payload)
    assert refused.value.response["Error"]["Message"].startswith(
        "Could not parse request body into json: Could not parse payload into json: "
    )


def test_too_large_an_event(client: Any, create: Create) -> None:
    """6 MiB go through, and not a byte more."""
    create("count", "def handler(event, context):\n    return len(event)\n", MemorySize=512)
    whole = b'"' + b"x" * (6 * 1024 * 1024 - 2) + b'"'
    assert client.invoke(FunctionName="count", Payload=whole)["Payload"].read() == str(len(whole) - 2).encode()
    with pytest.raises(ClientError) as refused:
        client.invoke(FunctionName="count", Payload=whole + b" ")
    assert refused.value.response["Error"] == {
        "Code": "RequestEntityTooLargeException",
        "Message": "Request must be smaller than 6291456 bytes for the InvokeFunction operation",
    }


def test_unknown_qualifiers(client: Any, account: Account, about: None) -> None:
    assert client.invoke(FunctionName="about:$LATEST")["StatusCode"] == 200
    for qualifier in ("7", "live"):
        with pytest.raises(client.exceptions.ResourceNotFoundException) as refused:
            client.invoke(FunctionName="about", Qualifier=qualifier)
        assert refused.value.response["Message"] == f"Function not found: {account.arn('about')}:{qualifier}"


def test_many_at_a_time(client: Any, create: Create) -> None:
    """Each caller gets its own answer."""
    create("echo", "import time\ndef handler(event, context):\n    time.sleep(0.05)\n    return event\n")
    answers: dict[int, bytes] = {}

    def call(number: int) -> None:
        answers[number] = client.invoke(FunctionName="echo", Payload=str(number))["Payload"].read()

    threads = [threading.Thread(target=call, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: str(number).encode() for number in range(20)}


def test_response_stream(client: Any, about: None, fails: None) -> None:
    """The same answer as an event stream; a failure is told in its last event."""
    answer = client.invoke_with_response_stream(FunctionName="about", LogType="Tail")
    *parts, complete = answer["EventStream"]
    assert json.loads(b"".join(part["PayloadChunk"]["Payload"] for part in parts))["name"] == "about"
    assert base64.b64decode(complete["InvokeComplete"]["LogResult"]).startswith(b"START RequestId: ")
    assert answer["ExecutedVersion"] == "$LATEST"
    failed = client.invoke_with_response_stream(FunctionName="fails", Payload=b'{"how": "raise"}')
    (complete,) = failed["EventStream"]
    assert complete["InvokeComplete"]["ErrorCode"] == "KeyError"
    assert json.loads(complete["InvokeComplete"]["ErrorDetails"])["errorMessage"] == "'no such thing'"
