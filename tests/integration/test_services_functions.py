"""Functions, over the real embedded stores: what users do to them, also many at once."""

import asyncio
import base64
import random
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from lateen.adapters.filesystem import FileObjects
from lateen.adapters.sqlite import SqliteTable
from lateen.domain.access import Caller
from lateen.domain.errors import (
    AlreadyExists,
    Conflict,
    InvalidInput,
    LateenError,
    NotFound,
    RevisionMismatch,
    TooLarge,
    Unavailable,
)
from lateen.domain.functions import Described, Function
from lateen.ports.deployer import Observation
from lateen.ports.table import ItemNotFound, Key
from lateen.services.code_sources import CodeSources
from lateen.services.cursors import Cursors
from lateen.services.function_items import item_of
from lateen.services.functions import FunctionChange, Functions, NewFunction
from lateen.services.idempotency import Once
from lateen.services.packages import package
from lateen.services.routes import Routes
from lateen.services.statuses import failure_of, is_reported
from lateen.testing.assembled import MASTER, ManualClock, Services, assemble
from lateen.testing.interposed import InterposedTable

SOURCE = b"def handler(event, context):\n    return event\n"
OTHER = b"def handler(event, context):\n    return 42\n"
HELLO = NewFunction(name="hello", runtime="python3.12", code=SOURCE)
TOML = """
name = "{language}{version}"
runtime = "{language}"
version = "{version}"
file = "{file}"
handler = "code.handler"
"""


@pytest.fixture
def interposed(sqlite_table: SqliteTable) -> InterposedTable:
    return InterposedTable(sqlite_table)


@pytest.fixture
async def services(interposed: InterposedTable, file_objects: FileObjects, tmp_path: Path) -> Services:
    for language, version, file in (
        ("python", "3.12", "code.py"),
        ("python", "3.13", "code.py"),
        ("node", "20", "code.mjs"),
    ):
        folder = tmp_path / "runtimes" / f"{language}{version}"
        folder.mkdir(parents=True)
        handler = TOML.format(language=language, version=version, file=file)
        (folder / "runtime.toml").write_text(handler if language == "python" else handler.replace("code.h", "index.h"))
    services = assemble(interposed, file_objects, tmp_path / "runtimes", clock=ManualClock())
    await services.workspaces.ensure_default()
    return services


async def blobs(services: Services) -> list[str]:
    return [blob.key async for blob in services.objects.list()]


async def blob(services: Services, key: str) -> bytes:
    return b"".join([chunk async for chunk in services.objects.read(key)])


async def test_a_function_is_as_it_was_asked_for(services: Services) -> None:
    """The defaults are the documented ones; code lies where the data model says."""
    made = await services.functions.create(services.admin, "default", HELLO)
    function = made.function
    workspace = await services.workspaces.get(services.admin, "default")
    assert (function.timeout_s, function.memory_mib, function.concurrency, function.replicas) == (3, 128, 10, 1)
    assert (function.auth, function.handler, function.environment, function.description) == (
        "none",
        "code.handler",
        {},
        "",
    )
    assert (function.revision, function.runtime, function.account_id) == (1, "python3.12", workspace.account_id)
    assert function.created_at == function.updated_at == "2027-01-15T08:00:00.000Z"
    assert (made.status.state, made.status.reason) == ("Pending", "The function is being created.")
    artifact = package(SOURCE, file="code.py")
    assert function.code.sha256 == artifact.sha256
    assert function.code.size == len(artifact.artifact)
    assert function.code.artifact_key == f"default/{function.id}/{artifact.sha256}.zip"
    assert await blob(services, function.code.artifact_key) == artifact.artifact
    assert await blob(services, f"default/{function.id}/code.py") == SOURCE
    assert await services.functions.source(services.admin, function.id) == SOURCE.decode()


async def test_a_function_is_found_by_id_name_and_hash(services: Services) -> None:
    """Each look-up leads to the same function."""
    made = await services.functions.create(services.admin, "default", HELLO)
    functions, admin = services.functions, services.admin
    assert await functions.get(admin, made.function.id) == made
    assert await functions.by_name(admin, "default", "hello") == made
    assert await functions.by_hash(admin, made.function.hash) == made
    assert await Routes(services.table, master=MASTER).find(made.function.hash.encode()) == functions.deployment_for(
        made.function
    )
    assert (await functions.list(admin, "default")).items == [made]


