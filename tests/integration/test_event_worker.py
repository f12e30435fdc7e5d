"""The worker: how many events it runs, whose, for how long it holds them, and how it ends."""

import asyncio
import base64
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from lateen.adapters.filesystem import FileObjects
from lateen.adapters.sqlite import SqliteTable
from lateen.adapters.sqlite_queue import SqliteQueue
from lateen.domain.access import PLATFORM
from lateen.domain.errors import Unavailable
from lateen.domain.events import EVENT_AGE_S
from lateen.domain.functions import Function
from lateen.ports.queue import Message, QueueUnavailable
from lateen.services.event_runs import DELIVERIES_LIMIT, UNSPOKEN, EventRuns
from lateen.services.event_worker import EventWorker
from lateen.services.events import Events
from lateen.services.functions import NewFunction
from lateen.testing.assembled import ManualClock, Services, assemble
from lateen.testing.fake_deployer import FakeAnswer

RUNTIMES = Path(__file__).parents[2] / "runtimes"


class Gated:
    """Functions that answer when they are told to."""

    def __init__(self) -> None:
        self.running: Counter[str] = Counter()
        self.most = 0
        self.done: list[str] = []
        self.go: dict[str, asyncio.Event] = {}

    async def invoke(
        self,
        function: Function,
        event: bytes,
        *,
        qualifier: str | None = None,
        client_context: str | None = None,
        request_id: str | None = None,
    ) -> FakeAnswer:
        self.running[function.name] += 1
        self.most = max(self.most, self.running.total())
        try:
            await self.go.setdefault(function.name, asyncio.Event()).wait()
            self.done.append(event.decode())
        finally:
            self.running[function.name] -= 1
        return FakeAnswer()


class Setting:
    def __init__(self, services: Services, table: SqliteTable, *, lease_s: float) -> None:
        self.services = services
        # Leases are as long as they are, and functions' items are on the services' clock.
        self.queue = SqliteQueue(table, lease_s=lease_s)
        self.events = Events(self.queue, services.objects, now=services.clock)
        self.invoker = Gated()
        self.runs = EventRuns(
            self.queue,
            events=self.events,
            functions=services.functions,
            aliases=services.aliases,
            configs=services.event_configs,
            letters=services.dead_letters,
            invoker=self.invoker,
            region="us-east-1",
            now=services.clock,
        )

    def worker(self, concurrency: int) -> EventWorker:
        return EventWorker(self.queue, self.runs, concurrency=concurrency)

    async def function(self, name: str, workspace: str = "default") -> Function:
        new = NewFunction(name=name, runtime="python3.12", code=b"def handler(e, c): return e\n")
        return (await self.services.functions.create(PLATFORM, workspace, new)).function


Make = Callable[..., Awaitable[Setting]]


@pytest.fixture
async def make(sqlite_table: SqliteTable, file_objects: FileObjects) -> Make:
    async def setting(lease_s: float = 60.0) -> Setting:
        services = assemble(sqlite_table, file_objects, RUNTIMES, clock=ManualClock())
        await services.workspaces.ensure_default()
        return Setting(services, sqlite_table, lease_s=lease_s)

    return setting


async def until(condition: Callable[[], Any], *, within_s: float = 30.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.01)


async def settled(condition: Callable[[], Any], *, for_s: float = 1.0) -> None:
    """It comes true, and stays true for a while."""
    await until(condition)
    until_s = time.monotonic() + for_s
    while time.monotonic() < until_s:
        assert condition()
        await asyncio.sleep(0.02)


async def test_so_many_at_a_time(make: Make) -> None:
    """Of many functions together as many as it was told; in the end all of them have run once."""
    setting = await make()
    functions = [await setting.function(f"f{number}") for number in range(8)]
    for number in range(40):
        await setting.events.accept(functions[number % 8], b"%d" % number)
    async with setting.worker(6).working(drain_s=30):
        await until(lambda: setting.invoker.running.total() >= 4)
        for function in functions:
            setting.invoker.go.setdefault(function.name, asyncio.Event()).set()
        await until(lambda: len(setting.invoker.done) == 40)
    assert sorted(map(int, setting.invoker.done)) == list(range(40))
    assert setting.invoker.most <= 6
    depth = await setting.queue.depth()
    assert (depth.waiting, depth.delayed, depth.leased) == (0, 0, 0)


