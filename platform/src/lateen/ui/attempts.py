"""Sign-ins that failed: after a few with one key's name, from one address, that key waits there.

Not the address as a whole: behind a proxy everybody may have the same one, and nobody shall keep the others out. A key
has 192 random bits and is not guessed in any case. Each replica counts for itself.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable

AT_MOST = 10
WITHIN_S = 60.0
_MOST = 4096


class Attempts:
    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed: OrderedDict[str, list[float]] = OrderedDict()

    def wait_s(self, who: str) -> int:
        """Whole seconds until they may try again; 0: now."""
        recent = self._recent(who)
        return 0 if len(recent) < AT_MOST else max(1, math.ceil(recent[-AT_MOST] + WITHIN_S - self._clock()))

    def failed(self, who: str) -> None:
        self._failed[who] = [*self._recent(who), self._clock()][-AT_MOST:]
        self._failed.move_to_end(who)
        while len(self._failed) > _MOST:
            self._failed.popitem(last=False)

    def _recent(self, who: str) -> list[float]:
        since = self._clock() - WITHIN_S
        return [moment for moment in self._failed.get(who, ()) if moment > since]