@pytest.mark.parametrize(
    "text", ["", "nobody", "../default", "FN#1", "a\0b", "a\n", "\ud800", "x" * 5000, "NAME#hello", "0" * 32, "default"]
)
async def test_what_is_no_id_is_not_found(services: Services, text: str) -> None:
    """Whatever is sent as an id, a name or a hash, and nothing else happens."""
    functions, admin = services.functions, services.admin
    for attempt in (
        functions.get(admin, text),
        functions.by_name(admin, "default", text),
        functions.by_name(admin, text, "hello"),
        functions.by_hash(admin, text),
        Routes(services.table, master=MASTER).find(text.encode("utf-8", "replace")),
        functions.list(admin, text if text != "default" else "none"),
        functions.delete(admin, text),
        functions.delete_by_hash(admin, text),
        functions.update(admin, text, FunctionChange()),
    ):
        with pytest.raises(NotFound):
            await attempt


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("name", {"name": "no/path"}),
        ("runtime", {"runtime": "cobol"}),
        ("version", {"runtime": "python", "version": "2.7"}),
        ("handler", {"handler": "/etc/passwd"}),
        ("timeout", {"timeout_s": 901}),
        ("memory", {"memory_mib": 1}),
        ("concurrency", {"concurrency": 0}),
        ("replicas", {"replicas": 0}),
        ("auth", {"auth": "anyone"}),
        ("environment.AWS_REGION", {"environment": {"AWS_REGION": "x"}}),
        ("description", {"description": "x" * 257}),
        ("code", {"code": b""}),
        ("code", {"code": b"\xff"}),
        ("code", {"code": b"PK\x03\x04 no zip"}),
    ],
)
async def test_bad_input_names_its_field_and_leaves_nothing(
    services: Services, field: str, values: dict[str, Any]
) -> None:
    """In a create and in an update: no item, no blob, no revision."""
    with pytest.raises(InvalidInput) as refused:
        await services.functions.create(services.admin, "default", structs.replace(HELLO, **values))
    assert refused.value.field == field
    assert (await services.functions.list(services.admin, "default")).items == []
    assert await blobs(services) == []
    made = await services.functions.create(services.admin, "default", HELLO)
    with pytest.raises(InvalidInput) as refused:
        await services.functions.update(services.admin, made.function.id, FunctionChange(**values))
    assert refused.value.field == field
    assert await services.functions.get(services.admin, made.function.id) == made


async def test_a_zip_too_large_is_too_large(services: Services) -> None:
    """A size is its own kind of refusal."""
    with pytest.raises(TooLarge):
        await services.functions.create(
            services.admin, "default", structs.replace(HELLO, code=b"PK\x03\x04" + bytes(50 * 1024 * 1024))
        )


async def test_a_name_is_taken_once(services: Services) -> None:
    """Of twenty at once one gets it; the others are told, and leave no trace but blobs that the sweep removes."""
    attempts = [services.functions.create(services.admin, "default", HELLO) for _ in range(20)]
    answers = await asyncio.gather(*attempts, return_exceptions=True)
    assert sum(isinstance(answer, AlreadyExists) for answer in answers) == 19
    listed = (await services.functions.list(services.admin, "default")).items
    assert [answer for answer in answers if not isinstance(answer, AlreadyExists)] == listed
    services.clock.now_s = 4_000_000_000
    await services.functions.sweep()
    assert len(await blobs(services)) == 2


async def test_names_are_apart_between_workspaces(services: Services) -> None:
    """Each workspace has its own hello."""
    other = await services.workspaces.create(services.admin, name="other")
    first = await services.functions.create(services.admin, "default", HELLO)
    second = await services.functions.create(services.admin, other.id, HELLO)
    assert first.function.hash != second.function.hash
    assert (await services.functions.list(services.admin, other.id)).items == [second]


async def test_another_workspace_s_functions_do_not_exist(services: Services) -> None:
    """Every call answers as for an id that never was; nothing is changed."""
    other = await services.workspaces.create(services.admin, name="other")
    stranger = Caller("stranger", other.id)
    made = await services.functions.create(services.admin, "default", HELLO)
    functions, function = services.functions, made.function
    for attempt in (
        functions.create(stranger, "default", HELLO),
        functions.get(stranger, function.id),
        functions.by_name(stranger, "default", "hello"),
        functions.by_hash(stranger, function.hash),
        functions.list(stranger, "default"),
        functions.source(stranger, function.id),
        functions.update(stranger, function.id, FunctionChange(description="mine")),
        functions.delete(stranger, function.id),
        functions.delete_by_hash(stranger, function.hash),
        services.records.list(stranger, function.id),
    ):
        with pytest.raises(NotFound):
            await attempt
    assert await functions.get(services.admin, function.id) == made
    await functions.delete(services.admin, function.id)
    with pytest.raises(NotFound):
        await functions.delete(stranger, function.id)


