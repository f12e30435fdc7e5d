"""`lateen`, driven as a person drives it, against a real Lateen."""

import json
import os
import pty
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from runtimes_here import catalogue
from tests.e2e.conftest import LATEEN, STOP_S, Running, Start, clean_environment

HELLO = 'def handler(event, context):\n    return {"hello": event.get("rawPath", event.get("name"))}\n'
Cli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def cli(server: Running) -> Cli:
    """Runs one command as the administrator; `token`, `cwd` and `stdin` where told."""

    def run(*arguments: str | Path, **options: Any) -> "subprocess.CompletedProcess[str]":
        environment = clean_environment(LATEEN_ENDPOINT=server.endpoint, LATEEN_DATA=str(server.data))
        environment |= options.pop("env", {})
        return subprocess.run(
            [LATEEN, *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=60, **options
        )

    return run


@pytest.fixture
def done(cli: Cli) -> Callable[..., str]:
    """Runs a command that has to succeed. Returns: its stdout."""

    def run(*arguments: str | Path, **options: Any) -> str:
        ended = cli(*arguments, **options)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    return run


@pytest.fixture
def hello(tmp_path: Path) -> Path:
    path = tmp_path / "hello.py"
    path.write_text(HELLO)
    return path


def test_deploy_prints_the_url_and_only_that(cli: Cli, hello: Path) -> None:
    """`url=$(lateen deploy hello.py)`; the function answers there at once."""
    ended = cli("deploy", hello, "--name", "first")
    assert ended.returncode == 0, ended.stderr
    assert "created 'first'" in ended.stderr
    url = ended.stdout.removesuffix("\n")
    assert httpx.get(f"{url}/world").json() == {"hello": "/world"}


def test_deploying_again_updates(cli: Cli, done: Callable[..., str], hello: Path) -> None:
    """The URL stays, options that aren't named stay, and what is the same changes nothing."""
    url = done("deploy", hello, "--name", "again", "--env", "A=1", "--timeout", "7")
    unchanged = cli("deploy", hello, "--name", "again")
    assert (unchanged.stdout, "unchanged at revision 1" in unchanged.stderr) == (url, True)
    hello.write_text(HELLO.replace("hello", "goodbye"))
    assert done("deploy", hello, "--name", "again", "--env", "B=x=y") == url
    assert httpx.get(url.strip()).json() == {"goodbye": "/"}
    found = json.loads(done("info", "again", "-o", "json"))
    assert json.loads(done("info", found["id"], "-o", "json")) == found
    assert (found["revision"], found["timeout"], found["environment"]) == (2, 7, {"A": "1", "B": "x=y"})


def test_a_folder_is_deployed_whole(done: Callable[..., str], tmp_path: Path) -> None:
    """With packages inside, named after the folder."""
    package = tmp_path / "shop" / "lib"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("WHAT = 'sails'\n")
    (tmp_path / "shop" / "main.py").write_text("import lib\ndef run(event, context):\n    return lib.WHAT\n")
    done("deploy", tmp_path / "shop", "--handler", "main.run")
    assert json.loads(done("invoke", "shop")) == "sails"


def test_invoke_without_waiting(done: Callable[..., str], hello: Path) -> None:
    """The request id is printed, and the log has it when the event has run."""
    done("deploy", hello, "--name", "later")
    request_id = done("invoke", "later", "--async", "--data", '{"name": "later"}').strip()
    until_s = time.monotonic() + 30
    while request_id not in done("logs", "later", "--output", "json"):
        assert time.monotonic() < until_s
        time.sleep(0.1)
    told = json.loads(done("invoke", "later", "--async", "--output", "json"))
    assert set(told) == {"request_id"}


def test_invoke_gives_the_event(done: Callable[..., str], hello: Path, tmp_path: Path) -> None:
    """From the command line, a file or stdin; to scripts with the request id."""
    done("deploy", hello, "--name", "events")
    (tmp_path / "event.json").write_text('{"name": "file"}')
    assert json.loads(done("invoke", "events", "--data", '{"name": "ö"}')) == {"hello": "ö"}
    assert json.loads(done("invoke", "events", "-d", f"@{tmp_path / 'event.json'}")) == {"hello": "file"}
    assert json.loads(done("invoke", "events", "-d", "-", input='{"name": "in"}')) == {"hello": "in"}
    answered = json.loads(done("invoke", "events", "--output", "json"))
    assert answered["answer"] == {"hello": None}
    assert answered["request_id"]


def test_a_failing_function_shows_its_trace(cli: Cli, done: Callable[..., str], tmp_path: Path) -> None:
    """Exit code 1; type and message last, the trace above, as JSON for scripts."""
    (tmp_path / "bad.py").write_text("def handler(event, context):\n    raise KeyError('sail')\n")
    done("deploy", tmp_path / "bad.py")
    ended = cli("invoke", "bad")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "raise KeyError('sail')" in ended.stderr
    assert "error: 'bad' failed: KeyError: 'sail' (function-error)\nhint: " in ended.stderr
    told = json.loads(cli("invoke", "bad", "-o", "json").stdout)
    assert (told["error"]["type"], told["error"]["message"]) == ("KeyError", "'sail'")


def test_the_runtime_is_known_by_the_files(cli: Cli, done: Callable[..., str], tmp_path: Path) -> None:
    """Their names say it, unless they say two; a file stays the kind of module that it is."""
    if why := catalogue()[1]["node20"].disabled:
        pytest.skip(why)
    for name, code in (
        ("common.cjs", "exports.handler = async () => 'common'"),
        ("module.mjs", "export const handler = async () => 'module'"),
    ):
        (tmp_path / name).write_text(code)
        done("deploy", tmp_path / name)
        assert done("invoke", name.partition(".")[0]).strip() == f'"{name.partition(".")[0]}"'
    (tmp_path / "both").mkdir()
    (tmp_path / "both" / "index.js").write_text("exports.handler = async () => 1")
    (tmp_path / "both" / "tool.py").write_text("pass")
    ended = cli("deploy", tmp_path / "both")
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: these files could be of node or python\nhint: name one with --runtime; ")


def test_a_file_keeps_the_name_that_the_handler_calls(cli: Cli, done: Callable[..., str], tmp_path: Path) -> None:
    """As on AWS, where `hello.handler` is in `hello.py`; also when only the code is given later."""
    path = tmp_path / "own_name.py"
    path.write_text("def answer(event, context):\n    return [__file__, 1]\n")
    done("deploy", path, "--handler", "own_name.answer")
    assert json.loads(done("invoke", "own_name"))[0].endswith("/own_name.py")
    for again in (("deploy", path), ("update", "own_name", "--code", path)):
        path.write_text(path.read_text().replace("1]", "1, 1]"))
        done(*again)
        assert json.loads(done("invoke", "own_name"))[0].endswith("/own_name.py")
    assert json.loads(done("invoke", "own_name"))[1:] == [1, 1, 1]
    ended = cli("deploy", path, "--name", "no_name", "--handler", "elsewhere.answer")
    assert ended.stderr.endswith("\nhint: what is called is elsewhere.answer; --handler says another\n")


def test_packages_that_the_code_lacks(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "lacking.py"
    path.write_text("import requests\n")
    ended = cli("deploy", path)
    assert "No module named 'requests'" in ended.stderr
    assert ended.stderr.endswith(
        "\nhint: runtimes bring no packages but AWS's SDK: have them in the folder or a layer, or name them in the "
        "folder's requirements.txt or package.json\n"
    )
    path.write_text("from json import nothing_like_this\n")
    assert "hint:" not in cli("deploy", path).stderr


@pytest.mark.parametrize("name", ["node_lacking.mjs", "node_lacking.cjs"])
def test_packages_that_node_code_lacks(cli: Cli, tmp_path: Path, name: str) -> None:
    """By modules of either kind, whose errors differ."""
    if why := catalogue()[1]["node20"].disabled:
        pytest.skip(why)
    path = tmp_path / name
    for package, hint in (
        ("left-pad", "runtimes bring no packages but"),
        ("@aws-sdk/absent", "the runtime has not got"),
    ):
        path.write_text(f'import "{package}";' if name.endswith(".mjs") else f'require("{package}");')
        ended = cli("deploy", path)
        assert f"Cannot find {'package' if name.endswith('.mjs') else 'module'} '{package}'" in ended.stderr
        assert f"\nhint: {hint}" in ended.stderr


def test_a_package_further_down_says_the_runtime(done: Callable[..., str], tmp_path: Path) -> None:
    """Where nothing at the top of the folder does."""
    (tmp_path / "deep" / "shop").mkdir(parents=True)
    (tmp_path / "deep" / "shop" / "orders.py").write_text("def handler(event, context):\n    return __name__\n")
    done("deploy", tmp_path / "deep", "--handler", "shop.orders.handler")
    assert done("invoke", "deep").strip() == '"shop.orders"'


def test_a_function_that_could_not_be_built_is_no_matter_of_patience(cli: Cli, tmp_path: Path) -> None:
    """Calling it again in a moment would change nothing."""
    (tmp_path / "unbuilt").mkdir()
    (tmp_path / "unbuilt" / "code.py").write_text("def handler(event, context): pass\n")
    (tmp_path / "unbuilt" / "requirements.txt").write_text("!not a requirement!\n")
    assert cli("deploy", tmp_path / "unbuilt").returncode == 1
    ended = cli("invoke", "unbuilt")
    assert ended.returncode == 1
    assert ended.stderr.endswith("(unavailable)\nhint: mend the cause and deploy again\n")


def test_an_import_error_is_told_by_deploy(cli: Cli, tmp_path: Path) -> None:
    """The function is there and each call would say so; deploy says it first."""
    (tmp_path / "typo.py").write_text("import jsn\ndef handler(event, context): pass\n")
    ended = cli("deploy", tmp_path / "typo.py")
    assert ended.returncode == 0
    assert "jsn" in ended.stderr


def test_logs_come_in_order_and_without_escapes(cli: Cli, done: Callable[..., str], tmp_path: Path) -> None:
    """Oldest first; what a function printed can't move the cursor; filters reach the server."""
    code = "def handler(event, context):\n    print('\\x1b[2Jsaw', event['n'])\n    return 1 // event['n']\n"
    (tmp_path / "talk.py").write_text(code)
    done("deploy", tmp_path / "talk.py")
    for number in ("2", "1"):
        done("invoke", "talk", "-d", f'{{"n": {number}}}')
    shown = wait_for(lambda: done("logs", "talk"), lambda text: text.count("saw") == 2)
    assert "\x1b" not in shown
    assert shown.index("\\x1b[2Jsaw 2") < shown.index("\\x1b[2Jsaw 1")
    records = json.loads(done("logs", "talk", "-o", "json", "--limit", "1"))
    assert [record["status"] for record in records] == ["success"]
    assert "saw 1" in records[0]["log_tail"]
    assert json.loads(done("logs", "talk", "-o", "json", "--status", "error")) == []
    assert len(json.loads(done("logs", "talk", "-o", "json", "--contains", "SAW"))) == 2
    assert json.loads(done("logs", "talk", "-o", "json", "--contains", "nowhere")) == []
    assert json.loads(done("logs", "talk", "-o", "json", "--since", "2001-01-01T00:00Z"))
    assert cli("logs", "talk", "--status", "timeout").stderr == "no recorded invocation of 'talk' matches\n"
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        done("invoke", "talk", "-d", '{"n": 0}')
    failed = wait_for(lambda: done("logs", "talk", "--status", "error"), bool)
    assert "    [ERROR] ZeroDivisionError: integer division or modulo by zero\n    Traceback (most" in failed
    time.sleep(1.1)
    assert json.loads(done("logs", "talk", "-o", "json", "--since", "1s")) == []


def test_follow_shows_what_comes(server: Running, done: Callable[..., str], hello: Path) -> None:
    """One line of JSON an invocation, each once, until Ctrl-C."""
    done("deploy", hello, "--name", "followed")
    done("invoke", "followed")
    wait_for(lambda: done("logs", "followed", "-o", "json"), lambda text: len(json.loads(text)) == 1)
    environment = clean_environment(LATEEN_ENDPOINT=server.endpoint, LATEEN_DATA=str(server.data))
    with subprocess.Popen(
        [LATEEN, "logs", "followed", "--follow", "-o", "json"], env=environment, stdout=subprocess.PIPE, text=True
    ) as following:
        assert following.stdout is not None
        first = json.loads(following.stdout.readline())
        done("invoke", "followed")
        second = json.loads(following.stdout.readline())
        following.send_signal(signal.SIGINT)
        assert following.wait(10) == 130
        assert following.stdout.read() == ""
    assert first["request_id"] != second["request_id"]


def test_update_and_delete(cli: Cli, done: Callable[..., str], hello: Path) -> None:
    """Variables are added and removed one by one; a removed function is gone, its name free."""
    done("deploy", hello, "--name", "mine", "--env", "A=1", "--env", "B=2")
    done("update", "mine", "--env", "C=3", "--unset", "A", "--memory", "256", "--name", "yours", "--auth", "key")
    found = json.loads(done("info", "yours", "-o", "json"))
    assert (found["environment"], found["memory"], found["auth"]) == ({"B": "2", "C": "3"}, 256, "key")
    assert httpx.get(found["url"]).status_code == 401
    assert "yours" in done("list")
    assert json.loads(done("delete", "yours", "-o", "json")) == {"id": found["id"], "deleted": True}
    ended = cli("delete", "yours")
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: there is no function 'yours' in the workspace 'default' (not-found)\nhint: ")
    done("deploy", hello, "--name", "yours")


def test_reserved_concurrency(cli: Cli, done: Callable[..., str], hello: Path) -> None:
    """Set with the code, changed, and taken away again; one of these at a time."""

    def shown() -> object:
        return json.loads(done("info", "braked", "-o", "json"))["reserved_concurrency"]

    done("deploy", hello, "--name", "braked", "--reserved-concurrency", "0")
    assert shown() == 0
    done("update", "braked", "--reserved-concurrency", "7")
    assert shown() == 7
    assert cli("update", "braked", "--reserved-concurrency", "901").returncode == 1
    assert cli("update", "braked", "--reserved-concurrency", "1", "--no-reserved-concurrency").returncode == 2
    done("update", "braked", "--no-reserved-concurrency")
    assert shown() is None


def test_role(cli: Cli, done: Callable[..., str], hello: Path) -> None:
    """Given, shown, and taken away again; one of these at a time."""
    arn = "arn:aws:iam::123456789012:role/orders"
    done("deploy", hello, "--name", "roled", "--role", arn)
    assert arn in done("info", "roled")
    assert cli("update", "roled", "--role", arn, "--no-role").returncode == 2
    done("update", "roled", "--no-role")
    assert json.loads(done("info", "roled", "-o", "json"))["role"] is None


def test_redrive(cli: Cli, done: Callable[..., str], hello: Path) -> None:
    """Events that could not be done are shown, and run when the reason is gone: one, then all that are left."""
    done("deploy", hello, "--name", "closed", "--reserved-concurrency", "0")
    assert cli("dead-letters", "closed").stderr.startswith("there is none")
    sent = [done("invoke", "closed", "--async", "--data", f'{{"name": "{number}"}}').strip() for number in range(3)]
    letters = wait_for(
        lambda: json.loads(done("dead-letters", "closed", "-o", "json")), lambda found: len(found) == len(sent)
    )
    assert {each["request_id"] for each in letters} == set(sent)
    assert [each["event"] for each in letters if each["request_id"] == sent[1]] == ['{"name": "1"}']
    heading, *rows = done("dead-letters", "closed", "--limit", "2").splitlines()
    assert heading.split() == ["ID", "CONDITION", "ATTEMPTS", "ENDED", "REASON"]
    assert [row.split()[:3] for row in rows] == [[each["id"], "ZeroReservedConcurrency", "0"] for each in letters[:2]]
    done("update", "closed", "--no-reserved-concurrency")
    assert done("redrive", "closed", letters[0]["id"]).strip() == letters[0]["request_id"]
    refused = cli("redrive", "closed", letters[0]["id"])
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "(not-found)\nhint: 'lateen dead-letters closed'" in refused.stderr
    for wrong in ([], ["--all", letters[1]["id"]]):
        assert cli("redrive", "closed", *wrong).returncode == 2
    assert done("redrive", "closed", "--all").strip() == "2"
    assert json.loads(done("redrive", "closed", "--all", "-o", "json")) == {"redriven": 0, "refused": []}
    assert done("dead-letters", "closed", "-o", "json").strip() == "[]"
    wait_for(lambda: done("logs", "closed", "-o", "json"), lambda logs: all(each in logs for each in sent))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--timeout", "901"], "timeout"),
        (["--memory", "1"], "memory"),
        (["--runtime", "cobol85"], "runtime"),
        (["--handler", "../../etc/passwd"], "handler"),
        (["--env", "AWS_REGION=x"], "environment.AWS_REGION"),
        (["--name", "a b"], "name"),
        (["--workspace", "nowhere"], "no workspace 'nowhere'"),
    ],
)
def test_what_the_server_refuses_names_the_field(cli: Cli, hello: Path, arguments: list[str], said: str) -> None:
    """One line, exit code 1, nothing on stdout."""
    ended = cli("deploy", hello, *arguments)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("error: ")
    assert said in ended.stderr


