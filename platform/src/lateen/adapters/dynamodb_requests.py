"""What is asked of DynamoDB: keys, conditions and key ranges, as its API wants them. No input or output here."""

from base64 import b64decode
from collections.abc import Callable
from typing import Any

import msgspec

from lateen.adapters.stored_items import decoded, end_of_prefix
from lateen.ports.table import PK_LIMIT_BYTES, SK_LIMIT_BYTES, Check, Delete, Item, Key, Operation, Put
from lateen_invoker.dynamo_items import DATA, EXPIRES_AT, PK, REVISION, SK, Attributes, attributes_of

LIVE = f"(attribute_not_exists({EXPIRES_AT}) OR {EXPIRES_AT} > :now)"
"""DynamoDB removes what has expired within days; it is not there from the second on."""
_ABSENT = f"attribute_not_exists({PK}) OR {EXPIRES_AT} <= :now"
_AT_REVISION = f"{REVISION} = :expected AND {LIVE}"


class KeyRange(msgspec.Struct, frozen=True):
    """A query's part of a partition."""

    condition: str
    values: dict[str, dict[str, Any]]
    holds: Callable[[str], bool]
    """DynamoDB takes one condition on the sort key, with both ends included, so the odd key more may come."""


def item_from(attributes: Attributes, *, now_s: int) -> Item | None:
    """Of an answer; None: it has expired."""
    expires_at = int(attributes[EXPIRES_AT]["N"]) if EXPIRES_AT in attributes else None
    if expires_at is not None and expires_at <= now_s:
        return None
    return Item(
        key=Key(attributes[PK]["S"], attributes[SK]["S"]),
        data=decoded(b64decode(attributes[DATA]["B"])),
        revision=int(attributes[REVISION]["N"]),
        expires_at=expires_at,
    )


def is_key(key: Key) -> bool:
    """Raises: `UnicodeEncodeError` for a lone surrogate."""
    return 1 <= len(key.pk.encode()) <= PK_LIMIT_BYTES and 1 <= len(key.sk.encode()) <= SK_LIMIT_BYTES


def key_attributes(key: Key) -> Attributes:
    return {PK: {"S": key.pk}, SK: {"S": key.sk}}


def put_request(table: str, put: Put, data: bytes, *, now_s: int, writer: bytes | None = None) -> dict[str, Any]:
    item = put.item
    revision = (put.expected or 0) + 1
    return {
        "TableName": table,
        "Item": attributes_of(
            item.key.pk, item.key.sk, data, revision=revision, expires_at=item.expires_at, writer=writer
        ),
    } | condition_of(put.expected, now_s)


def condition_of(expected: int | None, now_s: int) -> dict[str, Any]:
    """That the item is at revision `expected`, or, where that is None, doesn't exist."""
    values = {":now": {"N": str(now_s)}}
    if expected is None:
        return {"ConditionExpression": _ABSENT, "ExpressionAttributeValues": values}
    values[":expected"] = {"N": str(expected)}
    return {"ConditionExpression": _AT_REVISION, "ExpressionAttributeValues": values}


def transaction_item(table: str, operation: Operation, data: bytes, *, now_s: int) -> dict[str, Any]:
    match operation:
        case Put():
            return {"Put": put_request(table, operation, data, now_s=now_s)}
        case Delete(key, None):
            return {"Delete": {"TableName": table, "Key": key_attributes(key)}}
        case Delete(key, expected):
            return {"Delete": {"TableName": table, "Key": key_attributes(key)} | condition_of(expected, now_s)}
        case Check(key, expected):
            return {"ConditionCheck": {"TableName": table, "Key": key_attributes(key)} | condition_of(expected, now_s)}


def key_range(pk: str, begins: str, lower: str | None, upper: str | None) -> KeyRange | None:
    """None: no key is in it. Raises: `UnicodeEncodeError`."""
    if not is_key(Key(pk, begins or "-")):
        return None
    low = max(begins, lower or "")
    high = min(bounds) if (bounds := [end for end in (end_of_prefix(begins), upper) if end is not None]) else None
    low, high = _cut(low), None if high is None else _cut_above(high)
    values: dict[str, dict[str, Any]] = {":pk": {"S": pk}}
    condition = f"{PK} = :pk"
    if low and high is not None:
        if low > high:
            return None
        condition += f" AND {SK} BETWEEN :low AND :high"
    elif low:
        condition += f" AND {SK} >= :low"
    elif high is not None:
        if not high:
            return None
        condition += f" AND {SK} <= :high"
    if low:
        values[":low"] = {"S": low}
    if high is not None:
        values[":high"] = {"S": high}

    def holds(sk: str) -> bool:
        return sk.startswith(begins) and (lower is None or sk >= lower) and (upper is None or sk <= upper)

    return KeyRange(condition, values, holds)


def _cut(bound: str) -> str:
    """A lower bound that is no longer than a key may be."""
    return bound.encode()[:SK_LIMIT_BYTES].decode(errors="ignore")


def _cut_above(bound: str) -> str | None:
    """The same for an upper bound: it may be higher, not lower."""
    cut = _cut(bound)
    return bound if cut == bound else end_of_prefix(cut)
