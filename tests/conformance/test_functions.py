"""Functions by boto3: created, shown, listed, changed, deleted. Each answer is held to botocore's model (conftest)."""

import base64
import hashlib
import json
import re
from typing import Any

import httpx
import pytest

from .conftest import ECHO, REGION, ROLE, Account, Create, zipped

LATER = "def handler(event, context):\n    return 'later'\n"


def test_create_shows_what_aws_shows(account: Account, create: Create) -> None:
    """All defaults, and that it is on its way."""
    code = zipped()
    made = create("defaults", Code={"ZipFile": code})
    meta = made.pop("ResponseMetadata")
    assert meta["HTTPStatusCode"] == 201
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000", made.pop("LastModified"))
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", made.pop("RevisionId"))
    assert made.pop("RuntimeVersionConfig")["RuntimeVersionArn"].startswith(f"arn:aws:lambda:{REGION}::runtime:")
    assert made == {
        "FunctionName": "defaults",
        "FunctionArn": account.arn("defaults"),
        "Runtime": "python3.12",
        "Role": ROLE,
        "Handler": "app.handler",
        "CodeSize": len(code),
        "CodeSha256": base64.b64encode(hashlib.sha256(code).digest()).decode(),
        "Description": "",
        "Timeout": 3,
        "MemorySize": 128,
        "Version": "$LATEST",
        "TracingConfig": {"Mode": "PassThrough"},
        "State": "Pending",
        "StateReason": "The function is being created.",
        "StateReasonCode": "Creating",
        "PackageType": "Zip",
        "Architectures": ["x86_64"],
        "EphemeralStorage": {"Size": 512},
        "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
        "LoggingConfig": {"LogFormat": "Text", "LogGroup": "/aws/lambda/defaults"},
    }


def test_states_go_by_and_reasons_vanish(client: Any, create: Create) -> None:
    """Pending, Active; then an update is in progress and through. The revision id changes at each step, not between."""
    revisions = [create("states")["RevisionId"]]
    client.get_waiter("function_exists").wait(FunctionName="states")
    shown = client.get_function_configuration(FunctionName="states")
    assert (shown["State"], shown["LastUpdateStatus"]) == ("Active", "Successful")
    assert not {"StateReason", "StateReasonCode", "LastUpdateStatusReason", "LastUpdateStatusReasonCode"} & set(shown)
    revisions.append(shown["RevisionId"])
    assert client.get_function(FunctionName="states")["Configuration"]["RevisionId"] == revisions[-1]
    changed = client.update_function_configuration(FunctionName="states", Timeout=9)
    assert (changed["State"], changed["LastUpdateStatus"]) == ("Active", "InProgress")
    assert changed["LastUpdateStatusReasonCode"] == "Creating"
    revisions.append(changed["RevisionId"])
    client.get_waiter("function_updated_v2").wait(FunctionName="states", WaiterConfig={"Delay": 1})
    client.get_waiter("function_active").wait(FunctionName="states")
    revisions.append(client.get_function_configuration(FunctionName="states")["RevisionId"])
    assert len(set(revisions)) == 4


def test_every_setting_is_shown_as_given(client: Any, create: Create) -> None:
    """Also those that mean nothing here."""
    given: dict[str, Any] = {
        "Description": "of all trades",
        "Timeout": 30,
        "MemorySize": 256,
        "Environment": {"Variables": {"STAGE": "test", "GREETING": "grüß dich"}},
        "EphemeralStorage": {"Size": 1024},
        "Architectures": ["x86_64"],
        "TracingConfig": {"Mode": "Active"},
        "DeadLetterConfig": {"TargetArn": "arn:aws:sqs:us-east-1:123456789012:dead"},
        "LoggingConfig": {
            "LogFormat": "JSON",
            "ApplicationLogLevel": "DEBUG",
            "SystemLogLevel": "WARN",
            "LogGroup": "g",
        },
    }
    create("settings", Tags={"team": "a", "stage": "b"}, **given)
    shown = client.get_function(FunctionName="settings")
    assert {name: shown["Configuration"][name] for name in given} == given
    assert shown["Tags"] == {"team": "a", "stage": "b"}
    given = {
        "Description": "",
        "Timeout": 4,
        "MemorySize": 128,
        "Environment": {"Variables": {}},
        "EphemeralStorage": {"Size": 512},
        "TracingConfig": {"Mode": "PassThrough"},
        "LoggingConfig": {"LogFormat": "Text", "LogGroup": "h"},
        "Role": "arn:aws:iam::123456789012:role/other",
        "Handler": "app.other",
    }
    client.update_function_configuration(FunctionName="settings", DeadLetterConfig={"TargetArn": ""}, **given)
    client.get_waiter("function_updated_v2").wait(FunctionName="settings", WaiterConfig={"Delay": 1})
    shown = client.get_function_configuration(FunctionName="settings")
    assert {name: shown[name] for name in given} == given
    assert "DeadLetterConfig" not in shown


