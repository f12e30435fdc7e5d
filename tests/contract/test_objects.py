"""What every `Objects` promises. An adapter joins with a fixture `<name>_objects` and its name in `params` below."""

import asyncio
import random
import urllib.request
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from lateen.ports.blobs import IN_MEMORY_BYTES, Collected, Mapped
from lateen.ports.objects import ObjectNotFound, Objects, StoredObject

KEY = "ws/fn/0123abcd.zip"


@pytest.fixture(params=["file", pytest.param("s3", marks=pytest.mark.cluster)])
def objects(request: pytest.FixtureRequest) -> Objects:
    found: Objects = request.getfixturevalue(f"{request.param}_objects")
    return found


async def body_of(objects: Objects, key: str) -> bytes:
    return b"".join([chunk async for chunk in objects.read(key)])


async def listed(objects: Objects, prefix: str = "") -> list[StoredObject]:
    return [entry async for entry in objects.list(prefix)]


async def chunks(*parts: bytes | Exception) -> AsyncIterator[bytes]:
    """A sender; an exception among the parts is where it fails."""
    for part in parts:
        await asyncio.sleep(0)
        if isinstance(part, Exception):
            raise part
        yield part


@pytest.mark.parametrize("size", [0, 1, 100, 262_144, 262_145, 3_000_000])
async def test_what_was_put_is_read(objects: Objects, size: int) -> None:
    """Byte for byte, at sizes around a chunk's, and empty blobs are blobs."""
    body = random.Random(size).randbytes(size)
    await objects.put(KEY, body)
    assert await body_of(objects, KEY) == body
    assert [entry.size for entry in await listed(objects)] == [size]


async def test_streams_are_stored_whole(objects: Objects) -> None:
    """In the order sent, whatever the sizes of the parts; a stream of nothing is an empty blob."""
    parts = [b"a" * 700_000, b"", b"b", b"c" * 70_000]
    await objects.put(KEY, chunks(*parts))
    assert await body_of(objects, KEY) == b"".join(parts)
    await objects.put(KEY, chunks())
    assert await body_of(objects, KEY) == b""


async def test_large_blobs_come_in_bounded_chunks(objects: Objects) -> None:
    """No chunk is more than a megabyte, so that a reader needs no more memory than that."""
    await objects.put(KEY, b"x" * 5_000_000)
    sizes = [len(chunk) async for chunk in objects.read(KEY)]
    assert sum(sizes) == 5_000_000
    assert max(sizes) <= 1_048_576


async def test_what_lies_in_a_file_is_put(objects: Objects) -> None:
    """Again and again, whoever has read of it meanwhile."""
    collected = Collected()
    collected.add(content := random.Random(0).randbytes(IN_MEMORY_BYTES + 1))
    blob = collected.blob()
    assert isinstance(blob, Mapped)
    for key in (KEY, "ws/fn/again.zip"):
        await objects.put(key, blob)
        assert await body_of(objects, key) == content
        blob.read(1000)


async def test_put_replaces(objects: Objects) -> None:
    """Also a longer blob by a shorter one, and there is one entry."""
    await objects.put(KEY, b"long" * 1000)
    await objects.put(KEY, b"short")
    assert await body_of(objects, KEY) == b"short"
    assert [entry.key for entry in await listed(objects)] == [KEY]


@pytest.mark.parametrize("key", ["missing", "ws/fn/missing.zip", "ws", "ws/fn", f"{KEY}/below", "ws/fn/0123"])
async def test_missing_blobs(objects: Objects, key: str) -> None:
    """A key that nothing was put under is not found, also one that other keys go through; deleting it is no error."""
    await objects.put(KEY, b"code")
    with pytest.raises(ObjectNotFound):
        await body_of(objects, key)
    await objects.delete(key)
    assert await body_of(objects, KEY) == b"code"


async def test_delete_is_idempotent(objects: Objects) -> None:
    """Gone from reads and listings, twice no error, and the key can be used again."""
    await objects.put(KEY, b"code")
    await objects.put("ws/fn/code.py", b"other")
    await objects.delete(KEY)
    await objects.delete(KEY)
    with pytest.raises(ObjectNotFound):
        await body_of(objects, KEY)
    assert [entry.key for entry in await listed(objects)] == ["ws/fn/code.py"]
    await objects.put(KEY, b"again")
    assert await body_of(objects, KEY) == b"again"


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        "/etc/passwd",
        "a/",
        "a//b",
        ".",
        "..",
        "../a",
        "a/../b",
        "a/./b",
        "a/..",
        "a\\b",
        "a\x00b",
        "a\n",
        "a b",
        "a~",
        "~incoming/a",
        "é",
        "a%2fb",
        "a" * 256,
        "/".join(["a" * 100] * 11),
    ],
)
async def test_keys_that_are_refused(objects: Objects, key: str) -> None:
    """What climbs, is empty, or holds any other character raises `ValueError` in every call and reaches nothing."""
    with pytest.raises(ValueError, match="key"):
        await objects.put(key, b"x")
    with pytest.raises(ValueError, match="key"):
        await objects.put(key, chunks(b"x"))
    with pytest.raises(ValueError, match="key"):
        await body_of(objects, key)
    with pytest.raises(ValueError, match="key"):
        await objects.delete(key)
    with pytest.raises(ValueError, match="key"):
        await objects.url(key)
    assert await listed(objects) == []


