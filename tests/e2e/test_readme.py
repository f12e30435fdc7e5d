"""The README is true: its commands run, its settings exist, its files are there."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from msgspec.structs import fields
from tests.e2e.conftest import LATEEN, ROOT, Running, clean_environment

from lateen.settings import Settings, variable_of

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
HANDLER = "def lambda_handler(event, context):\n    return event['id']\n"
TEMPLATE = """Parameters: {Stage: {Type: String}}
Resources:
  Typed:
    Type: AWS::Serverless::Function
    Properties: {CodeUri: app/, Handler: main.lambda_handler, Runtime: python3.12, Description: !Ref Stage}
"""


def execute(script: str, server: Running, folder: Path) -> str:
    """As somebody would type it, who stops at the first thing that goes wrong. Returns: what was printed."""
    environment = clean_environment(LATEEN_ENDPOINT=server.endpoint, LATEEN_DATA=str(server.data))
    environment["PATH"] = f"{LATEEN.parent}:{environment['PATH']}"
    command = ["bash", "-e", "-o", "pipefail", "-c", script]
    ended = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture
def functions() -> str:
    """The block with the first function, five lines of it."""
    [block] = [block for block in BLOCKS if "> hello.py" in block]
    assert len(block.splitlines()) == 5
    return block


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_first_function(functions: str, server: Running, tmp_path: Path) -> None:
    """Five lines lead to an answer and to its log."""
    printed = execute(functions, server, tmp_path)
    assert '{"hello": "/world"}' in printed
    assert "START RequestId" in printed


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_s_lines_on_asynchronous_invocations(server: Running, tmp_path: Path) -> None:
    """With a key, as the API wants one."""
    (tmp_path / "curled.py").write_text("def handler(event, context): pass\n")
    execute("lateen deploy curled.py", server, tmp_path)
    made = json.loads(execute("lateen info curled -o json", server, tmp_path))
    lines = [
        line.replace("ID", made["id"], 1).replace("curl ", "curl --silent --show-error ", 1)
        for line in (ROOT / "docs" / "asynchronous.md").read_text().replace("\\\n", "").splitlines()
        if line.startswith("curl ")
    ]
    key = (server.data / "admin").read_text().strip()
    sent, one, all_ = (json.loads(execute(f"LATEEN_TOKEN={key}\n{line}", server, tmp_path)) for line in lines)
    assert "request_id" in sent, sent
    assert one["type"] == "urn:lateen:problem:not-found", one
    assert all_ == {"redriven": 0, "refused": [], "next_cursor": None}, all_


def test_the_other_commands(server: Running, tmp_path: Path) -> None:
    """Each of them is one that there is."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "main.py").write_text(HANDLER)
    (tmp_path / "libs" / "python").mkdir(parents=True)
    (tmp_path / "libs" / "python" / "base.py").write_text("")
    (tmp_path / "template.yaml").write_text(TEMPLATE)
    [block] = [block for block in BLOCKS if "lateen invoke" in block]
    printed = execute(block, server, tmp_path)
    assert "\n1\n" in printed
    assert "ltn_" in printed
    assert json.loads(execute("lateen info app -o json", server, tmp_path))["auth"] == "key"


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_example(server: Running, tmp_path: Path) -> None:
    """What its README says works, and gives JSON to scripts and a page to browsers."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    [block] = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "examples/access-log/README.md").read_text(), re.DOTALL | re.M)
    deploy, *calls = block.splitlines()
    url = execute(deploy, server, tmp_path).strip()
    printed = execute("\n".join(call.replace(" URL", f" {url}") for call in calls), server, tmp_path)
    assert json.loads(printed)["lines"] == 4000
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")


def test_every_setting_is_documented() -> None:
    """A variable that the README does not name does not exist for an operator, and it names none that isn't read."""
    rows = set(re.findall(r"^\| `([A-Z_]+)` \|", README, re.MULTILINE))
    of_the_command_line = {"LATEEN_ENDPOINT", "LATEEN_TOKEN", "LATEEN_WORKSPACE"}
    assert rows == {variable_of(field.name) for field in fields(Settings)} | of_the_command_line


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", "docs/architecture.md", "examples/access-log/README.md"]
)
def test_links_lead_somewhere(page: str) -> None:
    """Inside the repository, every one."""
    path = ROOT / page
    links = re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text())
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_make_has_what_the_readme_names() -> None:
    """Its targets, and no hidden one."""
    makefile = (ROOT / "Makefile").read_text()
    named = set(re.findall(r"\bmake ([a-z]+)`", README + (ROOT / "CONTRIBUTING.md").read_text())) | {"up"}
    assert named <= set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
