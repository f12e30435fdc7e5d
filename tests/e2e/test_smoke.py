"""What `helm test` runs, against the real `lateen up`, which is api and gateway in one."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# `server` is the module's Lateen (conftest): a named tuple with `endpoint` and `data`.
Smoke = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def smoke(server: tuple[object, str, Path, list[str]], tmp_path: Path) -> Smoke:
    _, endpoint, data, _ = server
    (tmp_path / "admin-token").write_text((data / "admin").read_text())

    def run(**given: str) -> "subprocess.CompletedProcess[str]":
        environment = {
            "PATH": os.environ["PATH"],
            "LATEEN_ENDPOINT": endpoint,
            "LATEEN_GATEWAY": endpoint,
            "LATEEN_SECRETS": str(tmp_path),
            "LATEEN_SMOKE_STEP_SECONDS": "20",
        }
        return subprocess.run(
            [sys.executable, "-m", "lateen.cluster.smoke"],
            env=environment | given,
            capture_output=True,
            text=True,
            timeout=100,
        )

    return run


def test_all_is_well(smoke: Smoke) -> None:
    """A function is made, called with a key and refused without, its log read; then it is gone."""
    done = smoke()
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "all is well"


def test_wrong_gateway_is_told(smoke: Smoke) -> None:
    """It ends with 1 and says at which step; nothing stays behind, so a second run is as the first."""
    done = smoke(LATEEN_GATEWAY="http://127.0.0.1:9", LATEEN_SMOKE_STEP_SECONDS="1")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "calling it without a key"
    assert done.stderr.startswith("error: ")
    assert smoke().returncode == 0


def test_runtime_that_is_not_there_is_told(smoke: Smoke) -> None:
    done = smoke(LATEEN_SMOKE_RUNTIME="cobol85")
    assert done.returncode == 1
    assert "not one of: " in done.stderr
