"""Events: what is given to functions without waiting for an answer. Accepted here, run by `event_runs`.

What was accepted is stored: in the queue, and its payload, where that is more than a message should carry, in the
object store under `events/{day}/`, from where it is removed when the event has ended, or some days later.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from secrets import token_hex

import msgspec
from msgspec import Struct

from lateen.domain.errors import LateenError, TooLarge, Unavailable
from lateen.domain.events import DEAD_LETTER_DAYS, EVENT_AGE_S, EVENT_LIMIT_BYTES
from lateen.domain.functions import Function
from lateen.domain.times import iso_ms
from lateen.ports.objects import ObjectNotFound, Objects
from lateen.ports.queue import Queue, QueueFull
from lateen_invoker.ids import new_request_id

INLINE_LIMIT_BYTES = 128 * 1024
"""Of a payload; with what is about it, that is within what a message and an item of the table hold."""
PREFIX = "events/"
FORMAT = 1
CONTEXT_LIMIT = 16 * 1024
SWEEP_BATCH = 1000


class PayloadLost(LateenError):
    """The object store doesn't have it any more."""


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event on its way, as the queue holds it."""

    format: int = FORMAT
    request_id: str
    workspace_id: str
    function_id: str
    qualifier: str | None = None
    """By which the function was addressed."""
    payload: bytes | None = None
    payload_key: str | None = None
    client_context: str | None = None
    """Base64 of JSON."""
    accepted_at_s: float
    """Unix time."""
    attempts: int = 0
    """How often the function ran and failed."""
    holdups: int = 0
    """How often in a row it could not be run."""
    hops: int = 0
    """How many destinations led here."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Event)


def encoded(event: Event) -> bytes:
    return _encoder.encode(event)


def decoded(body: bytes) -> Event:
    """Raises: `ValueError`."""
    event = _decoder.decode(body)
    if event.format != FORMAT:
        raise ValueError(f"format {event.format} is not known here")
    return event


class Events:
    """`queue` None: nothing takes events, and each is refused."""

    def __init__(self, queue: Queue | None, objects: Objects, *, now: Callable[[], float] = time.time) -> None:
        self._queue = queue
        self._objects = objects
        self._now = now

    async def accept(
        self,
        function: Function,
        payload: bytes,
        *,
        qualifier: str | None = None,
        client_context: str | None = None,
        request_id: str | None = None,
        hops: int = 0,
    ) -> str:
        """Store it; after the return it will be run, at least once. Returns: the request id, of all attempts.

        Args:
            payload: JSON; empty stands for `{}`.
            client_context: as `X-Amz-Client-Context` has it.
        Raises: `TooLarge`, `Unavailable`.
        """
        if len(payload) > EVENT_LIMIT_BYTES:
            raise TooLarge(
                f"{len(payload)} byte payload is too large for the Event invocation type "
                f"(limit {EVENT_LIMIT_BYTES} bytes)"
            )
        if client_context is not None and len(client_context) > CONTEXT_LIMIT:
            raise TooLarge(f"X-Amz-Client-Context has at most {CONTEXT_LIMIT} characters")
        if self._queue is None:
            raise Unavailable("asynchronous invocations are not set up in this installation")
        now_s = self._now()
        request_id = request_id or new_request_id()
        key = None
        if len(payload) > INLINE_LIMIT_BYTES:
            # Of its own also where the request id is an earlier event's, whose payload ends when that one does.
            key = f"{PREFIX}{iso_ms(now_s)[:10]}/{function.workspace_id}/{request_id}-{token_hex(4)}.json"
            await self._objects.put(key, payload)
        event = Event(
            request_id=request_id,
            workspace_id=function.workspace_id,
            function_id=function.id,
            qualifier=qualifier,
            payload=payload if key is None else None,
            payload_key=key,
            client_context=client_context,
            accepted_at_s=now_s,
            hops=hops,
        )
        try:
            await self._queue.send(f"{function.workspace_id}/{function.id}", encoded(event))
        except QueueFull:
            # It was not taken, for certain: whoever goes on sending would fill the store with what is refused.
            with suppress(Unavailable):
                await self.forget(event)
            raise
        return request_id

    async def payload(self, event: Event) -> bytes:
        """Raises: `PayloadLost`, `Unavailable`."""
        if event.payload_key is None:
            return event.payload or b""
        try:
            return b"".join([chunk async for chunk in self._objects.read(event.payload_key)])
        except ObjectNotFound:
            raise PayloadLost("the event's payload is not in the object store any more") from None

    async def forget(self, event: Event) -> None:
        """Its payload is of no use any more."""
        if event.payload_key is not None:
            await self._objects.delete(event.payload_key)

    async def sweep(self) -> int:
        """Remove payloads that nothing can need any more: no event and no dead letter lives so long.

        Returns: how many; `SWEEP_BATCH`: there may be more.
        """
        kept = timedelta(days=DEAD_LETTER_DAYS + 1, seconds=EVENT_AGE_S[1])
        last_day = iso_ms(self._now() - kept.total_seconds())[:10]
        old: list[str] = []
        async for blob in self._objects.list(PREFIX):
            # The listing is by key, and so by day.
            if blob.key.removeprefix(PREFIX)[:10] >= last_day or len(old) == SWEEP_BATCH:
                break
            old.append(blob.key)
        for key in old:
            await self._objects.delete(key)
        return len(old)
