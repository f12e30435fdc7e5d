"""A Redis server of the tests' own, from the machine's `redis-server`."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest


class RedisServer:
    """On a port of 127.0.0.1; what it acknowledges is on disk (`appendfsync always`) unless said otherwise."""

    def __init__(self, folder: Path, *options: str, scheme: str = "redis", appendfsync: str = "always") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = _free_port()
        self.url = f"{scheme}://127.0.0.1:{self.port}/0"
        listen = ["--tls-port", str(self.port), "--port", "0"] if scheme == "rediss" else ["--port", str(self.port)]
        self._command = [
            "redis-server", "--bind", "127.0.0.1", *listen, "--dir", str(folder), "--save", "",
            "--appendonly", "yes", "--appendfsync", appendfsync, "--maxmemory-policy", "noeviction", *options,
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        until_s = time.monotonic() + 30
        while time.monotonic() < until_s:
            assert self._process.poll() is None, (self.folder / "log").read_text()
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise AssertionError("redis-server did not listen")

    def kill(self) -> None:
        """As a crash does."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def stand_still(self) -> None:
        """As when its disk does not answer: connections are taken, and nothing is said."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def forget_everything(self) -> None:
        """While it is down."""
        shutil.rmtree(self.folder / "appendonlydir")


def need_redis() -> None:
    """Skips where there is no server program; in CI that is a failure."""
    if shutil.which("redis-server") is None:
        reason = "needs redis-server (Debian: apt-get install redis-server)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
