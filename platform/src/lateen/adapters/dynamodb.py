"""`Table` on DynamoDB: every read consistent, every write with the revision as its condition.

A write that was not answered may have been stored all the same, and its repetition must not take the first attempt for
somebody else's: a conditional put leaves a random `writer` in the item and looks for it where the condition fails,
and a conditional delete or a transaction bears a token that DynamoDB knows again for ten minutes. Where even that
leaves it open, the caller hears `TableUnavailable`, which says nothing of what is stored.
"""

import asyncio
import os
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from typing import Any

from botocore.session import get_session
from msgspec.structs import replace

from lateen.adapters.aws_client import MakeSession
from lateen.adapters.dynamodb_calls import CALL_S, RETRIES, ConditionFailed, DynamoCalls, wait_s
from lateen.adapters.dynamodb_faults import loser_of
from lateen.adapters.dynamodb_requests import (
    LIVE,
    is_key,
    item_from,
    key_attributes,
    key_range,
    put_request,
    transaction_item,
)
from lateen.adapters.stored_items import check_key, encoded
from lateen.domain.errors import TooLarge
from lateen.ports.table import (
    QUERY_LIMIT,
    TRANSACTION_LIMIT,
    TRANSACTION_LIMIT_BYTES,
    Delete,
    Item,
    ItemNotFound,
    Key,
    Operation,
    Page,
    Put,
    RevisionConflict,
    TableUnavailable,
)
from lateen_invoker.dynamo_items import BATCH_LIMIT, DATA, REVISION, WRITER, attributes_of, batch_of

PAGE_LIMIT_BYTES = 4_000_000
"""A page that holds as much ends, so that 1000 large items do not come to 400 MB."""
BATCH_LIMIT_BYTES = 4_000_000
"""Of one BatchWriteItem's data; DynamoDB takes 16 MB, encoded."""
THREADS = 16


