"""What every `Table` promises. An adapter joins with a fixture `<name>_table` and its name in `params` below."""

import asyncio
import random
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from lateen.domain.errors import TooLarge
from lateen.ports.table import (
    ITEM_LIMIT_BYTES,
    Check,
    Delete,
    Item,
    ItemNotFound,
    Key,
    Put,
    RevisionConflict,
    Table,
)

NUL_AND_UNICODE = [
    "\x00",
    "a",
    "a\x00",
    "a\x00b",
    "aé",
    "a\u20ac",
    "a\ud7ff",
    "a\ue000",
    "a\uffff",
    "a\U0001f600",
    "a\U0010ffff",
]


@pytest.fixture(params=["sqlite", pytest.param("dynamodb", marks=pytest.mark.cluster)])
def table(request: pytest.FixtureRequest) -> Table:
    found: Table = request.getfixturevalue(f"{request.param}_table")
    return found


def an_item(sk: str = "FN#1", pk: str = "WS#1", expires_at: int | None = None, **data: Any) -> Item:
    return Item(key=Key(pk, sk), data=data, expires_at=expires_at)


async def sort_keys(table: Table, pk: str = "WS#1", **arguments: Any) -> list[str]:
    return [item.key.sk for item in (await table.query(pk, **arguments)).items]


# One item


async def test_what_was_put_is_got(table: Table) -> None:
    """All JSON types come back as they were, at any depth, with the revision and the expiry."""
    data: dict[str, Any] = {
        "text": "naïve \x00 \U0001f600",
        "empty": "",
        "numbers": [0, -1, 2**63 - 1, -(2**63), 1.5, 1e300, 0.1],
        "flags": [True, False, None],
        "nested": {"": {"list": [[], {}, [{"a": [1]}]]}},
    }
    expiry = int(time.time()) + 3600
    stored = await table.put(an_item(expires_at=expiry, **data), expected=None)
    assert stored == Item(key=Key("WS#1", "FN#1"), data=data, revision=1, expires_at=expiry)
    assert await table.get(Key("WS#1", "FN#1")) == stored


async def test_missing_item_is_not_found(table: Table) -> None:
    """Neither half of a key finds anything alone."""
    await table.put(an_item(), expected=None)
    for key in (Key("WS#1", "FN#2"), Key("WS#2", "FN#1"), Key("FN#1", "WS#1")):
        with pytest.raises(ItemNotFound) as refused:
            await table.get(key)
        assert refused.value.key == key


async def test_create_refuses_what_exists(table: Table) -> None:
    """The second creator is told, and the first one's item stays as it was."""
    await table.put(an_item(owner="first"), expected=None)
    with pytest.raises(RevisionConflict) as refused:
        await table.put(an_item(owner="second"), expected=None)
    assert refused.value.key == Key("WS#1", "FN#1")
    assert (await table.get(Key("WS#1", "FN#1"))).data == {"owner": "first"}


async def test_stale_revision_loses(table: Table) -> None:
    """Two editors read revision 1; the slower one is told instead of overwriting."""
    first = await table.put(an_item(step=1), expected=None)
    second = await table.put(an_item(step=2), expected=first.revision)
    assert second.revision == 2
    with pytest.raises(RevisionConflict):
        await table.put(an_item(step=3), expected=first.revision)
    assert await table.get(first.key) == second


async def test_update_needs_an_item(table: Table) -> None:
    """An expected revision never creates, also not a revision of 0."""
    for expected in (0, 1):
        with pytest.raises(RevisionConflict):
            await table.put(an_item(), expected=expected)
    with pytest.raises(ItemNotFound):
        await table.get(Key("WS#1", "FN#1"))


async def test_revision_in_the_item_is_ignored(table: Table) -> None:
    """Only `expected` decides, so an item that was read can be stored again as it is."""
    await table.put(msgspec.structs.replace(an_item(), revision=7), expected=None)
    assert (await table.get(Key("WS#1", "FN#1"))).revision == 1


