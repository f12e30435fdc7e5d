"""`lateen deploy` of SAM and CloudFormation templates, against a real Lateen."""

import json
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
from package_index import package_index
from tests.e2e.conftest import LATEEN, ROOT, Running, clean_environment

EXAMPLE = ROOT / "examples" / "sam-greetings"


def lateen(server: Running, *arguments: str | Path, workspace: str = "default") -> "subprocess.CompletedProcess[str]":
    environment = clean_environment(
        LATEEN_ENDPOINT=server.endpoint, LATEEN_DATA=str(server.data), LATEEN_WORKSPACE=workspace
    )
    return subprocess.run([LATEEN, *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=110)


def deployed(server: Running, *arguments: str | Path, workspace: str = "default") -> dict[str, Any]:
    ended = lateen(server, "deploy", *arguments, "-o", "json", workspace=workspace)
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def shown(server: Running, *arguments: str) -> Any:
    ended = lateen(server, *arguments, "-o", "json")
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def template(folder: Path, text: str, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "template.yaml").write_text(f"Transform: AWS::Serverless-2016-10-31\n{text}")
    for name, content in files.items():
        (folder / name.replace("__", "/")).parent.mkdir(exist_ok=True)
        (folder / name.replace("__", "/")).write_text(content)
    return folder


def answer(url: str, query: str = "") -> str:
    found = httpx.get(f"{url}{query}", timeout=60, trust_env=False)
    assert found.status_code == 200, found.text
    return found.text


def test_the_example(server: Running) -> None:
    """The first call makes all of it, the same again changes nothing, a parameter changes what it is about."""
    first = deployed(server, EXAMPLE)
    url = first["outputs"]["Url"]
    assert answer(url, "?name=Ada") == "Hello, dear Ada!"
    assert first["left_out"] == {"GreetAll.Events.Daily (Schedule)": "schedules are not offered yet"}
    greet, greet_all = first["functions"]["Greet"], first["functions"]["GreetAll"]
    assert (greet["name"], greet["alias"], greet["version"], f"{greet['url']}/") == ("Greet", "live", "1", url)
    assert (greet_all["name"], greet_all["url"], greet_all["auth"]) == ("greet-all", None, "iam")
    assert greet_all["environment"]["GREET_URL"] == url
    invoked = lateen(server, "invoke", "greet-all", "--data", '{"names": ["Ada"]}')
    assert json.loads(invoked.stdout) == ["Hello, Ada!"]

    again = lateen(server, "deploy", EXAMPLE / "template.yaml")
    assert again.returncode == 0, again.stderr
    assert "layer 'Politeness' is unchanged at version 1" in again.stderr
    assert "'Greet' is unchanged at revision 1" in again.stderr
    assert "'greet-all' is unchanged at revision 1" in again.stderr
    assert "left out: GreetAll.Events.Daily (Schedule): schedules are not offered yet" in again.stderr
    assert again.stdout.splitlines()[0].split() == ["FUNCTION", "STATE", "URL"]
    assert ["Greet", "Active", greet["url"]] in [line.split() for line in again.stdout.splitlines()]

    dutch = deployed(server, EXAMPLE, "--parameter", "Language=nl")
    assert (dutch["outputs"]["Url"], dutch["functions"]["Greet"]["version"]) == (url, "2")
    assert answer(url, "?name=Ada") == "Hallo, dear Ada!"


def test_plain_resources(server: Running, tmp_path: Path) -> None:
    """A URL that a permission opens, a version, an alias that shares calls, settings for events."""
    text = """
Resources:
  Echo:
    Type: AWS::Lambda::Function
    Properties:
      FunctionName: plain-echo
      Runtime: python3.12
      Handler: index.handler
      Code: {ZipFile: "def handler(event, context): return context.function_version"}
  Ended:
    Type: AWS::Lambda::Function
    Properties: {Runtime: python3.12, Handler: index.handler, Code: {ZipFile: "def handler(event, context): pass"}}
  EchoUrl2:
    Type: AWS::Lambda::Url
    Properties: {TargetFunctionArn: !GetAtt Echo.Arn, AuthType: NONE, Cors: {AllowOrigins: ["*"]}}
  EchoOpen:
    Type: AWS::Lambda::Permission
    Properties: {Action: lambda:InvokeFunctionUrl, FunctionName: !Ref Echo, Principal: "*", FunctionUrlAuthType: NONE}
  First: {Type: AWS::Lambda::Version, Properties: {FunctionName: !Ref Echo, Description: the first one}}
  Live:
    Type: AWS::Lambda::Alias
    Properties:
      Name: live
      FunctionName: !Ref Echo
      FunctionVersion: !GetAtt First.Version
      ProvisionedConcurrencyConfig: {ProvisionedConcurrentExecutions: 1}
  LiveUrl: {Type: AWS::Lambda::Url, Properties: {TargetFunctionArn: !Ref Echo, Qualifier: live, AuthType: NONE}}
  LiveOpen:
    Type: AWS::Lambda::Permission
    Properties: {Action: lambda:InvokeFunctionUrl, FunctionName: !Sub "${Echo}:live", Principal: "*"}
  Events:
    Type: AWS::Lambda::EventInvokeConfig
    Properties:
      FunctionName: !Ref Echo
      Qualifier: live
      MaximumRetryAttempts: 0
      DestinationConfig: {OnSuccess: {Destination: !GetAtt Ended.Arn}}
  Table: {Type: AWS::DynamoDB::Table}
Outputs:
  Url: {Value: !GetAtt EchoUrl2.FunctionUrl}
  LiveUrl: {Value: !GetAtt LiveUrl.FunctionUrl}
  Version: {Value: !Ref First}
"""
    found = deployed(server, template(tmp_path / "plain", text))
    assert answer(found["outputs"]["Url"]) == "$LATEST"
    asks = {"origin": "https://a.example"}
    heads = httpx.get(found["outputs"]["Url"], headers=asks, timeout=60, trust_env=False).headers
    assert heads["access-control-allow-origin"] == "*"
    echo = found["functions"]["Echo"]
    arn = found["outputs"]["Version"]
    assert arn.endswith(":function:plain-echo:1")
    assert [each["description"] for each in shown(server, "versions", "plain-echo")] == ["the first one"]
    (alias,) = shown(server, "alias", "list", "plain-echo")
    assert (alias["name"], alias["version"], answer(alias["url"])) == ("live", "1", "1")
    assert f"{alias['url']}/" == found["outputs"]["LiveUrl"]
    (kept,) = shown(server, "provisioned", "list", "plain-echo")
    assert (kept["qualifier"], kept["requested"], kept["state"]) == ("live", 1, "READY")
    again = deployed(server, tmp_path / "plain")
    assert (again["functions"]["Echo"]["revision"], again["outputs"]) == (echo["revision"], found["outputs"])
    assert found["left_out"] == {"Table (AWS::DynamoDB::Table)": "only Lambda's resources are deployed"}
    headers = {"authorization": f"Bearer {(server.data / 'admin').read_text().strip()}"}
    path = f"{server.endpoint}/api/functions/{echo['id']}/event-config"
    config = httpx.get(path, params={"qualifier": "live"}, headers=headers, trust_env=False).json()
    assert config["maximum_retry_attempts"] == 0
    assert config["on_success"] == arn.replace("plain-echo:1", "Ended")


def test_a_build_and_one_that_fails(server: Running, tmp_path: Path) -> None:
    """Code with requirements is built; a function that fails is named, the others are there, and the exit code is 1."""
    text = """
Globals: {Function: {Runtime: python3.12, Handler: app.handler, FunctionUrlConfig: {AuthType: NONE}}}
Resources:
  Good: {Type: AWS::Serverless::Function, Properties: {CodeUri: good/}}
  Bad: {Type: AWS::Serverless::Function, Properties: {CodeUri: bad/}}
  Odd: {Type: AWS::Serverless::Function, Properties: {CodeUri: good/, Runtime: cobol74}}
"""
    handler = "import lateen_tiny\ndef handler(event, context):\n    return lateen_tiny.WORD\n"
    folder = template(
        tmp_path / "built", text,
        **{"good__app.py": handler, "good__requirements.txt": "lateen-tiny==1.0\n",
           "bad__app.py": handler, "bad__requirements.txt": "lateen-tiny==2.0\n"},
    )  # fmt: skip
    with package_index() as index:
        settings = lateen(server, "workspace", "build-settings", "default", "--set", f"PIP_INDEX_URL={index.url}")
        assert settings.returncode == 0, settings.stderr
        ended = lateen(server, "deploy", folder)
    assert ended.returncode == 1
    (line,) = [line for line in ended.stdout.splitlines() if line.startswith("Good")]
    assert answer(line.split()[-1]) == "tiny"
    assert "error: not deployed:" in ended.stderr
    assert "Bad: 'Bad' failed: The code could not be built" in ended.stderr
    assert "Odd: the runtime 'cobol74' is not offered" in ended.stderr


def test_nothing_is_changed_by_a_wrong_template(server: Running, tmp_path: Path) -> None:
    """What is wrong is found before the first function is made; options of one function are not of a template."""
    text = """
Resources:
  Untouched: {Type: AWS::Serverless::Function, Properties: {Runtime: python3.12, Handler: a.b, InlineCode: "a = 1"}}
  Wrong: {Type: AWS::Serverless::Function, Properties: {Runtime: python3.12, CodeUri: ../../etc}}
"""
    folder = template(tmp_path / "wrong", text)
    ended = lateen(server, "deploy", folder)
    assert ended.returncode == 1
    assert "error: Wrong.CodeUri: '../../etc' leads out of the template's folder" in ended.stderr
    assert "Untouched" not in lateen(server, "list").stdout
    for option in (("--name", "x"), ("--timeout", "3"), ("--env", "A=B")):
        misused = lateen(server, "deploy", folder, *option)
        assert (misused.returncode, option[0] in misused.stderr) == (2, True)
    (tmp_path / "code.py").write_text("def handler(event, context): pass\n")
    assert lateen(server, "deploy", tmp_path / "code.py", "--parameter", "A=B").returncode == 2


def test_what_can_t_be_known_stays_as_it_is(server: Running, tmp_path: Path) -> None:
    """A variable whose value comes from elsewhere on AWS is set by hand once, or given with --parameter."""
    text = """
Resources:
  Orders: {Type: AWS::DynamoDB::Table}
  Keeps:
    Type: AWS::Serverless::Function
    Properties:
      ReservedConcurrentExecutions: 3
      Runtime: python3.12
      Handler: index.handler
      InlineCode: "def handler(event, context): pass"
      Environment: {Variables: {TABLE: !Ref Orders, OTHER: "1"}}
"""
    folder = template(tmp_path / "keeps", text)
    first = deployed(server, folder)["functions"]["Keeps"]
    assert (first["environment"], first["reserved_concurrency"]) == ({"OTHER": "1"}, 3)
    assert lateen(server, "update", "Keeps", "--env", "TABLE=mine", "--env", "GONE=1").returncode == 0
    environment = deployed(server, folder)["functions"]["Keeps"]["environment"]
    assert environment == {"TABLE": "mine", "OTHER": "1"}
    environment = deployed(server, folder, "--parameter", "Orders=theirs")["functions"]["Keeps"]["environment"]
    assert environment == {"TABLE": "theirs", "OTHER": "1"}


@pytest.mark.parametrize("setting", [{}, {"qualifier": "$LATEST"}])
def test_settings_for_events_over_rest(server: Running, tmp_path: Path, setting: dict[str, str]) -> None:
    """Set, shown, replaced as a whole, removed; what is wrong is refused with the field."""
    (tmp_path / "told.py").write_text("def handler(event, context): pass\n")
    assert lateen(server, "deploy", tmp_path / "told.py").returncode == 0
    function = shown(server, "info", "told")
    headers = {"authorization": f"Bearer {(server.data / 'admin').read_text().strip()}"}
    with httpx.Client(base_url=server.endpoint, headers=headers, params=setting, trust_env=False) as client:
        path = f"/api/functions/{function['id']}/event-config"
        assert client.get(path).status_code == 404
        put = client.put(path, json={"maximum_retry_attempts": 2, "maximum_event_age": 60})
        assert put.status_code == 200, put.text
        assert client.get(path).json() == put.json()
        assert (put.json()["qualifier"], put.json()["maximum_event_age"]) == ("$LATEST", 60)
        assert client.put(path, json={}).json()["maximum_event_age"] is None
        own = f"arn:aws:lambda:us-east-1:{account(client)}:function:told"
        for body, field in (
            ({"maximum_retry_attempts": 3}, "maximum_retry_attempts"),
            ({"maximum_event_age": 59}, "maximum_event_age"),
            ({"on_failure": "arn:aws:sqs:us-east-1:123456789012:q"}, "on_failure"),
            ({"on_success": own}, "on_success"),
        ):
            refused = client.put(path, json=body)
            assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, field), refused.text
        assert client.put(path, params={"qualifier": "none"}, json={}).status_code == 404
        assert [client.delete(path).status_code for _ in range(2)] == [204, 204]
        assert client.get(path).status_code == 404


def account(client: httpx.Client) -> str:
    (found,) = client.get("/api/workspaces", params={"name": "default"}).json()["items"]
    return str(found["account_id"])
