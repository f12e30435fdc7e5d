"""Workspaces, keys and execution records, over the real embedded stores."""

import asyncio
from pathlib import Path

import pytest
from msgspec import structs

from lateen.adapters.filesystem import FileObjects
from lateen.adapters.sqlite import SqliteTable
from lateen.domain.access import Caller
from lateen.domain.errors import (
    AlreadyExists,
    Conflict,
    Forbidden,
    InvalidInput,
    LateenError,
    NotFound,
    RevisionMismatch,
    Unauthenticated,
)
from lateen.domain.keys import ApiKey, NewKey
from lateen.domain.workspaces import Workspace
from lateen.ports.table import Key
from lateen.services.functions import NewFunction
from lateen.services.idempotency import Once
from lateen.services.keys import CACHE_S
from lateen.services.routes import Routes
from lateen.services.workspaces import WorkspaceChange
from lateen.testing.assembled import MASTER, RETENTION_S, ManualClock, Services, assemble
from lateen.testing.interposed import InterposedTable
from lateen_invoker.records import ErrorDocument, ExecutionRecord

HELLO = NewFunction(name="hello", runtime="toy1", code=b"source")
TOML = 'name = "toy1"\nruntime = "toy"\nversion = "1"\nfile = "code.toy"\nhandler = "code.handler"\n'


@pytest.fixture
def interposed(sqlite_table: SqliteTable) -> InterposedTable:
    return InterposedTable(sqlite_table)


@pytest.fixture
async def services(interposed: InterposedTable, file_objects: FileObjects, tmp_path: Path) -> Services:
    (tmp_path / "runtimes" / "toy1").mkdir(parents=True)
    (tmp_path / "runtimes" / "toy1" / "runtime.toml").write_text(TOML)
    services = assemble(interposed, file_objects, tmp_path / "runtimes", clock=ManualClock())
    await services.workspaces.ensure_default()
    return services


async def a_key(services: Services, workspace_id: str | None = None) -> tuple[NewKey, Caller]:
    made = await services.keys.create(services.admin, workspace_id=workspace_id)
    return made, await services.keys.authenticate(made.secret)


async def everything(services: Services) -> set[Key]:
    """The keys of all items, tombstones apart, of the partitions that these tests fill."""
    found: set[Key] = set()
    for pk in ("WORKSPACES", "INSTALLATION"):
        found |= {item.key for item in (await services.table.query(pk)).items}
    return found


async def test_the_first_start_makes_the_default_workspace_once(services: Services) -> None:
    """Starts that race, and later ones, find it; it can't be deleted."""
    first = await services.workspaces.get(services.admin, "default")
    assert (first.id, first.name, len(first.account_id), first.revision) == ("default", "default", 12, 1)
    assert await asyncio.gather(*(services.workspaces.ensure_default() for _ in range(5))) == [first] * 5
    for force in (False, True):
        with pytest.raises(Conflict):
            await services.workspaces.delete(services.admin, "default", force=force)
    assert await services.workspaces.get(services.admin, "default") == first


async def test_default_workspaces_that_race_are_one(sqlite_table: SqliteTable, file_objects: FileObjects) -> None:
    """On an empty table."""
    services = assemble(sqlite_table, file_objects, Path("absent"), clock=ManualClock())
    made = await asyncio.gather(*(services.workspaces.ensure_default() for _ in range(5)))
    assert made == [made[0]] * 5


async def test_a_workspace_has_an_account(services: Services) -> None:
    """12 digits, of its own, that lead back to it."""
    made = await services.workspaces.create(services.admin, name="team", description="a team's")
    assert (made.name, made.description, made.revision) == ("team", "a team's", 1)
    assert made.account_id != (await services.workspaces.get(services.admin, "default")).account_id
    pointer = await services.table.get(Key(f"ACCOUNT#{made.account_id}", "WORKSPACE"))
    assert pointer.data == {"workspace_id": made.id}
    assert await services.workspaces.get(services.admin, made.id) == made


