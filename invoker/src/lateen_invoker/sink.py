"""Writes execution records and statistics to DynamoDB: `python -m lateen_invoker.sink TABLE RETENTION_S`, beside the
invoker of a pod.

The store's client takes tens of megabytes, so it lives here, and only while there are records. What comes in and goes
out on descriptor 0, a stream socket, are `Records` and `RecordsStored` of `control.py`; its end is the end.

A batch is tried until it is stored, however long the store is away: memory is bounded on the other side, which drops
the oldest and counts them. Only what the store refuses for what it is, is lost, and said to be.
"""

import json
import logging
import os
import random
import select
import socket
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from zlib import crc32

from lateen_invoker import control
from lateen_invoker.control import Records, RecordsStored
from lateen_invoker.dynamo_items import BATCH_LIMIT, Attributes, batch_of, record_attributes, rollup_attributes
from lateen_invoker.json_log import log_to_stdout

log = logging.getLogger("lateen_invoker.sink")

UNITS_PER_S = 900.0
"""What is written in a second at most, in DynamoDB's units of 1 KiB. A partition takes 1,000, and others write too."""
FIRST_RETRY_S, LAST_RETRY_S = 0.05, 5.0
CONNECT_S, READ_S = 2.0, 5.0
_UNIT = 1024
_CREDENTIALS = {
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationTokenException",
    "UnrecognizedClientException",
}


class Pace:
    """No more units than so many a second; what was saved up is spent within a second."""

    def __init__(self, units_per_s: float) -> None:
        self._units_per_s = units_per_s
        self._units = units_per_s
        self._at = time.monotonic()

    def take(self, units: int) -> float:
        """Returns: for how many seconds to wait before they are spent."""
        now = time.monotonic()
        self._units = min(self._units_per_s, self._units + (now - self._at) * self._units_per_s)
        self._at = now
        self._units -= units
        return max(0.0, -self._units / self._units_per_s)


class Writer:
    """Writes batches. `connect` makes a client of DynamoDB's; `pause` waits for some seconds."""

    def __init__(
        self,
        connect: Callable[[], Any],
        table: str,
        *,
        retention_s: int,
        units_per_s: float = UNITS_PER_S,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connect = connect
        self._client = connect()
        self._table = table
        self._retention_s = retention_s
        self._pause = pause
        self._pace = Pace(units_per_s)
        self._wait_s = FIRST_RETRY_S
        self._told = ""

    def write(self, batch: Records) -> int:
        """Returns when it is stored: how many records the store refused."""
        expires_at = int(time.time()) + self._retention_s
        # Of two with one key the later stays, and one request must not have both.
        items = {(r.timestamp, r.request_id): record_attributes(r, expires_at=expires_at) for r in batch.records}
        waiting = [*items.values(), *map(rollup_attributes, batch.rollups)]
        lost = 0
        while waiting:
            chunk, waiting = waiting[:BATCH_LIMIT], waiting[BATCH_LIMIT:]
            if (early_s := self._pace.take(sum(_units(item) for item in chunk))) > 0:
                self._pause(early_s)
            unprocessed, refused = self._put(chunk)
            lost += refused
            if unprocessed:
                waiting += unprocessed
                self._back_off("the table is throttled" if len(unprocessed) < len(chunk) else "")
            else:
                self._wait_s = FIRST_RETRY_S
                self._told = ""
        return lost

    def _put(self, items: Sequence[Attributes]) -> tuple[list[Attributes], int]:
        """Returns: what has to be tried again, and how many were refused for good."""
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        try:
            answer = self._client.batch_write_item(RequestItems=batch_of(self._table, list(items)))
        except ClientError as exc:
            code = str(exc.response.get("Error", {}).get("Code", ""))
            if code in ("ValidationException", "SerializationException"):
                if len(items) == 1:
                    log.error("an execution record is refused by the table", extra={"reason": code})
                    return [], 1
                parts = [self._put([item]) for item in items]
                return [item for again, _ in parts for item in again], sum(refused for _, refused in parts)
            if code in _CREDENTIALS:
                # A client keeps those that it was made with; in the mounted file there may be others by now.
                self._client = self._connect()
            self._say(code)
            return list(items), 0
        except (BotoCoreError, ResponseParserError) as exc:
            self._say(type(exc).__name__)
            return list(items), 0
        left = answer.get("UnprocessedItems", {}).get(self._table, [])
        return [request["PutRequest"]["Item"] for request in left], 0

    def _say(self, reason: str) -> None:
        if reason != self._told:
            self._told = reason
            log.warning("execution records wait for the table", extra={"reason": reason})

    def _back_off(self, reason: str) -> None:
        if reason:
            self._say(reason)
        self._pause(self._wait_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
        self._wait_s = min(LAST_RETRY_S, self._wait_s * 2)


def main() -> int:
    table, retention_s = sys.argv[1], int(sys.argv[2])
    log_to_stdout(os.environ)
    os.nice(5)  # what callers wait for comes first
    stream = socket.socket(fileno=0)
    writer: Writer | None = None
    while (message := _receive(stream)) is not None:
        if isinstance(message, Records):
            writer = writer or Writer(_client, table, retention_s=retention_s, pause=partial(_wait_on, stream))
            lost = writer.write(message)
            try:
                stream.sendall(control.encode(RecordsStored(batch=message.batch, lost=lost)))
            except OSError:
                return 0
    return 0


def _wait_on(stream: socket.socket, seconds: float) -> None:
    """Not longer than the invoker lives, which says nothing more before the batch is acknowledged."""
    if select.select([stream], [], [], seconds)[0]:
        sys.exit(0)


def _client() -> Any:
    import botocore.session
    from botocore.config import Config

    config = Config(connect_timeout=CONNECT_S, read_timeout=READ_S, retries={"total_max_attempts": 1})
    client = botocore.session.get_session().create_client("dynamodb", config=config)
    client.meta.events.register("before-parse.dynamodb", _check_answer)
    return client


def _check_answer(response_dict: dict[str, Any], **_: Any) -> None:
    """botocore takes an answer that was cut off, or comes from something in between, for an empty one: all stored."""
    from botocore.parsers import ResponseParserError

    headers, body = response_dict["headers"], response_dict["body"]
    if headers.get("x-amz-crc32", str(crc32(body))) != str(crc32(body)):
        raise ResponseParserError("not the answer that was sent")
    if response_dict["status_code"] == 200:
        if not headers.get("content-type", "").startswith("application/x-amz-json"):
            raise ResponseParserError("not an answer of DynamoDB's")
        try:
            json.loads(body)
        except ValueError as exc:
            raise ResponseParserError("not JSON") from exc


def _receive(stream: socket.socket) -> control.ToPlatform | None:
    header = _exactly(stream, control.HEADER_SIZE)
    body = _exactly(stream, control.body_size(header)) if header else b""
    return control.to_platform.decode(body) if body else None


def _exactly(stream: socket.socket, size: int) -> bytes:
    """Empty when the stream ends before."""
    data = bytearray()
    while len(data) < size:
        try:
            part = stream.recv(min(size - len(data), 1 << 20))
        except OSError:
            return b""
        if not part:
            return b""
        data += part
    return bytes(data)


def _units(item: Attributes) -> int:
    return 1 + len(item["data"]["B"]) // _UNIT


if __name__ == "__main__":
    sys.exit(main())
