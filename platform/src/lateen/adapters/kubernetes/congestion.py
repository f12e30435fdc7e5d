"""`Window`: how many calls may wait for a server that does one at a time, and goes on with those that were given up."""

import asyncio

from lateen.adapters.kubernetes.api import ApiUnavailable

MOST, LEAST = 100, 16


class Window:
    """`async with` around each call: half as many at a time after one that got no answer, slowly more while all do.

    Else, once as many wait as the server does until they are given up, it would only do what nobody waits for.
    """

    def __init__(self, *, most: int = MOST, least: int = LEAST) -> None:
        self._least = least
        self._size = self._most = most
        self._places = asyncio.Semaphore(most)
        self._owed = 0
        """Places that go with those who leave, for the window has become smaller."""
        self._answered = 0

    async def __aenter__(self) -> None:
        await self._places.acquire()

    async def __aexit__(self, _type: object, exc: BaseException | None, _traceback: object) -> None:
        if isinstance(exc, ApiUnavailable):
            self._resize(max(self._least, self._size // 2))
        elif exc is None:
            self._answered += 1
            if self._answered >= self._size:
                self._resize(min(self._most, self._size + 1))
        self._owed -= 1
        while self._owed < 0:
            self._owed += 1
            self._places.release()

    def _resize(self, size: int) -> None:
        self._owed += self._size - size
        self._size, self._answered = size, 0
