"""What becomes of one event that was taken out of the queue: it is run, put off, or ended with word to somebody.

The word goes out before the message is settled, and the function runs before both: whoever holds a message may vanish
at any moment, and what was not said by then is done again by the next one. Duplicates, then, and no losses.
"""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol

import msgspec

from lateen.domain.access import PLATFORM
from lateen.domain.errors import InvalidInput, NotFound, TooLarge, Unavailable
from lateen.domain.events import (
    EVENT_LIMIT_BYTES,
    HOP_LIMIT,
    RETRY_WAITS_S,
    Condition,
    EventInvokeConfig,
    function_arn,
    function_of,
    holdup_s,
)
from lateen.domain.functions import LATEST, Function
from lateen.domain.times import iso_ms
from lateen.ports.queue import Message, Queue, QueueFull
from lateen.services.aliases import Aliases
from lateen.services.dead_letters import DeadLetter, DeadLetters
from lateen.services.event_configs import EventConfigs
from lateen.services.events import Event, Events, PayloadLost, decoded, encoded
from lateen.services.functions import Functions

log = logging.getLogger(__name__)

DELIVERIES_LIMIT = 10
"""Holders that one event may take down with it."""
UNSPOKEN = 3
"""Further ones, where a defect keeps the event from getting a dead letter."""
AGAIN_S = 1.0
PATIENCE_S = 120.0
"""For stores that are away when something has to be said; then the event is put off."""
JITTER = 0.2


class Ran(Protocol):
    """What came back. `status` 200: the function ran, and `body` is what its runtime posted."""

    @property
    def status(self) -> int: ...
    @property
    def body(self) -> bytes: ...
    @property
    def function_error(self) -> str | None:
        """Set: `body` is the error document."""

    @property
    def executed_version(self) -> str | None: ...


class Invoker(Protocol):
    async def invoke(
        self,
        function: Function,
        event: bytes,
        *,
        qualifier: str | None = None,
        client_context: str | None = None,
        request_id: str | None = None,
    ) -> Ran:
        """Args:
            function: the version.
            qualifier: by what it was addressed.
        Raises: `TooLarge`, `InvalidInput`, `Unavailable`; nothing was executed then.
        """


