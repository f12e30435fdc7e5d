"""The recorder's batches: what goes with them, what goes alone, and what is counted that was dropped."""

import asyncio
import json
from datetime import datetime
from typing import Any

import pytest
from msgspec import structs

from lateen_invoker import recorder, statistics
from lateen_invoker.control import Configure, RuntimeCommand
from lateen_invoker.invocations import (
    Invocation,
    Outcome,
    exited,
    extension_failed,
    failed,
    how_runtime_ended,
    no_entrypoint,
    timed_out,
    too_large,
)
from lateen_invoker.log_text import log_text
from lateen_invoker.metrics import Metrics
from lateen_invoker.recorder import Recorder
from lateen_invoker.records import ExecutionRecord
from lateen_invoker.rollups import MINUTES, QUARTERS, Rollup

CONFIGURE = Configure(
    function_id="f1", function_name="f", workspace_id="default", account_id="123456789012", version="1", hash="0" * 32,
    region="eu-central-1", handler="code.handler", environment={}, timeout_s=3, memory_mib=128, concurrency=1, queue=1,
    open=True, invoke_key=b"k", artifact="file:///x", artifact_sha256="0" * 64, work_dir="/x", idle_s=1.0,
    runtime=RuntimeCommand(
        name="r", execution_env=None, command=["x"], forks=False, channel=False, runtime_dir="/x"
    ),
)  # fmt: skip
LIMIT_S = 30


class Store:
    """Takes batches; `is_away`: doesn't say that it has them."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.recorder = Recorder(CONFIGURE, self.metrics, self._send)
        self.is_away = False
        self.records: list[ExecutionRecord] = []
        self.rollups: dict[str, Rollup] = {}
        """By what they are called, the latest."""
        self.batches: list[tuple[int, int]] = []
        """How many records and rollups each had."""
        self._waiting: list[int] = []

    def _send(self, batch: int, records: list[ExecutionRecord], dropped: int, rollups: list[Rollup]) -> None:
        self.batches.append((len(records), len(rollups)))
        self.records += records
        self.rollups |= {f"{each.series} {each.start} {each.writer}": each for each in rollups}
        self._waiting.append(batch)
        if not self.is_away:
            asyncio.get_running_loop().call_soon(self.come_back)

    def come_back(self) -> None:
        self.is_away = False
        waiting, self._waiting = self._waiting, []
        for batch in waiting:
            self.recorder.stored(batch)

    def counted(self, series: str) -> int:
        slots = [slot for name, each in self.rollups.items() if name.startswith(series) for slot in each.slots]
        return sum(sum(slot[6::2]) for slot in slots)

    def counters(self) -> list[int]:
        slots = [slot for name, each in self.rollups.items() if name.startswith("MINUTES") for slot in each.slots]
        return [sum(slot[index] for slot in slots) for index in range(1, 5)]

    async def until(self, holds: Any) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not holds():
                await asyncio.sleep(0.01)


def ended(name: str, outcome: Outcome | None = None) -> Invocation:
    invocation = Invocation(b"{}", lambda *_: None, request_id=name, trace_id="", arn="")
    invocation.started_at = invocation.queued_at
    invocation.finish(outcome or Outcome("answer", b"1"))
    return invocation


@pytest.mark.parametrize(
    ("level", "outcome", "types", "said"),
    [
        ("DEBUG", None, ["platform.start", "platform.report"], {"status": "success"}),
        ("INFO", None, ["platform.start", "platform.report"], {"status": "success"}),
        ("WARN", None, [], {}),
        ("WARN", timed_out("a", 3.0), ["platform.report"], {"status": "timeout"}),
        (
            "WARN",
            Outcome("error", b'{"errorType": "KeyError", "errorMessage": "x"}', error_type="KeyError"),
            ["platform.report"],
            {"status": "error", "errorType": "KeyError"},
        ),
    ],
)
async def test_json_logs(level: Any, outcome: Outcome | None, types: list[str], said: dict[str, str]) -> None:
    """What is said of an invocation around its output, from a level on."""
    invocation = ended("a", outcome)
    invocation.init_duration_ms = 1.5
    invocation.log = bytearray(b"its own\n")
    lines = log_text(invocation, structs.replace(CONFIGURE, system_log_level=level)).splitlines()
    assert lines.index("its own") == ("platform.start" in types)
    events = [json.loads(line) for line in lines if line != "its own"]
    assert [each["type"] for each in events] == types
    for event in events:
        assert event["record"]["requestId"] == "a"
        assert datetime.fromisoformat(event["time"]).tzinfo is not None
    if types:
        metrics = events[-1]["record"].pop("metrics")
        assert (metrics["memorySizeMB"], metrics["initDurationMs"]) == (128, 1.5)
        assert events[-1]["record"] == {"requestId": "a", **said}


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (exited("a", how_runtime_ended(3, None), out_of_memory=False),
         "RequestId: a Error: Runtime exited with error: exit status 3\nRuntime.ExitError\n"),
        (exited("a", how_runtime_ended(None, "killed"), out_of_memory=True),
         "RequestId: a Error: Runtime exited with error: signal: killed\nRuntime.OutOfMemory\n"),
        (too_large(), "Response payload size exceeded maximum allowed payload size (6291556 bytes).\n"
                      "Function.ResponseSizeTooLarge\n"),
        (no_entrypoint("no such file"), "RequestId:  Error: no such file\nRuntime.InvalidEntrypoint\n"),
        (extension_failed("a", "Extension.Crash", "it ended"), "RequestId: a Error: it ended\nExtension.Crash\n"),
        (failed("KeyError", b'{"errorType": "KeyError", "errorMessage": "x"}'), ""),
        (None, ""),
    ],
)  # fmt: skip
async def test_the_log_says_why_a_runtime_ended(outcome: Outcome | None, said: str) -> None:
    """What no runtime could say, behind what it printed; an error that it reports it logs itself."""
    invocation = ended("a", outcome)
    invocation.log = bytearray(b"its own")
    start, report = "START RequestId: a Version: 1\n", "END RequestId: a\nREPORT RequestId: a\t"
    assert log_text(invocation, CONFIGURE).startswith(f"{start}its own\n{said}{report}")


async def test_statistics_go_with_the_records() -> None:
    """With the first batch; the next ones have none until some seconds have gone, and the end has all."""
    store = Store()
    store.recorder.add(ended("a"))
    store.recorder.add(ended("b", timed_out("b", 3.0)))
    await store.until(lambda: len(store.records) == 2)
    assert store.batches == [(2, 1)]
    store.recorder.add(ended("c"))
    await store.until(lambda: len(store.records) == 3)
    assert store.batches == [(2, 1), (1, 0)]
    await asyncio.wait_for(store.recorder.flushed(), LIMIT_S)
    assert store.batches == [(2, 1), (1, 0), (0, 2)]
    assert store.counted("MINUTES") == store.counted("QUARTERS") == 3
    assert store.counters() == [1, 1, 0, 0]
    await asyncio.wait_for(store.recorder.flushed(), LIMIT_S)
    assert len(store.batches) == 3


async def test_statistics_go_alone_where_nothing_takes_them_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call is the last one for a while: what was held back comes in its time."""
    soon = {
        "MINUTES": structs.replace(MINUTES, every_s=0.5),
        "QUARTERS": structs.replace(QUARTERS, hold_s=0.7),
    }
    monkeypatch.setattr(statistics, "SERIES", soon)
    store = Store()
    store.recorder.add(ended("a"))
    await store.until(lambda: store.records)
    store.recorder.add(ended("b"))
    await store.until(lambda: store.counted("MINUTES") == store.counted("QUARTERS") == 2)
    assert sum(records for records, _ in store.batches) == 2
    assert store.recorder.unsaved == 0