async def test_workspaces_are_listed_by_name_in_pages(services: Services) -> None:
    """A workspace's own key sees only its own."""
    made = [await services.workspaces.create(services.admin, name=f"w{number}") for number in range(5)]
    first = await services.workspaces.list(services.admin, limit=4)
    second = await services.workspaces.list(services.admin, limit=4, cursor=first.cursor)
    assert [each.name for each in first.items + second.items] == ["default", "w0", "w1", "w2", "w3", "w4"]
    assert second.cursor is None
    _, insider = await a_key(services, made[0].id)
    assert (await services.workspaces.list(insider)).items == [made[0]]
    with pytest.raises(InvalidInput):
        await services.workspaces.list(services.admin, cursor="x")


async def test_workspace_names_are_taken_once(services: Services) -> None:
    """Of ten at once one gets it; a rename to it is refused too; a rename frees the old one."""
    answers = await asyncio.gather(
        *(services.workspaces.create(services.admin, name="team") for _ in range(10)), return_exceptions=True
    )
    (team,) = [answer for answer in answers if isinstance(answer, Workspace)]
    assert sum(isinstance(answer, AlreadyExists) for answer in answers) == 9
    other = await services.workspaces.create(services.admin, name="other")
    with pytest.raises(AlreadyExists):
        await services.workspaces.update(services.admin, other.id, WorkspaceChange(name="team"))
    renamed = await services.workspaces.update(services.admin, team.id, WorkspaceChange(name="crew"))
    assert (renamed.name, renamed.revision, renamed.account_id) == ("crew", 2, team.account_id)
    await services.workspaces.update(services.admin, other.id, WorkspaceChange(name="team"))
    assert [w.name for w in (await services.workspaces.list(services.admin)).items] == ["crew", "default", "team"]


async def test_of_workspace_updates_that_expect_a_revision_one_wins(services: Services) -> None:
    """Without one, all apply; what changes nothing counts for nothing."""
    team = await services.workspaces.create(services.admin, name="team")
    update = services.workspaces.update
    changes = [WorkspaceChange(description=f"d{number}") for number in range(8)]
    answers = await asyncio.gather(
        *(update(services.admin, team.id, change, expected=1) for change in changes), return_exceptions=True
    )
    assert sum(isinstance(answer, RevisionMismatch) for answer in answers) == 7
    await asyncio.gather(
        update(services.admin, team.id, WorkspaceChange(name="crew")),
        update(services.admin, team.id, WorkspaceChange(description="all")),
    )
    found = await services.workspaces.get(services.admin, team.id)
    assert (found.name, found.description, found.revision) == ("crew", "all", 4)
    assert await update(services.admin, team.id, WorkspaceChange(name="crew")) == found
    for bad in (WorkspaceChange(name="a b"), WorkspaceChange(description="x" * 257)):
        with pytest.raises(InvalidInput):
            await update(services.admin, team.id, bad)


async def test_a_workspace_with_functions_is_deleted_by_force_only(services: Services) -> None:
    """With it go its functions and keys, and its name is free; again is no error; nothing else is touched."""
    before = await everything(services)
    team = await services.workspaces.create(services.admin, name="team")
    key, insider = await a_key(services, team.id)
    functions = [
        (await services.functions.create(services.admin, team.id, structs.replace(HELLO, name=f"f{n}"))).function
        for n in range(3)
    ]
    bystander = await services.functions.create(services.admin, "default", HELLO)
    with pytest.raises(Conflict):
        await services.workspaces.delete(services.admin, team.id)
    assert await services.workspaces.get(services.admin, team.id) == team
    with pytest.raises(RevisionMismatch):
        await services.workspaces.delete(services.admin, team.id, force=True, expected=7)
    await services.workspaces.delete(services.admin, team.id, force=True, expected=1)
    await services.workspaces.delete(services.admin, team.id)
    with pytest.raises(NotFound):
        await services.workspaces.get(services.admin, team.id)
    with pytest.raises(NotFound):
        await services.workspaces.update(services.admin, team.id, WorkspaceChange(description="back"))
    with pytest.raises(NotFound):
        await services.functions.create(services.admin, team.id, HELLO)
    with pytest.raises(NotFound):
        await services.keys.create(services.admin, workspace_id=team.id)
    with pytest.raises(Unauthenticated):
        await services.keys.authenticate(key.secret)
    for function in functions:
        with pytest.raises(NotFound):
            await Routes(services.table, master=MASTER).find(function.hash.encode())
    assert await everything(services) == before
    assert await services.functions.get(services.admin, bystander.function.id) == bystander
    assert insider.workspace_id == team.id
    await services.workspaces.create(services.admin, name="team")


