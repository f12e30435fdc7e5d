"""What `/proc` tells of an environment's processes."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lateen_invoker import processes
from lateen_invoker.forkserver import descendants

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
# It takes 64 MiB, and then its first thread ends and another does not.
CODE = """
import ctypes, platform, threading, time

taken = bytearray(b"x") * (64 << 20)
threading.Thread(target=time.sleep, args=(60,)).start()
ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[platform.machine()], 0)
"""
KEEPER = """
import subprocess, sys

for _ in range(int(sys.argv[2])):
    subprocess.Popen([sys.executable, "-c", sys.argv[1]])
sys.stdin.read()
"""


@pytest.mark.parametrize("number", [1, 2])
def test_processes_without_their_first_thread(number: int) -> None:
    """What their other threads hold counts as ever."""
    keeper = subprocess.Popen([sys.executable, "-c", KEEPER, CODE, str(number)], stdin=subprocess.PIPE)
    try:
        until = time.monotonic() + 60
        while [_state(pid) for pid in descendants(keeper.pid)] != ["Z"] * number:
            assert time.monotonic() < until
            time.sleep(0.05)
        usage = processes.usage_below(keeper.pid)
        assert usage is not None
        assert usage.processes == number
        assert usage.memory_kib >= number * 64 << 10
        assert processes.peak_kib(descendants(keeper.pid)[0]) >= 64 << 10
    finally:
        for pid in descendants(keeper.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        keeper.communicate()


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
