"""Idempotency-Key: a create that is sent again gets the first one's answer, and makes nothing.

The outcome is written in the same transaction as what was created. So of many that run at once exactly one commits,
the others find its outcome, and a crash leaves both or neither. A refusal is not kept: it made nothing, and may be
right later.
"""

import hashlib
import re
from collections.abc import Callable
from typing import Any, Self

from msgspec import Struct

from lateen.domain.access import Caller
from lateen.domain.errors import Conflict, InvalidInput
from lateen.domain.names import IDEMPOTENCY_KEY
from lateen.ports.table import Item, ItemNotFound, Key, Put, Table

TTL_S = 24 * 3600
_KEY = re.compile(IDEMPOTENCY_KEY)


class Once(Struct, frozen=True):
    """One request's Idempotency-Key, and a digest of all that the request asks for."""

    key: str
    fingerprint: str

    @classmethod
    def of(cls, key: str, *request: bytes) -> Self:
        """Args:
            request: what must be the same when the key is: method, path and body.
        Raises: `InvalidInput`.
        """
        if not _KEY.match(key):
            raise InvalidInput("Idempotency-Key", "1 to 255 visible ASCII characters")
        whole = hashlib.sha256()
        for part in request:
            whole.update(len(part).to_bytes(8, "big") + part)
        return cls(key, whole.hexdigest())


class Idempotency:
    """What the services' creates use; keys are apart per API key."""

    def __init__(self, table: Table, *, now: Callable[[], float]) -> None:
        self._table = table
        self._now = now

    async def outcome(self, caller: Caller, once: Once | None) -> dict[str, Any] | None:
        """What an earlier request with this key created; None: there was none.

        Raises: `Conflict` if that request was another one.
        """
        if once is None:
            return None
        try:
            item = await self._table.get(_key(caller, once))
        except ItemNotFound:
            return None
        if item.data["fingerprint"] != once.fingerprint:
            raise Conflict("this Idempotency-Key was used for another request")
        outcome: dict[str, Any] = item.data["outcome"]
        return outcome

    def record(self, caller: Caller, once: Once | None, outcome: dict[str, Any]) -> list[Put]:
        """For the transaction that creates."""
        if once is None:
            return []
        data = {"fingerprint": once.fingerprint, "outcome": outcome}
        return [Put(Item(key=_key(caller, once), data=data, expires_at=int(self._now()) + TTL_S), expected=None)]


def _key(caller: Caller, once: Once) -> Key:
    return Key(f"IDEMPOTENCY#{caller.key_id}", f"KEY#{hashlib.sha256(once.key.encode()).hexdigest()}")
