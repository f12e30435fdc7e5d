"""A machine without the Python that a runtime is for: its functions run on the one that runs Lateen, and it is said."""

import json
import platform
import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest
from tests.e2e.conftest import LATEEN, ROOT, Start, clean_environment

CODE = "import platform\ndef handler(event, context):\n    return platform.python_version()\n"


@pytest.fixture
def runtimes(tmp_path: Path) -> Path:
    """The checkout's, with a version that no machine has."""
    folder = tmp_path / "runtimes"
    shutil.copytree(ROOT / "runtimes", folder, ignore=shutil.ignore_patterns("__pycache__"))
    description = folder / "python3.12" / "runtime.toml"
    text = description.read_text().replace('version = "3.12"', 'version = "3.99"').replace("3.12*", "3.99*")
    text = re.sub(r"^interpreters = \[.*?^\]", 'interpreters = ["python3.99", "{lateen}"]', text, flags=re.M | re.S)
    description.write_text(text)
    return folder


def test_deploy_says_which_python_it_is(start: Start, runtimes: Path, tmp_path: Path) -> None:
    """In a note of the deploy and in the function's state; and it is the one that answers."""
    running = start(tmp_path / "data", environment={"LATEEN_RUNTIMES": str(runtimes)})
    (tmp_path / "which.py").write_text(CODE)
    environment = clean_environment(LATEEN_ENDPOINT=running.endpoint, LATEEN_DATA=str(running.data))

    def lateen(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [LATEEN, *arguments], env=environment, capture_output=True, text=True, check=True, cwd=tmp_path
        )

    deployed = lateen("deploy", "which.py")
    version = ".".join(platform.python_version_tuple()[:2])
    said = f"This machine has no python3.12: functions run on {version}, which runs Lateen."
    assert f"note: {said}" in deployed.stderr.splitlines()
    told = json.loads(lateen("info", "which", "-o", "json").stdout)
    assert (told["state"], told["state_reason"]) == ("Active", said)
    assert httpx.get(deployed.stdout.strip(), trust_env=False).text == platform.python_version()