async def test_lists_go_on_where_the_page_ended(services: Services) -> None:
    """In order of names, each once, whatever is deleted meanwhile; a cursor fits its own listing only."""
    other = await services.workspaces.create(services.admin, name="other")
    for number in range(7):
        await services.functions.create(services.admin, "default", structs.replace(HELLO, name=f"f{number}"))
    names: list[str] = []
    cursor = None
    while True:
        page = await services.functions.list(services.admin, "default", limit=3, cursor=cursor)
        names += [each.function.name for each in page.items]
        if (cursor := page.cursor) is None:
            break
        for wrong in (cursor[:-1], cursor + "A", "A" + cursor, cursor.swapcase(), "", "%", "é", "x" * 5000):
            with pytest.raises(InvalidInput):
                await services.functions.list(services.admin, "default", cursor=wrong)
        with pytest.raises(InvalidInput):
            await services.functions.list(services.admin, other.id, cursor=cursor)
        last = await services.functions.by_name(services.admin, "default", names[-1])
        await services.functions.delete(services.admin, last.function.id)
    assert names == [f"f{number}" for number in range(7)]
    for limit in (0, -1, 101):
        with pytest.raises(InvalidInput):
            await services.functions.list(services.admin, "default", limit=limit)


async def test_an_update_changes_what_it_names(services: Services) -> None:
    """The revision counts it, the id, hash and creation stay, and the status waits for the controller."""
    made = (await services.functions.create(services.admin, "default", HELLO)).function
    services.clock.now_s += 1.5
    change = FunctionChange(name="hi", timeout_s=10, environment={"A": "1"}, auth="key", code=OTHER, description="x")
    changed = await services.functions.update(services.admin, made.id, change)
    expected = structs.replace(
        made,
        name="hi",
        timeout_s=10,
        environment={"A": "1"},
        auth="key",
        description="x",
        code=changed.function.code,
        revision=2,
        updated_at="2027-01-15T08:00:01.500Z",
    )
    assert changed.function == expected
    assert changed.status.state == "Pending"
    assert await services.functions.by_name(services.admin, "default", "hi") == changed
    assert await services.functions.source(services.admin, made.id) == OTHER.decode()
    with pytest.raises(NotFound):
        await services.functions.by_name(services.admin, "default", "hello")
    await services.functions.create(services.admin, "default", HELLO)  # the old name is free


async def test_an_update_that_changes_nothing_counts_for_nothing(services: Services) -> None:
    """The same values, or none at all: no new revision, so nothing is deployed again."""
    made = await services.functions.create(services.admin, "default", HELLO)
    for change in (
        FunctionChange(),
        FunctionChange(code=SOURCE, timeout_s=3, handler=None, runtime="python", version="3.12"),
    ):
        assert await services.functions.update(services.admin, made.function.id, change) == made


async def test_another_runtime_brings_its_handler(services: Services) -> None:
    """Unless a handler was chosen; and a source file that would have another name must be sent again."""
    functions, admin = services.functions, services.admin
    made = (await functions.create(admin, "default", HELLO)).function
    newer = (await functions.update(admin, made.id, FunctionChange(version="3.13"))).function
    assert (newer.runtime, newer.handler, newer.code) == ("python3.13", "code.handler", made.code)
    with pytest.raises(InvalidInput) as refused:
        await functions.update(admin, made.id, FunctionChange(runtime="node20"))
    assert refused.value.field == "code"
    node = (await functions.update(admin, made.id, FunctionChange(runtime="node20", code=b"export"))).function
    assert (node.runtime, node.handler, node.code.source_file) == ("node20", "index.handler", "code.mjs")
    chosen = (await functions.update(admin, made.id, FunctionChange(handler="mine.run"))).function
    back = (await functions.update(admin, made.id, FunctionChange(runtime="python3.12", code=SOURCE))).function
    assert (chosen.handler, back.handler) == ("mine.run", "mine.run")
    assert (await functions.update(admin, made.id, FunctionChange(handler=None))).function.handler == "code.handler"


async def test_away_from_a_runtime_that_is_not_installed_any_more(services: Services) -> None:
    """By the runtime alone. Whether its handler was the default one nobody knows, so it stays."""
    made = await services.functions.create(services.admin, "default", HELLO)
    await services.table.put(
        item_of(structs.replace(made.function, runtime="python3.9")), expected=made.function.revision
    )
    change = FunctionChange(runtime="python3.13")
    moved = (await services.functions.update(services.admin, made.function.id, change)).function
    assert (moved.runtime, moved.handler, moved.code) == ("python3.13", "code.handler", made.function.code)


async def test_a_rename_to_a_taken_name_is_refused(services: Services) -> None:
    """Both functions stay as they were."""
    first = await services.functions.create(services.admin, "default", HELLO)
    second = await services.functions.create(services.admin, "default", structs.replace(HELLO, name="hi"))
    with pytest.raises(AlreadyExists):
        await services.functions.update(services.admin, second.function.id, FunctionChange(name="hello"))
    assert (await services.functions.list(services.admin, "default")).items == [first, second]


