"""Environments that an invoker keeps started."""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from invoker_process import InvokerProcess

from lateen_invoker.control import Ready

CODE = """
import os, time

def handler(event, context):
    what = event.get("rawPath", "/")
    if what == "/exit":
        os._exit(1)
    if what == "/sleep":
        time.sleep(1)
    return os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]
"""


@pytest.fixture
def invoker(tmp_path: Path) -> Iterator[InvokerProcess]:
    invoker = InvokerProcess(tmp_path)
    yield invoker
    invoker.close()


def environments(invoker: InvokerProcess) -> set[str]:
    """Each has a folder of its own for as long as it lives."""
    return set(os.listdir(invoker.folder / "work" / "environments"))


def wait_until(condition: Callable[[], bool]) -> None:
    until_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until_s
        time.sleep(0.05)


def test_they_are_there_before_it_is_ready_and_stay(invoker: InvokerProcess) -> None:
    """One that dies is replaced; those beyond them come when they are called for and end when they are not."""
    assert isinstance(invoker.configure(CODE, provisioned=3, concurrency=5, idle_s=0.3, timeout_s=10), Ready)
    first = environments(invoker)
    assert len(first) == 3
    time.sleep(1)
    assert environments(invoker) == first
    assert invoker.call("/").body == b"provisioned-concurrency"
    assert (invoker.record(1).cold, invoker.record(1).init_duration_ms) == (False, None)
    with ThreadPoolExecutor(5) as callers:
        kinds = sorted(answer.body for answer in callers.map(invoker.call, ["/sleep"] * 5))
    assert kinds == [b"on-demand"] * 2 + [b"provisioned-concurrency"] * 3
    wait_until(lambda: environments(invoker) == first)
    before = environments(invoker)
    assert invoker.call("/exit").status == 502
    wait_until(lambda: len(now := environments(invoker)) == 3 and len(now & before) == 2)


def test_code_that_fails_is_not_started_all_the_time(invoker: InvokerProcess) -> None:
    """It is tried again, after a second, then after two and so on; nor does the invoker wait for what never comes."""
    notes = invoker.folder / "notes"
    code = f"import os\nopen({str(notes)!r}, 'a').write('x')\nos._exit(1)\n"
    ready = invoker.configure(code, provisioned=3, sandbox=False)
    assert isinstance(ready, Ready)
    assert ready.init_error is not None
    wait_until(lambda: len(notes.read_text()) > 1)
    time.sleep(1)
    assert len(notes.read_text()) <= 10