def test_a_key_of_a_workspace_stays_in_it(cli: Cli, done: Callable[..., str], hello: Path) -> None:
    """Made, used, listed without its secret, revoked."""
    done("workspace", "create", "team-a", "--description", "A team's")
    made = json.loads(done("key", "create", "-w", "team-a", "--description", "ci", "-o", "json"))
    as_team = {"LATEEN_TOKEN": made["secret"]}
    done("deploy", hello, "--name", "ours", env=as_team)
    assert [each["name"] for each in json.loads(done("list", "-o", "json", "-w", "team-a"))] == ["ours"]
    assert [each["name"] for each in json.loads(done("workspace", "list", "-o", "json", env=as_team))] == ["team-a"]
    assert cli("list", "-w", "default", env=as_team).returncode == 1
    more = cli("key", "create", "--installation", env=as_team)
    assert more.returncode == 1
    assert more.stderr.startswith("error: a key of a workspace makes none for the installation (forbidden)\nhint: ")
    assert [each["id"] for each in json.loads(done("key", "list", "-o", "json", env=as_team))] == [made["id"]]
    assert made["secret"] not in done("key", "list") + done("key", "list", "-o", "json")
    refused = cli("workspace", "delete", "team-a")
    assert refused.returncode == 1
    assert "--force" in refused.stderr
    assert json.loads(done("key", "revoke", made["id"], "-o", "json")) == {"id": made["id"], "deleted": True}
    ended = cli("list", env=as_team)
    assert ended.returncode == 1
    assert "(unauthenticated)" in ended.stderr
    assert "LATEEN_TOKEN" in ended.stderr
    done("workspace", "update", "team-a", "--name", "team-b", "--pods", "5", "--cpu", "20")
    done("workspace", "update", "team-b", "--cpu", "none", "--memory", "64Gi")
    assert "pods 5, memory 64Gi" in done("workspace", "show", "team-b")
    [team] = [each for each in json.loads(done("workspace", "list", "-o", "json")) if each["name"] == "team-b"]
    assert json.loads(done("workspace", "show", team["id"], "-o", "json")) == team
    removed = json.loads(done("workspace", "delete", "team-b", "--force", "-o", "json"))
    assert removed == {"id": team["id"], "deleted": True}
    assert "team-b" not in done("workspace", "list")


