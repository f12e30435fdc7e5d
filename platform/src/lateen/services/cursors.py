"""Cursors: where a listing goes on, in a form that callers can't read into or change."""

import base64
import binascii
import hmac

from lateen.domain.errors import InvalidInput
from lateen.domain.master import MasterKey
from lateen.domain.pages import MAX_LIMIT

_MAC_BYTES = 16
_MAX_CHARACTERS = 1024


class Cursors:
    def __init__(self, master: MasterKey) -> None:
        self._key = master.derive("cursor")

    def seal(self, listing: str, after: str) -> str:
        """Args:
        listing: which listing this is, such as `functions/{workspace id}`; the cursor fits no other one.
        after: a sort key.
        """
        text = after.encode()
        return base64.urlsafe_b64encode(self._mac(listing, text) + text).decode().rstrip("=")

    def open(self, listing: str, cursor: str | None) -> str | None:
        """The sort key, None without a cursor. Raises: `InvalidInput`."""
        if cursor is None:
            return None
        try:
            if len(cursor) > _MAX_CHARACTERS:
                raise ValueError
            sealed = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            mac, text = sealed[:_MAC_BYTES], sealed[_MAC_BYTES:]
            if not hmac.compare_digest(mac, self._mac(listing, text)):
                raise ValueError
            return text.decode()
        except (ValueError, binascii.Error):
            raise InvalidInput("cursor", "not one that this listing gave out") from None

    def _mac(self, listing: str, text: bytes) -> bytes:
        return hmac.digest(self._key, f"{len(listing)}:{listing}".encode() + text, "sha256")[:_MAC_BYTES]


def check_limit(limit: int) -> int:
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidInput("limit", f"1 to {MAX_LIMIT}")
    return limit
