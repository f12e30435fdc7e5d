"""Asynchronous invocations over the real embedded stores, on a clock that tests move: what becomes of each event."""

import base64
import json
from typing import Any

import pytest
from event_parts import DONE, FAILED, Parts, arn, parts

from lateen.domain.access import PLATFORM, Caller
from lateen.domain.errors import InvalidInput, NotFound, TooLarge, Unavailable
from lateen.domain.events import HOP_LIMIT, EventInvokeChange
from lateen.domain.versions import Target
from lateen.ports.queue import QueueFull
from lateen.services.event_runs import DELIVERIES_LIMIT, UNSPOKEN
from lateen.services.events import INLINE_LIMIT_BYTES, Events, decoded
from lateen.services.functions import FunctionChange
from lateen.testing.fake_deployer import FakeAnswer

__all__ = ["parts"]


async def test_an_event_runs_once_where_it_succeeds(parts: Parts) -> None:
    """With the payload as it was, its client context, and the request id that the caller got. Nothing is left."""
    function = await parts.function()
    context = base64.b64encode(b'{"custom":{}}').decode()
    request_id = await parts.events.accept(function, b'{ "a": 1 }', client_context=context)
    assert await parts.run_due() == 1
    assert parts.invoker.calls == [("hello", b'{ "a": 1 }', request_id, context)]
    assert await parts.later(100_000) == 0
    assert await parts.letters(function) == []
    assert await parts.is_settled()
    assert parts.runs.ended == {"success": 1}


async def test_a_function_that_fails_is_tried_three_times(parts: Parts) -> None:
    """After one minute and after two more, with the same request id; then a person can see event, error and count."""
    function = await parts.function()
    parts.invoker.answers = [FAILED]
    request_id = await parts.events.accept(function, b'{"a":1}')
    accepted_at_s = parts.clock()
    assert await parts.run_due() == 1
    assert await parts.later(59.9) == 0
    assert await parts.later(0.2) == 1
    assert await parts.later(119.8) == 0
    assert await parts.letters(function) == []
    assert await parts.later(0.3) == 1
    assert [call[2] for call in parts.invoker.calls] == [request_id] * 3
    (letter,) = await parts.letters(function)
    assert (letter.request_id, letter.condition, letter.attempts) == (request_id, "RetriesExhausted", 3)
    assert (letter.event, letter.answer) == ('{"a":1}', FAILED.body.decode())
    assert letter.accepted_at < letter.ended_at
    assert parts.clock() - accepted_at_s < 181
    assert await parts.later(100_000) == 0
    assert await parts.is_settled()
    assert parts.runs.ended == {"failed": 1}
    assert parts.runs.attempts == {"function_error": 3}


@pytest.mark.parametrize(("retries", "attempts"), [(0, 1), (1, 2), (2, 3)])
async def test_retries_are_as_many_as_was_said(parts: Parts, retries: int, attempts: int) -> None:
    function = await parts.function()
    await parts.set(function, maximum_retry_attempts=retries)
    parts.invoker.answers = [FAILED]
    await parts.events.accept(function, b"")
    for _ in range(5):
        await parts.later(200)
    assert len(parts.invoker.calls) == attempts
    assert [letter.attempts for letter in await parts.letters(function)] == [attempts]


async def test_a_retry_that_succeeds_is_a_success(parts: Parts) -> None:
    function = await parts.function()
    parts.invoker.answers = [FAILED, DONE]
    await parts.events.accept(function, b"")
    await parts.run_due()
    await parts.later(61)
    assert len(parts.invoker.calls) == 2
    assert await parts.letters(function) == []
    assert parts.runs.ended == {"success": 1}


@pytest.mark.parametrize(
    "held_up", [FakeAnswer(status=429), FakeAnswer(status=502), FakeAnswer(status=504), Unavailable("it does not run")]
)
async def test_what_could_not_be_run_is_no_attempt(parts: Parts, held_up: FakeAnswer | Exception) -> None:
    """It is tried again, ever more rarely, and afterwards all attempts are still left."""
    function = await parts.function()
    parts.invoker.answers = [*[held_up] * 12, FAILED, FAILED, DONE]
    await parts.events.accept(function, b"")
    await parts.run_due()
    waits = []
    for _ in range(11):
        started_s = parts.clock()
        while not await parts.later(0.1 if parts.clock() - started_s < 10 else 5.0):
            pass
        waits.append(parts.clock() - started_s)
    assert 0.7 < waits[0] < 1.4
    assert 1.5 < waits[1] < 2.6
    assert all(230 < wait < 370 for wait in waits[-2:])
    for wait in (370, 61, 121):
        await parts.later(wait)
    assert len(parts.invoker.calls) == 15
    assert parts.runs.ended == {"success": 1}


