"""`Queue` in the table's SQLite file, written by the table's one writer: a send returns when it is on disk.

A message's `due_at` is when it may be delivered next; a lease is no more than a due time that lies ahead. `lease`
counts deliveries over the message's whole life, and so tells its holder from an earlier one.
"""

import sqlite3
import time
from collections.abc import Callable, Collection
from secrets import token_hex
from typing import Any

from lateen.adapters.queue_checks import (
    check_body,
    check_delay,
    check_lane,
    check_limit,
    lane_is_full,
    tenant_is_full,
    tenant_of,
    weight_of,
)
from lateen.adapters.sqlite import SqliteTable
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
from lateen.ports.table import TableUnavailable

_TENANT_BYTES = "SELECT COALESCE(SUM(bytes), 0) FROM queue_lanes WHERE lane > :tenant || '/' AND lane < :tenant || '0'"
_COUNT = """
    INSERT INTO queue_lanes (lane, messages, bytes, turn)
    VALUES (:lane, 1, :size, (SELECT COALESCE(MAX(turn), 0) FROM queue_lanes))
    ON CONFLICT (lane) DO UPDATE SET messages = messages + 1, bytes = bytes + :size WHERE messages < :limit"""
_COUNT_BYTES = "UPDATE queue_lanes SET bytes = bytes + :change WHERE lane = :lane"
_SEND = """
    INSERT INTO queue_messages (id, lane, due_at, sent_at, body, deliveries, lease, leased)
    VALUES (:id, :lane, :due_at, :sent_at, :body, 0, 0, 0)"""
_IS_DUE = "SELECT 1 FROM queue_messages WHERE due_at <= ? LIMIT 1"
_LANES = """
    SELECT lane FROM queue_lanes AS l WHERE EXISTS
    (SELECT 1 FROM queue_messages AS m WHERE m.lane = l.lane AND m.due_at <= ?) ORDER BY turn"""
_TAKE = """
    UPDATE queue_messages SET due_at = :until, deliveries = deliveries + 1, lease = lease + 1, leased = 1
    WHERE number =
    (SELECT number FROM queue_messages WHERE lane = :lane AND due_at <= :now ORDER BY due_at, number LIMIT 1)
    RETURNING id, body, sent_at, deliveries, lease"""
_TURN = "UPDATE queue_lanes SET turn = (SELECT MAX(turn) + 1 FROM queue_lanes) WHERE lane = ?"
_HELD = "WHERE id = :id AND lease = :lease AND leased = 1"
_EXTEND = f"UPDATE queue_messages SET due_at = :until {_HELD}"  # noqa: S608 - no caller's text
_REMOVE = f"DELETE FROM queue_messages {_HELD}"  # noqa: S608
_RETRY = f"""
    UPDATE queue_messages SET due_at = :due_at, body = COALESCE(:body, body), deliveries = 0, leased = 0 {_HELD}"""  # noqa: S608
_BURY = f"""
    INSERT INTO queue_dead (id, lane, sent_at, body, reason)
    SELECT id, lane, sent_at, body, :reason FROM queue_messages {_HELD}"""  # noqa: S608
_FORGET_DEAD = "DELETE FROM queue_dead WHERE number <= (SELECT MAX(number) FROM queue_dead) - ?"
_DEPTH = """
    SELECT COALESCE(SUM(leased), 0), COALESCE(SUM(leased = 0 AND due_at > :now), 0), COUNT(*),
    MIN(sent_at) FILTER (WHERE leased = 1 OR due_at <= :now), (SELECT COUNT(*) FROM queue_dead) FROM queue_messages"""


