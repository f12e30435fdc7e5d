"""What a table on DynamoDB makes of answers that no working store gives; a proxy gives them, so no store is needed."""

import asyncio
import base64
import json
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from botocore.session import Session, get_session
from own_certificate import own_certificate
from store_proxy import HANG, RESET, Answer, Call, StoreProxy, refusal, store_proxy

from lateen.adapters.dynamodb import DynamoTable
from lateen.ports.table import Check, Delete, Item, Key, Put, RevisionConflict, TableUnavailable

KEY = Key("WS#1", "FN#1")
ITEM = Item(key=KEY, data={"n": 1})
EMPTY = Answer(200, b"{}")
THROTTLED = refusal("ProvisionedThroughputExceededException", message="slow down, arn:aws:dynamodb:table/secret-name")


@pytest.fixture
def proxy() -> Iterator[StoreProxy]:
    with store_proxy("http://127.0.0.1:9") as found:
        found.always(EMPTY)
        yield found


@pytest.fixture
async def table(proxy: StoreProxy) -> AsyncIterator[DynamoTable]:
    made = DynamoTable("t", region="us-east-1", endpoint_url=proxy.url, call_s=3.0, session=a_session)
    yield made
    proxy.released.set()
    await made.close()


def a_session() -> Session:
    made = get_session()
    made.set_credentials("AKIATEST", "secret")
    return made


def cancelled(*codes: str) -> Answer:
    reasons = [{"Code": code} for code in codes]
    return refusal("TransactionCanceledException", message="cancelled", CancellationReasons=reasons)


def each_call(table: DynamoTable) -> list[Callable[[], object]]:
    return [
        lambda: table.get(KEY),
        lambda: table.put(ITEM, expected=None),
        lambda: table.delete(KEY),
        lambda: table.delete(KEY, expected=1),
        lambda: table.query("WS#1"),
        lambda: table.transact([Check(KEY, 1)]),
        lambda: table.write([ITEM]),
        table.ping,
    ]


async def unavailable(call: Callable[[], object]) -> TableUnavailable:
    with pytest.raises(TableUnavailable) as refused:
        await call()  # type: ignore[misc]
    return refused.value


async def test_throttled_calls_are_repeated(table: DynamoTable, proxy: StoreProxy) -> None:
    """A throttle that passes is not seen by the caller."""
    proxy.deeds = lambda _: THROTTLED if len(proxy.calls) < 4 else EMPTY
    assert (await table.put(ITEM, expected=None)).revision == 1
    assert len(proxy.calls) == 4


async def test_a_store_that_throttles_is_not_stormed(table: DynamoTable, proxy: StoreProxy) -> None:
    """While everything is throttled, a hundred callers come to less than two hundred requests, and all are told."""
    proxy.always(THROTTLED)
    results = await asyncio.gather(*(table.get(KEY) for _ in range(100)), return_exceptions=True)
    assert {str(result) for result in results} == {"the table is busy"}
    assert len(proxy.calls) < 200


async def test_a_driver_s_text_is_never_told(table: DynamoTable, proxy: StoreProxy) -> None:
    """Whatever is refused, the words are ours, in every call, and the cause is kept for the log."""
    for code in ("AccessDeniedException", "ResourceNotFoundException", "SomethingNewException", "ThrottlingException"):
        proxy.always(refusal(code, message="User: arn:aws:iam::123456789012:user/secret-name is not authorised"))
        for call in each_call(table):
            found = await unavailable(call)
            assert "secret-name" not in str(found)
            assert "arn:" not in str(found)
            assert found.__cause__ is not None


async def test_a_missing_table_is_named_as_that(table: DynamoTable, proxy: StoreProxy) -> None:
    """At once: it would not appear meanwhile."""
    proxy.always(refusal("ResourceNotFoundException"))
    for call in each_call(table):
        assert str(await unavailable(call)) == "the table does not exist"
    assert len(proxy.calls) == len(each_call(table))


