"""`Pool`: connections to invokers by address, and how many calls use each address at the moment.

The count begins the moment an endpoint is given in, before the first await. So who stops an invoker takes its route
away, waits until it is `quiet`, and can be certain that no call is there or on its way.
"""

import asyncio
from collections import Counter
from contextlib import suppress
from typing import Any

from lateen.gateway.connections import Connection, UpstreamFailed, UpstreamTimedOut
from lateen.ports.deployer import Endpoint

IDLE_S = 20.0
"""Below the time after which an invoker closes an idle connection, so that we are always first."""
MAX_IDLE = 64
CONNECT_S = 5.0
SWEEP_S = 0.25


class ConnectFailed(UpstreamFailed):
    """Nothing was sent, so the call may go elsewhere."""


class CallerLeft(UpstreamFailed):
    """The caller is gone; nobody waits for the answer."""


class Pool:
    """Used from one loop. Deadlines and leaving callers are looked after by one sweep, not by a task for each call."""

    def __init__(self) -> None:
        self._idle: dict[tuple[str, int], list[Connection]] = {}
        self._calls: Counter[tuple[str, int]] = Counter()
        self._quiet: dict[tuple[str, int], list[asyncio.Future[None]]] = {}
        self._busy: set[Connection] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def acquire(self, endpoint: Endpoint) -> Connection:
        """A connection for one call; goes back by `release`. Raises: `ConnectFailed`."""
        address = (endpoint.host, endpoint.port)
        self._calls[address] += 1
        idle = self._idle.get(address)
        while idle:
            connection = idle.pop()
            if connection.is_usable:
                self._busy.add(connection)
                return connection
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_S):
                _, connection = await loop.create_connection(Connection, endpoint.host, endpoint.port)
        except (OSError, TimeoutError) as exc:
            self._left(address)
            raise ConnectFailed("no connection to the invoker") from exc
        except BaseException:
            self._left(address)
            raise
        self._busy.add(connection)
        if self._timer is None:
            self._timer = loop.call_later(SWEEP_S, self._sweep)
        return connection

    def release(self, endpoint: Endpoint, connection: Connection, *, sent: bool = True) -> None:
        """Take it back. `sent`: the request was sent to its end; else the connection is not used again."""
        address = (endpoint.host, endpoint.port)
        if connection.watcher is not None:
            connection.watcher.cancel()
            connection.watcher = None
        connection.receive = None
        self._busy.discard(connection)
        idle = self._idle.setdefault(address, [])
        if sent and len(idle) < MAX_IDLE and connection.recycle():
            idle.append(connection)
        else:
            connection.fail(UpstreamFailed("the call is over"))
        self._left(address)

    def is_busy(self, endpoint: Endpoint) -> bool:
        """Whether a call is at this address or on its way."""
        return (endpoint.host, endpoint.port) in self._calls

    async def quiet(self, endpoint: Endpoint) -> None:
        """Return when no call uses this address. Its idle connections are closed then."""
        address = (endpoint.host, endpoint.port)
        while address in self._calls:
            waiter = asyncio.get_running_loop().create_future()
            self._quiet.setdefault(address, []).append(waiter)
            await waiter
        for connection in self._idle.pop(address, []):
            connection.fail(UpstreamFailed("the invoker stops"))

    async def close(self) -> None:
        """End every connection; calls that still run fail."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for connection in [*self._busy, *(each for idle in self._idle.values() for each in idle)]:
            connection.fail(UpstreamFailed("Lateen stops"))
        self._idle.clear()

    def _left(self, address: tuple[str, int]) -> None:
        self._calls[address] -= 1
        if not self._calls[address]:
            del self._calls[address]
            for waiter in self._quiet.pop(address, []):
                if not waiter.done():
                    waiter.set_result(None)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        for connection in list(self._busy):
            if connection.deadline_s <= now_s:
                connection.fail(UpstreamTimedOut("no answer in time"))
            elif connection.receive is not None and connection.watcher is None:
                connection.watcher = loop.create_task(_watch(connection, connection.receive))
        for address, idle in list(self._idle.items()):
            # The most recently used is last, so the stale ones come first.
            while idle and (idle[0].idle_since_s < now_s - IDLE_S or not idle[0].is_usable):
                idle.pop(0).fail(UpstreamFailed("idle"))
            if not idle:
                del self._idle[address]
        self._timer = loop.call_later(SWEEP_S, self._sweep) if self._busy or self._idle else None


async def _watch(connection: Connection, receive: Any) -> None:
    with suppress(asyncio.CancelledError):
        while (await receive())["type"] != "http.disconnect":
            pass
        connection.fail(CallerLeft("the caller left"))