async def test_one_at_a_time(make: Make) -> None:
    """A worker of one place uses it."""
    setting = await make()
    function = await setting.function("f")
    setting.invoker.go["f"] = asyncio.Event()
    setting.invoker.go["f"].set()
    for number in range(5):
        await setting.events.accept(function, b"%d" % number)
    async with setting.worker(1).working(drain_s=30):
        await until(lambda: len(setting.invoker.done) == 5)
    assert setting.invoker.most == 1


async def test_slow_functions_leave_room_for_others(make: Make) -> None:
    """However many events of one function wait, and however long it takes, another one's runs beside them; the same
    with whole workspaces, of however many functions."""
    setting = await make()
    other = (await setting.services.workspaces.create(PLATFORM, name="other")).id
    slow = await setting.function("slow")
    for number in range(50):
        await setting.events.accept(slow, b"%d" % number)
    async with setting.worker(10).working(drain_s=0):
        await settled(lambda: setting.invoker.running["slow"] == 5)
        neighbour = await setting.function("neighbour")
        await setting.events.accept(neighbour, b'"n"')
        await until(lambda: setting.invoker.running["neighbour"] == 1)
        for number in range(20):
            further = await setting.function(f"further{number}")
            await setting.events.accept(further, b'"f"')
        await settled(lambda: setting.invoker.running.total() == 8)
        stranger = await setting.function("stranger", other)
        await setting.events.accept(stranger, b'"s"')
        await until(lambda: setting.invoker.running["stranger"] == 1)


async def test_a_long_run_keeps_its_lease(make: Make) -> None:
    """For several times its length, beside another worker that looks for work; it runs once."""
    setting = await make(lease_s=0.9)
    function = await setting.function("long")
    await setting.events.accept(function, b"1")
    one, other = setting.worker(5), setting.worker(5)
    async with one.working(drain_s=30), other.working(drain_s=30):
        await settled(lambda: setting.invoker.running["long"] == 1, for_s=4.0)
        setting.invoker.go["long"].set()
        await until(lambda: setting.invoker.done)
    assert setting.invoker.done == ["1"]
    assert one.leases_lost + other.leases_lost == 0