async def test_creates_that_race_with_a_workspace_s_delete_leave_no_orphan(services: Services) -> None:
    """Either the function was first and the delete is refused, or it is refused itself."""
    for number in range(10):
        team = await services.workspaces.create(services.admin, name=f"team{number}")
        results = await asyncio.gather(
            services.workspaces.delete(services.admin, team.id),
            *(
                services.functions.create(services.admin, team.id, structs.replace(HELLO, name=f"f{n}"))
                for n in range(3)
            ),
            services.keys.create(services.admin, workspace_id=team.id),
            return_exceptions=True,
        )
        deleted, made = results[0] is None, [r for r in results[1:4] if not isinstance(r, BaseException)]
        assert not (deleted and made)
        assert all(r is None or isinstance(r, LateenError) for r in results if isinstance(r, BaseException))
        if deleted:
            assert not await services.functions.exist_in(team.id)
        else:
            assert (await services.workspaces.get(services.admin, team.id)).is_closing is False
            await services.functions.create(services.admin, team.id, structs.replace(HELLO, name="later"))


async def test_a_function_made_beside_a_delete_keeps_the_workspace(
    services: Services, interposed: InterposedTable
) -> None:
    """It came after the delete had looked, and before the workspace was closed: the delete is refused after all."""
    team = await services.workspaces.create(services.admin, name="team")
    interposed.interpose(f"WS#{team.id}", "NAME#", lambda: services.functions.create(services.admin, team.id, HELLO))
    with pytest.raises(Conflict):
        await services.workspaces.delete(services.admin, team.id)
    assert interposed.is_done
    await services.functions.by_name(services.admin, team.id, "hello")
    await services.functions.create(services.admin, team.id, structs.replace(HELLO, name="later"))


async def test_a_forced_delete_races_with_creates(services: Services) -> None:
    """No function of the workspace is left, whatever was answered."""
    for number in range(5):
        team = await services.workspaces.create(services.admin, name=f"team{number}")
        await asyncio.gather(
            services.workspaces.delete(services.admin, team.id, force=True),
            services.workspaces.delete(services.admin, team.id, force=True),
            *(
                services.functions.create(services.admin, team.id, structs.replace(HELLO, name=f"f{n}"))
                for n in range(5)
            ),
            return_exceptions=True,
        )
        assert not await services.functions.exist_in(team.id)
        with pytest.raises(NotFound):
            await services.workspaces.get(services.admin, team.id)


async def test_a_delete_that_broke_off_can_be_finished(services: Services) -> None:
    """A workspace that was left closing takes nothing new, and the next delete ends it."""
    team = await services.workspaces.create(services.admin, name="team")
    await services.workspaces._mark(services.admin, team, is_closing=True)
    with pytest.raises(Conflict):
        await services.functions.create(services.admin, team.id, HELLO)
    with pytest.raises(Conflict):
        await services.keys.create(services.admin, workspace_id=team.id)
    await services.workspaces.delete(services.admin, team.id)
    with pytest.raises(NotFound):
        await services.workspaces.get(services.admin, team.id)


async def test_a_delete_that_broke_off_leaves_no_workspace_closed(services: Services) -> None:
    """A function was made beside it: the next delete is refused, and the workspace takes new ones again."""
    team = await services.workspaces.create(services.admin, name="team")
    await services.functions.create(services.admin, team.id, HELLO)
    await services.workspaces._mark(services.admin, team, is_closing=True)
    with pytest.raises(Conflict, match="has functions"):
        await services.workspaces.delete(services.admin, team.id)
    await services.functions.create(services.admin, team.id, structs.replace(HELLO, name="later"))


