"""The bytes of code that a workspace keeps: counted as they come and go, and never more than it may have."""

import asyncio
import io
import os
import random
import zipfile
from pathlib import Path

import pytest
from msgspec import structs

from lateen.adapters.filesystem import FileObjects
from lateen.domain.errors import LateenError
from lateen.domain.functions import Function
from lateen.domain.workspaces import Quota
from lateen.ports.table import Item, Key, Table
from lateen.services.code_storage import CodeStorageExceeded
from lateen.services.functions import FunctionChange, NewFunction
from lateen.services.idempotency import Once
from lateen.services.layers import NewLayer
from lateen.services.tenants import partition
from lateen.services.workspaces import WorkspaceChange
from lateen.testing.assembled import ManualClock, Services, assemble
from lateen.testing.interposed import InterposedTable

RUNTIMES = Path(__file__).parents[2] / "runtimes"
KEY = Key("WS#default", "CODE-STORAGE")
MIB = 1024**2


def zipped(size: int = 1000) -> bytes:
    """Of somewhat more bytes, and never the same."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("code.py", "def handler(event, context):\n    return 0\n")
        archive.writestr("data", os.urandom(size))
    return buffer.getvalue()


HELLO = NewFunction(name="hello", runtime="python3.12", code=zipped())


@pytest.fixture(params=["sqlite", pytest.param("dynamodb", marks=pytest.mark.cluster)])
def table(request: pytest.FixtureRequest) -> Table:
    found: Table = request.getfixturevalue(f"{request.param}_table")
    return found


@pytest.fixture
async def services(table: Table, file_objects: FileObjects) -> Services:
    services = another(table, file_objects)
    await services.workspaces.ensure_default()
    return services


def another(table: Table, objects: FileObjects) -> Services:
    """A process of its own, as far as who waits for whom goes."""
    return assemble(table, objects, RUNTIMES, clock=ManualClock())


async def made(services: Services, name: str = "hello", code: bytes = zipped()) -> Function:
    new = structs.replace(HELLO, name=name, code=code)
    return (await services.functions.create(services.admin, "default", new)).function


async def changed(services: Services, function: Function, code: bytes) -> Function:
    return (await services.functions.update(services.admin, function.id, FunctionChange(code=code))).function


async def published(services: Services, function: Function) -> str:
    return (await services.versions.publish(services.admin, function.id)).version.function.version


async def limited(services: Services, amount: str | None) -> None:
    change = WorkspaceChange(quota=Quota(code=amount))
    await services.workspaces.update(services.admin, "default", change)


async def stored(services: Services) -> int:
    """As it is kept; which is what there is."""
    size = (await services.code_storage.read("default")).size
    assert size == await services.code_storage._counted("default")
    return size


async def test_what_is_named_is_counted_once(services: Services) -> None:
    """Of a function what its draft and its versions name, whichever is the first to let go of it; and layers."""
    admin, functions, versions = services.admin, services.functions, services.versions
    one, two, three = zipped(1000), zipped(2000), zipped(4000)
    assert await stored(services) == 0
    function = await made(services, code=one)
    assert await stored(services) == len(one)
    assert await published(services, function) == "1"
    assert await stored(services) == len(one)
    await changed(services, function, two)
    assert await stored(services) == len(one) + len(two)
    assert await published(services, function) == "2"
    await changed(services, function, one)
    assert await published(services, function) == "3"
    assert await stored(services) == len(one) + len(two)
    await versions.delete(admin, function.id, "1")
    assert await stored(services) == len(one) + len(two)
    await changed(services, function, three)
    assert await stored(services) == len(one) + len(two) + len(three)
    await versions.restore(admin, function.id, "2")
    assert await stored(services) == len(one) + len(two)
    await versions.delete(admin, function.id, "3")
    assert await stored(services) == len(two)
    assert not await versions.delete(admin, function.id, "3")
    await versions.delete(admin, function.id, "2")
    assert await stored(services) == len(two)
    await functions.update(admin, function.id, FunctionChange(timeout_s=9, name="other"))
    assert await stored(services) == len(two)
    layers = [await services.layers.publish(admin, "default", NewLayer(name="l", content=three)) for _ in range(2)]
    assert await stored(services) == len(two) + 2 * len(three)
    for _ in range(2):
        await services.layers.delete(admin, "default", "l", layers[0].version)
        assert await stored(services) == len(two) + len(three)
    await published(services, function)
    for _ in range(2):
        await functions.delete(admin, function.id)
        assert await stored(services) == len(three)
    elsewhere = await services.workspaces.create(admin, name="elsewhere")
    await functions.create(admin, elsewhere.id, HELLO)
    assert await stored(services) == len(three)


async def test_no_more_than_the_workspace_may_have(services: Services) -> None:
    """Whatever would be beyond is refused with the field and the reason, and nothing of it is there."""
    admin = services.admin
    await limited(services, "2Mi")
    large = zipped(MIB)
    function = await made(services, code=large)
    for attempt in (
        made(services, "other", zipped(MIB)),
        changed(services, await made(services, "small"), zipped(MIB)),
        services.layers.publish(admin, "default", NewLayer(name="l", content=zipped(MIB))),
    ):
        with pytest.raises(CodeStorageExceeded) as refused:
            await attempt
        assert refused.value.field in ("code", "content")
        assert "beyond its 2097152 (quota.code)" in refused.value.reason
    before = await stored(services)
    assert before == len(large) + len(zipped())
    await published(services, function)
    await changed(services, function, zipped(1000))  # the version keeps what was before
    await services.versions.restore(admin, function.id, "1")
    assert await stored(services) == before
    await limited(services, "1Mi")  # what is there stays, and less is less
    await services.functions.update(admin, function.id, FunctionChange(timeout_s=9))
    await services.functions.delete(admin, function.id)
    await limited(services, None)
    assert [await made(services, name, zipped(MIB)) for name in "abc"]


async def test_creates_at_once_in_two_processes_share_the_room(
    services: Services, table: Table, file_objects: FileObjects
) -> None:
    """As many as there is room for, and not one more."""
    other = another(table, file_objects)
    await limited(services, "1Mi")
    code = zipped(300 * 1024)
    creates = [made(each, f"f{n}-{id(each)}", code) for n in range(4) for each in (services, other)]
    answers = await asyncio.gather(*creates, return_exceptions=True)
    assert sum(isinstance(answer, Function) for answer in answers) == 3
    assert {type(answer) for answer in answers} == {Function, CodeStorageExceeded}
    assert await stored(services) == 3 * len(code)


async def test_a_create_that_is_sent_twice_needs_room_once(
    services: Services, table: Table, file_objects: FileObjects
) -> None:
    """Whoever sends it again has the first one's answer, though there is no room for another."""
    other, once = another(table, file_objects), Once("key", "request")
    await limited(services, "1Mi")
    new = structs.replace(HELLO, code=zipped(600 * 1024))
    creates = [each.functions.create(each.admin, "default", new, once=once) for each in (services, other) * 3]
    assert len({answer.function.id for answer in await asyncio.gather(*creates)}) == 1
    layer = NewLayer(name="l", content=zipped(300 * 1024))
    publishes = [each.layers.publish(each.admin, "default", layer, once=Once("l", "l")) for each in (services, other)]
    assert len({answer.arn for answer in await asyncio.gather(*publishes)}) == 1
    await stored(services)


