"""An environment: whose runtime is faster than the word that it was started, and what is said of one event."""

import asyncio
from typing import Any

import pytest

from lateen_invoker.channel import Channel
from lateen_invoker.environments import DEAD, IDLE, STARTING, Environment
from lateen_invoker.invocations import RESPONSE_LIMIT, Invocation, Outcome
from lateen_invoker.spawner import Exit, Listener

pytestmark = pytest.mark.anyio


class LateProcess:
    """`Process`, of which the spawner has just been told."""

    pid = 7

    def __init__(self) -> None:
        self.exited: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self.extensions: list[str] = []
        self.listener: Listener | None = None
        self.kills = 0

    def run(self) -> None:
        raise AssertionError("it has no extensions")

    def terminate(self) -> None:
        raise AssertionError("it has no extensions")

    def kill(self) -> None:
        self.kills += 1

    def usage(self) -> None:
        return None

    def peak_memory_kib(self) -> int:
        return 4321

    def owns_connection(self, local_port: int, peer_port: int) -> bool:
        return True


class Owner:
    """Notes what an environment says of itself."""

    def __init__(self) -> None:
        self.idle: list[Environment] = []
        self.dead: list[Environment] = []

    def environment_idle(self, environment: Environment) -> None:
        self.idle.append(environment)

    def environment_done(self, environment: Environment, invocation: Any) -> None:
        raise AssertionError("no event was given")

    def environment_dead(self, environment: Environment, init_error: Outcome | None) -> None:
        self.dead.append(environment)

    def environment_gone(self, environment: Environment) -> None:
        raise AssertionError("it has no extensions")


def an_environment(owner: Owner) -> Environment:
    return Environment(owner, asyncio.get_running_loop(), cold_reason="first", init_limit_s=10.0)


async def test_no_event_before_its_process_is_known() -> None:
    """A runtime that is ready before that is idle when it is known, once: what takes an event can be measured, so that
    no record says that it took no memory, and can be ended."""
    owner = Owner()
    environment = an_environment(owner)
    environment.said_ready()
    environment.said_ready()
    assert (environment.state, owner.idle) == (STARTING, [])
    environment.attach(LateProcess())
    assert (environment.state, owner.idle) == (IDLE, [environment])
    assert environment._peak() == 4321


async def test_one_that_was_given_up_is_ended_when_its_process_is_known() -> None:
    """It is nobody's any more, ready or not."""
    owner = Owner()
    environment = an_environment(owner)
    environment.said_ready()
    environment.kill()
    process = LateProcess()
    environment.attach(process)
    assert (environment.state, owner.idle, owner.dead) == (DEAD, [], [environment])
    assert process.kills == 1


async def test_what_is_made_for_one_that_is_over_ends_at_once() -> None:
    """Its end does not come a second time."""
    environment = an_environment(Owner())
    ended: list[str] = []
    environment.on_end(lambda: ended.append("before"))
    environment.kill()
    environment.on_end(lambda: ended.append("after"))
    assert ended == ["before", "after"]


async def test_no_event_over_http_for_what_is_not_the_runtime() -> None:
    """Where the bootstrap is ready, its channel stays, whoever else asks for an event."""
    environment = an_environment(Owner())
    channel = Channel(environment)
    environment.speaks(channel)
    environment.said_ready()
    assert environment.wants_next(lambda _: None) == "InvalidStateTransition"
    environment.attach(LateProcess())
    assert environment.wants_next(lambda _: None) == "InvalidStateTransition"
    assert (environment.state, environment.channel) == (IDLE, channel)


async def test_a_channel_that_is_lost_before_its_process_is_known() -> None:
    """Its runtime has said that it is ready and then nobody could give it an event any more: it gets none, and is
    ended."""
    owner = Owner()
    environment = an_environment(owner)
    channel = Channel(environment)
    environment.speaks(channel)
    environment.said_ready()
    channel.connection_lost(None)
    process = LateProcess()
    environment.attach(process)
    assert (environment.state, owner.idle) == (STARTING, [])
    async with asyncio.timeout(20):
        while not process.kills:
            await asyncio.sleep(0.01)
    process.exited.set_result(Exit(1, None, 0))
    async with asyncio.timeout(20):
        while environment.state != DEAD:
            await asyncio.sleep(0.01)
    assert (owner.idle, owner.dead) == ([], [environment])


class Busy(Owner):
    """Of an environment whose runtime asks over HTTP for one event after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[str] = []
        self.answers: list[bytes] = []
        self.process = LateProcess()
        self.environment = an_environment(self)
        self.environment.attach(self.process)

    def environment_done(self, environment: Environment, invocation: Invocation) -> None:
        self.done.append(invocation.request_id)

    def give(self, request_id: str) -> Invocation:
        assert self.environment.wants_next(lambda _: None) is None
        invocation = Invocation(
            b"{}", lambda _, outcome: self.answers.append(outcome.body), request_id=request_id, trace_id="", arn=""
        )
        self.environment.deliver(invocation, 3.0)
        return invocation


@pytest.mark.parametrize("ends", ["whole", "broken"])
async def test_nothing_of_an_answer_is_in_the_next_one(ends: str) -> None:
    """What was kept of a stream is its own caller's."""
    busy = Busy()
    busy.give("one")
    busy.environment.said_piece("one", b"half of ")
    if ends == "whole":
        assert busy.environment.said_response("one", b"one") is None
        assert busy.answers == [b"half of one"]
    else:
        assert busy.environment.said_error("one", "Broken", b"{}") is None
    busy.give("two")
    assert busy.environment.said_response("two", b"two") is None
    assert busy.answers[1:] == [b"two"]


async def test_the_first_event_alone_was_cold() -> None:
    """The others have not waited for a start."""
    busy = Busy()
    invocations = []
    for request_id in ("one", "two"):
        invocations.append(busy.give(request_id))
        busy.environment.said_response(request_id, b"")
    assert [each.cold_reason for each in invocations] == ["first", None]
    assert [each.init_duration_ms is None for each in invocations] == [False, True]


async def test_a_stream_that_is_kept_has_a_limit() -> None:
    """One byte too many is enough to know."""
    busy = Busy()
    busy.give("one")
    for _ in range(3):
        busy.environment.said_piece("one", bytes(RESPONSE_LIMIT // 2))
    assert busy.environment._streamed is not None
    assert len(busy.environment._streamed) == RESPONSE_LIMIT + 1
    assert busy.environment.said_response("one", b"") == "RequestEntityTooLarge"


async def test_one_that_ends_after_its_answer_is_done_with_it() -> None:
    """Though it never asked for another event: the call is recorded, and counts as running no more."""
    busy = Busy()
    busy.give("one")
    busy.environment.said_response("one", b"one")
    assert busy.done == []
    busy.process.exited.set_result(Exit(0, None, 0))
    async with asyncio.timeout(20):
        while not busy.dead:
            await asyncio.sleep(0.01)
    assert (busy.done, busy.answers) == (["one"], [b"one"])


async def test_what_is_being_ended_answers_too_late() -> None:
    """Its caller is told why it was ended."""
    busy = Busy()
    busy.give("one")
    busy.environment.exceeded_memory()
    assert busy.environment.said_response("one", b"one") == "InvalidStateTransition"
    busy.process.exited.set_result(Exit(None, 9, 0))
    async with asyncio.timeout(20):
        while not busy.dead:
            await asyncio.sleep(0.01)
    assert [b"OutOfMemory" in answer for answer in busy.answers] == [True]