async def test_updates_that_race_all_apply(services: Services) -> None:
    """Each names another variable of the function: none is lost, and each counts."""
    made = (await services.functions.create(services.admin, "default", HELLO)).function
    changes = [FunctionChange(timeout_s=7), FunctionChange(memory_mib=256), FunctionChange(concurrency=2)]
    changes += [FunctionChange(description="d"), FunctionChange(auth="key"), FunctionChange(name="hi")]
    changes += [FunctionChange(code=OTHER), FunctionChange(environment={"A": "1"}), FunctionChange(replicas=2)]
    await asyncio.gather(*(services.functions.update(services.admin, made.id, change) for change in changes))
    found = (await services.functions.get(services.admin, made.id)).function
    assert found.revision == 1 + len(changes)
    assert (found.timeout_s, found.memory_mib, found.concurrency, found.replicas) == (7, 256, 2, 2)
    assert (found.description, found.auth, found.name, found.environment) == ("d", "key", "hi", {"A": "1"})
    assert await services.functions.source(services.admin, made.id) == OTHER.decode()


async def test_no_update_is_refused_because_of_many_others(services: Services) -> None:
    """More at once than a change that loses its race is tried again."""
    made = (await services.functions.create(services.admin, "default", HELLO)).function
    changes = [FunctionChange(description=str(number)) for number in range(60)]
    await asyncio.gather(*(services.functions.update(services.admin, made.id, change) for change in changes))
    assert (await services.functions.get(services.admin, made.id)).function.revision == 1 + len(changes)


async def test_of_updates_that_expect_a_revision_one_wins(services: Services) -> None:
    """The others are told, and nothing of theirs is there."""
    made = (await services.functions.create(services.admin, "default", HELLO)).function
    answers = await asyncio.gather(
        *(
            services.functions.update(services.admin, made.id, FunctionChange(timeout_s=10 + n), expected=1)
            for n in range(10)
        ),
        return_exceptions=True,
    )
    (winner,) = [answer for answer in answers if not isinstance(answer, RevisionMismatch)]
    assert winner == await services.functions.get(services.admin, made.id)
    with pytest.raises(RevisionMismatch):
        await services.functions.delete(services.admin, made.id, expected=1)
    assert await services.functions.delete(services.admin, made.id, expected=2)


async def test_a_deleted_function_is_gone_and_its_name_free(services: Services) -> None:
    """Reads say so; deleting again, by id or hash, is no error; the tombstone keeps no secrets."""
    functions, admin = services.functions, services.admin
    made = (await functions.create(admin, "default", structs.replace(HELLO, environment={"TOKEN": "secret"}))).function
    await functions.report(Observation(function_id=made.id, revision=1, state="Active"))
    assert await functions.delete(admin, made.id)
    assert not await functions.delete(admin, made.id)
    assert not await functions.delete_by_hash(admin, made.hash)
    for attempt in (
        functions.get(admin, made.id),
        functions.by_hash(admin, made.hash),
        Routes(services.table, master=MASTER).find(made.hash.encode()),
        functions.by_name(admin, "default", "hello"),
        functions.update(admin, made.id, FunctionChange(description="back")),
        functions.source(admin, made.id),
        services.records.list(admin, made.id),
    ):
        with pytest.raises(NotFound):
            await attempt
    assert (await functions.list(admin, "default")).items == []
    tombstone = (await services.table.get(Key("WS#default", f"FN#{made.id}"))).data
    assert tombstone["deleted_at"] == "2027-01-15T08:00:00.000Z"
    assert "secret" not in str(tombstone)
    with pytest.raises(ItemNotFound):
        await services.table.get(Key("WS#default", f"STATUS#{made.id}"))
    again = (await functions.create(admin, "default", HELLO)).function
    assert (again.id, again.hash) != (made.id, made.hash)


async def test_deletes_that_race_delete_once(services: Services) -> None:
    """Ten at once, with updates beside them: one did it, and no update brings it back."""
    made = (await services.functions.create(services.admin, "default", HELLO)).function
    deletes = [services.functions.delete(services.admin, made.id) for _ in range(10)]
    updates = [services.functions.update(services.admin, made.id, FunctionChange(timeout_s=n + 4)) for n in range(10)]
    answers = await asyncio.gather(*updates, *deletes, return_exceptions=True)
    assert answers[10:].count(True) == 1
    assert answers[10:].count(False) == 9
    assert all(isinstance(answer, NotFound | Described) for answer in answers[:10])
    with pytest.raises(NotFound):
        await services.functions.get(services.admin, made.id)


