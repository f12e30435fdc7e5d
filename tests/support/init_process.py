"""`init` as an ordinary process of this machine, with the real `PodSpawner` on the other end of its socket."""

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from runtime_driver import RUNTIME, Function, python_command

from lateen_invoker.control import RuntimeCommand
from lateen_invoker.pod_spawner import PodSpawner

SOURCE = Path(__file__).parents[2] / "runtimes" / "init"
OTHER_USER = 100_123


@functools.cache
def init_binary() -> Path:
    """Built here, in a folder that everybody may read. Skips where there is no Go."""
    go = shutil.which("go") or "/usr/local/go/bin/go"
    if not os.path.exists(go):
        pytest.skip("building init needs Go")
    folder = Path(tempfile.mkdtemp(prefix="lateen-init-"))
    folder.chmod(0o755)
    environment = {**os.environ, "CGO_ENABLED": "0"}
    subprocess.run([go, "build", "-o", str(folder / "init"), "."], cwd=SOURCE, env=environment, check=True)
    return folder / "init"


@functools.cache
def python_for_everybody() -> RuntimeCommand | None:
    """The runtime with an interpreter that any user of this machine may run."""
    for python in ("/usr/local/bin/python3.12", "/usr/bin/python3.12", "/usr/bin/python3.13", "/usr/bin/python3.11"):
        given = [python, "-I", "-S", str(RUNTIME / "bootstrap.py")]
        if os.path.exists(python) and subprocess.run([*as_other_user(), python, "-c", ""]).returncode == 0:
            return RuntimeCommand(
                name="python3.12", execution_env=None, command=given, forks=True, channel=True,
                runtime_dir=str(RUNTIME), readable=[],
            )  # fmt: skip
    return None


def as_other_user() -> list[str]:
    """Words in front of a command that make it another user's, without any power of root's."""
    user = str(OTHER_USER)
    return [
        "setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--no-new-privs", "--bounding-set=-all",
        "--inh-caps=-all",
    ]  # fmt: skip


class InPod(Function):
    """One function whose environments `init` makes, as in a pod, but without one."""

    spawner: PodSpawner  # type: ignore[assignment]

    def __init__(self, code: dict[str, str] | str, *, other_user: bool = False, **configure: Any) -> None:
        folder = Path(tempfile.mkdtemp(prefix="lateen-pod-"))
        command = python_for_everybody() if other_user else python_command()
        if command is None:
            pytest.skip("needs an interpreter that every user may run")
        super().__init__(folder, code, **{"runtime": command, **configure})
        folder.chmod(0o755)
        self.tmp = folder / "tmp"
        self.run = folder / "run"
        self.process: subprocess.Popen[bytes] | None = None
        self._other_user = other_user
        for path in (self.tmp, self.run, folder / "environments"):
            path.mkdir()
        if other_user:
            os.chown(self.tmp, OTHER_USER, OTHER_USER)
        self.spawner = self.new_spawner()

    @property
    def socket_path(self) -> Path:
        return self.run / "init.sock"

    @property
    def init_pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def new_spawner(self) -> PodSpawner:
        return PodSpawner(
            self.configure, path=str(self.socket_path), task_root=str(self.code), tmp=str(self.tmp)
        )  # fmt: skip

    def start_init(self, **variables: str) -> None:
        words = as_other_user() if self._other_user else []
        self.process = subprocess.Popen(
            [*words, str(init_binary()), str(self.socket_path)], env={"PATH": os.defpath, "OF_INIT": "1", **variables}
        )

    async def __aenter__(self) -> "InPod":
        self.start_init()
        await self.spawner.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for environment in self.environments:
            environment.process.kill()
        await self.spawner.close()
        self.spawner.release()
        try:
            if self.process is not None:
                self.process.wait(10)
        finally:
            if self.process is not None and self.process.poll() is None:
                end_all_below(self.process.pid)
                self.process.kill()
                self.process.wait()
            shutil.rmtree(self.folder, ignore_errors=True)

    def fork_server(self) -> int:
        """Its process id, 0 where there is none."""
        return next((pid for pid in below(self.init_pid) if name_of(pid) == "lateen-forks"), 0)


def below(pid: int) -> list[int]:
    """All that descends from a process."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                for child in Path(f"/proc/{pid}/task/{thread}/children").read_text().split():
                    found += [int(child), *below(int(child))]
    return found


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def is_running(pid: int) -> bool:
    """False for one that has ended and that nobody waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def end_all_below(pid: int) -> None:
    for child in below(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def cpu_s(pid: int) -> float:
    """Processor time of all its threads so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def until(condition: Any, within_s: float = 10) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


if sys.platform != "linux":
    pytest.skip("needs Linux", allow_module_level=True)
