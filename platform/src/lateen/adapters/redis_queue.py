"""`Queue` on Redis Streams, one stream for each lane. `redis_scripts` says what lies where and what is one step.

A message is as durable as the server makes what it has acknowledged: with `appendfsync always`, on its disk; with
`everysec`, on its disk within a second; without an append-only file, in its memory. `maxmemory-policy` has to be
`noeviction`: a server that is full then says so, and the sender hears of it.
"""

import logging
import os
from collections.abc import Collection
from secrets import token_hex
from typing import Any
from urllib.parse import parse_qs, urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, OutOfMemoryError, RedisError

from lateen.adapters import redis_scripts
from lateen.adapters.queue_checks import (
    check_body,
    check_delay,
    check_lane,
    check_limit,
    lane_is_full,
    tenant_is_full,
    weight_of,
)
from lateen.ports.queue import (
    DEAD_LIMIT,
    LANE_LIMIT,
    LEASE_S,
    TENANT_LIMIT_BYTES,
    DeadMessage,
    Depth,
    LeaseLost,
    Message,
    QueueFull,
    QueueUnavailable,
    TenantFull,
)

log = logging.getLogger(__name__)

CONNECT_S = 2.0
ANSWER_S = 5.0
RETRIES = 3
SENT_AGAIN_S = 60.0
"""More than all the attempts of one call take together."""
CONNECTIONS = 16
SCHEMES = ("redis", "rediss")