async def test_a_delete_opens_no_workspace_that_a_forced_one_removes(
    services: Services, interposed: InterposedTable
) -> None:
    """It is refused, and nothing new is made that nobody would remove."""
    team = await services.workspaces.create(services.admin, name="team")
    await services.functions.create(services.admin, team.id, HELLO)
    refusals: list[str] = []

    async def meanwhile() -> None:
        for attempt in (
            services.workspaces.delete(services.admin, team.id),
            services.functions.create(services.admin, team.id, structs.replace(HELLO, name="later")),
        ):
            with pytest.raises(Conflict) as refused:
                await attempt
            refusals.append(str(refused.value))

    interposed.interpose(f"WS#{team.id}", "FN#", meanwhile)
    await services.workspaces.delete(services.admin, team.id, force=True)
    assert interposed.is_done
    assert ["has functions" in refusals[0], "being deleted" in refusals[1]] == [True, True]
    assert not await services.functions.exist_in(team.id)
    with pytest.raises(NotFound):
        await services.workspaces.get(services.admin, team.id)


async def test_a_workspace_that_was_opened_beside_its_delete_stays(
    services: Services, interposed: InterposedTable
) -> None:
    """Another delete opened it after this one had found it closed and empty, and a function was made."""
    team = await services.workspaces.create(services.admin, name="team")

    async def opened() -> None:
        closed = await services.workspaces.get(services.admin, team.id)
        assert closed.is_closing
        await services.workspaces._mark(services.admin, closed, is_closing=False)
        await services.functions.create(services.admin, team.id, HELLO)

    async def at_the_second_look() -> None:
        interposed.interpose(f"WS#{team.id}", "NAME#", opened)

    interposed.interpose(f"WS#{team.id}", "NAME#", at_the_second_look)
    with pytest.raises(Conflict, match="has functions"):
        await services.workspaces.delete(services.admin, team.id)
    assert interposed.is_done
    await services.functions.by_name(services.admin, team.id, "hello")
    await services.functions.create(services.admin, team.id, structs.replace(HELLO, name="later"))


async def test_a_workspace_s_key_rules_no_workspaces(services: Services) -> None:
    """Its own it sees and can't change; others do not exist."""
    team = await services.workspaces.create(services.admin, name="team")
    _, insider = await a_key(services, team.id)
    assert await services.workspaces.get(insider, team.id) == team
    for attempt in (
        services.workspaces.create(insider, name="mine"),
        services.workspaces.update(insider, team.id, WorkspaceChange(name="mine")),
        services.workspaces.delete(insider, team.id),
    ):
        with pytest.raises(Forbidden):
            await attempt
    for attempt in (
        services.workspaces.get(insider, "default"),
        services.workspaces.update(insider, "default", WorkspaceChange(name="mine")),
        services.workspaces.delete(insider, "default"),
        services.workspaces.delete(insider, "nobody"),
    ):
        with pytest.raises(NotFound):
            await attempt


async def test_workspaces_and_keys_are_created_once_per_idempotency_key(services: Services) -> None:
    """The same answer to all, the key's secret included, which is not stored."""
    once = Once.of("k", b"body")
    spaces = await asyncio.gather(*(services.workspaces.create(services.admin, name="t", once=once) for _ in range(10)))
    assert spaces == [spaces[0]] * 10
    other = Once.of("k2", b"body")
    keys = await asyncio.gather(
        *(services.keys.create(services.admin, workspace_id=None, once=other) for _ in range(10))
    )
    assert keys == [keys[0]] * 10
    assert (await services.keys.authenticate(keys[0].secret)).key_id == keys[0].key.id
    stored = str((await services.table.query("IDEMPOTENCY#platform")).items)
    assert keys[0].key.id in stored
    assert keys[0].secret.split("_")[2] not in stored
    with pytest.raises(Conflict):
        await services.keys.create(services.admin, workspace_id=None, once=Once.of("k2", b"other"))


