"""Sign-ins that failed: after a few from one address, that address waits.

A key has 192 random bits and is not guessed; this keeps logs and stores from being filled by who tries. Each replica
counts for itself.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable

AT_MOST = 10
WITHIN_S = 60.0
_ADDRESSES = 4096


class Attempts:
    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed: OrderedDict[str, list[float]] = OrderedDict()

    def wait_s(self, address: str) -> int:
        """Whole seconds until this address may try again; 0: now."""
        recent = self._recent(address)
        return 0 if len(recent) < AT_MOST else max(1, math.ceil(recent[-AT_MOST] + WITHIN_S - self._clock()))

    def failed(self, address: str) -> None:
        self._failed[address] = [*self._recent(address), self._clock()][-AT_MOST:]
        self._failed.move_to_end(address)
        while len(self._failed) > _ADDRESSES:
            self._failed.popitem(last=False)

    def _recent(self, address: str) -> list[float]:
        since = self._clock() - WITHIN_S
        return [moment for moment in self._failed.get(address, ()) if moment > since]