def test_code_can_be_fetched_as_it_was_sent(client: Any, create: Create) -> None:
    """From the address that is shown, without credentials; not from one that was changed."""
    code = zipped()
    create("fetched", Code={"ZipFile": code})
    shown = client.get_function(FunctionName="fetched")["Code"]
    assert shown["RepositoryType"] == "S3"
    assert httpx.get(shown["Location"], trust_env=False).content == code
    for wrong in (
        shown["Location"][:-1],
        shown["Location"].replace("expires=1", "expires=2"),
        shown["Location"].split("?")[0],
    ):
        assert httpx.get(wrong, trust_env=False).status_code == 403


def test_new_code(client: Any, create: Create) -> None:
    """A dry run shows the code it is given and changes nothing, an update everything; the revision id is minded."""
    create("coded")
    before = client.get_function_configuration(FunctionName="coded")
    dry = client.update_function_code(FunctionName="coded", ZipFile=zipped(LATER), DryRun=True)
    assert dry["RevisionId"] == before["RevisionId"]
    later = base64.b64encode(hashlib.sha256(zipped(LATER)).digest()).decode()
    assert (dry["CodeSha256"], dry["CodeSize"]) == (later, len(zipped(LATER)))
    assert client.get_function_configuration(FunctionName="coded")["CodeSha256"] == before["CodeSha256"]
    with pytest.raises(client.exceptions.PreconditionFailedException) as refused:
        client.update_function_code(FunctionName="coded", ZipFile=zipped(LATER), RevisionId="wrong")
    assert refused.value.response["Error"]["Message"] == (
        "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve "
        "the latest Revision Id"
    )
    changed = client.update_function_code(FunctionName="coded", ZipFile=zipped(LATER), RevisionId=before["RevisionId"])
    assert changed["CodeSha256"] == later
    client.get_waiter("function_updated_v2").wait(FunctionName="coded", WaiterConfig={"Delay": 1})
    assert client.invoke(FunctionName="coded")["Payload"].read() == b'"later"'


def test_an_update_waits_for_the_one_before(client: Any, account: Account, create: Create) -> None:
    """As on AWS, where tools wait and try again."""
    create("busy", wait=False)

    def change_again_and_again() -> None:
        """The first may come when the function is already there."""
        for timeout in range(5, 20):
            client.update_function_configuration(FunctionName="busy", Timeout=timeout)

    with pytest.raises(client.exceptions.ResourceConflictException) as refused:
        change_again_and_again()
    assert refused.value.response["Error"]["Message"] in (
        "The operation cannot be performed at this time. The function is currently in the following state: Pending",
        "The operation cannot be performed at this time. An update is in progress for resource: " + account.arn("busy"),
    )


def test_listing_in_pages(client: Any, create: Create) -> None:
    """By name, as many at a time as asked for; without states."""
    names = [f"listed-{number}" for number in range(5)]
    for name in names:
        create(name, wait=False)
    pages = client.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 2})
    found = [function for page in pages for function in page["Functions"]]
    assert [function["FunctionName"] for function in found] == names
    assert all(not {"State", "LastUpdateStatus"} & set(function) for function in found)
    assert client.list_functions(MaxItems=1)["NextMarker"]
    with pytest.raises(client.exceptions.InvalidParameterValueException):
        client.list_functions(Marker="made up")
    all_versions = client.list_functions(FunctionVersion="ALL")["Functions"]
    assert {function["Version"] for function in all_versions} == {"$LATEST"}