async def test_a_create_sent_again_makes_nothing(services: Services) -> None:
    """The same answer, also after the function was changed or deleted; under its key another request is refused."""
    once = Once.of("k-1", b"POST /functions", b"body")
    first = await services.functions.create(services.admin, "default", HELLO, once=once)
    await services.functions.update(services.admin, first.function.id, FunctionChange(timeout_s=9))
    assert await services.functions.create(services.admin, "default", HELLO, once=once) == first
    with pytest.raises(Conflict):
        await services.functions.create(
            services.admin,
            "default",
            structs.replace(HELLO, name="x"),
            once=Once.of("k-1", b"POST /functions", b"other"),
        )
    await services.functions.delete(services.admin, first.function.id)
    assert await services.functions.create(services.admin, "default", HELLO, once=once) == first
    assert (await services.functions.list(services.admin, "default")).items == []


async def test_creates_with_one_key_at_once_make_one(services: Services) -> None:
    """Twenty at once: one function, one answer."""
    once = Once.of("k", b"body")
    answers = await asyncio.gather(
        *(services.functions.create(services.admin, "default", HELLO, once=once) for _ in range(20))
    )
    assert len({answer.function.id for answer in answers}) == 1
    assert len((await services.functions.list(services.admin, "default")).items) == 1


async def test_idempotency_keys_belong_to_an_api_key_and_last_a_day(services: Services) -> None:
    """Two callers may choose the same; a refusal is not kept; a day later it is a new request."""
    table_clock = services.clock
    once = Once.of("k", b"body")
    with pytest.raises(InvalidInput):
        await services.functions.create(services.admin, "default", structs.replace(HELLO, code=b""), once=once)
    first = await services.functions.create(services.admin, "default", HELLO, once=once)
    with pytest.raises(AlreadyExists):
        await services.functions.create(Caller("other", "default"), "default", HELLO, once=once)
    item = (await services.table.query("IDEMPOTENCY#platform")).items[0]
    assert item.expires_at == table_clock.now_s + 24 * 3600
    assert first.function.id in str(item.data)


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "é", "a\n", "a\0"])
def test_idempotency_keys_are_visible_ascii(key: str) -> None:
    """1 to 255 characters."""
    with pytest.raises(InvalidInput):
        Once.of(key, b"body")


def test_the_fingerprint_keeps_parts_apart() -> None:
    """What is path and what is body is part of what was asked."""
    assert Once.of("k", b"ab", b"c") != Once.of("k", b"a", b"bc")
    assert Once.of("k", b"ab", b"c") == Once.of("k", b"ab", b"c")


async def test_a_deployment_holds_all_that_a_deployer_needs(services: Services) -> None:
    """Its key is the function's own and follows from the installation's."""
    first = (await services.functions.create(services.admin, "default", HELLO)).function
    second = (
        await services.functions.create(services.admin, "default", structs.replace(HELLO, name="b", auth="key"))
    ).function
    one, two = (services.functions.deployment_for(each) for each in (first, second))
    assert (one.open, two.open) == (True, False)
    assert (one.artifact_key, one.artifact_sha256) == (first.code.artifact_key, first.code.sha256)
    assert (one.version, one.revision, one.runtime, one.hash) == ("$LATEST", 1, "python3.12", first.hash)
    assert one.invoke_key != two.invoke_key
    assert services.functions.deployment_for(first) == one


async def test_reports_change_the_status_and_nothing_else(services: Services) -> None:
    """The users' revision stays; late reports about earlier revisions and deleted functions are dropped."""
    functions, admin = services.functions, services.admin
    made = (await functions.create(admin, "default", HELLO)).function
    assert [each.id async for each in functions.undeployed()] == [made.id]
    await functions.report(Observation(function_id=made.id, revision=1, state="Active"))
    active = await functions.get(admin, made.id)
    assert (active.function, active.status.state, active.status.reason) == (made, "Active", None)
    assert [each.id async for each in functions.undeployed()] == []
    await functions.update(admin, made.id, FunctionChange(timeout_s=4))
    assert (await functions.get(admin, made.id)).status.state == "Pending"
    assert [each.revision async for each in functions.undeployed()] == [2]
    await functions.report(Observation(function_id=made.id, revision=2, state="Failed", reason="no such module"))
    await functions.report(Observation(function_id=made.id, revision=1, state="Active"))
    failed = (await functions.get(admin, made.id)).status
    assert (failed.state, failed.reason, failed.revision) == ("Failed", "no such module", 2)
    await functions.delete(admin, made.id)
    await functions.report(Observation(function_id=made.id, revision=2, state="Active"))
    await functions.report(Observation(function_id="nobody", revision=1, state="Active"))
    with pytest.raises(ItemNotFound):
        await services.table.get(Key("WS#default", f"STATUS#{made.id}"))


