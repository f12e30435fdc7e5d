"""What only a table on DynamoDB can get wrong: lost answers, expired items in the way, the table itself."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from secrets import token_hex
from typing import Any

import msgspec
import pytest
from botocore.session import Session
from cluster_stores import ClusterStores
from store_proxy import LOSE, LOSE_SLOWLY, RESET, Call, Pass, StoreProxy, store_proxy

from lateen.adapters.dynamodb import DynamoTable
from lateen.adapters.dynamodb_schema import SchemaError, check_table, create_table, enable_ttl
from lateen.domain.errors import TooLarge
from lateen.ports.table import Check, Delete, Item, ItemNotFound, Key, Put, RevisionConflict, TableUnavailable
from lateen_invoker.dynamo_items import batch_of, record_attributes
from lateen_invoker.records import ExecutionRecord

pytestmark = pytest.mark.cluster

KEY = Key("WS#1", "FN#1")


@pytest.fixture
def proxy(cluster_stores: ClusterStores) -> Iterator[StoreProxy]:
    with store_proxy(cluster_stores.dynamodb_endpoint) as found:
        yield found


@pytest.fixture
async def table(
    proxy: StoreProxy, dynamodb_name: str, aws_session: Callable[[], Session]
) -> AsyncIterator[DynamoTable]:
    """The real store, through the proxy."""
    made = DynamoTable(dynamodb_name, region="us-east-1", endpoint_url=proxy.url, session=aws_session)
    yield made
    proxy.released.set()
    await made.close()


@pytest.fixture
def client(cluster_stores: ClusterStores, aws_session: Callable[[], Session]) -> Any:
    """Beside the adapter."""
    return aws_session().create_client(
        "dynamodb", region_name=cluster_stores.region, endpoint_url=cluster_stores.dynamodb_endpoint
    )


def an_item(**data: Any) -> Item:
    return Item(key=KEY, data=data)


# Lost answers


@pytest.mark.parametrize("fault", [LOSE, LOSE_SLOWLY, RESET])
async def test_a_create_whose_answer_is_lost(table: DynamoTable, proxy: StoreProxy, fault: str) -> None:
    """Stored or not, the repetition finds out: the creator hears of no conflict with himself."""
    proxy.once("PutItem", fault)
    stored = await table.put(an_item(n=1), expected=None)
    assert proxy.count("PutItem") == 2
    assert await table.get(KEY) == stored
    with pytest.raises(RevisionConflict):
        await table.put(an_item(n=1), expected=None)


@pytest.mark.parametrize("fault", [LOSE, LOSE_SLOWLY, RESET])
async def test_an_update_whose_answer_is_lost(table: DynamoTable, proxy: StoreProxy, fault: str) -> None:
    """It is stored once: the revision has grown by one."""
    await table.put(an_item(n=1), expected=None)
    proxy.once("PutItem", fault)
    stored = await table.put(an_item(n=2), expected=1)
    assert stored.revision == 2
    assert await table.get(KEY) == stored


async def test_a_stale_update_whose_answer_is_lost(
    table: DynamoTable, proxy: StoreProxy, dynamodb_table: DynamoTable
) -> None:
    """Somebody else's item is still somebody else's, whether he came before or in between."""
    await dynamodb_table.put(an_item(owner="other"), expected=None)
    proxy.once("PutItem", LOSE)
    with pytest.raises(RevisionConflict):
        await table.put(an_item(owner="we"), expected=None)
    proxy.once("PutItem", RESET)
    task = asyncio.create_task(table.put(an_item(owner="we"), expected=1))
    await dynamodb_table.put(an_item(owner="other"), expected=1)
    with pytest.raises(RevisionConflict):
        await task
    assert (await table.get(KEY)).data == {"owner": "other"}


async def test_an_update_that_others_went_on_from(
    table: DynamoTable, proxy: StoreProxy, client: Any, dynamodb_name: str
) -> None:
    """Ours may be what they read, so nobody says that nothing was written: the outcome is open."""
    await table.put(an_item(n=1), expected=None)

    def others_come(call: Call) -> Pass | str:
        if proxy.count("PutItem") == 2:
            return LOSE
        _raise_revision(client, dynamodb_name)
        return Pass()

    proxy.deeds = others_come
    with pytest.raises(TableUnavailable):
        await table.put(an_item(n=2), expected=1)
    assert proxy.count("PutItem") == 3


async def test_a_delete_whose_answer_is_lost(table: DynamoTable, proxy: StoreProxy) -> None:
    """With a revision or without: done once, and no conflict about what is gone already."""
    await table.put(an_item(), expected=None)
    proxy.once("TransactWriteItems", LOSE)
    await table.delete(KEY, expected=1)
    await table.put(an_item(), expected=None)
    proxy.once("DeleteItem", LOSE)
    await table.delete(KEY)
    with pytest.raises(ItemNotFound):
        await table.get(KEY)


@pytest.mark.parametrize("fault", [LOSE, LOSE_SLOWLY, RESET])
async def test_a_transaction_whose_answer_is_lost(table: DynamoTable, proxy: StoreProxy, fault: str) -> None:
    """All of it happened once, and the caller hears that it did."""
    await table.put(an_item(n=1), expected=None)
    proxy.once("TransactWriteItems", fault)
    other = Key("NAME#x", "FUNCTION")
    stored = await table.transact([Put(an_item(n=2), 1), Put(Item(key=other, data={}), None), Delete(Key("a", "b"))])
    assert [item.revision for item in stored] == [2, 1]
    assert [await table.get(KEY), await table.get(other)] == stored


async def test_a_damaged_answer_is_asked_for_again(table: DynamoTable, proxy: StoreProxy) -> None:
    """Half an answer, or one with a wrong bit, is none."""
    await table.put(an_item(text="abc" * 100), expected=None)
    for fault in (Pass(is_cut=True), Pass(change=lambda body: body.replace(b"WS#1", b"WS#2"))):
        proxy.once("GetItem", fault)
        assert (await table.get(KEY)).key == KEY
    assert proxy.count("GetItem") == 4


async def test_writers_over_a_bad_line(table: DynamoTable, proxy: StoreProxy) -> None:
    """Ten count up one item while a third of all answers is lost: each acknowledged step is in the sum, none twice."""
    await table.put(an_item(n=0), expected=None)
    proxy.deeds = lambda _: (Pass(), Pass(), LOSE)[len(proxy.calls) % 3]
    acknowledged = open_ = 0

    async def count_up() -> None:
        nonlocal acknowledged, open_
        for _ in range(5):
            while True:
                try:
                    found = await table.get(KEY)
                except TableUnavailable:
                    continue
                try:
                    await table.put(an_item(n=found.data["n"] + 1), expected=found.revision)
                    acknowledged += 1
                    break
                except RevisionConflict:
                    continue
                except TableUnavailable:
                    open_ += 1
                    break

    await asyncio.gather(*(count_up() for _ in range(10)))
    proxy.deeds = lambda _: Pass()
    found = await table.get(KEY)
    assert found.data["n"] == found.revision - 1
    assert acknowledged <= found.data["n"] <= acknowledged + open_
    assert acknowledged > 10


# What is in the way


async def test_expired_items_cost_few_requests(table: DynamoTable, proxy: StoreProxy) -> None:
    """DynamoDB takes its time to remove them; a page past six hundred of them is found in a handful of requests."""
    past = int(time.time()) - 10
    await table.write([Item(key=Key("FN#1", f"LOG#{n:04}"), data={}, expires_at=past) for n in range(600)])
    await table.write([Item(key=Key("FN#1", f"LOG#{n:04}"), data={}) for n in (100, 599)])
    proxy.calls.clear()
    page = await table.query("FN#1", limit=1)
    assert ([item.key.sk for item in page.items], page.next) == (["LOG#0100"], "LOG#0100")
    assert [item.key.sk for item in (await table.query("FN#1", limit=1, after=page.next)).items] == ["LOG#0599"]
    assert len(proxy.calls) <= 5


async def test_bounds_that_are_longer_than_keys(table: DynamoTable) -> None:
    """They are texts like others: what lies between them is found, and nothing else."""
    await table.write([Item(key=Key("p", sk), data={}) for sk in ("a", "b" * 1024, "c", "é" * 512)])

    async def found(**bounds: Any) -> list[str]:
        return [item.key.sk[0] for item in (await table.query("p", **bounds)).items]

    assert await found(lower="b" * 1025) == ["c", "é"]
    assert await found(upper="b" * 1025) == ["a", "b"]
    assert await found(lower="b" * 1023, upper="b" * 1500) == ["b"]
    assert await found(upper="é" * 513) == ["a", "b", "c", "é"]
    assert await found(lower="é" * 513) == []
    assert await found(begins="b" * 1025) == []
    assert await found(after="b" * 1025) == ["c", "é"]
    assert await found(after="b" * 1025, descending=True) == ["b", "a"]
    assert await found(upper="") == []


async def test_after_outside_of_the_range(table: DynamoTable) -> None:
    """DynamoDB refuses to start there; here it is a bound like the others."""
    await table.write([Item(key=Key("p", sk), data={}) for sk in "abcd"])
    for arguments, expected in [
        ({"lower": "c", "after": "a"}, "cd"),
        ({"upper": "b", "after": "c"}, ""),
        ({"begins": "c", "after": "a"}, "c"),
        ({"upper": "b", "after": "d", "descending": True}, "ba"),
        ({"lower": "c", "after": "b", "descending": True}, ""),
        ({"begins": "b", "after": "b"}, ""),
    ]:
        page = await table.query("p", **arguments)  # type: ignore[arg-type]
        assert "".join(item.key.sk for item in page.items) == expected


async def test_the_largest_transaction_fits(table: DynamoTable) -> None:
    """What passes our limits passes DynamoDB's, with the longest keys too."""
    text = "x" * 399_900
    stored = await table.transact(
        [Put(Item(key=Key("p" * 2048, f"{n}" * 1024), data={"text": text}), None) for n in range(10)]
    )
    assert len(stored) == 10
    with pytest.raises(TooLarge):
        await table.transact([Put(Item(key=Key("p", f"{n}"), data={"text": text}), None) for n in range(11)])