async def test_a_key_opens_what_it_belongs_to(services: Services) -> None:
    """Its secret is checked whole and stored as a digest."""
    made, caller = await a_key(services)
    assert caller == Caller(made.key.id, None)
    inside, insider = await a_key(services, "default")
    assert insider == Caller(inside.key.id, "default")
    for wrong in ("", made.secret[:-1], made.secret + "0", made.secret.upper(), "ltn_" + "a" * 17 + "_" + "0" * 48):
        with pytest.raises(Unauthenticated):
            await services.keys.authenticate(wrong)
    swapped = made.secret[:22] + inside.secret[22:]
    with pytest.raises(Unauthenticated):
        await services.keys.authenticate(swapped)
    stored = str((await services.table.get(Key(f"KEY#{made.key.id}", "METADATA"))).data)
    assert made.secret.split("_")[2] not in stored
    assert made.aws.secret_access_key not in stored


async def test_the_aws_pair_follows_from_the_key(services: Services) -> None:
    """The same at every look, until the key is revoked."""
    made, caller = await a_key(services, "default")
    found = await services.keys.aws_secret(made.aws.access_key_id)
    assert (found.caller, found.secret_access_key) == (caller, made.aws.secret_access_key)
    assert services.keys.aws_pair(made.key) == made.aws
    assert len(made.aws.secret_access_key) == 40
    assert made.aws.secret_access_key == MASTER.aws_secret(made.key.id)
    await services.keys.revoke(services.admin, made.key.id)
    for wrong in (made.aws.access_key_id, "LTN" + "A" * 17, "AKIAIOSFODNN7EXAMPLE", "", "\ud800"):
        with pytest.raises(Unauthenticated):
            await services.keys.aws_secret(wrong)


async def test_a_revoked_key_is_refused_at_once_here_and_soon_elsewhere(
    services: Services, file_objects: FileObjects
) -> None:
    """Another process may believe what it read for five seconds."""
    elsewhere = assemble(services.table, file_objects, Path("absent"), clock=services.clock)
    made, caller = await a_key(services)
    assert await elsewhere.keys.authenticate(made.secret) == caller
    await services.keys.revoke(services.admin, made.key.id)
    await services.keys.revoke(services.admin, made.key.id)
    with pytest.raises(Unauthenticated):
        await services.keys.authenticate(made.secret)
    services.clock.now_s += CACHE_S
    with pytest.raises(Unauthenticated):
        await elsewhere.keys.authenticate(made.secret)
    with pytest.raises(NotFound):
        await services.keys.revoke(services.admin, "nobody")
    with pytest.raises(NotFound):
        await services.keys.revoke(services.admin, "../x")


async def test_a_known_key_costs_no_read(services: Services) -> None:
    """For five seconds."""
    made, caller = await a_key(services)
    await services.table.delete(Key(f"KEY#{made.key.id}", "METADATA"))
    assert await services.keys.authenticate(made.secret) == caller
    services.clock.now_s += CACHE_S
    with pytest.raises(Unauthenticated):
        await services.keys.authenticate(made.secret)


async def test_the_cache_keeps_no_key_that_is_revoked_beside_the_read(
    services: Services, interposed: InterposedTable
) -> None:
    """That one call may pass, for it began before; the next one does not."""
    made = await services.keys.create(services.admin, workspace_id=None)
    interposed.interpose(f"KEY#{made.key.id}", "METADATA", lambda: services.keys.revoke(services.admin, made.key.id))
    await services.keys.authenticate(made.secret)
    assert interposed.is_done
    with pytest.raises(Unauthenticated):
        await services.keys.authenticate(made.secret)