async def test_a_report_of_what_is_pending_says_nothing_new(services: Services) -> None:
    """It shows that the deployer has begun, to who waits for that, and never takes back what was said."""
    made = (await services.functions.create(services.admin, "default", HELLO)).function
    fresh = (await services.functions.get(services.admin, made.id)).status
    pending = Observation(function_id=made.id, revision=1, state="Pending")
    assert not await is_reported(services.table, "default", made.id)
    await services.functions.report(pending)
    assert await is_reported(services.table, "default", made.id)
    assert (await services.functions.get(services.admin, made.id)).status == fresh
    await services.functions.report(Observation(function_id=made.id, revision=1, state="Active"))
    await services.functions.report(pending)
    assert (await services.functions.get(services.admin, made.id)).status.state == "Active"


async def test_a_workspace_has_room_for_so_many(services: Services) -> None:
    """One more is refused in words that name the limit, in that workspace only, until another one is gone."""
    functions = Functions(
        services.table,
        services.objects,
        runtimes=services.runtimes,
        master=MASTER,
        cursors=Cursors(MASTER),
        sources=CodeSources(services.table),
        most=2,
        monotonic=services.clock,
    )
    admin = services.admin
    first, _ = [(await functions.create(admin, "default", structs.replace(HELLO, name=name))).function for name in "ab"]
    with pytest.raises(Conflict, match=r"2 functions, and may have 2 \(functions\.limits\.functions\)"):
        await functions.create(admin, "default", structs.replace(HELLO, name="c"))
    other = await services.workspaces.create(admin, name="other")
    await functions.create(admin, other.id, HELLO)
    await functions.delete(admin, first.id)
    await functions.create(admin, "default", structs.replace(HELLO, name="c"))
    await services.functions.create(admin, "default", structs.replace(HELLO, name="elsewhere"))
    services.clock.now_s += 10
    with pytest.raises(Conflict, match="has 3 functions"):
        await functions.create(admin, "default", structs.replace(HELLO, name="d"))


async def test_waiting_for_what_has_failed_is_in_vain(services: Services) -> None:
    """Unless something of it serves, or it was updated since, which who asks may not know yet."""
    functions, table, admin = services.functions, services.table, services.admin
    made = (await functions.create(admin, "default", HELLO)).function
    known = functions.deployment_for(made)
    failed = Observation(function_id=made.id, revision=1, state="Failed", reason="no image", serves=False)
    assert await failure_of(table, known) is None
    await functions.report(failed)
    assert await failure_of(table, known) == "no image"
    assert not await is_reported(table, "default", made.id)
    await functions.update(admin, made.id, FunctionChange(timeout_s=4))
    assert await failure_of(table, known) is None
    await functions.report(structs.replace(failed, revision=2, serves=True))
    assert await failure_of(table, known) is None
    assert await is_reported(table, "default", made.id)


async def test_no_status_outlives_its_function(services: Services, interposed: InterposedTable) -> None:
    """The function is deleted while a report about it is on its way."""
    made = (await services.functions.create(services.admin, "default", HELLO)).function
    interposed.interpose("WS#default", f"STATUS#{made.id}", lambda: services.functions.delete(services.admin, made.id))
    await services.functions.report(Observation(function_id=made.id, revision=1, state="Active"))
    assert interposed.is_done
    with pytest.raises(ItemNotFound):
        await services.table.get(Key("WS#default", f"STATUS#{made.id}"))


async def test_a_report_that_meets_an_update_is_kept(services: Services, interposed: InterposedTable) -> None:
    """It is about the earlier revision: it is stored, and not shown."""
    made = (await services.functions.create(services.admin, "default", HELLO)).function
    change = FunctionChange(timeout_s=4)
    interposed.interpose(
        "WS#default", f"STATUS#{made.id}", lambda: services.functions.update(services.admin, made.id, change)
    )
    await services.functions.report(Observation(function_id=made.id, revision=1, state="Active"))
    assert interposed.is_done
    assert (await services.functions.get(services.admin, made.id)).status.state == "Pending"
    assert (await services.table.get(Key("WS#default", f"STATUS#{made.id}"))).data["revision"] == 1


async def test_an_update_never_brings_back_what_was_deleted(services: Services, interposed: InterposedTable) -> None:
    """The function is deleted between the update's read and its write."""
    made = (await services.functions.create(services.admin, "default", HELLO)).function
    interposed.interpose("WS#default", f"FN#{made.id}", lambda: services.functions.delete(services.admin, made.id))
    with pytest.raises(NotFound):
        await services.functions.update(services.admin, made.id, FunctionChange(timeout_s=4))
    assert interposed.is_done
    with pytest.raises(NotFound):
        await services.functions.by_name(services.admin, "default", "hello")


