"""How many ask at a time of a server that is slower than all of them would like."""

import asyncio
from contextlib import nullcontext
from typing import Any

import pytest

from lateen.adapters.kubernetes.api import ApiRefused, ApiUnavailable
from lateen.adapters.kubernetes.congestion import LEAST, MOST, Window

TURN_S = 0.01
GIVEN_UP_S = 0.6
CALLERS = 200


class OneAtATime:
    """Serves in order, also those that nobody waits for any more."""

    def __init__(self) -> None:
        self.turns = 0
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(self) -> None:
        task = asyncio.create_task(self._turn())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            async with asyncio.timeout(GIVEN_UP_S):
                await asyncio.shield(task)
        except TimeoutError:
            raise ApiUnavailable("no answer in time") from None

    async def _turn(self) -> None:
        async with self._lock:
            self.turns += 1
            await asyncio.sleep(TURN_S)


async def until_served(server: OneAtATime, window: Any) -> None:
    while True:
        try:
            async with window:
                await server.ask()
        except ApiUnavailable:
            continue
        return


async def test_what_is_given_up_does_not_become_more_and_more() -> None:
    """Of those who ask at once most are given up at first; then each of them is served, and little is done in vain."""
    server, window = OneAtATime(), Window()
    async with asyncio.timeout(60):
        await asyncio.gather(*(until_served(server, window) for _ in range(CALLERS)))
    assert server.turns < 2.5 * CALLERS


async def test_without_a_window_they_do() -> None:
    """So this server is one that needs it."""
    server = OneAtATime()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2.5 * CALLERS * TURN_S):
            await asyncio.gather(*(until_served(server, nullcontext()) for _ in range(CALLERS)))


async def admitted(window: Window) -> int:
    """How many it lets in at once."""
    inside = 0
    leave = asyncio.Event()

    async def enter() -> None:
        nonlocal inside
        async with window:
            inside += 1
            await leave.wait()
            raise ApiRefused(409, "", "")  # neither more nor less

    tasks = [asyncio.create_task(enter()) for _ in range(2 * MOST)]
    await asyncio.sleep(0.05)
    most, _ = inside, leave.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    return most


async def failed(window: Window) -> None:
    with pytest.raises(ApiUnavailable):
        async with window:
            raise ApiUnavailable("no answer")


async def test_its_size() -> None:
    """Half after each that got no answer, down to the least; one more after as many answers as it is large."""
    window = Window()
    assert await admitted(window) == MOST
    await failed(window)
    await admitted(window)
    assert await admitted(window) == MOST // 2
    for _ in range(10):
        await failed(window)
    await admitted(window)
    assert await admitted(window) == LEAST
    for _ in range(LEAST):
        async with window:
            pass
    assert await admitted(window) == LEAST + 1
    for _ in range(MOST * MOST):
        async with window:
            pass
    assert await admitted(window) == MOST
