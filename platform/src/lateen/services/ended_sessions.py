"""Sessions of the pages that were signed out of before their time. All else about a session is in its cookie, of which
there may be a copy: this is why that is good for nothing any more.

While the table is away, marks are neither made nor seen: a browser forgets its cookie in any case, and keys that were
read lately stay good then too, revoked or not.
"""

import logging

from lateen.domain.errors import Unavailable
from lateen.ports.table import Item, ItemNotFound, Key, Table

log = logging.getLogger(__name__)


class EndedSessions:
    def __init__(self, table: Table) -> None:
        self._table = table

    async def end(self, session_id: str, *, until_s: int) -> None:
        """Args:
        until_s: Unix time at which the session is over by itself; the mark expires then.
        """
        try:
            await self._table.write([Item(key=_key(session_id), data={}, expires_at=until_s)])
        except Unavailable as exc:
            log.warning("sign-out not stored", extra={"reason": str(exc)})

    async def has_ended(self, session_id: str) -> bool:
        try:
            await self._table.get(_key(session_id))
        except (ItemNotFound, Unavailable):
            return False
        return True


def _key(session_id: str) -> Key:
    return Key(f"SESSION#{session_id}", "ENDED")