async def test_listeners_hear_of_every_change(services: Services) -> None:
    """After it is stored: create, update, delete; not what changed nothing or was refused."""
    heard: list[Function] = []
    services.functions.subscribe(heard.append)
    made = (await services.functions.create(services.admin, "default", HELLO)).function
    await services.functions.update(services.admin, made.id, FunctionChange(timeout_s=4))
    await services.functions.update(services.admin, made.id, FunctionChange(timeout_s=4))
    with pytest.raises(LateenError):
        await services.functions.create(services.admin, "default", HELLO)
    await services.functions.delete(services.admin, made.id)
    await services.functions.delete(services.admin, made.id)
    assert [(each.revision, each.deleted_at is not None) for each in heard] == [(1, False), (2, False), (3, True)]


async def test_the_controller_sees_every_function(services: Services) -> None:
    """Of all workspaces, more than one page of them, without the deleted ones."""
    other = await services.workspaces.create(services.admin, name="other")
    made = set()
    for workspace in ("default", other.id):
        for number in range(55):
            new = structs.replace(HELLO, name=f"f{number}")
            made.add((await services.functions.create(services.admin, workspace, new)).function.id)
    gone = made.pop()
    await services.functions.delete(services.admin, gone)
    assert {each.id async for each in services.functions.all()} == made


async def test_the_sweep_removes_what_no_function_names(services: Services) -> None:
    """Old versions' artifacts and deleted functions' code, an hour later; never what is in use or just arrived."""
    functions, admin = services.functions, services.admin
    kept = (await functions.create(admin, "default", HELLO)).function
    zipped = package(OTHER, file="app.py").artifact
    changed = (await functions.create(admin, "default", structs.replace(HELLO, name="b"))).function
    changed = (await functions.update(admin, changed.id, FunctionChange(code=zipped))).function
    gone = (await functions.create(admin, "default", structs.replace(HELLO, name="c"))).function
    await functions.delete(admin, gone.id)
    before = await blobs(services)
    assert len(before) == 7
    await functions.report(Observation(function_id=changed.id, revision=changed.revision, state="Active"))
    services.clock.now_s = (await newest(services)) + 3590
    assert await functions.sweep() == 0
    services.clock.now_s += 20
    assert await functions.sweep() == 4
    assert set(await blobs(services)) == {
        kept.code.artifact_key,
        kept.code.source_key,
        changed.code.artifact_key,
    }
    assert await functions.sweep() == 0
    assert await functions.source(admin, kept.id) == SOURCE.decode()
    assert await functions.source(admin, changed.id) is None


async def test_the_sweep_leaves_alone_what_is_nobodys_here(services: Services) -> None:
    """A bucket may hold other things, in folders as deep as ours; a create that failed leaves its blob in a workspace
    that there is."""
    strangers = {"photos/2024/boat.jpg", "elsewhere/abc/code.py", "default/Not_An_Id/code.py"}
    for key in (*strangers, "default/abcdefghijklmnopq/code.py"):
        await services.objects.put(key, b"x")
    services.clock.now_s = 4_000_000_000
    assert await services.functions.sweep() == 1
    assert set(await blobs(services)) == strangers


async def newest(services: Services) -> float:
    return max([each.modified.timestamp() async for each in services.objects.list()])


async def test_code_stays_while_the_old_revision_may_still_run(services: Services) -> None:
    """A new revision that does not start leaves the old one serving, whose pods may have to fetch their code again."""
    functions, admin = services.functions, services.admin
    made = (await functions.create(admin, "default", HELLO)).function
    changed = (await functions.update(admin, made.id, FunctionChange(code=OTHER))).function
    services.clock.now_s = 4_000_000_000
    for state in ("Pending", "Failed"):
        await functions.report(Observation(function_id=made.id, revision=changed.revision, state=state))
        assert await functions.sweep() == 0
    await functions.report(Observation(function_id=made.id, revision=changed.revision, state="Active"))
    assert await functions.sweep() == 1
    assert await functions.source(admin, made.id) == OTHER.decode()


async def test_the_sweep_meets_no_update_halfway(services: Services) -> None:
    """A function goes back and forth between two sources while another process sweeps: its code is always there."""
    functions, admin = services.functions, services.admin
    made = (await functions.create(admin, "default", HELLO)).function
    services.clock.now_s = 4_000_000_000  # to the sweep, every blob is old
    elsewhere = assemble(services.table, services.objects, Path("absent"), clock=services.clock)
    is_over = False

    async def go_back_and_forth() -> None:
        nonlocal is_over
        for number in range(40):
            change = FunctionChange(code=OTHER if number % 2 == 0 else SOURCE)
            function = (await functions.update(admin, made.id, change)).function
            assert await blob(services, function.code.artifact_key)
            await functions.report(Observation(function_id=made.id, revision=function.revision, state="Active"))
        is_over = True

    async def sweep() -> int:
        swept = 0
        while not is_over:
            swept += await elsewhere.functions.sweep()
            await asyncio.sleep(random.uniform(0, 0.02))
        return swept

    _, swept = await asyncio.gather(go_back_and_forth(), sweep())
    assert swept > 0
    assert await functions.source(admin, made.id) == SOURCE.decode()


