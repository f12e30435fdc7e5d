"""Dead letters: events that have ended without having been done, and that no destination was told of. For people."""

import re
import time
from collections.abc import Callable

import msgspec
from msgspec import Struct

from lateen.domain.access import Caller
from lateen.domain.errors import NotFound
from lateen.domain.events import DEAD_LETTER_DAYS
from lateen.domain.functions import Function
from lateen.domain.pages import DEFAULT_LIMIT, Page
from lateen.ports.table import Item, Key, Table
from lateen.services.cursors import Cursors, check_limit
from lateen.services.functions import Functions

PREFIX = "DEAD#"
ERROR_LIMIT = 32 * 1024
"""Characters of the function's last answer that are kept."""
NO_SUCH_LETTER = "the function has no such dead letter"
_ID = re.compile(r"^([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{12}Z)_([0-9a-f-]{36})\Z")


class DeadLetter(Struct, frozen=True, kw_only=True):
    request_id: str
    qualifier: str | None
    condition: str
    """One of `domain.events.Condition`, or `DestinationFailed`, `DeliveriesExhausted`."""
    reason: str
    """For a person."""
    attempts: int
    """How often the function ran."""
    accepted_at: str
    """ISO 8601."""
    ended_at: str
    event: str | None
    """JSON as it was sent; None: it lies under `event_key`."""
    event_key: str | None
    """In the object store."""
    answer: str | None
    """What the function answered last, where it ran."""
    client_context: str | None = None
    """As the event had it. Letters of before this was kept have none."""
    hops: int = 0
    """How many destinations led to the event."""

    @property
    def id(self) -> str:
        """Which letter of its function's; fit for a path."""
        return f"{self.accepted_at}_{self.request_id}"


def key_of(function_id: str, letter_id: str) -> Key:
    """Raises: `NotFound` if no letter can have this id."""
    if not (parts := _ID.match(letter_id)):
        raise NotFound(NO_SUCH_LETTER)
    return Key(f"FN#{function_id}", f"{PREFIX}{parts[1]}#{parts[2]}")


def letter_from(item: Item) -> DeadLetter:
    return msgspec.convert(item.data, DeadLetter)


def listing_of(function_id: str) -> str:
    """What the cursors of its letters are for."""
    return f"dead-letters/{function_id}"


class DeadLetters:
    def __init__(
        self, table: Table, *, functions: Functions, cursors: Cursors, now: Callable[[], float] = time.time
    ) -> None:
        self._table = table
        self._functions = functions
        self._cursors = cursors
        self._now = now

    async def store(self, function: Function, letter: DeadLetter) -> None:
        """Again, for the same event, changes nothing that is seen."""
        answer = letter.answer
        if answer is not None and len(answer) > ERROR_LIMIT:
            letter = msgspec.structs.replace(letter, answer=answer[:ERROR_LIMIT])
        # Whatever the request id looks like: nothing may keep a letter from being there.
        key = Key(f"FN#{function.id}", f"{PREFIX}{letter.accepted_at}#{letter.request_id}")
        expires_at = int(self._now()) + DEAD_LETTER_DAYS * 24 * 3600
        await self._table.write([Item(key=key, data=msgspec.to_builtins(letter), expires_at=expires_at)])

    async def list(
        self, caller: Caller, function_id: str, *, limit: int = DEFAULT_LIMIT, cursor: str | None = None
    ) -> Page[DeadLetter]:
        """Those whose events were sent last first. Raises: `NotFound`, `InvalidInput`."""
        check_limit(limit)
        listing = listing_of(function_id)
        after = self._cursors.open(listing, cursor)
        await self._functions.get(caller, function_id)
        page = await self._table.query(f"FN#{function_id}", begins=PREFIX, after=after, descending=True, limit=limit)
        found = [letter_from(item) for item in page.items]
        return Page(found, self._cursors.seal(listing, page.next) if page.next else None)