async def test_an_update_replaces_the_whole_item(table: Table) -> None:
    """Fields and expiry that the new item lacks are gone."""
    await table.put(an_item(expires_at=int(time.time()) + 3600, old=1), expected=None)
    await table.put(an_item(new=2), expected=1)
    assert await table.get(Key("WS#1", "FN#1")) == Item(key=Key("WS#1", "FN#1"), data={"new": 2}, revision=2)


async def test_delete_is_idempotent(table: Table) -> None:
    """What is not there is no error; afterwards the key is free."""
    await table.put(an_item(), expected=None)
    await table.delete(Key("WS#1", "FN#1"))
    await table.delete(Key("WS#1", "FN#1"))
    with pytest.raises(ItemNotFound):
        await table.get(Key("WS#1", "FN#1"))
    assert (await table.put(an_item(), expected=None)).revision == 1


async def test_delete_at_a_revision(table: Table) -> None:
    """With `expected`, a changed or missing item is a conflict, and a changed one stays."""
    await table.put(an_item(), expected=None)
    await table.put(an_item(), expected=1)
    with pytest.raises(RevisionConflict):
        await table.delete(Key("WS#1", "FN#1"), expected=1)
    assert (await table.get(Key("WS#1", "FN#1"))).revision == 2
    await table.delete(Key("WS#1", "FN#1"), expected=2)
    with pytest.raises(RevisionConflict):
        await table.delete(Key("WS#1", "FN#1"), expected=2)


# Limits


