"""AWS's other tools against embedded Lateen: the AWS CLI, the SDKs for JavaScript and Go, Terraform."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from .conftest import REGION, ROLE, Account, new_account, zipped

HERE = Path(__file__).parent
AWS = Path(sys.executable).with_name("aws")
PROVIDERS = Path("/opt/tf-plugins")
"""Where a mirror of providers may be, for a machine that does not reach their registry; TF_PLUGINS says elsewhere."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def needs(*programs: str) -> None:
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"not on the PATH: {', '.join(missing)}")


def ran(words: list[str | Path], folder: Path, environment: dict[str, str] | None = None, *, status: int = 0) -> str:
    """What the program prints. Fails with all that it said if it ends otherwise."""
    ended = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=500)
    assert ended.returncode == status, ended.stdout + ended.stderr
    return ended.stdout if status == 0 else ended.stdout + ended.stderr


@pytest.fixture
def account(server: Any, request: pytest.FixtureRequest) -> Account:
    """One for each test: they list all that there is."""
    return new_account(server, request.node.name)


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """The echo, as a zip."""
    path = tmp_path / "code.zip"
    path.write_bytes(zipped())
    return path


def test_aws_cli(account: Account, code: Path, tmp_path: Path) -> None:
    """As in AWS's tutorials: create, wait, invoke, update, list, delete."""
    use_aws_cli(account, code, tmp_path)


def use_aws_cli(account: Account, code: Path, tmp_path: Path) -> None:
    def aws(*words: str | Path, service: str = "lambda", status: int = 0) -> Any:
        printed = ran(
            [AWS, service, *words, "--output", "json"], tmp_path, account.environment | {"PAGER": "", "AWS_PAGER": ""},
            status=status,
        )  # fmt: skip
        return json.loads(printed) if status == 0 and printed.strip() else printed

    one = ("--function-name", "from-the-cli")
    made = aws(
        "create-function", *one, "--runtime", "python3.12", "--handler", "app.handler", "--role", ROLE,
        "--zip-file", f"fileb://{code}", "--environment", "Variables={STAGE=test}", "--tags", "team=a",
    )  # fmt: skip
    assert made["FunctionArn"] == account.arn("from-the-cli")
    aws("wait", "function-active-v2", *one)
    out = tmp_path / "out.json"
    answer = aws("invoke", *one, "--payload", '{"a": 1}', "--log-type", "Tail", out)
    assert (answer["StatusCode"], json.loads(out.read_text())) == (200, {"a": 1})
    assert answer["LogResult"]
    assert aws("update-function-configuration", *one, "--timeout", "9")["Timeout"] == 9
    aws("wait", "function-updated-v2", *one)
    assert aws("update-function-code", *one, "--zip-file", f"fileb://{code}", "--publish")["Version"] == "1"
    assert aws("create-alias", *one, "--name", "live", "--function-version", "1")["Name"] == "live"
    assert aws("get-function", *one, "--qualifier", "live")["Configuration"]["Version"] == "1"
    assert [each["FunctionName"] for each in aws("list-functions")["Functions"]] == ["from-the-cli"]
    aws("put-function-concurrency", *one, "--reserved-concurrent-executions", "5")
    assert aws("get-function-concurrency", *one)["ReservedConcurrentExecutions"] == 5
    assert aws("list-tags", "--resource", account.arn("from-the-cli"))["Tags"] == {"team": "a"}
    assert aws("get-caller-identity", service="sts")["Account"] == account.account_id
    aws("delete-function", *one)
    refused = aws("get-function", *one, status=255)
    assert (
        f"(ResourceNotFoundException) when calling the GetFunction operation: Function not found: {made['FunctionArn']}"
        in refused
    )


def test_sdk_for_javascript(account: Account, code: Path, tmp_path: Path) -> None:
    """@aws-sdk/client-lambda, with its own waiters, pages and exceptions."""
    needs("node", "npm")
    folder = shutil.copytree(HERE / "javascript", tmp_path / "javascript")
    ran(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], folder)
    seen = json.loads(ran(["node", "program.mjs", code], folder, account.environment))
    assert json.loads(seen.pop("streamed")) == {"text": "ö"}
    assert seen == program_saw(account, "from-javascript")


def test_sdk_for_go(account: Account, code: Path, tmp_path: Path) -> None:
    """aws-sdk-go-v2, the same."""
    needs("go")
    program = tmp_path / "program"
    ran(["go", "build", "-o", program, "."], HERE / "golang")
    seen = json.loads(ran([program, code], tmp_path, account.environment))
    assert seen == program_saw(account, "from-go")


def program_saw(account: Account, name: str) -> dict[str, Any]:
    return {
        "created": "Pending",
        "payload": {"text": "ä"},
        "log": True,
        "timeout": 12,
        "listed": [name],
        "missing": f"Function not found: {account.arn(name)}",
    }


def test_terraform(account: Account, code: Path, tmp_path: Path) -> None:
    """Applied, planned again without a difference, changed, destroyed; with Terraform's own provider for AWS."""
    terraform = shutil.which("terraform")
    providers = Path(os.environ.get("TF_PLUGINS", PROVIDERS))
    if terraform is None or not providers.is_dir():
        # Neither is in any registry that a machine for tests must reach.
        pytest.skip(f"needs terraform on the PATH, and a mirror of providers with hashicorp/aws at {providers}")
    folder = tmp_path / "terraform"
    folder.mkdir()
    shutil.copy(HERE / "terraform" / "main.tf", folder)
    shutil.copy(code, folder)
    (folder / "rc").write_text(f'provider_installation {{\n  filesystem_mirror {{ path = "{providers}" }}\n}}\n')
    environment = account.environment | {"TF_CLI_CONFIG_FILE": str(folder / "rc"), "CHECKPOINT_DISABLE": "1"}

    def tf(*words: str, timeout: int = 7, status: int = 0) -> str:
        given = environment | {"TF_VAR_timeout": str(timeout), "TF_INPUT": "0"}
        return ran([terraform, *words, "-no-color"], folder, given, status=status)

    tf("init")
    tf("apply", "-auto-approve")
    outputs = {name: each["value"] for name, each in json.loads(tf("output", "-json")).items()}
    arn = account.arn("from-terraform")
    url = outputs.pop("url")
    end = time.monotonic() + 60
    while httpx.post(url, json={}, trust_env=False, timeout=60).status_code != 200:
        assert time.monotonic() < end
        time.sleep(0.2)
    assert outputs == {"arn": arn, "alias": f"{arn}:live", "account": account.account_id}
    assert "No changes." in tf("plan", "-detailed-exitcode")
    tf("apply", "-auto-approve", timeout=8)
    client = account.session().client("lambda", endpoint_url=account.endpoint)
    shown = client.get_function_configuration(FunctionName="from-terraform", Qualifier="live")
    assert (shown["Timeout"], shown["Version"], shown["FunctionArn"]) == (8, "2", f"{arn}:live")
    assert "No changes." in tf("plan", "-detailed-exitcode", timeout=8)
    tf("destroy", "-auto-approve", timeout=8)
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_function(FunctionName="from-terraform")


def test_region_is_the_installations(account: Account) -> None:
    """Whichever region a client signs for, there is one; ARNs name it."""
    client = account.session().client("lambda", endpoint_url=account.endpoint, region_name="eu-central-1")
    assert client.list_functions()["Functions"] == []
    sts = account.session().client("sts", endpoint_url=account.endpoint, region_name="eu-central-1")
    assert sts.get_caller_identity()["Account"] == account.account_id
    assert account.arn("f").startswith(f"arn:aws:lambda:{REGION}:")
