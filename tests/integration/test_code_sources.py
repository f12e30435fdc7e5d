"""Code from users' buckets in the services: the installation's own bucket, and how many are fetched at a time."""

import asyncio
import io
import random
import zipfile
from collections.abc import AsyncIterable
from pathlib import Path

import pytest

from lateen.adapters.filesystem import FileObjects
from lateen.adapters.sqlite import SqliteTable
from lateen.domain.code_places import CodePlace
from lateen.domain.errors import Forbidden, InvalidInput, Unavailable
from lateen.ports.blobs import IN_MEMORY_BYTES, Blob, Collected
from lateen.services import code_sources
from lateen.services.functions import FunctionChange, NewFunction
from lateen.services.layers import NewLayer
from lateen.services.workspaces import WorkspaceChange
from lateen.testing.assembled import ManualClock, Services, assemble

RUNTIMES = Path(__file__).parents[2] / "runtimes"


class Store:
    """`CodeStore` with one zip everywhere; reads wait while it is closed."""

    def __init__(self) -> None:
        self.zip = zip_with(b"")
        self.reads: list[CodePlace] = []
        self.running = 0
        self.most = 0
        self.opened = asyncio.Event()
        self.opened.set()

    async def read(self, place: CodePlace, *, limit: int) -> Blob:
        self.reads.append(place)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.opened.wait()
        finally:
            self.running -= 1
        collected = Collected()
        collected.add(self.zip)
        return collected.blob()

    async def close(self) -> None:
        pass


