"""`lateen deploy` of a folder whose code has to be built, and a platform that is killed while it builds."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from package_index import PASSWORD, Index, package_index, wheel
from tests.e2e.conftest import LATEEN, Running, Start, clean_environment

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

HANDLER = "import lateen_tiny\n\ndef handler(event, context):\n    return lateen_tiny.WORD\n"
SLOW_BACKEND = """
import shutil, time

time.sleep(8)

def build_wheel(folder, config_settings=None, metadata_directory=None):
    shutil.copy("lateen_tiny-1.0-py3-none-any.whl", folder)
    return "lateen_tiny-1.0-py3-none-any.whl"
"""
SLOW_PROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


@pytest.fixture
def index() -> Iterator[Index]:
    with package_index() as index:
        yield index


def lateen(server: Running, *arguments: str | Path, wait_s: float = 100) -> "subprocess.CompletedProcess[str]":
    environment = clean_environment(LATEEN_ENDPOINT=server.endpoint, LATEEN_DATA=str(server.data))
    return subprocess.run(
        [LATEEN, *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=wait_s
    )


def use(server: Running, index: Index) -> None:
    ended = lateen(server, "workspace", "build-settings", "default", "--set", f"PIP_INDEX_URL={index.url}")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "PIP_INDEX_URL\n"


def a_folder(path: Path, **files: str) -> Path:
    for name, text in {"code.py": HANDLER, "requirements.txt": "lateen-tiny==1.0\n", **files}.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    return path


def test_a_folder_is_deployed_with_what_it_depends_on(server: Running, index: Index, tmp_path: Path) -> None:
    """The log is shown as it comes, the URL is all that is on stdout, and the password is nowhere."""
    use(server, index)
    ended = lateen(server, "deploy", a_folder(tmp_path / "app"), "--runtime", "python3.12")
    assert ended.returncode == 0, ended.stderr
    assert "Successfully installed lateen-tiny-1.0" in ended.stderr
    assert httpx.get(ended.stdout.strip(), timeout=30, trust_env=False).text == "tiny"
    assert PASSWORD not in ended.stderr + "".join(server.printed)
    stored = [path for path in server.data.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()]
    assert stored == []


def test_a_failed_build_is_a_failed_deploy(server: Running, index: Index, tmp_path: Path) -> None:
    use(server, index)
    folder = a_folder(tmp_path / "broken", **{"requirements.txt": "lateen-tiny==2.0\n"})
    ended = lateen(server, "deploy", folder, "--runtime", "python3.12")
    assert ended.returncode == 1
    assert "No matching distribution found for lateen-tiny==2.0" in ended.stderr
    assert "'broken' failed: The code could not be built" in ended.stderr
    assert PASSWORD not in ended.stderr


def test_settings_are_for_what_builds_understand(server: Running) -> None:
    for given, word in (("PATH=/tmp", "no runtime's builds understand it"), ("LD_PRELOAD=x", "no runtime's builds")):
        ended = lateen(server, "workspace", "build-settings", "default", "--set", given)
        assert ended.returncode == 1
        assert word in ended.stderr
    ended = lateen(server, "workspace", "build-settings", "default", "--unset", "PIP_INDEX_URL")
    assert ended.stdout == ""


def test_a_build_that_was_killed_with_its_platform_is_made_by_the_next(
    start: Start, index: Index, tmp_path: Path
) -> None:
    """`kill -9` in the middle of a build: nothing of it goes on, and the next start builds and deploys."""
    data = tmp_path / "data"
    server = start(data)
    use(server, index)
    project = {"own/pyproject.toml": SLOW_PROJECT, "own/backend.py": SLOW_BACKEND}
    folder = a_folder(tmp_path / "slow", **project, **{"requirements.txt": "./own\n"})
    (folder / "own" / "lateen_tiny-1.0-py3-none-any.whl").write_bytes(wheel())
    ended = lateen(server, "deploy", folder, "--runtime", "python3.12", "--no-wait", "--output", "json")
    assert ended.returncode == 0, ended.stderr
    function = json.loads(ended.stdout)
    assert function["state"] == "Pending"
    eventually(lambda: building_in(data), within_s=30)
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait()
    eventually(lambda: not building_in(data), within_s=10)
    again = start(data)
    client = httpx.Client(
        base_url=again.endpoint,
        headers={"authorization": f"Bearer {(data / 'admin').read_text().strip()}"},
        trust_env=False,
    )

    def state() -> Any:
        return client.get(f"/api/functions/{function['id']}").json()

    eventually(lambda: state()["state"] != "Pending", within_s=60)
    assert (state()["state"], state()["state_reason"]) == ("Active", None)
    assert httpx.get(state()["url"], timeout=30, trust_env=False).text == "tiny"
    assert client.get(f"/api/functions/{function['id']}/builds/latest").json()["attempt"] == 2


def eventually(condition: Any, *, within_s: float) -> None:
    until = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def building_in(data: Path) -> list[str]:
    """Processes that run the backend of a build, or pip for it."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if "pyproject_hooks" in line and "_in_process" in line:
                    found.append(line)
            except OSError:
                continue
    return found
