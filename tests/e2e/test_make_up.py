"""The first thing that anybody does: `make up` in a fresh checkout, Ctrl-C, and `make up` again."""

import os
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from threading import Timer

import httpx
import pytest
from tests.e2e.conftest import ROOT, STOP_S, clean_environment

INSTALL_S = 240
UP_S = 60
NO_NETWORK = re.compile(
    r"error sending request|failed to fetch|dns error|connection error|could not find a version|temporary failure"
    r"|network is unreachable|connection refused|timed out",
    re.IGNORECASE,
)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What git has of this one, as it is now."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None or shutil.which("make") is None:
        pytest.skip("needs git, make and a checkout")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    copy = tmp_path / "checkout"
    for name in filter(None, tracked.decode().split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    return copy


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    found = clean_environment(LATEEN_DATA=str(tmp_path / "data"), LATEEN_PORT=str(port))
    # Started by `make test`, this make would think that it was a part of that one.
    return {
        name: value for name, value in found.items() if name != "VIRTUAL_ENV" and not name.startswith(("MAKE", "MFL"))
    }


def install(checkout: Path, environment: dict[str, str]) -> None:
    """What the first `make up` would do first; here by itself, to tell an absent PyPI from a fault of ours."""
    command = ["hack/uv", "sync", "--locked", "--inexact", "--quiet", "--no-default-groups"]
    try:
        ended = subprocess.run(
            command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=INSTALL_S
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"PyPI did not give what is needed within {INSTALL_S} s")
    if ended.returncode and NO_NETWORK.search(ended.stderr):
        pytest.skip(f"PyPI is away: {ended.stderr.strip().splitlines()[-1]}")
    assert ended.returncode == 0, ended.stderr


def up(checkout: Path, environment: dict[str, str], *, at_a_terminal: bool) -> tuple[str, str]:
    """`make up` until it serves, a call, an interrupt. Returns: what it printed, and the example's URL.

    Args:
        at_a_terminal: make gets the interrupt too, and dies of it once Lateen has ended. Where it doesn't, it tells how
            Lateen ended.
    """
    with subprocess.Popen(
        ["make", "up"],
        cwd=checkout,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as make:
        late = Timer(UP_S, os.killpg, (make.pid, signal.SIGKILL))
        late.start()
        try:
            assert make.stdout is not None
            printed = ""
            for line in make.stdout:
                printed += line
                if line.startswith("Ctrl-C"):
                    break
            found = re.search(r"^\$ curl --data-binary @\S+ (\S+)$", printed, re.MULTILINE)
            assert found, printed
            two_lines = b"".join((checkout / "examples/access-log/access.log").read_bytes().splitlines(True)[:2])
            answer = httpx.post(found[1], content=two_lines, headers={"accept": "application/json"}, trust_env=False)
            assert (answer.status_code, answer.json()["lines"]) == (200, 2)
            if at_a_terminal:
                os.killpg(make.pid, signal.SIGINT)
            else:
                [lateen] = Path(f"/proc/{make.pid}/task/{make.pid}/children").read_text().split()
                os.kill(int(lateen), signal.SIGINT)
            printed += make.stdout.read()
            assert make.wait(STOP_S) == (-signal.SIGINT if at_a_terminal else 0), printed
            assert "lateen.server: stopped" in printed.splitlines()[-1]
            return printed, found[1]
        finally:
            late.cancel()
            if make.poll() is None:
                os.killpg(make.pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.timeout(2 * INSTALL_S)
def test_make_up_twice(checkout: Path, environment: dict[str, str]) -> None:
    """It installs, shows the example's answer, serves, and ends with 0; the second one finds all as it was."""
    install(checkout, environment)
    first, url = up(checkout, environment, at_a_terminal=False)
    assert "created 'access-log'" in first
    assert '"lines": 4000,' in first
    assert f"Lateen is at http://127.0.0.1:{environment['LATEEN_PORT']}," in first
    second, again = up(checkout, environment, at_a_terminal=True)
    assert "'access-log' is unchanged at revision 1" in second
    assert again == url
    assert not (checkout / ".lateen").exists()