async def test_changes_of_all_kinds_at_once(services: Services, table: Table, file_objects: FileObjects) -> None:
    """Of two processes, in any order: what is kept is what there is."""
    both = (services, another(table, file_objects))
    codes = [zipped(100 * n) for n in range(1, 4)]
    choose = random.Random(7)
    functions = [await made(services, f"f{n}", codes[0]) for n in range(3)]

    async def something(number: int) -> None:
        there, function = choose.choice(both), choose.choice(functions)
        version = str(choose.randint(1, 4))
        match number % 6:
            case 0 | 1:
                await changed(there, function, choose.choice(codes))
            case 2:
                await published(there, function)
            case 3:
                await there.versions.delete(there.admin, function.id, version)
            case 4:
                await there.versions.restore(there.admin, function.id, version)
            case 5 if number % 18 == 5:
                await there.functions.delete(there.admin, function.id)
            case _:
                await there.layers.publish(there.admin, "default", NewLayer(name="l", content=codes[0]))
                await there.layers.delete(there.admin, "default", "l", choose.randint(1, 3))

    for _ in range(4):
        answers = await asyncio.gather(*(something(number) for number in range(18)), return_exceptions=True)
        assert [answer for answer in answers if answer is not None and not isinstance(answer, LateenError)] == []
        await stored(services)