class RedisQueue:
    """For one event loop. Connects to nothing before the first call."""

    def __init__(
        self,
        url: str,
        *,
        password: str | None = None,
        name: str = "lateen",
        lease_s: float = LEASE_S,
        tenant_limit_bytes: int = TENANT_LIMIT_BYTES,
        retries: int = RETRIES,
    ) -> None:
        """Args:
            url: `redis://[user:password@]host:port/db`, or `rediss://` for TLS, which is checked against the public
                authorities, `AWS_CA_BUNDLE`, or the file that `?ssl_ca_certs=` names.
            password: where the URL has none.
            name: keys begin with `{name}:events`; installations that share a server need different ones.
            tenant_limit_bytes: as in the port; whoever sends should say the same.
        Raises: `ValueError` without the URL in its text.
        """
        check_url(url)
        extra: dict[str, Any] = {}
        bundle = os.environ.get("AWS_CA_BUNDLE")
        if bundle and url.startswith("rediss:") and "ssl_ca_certs" not in parse_qs(urlsplit(url).query):
            extra["ssl_ca_certs"] = bundle
        if password is not None:
            extra["password"] = password
        # Who finds all connections busy waits for one; a plain pool would refuse.
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=ANSWER_S,
            socket_connect_timeout=CONNECT_S,
            socket_timeout=ANSWER_S,
            health_check_interval=30,
            retry=Retry(ExponentialWithJitterBackoff(cap=0.5, base=0.05), retries),
            **extra,
        )
        self._redis = Redis.from_pool(pool)
        self._base = f"{{{name}}}:events"
        self._lease_s = lease_s
        self._tenant_limit_bytes = tenant_limit_bytes
        self._epoch: bytes | None = None
        self.losses = 0
        """How often the server was found without what it had before."""
        self._send, self._receive, self._extend, self._ack, self._retry, self._bury, self._depth = (
            self._redis.register_script(script)
            for script in (
                redis_scripts.SEND,
                redis_scripts.RECEIVE,
                redis_scripts.EXTEND,
                redis_scripts.ACK,
                redis_scripts.RETRY,
                redis_scripts.BURY,
                redis_scripts.DEPTH,
            )
        )

    @property
    def lease_s(self) -> float:
        return self._lease_s

    async def send(self, lane: str, body: bytes, *, delay_s: float = 0.0) -> str:
        check_lane(lane)
        check_body(body)
        check_delay(delay_s)
        message_id = token_hex(16)
        limits = (LANE_LIMIT, self._tenant_limit_bytes)
        match await self._call(
            self._send, lane, message_id, body, _ms(delay_s), *limits, weight_of(body), _ms(SENT_AGAIN_S)
        ):
            case b"lane":
                raise QueueFull(lane_is_full(LANE_LIMIT))
            case b"tenant":
                raise TenantFull(tenant_is_full(self._tenant_limit_bytes))
        return message_id

    async def receive(self, *, limit: int = 1, without: Collection[str] = ()) -> list[Message]:
        check_limit(limit)
        epoch, found = await self._call(self._receive, limit, _ms(self._lease_s), token_hex(8), *without)
        if self._epoch is not None and epoch != self._epoch:
            self.losses += 1
            log.error("the queue's server has lost what it held", extra={"losses": self.losses})
        self._epoch = epoch
        return [
            Message(
                id=number.decode(),
                lane=lane.decode(),
                body=body,
                sent_at_s=int(at) / 1000,
                deliveries=deliveries,
                receipt=f"{entry.decode()} {deliveries}",
            )
            for lane, entry, deliveries, number, body, at in found
        ]

    async def extend(self, message: Message) -> None:
        await self._settle(self._extend, message)

    async def ack(self, message: Message) -> None:
        await self._settle(self._ack, message)

    async def retry(self, message: Message, *, delay_s: float = 0.0, body: bytes | None = None) -> None:
        check_delay(delay_s)
        check_body(body or b"")
        kept = message.body if body is None else body
        at, delay = _ms(message.sent_at_s), _ms(delay_s)
        await self._settle(self._retry, message, message.id, kept, at, delay, weight_of(kept))

    async def bury(self, message: Message, reason: str) -> None:
        at = _ms(message.sent_at_s)
        await self._settle(self._bury, message, message.id, message.body, at, reason, DEAD_LIMIT)

    async def dead(self, *, limit: int = 100) -> list[DeadMessage]:
        try:
            entries: Any = await self._redis.xrevrange(f"{self._base}:dead", count=limit)
        except (RedisError, OSError) as exc:
            raise _unavailable_from(exc) from exc
        return [
            DeadMessage(
                id=fields[b"id"].decode(),
                lane=fields[b"lane"].decode(),
                body=fields[b"body"],
                reason=fields[b"reason"].decode(),
                sent_at_s=int(fields[b"at"]) / 1000,
            )
            for _, fields in entries
        ]

    async def depth(self) -> Depth:
        waiting, delayed, leased, dead, oldest = await self._call(self._depth)
        return Depth(
            waiting=waiting,
            delayed=delayed,
            leased=leased,
            dead=dead,
            oldest_at_s=int(oldest) / 1000 if oldest else None,
        )

    async def ping(self) -> None:
        try:
            await self._redis.ping()
        except (RedisError, OSError) as exc:
            raise _unavailable_from(exc) from exc

    async def close(self) -> None:
        await self._redis.aclose()

    async def _settle(self, script: Any, message: Message, *values: object) -> None:
        entry, _, deliveries = message.receipt.partition(" ")
        if not await self._call(script, message.lane, entry, deliveries, weight_of(message.body), *values):
            raise LeaseLost("the message is not held any more")

    async def _call(self, script: Any, *values: object) -> Any:
        try:
            return await script(keys=[self._base], args=values)
        except (RedisError, OSError) as exc:
            raise _unavailable_from(exc) from exc


def check_url(url: str) -> None:
    """Raises: `ValueError` that doesn't say what is in it, for that may be a password."""
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good:
        raise ValueError("it has to be redis://[user:password@]host:port/db, or rediss:// for TLS")


def _unavailable_from(exc: Exception) -> QueueUnavailable:
    """A driver's error in our words; its text stays in the cause."""
    if isinstance(exc, AuthenticationError | NoPermissionError):
        return QueueUnavailable("the queue's server refuses this user")
    if isinstance(exc, OutOfMemoryError):
        return QueueUnavailable("the queue's server is full")
    return QueueUnavailable("the queue's server does not answer")


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
