"""Redriving: what a dead letter tells of goes back into the queue, as an event whose attempts and age begin anew.

The event is in the queue before its letter goes. So a process that ends between the two leaves both, and the event may
run twice, as any may; it keeps its request id, by which handlers tell. Until the letter is gone it is claimed, so that
of two people who redrive it at the same time one is told.
"""

import time
from collections.abc import Callable
from contextlib import suppress

import msgspec
from msgspec import Struct

from lateen.domain.access import Caller
from lateen.domain.errors import Conflict, LateenError, NotFound, Unavailable
from lateen.domain.functions import Function
from lateen.domain.pages import DEFAULT_LIMIT
from lateen.domain.times import unix_s
from lateen.ports.table import Delete, Item, ItemNotFound, RevisionConflict, Table
from lateen.services.cursors import Cursors, check_limit
from lateen.services.dead_letters import NO_SUCH_LETTER, PREFIX, DeadLetter, key_of, letter_from, listing_of
from lateen.services.events import Event, Events, PayloadLost
from lateen.services.functions import Functions
from lateen.services.idempotency import Idempotency, Once

CLAIM_S = 60
"""Longer than a redrive takes; then the letter of one that was not ended is free again."""
CLAIMED = "the dead letter is being redriven by somebody, or was at this moment; look again in a minute"
_CLAIM = "claimed_until_s"


class Refused(Struct, frozen=True):
    """Why a letter stayed."""

    letter_id: str
    reason: str


class Redriven(Struct, frozen=True):
    """What became of one page of letters."""

    count: int
    refused: list[Refused]
    cursor: str | None
    """For the letters after these; None: there are no more."""


class Redrives:
    def __init__(
        self,
        table: Table,
        *,
        functions: Functions,
        events: Events,
        cursors: Cursors,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._table = table
        self._functions = functions
        self._events = events
        self._cursors = cursors
        self._now = now
        self._idempotency = Idempotency(table, now=now)

    async def redrive(self, caller: Caller, function_id: str, letter_id: str, *, once: Once | None = None) -> str:
        """Returns: the event's request id.

        Raises: `NotFound`; `Conflict` if the payload is lost, somebody else does it now, or by `once`; `Unavailable`,
            after which it may have happened.
        """
        function = (await self._functions.get(caller, function_id)).function
        if (outcome := await self._idempotency.outcome(caller, once)) is not None:
            return str(outcome["request_id"])
        try:
            try:
                item = await self._table.get(key_of(function_id, letter_id))
            except ItemNotFound:
                raise NotFound(NO_SUCH_LETTER) from None
            return await self._redrive(caller, function, item, once)
        except (NotFound, Conflict):
            # The same request may have been faster since the look above.
            if (outcome := await self._idempotency.outcome(caller, once)) is None:
                raise
            return str(outcome["request_id"])

    async def redrive_page(
        self, caller: Caller, function_id: str, *, limit: int = DEFAULT_LIMIT, cursor: str | None = None
    ) -> Redriven:
        """As `redrive`, each of the letters that `DeadLetters.list` would show. The event sent last goes first: what
        fails meanwhile is a letter before all that are still to come, so whoever follows the cursors comes to an end.

        A store that is away, or full, ends the page early. Raises: `NotFound`, `InvalidInput`; `Unavailable` where that
            was so at the first letter.
        """
        check_limit(limit)
        listing = listing_of(function_id)
        after = self._cursors.open(listing, cursor)
        function = (await self._functions.get(caller, function_id)).function
        page = await self._table.query(f"FN#{function_id}", begins=PREFIX, after=after, descending=True, limit=limit)
        count, refused, goes_on_after = 0, list[Refused](), page.next
        for item in page.items:
            try:
                await self._redrive(caller, function, item, None)
                count += 1
            except Conflict as exc:
                refused.append(Refused(letter_from(item).id, str(exc)))
            except Unavailable:
                if item is page.items[0]:
                    raise
                goes_on_after = after
                break
            after = item.key.sk
        return Redriven(count, refused, self._cursors.seal(listing, goes_on_after) if goes_on_after else None)

    async def delete(self, caller: Caller, function_id: str, letter_id: str) -> None:
        """Remove it, and its payload; again is no error. Raises: `NotFound` (no such function, or no such id)."""
        function = (await self._functions.get(caller, function_id)).function
        key = key_of(function_id, letter_id)
        try:
            letter = letter_from(await self._table.get(key))
        except ItemNotFound:
            return
        await self._table.delete(key)
        await self._forget(_event_of(function, letter))

    async def _redrive(self, caller: Caller, function: Function, item: Item, once: Once | None) -> str:
        event = _event_of(function, letter_from(item))
        claimed = await self._claim(item)
        try:
            await self._send(function, event)
        except LateenError:
            with suppress(Unavailable, RevisionConflict):  # the claim ends by itself
                await self._table.put(item, expected=claimed.revision)
            raise
        outcome = self._idempotency.record(caller, once, {"request_id": event.request_id})
        try:
            await self._table.transact([Delete(item.key), *outcome])
        except RevisionConflict:
            raise Conflict("this Idempotency-Key was used for another request") from None
        await self._forget(event)
        return event.request_id

    async def _claim(self, item: Item) -> Item:
        now_s = self._now()
        if item.data.get(_CLAIM, 0) > now_s:
            raise Conflict(CLAIMED)
        claimed = msgspec.structs.replace(item, data=item.data | {_CLAIM: int(now_s) + CLAIM_S})
        try:
            return await self._table.put(claimed, expected=item.revision)
        except RevisionConflict:
            raise Conflict(CLAIMED) from None

    async def _send(self, function: Function, event: Event) -> None:
        """With a payload of its own, which is kept as long as an event of now may need it."""
        try:
            payload = await self._events.payload(event)
        except PayloadLost:
            raise Conflict("the event's payload is not kept any more, so it can't be run again") from None
        await self._events.accept(
            function,
            payload,
            qualifier=event.qualifier,
            client_context=event.client_context,
            request_id=event.request_id,
            hops=event.hops,
        )

    async def _forget(self, event: Event) -> None:
        with suppress(Unavailable):  # the sweep finds it
            await self._events.forget(event)


def _event_of(function: Function, letter: DeadLetter) -> Event:
    """As it was when it was accepted."""
    return Event(
        request_id=letter.request_id,
        workspace_id=function.workspace_id,
        function_id=function.id,
        qualifier=letter.qualifier,
        payload=None if letter.event is None else letter.event.encode(),
        payload_key=letter.event_key,
        client_context=letter.client_context,
        accepted_at_s=unix_s(letter.accepted_at),
        hops=letter.hops,
    )