async def test_the_keys_of_a_workspace_go_with_it_however_many(services: Services) -> None:
    """None stays in the installation's list, where nobody could tell what it is for."""
    team = await services.workspaces.create(services.admin, name="team")
    await asyncio.gather(*(services.keys.create(services.admin, workspace_id=team.id) for _ in range(120)))
    await services.workspaces.delete(services.admin, team.id)
    assert (await services.keys.list(services.admin)).items == []


async def test_keys_are_listed_by_those_who_may_see_them(services: Services) -> None:
    """All for the installation's, its own for a workspace's; without the revoked ones."""
    team = await services.workspaces.create(services.admin, name="team")
    made = [(await a_key(services, workspace))[0].key for workspace in (None, "default", team.id, team.id)]
    insider = Caller("x", team.id)
    own = await services.keys.create(insider, workspace_id=None)
    assert own.key.workspace_id == team.id

    async def listed(caller: Caller) -> set[str]:
        found: list[ApiKey] = []
        cursor = None
        while True:
            page = await services.keys.list(caller, limit=2, cursor=cursor)
            found += page.items
            if (cursor := page.cursor) is None:
                return {key.id for key in found}

    assert await listed(services.admin) == {key.id for key in made} | {own.key.id}
    assert await listed(insider) == {made[2].id, made[3].id, own.key.id}
    for hidden in (made[0], made[1]):
        with pytest.raises(NotFound):
            await services.keys.revoke(insider, hidden.id)
    with pytest.raises(NotFound):
        await services.keys.create(insider, workspace_id="default")
    await services.keys.revoke(insider, made[2].id)
    assert await listed(insider) == {made[3].id, own.key.id}
    assert await listed(services.admin) == {made[0].id, made[1].id, made[3].id, own.key.id}
    with pytest.raises(InvalidInput):
        await services.keys.create(services.admin, workspace_id=None, description="x" * 257)


async def test_the_administrator_survives_a_crash_between_file_and_table(services: Services) -> None:
    """What was saved becomes the key at the next start; a second start changes nothing; a revoked one is replaced."""
    saved: list[str] = []
    secret = await services.keys.administrator(None, saved.append)
    assert saved == [secret]
    assert (await services.keys.authenticate(secret)).workspace_id is None
    assert await services.keys.administrator(secret, saved.append) == secret
    assert saved == [secret]

    class DiskFull(Exception):
        pass

    lost: list[str] = []

    def save_and_die(text: str) -> None:
        lost.append(text)
        raise DiskFull

    with pytest.raises(DiskFull):
        await services.keys.administrator(None, save_and_die)
    with pytest.raises(Unauthenticated):
        await services.keys.authenticate(lost[0])
    assert await services.keys.administrator(lost[0], saved.append) == lost[0]
    assert (await services.keys.authenticate(lost[0])).workspace_id is None
    await services.keys.revoke(services.admin, (await services.keys.authenticate(secret)).key_id)
    replaced = await services.keys.administrator(secret, saved.append)
    assert replaced != secret
    assert saved[-1] == replaced
    assert await services.keys.administrator("not a secret", saved.append) == saved[-1] != replaced


async def test_a_workspace_s_key_never_becomes_the_administrator(services: Services) -> None:
    """Whatever was put into the administrator's file."""
    inside, _ = await a_key(services, "default")
    secret = await services.keys.administrator(inside.secret, lambda _: None)
    assert secret != inside.secret
    assert (await services.keys.authenticate(inside.secret)).workspace_id == "default"


def a_record(function_id: str, number: int, **values: object) -> ExecutionRecord:
    given = {
        "request_id": f"r{number:05}",
        "function_id": function_id,
        "version": "$LATEST",
        "timestamp": f"2027-01-15T08:{number // 60:02}:{number % 60:02}.000Z",
        "status": "success",
        "duration_ms": 1.5,
    }
    return ExecutionRecord(**(given | values))  # type: ignore[arg-type]