class SqliteQueue:
    def __init__(
        self,
        table: SqliteTable,
        *,
        lease_s: float = LEASE_S,
        tenant_limit_bytes: int = TENANT_LIMIT_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Args:
        tenant_limit_bytes: as in the port.
        clock: Unix time in seconds.
        """
        self._table = table
        self._clock = clock
        self._lease_s = lease_s
        self._tenant_limit_bytes = tenant_limit_bytes

    @property
    def lease_s(self) -> float:
        return self._lease_s

    async def send(self, lane: str, body: bytes, *, delay_s: float = 0.0) -> str:
        check_lane(lane)
        check_body(body)
        check_delay(delay_s)
        now = self._now_ms()
        size = weight_of(body)
        row = {"id": token_hex(16), "lane": lane, "due_at": now + _ms(delay_s), "sent_at": now, "body": body}

        def store(connection: sqlite3.Connection) -> None:
            (held,) = connection.execute(_TENANT_BYTES, {"tenant": tenant_of(lane)}).fetchone()
            if held + size > self._tenant_limit_bytes:
                raise TenantFull(tenant_is_full(self._tenant_limit_bytes))
            if connection.execute(_COUNT, {"lane": lane, "size": size, "limit": LANE_LIMIT}).rowcount == 0:
                raise QueueFull(lane_is_full(LANE_LIMIT))
            connection.execute(_SEND, row)

        await self._write(store)
        return str(row["id"])

    async def receive(self, *, limit: int = 1, without: Collection[str] = ()) -> list[Message]:
        check_limit(limit)
        # A look costs microseconds; the writer is asked only where there is something.
        if not self._read(_IS_DUE, (self._now_ms(),)):
            return []
        found: list[Message] = []

        def take(connection: sqlite3.Connection) -> None:
            now = self._now_ms()
            lanes = [lane for (lane,) in connection.execute(_LANES, (now,))]
            lanes = [lane for lane in lanes if lane not in without and tenant_of(lane) not in without]
            while lanes and len(found) < limit:
                served = []
                for lane in lanes[: limit - len(found)]:
                    bounds = {"lane": lane, "now": now, "until": now + _ms(self._lease_s)}
                    rows = connection.execute(_TAKE, bounds).fetchall()
                    for number, body, sent_at, deliveries, lease in rows:
                        served.append(lane)
                        connection.execute(_TURN, (lane,))
                        found.append(
                            Message(
                                id=number,
                                lane=lane,
                                body=body,
                                sent_at_s=sent_at / 1000,
                                deliveries=deliveries,
                                receipt=str(lease),
                            )
                        )
                lanes = served

        await self._write(take)
        return found

    async def extend(self, message: Message) -> None:
        await self._settle(message, _EXTEND, until=self._now_ms() + _ms(self._lease_s))

    async def ack(self, message: Message) -> None:
        await self._settle(message, _REMOVE, leaves=True)

    async def retry(self, message: Message, *, delay_s: float = 0.0, body: bytes | None = None) -> None:
        check_delay(delay_s)
        check_body(body or b"")
        change = 0 if body is None else len(body) - len(message.body)
        await self._settle(message, _RETRY, change=change, due_at=self._now_ms() + _ms(delay_s), body=body)

    async def take_back(self) -> None:
        """End all leases, where no holder can be left."""
        now = self._now_ms()
        await self._write(
            lambda connection: connection.execute(
                "UPDATE queue_messages SET due_at = ?, leased = 0 WHERE leased = 1", (now,)
            )
        )

    async def bury(self, message: Message, reason: str) -> None:
        held = {"id": message.id, "lease": int(message.receipt)}

        def bury(connection: sqlite3.Connection) -> None:
            if connection.execute(_BURY, held | {"reason": reason}).rowcount == 0:
                raise LeaseLost("the message is not held any more")
            connection.execute(_FORGET_DEAD, (DEAD_LIMIT,))
            connection.execute(_REMOVE, held)
            _uncount(connection, message)

        await self._write(bury)

    async def dead(self, *, limit: int = 100) -> list[DeadMessage]:
        rows = self._read(
            "SELECT id, lane, body, reason, sent_at FROM queue_dead ORDER BY number DESC LIMIT ?", (limit,)
        )
        return [
            DeadMessage(id=number, lane=lane, body=body, reason=reason, sent_at_s=sent_at / 1000)
            for number, lane, body, reason, sent_at in rows
        ]

    async def depth(self) -> Depth:
        ((leased, delayed, messages, oldest, dead),) = await self._table.read_in_thread(_DEPTH, {"now": self._now_ms()})
        return Depth(
            waiting=messages - leased - delayed,
            delayed=delayed,
            leased=leased,
            dead=dead,
            oldest_at_s=None if oldest is None else oldest / 1000,
        )

    async def ping(self) -> None:
        await self._table.ping()

    async def _settle(
        self, message: Message, statement: str, *, leaves: bool = False, change: int = 0, **values: object
    ) -> None:
        """Args:
        leaves: the message is not in its lane any more.
        change: bytes that its body has got more.
        """

        def settle(connection: sqlite3.Connection) -> None:
            bounds = {"id": message.id, "lease": int(message.receipt), **values}
            if connection.execute(statement, bounds).rowcount == 0:
                raise LeaseLost("the message is not held any more")
            if leaves:
                _uncount(connection, message)
            elif change:
                connection.execute(_COUNT_BYTES, {"lane": message.lane, "change": change})

        await self._write(settle)

    async def _write(self, action: Callable[[sqlite3.Connection], object]) -> None:
        try:
            await self._table.in_writer(action)
        except TableUnavailable as exc:
            raise QueueUnavailable(str(exc)) from exc

    def _read(self, statement: str, bounds: tuple[object, ...]) -> list[tuple[Any, ...]]:
        try:
            return self._table.read(statement, bounds)
        except TableUnavailable as exc:
            raise QueueUnavailable(str(exc)) from exc

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)


def _uncount(connection: sqlite3.Connection, message: Message) -> None:
    connection.execute(
        "UPDATE queue_lanes SET messages = messages - 1, bytes = bytes - ? WHERE lane = ?",
        (weight_of(message.body), message.lane),
    )
    connection.execute("DELETE FROM queue_lanes WHERE lane = ? AND messages <= 0", (message.lane,))


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
