"""A pod's share of reserved concurrency: who may set it, what is said of it, and real invokers that share a limit."""

import asyncio
import json
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import overlap
import pytest
from controller_setting import a_function
from invoker_process import HASH, KEY
from platform_processes import free_port
from pod_process import PodInvoker

from lateen.adapters.kubernetes.share_keeper import ShareKeeper
from lateen.ports.deployer import Deployment

Start = Callable[..., PodInvoker]
LIMIT = 5


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[PodInvoker] = []

    def start(code: str = overlap.code(0.3), **changes: Any) -> PodInvoker:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        started.append(PodInvoker(folder, code, **{"has_share": True, **changes}))
        return started[-1]

    yield start
    for pod in started:
        pod.close()


def told(pod: PodInvoker, query: str) -> tuple[int, Any]:
    answer = pod.signed(f"/_lateen/share?{query}", "POST")
    return answer.status, json.loads(answer.body)


def test_only_the_platform_sets_it(start: Start) -> None:
    """Nobody without the function's key; and what can't be understood changes nothing."""
    pod = start()
    for _ in range(2):
        target = "/_lateen/share?serial=1&most=9&of=9"
        assert pod.signed(target, "POST", key=b"x" * 32).status == 403
        assert httpx.post(f"http://127.0.0.1:{pod.port}{target}", trust_env=False).status_code == 403
        assert pod.signed(target, "GET").status == 400
        for query in ("serial=1&most=-1&of=1", "serial=1&most=1", "serial=x", "most=1&of=1", f"serial={10**16}", "a=b"):
            assert told(pod, query)[0] == 400, query
        assert pod.ready() == 200
    assert told(pod, "serial=1") == (
        200,
        {"type": "load", "serial": 1, "most": 0, "room": 4, "running": 0, "waiting": 0},
    )