async def test_nobody_listens() -> None:
    """A refused connection is told soon, by every call."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        table = DynamoTable("t", region="us-east-1", endpoint_url=url, session=a_session)
        await unavailable(table.ping)
        start = time.monotonic()
        for found in await asyncio.gather(*(unavailable(call) for call in each_call(table))):
            assert str(found) == "the table does not answer"
        assert time.monotonic() - start < 10
        await table.close()


async def test_no_answer(table: DynamoTable, proxy: StoreProxy) -> None:
    """A store that takes the request and is silent costs a caller the call's time and no more, also behind a queue of
    others that wait for the same threads."""
    proxy.always(HANG)
    start = time.monotonic()
    for found in await asyncio.gather(*(unavailable(lambda: table.get(KEY)) for _ in range(60))):
        assert str(found) == "the table does not answer"
    assert time.monotonic() - start < 15


@pytest.mark.parametrize(
    "answer", [Answer(200, b"<html>", "text/html"), Answer(502, b"<html>", "text/html"), Answer(500, b""), RESET]
)
async def test_answers_that_are_none(table: DynamoTable, proxy: StoreProxy, answer: Answer | str) -> None:
    """What a proxy or a broken store says in between is an outage like any other, also where it says 200."""
    proxy.always(answer)
    for call in each_call(table):
        assert str(await unavailable(call)) == "the table does not answer"


async def test_a_transaction_in_the_way_is_waited_for(table: DynamoTable, proxy: StoreProxy) -> None:
    """A conflict with another's transaction is no verdict on the revision: it is tried again, with a new token."""
    conflict = cancelled("None", "TransactionConflict")
    answers = [conflict, conflict, conflict, conflict, conflict, EMPTY]
    proxy.deeds = lambda _: answers.pop(0)
    await table.transact([Check(Key("a", "a"), 1), Put(ITEM, None)])
    tokens = [json.loads(call.body)["ClientRequestToken"] for call in proxy.calls]
    assert len(set(tokens)) == 6


async def test_a_transaction_that_stays_in_the_way(proxy: StoreProxy) -> None:
    """In the end the caller is told to come again, never that his revision was stale."""
    table = DynamoTable("t", region="us-east-1", endpoint_url=proxy.url, call_s=2.0, session=a_session)
    proxy.always(cancelled("TransactionConflict"))
    assert str(await unavailable(lambda: table.transact([Put(ITEM, 1)]))) == "the table is busy"
    proxy.always(refusal("TransactionConflictException"))
    assert str(await unavailable(lambda: table.put(ITEM, expected=1))) == "the table is busy"
    await table.close()


async def test_no_attempt_without_time(proxy: StoreProxy) -> None:
    """What could not be waited for is not sent again."""
    table = DynamoTable("t", region="us-east-1", endpoint_url=proxy.url, call_s=0.45, session=a_session)
    proxy.always(refusal("TransactionConflictException"))
    await unavailable(lambda: table.put(ITEM, expected=1))
    assert len(proxy.calls) <= 1
    await table.close()


async def test_the_loser_is_named_beside_other_reasons(table: DynamoTable, proxy: StoreProxy) -> None:
    """Of several reasons, the failed condition counts, and its place gives the key."""
    proxy.always(cancelled("TransactionConflict", "None", "ConditionalCheckFailed", "ConditionalCheckFailed"))
    keys = [Key("p", str(number)) for number in range(4)]
    with pytest.raises(RevisionConflict) as refused:
        await table.transact([Check(keys[0], 1), Delete(keys[1]), Delete(keys[2], 1), Check(keys[3], 1)])
    assert refused.value.key == keys[2]


async def test_a_repeated_transaction_is_the_same_one(table: DynamoTable, proxy: StoreProxy) -> None:
    """After an attempt without an answer, the token stays: DynamoDB does it once."""
    answers = [RESET, refusal("TransactionInProgressException"), EMPTY]
    proxy.deeds = lambda _: answers.pop(0)
    await table.transact([Put(ITEM, None)])
    assert len({json.loads(call.body)["ClientRequestToken"] for call in proxy.calls}) == 1
    assert len(proxy.calls) == 3


async def test_what_was_not_taken_of_a_batch_is_sent_again(table: DynamoTable, proxy: StoreProxy) -> None:
    """Exactly that, until nothing is left."""
    items = [Item(key=Key("FN#1", f"LOG#{number:02}"), data={}) for number in range(30)]
    left_over: list[int] = [5, 5, 2, 0, 0]
    sent: list[int] = []

    def take_some(call: Call) -> Answer:
        requests = json.loads(call.body)["RequestItems"]["t"]
        sent.append(len(requests))
        rest = requests[: left_over.pop(0)]
        return Answer(200, json.dumps({"UnprocessedItems": {"t": rest} if rest else {}}).encode())

    proxy.deeds = take_some
    await table.write(items)
    assert sent == [25, 5, 5, 2, 5]


async def test_a_batch_that_is_never_taken(table: DynamoTable, proxy: StoreProxy) -> None:
    """After a few attempts without progress the caller is told."""
    proxy.deeds = lambda call: Answer(
        200, json.dumps({"UnprocessedItems": json.loads(call.body)["RequestItems"]}).encode()
    )
    assert str(await unavailable(lambda: table.write([ITEM]))) == "the table is busy"
    assert len(proxy.calls) == 4


async def test_large_items_make_small_batches(table: DynamoTable, proxy: StoreProxy) -> None:
    """A batch's body stays far below DynamoDB's 16 MB, whatever the items are."""
    await table.write([Item(key=Key("p", str(n)), data={"text": "x" * 399_000}) for n in range(25)])
    assert [len(json.loads(call.body)["RequestItems"]["t"]) for call in proxy.calls] == [10, 10, 5]
    assert max(len(call.body) for call in proxy.calls) < 8_000_000


