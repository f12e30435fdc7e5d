"""What a function finds that looks for Lateen's secrets and for its neighbours, through the real `lateen up`."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.e2e.conftest import LATEEN, ROOT, STOP_S, Running, Start, clean_environment

CURIOUS = """
import json, os

def read(path):
    try:
        with open(path, "rb") as file:
            return file.read(4_000_000)
    except OSError:
        return b""

def below(folder):
    yield folder
    for place, folders, files in os.walk(folder):
        yield from (os.path.join(place, name) for name in (*folders, *files))

def handler(event, context):
    asked = json.loads(event["body"])
    paths = [path for folder in asked["folders"] for path in below(folder)]
    processes = set(asked["processes"])
    try:
        processes.update(name for name in os.listdir("/proc") if name.isdigit())
    except OSError:
        pass
    paths += [f"/proc/{pid}/{name}" for pid in processes for name in ("environ", "cmdline")]
    paths += [f"/proc/{pid}/root{path}" for pid in processes for path in asked["folders"]]
    found = {path: read(path) for path in paths}
    return {
        "own code": b"def below" in read(__file__),
        "read": sorted(path for path, content in found.items() if content),
        "listed": sorted(path for folder in asked["folders"] for path in below(folder) if path != folder),
        "told": sorted({word for word in asked["words"] for content in found.values() if word.encode() in content}),
    }
"""
NEIGHBOUR = "SECRET = 'the-neighbours-code'\ndef handler(event, context):\n    return SECRET\n"
WORDS = ["the-neighbours-code", "the-neighbours-variable", "the-platforms-variable"]


def look(running: Running, tmp_path: Path) -> dict[str, Any]:
    """Deploy a neighbour, which runs, and the curious one. Returns: what that one got to see."""
    environment = clean_environment(LATEEN_ENDPOINT=running.endpoint, LATEEN_DATA=str(running.data))

    def deploy(name: str, code: str, *options: str) -> str:
        (tmp_path / f"{name}.py").write_text(code)
        command = [LATEEN, "deploy", tmp_path / f"{name}.py", *options]
        return subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()

    neighbour = deploy("neighbour", NEIGHBOUR, "--env", "NEIGHBOUR=the-neighbours-variable")
    assert httpx.get(neighbour, trust_env=False).text == WORDS[0]
    url = deploy("curious", CURIOUS, "--timeout", "60")
    secrets = [(running.data / "admin").read_text().strip(), *WORDS]
    processes = [each.name for each in Path("/proc").iterdir() if each.name.isdigit()]
    asked = {"folders": [str(running.data)], "words": secrets, "processes": processes}
    answer = httpx.post(url, json=asked, timeout=60, trust_env=False)
    assert answer.status_code == 200, answer.text
    told = subprocess.run(
        [LATEEN, "info", "curious", "-o", "json"], env=environment, stdout=subprocess.PIPE, check=True
    ).stdout
    return {**answer.json(), "id": json.loads(told)["id"]}


def test_it_finds_nothing(start: Start, tmp_path: Path) -> None:
    """No key, no store, no neighbour's code or variables, no environment of another process; Lateen is well after."""
    running = start(tmp_path / "data", environment={"LATEEN_SECRET": WORDS[2]})
    if any("trusted code only" in line for line in running.printed):
        pytest.skip("nothing on this machine isolates functions")
    found = look(running, tmp_path)
    assert found["own code"]
    assert found["told"] == []
    # Held by Landlock alone, it runs where its code is; that folder is its own.
    own = re.compile(rf"{re.escape(str(running.data))}/run/{found['id']}-|/proc/\d+/[a-z]+$")
    data = str(running.data)
    assert [path for path in found["read"] if data in path and not own.match(path)] == []
    assert [path for path in found["listed"] if not own.match(path)] == []
    assert httpx.get(f"{running.endpoint}/health", trust_env=False).json() == {"status": "healthy"}
    key = {"authorization": f"Bearer {(running.data / 'admin').read_text().strip()}"}
    metrics = httpx.get(f"{running.endpoint}/metrics", headers=key, trust_env=False).text
    assert "lateen_records_lost_total 0.0" in metrics


def test_without_isolation_it_finds_all_of_it(start: Start, tmp_path: Path) -> None:
    """So it looks in the right places."""
    running = start(tmp_path / "data", environment={"LATEEN_SANDBOX": "no", "LATEEN_SECRET": WORDS[2]})
    found = look(running, tmp_path)
    names = {Path(path).name for path in found["read"]}
    assert {"admin", "master", "lateen.db"} <= names
    assert {"objects", "run"} <= {Path(path).name for path in found["listed"]}
    assert len(found["told"]) >= 2


@pytest.mark.skipif(os.geteuid() != 0, reason="another user than root runs its functions itself")
def test_what_start_says_is_what_functions_get(start: Start, tmp_path: Path) -> None:
    """Root's functions are another user. Where that one can't read the runtime, Landlock is what is left, and said."""
    shutil.copytree(ROOT / "runtimes", tmp_path / "runtimes", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "runtimes" / "python3.12").chmod(0o700)
    running = start(tmp_path / "data", environment={"LATEEN_RUNTIMES": str(tmp_path / "runtimes")})
    [said] = [line for line in running.printed if line.startswith("Isolation: ")]
    assert "namespaces" not in said
    look(running, tmp_path)
    assert "held by less" not in "".join(running.printed)


@pytest.mark.parametrize("place", ["/usr/share", "/etc/ssl", str(ROOT / "runtimes" / "python3.12")])
def test_a_data_folder_that_functions_can_read_is_refused(tmp_path: Path, place: str) -> None:
    """Also by another name of it; nothing is written there."""
    link = tmp_path / "link"
    link.symlink_to(place)
    for data in (Path(place) / "lateen-data", link / "lateen-data"):
        ended = subprocess.run(
            [LATEEN, "up"],
            env=clean_environment(LATEEN_DATA=str(data), LATEEN_PORT="0"),
            capture_output=True,
            text=True,
            timeout=STOP_S,
        )
        assert ended.returncode == 1
        error, hint = ended.stderr.splitlines()
        assert error.startswith(f"error: the data folder {data} is in ")
        assert error.endswith(", which functions can read")
        assert hint == "hint: choose another one with LATEEN_DATA"
        assert not data.exists()