class EventRuns:
    def __init__(
        self,
        queue: Queue,
        *,
        events: Events,
        functions: Functions,
        configs: EventConfigs,
        letters: DeadLetters,
        invoker: Invoker,
        aliases: Aliases,
        region: str,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._queue = queue
        self._events = events
        self._functions = functions
        self._configs = configs
        self._letters = letters
        self._invoker = invoker
        self._aliases = aliases
        self._region = region
        self._now = now
        self.ended: Counter[str] = Counter()
        """Events, by what became of them."""
        self.attempts: Counter[str] = Counter()
        """Tries, by what came of them."""

    async def run(self, message: Message) -> None:
        """Raises: `Unavailable` where a store is away for long, `LeaseLost`; the message comes again then."""
        if message.deliveries > DELIVERIES_LIMIT + UNSPOKEN:
            await self._persist(lambda: self._queue.bury(message, "nothing could be said of it"))
            self.ended["given_up"] += 1
            return
        try:
            event = decoded(message.body)
        except (msgspec.MsgspecError, ValueError) as exc:
            log.error("event can't be read", extra={"lane": message.lane, "reason": str(exc)})
            await self._persist(lambda: self._queue.bury(message, "it is no event that this version knows"))
            self.ended["unreadable"] += 1
            return
        try:
            function = (await self._persist(lambda: self._functions.get(PLATFORM, event.function_id))).function
        except NotFound:
            await self._settle(message, event, "function_gone")
            return
        config = await self._persist(lambda: self._configs.in_force(function, event.qualifier))
        run = _Run(self, message, event, function, config)
        if message.deliveries > DELIVERIES_LIMIT:
            reason = f"{DELIVERIES_LIMIT} workers ended while they had it"
            await run.bury("DeliveriesExhausted", reason)
        elif function.reserved_concurrency == 0:
            await run.end("ZeroReservedConcurrency")
        elif self._now() >= run.expires_at_s:
            await run.end("EventAgeExceeded")
        else:
            await self._try(run)

    async def _try(self, run: "_Run") -> None:
        event = run.event
        try:
            payload = await self._persist(lambda: self._events.payload(event))
        except PayloadLost as exc:
            await run.bury("DeliveriesExhausted", str(exc))
            return
        try:
            ran = await self._invoker.invoke(
                await self._aliases.resolve(run.function, event.qualifier),
                payload,
                qualifier=event.qualifier,
                client_context=event.client_context,
                request_id=event.request_id,
            )
        except Unavailable:
            await run.hold_up("system_error")
            return
        except (InvalidInput, NotFound, TooLarge) as exc:  # its version may be gone
            await run.bury("RetriesExhausted", str(exc))
            return
        if ran.status == 429:
            await run.hold_up("throttled")
        elif ran.status != 200:
            await run.hold_up("system_error")
        elif ran.function_error is None:
            self.attempts["success"] += 1
            await run.end("Success", ran)
        else:
            self.attempts["function_error"] += 1
            await run.failed(ran)

    async def _settle(self, message: Message, event: Event, outcome: str, *, keep_payload: bool = False) -> None:
        await self._persist(lambda: self._queue.ack(message))
        self.ended[outcome] += 1
        if not keep_payload:
            with suppress(Unavailable):  # the sweep finds it
                await self._events.forget(event)

    async def _persist(self, step: "Callable[[], Awaitable[Any]]") -> Any:
        """Again and again while a store is away, because what comes after it has happened already can't be undone."""
        until_s = asyncio.get_running_loop().time() + PATIENCE_S
        while True:
            try:
                return await step()
            except Unavailable:
                if asyncio.get_running_loop().time() >= until_s:
                    raise
                await asyncio.sleep(AGAIN_S)


class _Run:
    """One delivery of one event."""

    def __init__(
        self, runs: EventRuns, message: Message, event: Event, function: Function, config: EventInvokeConfig
    ) -> None:
        self._runs = runs
        self._message = message
        self.event = event
        self.function = function
        self._config = config
        self.expires_at_s = event.accepted_at_s + config.age_s

    async def hold_up(self, why: str) -> None:
        """The function could not be run; that is no attempt."""
        self._runs.attempts[why] += 1
        event = msgspec.structs.replace(self.event, holdups=self.event.holdups + 1)
        await self._again(event, holdup_s(self.event.holdups))

    async def failed(self, ran: Ran) -> None:
        """The function ran, and failed."""
        event = msgspec.structs.replace(self.event, attempts=self.event.attempts + 1, holdups=0)
        if event.attempts > self._config.retries:
            await self.end("RetriesExhausted", ran)
            return
        await self._again(event, RETRY_WAITS_S[min(event.attempts, len(RETRY_WAITS_S)) - 1], jitter=0.0)

    async def _again(self, event: Event, wait_s: float, *, jitter: float = JITTER) -> None:
        wait_s *= 1 + random.uniform(-jitter, jitter)  # noqa: S311 - so that not all come back at once
        # An event that ends before that is told to have ended when it does.
        wait_s = max(0.0, min(wait_s, self.expires_at_s - self._runs._now()))
        queue = self._runs._queue
        await self._runs._persist(lambda: queue.retry(self._message, delay_s=wait_s, body=encoded(event)))

    async def end(self, condition: Condition, ran: Ran | None = None) -> None:
        """Tell the destination, or else leave a dead letter; then it is over."""
        runs, event = self._runs, self.event
        attempts = event.attempts + (1 if ran is not None else 0)
        is_success = condition == "Success"
        destination = self._config.on_success if is_success else self._config.on_failure
        if destination is None:
            undelivered, leaves_letter = None, not is_success
        else:
            undelivered = await runs._persist(lambda: self._tell(destination, condition, attempts, ran))
            # A success whose record would go to what is not offered here is no loss to anybody; all else is.
            leaves_letter = undelivered is not None and (not is_success or function_of(destination) is not None)
        if leaves_letter:
            reason = undelivered or _REASONS[condition]
            await self._leave_letter("DestinationFailed" if is_success else condition, reason, attempts, ran)
        if undelivered is not None:
            log.warning("destination not told", extra={"function": self.function.id, "reason": undelivered})
            runs.attempts["destination_failed"] += 1
        await runs._settle(self._message, event, _OUTCOMES[condition], keep_payload=leaves_letter)

    async def bury(self, condition: str, reason: str) -> None:
        """No attempt can help any more, and no record of it would be true."""
        log.error("event given up", extra={"function": self.function.id, "reason": reason})
        await self._leave_letter(condition, reason, self.event.attempts, None)
        await self._runs._settle(self._message, self.event, "given_up", keep_payload=True)

    async def _tell(self, destination: str, condition: Condition, attempts: int, ran: Ran | None) -> str | None:
        """Returns: why it could not be told; None: it was."""
        target = function_of(destination)
        if target is None:
            return f"{destination}: only functions can be told here"
        if self.event.hops >= HOP_LIMIT:
            return f"{destination}: {HOP_LIMIT} destinations in a row, which is taken for a loop"
        try:
            function = (await self._runs._functions.by_name(PLATFORM, self.function.workspace_id, target.name)).function
            payload = await self._runs._events.payload(self.event)
            record = self._record(condition, attempts, payload, ran)
            if len(record) > EVENT_LIMIT_BYTES:
                return f"{destination}: the record has more than {EVENT_LIMIT_BYTES} bytes"
            await self._runs._events.accept(function, record, qualifier=target.qualifier, hops=self.event.hops + 1)
        except NotFound:
            return f"{destination}: there is no such function in the workspace"
        except (PayloadLost, QueueFull) as exc:
            # One that is full stays so for long, and who waits for it has a worker's place meanwhile.
            return f"{destination}: {exc}"
        return None

    def _record(self, condition: Condition, attempts: int, payload: bytes, ran: Ran | None) -> bytes:
        """AWS Lambda Developer Guide, "Capturing records of Lambda asynchronous invocations"."""
        arn = function_arn(
            self._runs._region, self.function.account_id, self.function.name, self.event.qualifier or LATEST
        )
        record: dict[str, Any] = {
            "version": "1.0",
            "timestamp": iso_ms(self._runs._now()),
            "requestContext": {
                "requestId": self.event.request_id,
                "functionArn": arn,
                "condition": condition,
                "approximateInvokeCount": attempts,
            },
            "requestPayload": _json(payload or b"{}"),
        }
        if ran is not None:
            record["responseContext"] = {"statusCode": ran.status, "executedVersion": ran.executed_version or LATEST}
            if ran.function_error is not None:
                record["responseContext"]["functionError"] = ran.function_error
            record["responsePayload"] = _json(ran.body)
        return msgspec.json.encode(record)

    async def _leave_letter(self, condition: str, reason: str, attempts: int, ran: Ran | None) -> None:
        runs, event = self._runs, self.event
        letter = DeadLetter(
            request_id=event.request_id,
            qualifier=event.qualifier,
            condition=condition,
            reason=reason,
            attempts=attempts,
            accepted_at=iso_ms(event.accepted_at_s),
            ended_at=iso_ms(runs._now()),
            event=None if event.payload is None else event.payload.decode("utf-8", "replace"),
            event_key=event.payload_key,
            answer=None if ran is None else ran.body.decode("utf-8", "replace"),
            client_context=event.client_context,
            hops=event.hops,
        )
        await runs._persist(lambda: runs._letters.store(self.function, letter))


_OUTCOMES: dict[Condition, str] = {
    "Success": "success",
    "RetriesExhausted": "failed",
    "EventAgeExceeded": "expired",
    "ZeroReservedConcurrency": "refused",
}
_REASONS: dict[Condition, str] = {
    "RetriesExhausted": "the function failed in each attempt",
    "EventAgeExceeded": "it could not be run in the time that its events have",
    "ZeroReservedConcurrency": "the function's reserved concurrency is 0",
}
_any_json = msgspec.json.Decoder(msgspec.Raw)


def _json(text: bytes) -> msgspec.Raw | str:
    """As it is where it is JSON, which a client of the Runtime API need not answer."""
    try:
        text.decode()
        _any_json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return text.decode("utf-8", "replace")
    return msgspec.Raw(text)