class DynamoTable:
    """`Table` on a table with the keys `PK` and `SK` (`dynamodb_schema` makes it)."""

    def __init__(
        self,
        name: str,
        *,
        region: str,
        endpoint_url: str | None = None,
        clock: Callable[[], float] = time.time,
        threads: int = THREADS,
        call_s: float = CALL_S,
        session: MakeSession = get_session,
    ) -> None:
        """Connects to nothing: the first call does, or fails.

        Args:
            endpoint_url: None: `AWS_ENDPOINT_URL_DYNAMODB`, or AWS.
            clock: Unix time in seconds.
        """
        self._name = name
        self._clock = clock
        self._calls = DynamoCalls(
            region=region, endpoint_url=endpoint_url, threads=threads, call_s=call_s, session=session
        )

    async def get(self, key: Key) -> Item:
        try:
            possible = is_key(key)
        except UnicodeEncodeError:  # a lone surrogate: no such text was ever stored
            possible = False
        if possible:
            request = {"TableName": self._name, "Key": key_attributes(key), "ConsistentRead": True}
            found = (await self._calls.send("GetItem", request)).get("Item")
            if found and (item := item_from(found, now_s=self._now_s())):
                return item
        raise ItemNotFound(key)

    async def put(self, item: Item, *, expected: int | None) -> Item:
        check_key(item.key)
        put = Put(item, expected)
        writer = os.urandom(12)
        request = put_request(self._name, put, encoded(item), now_s=self._now_s(), writer=writer)
        stored = replace(item, revision=(expected or 0) + 1)
        try:
            await self._calls.send("PutItem", request | {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"})
        except ConditionFailed as exc:
            there = exc.cause.response.get("Item", {})
            if there.get(WRITER, {}).get("B") != b64encode(writer).decode():
                if exc.is_open and REVISION in there and int(there[REVISION]["N"]) > stored.revision:
                    # Somebody went on from the revision that we tried to write: from ours, or from another's?
                    raise TableUnavailable("the table did not answer in time") from exc.cause
                raise RevisionConflict(item.key) from exc.cause
        return stored

    async def delete(self, key: Key, *, expected: int | None = None) -> None:
        if expected is not None:
            await self.transact([Delete(key, expected)])
            return
        check_key(key)
        await self._calls.send("DeleteItem", {"TableName": self._name, "Key": key_attributes(key)})

    async def query(
        self,
        pk: str,
        *,
        begins: str = "",
        lower: str | None = None,
        upper: str | None = None,
        after: str | None = None,
        descending: bool = False,
        limit: int = 100,
    ) -> Page:
        if not 1 <= limit <= QUERY_LIMIT:
            raise ValueError(f"limit must be 1 to {QUERY_LIMIT}")
        try:
            # `after` as one more bound, because DynamoDB refuses to start outside of the range.
            low, high = (lower, _least(upper, after)) if descending else (_greatest(lower, after), upper)
            wanted = key_range(pk, begins, low, high)
        except UnicodeEncodeError:
            wanted = None
        if wanted is None:
            return Page([], None)
        now_s = self._now_s()
        request: dict[str, Any] = {
            "TableName": self._name,
            "ConsistentRead": True,
            "KeyConditionExpression": wanted.condition,
            "FilterExpression": LIVE,
            "ExpressionAttributeValues": wanted.values | {":now": {"N": str(now_s)}},
            "ScanIndexForward": not descending,
        }
        items: list[Item] = []
        size = 0
        # One more than asked for tells whether there is a next page, and `after` itself may come again. Where that is
        # not enough, most of it had expired, or DynamoDB's megabyte was full: what follows comes by the megabyte.
        request["Limit"] = limit + 2
        while True:
            answer = await self._calls.send("Query", request)
            for attributes in answer["Items"]:
                item = item_from(attributes, now_s=now_s)
                if item is None or item.key.sk == after or not wanted.holds(item.key.sk):
                    continue
                if len(items) == limit or size >= PAGE_LIMIT_BYTES:
                    return Page(items, items[-1].key.sk)
                items.append(item)
                size += len(attributes[DATA]["B"]) * 3 // 4  # it is base64
            if "LastEvaluatedKey" not in answer:
                return Page(items, None)
            request.pop("Limit", None)
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    async def transact(self, operations: Sequence[Operation]) -> list[Item]:
        if len(operations) > TRANSACTION_LIMIT:
            raise ValueError(f"a transaction has at most {TRANSACTION_LIMIT} operations")
        keys = [operation.item.key if isinstance(operation, Put) else operation.key for operation in operations]
        for key in keys:
            check_key(key)
        if len(set(keys)) < len(keys):
            raise ValueError("a transaction names each key once")
        bodies = [encoded(operation.item) if isinstance(operation, Put) else b"" for operation in operations]
        if sum(map(len, bodies)) > TRANSACTION_LIMIT_BYTES:
            raise TooLarge(f"a transaction holds at most {TRANSACTION_LIMIT_BYTES} bytes")
        if not operations:
            return []
        form = partial(transaction_item, self._name, now_s=self._now_s())
        items = [form(operation, data) for operation, data in zip(operations, bodies, strict=True)]
        try:
            await self._calls.send("TransactWriteItems", {"TransactItems": items}, has_token=True)
        except ConditionFailed as exc:
            raise RevisionConflict(keys[loser_of(exc.cause)]) from exc.cause
        return [
            replace(operation.item, revision=(operation.expected or 0) + 1)
            for operation in operations
            if isinstance(operation, Put)
        ]

    async def write(self, items: Sequence[Item]) -> None:
        latest = {}
        for item in items:
            check_key(item.key)
            latest[item.key] = (item, encoded(item))
        left = iter(latest.values())
        carried: list[tuple[Item, bytes]] = []
        while batch := carried + list(islice(left, BATCH_LIMIT - len(carried))):
            count, size = 0, 0
            while count < len(batch) and (count == 0 or size + len(batch[count][1]) <= BATCH_LIMIT_BYTES):
                size += len(batch[count][1])
                count += 1
            carried = batch[count:]
            await self._write_batch(batch[:count])

    async def ping(self) -> None:
        await self._calls.send("GetItem", {"TableName": self._name, "Key": key_attributes(Key("PING", "PING"))})

    async def close(self) -> None:
        """Finish what was sent. Later calls raise `TableUnavailable`."""
        await self._calls.close()

    def _now_s(self) -> int:
        return int(self._clock())

    async def _write_batch(self, batch: Sequence[tuple[Item, bytes]]) -> None:
        """DynamoDB takes of a batch what it has room for, and gives the rest back."""
        left = batch_of(
            self._name,
            [attributes_of(item.key.pk, item.key.sk, data, expires_at=item.expires_at) for item, data in batch],
        )
        without_progress = 0
        while True:
            answer = await self._calls.send("BatchWriteItem", {"RequestItems": left})
            rest = answer.get("UnprocessedItems") or {}
            if not rest:
                return
            made_progress = len(rest[self._name]) < len(left[self._name])
            without_progress = 0 if made_progress else without_progress + 1
            if without_progress > RETRIES or not (made_progress or self._calls.budget.take()):
                raise TableUnavailable("the table is busy")
            left = rest
            await asyncio.sleep(wait_s(without_progress))


def _least(one: str | None, other: str | None) -> str | None:
    return min((text for text in (one, other) if text is not None), default=None)


def _greatest(one: str | None, other: str | None) -> str | None:
    return max((text for text in (one, other) if text is not None), default=None)
