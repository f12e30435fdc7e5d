"""`Pool`: connections to invokers by address, and how many calls use each address at the moment.

The count begins the moment an endpoint is given in, before the first await. So who stops an invoker takes its route
away, waits until it is `quiet`, and can be certain that no call is there or on its way.
"""

import asyncio
import socket
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


class _Address:
    """Connections to one invoker. `idle`: the most recently used one is last."""

    __slots__ = ("calls", "idle", "waiters")

    def __init__(self) -> None:
        self.idle: list[Connection] = []
        self.calls = 0
        self.waiters: list[asyncio.Future[None]] = []


class Pool:
    """Used from one loop. Deadlines and leaving callers are looked after by one sweep, not by a task for each call."""

    def __init__(self) -> None:
        self._addresses: dict[tuple[str, int], _Address] = {}
        self._busy: set[Connection] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def acquire(self, endpoint: Endpoint) -> Connection:
        """A connection for one call; goes back by `release`. Raises: `ConnectFailed`."""
        return self.idle(endpoint) or await self.connect(endpoint)

    def idle(self, endpoint: Endpoint) -> Connection | None:
        """As `acquire`, where a connection is there already."""
        address = self._addresses.get((endpoint.host, endpoint.port))
        if address is not None:
            idle = address.idle
            while idle:
                connection = idle.pop()
                if connection.is_usable:
                    address.calls += 1
                    self._busy.add(connection)
                    return connection
        return None

    async def connect(self, endpoint: Endpoint) -> Connection:
        """As `acquire`, always by a new connection."""
        key = (endpoint.host, endpoint.port)
        address = self._addresses.get(key)
        if address is None:
            address = self._addresses[key] = _Address()
        address.calls += 1
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_S):
                connection = await _connected(endpoint)
        except (OSError, TimeoutError) as exc:
            self._left(address)
            raise ConnectFailed("no connection to the invoker") from exc
        except BaseException:
            self._left(address)
            raise
        connection.address = address
        self._busy.add(connection)
        if self._timer is None:
            self._timer = loop.call_later(SWEEP_S, self._sweep)
        return connection

    def release(self, connection: Connection, *, sent: bool = True) -> None:
        """Take it back. `sent`: the request was sent to its end; else the connection is not used again."""
        address: _Address = connection.address
        if connection.watcher is not None:
            connection.watcher.cancel()
            connection.watcher = None
        connection.receive = connection.call = None
        self._busy.discard(connection)
        if sent and len(address.idle) < MAX_IDLE and connection.recycle():
            address.idle.append(connection)
        else:
            connection.fail(UpstreamFailed("the call is over"))
        self._left(address)

    def is_busy(self, endpoint: Endpoint) -> bool:
        """Whether a call is at this address or on its way."""
        address = self._addresses.get((endpoint.host, endpoint.port))
        return address is not None and address.calls > 0

    async def quiet(self, endpoint: Endpoint) -> None:
        """Return when no call uses this address. Its idle connections are closed then."""
        key = (endpoint.host, endpoint.port)
        while (address := self._addresses.get(key)) is not None and address.calls:
            waiter = asyncio.get_running_loop().create_future()
            address.waiters.append(waiter)
            await waiter
        if address is not None:
            del self._addresses[key]
            for connection in address.idle:
                connection.fail(UpstreamFailed("the invoker stops"))

    async def close(self) -> None:
        """End every connection; calls that still run fail."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for connection in [*self._busy, *(each for address in self._addresses.values() for each in address.idle)]:
            connection.fail(UpstreamFailed("Lateen stops"))
        self._addresses.clear()

    def _left(self, address: _Address) -> None:
        address.calls -= 1
        if not address.calls and address.waiters:
            for waiter in address.waiters:
                if not waiter.done():
                    waiter.set_result(None)
            address.waiters.clear()

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        for connection in list(self._busy):
            if connection.deadline_s <= now_s:
                connection.fail(UpstreamTimedOut("no answer in time"))
            elif connection.receive is not None and connection.watcher is None:
                connection.watcher = loop.create_task(_watch(connection, connection.receive))
        for key, address in list(self._addresses.items()):
            idle = address.idle
            while idle and (idle[0].idle_since_s < now_s - IDLE_S or not idle[0].is_usable):
                idle.pop(0).fail(UpstreamFailed("idle"))
            if not idle and not address.calls:
                del self._addresses[key]
        self._timer = loop.call_later(SWEEP_S, self._sweep) if self._addresses else None


async def _connected(endpoint: Endpoint) -> Connection:
    loop = asyncio.get_running_loop()
    if not endpoint.host.startswith("\0"):
        _, connection = await loop.create_connection(Connection, endpoint.host, endpoint.port)
        return connection
    # An abstract Unix address. uvloop can't name one, but it takes a socket that is connected.
    unix = socket.socket(socket.AF_UNIX)
    try:
        unix.setblocking(False)
        while True:
            try:
                unix.connect(endpoint.host)
                break
            except BlockingIOError:  # its backlog is full at the moment
                await asyncio.sleep(0.005)
        _, connection = await loop.create_unix_connection(Connection, sock=unix)
    except BaseException:
        unix.close()
        raise
    return connection


async def _watch(connection: Connection, receive: Any) -> None:
    with suppress(asyncio.CancelledError):
        while (await receive())["type"] != "http.disconnect":
            pass
        connection.fail(CallerLeft("the caller left"))
