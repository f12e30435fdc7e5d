"""The local deployer with real invokers: what runs, what is left, and what its callers notice of it."""

import asyncio
import ctypes
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from lateen.domain.access import PLATFORM
from lateen.domain.errors import InvalidInput
from lateen.ports.deployer import Deployment, NotRunning
from lateen.ports.table import TableUnavailable

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

HELLO = "def handler(event, context):\n    return 'hello'\n"


def answering(word: str) -> str:
    return f"import time\ndef handler(event, context):\n    time.sleep(0.01)\n    return '{word}'\n"


def descendants(pid: int) -> set[tuple[int, str]]:
    """All processes below one, each with its start time, so that a number that is used again is not taken for it."""
    children: dict[int, list[tuple[int, str]]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z":
                children.setdefault(int(fields[1]), []).append((int(entry.name), fields[19]))
    found: set[tuple[int, str]] = set()
    waiting = [pid]
    while waiting:
        for child in children.get(waiting.pop(), []):
            found.add(child)
            waiting.append(child[0])
    return found


def alive(processes: set[tuple[int, str]]) -> list[str]:
    """Command lines of those that still run."""
    left = []
    for pid, started in processes:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            if fields[19] == started and fields[0] != "Z":
                left.append(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return left


def inside(folder: Path) -> set[tuple[int, str]]:
    """All processes whose working directory is in there, whoever their parent is."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "cwd").readlink().is_relative_to(folder):
                    found.add((int(entry.name), (entry / "stat").read_text().rpartition(")")[2].split()[19]))
            except OSError:
                continue
    return found


async def until(condition: Any, within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.01)


async def test_an_update_under_load_fails_no_call(embedded: Any) -> None:
    """20 callers without a pause through five updates: each answer is a revision's own, never one older than before."""
    function = await embedded.create(answering("0"), concurrency=20, timeout_s=10)
    await embedded.settled(function)
    is_over = False
    answers: Counter[str] = Counter()

    async def call(client: httpx.AsyncClient) -> None:
        newest = 0
        while not is_over:
            answer = await client.get(embedded.url_of(function))
            assert answer.status_code == 200, answer.text
            assert int(answer.text) >= newest
            newest = int(answer.text)
            answers[answer.text] += 1

    async with embedded.client() as client:
        callers = [asyncio.create_task(call(client)) for _ in range(20)]
        for word in range(1, 6):
            function = await embedded.update(function, code=answering(str(word)))
            await embedded.settled(function)
            await asyncio.sleep(0.2)
        is_over = True
        await asyncio.gather(*callers)
    assert all(answers[str(word)] > 20 for word in range(1, 6)), answers
    await until(lambda: len(embedded.deployer._processes) <= 2)


async def test_a_change_that_is_taken_back_while_it_starts_serves_nobody(
    embedded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What serves is what is wanted again: it is Active at once, and stays when the other one has started."""
    function = await embedded.create(answering("old"))
    await embedded.settled(function)
    pid = embedded.pid_of(function)
    start = embedded.deployer.start_invoker
    started = []
    may_serve = asyncio.Event()

    async def held(deployment: Deployment) -> Any:
        started.append(await start(deployment))
        await may_serve.wait()
        return started[-1]

    monkeypatch.setattr(embedded.deployer, "start_invoker", held)
    await embedded.update(function, code=answering("new"))
    await until(lambda: started)
    function = await embedded.update(function, code=answering("old"))
    await embedded.settled(function)
    may_serve.set()
    await until(lambda: not started[0][0].is_alive)
    async with embedded.client() as client:
        assert (await client.get(embedded.url_of(function))).text == "old"
    assert (embedded.pid_of(function), len(started)) == (pid, 1)


async def test_an_update_that_fails_leaves_the_old_revision_serving(embedded: Any) -> None:
    """Its reason is shown, and a later good one takes over."""
    function = await embedded.create(answering("old"))
    await embedded.settled(function)
    bad = msgspec.structs.replace(embedded.functions.deployment_for(function), revision=2, artifact_sha256="0" * 64)
    await embedded.deployer.apply(bad)
    async with embedded.client() as client:
        async with asyncio.timeout(10):
            while (await embedded.state(function))[0] != "Failed":
                assert (await client.get(embedded.url_of(function))).text == "old"
        assert (await embedded.state(function))[1]
        assert (await client.get(embedded.url_of(function))).text == "old"
        function = await embedded.update(function, code=answering("new"))
        function = await embedded.update(function, description="another revision")
        assert await embedded.settled(function) is None
        assert (await client.get(embedded.url_of(function))).text == "new"


async def test_code_that_fails_to_load_is_active_with_a_reason(embedded: Any) -> None:
    """As on AWS: the function exists, its calls answer the error, and its owner reads why."""
    function = await embedded.create("import nothing_of_the_kind\n")
    reason = await embedded.settled(function)
    assert reason is not None
    assert "Runtime.ImportModuleError" in reason
    async with embedded.client() as client:
        answer = await client.get(embedded.url_of(function))
    assert (answer.status_code, answer.json()["errorType"]) == (502, "Runtime.ImportModuleError")


async def test_a_function_that_cannot_start_fails_and_says_why(embedded: Any) -> None:
    """Without its code in the store: 503 for callers, `NotRunning` with the reason for the platform; then it heals."""
    function = await embedded.create(HELLO)
    await embedded.settled(function)
    await embedded.deployer.remove(function.id)
    embedded.deployer._removed.clear()
    blob = embedded.folder / "objects" / function.code.artifact_key
    blob.rename(blob.with_suffix(".away"))
    deployment = embedded.functions.deployment_for(function)
    with pytest.raises(NotRunning) as refused:
        await embedded.deployer.endpoint(deployment)
    assert str(refused.value)
    async with embedded.client() as client:
        began_s = time.monotonic()
        answer = await client.get(embedded.url_of(function))
        assert answer.status_code == 503
        assert "retry-after" in answer.headers
        assert str(embedded.folder) not in answer.text
        assert time.monotonic() - began_s < 10
        blob.with_suffix(".away").rename(blob)
        async with asyncio.timeout(5):
            while (await client.get(embedded.url_of(function))).status_code != 200:
                await asyncio.sleep(0.1)
    assert await embedded.settled(function) is None


async def test_an_idle_function_has_no_process_and_the_next_call_wakes_it(start_embedded: Any) -> None:
    """Nothing of it is left, neither process nor folder, and it is still Active."""
    others = descendants(os.getpid())  # servers that other tests use
    embedded = await start_embedded(idle_s=0.3, spare=False)
    function = await embedded.create(HELLO)
    async with embedded.client() as client:
        for _ in range(2):
            assert (await client.get(embedded.url_of(function))).text == "hello"
            assert descendants(os.getpid()) - others
            await until(lambda: not embedded.deployer._processes)
            await until(lambda: not list((embedded.folder / "run").iterdir()))
            assert not alive(descendants(os.getpid()) - others)
            assert (await embedded.state(function))[0] == "Active"


async def test_a_call_in_the_moment_of_going_to_sleep_is_served(start_embedded: Any) -> None:
    """Calls that arrive around the end of the idle time, again and again: none fails."""
    embedded = await start_embedded(idle_s=0.1)
    function = await embedded.create(HELLO)
    chance = random.Random(7)
    pids = set()
    async with embedded.client() as client:
        for _ in range(40):
            answers = await asyncio.gather(
                *(client.get(embedded.url_of(function)) for _ in range(chance.choice((1, 3))))
            )
            assert [answer.text for answer in answers] == ["hello"] * len(answers)
            pids.add(embedded.pid_of(function))
            await asyncio.sleep(chance.uniform(0.085, 0.125))
    assert len(pids) > 3, "the race never happened"


async def test_a_removed_function_runs_no_more(start_embedded: Any) -> None:
    """What runs is finished, then its processes and its folder go; a caller that still knows it can't bring it back."""
    embedded = await start_embedded(spare=False)
    function = await embedded.create("import time\ndef handler(e, c):\n    time.sleep(0.5)\n    return 'done'\n")
    await embedded.settled(function)
    async with embedded.client() as client:
        call = asyncio.create_task(client.get(embedded.url_of(function)))
        await asyncio.sleep(0.2)
        await embedded.functions.delete(PLATFORM, function.id)
        assert (await call).text == "done"
    await until(lambda: not embedded.deployer._processes)
    await until(lambda: not list((embedded.folder / "run").iterdir()))
    with pytest.raises(NotRunning):
        await embedded.deployer.endpoint(embedded.functions.deployment_for(function))


async def test_a_broken_function_delays_no_other(embedded: Any) -> None:
    """One whose invoker dies again and again is held back; its neighbour is called meanwhile as if alone."""
    broken = await embedded.create(HELLO, name="broken")
    good = await embedded.create(HELLO, name="good")
    await embedded.settled(broken)
    await embedded.settled(good)
    async with embedded.client() as client:
        starts = 0
        end_s = time.monotonic() + 3

        async def break_it() -> None:
            nonlocal starts
            last = 0
            while time.monotonic() < end_s:
                pid = embedded.pid_of(broken)
                if pid not in (0, last):
                    last = pid
                    starts += 1
                    os.kill(pid, signal.SIGKILL)
                await asyncio.sleep(0.01)

        async def call_it() -> None:
            while time.monotonic() < end_s:
                await client.get(embedded.url_of(broken))

        async def call_the_other() -> float:
            slowest_s = 0.0
            while time.monotonic() < end_s:
                began_s = time.monotonic()
                assert (await client.get(embedded.url_of(good))).status_code == 200
                slowest_s = max(slowest_s, time.monotonic() - began_s)
                await asyncio.sleep(0.01)
            return slowest_s

        *_, slowest_s = await asyncio.gather(break_it(), call_it(), call_the_other())
        assert slowest_s < 2
        assert starts <= 8


async def test_less_isolation_than_was_said_is_in_the_log(
    start_embedded: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, and not where what was said is true."""
    embedded = await start_embedded(sandbox=False)
    embedded.deployer.isolation = "none"
    await embedded.settled(await embedded.create(HELLO, name="one"))
    assert [line for line in caplog.records if "held by less" in line.message] == []
    embedded.deployer.isolation = "landlock"
    for name in ("two", "three"):
        await embedded.settled(await embedded.create(HELLO, name=name))
    [line] = [line for line in caplog.records if "held by less" in line.message]
    assert (vars(line)["isolation"], vars(line)["said"]) == ("none", "landlock")


async def test_records_outlast_a_store_that_is_away(embedded: Any) -> None:
    """Calls go on, and once the store is back every one of them has its record."""
    function = await embedded.create(HELLO)
    store, embedded.store_attempts = embedded.records.store, 0

    async def away(function_id: str, records: Any, rollups: Any) -> None:
        embedded.store_attempts += 1
        raise TableUnavailable("the store does not answer")

    embedded.records.store = away
    async with embedded.client() as client:
        for _ in range(20):
            assert (await client.get(embedded.url_of(function))).status_code == 200
    await until(lambda: embedded.store_attempts >= 2)
    embedded.records.store = store
    async with asyncio.timeout(10):
        while len((await embedded.records.list(PLATFORM, function.id)).items) < 20:
            await asyncio.sleep(0.05)
    assert embedded.deployer.records_dropped == 0


async def test_records_that_the_store_refuses_cost_no_other(embedded: Any) -> None:
    """Only an absent store is waited for: another batch is lost and counted, the next one kept."""
    function = await embedded.create(HELLO)
    store, refused = embedded.records.store, 0

    async def refuse(function_id: str, records: Any, rollups: Any) -> None:
        nonlocal refused
        refused += len(records)
        raise InvalidInput("record", "one that fits")

    embedded.records.store = refuse
    async with embedded.client() as client:
        await client.get(embedded.url_of(function))
        await until(lambda: refused == 1)
        embedded.records.store = store
        await client.get(embedded.url_of(function))
    async with asyncio.timeout(10):
        while not (kept := (await embedded.records.list(PLATFORM, function.id)).items):
            await asyncio.sleep(0.05)
    assert (len(kept), refused) == (1, 1)
    [family] = embedded.deployer.collect()
    assert [(sample.name, sample.value) for sample in family.samples] == [("lateen_records_lost_total", 1)]


async def test_records_of_the_last_calls_are_stored_before_the_end(start_embedded: Any, tmp_path: Path) -> None:
    """Closing waits for them."""
    embedded = await start_embedded()
    function = await embedded.create(HELLO)
    async with embedded.client() as client:
        for _ in range(5):
            await client.get(embedded.url_of(function))
    await embedded.deployer.close(within_s=5)
    assert len((await embedded.records.list(PLATFORM, function.id)).items) == 5
    assert not list((embedded.folder / "run").iterdir())


async def test_an_invoker_inherits_nothing(embedded: Any) -> None:
    """Its environment is empty, its session and process group are its own, and our memory is closed to it."""
    function = await embedded.create(HELLO)
    await embedded.settled(function)
    pid = embedded.pid_of(function)
    assert Path(f"/proc/{pid}/environ").read_bytes() == b""
    assert os.getsid(pid) == os.getpgid(pid) == pid
    assert ctypes.CDLL(None).prctl(3, 0, 0, 0, 0) == 0, "PR_GET_DUMPABLE"
    [folder] = (embedded.folder / "run").iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700


async def test_an_invokers_own_socket_is_the_platforms(embedded: Any) -> None:
    """Where the kernel keeps no functions from it, the invoker does: another process is not even answered."""
    function = await embedded.create(HELLO)
    await embedded.settled(function)
    address = embedded.deployer._functions[function.id]._current.endpoint.host
    assert address.startswith("\0")
    code = """
import socket, sys
with socket.socket(socket.AF_UNIX) as client:
    client.connect("\\0" + sys.argv[1])
    try:
        client.sendall(b"GET /x HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n")
        print(client.recv(12))
    except ConnectionError:
        print(b"")
"""
    stranger = await asyncio.create_subprocess_exec(sys.executable, "-c", code, address[1:], stdout=subprocess.PIPE)
    async with asyncio.timeout(20):
        assert (await stranger.communicate())[0] == b"b''\n"
    async with embedded.client() as client:
        assert (await client.get(embedded.url_of(function))).text == "hello"


@pytest.mark.parametrize("sandbox", [True, False])
async def test_nothing_survives_a_killed_invoker(start_embedded: Any, sandbox: bool) -> None:
    """What it started ends with it, also user code in the middle of a call and what that has started."""
    embedded = await start_embedded(sandbox=sandbox)
    function = await embedded.create(
        "import os, time\ndef handler(e, c):\n    os.fork()\n    time.sleep(60)\n", timeout_s=90
    )
    await embedded.settled(function)
    async with embedded.client() as client:
        call = asyncio.create_task(client.get(embedded.url_of(function)))
        await asyncio.sleep(0.5)
        pid = embedded.pid_of(function)
        processes = descendants(pid)
        assert len(processes) >= 3
        os.kill(pid, signal.SIGKILL)
        assert (await call).status_code == 502
    await until(lambda: not alive(processes), within_s=2)


@pytest.mark.parametrize("mode", ["sandbox", "plain"])
async def test_nothing_survives_a_killed_platform(tmp_path: Path, mode: str) -> None:
    """kill -9 in the middle of calls: within two seconds no process is left."""
    script = Path(__file__).with_name("embedded_process.py")
    data = tmp_path / "data"
    platform = subprocess.Popen([sys.executable, str(script), str(data), mode], stdout=subprocess.PIPE)
    assert platform.stdout is not None
    try:
        line = await asyncio.wait_for(asyncio.to_thread(platform.stdout.readline), 30)
        async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
            calls = [asyncio.create_task(client.get(url)) for url in json.loads(line)]
            await asyncio.sleep(0.5)
            processes = descendants(platform.pid) | inside(data)
            assert len(processes) >= 5
            platform.kill()
            await asyncio.gather(*calls, return_exceptions=True)
    finally:
        platform.kill()
        platform.wait()
    await until(lambda: not alive(processes | inside(data)), within_s=2)
