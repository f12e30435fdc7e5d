"""Layers as people use them: published from a folder, named on deploy, seen by the function, kept after their end."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from tests.e2e.conftest import LATEEN, Running, clean_environment

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")

HANDLER = """
import os, shared, subprocess
def handler(event, context):
    try:
        tool = subprocess.run(["tool"], capture_output=True, text=True).stdout
    except OSError as exc:
        tool = type(exc).__name__
    return {"word": shared.WORD, "tool": tool, "version": os.environ.get("ROUND")}
"""
Done = Callable[..., str]


@pytest.fixture(scope="module")
def done(server: Running) -> Done:
    """Runs a command that has to succeed. Returns: its stdout; with `refused`, of one that must not, its stderr."""

    def run(*arguments: str | Path, refused: bool = False) -> str:
        environment = clean_environment(LATEEN_ENDPOINT=server.endpoint, LATEEN_DATA=str(server.data))
        ended = subprocess.run(
            [LATEEN, *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=60
        )
        assert (ended.returncode != 0) == refused, ended.stderr
        return ended.stderr if refused else ended.stdout

    return run


@pytest.fixture
def handler(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(HANDLER)
    return tmp_path / "app.py"


def layer(folder: Path, word: str, *, tool: str | None = None) -> Path:
    (folder / "python").mkdir(parents=True)
    (folder / "python" / "shared.py").write_text(f"WORD = {word!r}\n")
    if tool is not None:
        (folder / "bin").mkdir()
        (folder / "bin" / "tool").write_text(f"#!/bin/sh\necho {tool}\n")
        (folder / "bin" / "tool").chmod(0o755)
    return folder


def test_from_a_folder_to_an_answer(done: Done, tmp_path: Path, handler: Path) -> None:
    """A later layer wins; what only the earlier one has is there; programs are on the path."""
    arn = done("layer", "publish", "base", layer(tmp_path / "base", "base", tool="hammer")).strip()
    assert arn.endswith(":layer:base:1")
    done("layer", "publish", "top", layer(tmp_path / "top", "top"))
    url = done(
        "deploy", handler, "--runtime", "python3.12", "--name", "layered", "--layer", "base", "--layer", "top:1"
    ).strip()
    assert httpx.get(url).json() == {"word": "top", "tool": "hammer\n", "version": None}
    done("update", "layered", "--layer", "top", "--layer", arn)
    assert httpx.get(url).json()["word"] == "base"
    assert json.loads(done("info", "layered", "-o", "json"))["layers"][1] == arn
    done("update", "layered", "--no-layers")
    assert httpx.get(url).status_code == 502  # its import fails now
    assert {each["name"] for each in json.loads(done("layer", "list", "-o", "json"))} >= {"base", "top"}


def test_a_new_version_is_another_deployment(done: Done, tmp_path: Path, handler: Path) -> None:
    """Nothing changes for a function until it is given the new version."""
    done("layer", "publish", "moving", layer(tmp_path / "one", "one"))
    url = done("deploy", handler, "--runtime", "python3.12", "--name", "mover", "--layer", "moving").strip()
    done("layer", "publish", "moving", layer(tmp_path / "two", "two"))
    assert httpx.get(url).json()["word"] == "one"
    assert [each["version"] for each in json.loads(done("layer", "list", "moving", "-o", "json"))] == [2, 1]
    assert done("deploy", handler, "--runtime", "python3.12", "--name", "mover", "--layer", "moving").strip() == url
    assert httpx.get(url).json()["word"] == "two"
    assert json.loads(done("info", "mover", "-o", "json"))["revision"] == 2


def test_a_layer_that_is_removed_still_works(done: Done, tmp_path: Path, handler: Path) -> None:
    """For who has it, also for processes that start later; nobody else can have it."""
    done("layer", "publish", "fleeting", layer(tmp_path / "fleeting", "still here"))
    url = done("deploy", handler, "--runtime", "python3.12", "--name", "keeper", "--layer", "fleeting").strip()
    done("layer", "delete", "fleeting", "1")
    done("update", "keeper", "--env", "ROUND=2")
    answer = httpx.get(url).json()
    assert (answer["word"], answer["version"]) == ("still here", "2")
    assert "there is no layer 'fleeting'" in done(
        "deploy", handler, "--name", "late", "--layer", "fleeting", refused=True
    )


def test_what_is_no_layer_is_refused(done: Done, tmp_path: Path, handler: Path) -> None:
    """With the reason, before anything is deployed."""
    assert "is no zip" in done("layer", "publish", "x", handler, refused=True)
    assert "is no layer" in done("deploy", handler, "--runtime", "python3.12", "--layer", "a b", refused=True)
    absent = "arn:aws:lambda:us-east-1:123456789012:layer:x:1"
    assert f"Layer version {absent} does not exist (invalid-input)" in done(
        "deploy", handler, "--runtime", "python3.12", "--layer", absent, refused=True
    )
    assert "not both" in done("deploy", handler, "--layer", "a", "--no-layers", refused=True)