async def test_records_of_the_invoker_are_the_platform_s(table: DynamoTable, client: Any, dynamodb_name: str) -> None:
    """What an invoker writes by itself is what the platform reads, byte for byte as if it had written it."""
    record = ExecutionRecord(
        request_id="r-1",
        function_id="f1",
        version="$LATEST",
        timestamp="2026-01-31T23:59:59.123Z",
        status="success",
        duration_ms=1.5,
        cold=True,
        log_tail="START\n\x00é",
    )
    expiry = int(time.time()) + 60
    client.batch_write_item(RequestItems=batch_of(dynamodb_name, [record_attributes(record, expires_at=expiry)]))
    (item,) = (await table.query("FN#f1", begins="LOG#")).items
    assert item.key == Key("FN#f1", "LOG#2026-01-31T23:59:59.123Z#r-1")
    assert (item.revision, item.expires_at) == (1, expiry)
    assert msgspec.convert(item.data, ExecutionRecord) == record
    before = client.get_item(TableName=dynamodb_name, Key={"PK": {"S": item.key.pk}, "SK": {"S": item.key.sk}})["Item"]
    await table.write([Item(key=item.key, data=msgspec.to_builtins(record), expires_at=expiry)])
    after = client.get_item(TableName=dynamodb_name, Key={"PK": {"S": item.key.pk}, "SK": {"S": item.key.sk}})["Item"]
    assert after == before