async def test_a_lease_outlasts_a_moment_without_the_queue(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """One word that was not heard, and the next one is."""
    setting = await make(lease_s=0.9)
    function = await setting.function("long")
    await setting.events.accept(function, b"1")
    extend, lost = setting.queue.extend, [QueueUnavailable("the queue does not answer")]

    async def extended(message: Message) -> None:
        if lost:
            raise lost.pop()
        await extend(message)

    monkeypatch.setattr(setting.queue, "extend", extended)
    one, other = setting.worker(5), setting.worker(5)
    async with one.working(drain_s=30), other.working(drain_s=30):
        await settled(lambda: setting.invoker.running["long"] == 1, for_s=3.0)
        setting.invoker.go["long"].set()
        await until(lambda: setting.invoker.done)
    assert not lost
    assert setting.invoker.done == ["1"]


async def test_a_worker_that_hangs_is_replaced(make: Make) -> None:
    """Its lease ends, another one runs the event, and its own late word changes nothing."""
    setting = await make(lease_s=0.5)
    function = await setting.function("f")
    await setting.events.accept(function, b"1")
    (held,) = await setting.queue.receive()
    setting.invoker.go["f"] = asyncio.Event()
    setting.invoker.go["f"].set()
    worker = setting.worker(5)
    async with worker.working(drain_s=30):
        await until(lambda: setting.invoker.done == ["1"])
        await worker._run(held)
    assert setting.invoker.done == ["1", "1"]
    assert worker.leases_lost == 1


async def test_stopping_waits_for_what_runs(make: Make) -> None:
    """And takes nothing more."""
    setting = await make()
    function = await setting.function("f")
    await setting.events.accept(function, b"1")
    worker = setting.worker(1)
    context = worker.working(drain_s=30)
    await context.__aenter__()
    await until(lambda: worker.running == 1)
    await setting.events.accept(function, b"2")
    ending = asyncio.create_task(context.__aexit__(None, None, None))
    await asyncio.sleep(0.3)
    assert not ending.done()
    setting.invoker.go["f"].set()
    await asyncio.wait_for(ending, 20)
    assert setting.invoker.done == ["1"]
    depth = await setting.queue.depth()
    assert (depth.waiting, depth.leased) == (1, 0)


async def test_what_is_not_finished_is_handed_back(make: Make) -> None:
    """At once, not when its lease is over; the next worker runs it."""
    setting = await make()
    function = await setting.function("f")
    for number in range(3):
        await setting.events.accept(function, b"%d" % number)
    async with setting.worker(5).working(drain_s=0.05):
        await until(lambda: setting.invoker.running["f"] == 3)
    depth = await setting.queue.depth()
    assert (depth.waiting, depth.leased) == (3, 0)
    setting.invoker.go["f"].set()
    async with setting.worker(5).working(drain_s=30):
        await until(lambda: sorted(setting.invoker.done) == ["0", "1", "2"])


async def test_a_queue_that_is_away(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing can be taken, or said, the worker waits; what ran is acknowledged when the queue is back."""
    setting = await make()
    function = await setting.function("f")
    setting.invoker.go["f"] = asyncio.Event()
    setting.invoker.go["f"].set()
    await setting.events.accept(function, b"1")
    real = setting.queue.ack
    refusals = 0

    async def refuse(message: Any) -> None:
        nonlocal refusals
        refusals += 1
        if refusals <= 2:
            raise QueueUnavailable("away")
        await real(message)

    monkeypatch.setattr(setting.queue, "ack", refuse)
    async with setting.worker(5).working(drain_s=30):
        await until(lambda: refusals == 3)
        receive = setting.queue.receive

        async def away(**_: Any) -> Any:
            raise QueueUnavailable("away")

        monkeypatch.setattr(setting.queue, "receive", away)
        await asyncio.sleep(0.5)
        await setting.events.accept(function, b"2")
        monkeypatch.setattr(setting.queue, "receive", receive)
        await until(lambda: setting.invoker.done == ["1", "2"])


@pytest.mark.parametrize("what", ["table", "object store"])
async def test_a_store_that_is_away_for_long(make: Make, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """Costs no event: it is held however often it was tried for, and runs when the store is back."""
    setting = await make(lease_s=0.1)
    tries = _take_away(setting, monkeypatch, what)
    function = await setting.function("f")
    setting.invoker.go["f"] = asyncio.Event()
    setting.invoker.go["f"].set()
    await setting.events.accept(function, b"1")
    async with setting.worker(5).working(drain_s=30):
        tries.is_away = True
        await until(lambda: tries.count > DELIVERIES_LIMIT + UNSPOKEN + 2)
        tries.is_away = False
        await until(lambda: setting.runs.ended.total())
    # Its lease is short, so on a busy machine another delivery may begin while the first one runs.
    assert (set(setting.invoker.done), dict(setting.runs.ended)) == ({"1"}, {"success": 1})
    assert await setting.queue.dead() == []
    assert (await setting.services.dead_letters.list(PLATFORM, function.id)).items == []


async def test_an_event_that_became_too_old_meanwhile(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends for that reason, and no worker is said to have ended."""
    setting = await make(lease_s=0.1)
    tries = _take_away(setting, monkeypatch, "table")
    function = await setting.function("f")
    await setting.events.accept(function, b"1")
    async with setting.worker(5).working(drain_s=30):
        tries.is_away = True
        await until(lambda: tries.count > DELIVERIES_LIMIT + UNSPOKEN + 2)
        setting.services.clock.now_s += EVENT_AGE_S[1] + 1
        tries.is_away = False
        await until(lambda: setting.runs.ended.total())
    (letter,) = (await setting.services.dead_letters.list(PLATFORM, function.id)).items
    assert (letter.condition, letter.attempts) == ("EventAgeExceeded", 0)


class _Tries:
    is_away = False
    count = 0


def _take_away(setting: Setting, monkeypatch: pytest.MonkeyPatch, what: str) -> _Tries:
    """What a run asks first of this store fails while `is_away`; `count`: deliveries that were given up for that."""
    tries = _Tries()
    holder, name = (setting.services.functions, "get") if what == "table" else (setting.events, "payload")
    read, run = getattr(holder, name), setting.runs.run

    async def may_fail(*arguments: Any) -> Any:
        if tries.is_away:
            raise Unavailable("away")
        return await read(*arguments)

    async def counted(message: Any) -> None:
        try:
            await run(message)
        except Unavailable:
            tries.count += 1
            raise

    monkeypatch.setattr("lateen.services.event_runs.PATIENCE_S", 0.0)
    monkeypatch.setattr(holder, name, may_fail)
    monkeypatch.setattr(setting.runs, "run", counted)
    return tries


async def test_metrics(make: Make) -> None:
    """Depth and age of the whole queue, and what this process does, with few labels."""
    setting = await make()
    function = await setting.function("f")
    for _ in range(4):
        await setting.events.accept(function, b"1")
    worker = setting.worker(4)
    registry = CollectorRegistry()
    registry.register(worker)
    async with worker.working(drain_s=30):
        await until(lambda: worker.running == 2)
        await worker._measure()
        text = generate_latest(registry).decode()
        assert 'lateen_queue_messages{state="waiting"} 2.0' in text
        assert 'lateen_queue_messages{state="leased"} 2.0' in text
        assert "lateen_events_running 2.0" in text
        oldest = next(line for line in text.splitlines() if line.startswith("lateen_queue_oldest_timestamp_seconds "))
        assert abs(float(oldest.split()[1]) - time.time()) < 60
        setting.invoker.go["f"].set()
        await until(lambda: len(setting.invoker.done) == 4)
    text = generate_latest(registry).decode()
    assert 'lateen_events_ended_total{outcome="success"} 4.0' in text
    assert 'lateen_events_attempts_total{result="success"} 4.0' in text


CODE = """
import json, os, time
def handler(event, context):
    with open(event["file"], "a") as file:
        file.write(context.aws_request_id + "\\n")
    time.sleep(event.get("s", 0))
"""


class Up:
    """`lateen up` as a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.client: httpx.Client | None = None

    def start(self) -> None:
        env = os.environ | {
            "LATEEN_DATA": str(self.folder / "data"),
            "LATEEN_PORT": "0",
            "LATEEN_SANDBOX": "off",
            "LOG_LEVEL": "INFO",
        }
        lateen = Path(sys.executable).with_name("lateen")
        log = self.folder / f"log-{time.monotonic()}"
        with open(log, "wb") as out:
            self._process = subprocess.Popen([lateen, "up"], env=env, stdout=out, stderr=out, start_new_session=True)
        until_s = time.monotonic() + 60
        while time.monotonic() < until_s:
            found = [word for word in log.read_text().split() if word.startswith("http://127.0.0.1:")]
            if found:
                break
            assert self._process.poll() is None, log.read_text()
            time.sleep(0.05)
        secret = (self.folder / "data" / "admin").read_text().strip()
        self.client = httpx.Client(
            base_url=found[0].rstrip(".,"), headers={"authorization": f"Bearer {secret}"}, timeout=30, trust_env=False
        )

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def call(self, method: str, path: str, **request: Any) -> Any:
        assert self.client is not None
        answer = self.client.request(method, path, **request)
        assert answer.is_success, answer.text
        return answer


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Up]:
    process = Up(tmp_path)
    yield process
    process.kill()


@pytest.mark.slow
async def test_what_was_accepted_runs_after_kill_9(up: Up, tmp_path: Path) -> None:
    """The process is killed as soon as it has said 202, again and again, also while functions run: each event that it
    has taken runs after the start, at least once, with the request id that its sender was told."""
    await asyncio.to_thread(up.start)
    body = {"name": "f", "runtime": "python3.12", "code": base64.b64encode(CODE.encode()).decode(), "timeout": 30}
    function = up.call("POST", "/api/workspaces/default/functions", json=body).json()["id"]
    seen = tmp_path / "seen"
    seen.touch()
    accepted: set[str] = set()
    for round_ in range(4):
        for number in range(5):
            event = {"file": str(seen), "s": 3 if number == 0 else 0}
            answer = up.call("POST", f"/api/functions/{function}/invocations?type=event", json=event)
            assert answer.status_code == 202
            accepted.add(answer.json()["request_id"])
        if round_ % 2:
            await asyncio.sleep(1.0)
        await asyncio.to_thread(up.kill)
        await asyncio.to_thread(up.start)
    async with asyncio.timeout(90):
        while not accepted <= set(seen.read_text().split()):
            await asyncio.sleep(0.1)
    assert len(accepted) == 20
    assert set(seen.read_text().split()) == accepted
    await asyncio.to_thread(up.kill)
    database = sqlite3.connect(tmp_path / "data" / "lateen.db")
    assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    database.close()