async def test_after_an_attempt_a_holdup_is_the_first_one(parts: Parts) -> None:
    """A function that was called in between is not away any longer."""
    function = await parts.function()
    parts.invoker.answers = [*[FakeAnswer(status=429)] * 8, FAILED, FakeAnswer(status=429), DONE]
    await parts.events.accept(function, b"")
    for _ in range(9):
        await parts.later(370)
    assert len(parts.invoker.calls) == 9
    await parts.later(61)
    assert len(parts.invoker.calls) == 10
    await parts.later(2)
    assert parts.runs.ended == {"success": 1}


async def test_an_event_gets_too_old(parts: Parts) -> None:
    """Its age is what the function's owner said; it ends then, however it was tried, and is not run any more."""
    function = await parts.function()
    await parts.set(function, maximum_event_age_s=60)
    parts.invoker.answers = [FakeAnswer(status=429)]
    await parts.events.accept(function, b'{"a":1}')
    await parts.run_due()
    for _ in range(599):
        await parts.later(0.1)
    tries = len(parts.invoker.calls)
    assert await parts.letters(function) == []
    await parts.later(0.2)
    assert len(parts.invoker.calls) == tries
    (letter,) = await parts.letters(function)
    assert (letter.condition, letter.attempts, letter.answer) == ("EventAgeExceeded", 0, None)
    assert parts.runs.ended == {"expired": 1}


async def test_six_hours_at_most(parts: Parts) -> None:
    """Unless something else was said."""
    function = await parts.function()
    parts.invoker.answers = [FakeAnswer(status=429)]
    await parts.events.accept(function, b"")
    await parts.run_due()
    while not await parts.letters(function):
        await parts.later(60)
        assert parts.clock() < 1_800_000_000 + 21_600 + 120
    assert parts.clock() >= 1_800_000_000 + 21_600


async def test_reserved_concurrency_of_zero(parts: Parts) -> None:
    """The event was taken, and is told of at once, without having been tried."""
    function, watcher = await parts.function(), await parts.function("watcher")
    await parts.set(function, on_failure=arn(watcher))
    await parts.reserve(function, 0)
    request_id = await parts.events.accept(function, b'{"a":1}')
    (message,) = await parts.queue.receive()
    await parts.runs.run(message)
    assert parts.invoker.calls == []
    await parts.run_due()
    ((name, record, _, _),) = parts.invoker.calls
    assert name == "watcher"
    found = json.loads(record)
    assert found["requestContext"] == {
        "requestId": request_id,
        "functionArn": f"{arn(function)}:$LATEST",
        "condition": "ZeroReservedConcurrency",
        "approximateInvokeCount": 0,
    }
    assert found["requestPayload"] == {"a": 1}
    assert not {"responseContext", "responsePayload"} & set(found)
    assert parts.runs.ended == {"refused": 1, "success": 1}


async def test_a_success_is_told(parts: Parts) -> None:
    """The destination's function gets AWS's record as an event of its own."""
    function, watcher = await parts.function(), await parts.function("watcher")
    await parts.set(function, on_success=arn(watcher), on_failure=arn(watcher, "nobody"))
    request_id = await parts.events.accept(function, b'{"a": [1, "\xc3\xa4"]}')
    assert await parts.run_due() == 2
    name, record, own_id, _ = parts.invoker.calls[1]
    assert name == "watcher"
    assert own_id != request_id
    assert json.loads(record) == {
        "version": "1.0",
        "timestamp": "2027-01-15T08:00:00.000Z",
        "requestContext": {
            "requestId": request_id,
            "functionArn": f"{arn(function)}:$LATEST",
            "condition": "Success",
            "approximateInvokeCount": 1,
        },
        "requestPayload": {"a": [1, "ä"]},
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST"},
        "responsePayload": {"done": True},
    }
    assert await parts.letters(function) == []