@pytest.mark.parametrize(
    "key", ["a", ".hidden", "..a", "a..", "...", "-", "_", "A.b-c_d", "a" * 255, "/".join("a" * 512)]
)
async def test_keys_that_are_allowed(objects: Objects, key: str) -> None:
    """Dots are letters like any other, but for the two names that mean folders."""
    await objects.put(key, key.encode())
    assert await body_of(objects, key) == key.encode()
    assert [entry.key for entry in await listed(objects)] == [key]


async def test_list_is_ordered_by_key(objects: Objects) -> None:
    """Over all folders, as one list of texts: `-` and `.` come before `/`, whatever the folders are."""
    keys = ["b", "a/b", "a-b", "a.b", "a-/x", "a0", "a/a/z", "a/b-c", "a/c/d", "A/x", "a_/x", "Z", "_"]
    for key in keys:
        await objects.put(key, b"")
    assert [entry.key for entry in await listed(objects)] == sorted(keys)


@pytest.mark.parametrize(
    "prefix",
    ["ws1", "ws1/", "ws1/fn1/", "ws1/fn", "ws1/fn1/a", "ws1/fn1/a.zip", "ws1/fn1/a.zip/", "x", "../", "/", "~"],
)
async def test_list_by_prefix(objects: Objects, prefix: str) -> None:
    """The prefix is text: it may end within a segment, and one that no key can have finds nothing."""
    keys = ["ws1/fn1/a.zip", "ws1/fn1/b.zip", "ws1/fn10/a.zip", "ws1/fn2/a.zip", "ws10/fn1/a.zip", "ws2/fn1/a.zip"]
    for key in keys:
        await objects.put(key, b"")
    assert [entry.key for entry in await listed(objects, prefix)] == [key for key in keys if key.startswith(prefix)]


async def test_listing_tells_size_and_time(objects: Objects) -> None:
    """The time is UTC, and the time of the last put."""
    await objects.put(KEY, b"12345")
    (entry,) = await listed(objects)
    assert entry.size == 5
    assert entry.modified.tzinfo == UTC
    assert abs(datetime.now(UTC) - entry.modified) < timedelta(seconds=60)


async def test_url_brings_the_blob(objects: Objects) -> None:
    """Whoever has the address needs nothing else."""
    await objects.put(KEY, b"code")
    url = await objects.url(KEY, expires_s=60)
    with await asyncio.to_thread(urllib.request.urlopen, url) as answer:
        assert answer.read() == b"code"


@pytest.mark.parametrize("failure", [RuntimeError("sender"), ConnectionResetError("sender")])
async def test_a_sender_that_fails_leaves_nothing(objects: Objects, failure: Exception) -> None:
    """Its own error comes out, the blob before stays, and no part of the new one is to be seen."""
    await objects.put(KEY, b"before")
    with pytest.raises(type(failure), match="sender"):
        await objects.put(KEY, chunks(b"x" * 300_000, failure))
    with pytest.raises(type(failure), match="sender"):
        await objects.put("ws/new", chunks(b"x" * 300_000, failure))
    assert await body_of(objects, KEY) == b"before"
    assert [entry.key for entry in await listed(objects)] == [KEY]


async def test_an_upload_that_is_cancelled_leaves_nothing_half(objects: Objects) -> None:
    """At any moment: the blob is the one before or the new one, and further puts work."""
    old, new = b"o" * 300_000, b"n" * 300_000
    await objects.put(KEY, old)
    moments = random.Random(3)
    for number in range(60):
        body = chunks(new[:100_000], new[100_000:]) if number % 2 else new
        task = asyncio.create_task(objects.put(KEY, body))
        await asyncio.sleep(moments.choice([0, 0.0002, 0.0005, 0.001, 0.002]))
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert await body_of(objects, KEY) in (old, new)
        await objects.put(KEY, old)
    assert [entry.key for entry in await listed(objects)] == [KEY]


async def test_readers_see_one_blob(objects: Objects) -> None:
    """While a key is overwritten, each reader gets one of the blobs, whole, also when it began before the change."""
    bodies = [bytes([number]) * 600_000 for number in range(8)]
    await objects.put(KEY, bodies[0])

    async def read() -> None:
        for _ in range(10):
            assert await body_of(objects, KEY) in bodies

    readers = [asyncio.create_task(read()) for _ in range(3)]
    for body in bodies * 2:
        await objects.put(KEY, body)
    await asyncio.gather(*readers)

    reading = objects.read(KEY)
    first = await anext(reading)
    await objects.put(KEY, b"changed")
    assert first + b"".join([chunk async for chunk in reading]) == bodies[-1]


async def test_writers_of_one_key_leave_one_blob(objects: Objects) -> None:
    """Twenty at once: one of them stays, whole."""
    bodies = [bytes([number]) * 300_000 for number in range(20)]
    await asyncio.gather(*(objects.put(KEY, body) for body in bodies))
    assert await body_of(objects, KEY) in bodies


async def test_puts_beside_deletes_of_neighbours(objects: Objects) -> None:
    """Deleting the last blob of a folder never takes a new neighbour along, nor fails its put."""

    async def churn(number: int) -> None:
        for _ in range(60):
            await objects.put(f"ws/fn/deep/{number}", b"x")
            await objects.delete(f"ws/fn/deep/{number}")
        await objects.put(f"ws/fn/deep/{number}", b"stays")

    await asyncio.gather(*(churn(number) for number in range(8)))
    assert [entry.key for entry in await listed(objects)] == [f"ws/fn/deep/{number}" for number in range(8)]
    assert await body_of(objects, "ws/fn/deep/0") == b"stays"


async def test_ping(objects: Objects) -> None:
    """A store that works says nothing."""
    await objects.ping()
