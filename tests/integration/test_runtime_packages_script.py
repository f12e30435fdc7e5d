"""`hack/runtime-packages`, run as people run it: in two terminals, again after Ctrl-C, and without a network."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from invoker_process import REPOSITORY
from runtimes_here import PACKAGES, needs_packages

TIMEOUT_S = 120
MADE = {language: path.relative_to(REPOSITORY) for language, path in PACKAGES.items()}
READ = (
    "hack/runtime-packages",
    "hack/uv",
    "pyproject.toml",
    "uv.lock",
    "platform/pyproject.toml",
    "invoker/pyproject.toml",
)
OFFLINE = {
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9"),
    **dict.fromkeys(("NO_PROXY", "no_proxy"), ""),
}


@pytest.fixture(params=MADE)
def language(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    needs_packages(name)
    return name


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """One that has what the script asks for, and no packages yet."""
    copy = tmp_path / "a checkout"
    shutil.copytree(
        REPOSITORY / "runtimes", copy / "runtimes", ignore=shutil.ignore_patterns("packages", "node_modules")
    )
    for name in READ:
        (copy / name).parent.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / name, copy / name)
    (copy / ".cache").mkdir()
    for path in (REPOSITORY / ".venv", *(REPOSITORY / ".cache").glob("uv-*")):
        (copy / path.relative_to(REPOSITORY)).symlink_to(path)
    return copy


def started(checkout: Path, language: str, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        ["hack/runtime-packages", language], cwd=checkout, env=os.environ | environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    said, _ = process.communicate(timeout=TIMEOUT_S)
    return process.returncode, said


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_two_at_once(checkout: Path, language: str) -> None:
    """Both end well, and leave one whole set of packages and nothing else."""
    made = checkout / MADE[language]
    before = names(made.parent)
    first = started(checkout, language)
    deadline = time.monotonic() + TIMEOUT_S
    while names(made.parent) == before and time.monotonic() < deadline:
        time.sleep(0.05)
    second = started(checkout, language)
    assert [ended(first), ended(second)] == [(0, ""), (0, "")]
    assert names(made.parent) == before | {made.name}
    assert names(made) == names(REPOSITORY / MADE[language])


def test_python_without_a_network(checkout: Path) -> None:
    """After a pull, make wants them anew: as for `uv sync`, what was downloaded once is enough."""
    assert ended(started(checkout, "python")) == (0, "")
    assert ended(started(checkout, "python", **OFFLINE)) == (0, "")


def test_what_is_there_stays_where_new_ones_are_not_to_be_had(checkout: Path, tmp_path: Path) -> None:
    """A Lateen that runs goes on to find boto3."""
    made = checkout / MADE["python"]
    made.mkdir()
    (made / "boto3.py").touch()
    before = names(made.parent)
    empty = str(tmp_path / "no cache")
    code, _ = ended(started(checkout, "python", **OFFLINE, UV_CACHE_DIR=empty))
    assert code != 0
    assert names(made) == {"boto3.py"}
    assert names(made.parent) == before