def test_listing_all_versions_in_pages(client: Any, create: Create) -> None:
    """No page has more than was asked for, versions included; what is deleted between two pages is left out."""
    wanted = []
    for name, versions in (("paged-a", 3), ("paged-b", 0), ("paged-c", 1), ("paged-d", 2)):
        create(name)
        for number in range(versions):
            client.publish_version(FunctionName=name, Description=str(number))
            client.update_function_configuration(FunctionName=name, Description=str(number))
            client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
        wanted += [f"{name}:{version}" for version in ("$LATEST", *range(1, versions + 1))]

    def page(size: int, marker: str | None) -> tuple[list[str], str | None]:
        more = {} if marker is None else {"Marker": marker}
        answer = client.list_functions(FunctionVersion="ALL", MaxItems=size, **more)
        assert len(answer["Functions"]) <= size
        return [":".join(each["FunctionArn"].split(":")[6:]) for each in answer["Functions"]], answer.get("NextMarker")

    for size in (1, 2, 3, 5, 50):
        found, marker = page(size, None)
        while marker is not None:
            more, marker = page(size, marker)
            found += more
        assert found == wanted, size
    for wrong in ("made up", "x..", f"{page(1, None)[1]}x"):
        with pytest.raises(client.exceptions.InvalidParameterValueException):
            page(1, wrong)
    first, marker = page(3, None)
    client.delete_function(FunctionName="paged-a")
    assert first + page(50, marker)[0] == wanted[:3] + wanted[4:]


@pytest.mark.parametrize(
    ("principal", "shown"),
    [
        ("arn:aws:iam::123456789012:role/my.role", {"AWS": "arn:aws:iam::123456789012:role/my.role"}),
        ("123456789012", {"AWS": "arn:aws:iam::123456789012:root"}),
        ("events.amazonaws.com", {"Service": "events.amazonaws.com"}),
        ("*", "*"),
    ],
)
def test_whose_a_permission_is(client: Any, create: Create, principal: str, shown: Any) -> None:
    """An ARN is never a service, whatever its role is called."""
    create("permitted", wait=False)
    given = {"StatementId": "s", "Action": "lambda:InvokeFunction", "Principal": principal}
    added = client.add_permission(FunctionName="permitted", **given)
    assert json.loads(added["Statement"])["Principal"] == shown


@pytest.mark.parametrize("form", ["{arn}", "{account}:function:named", "function:named", "named"])
def test_functions_by_every_name(client: Any, account: Account, create: Create, form: str) -> None:
    """Name, ARN and partial ARN, with and without a qualifier."""
    create("named", wait=False)
    name = form.format(arn=account.arn("named"), account=account.account_id)
    assert client.get_function(FunctionName=name)["Configuration"]["FunctionArn"] == account.arn("named")
    latest = account.arn("named") + ":$LATEST"
    assert client.get_function(FunctionName=f"{name}:$LATEST")["Configuration"]["FunctionArn"] == latest
    assert client.get_function_configuration(FunctionName=name, Qualifier="$LATEST")["FunctionArn"] == latest
    with pytest.raises(client.exceptions.InvalidParameterValueException) as refused:
        client.get_function(FunctionName=f"{name}:$LATEST", Qualifier="1")
    assert refused.value.response["Error"]["Message"] == (
        "The derived qualifier from the function name does not match the specified qualifier."
    )


def test_deleted_is_gone(client: Any, account: Account, create: Create) -> None:
    """And the name is free."""
    create("gone")
    assert client.delete_function(FunctionName="gone")["ResponseMetadata"]["HTTPStatusCode"] == 204
    for call, arn in (
        (client.get_function, account.arn("gone")),
        (client.delete_function, account.arn("gone")),
        (client.get_function_configuration, account.arn("gone")),
        (client.invoke, account.arn("gone") + ":$LATEST"),
        (client.get_function_concurrency, account.arn("gone")),
    ):
        with pytest.raises(client.exceptions.ResourceNotFoundException) as refused:
            call(FunctionName="gone")
        assert refused.value.response["Message"] == f"Function not found: {arn}"
        assert refused.value.response["Type"] == "User"
    create("gone", wait=False)