class HeldObjects(FileObjects):
    """Puts wait until it is opened."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.opened = asyncio.Event()
        self.waiting = 0

    async def put(self, key: str, body: Blob | AsyncIterable[bytes]) -> None:
        self.waiting += 1
        await self.opened.wait()
        await super().put(key, body)


def zip_with(data: bytes) -> bytes:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("code.py", "def handler(event, context):\n    return event\n")
        archive.writestr("data.bin", data)
    return whole.getvalue()


@pytest.fixture
def store() -> Store:
    return Store()


async def installed(table: SqliteTable, objects: FileObjects, store: Store, own: str | None) -> Services:
    services = assemble(table, objects, RUNTIMES, clock=ManualClock(), code_store=store, own_bucket=own)
    await services.workspaces.ensure_default()
    return services


def new(bucket: str, name: str = "hello", key: str = "app.zip") -> NewFunction:
    return NewFunction(name=name, runtime="python3.12", code=CodePlace(bucket=bucket, key=key))


async def listed(services: Services, *buckets: str) -> None:
    await services.workspaces.update(services.admin, "default", WorkspaceChange(code_buckets=buckets))


async def test_the_installations_bucket_is_never_read(
    sqlite_table: SqliteTable, file_objects: FileObjects, store: Store
) -> None:
    """It can't be listed, however it is spelt. A list from before it was the installation's own opens nothing."""
    before = await installed(sqlite_table, file_objects, store, None)
    await listed(before, "artifacts", "packages")
    services = await installed(sqlite_table, file_objects, store, "artifacts")
    for entry in ("artifacts", "artifacts/default", "Artifacts", "ARTIFACTS/x"):
        with pytest.raises(InvalidInput, match="code_buckets"):
            await listed(services, "packages", entry)
        with pytest.raises(InvalidInput, match="code_buckets"):
            await services.workspaces.create(services.admin, name="other", code_buckets=[entry])
    made = await services.functions.create(services.admin, "default", new("packages"))
    store.reads.clear()
    for bucket in ("artifacts", "Artifacts"):
        place = CodePlace(bucket=bucket, key="default/f/0.zip")
        with pytest.raises(Forbidden):
            await services.functions.create(services.admin, "default", new(bucket, "another"))
        with pytest.raises(Forbidden):
            await services.functions.update(services.admin, made.function.id, FunctionChange(code=place))
        with pytest.raises(Forbidden):
            await services.layers.publish(services.admin, "default", NewLayer(name="shared", content=place))
    assert store.reads == []


async def test_few_packages_are_in_memory(sqlite_table: SqliteTable, file_objects: FileObjects, store: Store) -> None:
    """A small request makes a large package: two at a time, and the others after them, in whatever way those end."""
    services = await installed(sqlite_table, file_objects, store, None)
    await listed(services, "packages")
    store.opened.clear()
    waiting = [
        asyncio.create_task(services.functions.create(services.admin, "default", new("packages", f"f{number}")))
        for number in range(6)
    ]
    async with asyncio.timeout(10):
        while store.running < 2:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    assert (store.most, len(store.reads)) == (2, 2)
    waiting[0].cancel()
    async with asyncio.timeout(10):
        while len(store.reads) < 3:
            await asyncio.sleep(0.01)
    store.opened.set()
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert [isinstance(each, asyncio.CancelledError) for each in done] == [True, *[False] * 5]
    assert (store.most, len(store.reads)) == (2, 6)


async def test_a_large_package_counts_until_it_is_stored(
    sqlite_table: SqliteTable, tmp_path: Path, store: Store
) -> None:
    """It lies in a file until then, and the disk has an end."""
    objects = HeldObjects(tmp_path / "held")
    services = await installed(sqlite_table, objects, store, None)
    await listed(services, "packages")
    store.zip = zip_with(random.Random(0).randbytes(IN_MEMORY_BYTES))
    making = [
        asyncio.create_task(services.functions.create(services.admin, "default", new("packages", f"f{number}")))
        for number in range(4)
    ]
    async with asyncio.timeout(20):
        while objects.waiting < 2:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    assert (objects.waiting, len(store.reads)) == (2, 2)
    objects.opened.set()
    async with asyncio.timeout(30):
        made = await asyncio.gather(*making)
    assert {each.function.code.size for each in made} == {len(store.zip)}
    assert len(store.reads) == 4


async def test_nobody_waits_for_others_without_end(
    sqlite_table: SqliteTable, file_objects: FileObjects, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who comes while others' packages are slow is told to try again, and can."""
    services = await installed(sqlite_table, file_objects, store, None)
    await listed(services, "packages")
    store.opened.clear()
    slow = [
        asyncio.create_task(services.functions.create(services.admin, "default", new("packages", f"slow{number}")))
        for number in range(2)
    ]
    async with asyncio.timeout(10):
        while store.running < 2:
            await asyncio.sleep(0.01)
    monkeypatch.setattr(code_sources, "_WAIT_S", 0.05)
    with pytest.raises(Unavailable, match="try again"):
        await services.functions.create(services.admin, "default", new("packages", "late"))
    store.opened.set()
    await asyncio.gather(*slow)
    monkeypatch.undo()
    await services.functions.create(services.admin, "default", new("packages", "late"))


async def test_a_list_counts_as_it_is_now(sqlite_table: SqliteTable, file_objects: FileObjects, store: Store) -> None:
    """What is taken off it is closed from the next request on, in another process too; functions keep their code."""
    services = await installed(sqlite_table, file_objects, store, None)
    other = await installed(sqlite_table, file_objects, store, None)
    await listed(services, "packages/a")
    made = (await other.functions.create(services.admin, "default", new("packages", key="a/app.zip"))).function
    await listed(services, "packages/b")
    change = FunctionChange(code=CodePlace(bucket="packages", key="a/app.zip"))
    with pytest.raises(Forbidden):
        await other.functions.update(services.admin, made.id, change)
    assert len(store.reads) == 1
    assert (await other.functions.get(services.admin, made.id)).function.code == made.code
    # A rehearsal reads the object and changes nothing.
    await listed(services, "packages")
    store.zip = store.zip.replace(b"return event", b"return 12345")
    with pytest.raises(InvalidInput):
        await other.functions.update(services.admin, made.id, change, is_rehearsal=True)
    assert (await other.functions.get(services.admin, made.id)).function == made