async def test_items_up_to_400_kb(table: Table) -> None:
    """The limit itself is stored and comes back; a byte more is refused in words by each way in, and leaves nothing."""
    overhead = len(msgspec.msgpack.encode({"text": "x" * (ITEM_LIMIT_BYTES // 2)})) - ITEM_LIMIT_BYTES // 2
    largest = an_item(text="x" * (ITEM_LIMIT_BYTES - overhead))
    await table.put(largest, expected=None)
    assert (await table.get(largest.key)).data == largest.data

    larger = an_item("FN#2", text="x" * (ITEM_LIMIT_BYTES - overhead + 1))
    with pytest.raises(TooLarge, match="400000 bytes"):
        await table.put(larger, expected=None)
    with pytest.raises(TooLarge):
        await table.write([an_item("FN#3"), larger])
    with pytest.raises(TooLarge):
        await table.transact([Put(an_item("FN#3"), None), Put(larger, None)])
    assert await sort_keys(table) == ["FN#1"]


@pytest.mark.parametrize(
    "key",
    [Key("", "a"), Key("a", ""), Key("p" * 2049, "a"), Key("a", "é" * 513), Key("a", "\ud800"), Key("\ud800", "a")],
)
async def test_keys_that_cannot_be_stored(table: Table, key: Key) -> None:
    """Empty, too long or not Unicode: writes refuse them, reads find nothing."""
    with pytest.raises(ValueError, match=r"key|surrogates"):
        await table.put(Item(key=key, data={}), expected=None)
    with pytest.raises(ValueError, match=r"key|surrogates"):
        await table.write([Item(key=key, data={})])
    with pytest.raises(ValueError, match=r"key|surrogates"):
        await table.transact([Put(Item(key=key, data={}), None)])
    with pytest.raises(ItemNotFound):
        await table.get(key)
    assert (await table.query(key.pk, begins=key.sk)).items == []


async def test_longest_keys(table: Table) -> None:
    """2048 and 1024 bytes are a key like any other."""
    item = an_item("é" * 512, "p" * 2048)
    await table.put(item, expected=None)
    assert (await table.get(item.key)).key == item.key
    assert await sort_keys(table, "p" * 2048, begins="é" * 512) == ["é" * 512]


@pytest.mark.parametrize("data", [{"n": 2**64}, {"text": "\ud800"}])
async def test_data_that_cannot_be_stored(table: Table, data: dict[str, Any]) -> None:
    """Integers beyond 64 bits and broken text are refused before anything is written; neighbours aren't touched."""
    with pytest.raises(ValueError, match=r"64 bits|surrogates"):
        await table.put(an_item(**data), expected=None)
    with pytest.raises(ValueError, match=r"64 bits|surrogates"):
        await table.transact([Put(an_item("FN#2"), None), Put(an_item(**data), None)])
    assert await sort_keys(table) == []


# Order and pages


async def test_sort_keys_order_as_utf8_bytes(table: Table) -> None:
    """Also where UTF-16 would order otherwise, and with NUL in a key, which ends nothing."""
    shuffled = random.Random(1).sample(NUL_AND_UNICODE, len(NUL_AND_UNICODE))
    await table.write([an_item(sk, key=sk) for sk in shuffled])
    in_order = sorted(NUL_AND_UNICODE, key=lambda sk: sk.encode())
    assert await sort_keys(table) == in_order
    assert await sort_keys(table, descending=True) == in_order[::-1]
    for sk in NUL_AND_UNICODE:
        assert (await table.get(Key("WS#1", sk))).data == {"key": sk}


@pytest.mark.parametrize("prefix", ["", "a", "a\x00", "a\ud7ff", "a\U0010ffff", "\U0010ffff", "b", "é"])
async def test_prefix_finds_exactly_what_begins_with_it(table: Table, prefix: str) -> None:
    """Nothing of the neighbours at either end, whatever character ends the prefix."""
    keys = [*NUL_AND_UNICODE, "\U0010ffff", "\U0010ffff\U0010ffff", "b", "ba", "a\ud7ffz", "a\U0010ffffz", "è", "ê"]
    await table.write([an_item(sk) for sk in keys])
    expected = sorted((sk for sk in keys if sk.startswith(prefix)), key=lambda sk: sk.encode())
    assert await sort_keys(table, begins=prefix) == expected
    assert await sort_keys(table, begins=prefix, descending=True) == expected[::-1]


async def test_partitions_do_not_mix(table: Table) -> None:
    """A partition's name that begins with another's, or differs by case or a NUL, is another partition."""
    names = ["WS#1", "WS#10", "ws#1", "WS#1\x00", "WS#"]
    await table.write([an_item(f"FN#{name}", name) for name in names])
    for name in names:
        assert await sort_keys(table, name) == [f"FN#{name}"]
    assert await sort_keys(table, "WS#2") == []


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize(
    ("begins", "lower", "upper"),
    [
        ("", None, None),
        ("LOG#", None, None),
        ("LOG#", "LOG#05", None),
        ("LOG#", None, "LOG#17"),
        ("LOG#", "LOG#05", "LOG#17"),
        ("LOG#1", "LOG#05", "LOG#17"),
        ("LOG#1", "LOG#13", "LOG#90"),
        ("", "FN", "LOG#03x"),
        ("LOG#", "LOG#17", "LOG#05"),
        ("LOG#", "Z", None),
        ("LOG#", "LOG#05", "LOG#05"),
    ],
)
async def test_pages_cover_the_range_once(
    table: Table, begins: str, lower: str | None, upper: str | None, descending: bool
) -> None:
    """Pages of any size, in both directions, come to the same list: each item once, bounds included, then None."""
    keys = ["FN#1", "LOG", *(f"LOG#{number:02}" for number in range(24)), "M", "METADATA"]
    await table.write([an_item(sk) for sk in keys])
    expected = [
        sk for sk in keys if sk.startswith(begins) and (lower is None or sk >= lower) and (upper is None or sk <= upper)
    ]
    if descending:
        expected.reverse()
    for limit in (1, 5, len(expected) or 1, len(expected) + 1, 1000):
        found: list[str] = []
        after = None
        while True:
            page = await table.query(
                "WS#1", begins=begins, lower=lower, upper=upper, after=after, descending=descending, limit=limit
            )
            assert len(page.items) <= limit
            found += [item.key.sk for item in page.items]
            if (after := page.next) is None:
                break
            assert page.items[-1].key.sk == after
        assert found == expected


async def test_last_page_says_so(table: Table) -> None:
    """A page that ends with the last item has no `next`, also when it is exactly full."""
    await table.write([an_item(f"FN#{number}") for number in range(3)])
    assert (await table.query("WS#1", limit=3)).next is None
    assert (await table.query("WS#1", limit=2)).next == "FN#1"
    assert (await table.query("WS#1", limit=2, after="FN#1")).next is None
    assert (await table.query("WS#1", limit=2, after="FN#2")).items == []


async def test_cursor_outlives_its_item(table: Table) -> None:
    """A page's last item may be deleted, and others may come, before the next page is asked for."""
    await table.write([an_item(f"FN#{number}") for number in range(4)])
    page = await table.query("WS#1", limit=2)
    await table.delete(Key("WS#1", "FN#1"))
    await table.put(an_item("FN#11"), expected=None)
    assert await sort_keys(table, after=page.next) == ["FN#11", "FN#2", "FN#3"]


async def test_limit_is_1_to_1000(table: Table) -> None:
    """A thousand come in one page; what is outside is refused."""
    await table.write([an_item(f"FN#{number:04}") for number in range(1001)])
    page = await table.query("WS#1", limit=1000)
    assert (len(page.items), page.next) == (1000, "FN#0999")
    for limit in (0, -1, 1001):
        with pytest.raises(ValueError, match="limit"):
            await table.query("WS#1", limit=limit)


async def test_large_items_come_in_several_pages(table: Table) -> None:
    """Whatever a page is cut at, all items come, each page brings some, and none holds a hundred large ones at once."""
    keys = [f"FN#{number:02}" for number in range(30)]
    for sk in keys:
        await table.put(an_item(sk, text="x" * 399_000), expected=None)
    found: list[str] = []
    after = None
    while True:
        page = await table.query("WS#1", after=after)
        assert 0 < len(page.items) < len(keys)
        found += [item.key.sk for item in page.items]
        if (after := page.next) is None:
            break
    assert found == keys


async def test_query_brings_whole_items(table: Table) -> None:
    """What a query returns is what a get returns."""
    await table.put(an_item(expires_at=int(time.time()) + 3600, a={"b": [1]}), expected=None)
    await table.put(an_item(expires_at=int(time.time()) + 3600, a={"b": [2]}), expected=1)
    assert (await table.query("WS#1")).items == [await table.get(Key("WS#1", "FN#1"))]


# Transactions


async def test_transaction_stores_all(table: Table) -> None:
    """Puts, deletes and checks over several partitions; the stored items come back in order."""
    await table.put(an_item("FN#old"), expected=None)
    await table.put(an_item("FN#1", n=1), expected=None)
    stored = await table.transact(
        [
            Put(an_item("FN#1", n=2), 1),
            Delete(Key("WS#1", "FN#old"), 1),
            Check(Key("WS#1", "NAME#free"), None),
            Put(an_item("FUNCTION", "HASH#abc", fn="1"), None),
            Delete(Key("WS#1", "never there")),
        ]
    )
    assert [(item.key.sk, item.revision) for item in stored] == [("FN#1", 2), ("FUNCTION", 1)]
    assert (await table.get(Key("WS#1", "FN#1"))) == stored[0]
    assert (await table.get(Key("HASH#abc", "FUNCTION"))) == stored[1]
    assert await sort_keys(table) == ["FN#1"]


@pytest.mark.parametrize(
    "loser",
    [
        Put(an_item("taken"), None),
        Put(an_item("taken"), 2),
        Put(an_item("missing"), 1),
        Delete(Key("WS#1", "taken"), 2),
        Delete(Key("WS#1", "missing"), 1),
        Check(Key("WS#1", "taken"), None),
        Check(Key("WS#1", "taken"), 2),
        Check(Key("WS#1", "missing"), 1),
    ],
)
@pytest.mark.parametrize("place", [0, 1, 3])
async def test_one_conflict_undoes_all(table: Table, loser: Put | Delete | Check, place: int) -> None:
    """Wherever the loser stands, nothing of the rest is written, and the error names the loser's key."""
    await table.put(an_item("taken", owner="first"), expected=None)
    await table.put(an_item("other", owner="first"), expected=None)
    operations: list[Put | Delete | Check] = [
        Put(an_item("new"), None),
        Put(an_item("other", owner="second"), 1),
        Delete(Key("WS#1", "other2")),
    ]
    operations.insert(place, loser)
    with pytest.raises(RevisionConflict) as refused:
        await table.transact(operations)
    assert refused.value.key == (loser.item.key if isinstance(loser, Put) else loser.key)
    items = (await table.query("WS#1")).items
    assert [(item.key.sk, item.data, item.revision) for item in items] == [
        ("other", {"owner": "first"}, 1),
        ("taken", {"owner": "first"}, 1),
    ]


async def test_first_loser_is_named(table: Table) -> None:
    """Of two conflicts, the one earlier in the list."""
    await table.write([an_item("a"), an_item("b")])
    with pytest.raises(RevisionConflict) as refused:
        await table.transact([Put(an_item("c"), None), Put(an_item("b"), None), Put(an_item("a"), None)])
    assert refused.value.key.sk == "b"


async def test_a_hundred_operations(table: Table) -> None:
    """A hundred pass, all or none; one more is refused, and none at all is nothing."""
    items = [an_item(f"FN#{number:03}") for number in range(101)]
    assert len(await table.transact([Put(item, None) for item in items[:100]])) == 100
    with pytest.raises(RevisionConflict):
        await table.transact([Put(item, 1) for item in items[:99]] + [Put(items[100], 1)])
    assert {item.revision for item in (await table.query("WS#1", limit=200)).items} == {1}
    with pytest.raises(ValueError, match="100"):
        await table.transact([Put(item, None) for item in items])
    assert await table.transact([]) == []


async def test_a_transaction_names_each_key_once(table: Table) -> None:
    """Whatever the two operations are, for no order of theirs is the obvious one."""
    await table.put(an_item(), expected=None)
    key = Key("WS#1", "FN#1")
    pairs: list[tuple[Put | Delete | Check, Put | Delete | Check]] = [
        (Put(an_item(n=1), 1), Put(an_item(n=2), 2)),
        (Check(key, 1), Put(an_item(), 1)),
        (Delete(key), Put(an_item(), None)),
    ]
    for pair in pairs:
        with pytest.raises(ValueError, match="once"):
            await table.transact([Put(an_item("other"), None), *pair])
    assert [(item.key.sk, item.revision) for item in (await table.query("WS#1")).items] == [("FN#1", 1)]


async def test_a_transaction_holds_4_mb(table: Table) -> None:
    """More is refused in words before anything is written."""
    large = [Put(an_item(f"FN#{number:02}", text="x" * 399_000), None) for number in range(11)]
    with pytest.raises(TooLarge, match="4000000 bytes"):
        await table.transact(large)
    assert len(await table.transact(large[:10])) == 10


# Writes of records


async def test_write_stores_all(table: Table) -> None:
    """A thousand records in one call, over several partitions."""
    records = [an_item(f"LOG#{number:04}", f"FN#{number % 3}", n=number) for number in range(1000)]
    await table.write(records)
    found = [item for pk in ("FN#0", "FN#1", "FN#2") for item in (await table.query(pk, limit=1000)).items]
    assert sorted(item.data["n"] for item in found) == list(range(1000))
    assert {item.revision for item in found} == {1}


async def test_write_replaces_whatever_was_there(table: Table) -> None:
    """Also its expiry, also twice in one call: the later one stays. Nothing to write is nothing."""
    await table.put(an_item(expires_at=int(time.time()) + 3600, old=True), expected=None)
    await table.write([an_item(n=1), an_item(n=2)])
    found = await table.get(Key("WS#1", "FN#1"))
    assert (found.data, found.expires_at) == ({"n": 2}, None)
    await table.write([])


# Expiry


async def test_expired_items_are_hidden_at_once(table: Table) -> None:
    """From the very second, whether swept or not: no read sees them."""
    now = int(time.time())
    await table.write(
        [an_item("a", expires_at=now), an_item("b", expires_at=now - 3600), an_item("c", expires_at=now + 3600)]
    )
    await table.put(an_item("d"), expected=None)
    assert await sort_keys(table) == ["c", "d"]
    assert await sort_keys(table, limit=1) == ["c"]
    assert (await table.query("WS#1", limit=1, after="c")).next is None
    for sk in ("a", "b"):
        with pytest.raises(ItemNotFound):
            await table.get(Key("WS#1", sk))


async def test_an_item_is_seen_until_it_expires(table: Table) -> None:
    """The clock alone ends it."""
    expiry = int(time.time()) + 2
    await table.put(an_item(expires_at=expiry), expected=None)
    assert await sort_keys(table) == ["FN#1"]
    while time.time() < expiry:
        await asyncio.sleep(0.05)
    assert await sort_keys(table) == []


async def test_what_expired_does_not_exist_for_writes(table: Table) -> None:
    """Its key is free for a create, from revision 1, and its old revision is a conflict everywhere."""
    past = int(time.time()) - 10
    key = Key("WS#1", "FN#1")
    await table.put(an_item(expires_at=past, old=True), expected=None)
    with pytest.raises(RevisionConflict):
        await table.put(an_item(), expected=1)
    with pytest.raises(RevisionConflict):
        await table.delete(key, expected=1)
    with pytest.raises(RevisionConflict):
        await table.transact([Check(key, 1)])
    await table.transact([Check(key, None), Put(an_item("other"), None)])
    assert (await table.put(an_item(new=True), expected=None)).revision == 1
    found = await table.get(key)
    assert (found.data, found.expires_at) == ({"new": True}, None)
    await table.transact([Delete(key)])


# Many at once


async def test_fifty_racers_have_one_winner(table: Table) -> None:
    """Creates of one key, then updates of one revision: exactly one passes, and its item is what stays."""
    for expected in (None, 1, 2):
        results = await asyncio.gather(
            *(table.put(an_item(racer=racer), expected=expected) for racer in range(50)), return_exceptions=True
        )
        winners = [result for result in results if isinstance(result, Item)]
        assert len(winners) == 1
        assert sum(isinstance(result, RevisionConflict) for result in results) == 49
        assert await table.get(Key("WS#1", "FN#1")) == winners[0]


async def test_fifty_transactions_for_one_name(table: Table) -> None:
    """A function and its name are one transaction: one gets the name, and the others leave nothing behind."""
    results = await asyncio.gather(
        *(
            table.transact([Put(an_item(f"FN#{racer:02}"), None), Put(an_item("NAME#hello", fn=racer), None)])
            for racer in range(50)
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(result, list) for result in results) == 1
    winner = (await table.get(Key("WS#1", "NAME#hello"))).data["fn"]
    assert await sort_keys(table) == [f"FN#{winner:02}", "NAME#hello"]


async def test_a_conflict_leaves_its_neighbours_alone(table: Table) -> None:
    """Writes that come together, and may share a commit, fail each for itself."""
    await table.put(an_item("taken"), expected=None)
    jobs: list[Coroutine[Any, Any, object]] = []
    for number in range(40):
        jobs.append(table.put(an_item(f"good#{number:02}"), expected=None))
        jobs.append(table.put(an_item("taken"), expected=None))
        jobs.append(table.transact([Put(an_item(f"half#{number:02}"), None), Put(an_item("taken"), 7)]))
        jobs.append(
            table.transact([Put(an_item(f"pair#{number:02}a"), None), Put(an_item(f"pair#{number:02}b"), None)])
        )
    results = await asyncio.gather(*jobs, return_exceptions=True)
    assert [isinstance(result, RevisionConflict) for result in results] == [False, True, True, False] * 40
    assert len(await sort_keys(table, begins="good#")) == 40
    assert len(await sort_keys(table, begins="pair#")) == 80
    assert await sort_keys(table, begins="half#") == []


async def test_counting_with_retries_loses_nothing(table: Table) -> None:
    """Ten counters, each reading, adding and storing at the revision that it read, count to the sum."""
    await table.put(an_item(count=0), expected=None)

    async def count() -> None:
        added = 0
        while added < 5:
            current = await table.get(Key("WS#1", "FN#1"))
            try:
                await table.put(an_item(count=current.data["count"] + 1), expected=current.revision)
                added += 1
            except RevisionConflict:
                pass

    await asyncio.gather(*(count() for _ in range(10)))
    final = await table.get(Key("WS#1", "FN#1"))
    assert (final.data, final.revision) == ({"count": 50}, 51)


async def test_a_read_sees_what_returned_before_it(table: Table) -> None:
    """By get and by query, from any task, at once."""
    for number in range(1, 100):
        await table.put(an_item(n=number), expected=number - 1 or None)
        read, page = await asyncio.gather(table.get(Key("WS#1", "FN#1")), table.query("WS#1"))
        assert read.data == page.items[0].data == {"n": number}


async def test_readers_see_transactions_whole(table: Table) -> None:
    """While two items change together, no page shows one changed and the other not."""
    await table.write([an_item("a", n=0), an_item("b", n=0)])
    stop = False
    seen = set()

    async def read() -> None:
        while not stop:
            a, b = (await table.query("WS#1")).items
            assert a.data == b.data
            seen.add(a.data["n"])

    reader = asyncio.create_task(read())
    for number in range(1, 100):
        await table.transact([Put(an_item("a", n=number), number), Put(an_item("b", n=number), number)])
    stop = True
    await reader
    assert len(seen) > 10


async def test_a_caller_that_leaves_breaks_nothing(table: Table) -> None:
    """Writes cancelled at any moment happen whole or not at all, and the next one works."""
    moments = random.Random(7)
    for number in range(150):
        task = asyncio.create_task(
            table.transact(
                [Put(an_item(f"{number:03}a", n=number), None), Put(an_item(f"{number:03}b", n=number), None)]
            )
        )
        await asyncio.sleep(moments.choice([0, 0, 0.0001, 0.0003, 0.001]))
        task.cancel()
        with suppress(asyncio.CancelledError):  # some are faster than the cancellation
            await task
    await table.put(an_item("last"), expected=None)
    keys = await sort_keys(table, limit=1000)
    assert keys.pop() == "last"
    assert [sk[:3] for sk in keys[::2]] == [sk[:3] for sk in keys[1::2]]
    await table.transact([Delete(Key("WS#1", sk), 1) for sk in keys[:100]])


async def test_reads_that_leave_break_nothing(table: Table) -> None:
    """Cancelled queries give no later reader somebody else's page."""
    await table.write([an_item(f"{number:04}", f"FN#{number % 2}", n=number % 2) for number in range(1000)])
    for number in range(60):
        left = asyncio.create_task(table.query("FN#0", limit=500))
        await asyncio.sleep(0 if number % 2 else 0.0005)
        left.cancel()
        page = await table.query("FN#1", limit=500)
        assert {item.data["n"] for item in page.items} == {1}
        assert len(page.items) == 500


async def test_ping(table: Table) -> None:
    """A store that works says nothing."""
    await table.ping()