def test_tags_and_concurrency(client: Any, account: Account, create: Create) -> None:
    """Changed without a new revision."""
    create("tagged", Tags={"a": "1"})
    arn, revision = account.arn("tagged"), client.get_function_configuration(FunctionName="tagged")["RevisionId"]
    client.tag_resource(Resource=arn, Tags={"b": "2", "a": "3"})
    client.untag_resource(Resource=arn, TagKeys=["a", "never"])
    assert client.list_tags(Resource=arn)["Tags"] == {"b": "2"}
    assert "ReservedConcurrentExecutions" not in client.get_function_concurrency(FunctionName="tagged")
    client.put_function_concurrency(FunctionName="tagged", ReservedConcurrentExecutions=0)
    assert client.get_function_concurrency(FunctionName="tagged")["ReservedConcurrentExecutions"] == 0
    assert client.get_function(FunctionName="tagged")["Concurrency"] == {"ReservedConcurrentExecutions": 0}
    client.delete_function_concurrency(FunctionName="tagged")
    assert "Concurrency" not in client.get_function(FunctionName="tagged")
    assert client.get_function_configuration(FunctionName="tagged")["RevisionId"] == revision
    with pytest.raises(client.exceptions.InvalidParameterValueException) as refused:
        client.tag_resource(Resource=arn, Tags={f"t{number}": "" for number in range(50)})
    assert refused.value.response["Error"]["Message"] == "Number of tags exceeds resource tag limit."
    with pytest.raises(client.exceptions.InvalidParameterValueException, match="the request cannot be processed"):
        client.tag_resource(Resource=arn, Tags={})
    with pytest.raises(client.exceptions.InvalidParameterValueException, match="Please specify a function ARN"):
        client.list_tags(Resource=f"{arn}:1")


LOGS = """
import logging
import os

def handler(event, context):
    logging.getLogger().info("heard")
    logging.getLogger().warning("seen", extra={"who": event})
    return {name: value for name, value in os.environ.items() if name.startswith("AWS_LAMBDA_LOG_")}
"""


def test_json_logs(client: Any, account: Account, create: Create) -> None:
    """The runtime is told as on AWS, and by REST it is the same setting; a version keeps its own."""
    json_logs = {"LogFormat": "JSON", "ApplicationLogLevel": "WARN", "SystemLogLevel": "INFO"}
    create("logging", LOGS, LoggingConfig=json_logs, Publish=True)

    def called(**at: str) -> tuple[Any, list[str]]:
        answer = client.invoke(FunctionName="logging", Payload=b'"Ada"', LogType="Tail", **at)
        return json.load(answer["Payload"]), base64.b64decode(answer["LogResult"]).decode().splitlines()

    told, lines = called()
    assert (told["AWS_LAMBDA_LOG_FORMAT"], told["AWS_LAMBDA_LOG_LEVEL"]) == ("JSON", "WARN")
    said = [json.loads(line) for line in lines]
    assert [each.get("type") for each in said] == ["platform.start", None, "platform.report"]
    assert said[2]["record"].keys() == {"requestId", "metrics", "status"}
    line = said[1]
    assert (line["level"], line["message"], line["who"]) == ("WARNING", "seen", "Ada")
    key = {"authorization": f"Bearer {account.key}"}
    with httpx.Client(base_url=account.endpoint, headers=key, trust_env=False) as rest:
        (workspace,) = rest.get("/api/workspaces").json()["items"]
        (seen,) = rest.get(f"/api/workspaces/{workspace['id']}/functions", params={"name": "logging"}).json()["items"]
        shown = {"log_format": "JSON", "application_log_level": "WARN", "system_log_level": "INFO"}
        assert seen["logging_config"] == shown
        path = f"/api/functions/{seen['id']}"
        rest.patch(path, json={"logging_config": {"log_format": "Text"}}).raise_for_status()
        client.get_waiter("function_updated_v2").wait(FunctionName="logging", WaiterConfig={"Delay": 1})
        assert rest.get(f"{path}/versions/1").json()["logging_config"] == shown
    config = client.get_function_configuration(FunctionName="logging")["LoggingConfig"]
    assert config == {"LogFormat": "Text", "LogGroup": "/aws/lambda/logging"}
    told, lines = called()
    assert not told.keys() & {"AWS_LAMBDA_LOG_FORMAT", "AWS_LAMBDA_LOG_LEVEL"}
    assert any(line.startswith("[WARNING]") for line in lines)
    assert called(Qualifier="1")[0]["AWS_LAMBDA_LOG_LEVEL"] == "WARN"


