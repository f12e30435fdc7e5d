"""`Pool`: connections to invokers by address, and how many calls use each address at the moment.

The count begins the moment an endpoint is given in, before the first await. So who stops an invoker takes its route
away, waits until it is `quiet`, and can be certain that no call is there or on its way.

Across a network (`Network`) an address stands for several pods, and a pod may go at any time. What is sent is never
sent again, so no call must meet a connection that is about to be closed. A pod that stops says `Connection: close` for
five seconds with whatever it answers, and takes new connections all that time. A connection that is idle is dropped
here after four, so none is left when the pod closes. One that has been idle for a moment is looked at before it is
used, for its end may have arrived and not been noticed yet. And none is kept for long, for each new one may lead to
another pod: that is how the load spreads, and how a new pod gets its share.
"""

import asyncio
import random
import socket
from contextlib import suppress
from typing import Any

from msgspec import Struct

from lateen.gateway.connections import Connection, UpstreamFailed, UpstreamTimedOut
from lateen.ports.deployer import Endpoint

IDLE_S = 20.0
"""Below the time after which an invoker closes an idle connection, so that we are always first."""
MAX_IDLE = 64
CONNECT_S = 5.0
SWEEP_S = 0.25
LOOK_S = 0.05
"""Idle for longer: looked at. A connection in steady use pays nothing for it."""


class ConnectFailed(UpstreamFailed):
    """Nothing was sent, so the call may go elsewhere."""


class CallerLeft(UpstreamFailed):
    """The caller is gone; nobody waits for the answer."""


class Network(Struct, frozen=True, kw_only=True):
    """How connections over a network are kept."""

    connect_s: float = 0.75
    """Below a second, after which a lost SYN would be sent again: a new attempt may be led to a pod that is alive."""
    probe_s: float = 0.3
    """Of the one attempt at a time while a function is away: until the cluster's network has heard of a pod that has
    just started, what is sent to it is lost."""
    idle_s: float = 4.0
    """Below the drain lag of function pods."""
    life_s: float = 5.0
    """On average."""
    dead_s: float = 15.0
    """A peer of which nothing is heard for this long, not even by its kernel, is taken for dead."""


class _Address:
    """Connections to one invoker. `idle`: the most recently used one is last."""

    __slots__ = ("calls", "idle", "waiters")

    def __init__(self) -> None:
        self.idle: list[Connection] = []
        self.calls = 0
        self.waiters: list[asyncio.Future[None]] = []


class Pool:
    """Used from one loop. Deadlines and leaving callers are looked after by one sweep, not by a task for each call."""

    def __init__(self, network: Network | None = None) -> None:
        """Args:
        network: unless all invokers are on this machine.
        """
        self._network = network
        self._idle_s = network.idle_s if network else IDLE_S
        self.failures = 0
        """Connections that could not be made."""
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
                if connection.is_usable and (self._network is None or self._is_sound(connection)):
                    address.calls += 1
                    self._busy.add(connection)
                    return connection
        return None

    async def connect(self, endpoint: Endpoint, *, is_probe: bool = False) -> Connection:
        """As `acquire`, always by a new connection."""
        key = (endpoint.host, endpoint.port)
        address = self._addresses.get(key)
        if address is None:
            address = self._addresses[key] = _Address()
        address.calls += 1
        loop = asyncio.get_running_loop()
        within_s = CONNECT_S
        if self._network is not None:
            within_s = self._network.probe_s if is_probe else self._network.connect_s
        try:
            async with asyncio.timeout(within_s):
                connection = await _connected(endpoint, self._network)
        except (OSError, TimeoutError) as exc:
            self.failures += 1
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
        if (
            sent
            and len(address.idle) < MAX_IDLE
            and connection.recycle()
            and connection.idle_since_s < connection.retires_at_s
        ):
            address.idle.append(connection)
        else:
            connection.fail(UpstreamFailed("the call is over"))
        self._left(address)

    def count(self) -> tuple[int, int]:
        """Connections in use, and idle ones."""
        return len(self._busy), sum(len(address.idle) for address in self._addresses.values())

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

    def _is_sound(self, connection: Connection) -> bool:
        idle_s = asyncio.get_running_loop().time() - connection.idle_since_s
        if idle_s < LOOK_S:
            return True
        if idle_s < self._idle_s and connection.is_silent():
            return True
        connection.fail(UpstreamFailed("idle"))
        return False

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
            while idle and (idle[0].idle_since_s < now_s - self._idle_s or not idle[0].is_usable):
                idle.pop(0).fail(UpstreamFailed("idle"))
            if not idle and not address.calls:
                del self._addresses[key]
        self._timer = loop.call_later(SWEEP_S, self._sweep) if self._addresses else None


async def _connected(endpoint: Endpoint, network: Network | None) -> Connection:
    loop = asyncio.get_running_loop()
    if network is not None:
        return await _connected_by_tcp(endpoint, network)
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


async def _connected_by_tcp(endpoint: Endpoint, network: Network) -> Connection:
    """`endpoint.host` is an address, no name."""
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    # With its protocol named: only then is TCP_NODELAY set.
    tcp = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        tcp.setblocking(False)
        dead_s = int(network.dead_s)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # A node that is gone says nothing. Without these a call would wait for its deadline, up to half an hour.
        for option, value in (
            ("TCP_KEEPIDLE", max(1, dead_s // 3)),
            ("TCP_KEEPINTVL", max(1, dead_s // 3)),
            ("TCP_KEEPCNT", 2),
            ("TCP_USER_TIMEOUT", dead_s * 1000),
        ):
            if (number := getattr(socket, option, None)) is not None:
                tcp.setsockopt(socket.IPPROTO_TCP, number, value)
        await loop.sock_connect(tcp, (endpoint.host, endpoint.port))
        _, connection = await loop.create_connection(Connection, sock=tcp)
    except BaseException:
        tcp.close()
        raise
    connection.retires_at_s = loop.time() + network.life_s * random.uniform(0.5, 1.5)  # noqa: S311 - jitter
    return connection


async def _watch(connection: Connection, receive: Any) -> None:
    with suppress(asyncio.CancelledError):
        while (await receive())["type"] != "http.disconnect":
            pass
        connection.fail(CallerLeft("the caller left"))
