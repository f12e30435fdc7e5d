"""How an item looks in DynamoDB, for the platform, which reads and writes all of them, and for the invoker in a pod,
which writes execution records and statistics.

| attribute | type | |
| --- | --- | --- |
| `PK`, `SK` | S | the key |
| `revision` | N | counts the item's writes, from 1 |
| `expires_at` | N | Unix time in whole seconds, where the item expires; the table's TTL attribute |
| `data` | B | all that the item says, as MessagePack |
| `writer` | B | random, of the conditional write that left the item so; absent on what was written unconditionally |

`data` is one binary and no map of native attributes, because what was put must be what is got: DynamoDB's numbers end
at 1e126 and don't tell 1 from 1.0, its maps refuse an empty name and more than 32 levels, and it counts bytes in
another way than our limit does. A binary counts as many bytes as it has, so an item that we let pass fits, and one
encoding of ours costs a fraction of what a map of typed values does. The price: the console shows the keys only, and
nothing can be filtered by its content, which the table's port has no call for anyway.
"""

from typing import Any

import msgspec

from lateen_invoker import rollups
from lateen_invoker.records import ExecutionRecord, sort_key
from lateen_invoker.rollups import Rollup

PK = "PK"
SK = "SK"
REVISION = "revision"
EXPIRES_AT = "expires_at"
DATA = "data"
WRITER = "writer"

BATCH_LIMIT = 25
"""Items in one BatchWriteItem."""

_encoder = msgspec.msgpack.Encoder()

Attributes = dict[str, dict[str, Any]]
"""An item as DynamoDB's API has it: `{name: {type: value}}`."""


def attributes_of(
    pk: str, sk: str, data: bytes, *, revision: int = 1, expires_at: int | None = None, writer: bytes | None = None
) -> Attributes:
    """An item to be written; `data` is MessagePack."""
    found: Attributes = {PK: {"S": pk}, SK: {"S": sk}, REVISION: {"N": str(revision)}, DATA: {"B": data}}
    if expires_at is not None:
        found[EXPIRES_AT] = {"N": str(expires_at)}
    if writer is not None:
        found[WRITER] = {"B": writer}
    return found


def record_attributes(record: ExecutionRecord, *, expires_at: int) -> Attributes:
    """An execution record as an item: `FN#{function_id}`, `LOG#{timestamp}#{request_id}`."""
    return attributes_of(f"FN#{record.function_id}", sort_key(record), _encoder.encode(record), expires_at=expires_at)


def rollup_attributes(rollup: Rollup) -> Attributes:
    """Statistics as an item, beside the records: `FN#{function_id}`, `STATS#{series}#{start}#{writer}`."""
    data = _encoder.encode(rollup)
    return attributes_of(
        f"FN#{rollup.function_id}", rollups.sort_key(rollup), data, expires_at=rollups.expires_at(rollup)
    )


def batch_of(table: str, items: list[Attributes]) -> dict[str, list[dict[str, Any]]]:
    """`RequestItems` of a BatchWriteItem that puts at most 25 items, each with another key. What the answer has under
    `UnprocessedItems` is of the same form: sent again as it is, after a wait, until nothing is left."""
    return {table: [{"PutRequest": {"Item": item}} for item in items]}