def test_a_full_disk_is_said_in_a_line(server: Running) -> None:
    """`lateen env > /dev/full`"""
    environment = clean_environment(LATEEN_ENDPOINT=server.endpoint, LATEEN_DATA=str(server.data))
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [LATEEN, "env"], env=environment, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert (ended.returncode, ended.stderr) == (1, "error: No space left on device\n")


def test_env_is_what_a_shell_takes(server: Running, cli: Cli, done: Callable[..., str]) -> None:
    """Evaluated, it leads back here; the AWS pair is the one that the server derives."""
    script = f'eval "$({LATEEN} env)"; {LATEEN} list -o json >/dev/null && env'
    printed = subprocess.run(
        ["sh", "-c", script],
        env=clean_environment(LATEEN_ENDPOINT=server.endpoint, LATEEN_DATA=str(server.data)),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = dict(line.split("=", 1) for line in printed.splitlines() if "=" in line)
    assert found["LATEEN_ENDPOINT"] == found["AWS_ENDPOINT_URL_LAMBDA"] == server.endpoint
    assert found["LATEEN_TOKEN"] == (server.data / "admin").read_text().strip()
    assert found["AWS_REGION"] == found["AWS_DEFAULT_REGION"] == "us-east-1"
    keys = {key["aws_access_key_id"] for key in json.loads(done("key", "list", "-o", "json"))}
    assert found["AWS_ACCESS_KEY_ID"] in keys
    assert len(found["AWS_SECRET_ACCESS_KEY"]) == 40
    # A new key's pair is known from the server's own answer.
    made = json.loads(done("key", "create", "--installation", "-o", "json"))
    again = json.loads(done("env", "-o", "json", env={"LATEEN_TOKEN": made["secret"]}))
    assert again["AWS_SECRET_ACCESS_KEY"] == made["aws_secret_access_key"]
    done("key", "revoke", made["id"])


def test_env_of_another_machine_has_no_secret_of_this_one(cli: Cli) -> None:
    """The pair is derived from an installation's master key, and the one in the data folder is not that one's."""
    token = f"ltn_{'a' * 17}_{'0' * 48}"
    ended = cli("env", "-o", "json", env={"LATEEN_ENDPOINT": "https://lateen.example.org", "LATEEN_TOKEN": token})
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["LATEEN_TOKEN"] == token
    assert not {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} & set(found)
    assert ended.stderr.startswith("note: ")


def test_names_complete(server: Running, done: Callable[..., str], hello: Path) -> None:
    """A shell asks `lateen` itself, which asks the server; without one it says nothing."""
    done("deploy", hello, "--name", "completed-name")
    asked = {"_LATEEN_COMPLETE": "bash_complete", "COMP_WORDS": "lateen invoke compl", "COMP_CWORD": "2"}
    assert done(env=asked).splitlines() == ["plain,completed-name"]
    assert done(env=asked | {"LATEEN_ENDPOINT": "http://127.0.0.1:9"}).strip() == ""


def test_a_long_upload_shows_a_bar_on_a_terminal(server: Running, tmp_path: Path) -> None:
    """And nothing of it where stderr is a file."""
    folder = tmp_path / "large"
    folder.mkdir()
    (folder / "code.py").write_text(HELLO)
    (folder / "noise").write_bytes(os.urandom(2_000_000))
    environment = clean_environment(LATEEN_ENDPOINT=server.endpoint, LATEEN_DATA=str(server.data), TERM="xterm")
    terminal, end = pty.openpty()
    process = subprocess.Popen([LATEEN, "deploy", folder], env=environment, stdout=subprocess.PIPE, stderr=end)
    os.close(end)
    seen = b""
    try:
        while chunk := os.read(terminal, 4096):
            seen += chunk
    except OSError:  # how Linux says that nobody holds the other end any more
        pass
    os.close(terminal)
    assert process.stdout is not None
    assert process.stdout.read().startswith(b"http://")
    assert process.wait(30) == 0
    assert b"uploading" in seen
    assert b"100%" in seen
    again = subprocess.run([LATEEN, "deploy", folder], env=environment, capture_output=True, check=True)
    assert b"uploading" not in again.stderr


def test_up_is_private_and_says_what_it_is(server: Running) -> None:
    """Data folder 0700, the administrator's key 0600, on loopback only, and in words what isolates functions."""
    assert stat.S_IMODE(server.data.stat().st_mode) == 0o700
    assert stat.S_IMODE((server.data / "admin").stat().st_mode) == 0o600
    assert server.endpoint.startswith("http://127.0.0.1:")
    [isolation] = [line for line in server.printed if line.startswith("Isolation: ")]
    assert "the network" in isolation or "trusted code only" in isolation


def test_up_without_a_sandbox_says_trusted_code_only(start: Start, tmp_path: Path) -> None:
    """Nobody finds out later."""
    running = start(tmp_path / "data", environment={"LATEEN_SANDBOX": "no"})
    assert any("trusted code only" in line for line in running.printed)


def test_up_refuses_a_port_and_a_folder_in_use(server: Running, tmp_path: Path) -> None:
    """One line that says which, one that says what to do, exit code 1."""
    port = server.endpoint.rpartition(":")[2]
    for data, listen in ((tmp_path / "other", port), (server.data, "0")):
        ended = subprocess.run(
            [LATEEN, "up"],
            env=clean_environment(LATEEN_DATA=str(data), LATEEN_PORT=listen),
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert ended.returncode == 1
        assert "Traceback" not in ended.stderr
        error, hint = ended.stderr.splitlines()
        assert error.startswith("error: ")
        assert (port if listen != "0" else str(server.data)) in error
        assert hint.startswith("hint: ")
    assert httpx.get(f"{server.endpoint}/health").json() == {"status": "healthy"}


def test_up_is_all_that_localhost_means(server: Running) -> None:
    """A function of this machine could have the other address, and most programs try that first."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no ::1")
    port = server.endpoint.rpartition(":")[2]
    assert httpx.get(f"http://[::1]:{port}/health").json() == {"status": "healthy"}


def test_up_refuses_an_address_of_another_machine(tmp_path: Path) -> None:
    """What there is to do is not to look for who has the port."""
    surroundings = clean_environment(LATEEN_DATA=str(tmp_path / "data"), LATEEN_HOST="192.0.2.1", LATEEN_PORT="0")
    ended = subprocess.run([LATEEN, "up"], env=surroundings, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 1
    error, hint = ended.stderr.splitlines()
    assert error.startswith("error: cannot listen on 192.0.2.1:0: ")
    assert hint == "hint: LATEEN_HOST is an address of this machine"


def test_up_refuses_a_bad_setting() -> None:
    """It names the variable; misuse is exit code 2."""
    ended = subprocess.run(
        [LATEEN, "up"], env=clean_environment(LATEEN_PORT="http"), capture_output=True, text=True, timeout=30
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: LATEEN_PORT: ")


def test_up_refuses_a_folder_without_runtimes(tmp_path: Path) -> None:
    """A wrong LATEEN_RUNTIMES is told at the start and not by every deployment."""
    environment = clean_environment(LATEEN_PORT="0", LATEEN_DATA=str(tmp_path), LATEEN_RUNTIMES="/nothing/there")
    ended = subprocess.run([LATEEN, "up"], env=environment, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 1
    assert "error: LATEEN_RUNTIMES: there is no runtime in /nothing/there" in ended.stderr


def test_the_example_is_there_as_it_was_after_a_restart(start: Start, tmp_path: Path) -> None:
    """`make up`, Ctrl-C, `make up`: the example answers with what is in the sample, and is not deployed again."""
    data = tmp_path / "data"
    first = start(data, "--example")
    first.process.send_signal(signal.SIGINT)
    assert first.process.wait(STOP_S) == 0
    second = start(data, "--example")
    printed = "".join(second.printed)
    assert "created 'access-log'" in "".join(first.printed)
    assert "'access-log' is unchanged at revision 1" in printed
    assert '"lines": 4000,' in printed
    assert '"top_paths": [' in printed


def test_everything_ends_with_ctrl_c(start: Start, tmp_path: Path) -> None:
    """No process of a function is left."""
    running = start(tmp_path / "data", "--example")
    group = descendants(running.process.pid)
    assert group
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(STOP_S) == 0
    assert wait_for(lambda: [pid for pid in group if is_alive(pid)], lambda left: not left) == []


def descendants(pid: int) -> list[int]:
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return children + [below for child in children for below in descendants(child)]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(look: Callable[[], Any], found: Callable[[Any], bool]) -> Any:
    """What `look` sees once it is what is waited for, or after 10 s."""
    deadline = time.monotonic() + 10
    while not found(seen := look()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return seen