def test_a_change_of_how_it_logs_leaves_the_rest(client: Any, create: Create) -> None:
    """What `LoggingConfig` leaves out stays; levels come and go with JSON, and are refused beside text."""
    shown = {"LogFormat": "Text", "LogGroup": "mine"}
    assert create("logs", LoggingConfig={"LogGroup": "mine"})["LoggingConfig"] == shown
    for change, wanted in (
        ({"LogFormat": "JSON"}, {"LogFormat": "JSON", "ApplicationLogLevel": "INFO", "SystemLogLevel": "INFO"}),
        ({"ApplicationLogLevel": "ERROR"}, {"ApplicationLogLevel": "ERROR"}),
        ({"SystemLogLevel": "WARN", "LogGroup": "other"}, {"SystemLogLevel": "WARN", "LogGroup": "other"}),
    ):
        shown |= wanted
        changed = client.update_function_configuration(FunctionName="logs", LoggingConfig=change)
        assert changed["LoggingConfig"] == shown
        client.get_waiter("function_updated_v2").wait(FunctionName="logs", WaiterConfig={"Delay": 1})
    for levels in ({"ApplicationLogLevel": "INFO"}, {"SystemLogLevel": "INFO"}):
        with pytest.raises(client.exceptions.InvalidParameterValueException, match="LogFormat JSON"):
            client.update_function_configuration(FunctionName="logs", LoggingConfig=levels | {"LogFormat": "Text"})
    text = client.update_function_configuration(FunctionName="logs", LoggingConfig={"LogFormat": "Text"})
    assert text["LoggingConfig"] == {"LogFormat": "Text", "LogGroup": "other"}


def test_what_terraform_reads_besides(client: Any, create: Create) -> None:
    """Nothing where there is nothing, and 404 where AWS says that."""
    create("plain", wait=False)
    assert client.get_function_code_signing_config(FunctionName="plain")["ResponseMetadata"]["HTTPStatusCode"] == 200
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_policy(FunctionName="plain")
    assert [v["Version"] for v in client.list_versions_by_function(FunctionName="plain")["Versions"]] == ["$LATEST"]
    settings = client.get_account_settings()
    assert settings["AccountUsage"]["FunctionCount"] == 1
    assert settings["AccountUsage"]["TotalCodeSize"] == len(zipped())


def test_a_role_that_is_only_shown_is_none(client: Any, account: Account) -> None:
    """A tool that writes back what it read gives the function no role, as it had none. Any other one holds."""
    rest = httpx.Client(base_url=account.endpoint, headers={"authorization": f"Bearer {account.key}"}, trust_env=False)
    (workspace,) = rest.get("/api/workspaces").json()["items"]
    asked = {"name": "roleless", "runtime": "python3.12", "code": base64.b64encode(ECHO.encode()).decode()}
    rest.post(f"/api/workspaces/{workspace['id']}/functions", json=asked).raise_for_status()
    waiter = client.get_waiter("function_active_v2")
    waiter.wait(FunctionName="roleless", WaiterConfig={"Delay": 1})
    shown = client.get_function_configuration(FunctionName="roleless")
    written = client.update_function_configuration(FunctionName="roleless", Role=shown["Role"])
    assert (written["Role"], written["RevisionId"]) == (shown["Role"], shown["RevisionId"])
    written = client.update_function_configuration(FunctionName="roleless", Role=ROLE)
    assert written["Role"] == ROLE
    assert written["RevisionId"] != shown["RevisionId"]
    client.delete_function(FunctionName="roleless")


def test_the_same_function_everywhere(client: Any, account: Account, create: Create) -> None:
    """Made by AWS's tools and changed by REST, and the other way round. Its URL leads nowhere before that is said."""
    create("shared", Environment={"Variables": {"A1": "b"}})
    rest = httpx.Client(base_url=account.endpoint, headers={"authorization": f"Bearer {account.key}"}, trust_env=False)
    (workspace,) = rest.get("/api/workspaces").json()["items"]
    (seen,) = rest.get(f"/api/workspaces/{workspace['id']}/functions", params={"name": "shared"}).json()["items"]
    assert (seen["handler"], seen["environment"], seen["auth"]) == ("app.handler", {"A1": "b"}, "iam")
    assert rest.get(f"/{seen['hash']}").status_code == 404
    rest.patch(f"/api/functions/{seen['id']}", json={"timeout": 77, "auth": "none"}).raise_for_status()
    assert client.get_function_configuration(FunctionName="shared")["Timeout"] == 77
    assert rest.get(f"/{seen['hash']}").status_code == 200
    client.delete_function(FunctionName="shared")
    assert rest.get(f"/api/functions/{seen['id']}").status_code == 404
    asked = {"name": "from-rest", "runtime": "python3.12", "code": base64.b64encode(ECHO.encode()).decode()}
    made = rest.post(f"/api/workspaces/{workspace['id']}/functions", json=asked).raise_for_status().json()
    shown = client.get_function_configuration(FunctionName="from-rest")
    assert (shown["CodeSha256"], shown["Runtime"]) == (
        base64.b64encode(bytes.fromhex(made["code_sha256"])).decode(), "python3.12"
    )  # fmt: skip
    client.delete_function(FunctionName="from-rest")