async def test_refused_credentials_are_read_again(proxy: StoreProxy) -> None:
    """Keys that were replaced are found without a restart; keys that are wrong are told after one more attempt."""
    sessions = 0

    def session() -> Session:
        nonlocal sessions
        sessions += 1
        made = get_session()
        made.set_credentials(f"AKIATEST{sessions}", "secret")
        return made

    table = DynamoTable("t", region="us-east-1", endpoint_url=proxy.url, session=session)
    old = refusal("UnrecognizedClientException")
    proxy.deeds = lambda call: old if "AKIATEST1/" in call.headers["authorization"] else EMPTY
    await table.put(ITEM, expected=None)
    assert (sessions, len(proxy.calls)) == (2, 2)
    proxy.always(refusal("ExpiredTokenException"))
    assert str(await unavailable(table.ping)) == "the table's credentials are missing or refused"
    assert len(proxy.calls) == 4
    await table.close()


async def test_authorities_that_were_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate that the bundle doesn't know is no refusal of the table's, and nobody should look for a missing
    right. A new bundle at the same path is found without a restart."""
    (tmp_path / "old").mkdir()
    certificate, _ = own_certificate(tmp_path / "old")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    renewed, context = own_certificate(tmp_path)
    with store_proxy("http://127.0.0.1:9", tls=context) as proxy:
        proxy.always(EMPTY)
        table = DynamoTable("t", region="us-east-1", endpoint_url=proxy.url, session=a_session)
        assert str(await unavailable(table.ping)) == "the table cannot be reached with these settings"
        renewed.replace(certificate)
        await table.ping()
        await table.close()


async def test_no_credentials(proxy: StoreProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told without a request, and found as soon as they are there."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    table = DynamoTable("t", region="us-east-1", endpoint_url=proxy.url)
    assert str(await unavailable(table.ping)) == "the table's credentials are missing or refused"
    assert proxy.calls == []
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIALATER")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    await table.ping()
    await table.close()


@pytest.mark.parametrize("url", ["http://host name", "nonsense", "http://nowhere.invalid:1"])
async def test_an_endpoint_that_is_none(url: str) -> None:
    """A wrong setting is an outage with words, no driver's error."""
    table = DynamoTable("t", region="us-east-1", endpoint_url=url, call_s=2.0, session=a_session)
    start = time.monotonic()
    await unavailable(table.ping)
    assert time.monotonic() - start < 3  # also where the resolver takes its time
    await table.close()


async def test_callers_who_leave(table: DynamoTable, proxy: StoreProxy) -> None:
    """Two hundred leave at any moment; who comes after gets the answer to his own question."""

    def answer(call: Call) -> Answer:
        key = json.loads(call.body)["Key"]
        data = base64.b64encode(b"\x80").decode()
        return Answer(200, json.dumps({"Item": {**key, "revision": {"N": "1"}, "data": {"B": data}}}).encode())

    proxy.deeds = answer
    for number in range(200):
        task = asyncio.create_task(table.get(Key("left", str(number))))
        await asyncio.sleep(number % 5 * 0.0007)
        task.cancel()
    found = await asyncio.gather(*(table.get(Key("p", str(number))) for number in range(50)))
    assert [item.key for item in found] == [Key("p", str(number)) for number in range(50)]


async def test_closed(table: DynamoTable) -> None:
    """Calls after the end say so; closing twice is no error."""
    await table.close()
    await table.close()
    assert str(await unavailable(lambda: table.get(KEY))) == "the store is closed"


async def test_who_waits_when_it_closes_is_told(proxy: StoreProxy) -> None:
    """Calls that no thread had begun end as an outage, and not as if their caller had left; one that runs goes on."""
    table = DynamoTable("t", region="us-east-1", endpoint_url=proxy.url, threads=1, session=a_session)
    proxy.always(HANG)
    calls = [asyncio.create_task(table.ping()) for _ in range(4)]
    while not proxy.calls:
        await asyncio.sleep(0.01)
    closing = asyncio.create_task(table.close())
    ended = await asyncio.wait_for(asyncio.gather(*calls[1:], return_exceptions=True), 2)
    assert [(type(exc), str(exc)) for exc in ended] == [(TableUnavailable, "the store is closed")] * 3
    proxy.released.set()
    await closing
    await unavailable(lambda: calls[0])


def test_the_embedded_platform_has_no_use_for_aws() -> None:
    """`lateen up` starts without a byte of botocore: its import alone takes a third of a second."""
    script = "import sys, lateen.app, lateen.cli; sys.exit(any(m in sys.modules for m in ('boto3', 'botocore')))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