async def test_a_version_that_is_published_meanwhile_keeps_its_code(table: Table, file_objects: FileObjects) -> None:
    """An update that has seen no version takes nothing off for what it replaces."""
    interposed = InterposedTable(table)
    services, other = another(interposed, file_objects), another(table, file_objects)  # type: ignore[arg-type]
    await services.workspaces.ensure_default()
    function, new = await made(services), zipped(500)
    interposed.interpose(partition("default"), f"VERSION#{function.id}#", lambda: published(other, function))
    await changed(services, function, new)
    assert interposed.is_done
    assert await stored(services) == function.code.size + len(new)


@pytest.mark.parametrize("moment", ["ALIAS", "VERSION"])
async def test_a_version_that_goes_while_the_draft_changes(
    table: Table, file_objects: FileObjects, moment: str
) -> None:
    """Both had the same code, and the later one sees that it is the last to have it."""
    interposed = InterposedTable(table)
    services, other = another(interposed, file_objects), another(table, file_objects)  # type: ignore[arg-type]
    await services.workspaces.ensure_default()
    function, new = await made(services), zipped(500)
    await published(services, function)
    interposed.interpose(partition("default"), f"{moment}#{function.id}#", lambda: changed(other, function, new))
    await services.versions.delete(services.admin, function.id, "1")
    assert interposed.is_done
    assert await stored(services) == len(new)


async def test_an_installation_that_has_not_counted_yet(services: Services) -> None:
    """What there is is counted with the first change; and again later, for an earlier version may still run beside."""
    function = await made(services)
    await published(services, function)
    await changed(services, function, zipped(500))
    gone = await made(services, "gone")
    await services.functions.delete(services.admin, gone.id)
    await services.layers.publish(services.admin, "default", NewLayer(name="l", content=zipped(300)))
    there = await stored(services)
    await services.table.delete(KEY)
    assert await services.code_storage.recount() == 0
    assert await stored(services) == there
    more = await made(services, "more")
    assert await stored(services) == there + more.code.size
    assert await services.code_storage.recount() == 0
    kept = await services.table.get(KEY)
    await services.table.put(Item(key=KEY, data={"size": 1}), expected=kept.revision)
    assert await services.code_storage.recount() == 1
    assert await stored(services) == there + more.code.size


async def test_a_recount_never_undoes_what_comes_between(table: Table, file_objects: FileObjects) -> None:
    """It has looked at what was before, and leaves the sum to the next recount."""
    interposed = InterposedTable(table)
    services, other = another(interposed, file_objects), another(table, file_objects)  # type: ignore[arg-type]
    await services.workspaces.ensure_default()
    await made(services)
    kept = await table.get(KEY)
    await table.put(Item(key=KEY, data={"size": 1}), expected=kept.revision)
    interposed.interpose(KEY.pk, KEY.sk, lambda: made(other, "between"))
    assert await services.code_storage.recount() == 0
    assert interposed.is_done
    assert await services.code_storage.recount() == 1
    await stored(services)
