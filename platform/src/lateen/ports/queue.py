"""`Queue`: messages that are delivered at least once. The contract suite is `tests/contract/test_queue.py`.

A message is in a *lane*, `tenant/part`, such as `{workspace}/{function}`. Lanes are served in turn, one message each,
so that the backlog of one never stands in front of another's; within a lane what is due first goes first, roughly. A
receiver may leave lanes and whole tenants out, which is how it keeps room for others while one has its share already.

A message that was received is *leased*: nobody else sees it for `lease_s`, and its holder may extend that. What becomes
of it is said by its holder, once: `ack`, `retry` or `bury`. A holder that vanishes says nothing, and the message is
delivered again when the lease is over. So a message may be delivered twice, also because an answer was lost on its way,
and is never lost.
"""

from collections.abc import Collection
from typing import Protocol

from msgspec import Struct

from lateen.domain.errors import LateenError, Unavailable

BODY_LIMIT_BYTES = 256 * 1024
DELAY_LIMIT_S = 24 * 3600.0
BATCH_LIMIT = 100
LANE_LIMIT = 100_000
"""Messages in one lane, delayed and leased ones included: what one function can make a store hold."""
TENANT_LIMIT_BYTES = 64 * 1024 * 1024
"""In one tenant's lanes, delayed and leased messages included, so that one tenant does not fill the store. An adapter
may be told another number."""
MESSAGE_BYTES = 256
"""What each message counts beside its body: about what Redis needs for a small one that is put off."""
DEAD_LIMIT = 10_000
LEASE_S = 60.0


class LeaseLost(LateenError):
    """The message is not held by this receiver any more: it was delivered again, or settled. Nothing was changed."""


class QueueUnavailable(Unavailable):
    """The store did not answer, or has no room."""


class QueueFull(Unavailable):
    """The lane holds as many messages as it may."""


class TenantFull(QueueFull):
    """The tenant's messages have as many bytes as they may."""


class Message(Struct, frozen=True, kw_only=True):
    """As it was delivered."""

    id: str
    lane: str
    body: bytes
    sent_at_s: float
    """Unix time; the first sending's, also after a retry."""
    deliveries: int
    """This one included, since it was sent or retried; more than 1: a holder before vanished."""
    receipt: str
    """Proof of the lease; means something to the adapter only."""


class DeadMessage(Struct, frozen=True, kw_only=True):
    id: str
    lane: str
    body: bytes
    reason: str
    sent_at_s: float


class Depth(Struct, frozen=True, kw_only=True):
    """How many messages there are. Not exact while others send and receive."""

    waiting: int
    delayed: int
    leased: int
    dead: int
    oldest_at_s: float | None
    """Unix time at which the oldest of those that wait or are leased was sent; None: there is none."""


class Queue(Protocol):
    """Every call may raise `QueueUnavailable`, which says nothing of whether it happened."""

    @property
    def lease_s(self) -> float:
        """How long a delivery is its receiver's, in seconds, from then or from the last `extend`."""

    async def send(self, lane: str, body: bytes, *, delay_s: float = 0.0) -> str:
        """Store it; after the return it is durable. Returns: the message's id.

        Args:
            lane: `tenant/part`, each 1 to 64 of `[A-Za-z0-9_-]`, else `ValueError`.
            body: at most `BODY_LIMIT_BYTES`, else `TooLarge`.
            delay_s: 0 to `DELAY_LIMIT_S`, else `ValueError`: nobody sees it before.
        Raises: `QueueFull`, `TenantFull`; nothing was stored then.
        """

    async def receive(self, *, limit: int = 1, without: Collection[str] = ()) -> list[Message]:
        """Up to `limit` (1 to `BATCH_LIMIT`) messages that are due, now leased; doesn't wait for any.

        Args:
            without: lanes, and tenants, of which none is wanted.
        """

    async def extend(self, message: Message) -> None:
        """The lease begins anew. Raises: `LeaseLost`."""

    async def ack(self, message: Message) -> None:
        """It is done with. Raises: `LeaseLost`."""

    async def retry(self, message: Message, *, delay_s: float = 0.0, body: bytes | None = None) -> None:
        """It is to be delivered again, not before `delay_s`; `body`: with this one, whatever its tenant holds already.

        Raises: `LeaseLost`, `TooLarge`.
        """

    async def bury(self, message: Message, reason: str) -> None:
        """Nobody can do anything with it: it is put where people find it. Raises: `LeaseLost`."""

    async def dead(self, *, limit: int = 100) -> list[DeadMessage]:
        """What was buried, the last first; the last `DEAD_LIMIT`, roughly, are kept."""

    async def depth(self) -> Depth:
        """For metrics."""

    async def ping(self) -> None:
        """Answers if a send would."""
