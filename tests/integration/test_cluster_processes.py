"""The cluster's processes without a cluster: how they start, what they say when they can't, how they end. Their stores
are away all the time, which must not matter to any of that."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from open_files import few_open_files

from lateen.services.keys import new_secret

LATEEN = Path(sys.executable).with_name("lateen")
CONFIG = {
    "release": "lateen",
    "namespace": "lateen",
    "images": {"invoker": "i", "runtimes": {"python3.12": "p"}},
    "stores": {"environment": {}},
    "network": {"platformSelector": {}},
}
TOKEN = new_secret()


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "master-key").write_bytes(secrets.token_bytes(32))
    (tmp_path / "secrets" / "admin-token").write_text(TOKEN)
    (tmp_path / "functions.json").write_text(json.dumps(CONFIG))
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "ENVIRONMENT": "test",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:9",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
        "LATEEN_SECRETS": str(tmp_path / "secrets"),
        "LATEEN_FUNCTIONS_CONFIG": str(tmp_path / "functions.json"),
        "LATEEN_HOST": "127.0.0.1",
        "LATEEN_PORT": str(free_port()),
        "LATEEN_OPERATIONS_PORT": str(free_port()),
    }


class Running:
    def __init__(self, command: str, environment: dict[str, str], *, words: tuple[str, ...] = ()) -> None:
        self.url = f"http://127.0.0.1:{environment['LATEEN_PORT']}"
        self.operations = f"http://127.0.0.1:{environment['LATEEN_OPERATIONS_PORT']}"
        self.process = subprocess.Popen(
            [*words, LATEEN, command], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        until_s = time.monotonic() + 30
        while self.process.poll() is None and time.monotonic() < until_s:
            try:
                if httpx.get(f"{self.operations}/health/ready", trust_env=False).status_code == 200:
                    return
            except httpx.HTTPError:
                time.sleep(0.05)
        raise AssertionError(self.process.communicate())

    def stop(self, sig: int = signal.SIGTERM) -> int:
        self.process.send_signal(sig)
        return self.process.wait(30)


Start = Callable[..., Running]


@pytest.fixture
def start(environment: dict[str, str]) -> Iterator[Start]:
    running: list[Running] = []

    def start(command: str, *, words: tuple[str, ...] = (), **more: str) -> Running:
        running.append(Running(command, environment | more, words=words))
        return running[-1]

    yield start
    for each in running:
        each.process.kill()
        each.process.communicate()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def ended(command: str, environment: dict[str, str]) -> tuple[int, str, str]:
    done = subprocess.run([LATEEN, command], env=environment, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def test_an_api_starts_without_its_stores(start: Start) -> None:
    """The kubelet keeps it, callers are told to come again, and those who ask about the stores hear it."""
    api = start("api", LATEEN_HOSTS="*")
    with httpx.Client(trust_env=False, timeout=20) as client:
        assert client.get(f"{api.operations}/health/live").json() == {"status": "healthy"}
        assert client.get(f"{api.operations}/health/ready?stores=false").json() == {"status": "ready"}
        down = client.get(f"{api.operations}/health/ready?stores=true")
        assert (down.status_code, down.json()["stores"]) == (503, {"table": "down", "objects": "down"})
        assert client.get(f"{api.url}/health/ready?stores=false").status_code == 200
        answer = client.get(f"{api.url}/api/workspaces", headers={"authorization": f"Bearer {TOKEN}"})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert client.get(f"{api.url}/api/workspaces").status_code == 401
        assert client.get(f"{api.url}/{'0' * 32}").status_code in (401, 404)
    assert api.stop() == 0


@pytest.mark.parametrize("command", ["api", "gateway"])
def test_the_operations_port_asks_for_no_key_and_serves_nothing_else(start: Start, command: str) -> None:
    """Health and metrics by GET; the same process asks for a key on its other port."""
    process = start(command)
    with httpx.Client(trust_env=False, timeout=20) as client:
        metrics = client.get(f"{process.operations}/metrics")
        assert metrics.headers["content-type"].startswith("text/plain; version=")
        assert "process_cpu_seconds_total" in metrics.text
        assert client.head(f"{process.operations}/metrics").status_code == 200
        assert client.post(f"{process.operations}/health/ready").status_code == 405
        for path in ("/", "/api/workspaces", "/docs", f"/{'0' * 32}", "/metrics/"):
            assert client.get(f"{process.operations}{path}").status_code == 404
        assert client.get(f"{process.url}/metrics").status_code in (401, 404)
    assert process.stop(signal.SIGINT) == 0


@pytest.mark.parametrize("command", ["api", "gateway"])
def test_as_process_one_it_ends_when_told(start: Start, command: str) -> None:
    """No shell, no init in front: a signal without a handler would be ignored there."""
    if os.getuid() != 0:
        pytest.skip("a PID namespace of its own takes root")
    process = start(command, words=("unshare", "--pid", "--fork", "--kill-child"))
    children = Path(f"/proc/{process.process.pid}/task/{process.process.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGTERM)
    assert process.process.wait(30) == 0


@pytest.mark.parametrize("command", ["api", "gateway"])
def test_many_callers_stay_whatever_a_container_is_given(start: Start, command: str) -> None:
    """Often that is 1024 open files, with a hard limit far above: the process takes what it may."""
    with few_open_files(256):
        process = start(command)
    port = urlsplit(process.url).port
    callers = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(300)]
    for caller in callers:
        caller.sendall(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert caller.recv(12).startswith(b"HTTP/1.1 ")
        caller.close()


def test_every_line_of_a_log_is_json(start: Start) -> None:
    """With the service's name, and without a key."""
    api = start("api", LATEEN_HOSTS="*", LOG_LEVEL="debug")
    httpx.get(f"{api.url}/api/workspaces", headers={"authorization": f"Bearer {TOKEN}"}, trust_env=False, timeout=20)
    api.process.send_signal(signal.SIGTERM)
    output, errors = api.process.communicate(timeout=30)
    lines = [json.loads(line) for line in output.splitlines()]
    assert {line["service"] for line in lines} == {"api"}
    assert {"started", "stopping", "stopped", "request finished"} <= {line["message"] for line in lines}
    assert TOKEN not in output
    assert errors == ""


