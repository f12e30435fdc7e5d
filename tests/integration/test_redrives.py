"""Dead letters that are run again, or removed, over the real embedded stores and on a clock that tests move."""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from event_parts import DONE, FAILED, Parts, parts

from lateen.domain.access import PLATFORM, Caller
from lateen.domain.errors import Conflict, InvalidInput, NotFound, Unavailable
from lateen.domain.functions import Function
from lateen.ports.queue import QueueFull, QueueUnavailable, TenantFull
from lateen.ports.table import Item
from lateen.services.cursors import Cursors
from lateen.services.dead_letters import DeadLetter, key_of
from lateen.services.events import INLINE_LIMIT_BYTES, decoded
from lateen.services.idempotency import Once
from lateen.services.idempotency import _key as item_key
from lateen.services.redrives import CLAIM_S, Redrives
from lateen.testing.assembled import MASTER
from lateen.testing.interposed import InterposedTable

__all__ = ["parts"]

DAY_S = 24 * 3600
LARGE = b'"' + b"x" * INLINE_LIMIT_BYTES + b'"'


async def a_letter(parts: Parts, payload: bytes = b'{"a":1}', **event: Any) -> tuple[Function, DeadLetter]:
    """Of a function that has failed in its one attempt, and that will succeed."""
    function = await parts.function()
    await parts.set(function, maximum_retry_attempts=0)
    await fail(parts, function, payload, **event)
    (letter,) = await parts.letters(function)
    return function, letter


async def fail(parts: Parts, function: Function, *payloads: bytes, **event: Any) -> None:
    parts.invoker.answers = [FAILED]
    for payload in payloads:
        await parts.events.accept(function, payload, **event)
        await parts.later(1)
    parts.invoker.answers, parts.invoker.calls = [DONE], []


async def test_a_redriven_event_runs_again(parts: Parts) -> None:
    """As it was sent, with its request id; and there is no dead letter of it any more."""
    context = base64.b64encode(b'{"custom":{}}').decode()
    function, letter = await a_letter(parts, b'{ "\xc3\xa4": 1 }', client_context=context, qualifier="$LATEST")
    assert await parts.redrives.redrive(PLATFORM, function.id, letter.id) == letter.request_id
    assert await parts.letters(function) == []
    assert await parts.run_due() == 1
    assert parts.invoker.calls == [("hello", b'{ "\xc3\xa4": 1 }', letter.request_id, context)]
    assert await parts.later(100_000) == 0
    assert await parts.is_settled()


async def test_attempts_and_age_begin_anew(parts: Parts) -> None:
    """Also of what had been tried as often, and was as old, as it may; then it is a dead letter as any."""
    function, letter = await a_letter(parts)
    await parts.set(function, maximum_retry_attempts=2, maximum_event_age_s=300)
    parts.clock.now_s += 10 * DAY_S
    await parts.redrives.redrive(PLATFORM, function.id, letter.id)
    parts.invoker.answers = [FAILED]
    for wait in (0, 61, 121):
        await parts.later(wait)
    assert len(parts.invoker.calls) == 3
    (again,) = await parts.letters(function)
    assert (again.request_id, again.condition, again.attempts) == (letter.request_id, "RetriesExhausted", 3)
    assert again.id != letter.id
    assert await parts.redrives.redrive(PLATFORM, function.id, again.id) == letter.request_id


async def test_a_loop_of_destinations_stays_one(parts: Parts) -> None:
    """However often its events are redriven: they are as far in it as they were."""
    function, letter = await a_letter(parts, hops=5)
    await parts.redrives.redrive(PLATFORM, function.id, letter.id)
    (message,) = await parts.queue.receive()
    assert decoded(message.body).hops == 5


async def test_a_large_event_is_redriven(parts: Parts) -> None:
    """Late in its letter's life, and once more: its payload is kept as long as it may be asked for, and no longer."""
    function, letter = await a_letter(parts, LARGE)
    assert letter.event is None
    parts.clock.now_s += 13.9 * DAY_S
    await parts.redrives.redrive(PLATFORM, function.id, letter.id)
    assert len(await parts.blobs()) == 1
    parts.invoker.answers = [FAILED]
    await parts.run_due()
    parts.clock.now_s += 13.9 * DAY_S
    assert await parts.events.sweep() == 0
    (letter,) = await parts.letters(function)
    parts.invoker.answers, parts.invoker.calls = [DONE], []
    await parts.redrives.redrive(PLATFORM, function.id, letter.id)
    await parts.run_due()
    assert [call[1] for call in parts.invoker.calls] == [LARGE]
    assert await parts.blobs() == []


