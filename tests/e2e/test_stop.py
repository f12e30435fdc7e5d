"""How `lateen up` ends below the calls of functions that still run."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from tests.e2e.conftest import LATEEN, STOP_S, Running, Start, clean_environment

SLEEPER = """
import time
def handler(event, context):
    time.sleep(float(event["rawQueryString"] or 0))
    return "done"
"""


@pytest.fixture
def running(start: Start, tmp_path: Path) -> Running:
    return start(tmp_path / "data")


@pytest.fixture
def url(running: Running, tmp_path: Path) -> str:
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    environment = clean_environment(LATEEN_ENDPOINT=running.endpoint, LATEEN_DATA=str(running.data))
    deployed = subprocess.run(
        [LATEEN, "deploy", tmp_path / "sleeper.py", "--timeout", "20"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return deployed.stdout.strip()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


def begin(pool: ThreadPoolExecutor, url: str, sleep_s: float, *, warm: bool) -> "Future[httpx.Response]":
    """A call that runs when this returns. `warm`: the platform and the function know each other already, so that the
    call takes the shortest way that there is."""
    if warm:
        for _ in range(2):
            assert httpx.get(url, trust_env=False).status_code == 200
    call = pool.submit(httpx.get, f"{url}?{sleep_s}", timeout=20, trust_env=False)
    time.sleep(1.0)
    assert not call.done()
    return call


@pytest.mark.parametrize("warm", [False, True])
def test_a_call_that_runs_is_finished(running: Running, url: str, pool: ThreadPoolExecutor, warm: bool) -> None:
    """After SIGTERM it gets its answer, nobody new is let in, and then the process ends with 0."""
    call = begin(pool, url, 2.5, warm=warm)
    running.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, trust_env=False)
    answer = call.result()
    assert (answer.status_code, answer.text) == (200, "done")
    assert running.process.wait(STOP_S) == 0


@pytest.mark.parametrize("warm", [False, True])
def test_a_call_that_is_cut_is_told_so(running: Running, url: str, pool: ThreadPoolExecutor, warm: bool) -> None:
    """By a second signal: 503 at once, in the words that the gateway has for all its refusals."""
    call = begin(pool, url, 6, warm=warm)
    running.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    running.process.send_signal(signal.SIGTERM)
    answer = call.result(3)
    told = json.loads(answer.content)
    assert answer.status_code == 503
    assert (told["message"], told["errorType"]) == ("Service Unavailable", "Lateen.Stopping")
    assert told["requestId"] == answer.headers["x-amzn-requestid"]
    assert running.process.wait(STOP_S) == 0
    assert "Traceback" not in "".join(running.printed)