def _without(name: str) -> Callable[[dict[str, str]], str]:
    def spoil(environment: dict[str, str]) -> str:
        Path(environment["LATEEN_SECRETS"], name).unlink()
        return name

    return spoil


def _short_key(environment: dict[str, str]) -> str:
    Path(environment["LATEEN_SECRETS"], "master-key").write_bytes(b"short")
    return "master-key"


def _unknown_field(environment: dict[str, str]) -> str:
    Path(environment["LATEEN_FUNCTIONS_CONFIG"]).write_text(json.dumps(CONFIG | {"surprise": 1}))
    return "surprise"


def _no_config(environment: dict[str, str]) -> str:
    environment["LATEEN_FUNCTIONS_CONFIG"] = "/absent/functions.json"
    return "functions.json"


def _set(name: str, value: str) -> Callable[[dict[str, str]], str]:
    def spoil(environment: dict[str, str]) -> str:
        environment[name] = value
        return name

    return spoil


@pytest.mark.parametrize(
    ("command", "spoil"),
    [
        ("api", _without("master-key")),
        ("gateway", _short_key),
        ("migrate", _without("admin-token")),
        ("api", _unknown_field),
        ("gateway", _no_config),
        ("controller", _no_config),
        ("api", _set("LATEEN_TRUSTED_PROXIES", "10.0.0.1/8")),
        ("gateway", _set("DYNAMODB_TABLE_NAME", "a/b")),
        ("api", _set("LATEEN_DRAIN_SECONDS", "soon")),
        ("migrate", _set("LATEEN_RUNTIMES", "/absent")),
        ("secrets", _set("LATEEN_SECRET_NAME", "Not A Name")),
        ("secrets", _set("LATEEN_SECRET_LABELS", "a")),
    ],
)
def test_a_wrong_setting_is_one_line_and_exit_code_two(
    environment: dict[str, str], command: str, spoil: Callable[[dict[str, str]], str]
) -> None:
    """Which names what is wrong, and no secret."""
    environment.setdefault("LATEEN_SECRET_NAME", "lateen")
    name = spoil(environment)
    code, _, errors = ended(command, environment)
    assert (code, errors.count("\n")) == (2, 1), errors
    assert errors.startswith("error: ")
    assert name in errors
    assert TOKEN not in errors


def test_a_port_that_is_taken_is_said_to_be(environment: dict[str, str]) -> None:
    """And nothing is started."""
    with socket.create_server(("127.0.0.1", int(environment["LATEEN_OPERATIONS_PORT"]))):
        code, _, errors = ended("gateway", environment)
    assert code == 2
    assert environment["LATEEN_OPERATIONS_PORT"] in errors


def test_migrate_gives_up_on_stores_that_stay_away(environment: dict[str, str]) -> None:
    """With exit code 1: it is worth another try; the last line says why."""
    code, output, _ = ended("migrate", environment | {"LATEEN_WAIT_SECONDS": "1"})
    last = json.loads(output.splitlines()[-1])
    assert (code, last["level"], last["message"]) == (1, "ERROR", "not migrated")


def test_outside_of_a_cluster_no_secret_is_made(environment: dict[str, str]) -> None:
    """There is no service account to do it with."""
    code, output, errors = ended("secrets", environment | {"LATEEN_SECRET_NAME": "lateen"})
    assert code == 2
    assert "service account" in errors
    assert output == ""