class _HeldObjects:
    """Objects whose deletes wait, and the moment at which one began."""

    def __init__(self, objects: FileObjects) -> None:
        self._objects = objects
        self.began = asyncio.Event()
        self.may_go = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._objects, name)

    async def delete(self, key: str) -> None:
        self.began.set()
        await self.may_go.wait()
        await self._objects.delete(key)


async def test_an_update_that_a_sweep_came_before_stores_its_code_again(
    services: Services, file_objects: FileObjects
) -> None:
    """The very blob that is being deleted is brought back by an update: it is there once the update says so."""
    functions, admin = services.functions, services.admin
    made = (await functions.create(admin, "default", HELLO)).function
    changed = (await functions.update(admin, made.id, FunctionChange(code=OTHER))).function
    await functions.report(Observation(function_id=made.id, revision=changed.revision, state="Active"))
    services.clock.now_s = 4_000_000_000
    held = _HeldObjects(file_objects)
    elsewhere = assemble(services.table, held, Path("absent"), clock=services.clock)
    sweep = asyncio.create_task(elsewhere.functions.sweep())
    await held.began.wait()
    update = asyncio.create_task(functions.update(admin, made.id, FunctionChange(code=SOURCE)))
    await asyncio.sleep(0.05)
    assert not update.done()
    held.may_go.set()
    assert await sweep == 1
    back = (await update).function
    assert back.code == made.code
    assert await blob(services, back.code.artifact_key)


async def test_an_update_that_stored_before_a_sweep_is_not_fooled(services: Services) -> None:
    """The sweep begins and ends between the storing of a blob and the transaction that names it."""
    functions, admin = services.functions, services.admin
    made = (await functions.create(admin, "default", HELLO)).function
    changed = (await functions.update(admin, made.id, FunctionChange(code=OTHER))).function
    await functions.report(Observation(function_id=made.id, revision=changed.revision, state="Active"))
    services.clock.now_s = 4_000_000_000
    elsewhere = assemble(services.table, services.objects, Path("absent"), clock=services.clock)
    store = functions._artifacts.store
    swept = 0

    async def store_and_be_late(code: Any, made: Any) -> None:
        nonlocal swept
        await store(code, made)
        swept += await elsewhere.functions.sweep() if not swept else 0

    functions._artifacts.store = store_and_be_late  # type: ignore[method-assign]
    back = (await functions.update(admin, made.id, FunctionChange(code=SOURCE))).function
    assert swept == 1
    assert await blob(services, back.code.artifact_key)


async def test_code_that_is_missing_is_said_to_be(services: Services) -> None:
    """Somebody removed the blob: that is the store's failure and no defect of ours."""
    made = (await services.functions.create(services.admin, "default", HELLO)).function
    await services.objects.delete(made.code.artifact_key)
    with pytest.raises(Unavailable):
        await services.functions.source(services.admin, made.id)


async def test_code_that_can_t_be_stored_makes_no_function(services: Services, tmp_path: Path) -> None:
    """A full or broken disk is said to be one; no state names code that is not there."""
    made = (await services.functions.create(services.admin, "default", HELLO)).function
    (tmp_path / "objects").rename(tmp_path / "away")
    (tmp_path / "objects").write_bytes(b"no folder")
    with pytest.raises(Unavailable):
        await services.functions.create(services.admin, "default", structs.replace(HELLO, name="other"))
    with pytest.raises(Unavailable):
        await services.functions.update(services.admin, made.id, FunctionChange(code=OTHER))
    (tmp_path / "objects").unlink()
    (tmp_path / "away").rename(tmp_path / "objects")
    assert [each.function for each in (await services.functions.list(services.admin, "default")).items] == [made]
    assert await services.functions.source(services.admin, made.id) == SOURCE.decode()
    await services.functions.create(services.admin, "default", structs.replace(HELLO, name="other"))


async def test_a_source_may_be_as_large_as_the_table_is_not(services: Services) -> None:
    """Code lies in the object store, of any size that is allowed."""
    source = b"# " + base64.b64encode(bytes(1_500_000)) + b"\n" + SOURCE
    made = await services.functions.create(services.admin, "default", structs.replace(HELLO, code=source))
    assert await services.functions.source(services.admin, made.function.id) == source.decode()
