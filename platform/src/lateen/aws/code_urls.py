"""`Code.Location`: an address from which who was shown it can fetch a function's code or a layer, for ten minutes.

Of our own and not of the store's, for the store may be a folder, or a server that callers can't reach.
"""

import hmac
import re
import time
from collections.abc import AsyncIterator, Callable
from urllib.parse import parse_qs

from lateen.domain.master import MasterKey
from lateen.ports.objects import Objects

PREFIX = "/code/"
EXPIRES_S = 600
_KEY = re.compile(r"[a-z0-9-]{1,40}(/[a-z0-9-]{1,40}){1,2}/[0-9a-f]{64}\.zip")


class CodeUrls:
    def __init__(self, objects: Objects, *, master: MasterKey, now: Callable[[], float] = time.time) -> None:
        self._objects = objects
        self._key = master.derive("code-url")
        self._now = now

    def url(self, origin: str, artifact_key: str) -> str:
        """Args:
        origin: how the caller reaches us.
        """
        until = str(int(self._now()) + EXPIRES_S)
        return f"{origin}{PREFIX}{artifact_key}?expires={until}&signature={self._signature(artifact_key, until)}"

    def open(self, path: str, query: str) -> AsyncIterator[bytes] | None:
        """The blob that an address of ours leads to; None: it is none, or not any more."""
        artifact_key = path.removeprefix(PREFIX)
        given = parse_qs(query)
        until, signature = given.get("expires", [""])[-1], given.get("signature", [""])[-1]
        if (
            not _KEY.fullmatch(artifact_key)
            or not (until.isascii() and until.isdigit() and len(until) < 16)
            or not hmac.compare_digest(self._signature(artifact_key, until).encode(), signature.encode())
            or int(until) < self._now()
        ):
            return None
        return self._objects.read(artifact_key)

    def _signature(self, artifact_key: str, until: str) -> str:
        return hmac.digest(self._key, f"{until}:{artifact_key}".encode(), "sha256").hex()
