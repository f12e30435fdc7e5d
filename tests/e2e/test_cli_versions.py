"""Versions and aliases as a person works with them, against a real Lateen."""

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from tests.e2e.conftest import Running
from tests.e2e.test_cli import Cli, cli, done  # noqa: F401 - fixtures

CODE = "def handler(event, context):\n    return {number}\n"
Done = Callable[..., str]


@pytest.fixture
def three(done: Done, tmp_path: Path, request: pytest.FixtureRequest) -> str:  # noqa: F811
    """A function whose versions 1 and 2 answer so, and whose draft answers 3. Returns: its name."""
    name = f"f-{abs(hash(request.node.name)) % 10**8}"
    for number in (1, 2, 3):
        path = tmp_path / "code.py"
        path.write_text(CODE.format(number=number))
        done("deploy", path, "--name", name, "--runtime", "python3.12")
        if number < 3:
            assert done("publish", name) == f"{number}\n"
    return name


def test_a_release_and_the_way_back(done: Done, cli: Cli, three: str, server: Running) -> None:  # noqa: F811
    """Publish, lead people there, share calls, and take it back; the URL of the alias stays."""
    url = done("alias", "set", three, "live", "1").strip()
    assert httpx.get(url).json() == 1
    assert done("publish", three, "--description", "the third") == "3\n"
    again = cli("publish", three)
    assert (again.returncode, again.stdout) == (0, "3\n")
    assert "is what version 3 is" in again.stderr
    assert done("alias", "set", three, "live", "1=50", "3=50").strip() == url
    assert {httpx.get(url).json() for _ in range(60)} == {1, 3}
    assert done("alias", "set", three, "live", "3").strip() == url
    assert httpx.get(url).json() == 3
    moved_back = cli("rollback", three, "live")
    assert (moved_back.returncode, moved_back.stdout.strip()) == (0, url)
    assert "'live' leads to 1=50 3=50" in moved_back.stderr
    done("rollback", three, "live", "--to", "2")
    assert httpx.get(url).json() == 2
    shown = done("versions", three).splitlines()
    assert [line.split()[0] for line in shown] == ["VERSION", "3", "2", "1"]
    assert "live" in shown[2]
    assert "the third" in shown[1]
    listed = json.loads(done("alias", "list", three, "--output", "json"))
    assert [(each["name"], each["version"], each["url"]) for each in listed] == [("live", "2", url)]
    assert httpx.get(f"{server.endpoint}/{listed[0]['hash']}/below").json() == 2
    assert "give --auth-type" in cli("url", "set", three, "live").stderr
    cors = ("--cors-origin", "*", "--cors-max-age", "9", "--cors-credentials")
    assert done("url", "set", three, "live", "--auth-type", "NONE", *cors).strip() == url
    assert httpx.get(url, headers={"origin": "https://a.example"}).headers["access-control-allow-origin"]
    done("url", "set", three, "live", "--invoke-mode", "RESPONSE_STREAM", "--cors-max-age", "8")
    shown = json.loads(done("url", "show", three, "live", "-o", "json"))
    assert (shown["auth_type"], shown["invoke_mode"], shown["open"]) == ("NONE", "RESPONSE_STREAM", True)
    assert (shown["cors"]["allow_origins"], shown["cors"]["max_age"]) == (["*"], 8)
    own = done("url", "set", three, "--auth-type", "AWS_IAM").strip()
    assert httpx.get(own).status_code == 403
    done("url", "delete", three)
    assert httpx.get(own).status_code == 404
    assert "nothing is set" in cli("url", "show", three).stderr
    assert httpx.get(url).json() == 2
    assert "provisioned set" in cli("provisioned", "list", three).stderr
    done("provisioned", "set", three, "live", "1")
    (kept,) = json.loads(done("provisioned", "list", three, "-o", "json"))
    assert (kept["qualifier"], kept["requested"], kept["allocated"], kept["state"]) == ("live", 1, 1, "READY")
    beyond = cli("provisioned", "set", three, "live", "11")
    assert (beyond.returncode, "room for 10" in beyond.stderr) == (1, True)
    assert cli("provisioned", "set", three, "none", "1").returncode == 1
    done("provisioned", "delete", three, "live")
    done("update", three, "--log-format", "json", "--log-level", "warn", "--no-wait")
    logging = json.loads(done("update", three, "--system-log-level", "warn", "-o", "json"))["logging_config"]
    assert logging == {"log_format": "JSON", "application_log_level": "WARN", "system_log_level": "WARN"}
    done("update", three, "--log-format", "text")
    assert "log_format: Text" in done("info", three)
    done("alias", "delete", three, "live")
    assert httpx.get(url).status_code == 404


def test_a_bad_deployment_is_taken_back(done: Done, cli: Cli, three: str) -> None:  # noqa: F811
    """Without aliases: the function becomes what its newest other version is."""
    assert done("invoke", three).strip() == "3"
    assert done("invoke", three, "--qualifier", "1").strip() == "1"
    done("rollback", three)
    assert done("invoke", three).strip() == "2"
    done("rollback", three)
    assert done("invoke", three).strip() == "1"
    done("rollback", three, "--to", "2")
    assert done("invoke", three).strip() == "2"
    done("delete", three, "--version", "1")
    done("delete", three, "--version", "2")
    refused = cli("rollback", three)
    assert refused.returncode == 1
    assert "lateen publish" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("live",), "missing argument"),
        (("live", "x"), "no version"),
        (("live", "1=90"), "10 percent go to no version"),
        (("live", "1=90", "2=20"), "together are 100"),
        (("live", "1", "2"), "together are 100"),
        (("live", "1=50", "1=50"), "twice"),
        (("live", "1=30", "2=30", "3=40"), "between two"),
    ],
)
def test_what_alias_set_does_not_understand(cli: Cli, arguments: tuple[str, ...], said: str) -> None:  # noqa: F811
    """Nothing is asked of the server."""
    ended = cli("alias", "set", "nobody", *arguments)
    assert ended.returncode == 2
    assert said in ended.stderr.lower()


def test_what_is_refused(cli: Cli, done: Done, three: str) -> None:  # noqa: F811
    """Each with the next step."""
    done("alias", "set", three, "live", "1")
    for arguments, said in (
        (("alias", "set", three, "live", "9"), f"lateen versions {three}"),
        (("alias", "set", three, "12", "1"), "can't be an alias"),
        (("alias", "delete", three, "none"), f"lateen alias list {three}"),
        (("rollback", three, "live"), "--to VERSION"),
        (("delete", three, "--version", "1"), "the alias 'live' leads to version 1"),
        (("invoke", three, "--qualifier", "none"), "no such alias"),
    ):
        ended = cli(*arguments)
        assert ended.returncode == 1, ended
        assert said in ended.stderr