async def test_records_are_read_newest_first(services: Services) -> None:
    """In pages, whole, and stored twice is stored once."""
    function = (await services.functions.create(services.admin, "default", HELLO)).function
    records = [a_record(function.id, number) for number in range(250)]
    records[-1] = structs.replace(
        records[-1], status="error", error=ErrorDocument("E", "m", ["t"]), cold=True, log_tail="x"
    )
    await services.records.store(function.id, records)
    await services.records.store(function.id, records[:10])
    found: list[ExecutionRecord] = []
    cursor = None
    while True:
        page = await services.records.list(services.admin, function.id, limit=60, cursor=cursor)
        assert len(page.items) <= 60
        found += page.items
        if (cursor := page.cursor) is None:
            break
    assert found == records[::-1]
    item = (await services.table.query(f"FN#{function.id}", begins="LOG#", limit=1)).items[0]
    assert item.key.sk == "LOG#2027-01-15T08:00:00.000Z#r00000"
    assert item.expires_at == services.clock.now_s + RETENTION_S


async def test_records_are_chosen_by_time_and_status(services: Services) -> None:
    """`since` includes its moment, in any offset; both may be combined and go on by cursor."""
    function = (await services.functions.create(services.admin, "default", HELLO)).function
    statuses = ("success", "error", "timeout")
    records = [a_record(function.id, number, status=statuses[number % 3]) for number in range(120)]
    await services.records.store(function.id, records)
    listed = services.records.list
    since = "2027-01-15T09:01:00+01:00"
    assert (await listed(services.admin, function.id, limit=100, since=since)).items == records[:59:-1]
    errors = await listed(services.admin, function.id, limit=10, since=since, status="error")
    rest = await listed(services.admin, function.id, limit=100, since=since, status="error", cursor=errors.cursor)
    assert errors.items + rest.items == [r for r in records[:59:-1] if r.status == "error"]
    assert (await listed(services.admin, function.id, since="2030-01-01T00:00:00Z")).items == []
    for wrong in ("", "today", "2027-01-15", "2027-01-15T08:00:00", "LOG#", "x" * 100):
        with pytest.raises(InvalidInput) as refused:
            await listed(services.admin, function.id, since=wrong)
        assert refused.value.field == "since"
    for limit in (0, 101):
        with pytest.raises(InvalidInput):
            await listed(services.admin, function.id, limit=limit)


async def test_pages_of_records_stay_bounded(services: Services) -> None:
    """Large tails end a page early; a rare status is not looked for without end. Every record is reached in the end."""
    function = (await services.functions.create(services.admin, "default", HELLO)).function
    large = [a_record(function.id, number, log_tail="x" * 256 * 1024) for number in range(40)]
    await services.records.store(function.id, large)
    page = await services.records.list(services.admin, function.id, limit=100)
    assert 0 < len(page.items) <= 17
    rest = page.items
    while page.cursor is not None:
        page = await services.records.list(services.admin, function.id, limit=100, cursor=page.cursor)
        rest = rest + page.items
    assert rest == large[::-1]
    other = (await services.functions.create(services.admin, "default", structs.replace(HELLO, name="o"))).function
    await services.records.store(other.id, [a_record(other.id, 0, status="timeout")])
    await services.records.store(other.id, [a_record(other.id, number) for number in range(1, 1500)])
    first = await services.records.list(services.admin, other.id, status="timeout")
    assert first.items == []
    assert first.cursor is not None
    second = await services.records.list(services.admin, other.id, status="timeout", cursor=first.cursor)
    assert [r.request_id for r in second.items] == ["r00000"]
    assert second.cursor is None
    with pytest.raises(InvalidInput):
        await services.records.list(services.admin, function.id, cursor=first.cursor)


async def test_a_function_s_batch_holds_its_own_records_only(services: Services) -> None:
    """An invoker can't write into another function's log."""
    one = (await services.functions.create(services.admin, "default", HELLO)).function
    two = (await services.functions.create(services.admin, "default", structs.replace(HELLO, name="two"))).function
    await services.records.store(one.id, [a_record(two.id, 1), a_record(one.id, 2)])
    assert [r.request_id for r in (await services.records.list(services.admin, one.id)).items] == ["r00002"]
    assert (await services.records.list(services.admin, two.id)).items == []
