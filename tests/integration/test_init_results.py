"""What callers and records are told where `init` starts and watches environments, beside what embedded tells them."""

import asyncio
import json
import re
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hostile_function import CODE
from init_process import InPod
from runtime_driver import Function

from lateen_invoker.invocations import Invocation, Outcome
from lateen_invoker.metrics import Metrics
from lateen_invoker.pool import Pool
from lateen_invoker.recorder import record_for
from lateen_invoker.records import ExecutionRecord
from lateen_invoker.spawner import Spawner

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
ENDINGS: list[dict[str, Any]] = [
    {"do": "echo", "with": "hello"},
    {"do": "print"},
    {"do": "exit", "with": 0},
    {"do": "exit", "with": 3},
    {"do": "die", "with": 9},
    {"do": "die", "with": 11},
    {"do": "die", "with": 15},
    {"do": "sleep", "with": 20},
    {"do": "hoard", "with": 1024},
    {"do": "children hoard", "with": [400, 4]},
    {"do": "no such thing"},
]


class Calls:
    """A pool over a spawner, and what became of each call."""

    def __init__(self, function: Function, spawner: Spawner) -> None:
        self._configure = function.configure
        self._spawner = spawner
        self._records: dict[str, asyncio.Future[Invocation]] = {}
        self.pool = Pool(
            function.configure, spawner, Metrics(), record=self._recorded, idle=lambda: None
        )  # fmt: skip

    async def call(self, event: Any, number: int) -> tuple[Outcome, ExecutionRecord]:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Outcome] = loop.create_future()
        invocation = Invocation(
            json.dumps(event).encode(), lambda _, outcome: done.set_result(outcome), request_id=f"request-{number}",
            trace_id="", arn=self.pool.arn,
        )  # fmt: skip
        self._records[invocation.request_id] = loop.create_future()
        self.pool.submit(invocation)
        async with asyncio.timeout(20):
            outcome = await done
            body = Outcome(outcome.kind, outcome.body, error_type=outcome.error_type)
            return body, record_for(await self._records[invocation.request_id], self._configure)

    def placeless(self, text: bytes) -> bytes:
        """Without the folder that the code is in."""
        return text.replace(self._spawner.task_root.encode(), b"/code")

    def _recorded(self, invocation: Invocation) -> None:
        self._records[invocation.request_id].set_result(invocation)


@asynccontextmanager
async def _in_pod(code: str) -> AsyncIterator[Calls]:
    async with InPod(code, timeout_s=4) as pod:
        calls = Calls(pod, pod.spawner)
        yield calls
        await calls.pool.close()


@asynccontextmanager
async def _embedded(code: str) -> AsyncIterator[Calls]:
    with tempfile.TemporaryDirectory() as folder:
        async with Function(Path(folder) / "own", code, timeout_s=4) as function:
            calls = Calls(function, function.spawner)
            yield calls
            await calls.pool.close()


def _comparable(log: bytes) -> bytes:
    """Without figures and times."""
    return re.sub(rb"[\d-]+T[\d:.]+Z", b"TIME", re.sub(rb"\d+\.?\d* (ms|MB)\b", rb"N \1", log))


async def test_results_errors_and_records_are_those_of_embedded() -> None:
    """For each way in which a call can end: kind, error document, status, log and REPORT line are equal, and the peak
    memory about so."""
    async with _in_pod(CODE) as pod, _embedded(CODE) as embedded:
        assert await pod.pool.initialise() is None
        assert await embedded.pool.initialise() is None
        for number, event in enumerate(ENDINGS):
            here, record = await pod.call(event, number)
            there, expected = await embedded.call(event, number)
            assert (here.kind, here.error_type) == (there.kind, there.error_type), event
            assert pod.placeless(here.body) == embedded.placeless(there.body), event
            assert record.status == expected.status, event
            assert pod.placeless(repr(record.error).encode()) == embedded.placeless(repr(expected.error).encode()), (
                event
            )
            printed, expected_print = record.log_tail.encode(), expected.log_tail.encode()
            assert _comparable(pod.placeless(printed)) == _comparable(embedded.placeless(expected_print)), event
            assert record.memory_peak_mib > 5
            if event["do"] == "echo":
                assert abs(record.memory_peak_mib - expected.memory_peak_mib) <= 8


@pytest.mark.parametrize(
    "code",
    [
        "import missing_module", "x = (", "raise ValueError('no')", "import os; os._exit(4)",
        "hoard = bytes(bytearray(300 << 20)); import time; time.sleep(3)", "other = 1",
    ],
)  # fmt: skip
async def test_failed_initialisations_are_those_of_embedded(code: str) -> None:
    """The deployment is told the same reason."""
    async with _in_pod(code) as pod, _embedded(code) as embedded:
        here, there = await pod.pool.initialise(), await embedded.pool.initialise()
        assert here is not None
        assert there is not None
        assert (here.kind, here.error_type) == (there.kind, there.error_type)
        assert pod.placeless(here.body) == embedded.placeless(there.body)


CLIENT = """
import http.client, json, os
api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
while True:
    api.request("GET", "/2018-06-01/runtime/invocation/next")
    answer = api.getresponse()
    assert answer.status == 200, answer.read()
    event, request_id = json.loads(answer.read()), answer.headers["Lambda-Runtime-Aws-Request-Id"]
    api.request("POST", f"/2018-06-01/runtime/invocation/{request_id}/response", json.dumps(["own", event]))
    api.getresponse().read()
"""


async def test_a_wrapper_may_start_another_runtime(tmp_path: Path) -> None:
    """`AWS_LAMBDA_EXEC_WRAPPER` may start it in place of the bootstrap; it speaks the Runtime API over HTTP."""
    files = {"client.py": CLIENT, "wrapper": '#!/bin/sh\nexec "$1" -I "$LAMBDA_TASK_ROOT/client.py"\n'}
    async with Function(tmp_path / "own", files) as function:
        (function.code / "wrapper").chmod(0o755)
        function.configure.environment["AWS_LAMBDA_EXEC_WRAPPER"] = f"{function.spawner.task_root}/wrapper"
        calls = Calls(function, function.spawner)
        assert await calls.pool.initialise() is None
        for number in range(2):
            outcome, _ = await calls.call(number, number)
            assert (outcome.kind, json.loads(outcome.body)) == ("answer", ["own", number])
        assert calls.pool.environments == 1
        await calls.pool.close()