async def test_a_version_that_is_named_is_told(parts: Parts) -> None:
    """And not the function as it is now."""
    function, watcher = await parts.function(), await parts.function("watcher")
    await parts.services.versions.publish(PLATFORM, watcher.id)
    await parts.set(function, on_success=f"{arn(watcher)}:1")
    await parts.events.accept(function, b"1")
    (message,) = await parts.queue.receive()
    await parts.runs.run(message)
    (told,) = await parts.queue.receive()
    assert (decoded(told.body).function_id, decoded(told.body).qualifier) == (watcher.id, "1")


async def test_a_failure_is_told(parts: Parts) -> None:
    """With the function's error; and it is no dead letter then."""
    function, watcher = await parts.function(), await parts.function("watcher")
    await parts.set(function, maximum_retry_attempts=1, on_failure=arn(watcher))
    parts.invoker.answers = [FAILED, FAILED, DONE]
    await parts.events.accept(function, b"")
    await parts.run_due()
    await parts.later(61)
    record = json.loads(parts.invoker.calls[2][1])
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["requestContext"]["approximateInvokeCount"] == 2
    assert record["responseContext"] == {
        "statusCode": 200,
        "executedVersion": "$LATEST",
        "functionError": "Unhandled",
    }
    assert record["responsePayload"] == {"errorType": "ValueError", "errorMessage": "no"}
    assert record["requestPayload"] == {}
    assert await parts.letters(function) == []


async def test_an_answer_that_is_no_json_is_told_as_text(parts: Parts) -> None:
    function, watcher = await parts.function(), await parts.function("watcher")
    await parts.set(function, on_success=arn(watcher))
    parts.invoker.answers = [FakeAnswer(body=b"not \xff json"), DONE]
    await parts.events.accept(function, b"")
    await parts.run_due()
    assert json.loads(parts.invoker.calls[1][1])["responsePayload"] == "not \ufffd json"


@pytest.mark.parametrize(
    "destination", ["arn:aws:sqs:eu-west-1:123456789012:failed", "arn:aws:sns:eu-west-1:123456789012:failed"]
)
async def test_other_destinations_are_kept_and_not_told(parts: Parts, destination: str) -> None:
    """A failure then ends where a person finds it, with the destination's name; a success is nothing to be found."""
    function = await parts.function()
    await parts.set(function, maximum_retry_attempts=0, on_success=destination, on_failure=destination)
    await parts.events.accept(function, b"")
    await parts.run_due()
    assert await parts.letters(function) == []
    parts.invoker.answers = [FAILED]
    await parts.events.accept(function, b"")
    await parts.run_due()
    (letter,) = await parts.letters(function)
    assert letter.condition == "RetriesExhausted"
    assert destination in letter.reason
    assert parts.runs.attempts["destination_failed"] == 2


async def test_a_destination_that_is_gone(parts: Parts) -> None:
    """Whatever was to be told is a dead letter, a success too."""
    function = await parts.function()
    await parts.set(function, on_success=arn(function, "gone"), on_failure=arn(function, "gone"))
    await parts.events.accept(function, b'{"a":1}')
    await parts.run_due()
    (letter,) = await parts.letters(function)
    assert (letter.condition, letter.attempts, letter.event) == ("DestinationFailed", 1, '{"a":1}')
    assert "no such function" in letter.reason
    assert letter.answer == DONE.body.decode()


async def test_functions_that_tell_each_other_for_ever(parts: Parts) -> None:
    """A loop of destinations ends."""
    one, other = await parts.function("one"), await parts.function("other")
    await parts.set(one, on_success=arn(other))
    await parts.set(other, on_success=arn(one))
    parts.invoker.answers = [FakeAnswer(body=b"null")]
    await parts.events.accept(one, b"")
    await parts.run_due()
    assert len(parts.invoker.calls) == HOP_LIMIT + 1
    (letter,) = await parts.letters(one)
    assert "loop" in letter.reason


async def test_a_record_that_is_too_large(parts: Parts) -> None:
    function, watcher = await parts.function(), await parts.function("watcher")
    await parts.set(function, on_success=arn(watcher))
    parts.invoker.answers = [FakeAnswer(body=b'"' + b"x" * 1_048_576 + b'"')]
    await parts.events.accept(function, b"{}")
    await parts.run_due()
    assert [call[0] for call in parts.invoker.calls] == ["hello"]
    (letter,) = await parts.letters(function)
    assert "more than 1048576 bytes" in letter.reason
    assert len(letter.answer or "") == 32 * 1024


