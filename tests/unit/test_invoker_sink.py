"""Writing records in batches: what is sent, sent again, given up, and how fast. The table is a stand-in with faults."""

import time
from typing import Any

import msgspec
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from lateen_invoker.control import Records
from lateen_invoker.records import ExecutionRecord
from lateen_invoker.sink import Pace, Writer


class Table:
    """Answers BatchWriteItem; `faults` come first, one for each call: an error, or how many items it leaves."""

    def __init__(self, *faults: Exception | int) -> None:
        self.faults = list(faults)
        self.calls: list[int] = []
        self.stored: dict[str, Any] = {}
        self.refuses = ""

    def batch_write_item(self, *, RequestItems: dict[str, list[Any]]) -> dict[str, Any]:
        ((name, requests),) = RequestItems.items()
        self.calls.append(len(requests))
        fault = self.faults.pop(0) if self.faults else 0
        if isinstance(fault, Exception):
            raise fault
        items = [request["PutRequest"]["Item"] for request in requests]
        keys = [item["SK"]["S"] for item in items]
        assert len(items) <= 25
        assert len(set(keys)) == len(keys), "DynamoDB refuses a batch with one key twice"
        if self.refuses and any(self.refuses in key for key in keys):
            raise error("ValidationException")
        self.stored |= {item["SK"]["S"]: item for item in items[fault:]}
        return {"UnprocessedItems": {name: requests[:fault]} if fault else {}}


def error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "not for logs"}}, "BatchWriteItem")


def batch(size: int, **changes: Any) -> Records:
    return Records(batch=1, records=[record(number, **changes) for number in range(size)])


def record(number: int, **changes: Any) -> ExecutionRecord:
    given = {"request_id": f"r{number}", "function_id": "f1", "version": "1", "timestamp": "2026-01-31T23:59:59.123Z"}
    return ExecutionRecord(**{**given, "status": "success", "duration_ms": 1.0, **changes})


def writer(table: Table, paused: list[float] | None = None, **changes: Any) -> Writer:
    return Writer(lambda: table, "t", retention_s=60, pause=(paused if paused is not None else []).append, **changes)


def test_a_batch_is_written_in_twenty_fives() -> None:
    """All of it, as the platform reads it."""
    table = Table()
    assert writer(table).write(batch(60)) == 0
    assert table.calls == [25, 25, 10]
    item = table.stored["LOG#2026-01-31T23:59:59.123Z#r7"]
    assert item["PK"] == {"S": "FN#f1"}
    assert msgspec.msgpack.decode(item["data"]["B"], type=ExecutionRecord) == record(7)


@pytest.mark.parametrize(
    "fault",
    [
        error("ProvisionedThroughputExceededException"), error("AccessDeniedException"), error("InternalServerError"),
        error("ResourceNotFoundException"), EndpointConnectionError(endpoint_url="http://t"), 25, 1,
    ],
)  # fmt: skip
def test_what_may_heal_is_tried_again(fault: Exception | int) -> None:
    """A table that is away, throttled, not made yet or forbidden for now costs time and no record."""
    table = Table(fault, fault, fault)
    paused: list[float] = []
    assert writer(table, paused).write(batch(30)) == 0
    assert len(table.stored) == 30
    assert len(paused) == 3
    assert 0 < paused[0] < paused[-1] * 2 <= 5.0


@pytest.mark.parametrize("code", ["UnrecognizedClientException", "ExpiredTokenException", "InvalidSignatureException"])
def test_credentials_that_were_replaced_are_read_again(code: str) -> None:
    """A client keeps those that it was made with. The Secret has new ones, and no pod should have to be replaced."""
    revoked, table = Table(*[error(code)] * 3), Table()
    clients = [revoked, table]
    made = Writer(lambda: clients.pop(0), "t", retention_s=60, pause=lambda _: None)
    assert made.write(batch(30)) == 0
    assert len(table.stored) == 30
    assert revoked.calls == [25]


def test_waits_grow_to_five_seconds_and_no_further() -> None:
    """However long a table is away it is not asked more often than that, nor forgotten for longer."""
    paused: list[float] = []
    writer(Table(*[error("InternalServerError")] * 30), paused).write(batch(1))
    assert len(paused) == 30
    assert max(paused) <= 5.0
    assert min(paused[10:]) >= 2.5


def test_only_what_the_table_refuses_is_lost() -> None:
    """One record that can't be stored doesn't take the others of its batch with it, and is counted."""
    table = Table()
    table.refuses = "#r3"
    assert writer(table).write(batch(20)) == 1
    assert len(table.stored) == 19


def test_a_record_goes_after_its_time() -> None:
    """The table is told when, in Unix time."""
    table = Table()
    Writer(lambda: table, "t", retention_s=7 * 86_400).write(batch(1))
    (item,) = table.stored.values()
    assert abs(int(item["expires_at"]["N"]) - time.time() - 7 * 86_400) < 600


def test_one_key_twice_is_one_record() -> None:
    """Of two records with one key the later stays; DynamoDB would refuse the batch."""
    table = Table()
    twice = Records(batch=1, records=[record(1, duration_ms=1.0), record(1, duration_ms=2.0)])
    assert writer(table).write(twice) == 0
    (item,) = table.stored.values()
    assert msgspec.msgpack.decode(item["data"]["B"], type=ExecutionRecord).duration_ms == 2.0


def test_a_partition_is_not_outrun() -> None:
    """A second's worth goes at once, the rest waits for its turn: large records count by their size."""
    paused: list[float] = []
    writer(Table(), paused, units_per_s=100.0).write(batch(10, log_tail="x" * 64 * 1024))
    assert 5.0 < sum(paused) < 7.0  # 650 units, of which 100 were saved up
    paused.clear()
    writer(Table(), paused, units_per_s=100.0).write(batch(100))
    assert sum(paused) < 0.2


def test_pace_forgets_what_was_not_used_within_a_second() -> None:
    """An hour of silence is no leave to send an hour's worth."""
    pace = Pace(100.0)
    pace._at -= 3600
    assert pace.take(100) == 0
    assert pace.take(100) > 0.9