async def test_a_half_answer_to_a_write_is_no_success(table: DynamoTable, proxy: StoreProxy) -> None:
    """Nor a failure: the repetition finds what was stored."""
    proxy.once("PutItem", Pass(is_cut=True))
    await table.put(an_item(), expected=None)
    assert proxy.count("PutItem") == 2


async def test_the_check_of_readiness_reads(table: DynamoTable, proxy: StoreProxy) -> None:
    """It asks for what every replica may ask for, and fails where a read would."""
    await table.ping()
    assert [call.operation for call in proxy.calls] == ["GetItem"]
    proxy.always(RESET)
    with pytest.raises(TableUnavailable):
        await table.ping()


async def test_checks_alone(table: DynamoTable) -> None:
    """A transaction may write nothing."""
    await table.put(an_item(), expected=None)
    assert await table.transact([Check(KEY, 1), Check(Key("no", "where"), None)]) == []


# The table itself


def test_the_table_is_made_once(cluster_stores: ClusterStores, aws_session: Callable[[], Session], client: Any) -> None:
    """Made, waited for, paid per request; asked again it is found, and its items expire by `expires_at`."""
    name = f"test-{token_hex(8)}"
    where: dict[str, Any] = {
        "region": cluster_stores.region,
        "endpoint_url": cluster_stores.dynamodb_endpoint,
        "session": aws_session,
    }
    with pytest.raises(SchemaError, match=f"'{name}' does not exist"):
        check_table(name, **where)
    assert [create_table(name, **where), create_table(name, **where)] == [True, False]
    check_table(name, **where)
    assert [enable_ttl(name, **where), enable_ttl(name, **where)] == [True, False]
    found = client.describe_table(TableName=name)["Table"]
    assert found["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    ttl = client.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    assert (ttl["TimeToLiveStatus"], ttl["AttributeName"]) == ("ENABLED", "expires_at")


@pytest.mark.parametrize(
    "keys", [[("PK", "HASH", "S")], [("PK", "HASH", "S"), ("SK", "RANGE", "N")], [("id", "HASH", "S")]]
)
def test_another_kind_of_table_is_refused(
    cluster_stores: ClusterStores, aws_session: Callable[[], Session], client: Any, keys: list[tuple[str, str, str]]
) -> None:
    """It stays as it is, and the words name what it has and what is needed."""
    name = f"test-{token_hex(8)}"
    client.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": key, "KeyType": kind} for key, kind, _ in keys],
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": type_} for key, _, type_ in keys],
    )
    where: dict[str, Any] = {
        "region": cluster_stores.region,
        "endpoint_url": cluster_stores.dynamodb_endpoint,
        "session": aws_session,
    }
    for look in (create_table, check_table):
        with pytest.raises(SchemaError, match=rf"'{name}' has the key {keys[0][0]} .*needs PK \(HASH, S\)"):
            look(name, **where)


def test_another_expiry_is_refused(
    cluster_stores: ClusterStores, aws_session: Callable[[], Session], client: Any, dynamodb_name: str
) -> None:
    """A table whose items expire by another attribute is somebody's; nothing is changed."""
    client.update_time_to_live(
        TableName=dynamodb_name, TimeToLiveSpecification={"Enabled": True, "AttributeName": "ttl"}
    )
    with pytest.raises(SchemaError, match="'ttl'"):
        enable_ttl(
            dynamodb_name,
            region=cluster_stores.region,
            endpoint_url=cluster_stores.dynamodb_endpoint,
            session=aws_session,
        )


def _raise_revision(client: Any, table: str) -> None:
    """What another writer does who read ours."""
    client.update_item(
        TableName=table,
        Key={"PK": {"S": KEY.pk}, "SK": {"S": KEY.sk}},
        UpdateExpression="SET revision = :next REMOVE writer",
        ExpressionAttributeValues={":next": {"N": "3"}},
    )