async def test_sizes(parts: Parts) -> None:
    """Up to AWS's limit an event arrives whole, wherever it was kept, and what kept it is removed."""
    function = await parts.function()
    for size in (INLINE_LIMIT_BYTES, INLINE_LIMIT_BYTES + 1, 1_048_576):
        body = b'"' + b"x" * (size - 2) + b'"'
        await parts.events.accept(function, body)
        assert len(await parts.blobs()) == (1 if size > INLINE_LIMIT_BYTES else 0)
        await parts.run_due()
        assert parts.invoker.calls[-1][1] == body
        assert await parts.blobs() == []
    with pytest.raises(TooLarge, match=r"^1048577 byte payload is too large .* \(limit 1048576 bytes\)$"):
        await parts.events.accept(function, b"x" * 1_048_577)
    assert await parts.is_settled()


async def test_what_a_full_queue_refuses_is_not_kept(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else whoever goes on sending would fill the object store with what is never run."""
    function = await parts.function()
    monkeypatch.setattr("lateen.adapters.sqlite_queue.LANE_LIMIT", 1)
    large = b"1" * (INLINE_LIMIT_BYTES + 1)
    await parts.events.accept(function, large)
    with pytest.raises(QueueFull):
        await parts.events.accept(function, large)
    assert len(await parts.blobs()) == 1
    await parts.run_due()
    assert [call[1] for call in parts.invoker.calls] == [large]


async def test_a_destination_whose_queue_is_full(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """The event is not run again and again for want of room there: a dead letter says that nobody was told."""
    function, watcher = await parts.function(), await parts.function("watcher")
    await parts.set(function, on_success=arn(watcher))
    monkeypatch.setattr("lateen.adapters.sqlite_queue.LANE_LIMIT", 1)
    await parts.events.accept(function, b"{}")
    await parts.events.accept(watcher, b"{}")
    (message,) = await parts.queue.receive(limit=1, without={f"default/{watcher.id}"})
    await parts.runs.run(message)
    assert [call[0] for call in parts.invoker.calls] == ["hello"]
    (letter,) = await parts.letters(function)
    assert letter.condition == "DestinationFailed"
    assert "waiting already" in letter.reason


async def test_a_large_event_that_failed_is_kept(parts: Parts) -> None:
    """As long as its dead letter; then it is swept. What ended without one goes at once."""
    function = await parts.function()
    await parts.set(function, maximum_retry_attempts=0)
    parts.invoker.answers = [FAILED]
    await parts.events.accept(function, b"1" * (INLINE_LIMIT_BYTES + 1))
    await parts.run_due()
    (letter,) = await parts.letters(function)
    assert letter.event is None
    assert [letter.event_key] == await parts.blobs()
    parts.clock.now_s += 13 * 86_400
    assert await parts.events.sweep() == 0
    assert len(await parts.letters(function)) == 1
    parts.clock.now_s += 5 * 86_400
    assert await parts.events.sweep() == 1
    assert await parts.blobs() == []
    assert await parts.letters(function) == []


async def test_code_sweeping_leaves_events(parts: Parts) -> None:
    """Payloads are no function's code, and are not swept as such."""
    function = await parts.function()
    await parts.events.accept(function, b"1" * (INLINE_LIMIT_BYTES + 1))
    await parts.services.functions.sweep(older_than_s=-(10**9))
    assert len(await parts.blobs()) == 1
    await parts.run_due()
    assert len(parts.invoker.calls) == 1


async def test_a_payload_that_is_gone(parts: Parts) -> None:
    """Somebody has emptied the bucket: the event ends, and it can be seen."""
    function = await parts.function()
    await parts.events.accept(function, b"1" * (INLINE_LIMIT_BYTES + 1))
    for key in await parts.blobs():
        await parts.services.objects.delete(key)
    await parts.run_due()
    (letter,) = await parts.letters(function)
    assert "payload" in letter.reason
    assert parts.invoker.calls == []


async def test_an_event_of_a_version_that_is_gone(parts: Parts) -> None:
    """Ends at once, and it can be seen why."""
    function = await parts.function()
    await parts.services.versions.publish(PLATFORM, function.id)
    await parts.events.accept(function, b"1", qualifier="1")
    await parts.services.versions.delete(PLATFORM, function.id, "1")
    await parts.run_due()
    (letter,) = await parts.letters(function)
    assert (letter.qualifier, letter.event, letter.attempts) == ("1", "1", 0)
    assert "version" in letter.reason
    assert parts.invoker.calls == []
    assert await parts.is_settled()


async def test_events_of_a_deleted_function_end(parts: Parts) -> None:
    function = await parts.function()
    await parts.events.accept(function, b"1" * (INLINE_LIMIT_BYTES + 1))
    await parts.services.functions.delete(PLATFORM, function.id)
    await parts.run_due()
    assert (parts.invoker.calls, await parts.blobs()) == ([], [])
    assert await parts.is_settled()
    assert parts.runs.ended == {"function_gone": 1}


async def test_what_cannot_be_read_is_put_aside(parts: Parts) -> None:
    """A message of another version's, or of nobody's, is not run and not lost."""
    for body in (b"nonsense", b"\x81\xa1a\x01", b""):
        await parts.queue.send("default/x", body)
    await parts.run_due()
    assert [dead.body for dead in await parts.queue.dead()] == [b"", b"\x81\xa1a\x01", b"nonsense"]
    assert parts.runs.ended == {"unreadable": 3}
    assert await parts.is_settled()


async def test_an_event_that_ends_its_workers(parts: Parts) -> None:
    """Is not run for ever: after ten of them it is a dead letter, whole as it was, and what can't even become one is
    put aside."""
    function = await parts.function()
    await parts.events.accept(function, b"1" * (INLINE_LIMIT_BYTES + 1))
    for _ in range(DELIVERIES_LIMIT):
        assert len(await parts.queue.receive()) == 1
        parts.clock.now_s += 61
    await parts.run_due()
    (letter,) = await parts.letters(function)
    assert letter.condition == "DeliveriesExhausted"
    assert [letter.event_key] == await parts.blobs()
    assert parts.invoker.calls == []
    await parts.events.accept(function, b"2")
    for _ in range(DELIVERIES_LIMIT + UNSPOKEN):
        assert len(await parts.queue.receive()) == 1
        parts.clock.now_s += 61
    await parts.run_due()
    assert [decoded(dead.body).payload for dead in await parts.queue.dead()] == [b"2"]


async def test_a_worker_that_ends_after_the_run_has_it_run_again(parts: Parts) -> None:
    """Twice is allowed, never is not; and the destination is told at least once."""
    function, watcher = await parts.function(), await parts.function("watcher")
    await parts.set(function, on_success=arn(watcher))
    await parts.events.accept(function, b"1")
    (message,) = await parts.queue.receive()
    acknowledge = parts.queue.ack

    async def die(_: object) -> None:
        raise KeyboardInterrupt

    parts.queue.ack = die  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        await parts.runs.run(message)
    parts.queue.ack = acknowledge  # type: ignore[method-assign]
    await parts.later(61)
    assert sorted(call[0] for call in parts.invoker.calls) == ["hello", "hello", "watcher", "watcher"]
    assert await parts.is_settled()


async def test_without_a_queue_events_are_refused(parts: Parts) -> None:
    function = await parts.function()
    with pytest.raises(Unavailable, match="not set up"):
        await Events(None, parts.services.objects).accept(function, b"")


async def test_dead_letters_are_paged_and_private(parts: Parts) -> None:
    """The last sent first; another workspace's key sees none."""
    function = await parts.function()
    await parts.set(function, maximum_retry_attempts=0)
    parts.invoker.answers = [FAILED]
    for number in range(5):
        await parts.events.accept(function, b"%d" % number)
        await parts.later(1)
    listed = parts.services.dead_letters.list
    first = await listed(PLATFORM, function.id, limit=3)
    rest = await listed(PLATFORM, function.id, limit=3, cursor=first.cursor)
    assert [letter.event for letter in [*first.items, *rest.items]] == ["4", "3", "2", "1", "0"]
    assert rest.cursor is None
    with pytest.raises(NotFound):
        await listed(Caller("k", "other"), function.id)


async def test_configurations(parts: Parts) -> None:
    """Put replaces, update merges, delete takes back to the defaults; each qualifier has its own."""
    configs = parts.services.event_configs
    function = await parts.function()
    for call in (configs.get(function, "$LATEST"), configs.delete(function, "$LATEST")):
        with pytest.raises(NotFound):
            await call
    with pytest.raises(NotFound):
        await configs.update(function, "$LATEST", EventInvokeChange(maximum_retry_attempts=1))
    queue = "arn:aws:sqs:eu-west-1:123456789012:q"
    made = await configs.put(function, "$LATEST", EventInvokeChange(maximum_retry_attempts=1, on_failure=queue))
    assert (made.maximum_retry_attempts, made.maximum_event_age_s, made.on_failure) == (1, None, queue)
    assert (made.retries, made.age_s, made.updated_at_s) == (1, 21_600, parts.clock())
    merged = await configs.update(function, "$LATEST", EventInvokeChange(maximum_event_age_s=60))
    assert (merged.maximum_retry_attempts, merged.maximum_event_age_s, merged.on_failure) == (1, 60, queue)
    cleared = await configs.update(function, "$LATEST", EventInvokeChange(on_failure=None))
    assert (cleared.maximum_event_age_s, cleared.on_failure) == (60, None)
    assert await configs.get(function, "$LATEST") == cleared
    replaced = await configs.put(function, "$LATEST", EventInvokeChange(maximum_retry_attempts=0))
    assert (replaced.retries, replaced.maximum_event_age_s) == (0, None)
    await parts.services.aliases.create(PLATFORM, function.id, "live", Target("$LATEST"))
    await configs.put(function, "live", EventInvokeChange(maximum_retry_attempts=2))
    page = await configs.list(function, limit=1)
    rest = await configs.list(function, limit=1, cursor=page.cursor)
    assert [each.qualifier for each in [*page.items, *rest.items]] == ["$LATEST", "live"]
    assert (await configs.in_force(function, None)).retries == 0
    assert (await configs.in_force(function, "live")).retries == 2
    await configs.delete(function, "$LATEST")
    assert (await configs.in_force(function, None)).retries == 2
    await parts.services.functions.delete(PLATFORM, function.id)
    with pytest.raises(NotFound):
        await configs.put(function, "$LATEST", EventInvokeChange())


GOOD = "arn:aws:lambda:eu-west-1:{account}:function:other"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"maximum_retry_attempts": -1}, "MaximumRetryAttempts"),
        ({"maximum_retry_attempts": 3}, "MaximumRetryAttempts"),
        ({"maximum_event_age_s": 59}, "MaximumEventAgeInSeconds"),
        ({"maximum_event_age_s": 21_601}, "MaximumEventAgeInSeconds"),
        ({"on_success": "other"}, "DestinationConfig.OnSuccess.Destination"),
        ({"on_failure": ""}, "DestinationConfig.OnFailure.Destination"),
        ({"on_failure": "arn:aws:sqs:eu-west-1:123456789012:" + "q" * 400}, "DestinationConfig.OnFailure.Destination"),
        ({"on_failure": "arn:aws:sqs:eu-west-1:123456789012:a\nb"}, "DestinationConfig.OnFailure.Destination"),
        ({"on_failure": "arn:aws:dynamodb:eu-west-1:123456789012:table/t"}, "DestinationConfig.OnFailure.Destination"),
        ({"on_failure": GOOD.replace("{account}", "000000000000")}, "DestinationConfig.OnFailure.Destination"),
        ({"on_failure": GOOD.replace("function:other", "layer:other")}, "DestinationConfig.OnFailure.Destination"),
        ({"on_failure": GOOD.replace("other", "hello")}, "DestinationConfig.OnFailure.Destination"),
        ({"on_failure": GOOD.replace("other", "ot her")}, "DestinationConfig.OnFailure.Destination"),
    ],
)
async def test_wrong_configurations_are_refused(parts: Parts, change: dict[str, Any], field: str) -> None:
    """By the field's name, and nothing is stored. A destination lies in the same account, and isn't the function."""
    function = await parts.function()
    given = {
        name: value.replace("{account}", function.account_id) if isinstance(value, str) else value
        for name, value in change.items()
    }
    with pytest.raises(InvalidInput) as refused:
        await parts.set(function, **given)
    assert refused.value.field == field
    with pytest.raises(InvalidInput):
        await parts.services.event_configs.put(function, "no such thing", EventInvokeChange())
    assert (await parts.services.event_configs.list(function)).items == []


async def test_a_renamed_function_keeps_its_events(parts: Parts) -> None:
    """They go by its id."""
    function = await parts.function()
    await parts.events.accept(function, b"1")
    await parts.services.functions.update(PLATFORM, function.id, FunctionChange(name="renamed"))
    await parts.run_due()
    assert parts.invoker.calls[0][0] == "renamed"