def test_without_a_share_nothing_runs(start: Start) -> None:
    """A call waits for a moment, and is told 429; with a share it runs. An older word than the last is not heard."""
    pod = start(overlap.code(0.0))
    assert pod.ready() == 200
    refused = pod.call()
    assert refused.status == 429
    assert json.loads(refused.body)["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
    assert refused.headers["x-lateen-refused"] == "1"
    assert told(pod, "serial=5&most=2&of=4")[1]["most"] == 2
    assert pod.call().status == 200
    status, load = told(pod, "serial=4&most=0&of=4")
    assert (status, load["serial"], load["most"]) == (409, 5, 2)
    assert told(pod, "serial=6&most=0&of=0")[0] == 200
    assert pod.call().status == 429
    assert told(pod, "serial=7&most=all")[1]["most"] is None
    assert pod.call().status == 200


def test_a_question_is_answered_when_callers_wait(start: Start) -> None:
    """And not before; whoever waits is served as soon as there is a share."""
    pod = start(overlap.code(0.0))
    assert pod.ready() == 200
    assert told(pod, "serial=5&most=0&of=4")[0] == 200
    statuses: list[int] = []
    caller = threading.Thread(target=lambda: statuses.append(pod.call().status))
    asked = time.monotonic()
    threading.Timer(0.5, caller.start).start()
    status, load = told(pod, "serial=5")
    assert (status, load["waiting"]) == (200, 1)
    assert time.monotonic() - asked > 0.4
    assert told(pod, "serial=6&most=1&of=4")[0] == 200
    caller.join(20)
    assert statuses == [200]


def test_an_open_question_keeps_no_pod_from_stopping(start: Start) -> None:
    """It is answered as the pod begins to stop."""
    pod = start()
    assert pod.ready() == 200
    assert told(pod, "serial=5&most=1&of=1")[0] == 200
    answers: list[int] = []
    asking = threading.Thread(target=lambda: answers.append(told(pod, "serial=5")[0]))
    asking.start()
    time.sleep(0.3)
    began = time.monotonic()
    pod.stop()
    asking.join(10)
    assert answers == [200]
    assert pod.wait() == 0
    assert time.monotonic() - began < 12, "a question is held for twenty seconds where nothing happens"


class Pods:
    """Two invokers at addresses of their own, as the API server tells of them, and a keeper that shares out."""

    def __init__(self, start: Start) -> None:
        self.port = free_port()
        self._start = start
        self.pods: dict[str, PodInvoker] = {}
        self.keeper = ShareKeeper(port=self.port)
        self.function: Deployment = a_function(function_id="f1", hash=HASH, invoke_key=KEY, reserved=LIMIT)

    def pod(self, uid: str, address: str, **changes: Any) -> None:
        variables = {"LATEEN_HOST": address, "LATEEN_PORT": str(self.port)}
        self.pods[uid] = self._start(variables=variables, concurrency=8, **changes)
        self.keeper.seen(manifest(uid, ""), is_there=True)
        self.keeper.seen(manifest(uid, address), is_there=True)

    async def burst(self, *addresses: str, each: int = 20) -> list[dict[str, Any]]:
        async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
            urls = [f"http://{address}:{self.port}/{HASH}" for address in addresses] * each
            answers = await asyncio.gather(*(client.get(url) for url in urls))
        assert {answer.status_code for answer in answers} <= {200, 429}
        return [answer.json() for answer in answers if answer.status_code == 200]

    async def until_used(self, most: int, *addresses: str) -> None:
        """Bursts, until so many have run at one moment, and never more."""
        async with asyncio.timeout(60):
            while (found := overlap.most_at_once(await self.burst(*addresses))) != most:
                assert found < most
                await asyncio.sleep(0.2)


def manifest(uid: str, address: str, **metadata: Any) -> Any:
    return {
        "metadata": {"uid": uid, "name": uid, "labels": {"lateen.dev/function": "f1"}, **metadata},
        "status": {"phase": "Running", **({"podIP": address} if address else {})},
    }


@pytest.fixture
async def pods(start: Start) -> AsyncIterator[Pods]:
    pods = Pods(start)
    yield pods
    await pods.keeper.close()


async def test_two_pods_and_who_leads(pods: Pods) -> None:
    """Both together run five: in a burst to both, to one of them, and after another controller has begun to lead."""
    pods.pod("a", "127.0.0.2")
    pods.pod("b", "127.0.0.3")
    pods.keeper.reserve(pods.function)
    await pods.until_used(LIMIT, "127.0.0.2", "127.0.0.3")
    await pods.until_used(LIMIT, "127.0.0.3")
    await pods.keeper.close()
    await pods.until_used(LIMIT, "127.0.0.3")
    # One that it can't hear may have all of them, so nobody gets more.
    pods.pods["b"].process.send_signal(signal.SIGSTOP)
    pods.keeper = ShareKeeper(port=pods.port)
    pods.keeper.reserve(pods.function)
    pods.keeper.seen(manifest("a", "127.0.0.2"), is_there=True)
    pods.keeper.seen(manifest("b", "127.0.0.3"), is_there=True)
    assert overlap.most_at_once(await pods.burst("127.0.0.2")) < LIMIT
    pods.pods["b"].process.send_signal(signal.SIGCONT)
    await pods.until_used(LIMIT, "127.0.0.2")


async def test_pods_come_and_go(pods: Pods) -> None:
    """One that starts again has nothing before it is told; what one had that is gone is the others'."""
    pods.keeper.reserve(pods.function)
    pods.pod("a", "127.0.0.2")
    pods.pod("b", "127.0.0.3")
    await pods.until_used(LIMIT, "127.0.0.2", "127.0.0.3")
    pods.pods["a"].process.kill()
    pods.pods["a"].wait()
    await pods.until_used(LIMIT, "127.0.0.3")
    pods.pods["a"].start()
    await pods.until_used(LIMIT, "127.0.0.2", "127.0.0.3")
    gone_at = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    pods.keeper.seen(manifest("a", "127.0.0.2", deletionTimestamp=gone_at), is_there=True)
    pods.pods["a"].stop()
    pods.pods["a"].wait()
    pods.keeper.seen(manifest("a", "127.0.0.2", deletionTimestamp=gone_at), is_there=False)
    await pods.until_used(LIMIT, "127.0.0.3")


async def test_no_limit_any_more(pods: Pods) -> None:
    """The pods are told at once, and a limit that comes back holds for those that have none."""
    pods.keeper.reserve(pods.function)
    pods.pod("a", "127.0.0.2")
    await pods.until_used(LIMIT, "127.0.0.2")
    pods.keeper.reserve(a_function(function_id="f1", reserved=None))
    await pods.until_used(8, "127.0.0.2")
    pods.keeper.reserve(pods.function)
    async with asyncio.timeout(30):
        while overlap.most_at_once(await pods.burst("127.0.0.2")) != LIMIT:
            await asyncio.sleep(0.2)