@pytest.mark.parametrize("payload", [b'{"a":1}', LARGE])
async def test_a_process_that_ends_between_the_two_leaves_both(
    parts: Parts, payload: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Event and letter, never neither. Both are whole: the letter can be redriven when the claim on it has ended."""
    function, letter = await a_letter(parts, payload)

    async def die(_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(parts.services.table, "transact", die)
        with pytest.raises(KeyboardInterrupt):
            await parts.redrives.redrive(PLATFORM, function.id, letter.id)
    assert [each.id for each in await parts.letters(function)] == [letter.id]
    await parts.run_due()
    with pytest.raises(Conflict, match="being redriven"):
        await parts.redrives.redrive(PLATFORM, function.id, letter.id)
    parts.clock.now_s += CLAIM_S + 1
    await parts.redrives.redrive(PLATFORM, function.id, letter.id)
    await parts.run_due()
    assert [(call[1], call[2]) for call in parts.invoker.calls] == [(payload, letter.request_id)] * 2
    assert (await parts.letters(function), await parts.blobs()) == ([], [])


async def test_two_at_the_same_time(parts: Parts) -> None:
    """Whatever they press: the event runs once, and who was later is told."""
    function, letter = await a_letter(parts)
    redrives = parts.redrives
    found = await asyncio.gather(
        *(redrives.redrive(PLATFORM, function.id, letter.id) for _ in range(3)),
        return_exceptions=True,
    )
    assert [each for each in found if isinstance(each, str)] == [letter.request_id]
    assert all(isinstance(each, str | Conflict | NotFound) for each in found)
    await parts.run_due()
    assert len(parts.invoker.calls) == 1


@pytest.mark.parametrize("read", ["idempotency key", "letter"])
async def test_the_same_request_beside_itself(parts: Parts, read: str) -> None:
    """The first one ended after the second had looked for an answer, or for the letter: both have the one answer."""
    function, letter = await a_letter(parts)
    once = Once.of("key", b"POST", b"the same")
    table = InterposedTable(parts.services.table)
    second = Redrives(
        table, functions=parts.services.functions, events=parts.events, cursors=Cursors(MASTER), now=parts.clock
    )

    async def first() -> None:
        await parts.redrives.redrive(PLATFORM, function.id, letter.id, once=once)

    key = key_of(function.id, letter.id) if read == "letter" else item_key(PLATFORM, once)
    table.interpose(key.pk, key.sk, first)
    assert await second.redrive(PLATFORM, function.id, letter.id, once=once) == letter.request_id
    assert table.is_done
    assert await parts.run_due() == 1


async def test_a_payload_that_is_gone(parts: Parts) -> None:
    """The letter stays, says why at each try, and can be removed; which again is no error."""
    function, letter = await a_letter(parts, LARGE)
    (blob,) = await parts.blobs()
    await parts.services.objects.delete(blob)
    for _ in range(2):
        with pytest.raises(Conflict, match="payload is not kept any more"):
            await parts.redrives.redrive(PLATFORM, function.id, letter.id)
    page = await parts.redrives.redrive_page(PLATFORM, function.id)
    assert [(each.letter_id, "not kept" in each.reason) for each in page.refused] == [(letter.id, True)]
    assert (page.count, page.cursor) == (0, None)
    assert [each.id for each in await parts.letters(function)] == [letter.id]
    for _ in range(2):
        await parts.redrives.delete(PLATFORM, function.id, letter.id)
    assert await parts.letters(function) == []


async def test_a_letter_that_is_removed_takes_its_payload_along(parts: Parts) -> None:
    function, letter = await a_letter(parts, LARGE)
    await parts.redrives.delete(PLATFORM, function.id, letter.id)
    assert (await parts.letters(function), await parts.blobs()) == ([], [])
    with pytest.raises(NotFound):
        await parts.redrives.redrive(PLATFORM, function.id, letter.id)
    assert await parts.later(1) == 0


@pytest.mark.parametrize("refusal", [QueueFull("no room"), TenantFull("no room"), QueueUnavailable("away")])
async def test_a_queue_that_takes_nothing(parts: Parts, monkeypatch: pytest.MonkeyPatch, refusal: Exception) -> None:
    """The letter stays and is free for the next try."""
    function, letter = await a_letter(parts)

    async def refuse(*_: object, **__: object) -> str:
        raise refusal

    with monkeypatch.context() as patched:
        patched.setattr(parts.queue, "send", refuse)
        for _ in range(2):
            with pytest.raises(type(refusal)):
                await parts.redrives.redrive(PLATFORM, function.id, letter.id)
        with pytest.raises(type(refusal)):
            await parts.redrives.redrive_page(PLATFORM, function.id)
    await parts.redrives.redrive(PLATFORM, function.id, letter.id)
    assert await parts.run_due() == 1


async def test_all_of_them(parts: Parts) -> None:
    """Page after page, each once, also where all of them fail again meanwhile: it comes to an end."""
    function = await parts.function()
    await parts.set(function, maximum_retry_attempts=0)
    payloads = [b"%d" % number for number in range(5)]
    await fail(parts, function, *payloads)
    parts.invoker.answers = [FAILED]
    pages, cursor = 0, None
    while pages == 0 or cursor is not None:
        page = await parts.redrives.redrive_page(PLATFORM, function.id, limit=2, cursor=cursor)
        await parts.later(1)
        pages, cursor = pages + 1, page.cursor
        assert page.refused == []
    assert pages == 3
    assert sorted(call[1] for call in parts.invoker.calls) == payloads
    assert sorted(letter.event or "" for letter in await parts.letters(function)) == ["0", "1", "2", "3", "4"]


async def test_all_of_them_until_the_queue_is_full(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """What had been done by then is told, and the cursor goes on with the first letter that was not."""
    function = await parts.function()
    await parts.set(function, maximum_retry_attempts=0)
    await fail(parts, function, b"0", b"1", b"2")
    with monkeypatch.context() as patched:
        patched.setattr("lateen.adapters.sqlite_queue.LANE_LIMIT", 2)
        page = await parts.redrives.redrive_page(PLATFORM, function.id)
        assert (page.count, page.refused) == (2, [])
        assert page.cursor is not None
        with pytest.raises(QueueFull):
            await parts.redrives.redrive_page(PLATFORM, function.id, cursor=page.cursor)
    rest = await parts.redrives.redrive_page(PLATFORM, function.id, cursor=page.cursor)
    assert (rest.count, rest.cursor) == (1, None)
    await parts.run_due()
    assert sorted(call[1] for call in parts.invoker.calls) == [b"0", b"1", b"2"]
    for wrong in ({"limit": 0}, {"limit": 101}, {"cursor": "x"}):
        with pytest.raises(InvalidInput):
            await parts.redrives.redrive_page(PLATFORM, function.id, **wrong)  # type: ignore[arg-type]


async def test_a_request_that_is_sent_again(parts: Parts) -> None:
    """With the same Idempotency-Key it is answered as the first time, and nothing runs twice."""
    function, letter = await a_letter(parts)
    once = Once.of("key", b"POST", b"the same")
    for _ in range(2):
        assert await parts.redrives.redrive(PLATFORM, function.id, letter.id, once=once) == letter.request_id
    await parts.run_due()
    assert len(parts.invoker.calls) == 1
    with pytest.raises(Conflict, match="another request"):
        await parts.redrives.redrive(PLATFORM, function.id, letter.id, once=Once.of("key", b"POST", b"another"))


async def test_a_letter_of_before(parts: Parts) -> None:
    """What was stored when less was kept of an event can be redriven too."""
    function, letter = await a_letter(parts)
    data = msgspec.to_builtins(letter)
    del data["client_context"], data["hops"]
    await parts.services.table.write([Item(key=key_of(function.id, letter.id), data=data)])
    await parts.redrives.redrive(PLATFORM, function.id, letter.id)
    assert await parts.run_due() == 1


async def test_a_request_id_of_another_form(parts: Parts) -> None:
    """It keeps no letter from being there, and from being seen."""
    function, letter = await a_letter(parts)
    odd = msgspec.structs.replace(letter, request_id="r")
    await parts.services.dead_letters.store(function, odd)
    assert odd in await parts.letters(function)
    with pytest.raises(NotFound):
        await parts.redrives.redrive(PLATFORM, function.id, odd.id)


async def test_letters_are_private(parts: Parts) -> None:
    """Another workspace's key can neither redrive nor remove one, and isn't told that it is there."""
    function, letter = await a_letter(parts)
    other = Caller("k", "other")
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: parts.redrives.redrive(other, function.id, letter.id),
        lambda: parts.redrives.redrive_page(other, function.id),
        lambda: parts.redrives.delete(other, function.id, letter.id),
        lambda: parts.redrives.redrive(PLATFORM, "a" * 17, letter.id),
    ]
    for call in calls:
        with pytest.raises(NotFound):
            await call()
    assert [each.id for each in await parts.letters(function)] == [letter.id]


@pytest.mark.parametrize(
    "wrong", ["", "x", "LOG#1", "{letter}x", "x{letter}", "{letter}\n", "2027-01-15T08:00:00.000Z_" + "0" * 36]
)
async def test_ids_that_no_letter_has(parts: Parts, wrong: str) -> None:
    """Nor can an id lead to another kind of item of the function's."""
    function, letter = await a_letter(parts)
    with pytest.raises(NotFound):
        await parts.redrives.redrive(PLATFORM, function.id, wrong.replace("{letter}", letter.id))


async def test_a_store_that_is_away_when_the_letter_goes(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """The event is in the queue; that its letter stayed is told as a store's outage."""
    function, letter = await a_letter(parts)

    async def refuse(_: object) -> None:
        raise Unavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(parts.services.table, "transact", refuse)
        with pytest.raises(Unavailable):
            await parts.redrives.redrive(PLATFORM, function.id, letter.id)
    assert await parts.run_due() == 1
    assert [each.id for each in await parts.letters(function)] == [letter.id]
