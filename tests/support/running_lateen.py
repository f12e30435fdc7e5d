"""Lateen as people start it: the real `lateen up`, on a port and a data folder of its own. Fixtures, for conftests."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
LATEEN = Path(sys.executable).with_name("lateen")
START_S = 30.0
STOP_S = 20.0


class Running(NamedTuple):
    process: "subprocess.Popen[str]"
    endpoint: str
    data: Path
    printed: list[str]
    """Lines of stdout so far."""


Start = Callable[..., Running]


def clean_environment(**added: str) -> dict[str, str]:
    """This process', without what would lead to another Lateen."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LATEEN_", "AWS_"))}
    return kept | added


@contextmanager
def starting() -> Iterator[Start]:
    """Starts Lateen and waits until it says that it is there; what still runs at the end is stopped."""
    started: list[subprocess.Popen[str]] = []

    def start(data: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> Running:
        process = subprocess.Popen(
            [LATEEN, "up", *arguments],
            env=clean_environment(LATEEN_DATA=str(data), LATEEN_PORT="0", **(environment or {})),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
        )
        started.append(process)
        printed: list[str] = []
        endpoint = ""
        assert process.stdout is not None
        for line in process.stdout:
            printed.append(line)
            if found := re.search(r"Lateen is at (\S+),", line):
                endpoint = found[1]
            if line.startswith("Ctrl-C"):
                break
        assert endpoint, "".join(printed)
        # Nobody may stop reading: a full pipe would stop the server.
        Thread(target=printed.extend, args=(process.stdout,), daemon=True).start()
        return Running(process, endpoint, data, printed)

    yield start
    for process in started:
        process.terminate()
    for process in started:
        process.wait(STOP_S)


@pytest.fixture(scope="module")
def start() -> Iterator[Start]:
    with starting() as start:
        yield start


@pytest.fixture(scope="module")
def server(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Running:
    return start(tmp_path_factory.mktemp("lateen") / "data")