async def test_at_the_end_nothing_is_kept_back() -> None:
    """The store is away and the process has to end: what waits for the batch that is on its way goes out too, once."""
    store = Store()
    store.is_away = True
    store.recorder.add(ended("a"))
    await store.until(lambda: store.records)
    for name in "bc":
        store.recorder.add(ended(name))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(store.recorder.flushed(), 0.5)
    assert len(store.records) == 1
    store.recorder.hand_over()
    assert [record.request_id for record in store.records] == ["a", "b", "c"]
    assert store.counted("MINUTES") == store.counted("QUARTERS") == 3


async def test_what_is_dropped_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table is away and the buffer full: records are lost, and their calls are not forgotten."""
    monkeypatch.setattr(recorder, "BUFFER_BYTES", 20 * 1024)
    store = Store()
    store.is_away = True
    store.recorder.add(ended("first"))
    await store.until(lambda: store.records)
    for number in range(100):
        store.recorder.add(ended(f"r{number}"))
    assert store.metrics.records_dropped > 50
    store.come_back()
    await asyncio.wait_for(store.recorder.flushed(), LIMIT_S)
    assert len(store.records) + store.metrics.records_dropped == 101
    assert store.counted("MINUTES") == store.counted("QUARTERS") == 101


async def test_throttles_are_counted() -> None:
    """Once, though the metric goes on from where it is."""
    store = Store()
    store.metrics.throttles = 5
    store.recorder.add(ended("a"))
    await store.until(lambda: store.records)
    store.metrics.throttles = 7
    store.recorder.add(ended("b"))
    await asyncio.wait_for(store.recorder.flushed(), LIMIT_S)
    assert store.counters() == [0, 0, 7, 0]


async def test_the_end_waits_for_what_is_on_its_way() -> None:
    """A batch that isn't stored yet is no end, and what came since goes before it."""
    store = Store()
    store.is_away = True
    store.recorder.add(ended("a"))
    await store.until(lambda: store.records)
    store.recorder.add(ended("b"))
    ending = asyncio.create_task(store.recorder.flushed())
    await asyncio.sleep(0.05)
    assert not ending.done()
    store.come_back()
    await asyncio.wait_for(ending, LIMIT_S)
    assert [record.request_id for record in store.records] == ["a", "b"]
    assert (store.counted("QUARTERS"), store.recorder.unsaved) == (2, 0)
