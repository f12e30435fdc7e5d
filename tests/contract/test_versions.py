"""Versions and aliases, over each table: what users do to them, also many at once."""

import asyncio
from itertools import pairwise
from pathlib import Path

import pytest
from msgspec import structs

from lateen.adapters.filesystem import FileObjects
from lateen.domain.access import Caller
from lateen.domain.errors import AlreadyExists, Conflict, InvalidInput, NotFound, RevisionMismatch
from lateen.domain.events import EventInvokeChange
from lateen.domain.function_urls import FunctionUrl
from lateen.domain.functions import LATEST, Function, configured_revision, rolled_revision
from lateen.domain.versions import Alias, Target
from lateen.ports.deployer import Observation
from lateen.ports.table import Table
from lateen.services.aliases import AliasChange
from lateen.services.event_configs import config_key
from lateen.services.functions import FunctionChange, NewFunction
from lateen.services.routes import Routes
from lateen.services.tenants import partition
from lateen.services.version_items import alias_key, head_key, version_key
from lateen.testing.assembled import MASTER, ManualClock, Services, assemble
from lateen.testing.interposed import InterposedTable

RUNTIMES = Path(__file__).parents[2] / "runtimes"
HELLO = NewFunction(name="hello", runtime="python3.12", code=b"def handler(event, context):\n    return 0\n")
NEVER = 4_000_000_000.0
"""By when everything is old."""


@pytest.fixture(params=["sqlite", pytest.param("dynamodb", marks=pytest.mark.cluster)])
def table(request: pytest.FixtureRequest) -> Table:
    found: Table = request.getfixturevalue(f"{request.param}_table")
    return found


@pytest.fixture
async def services(table: Table, file_objects: FileObjects) -> Services:
    services = assemble(table, file_objects, RUNTIMES, clock=ManualClock())
    await services.workspaces.ensure_default()
    return services


@pytest.fixture
async def hello(services: Services) -> Function:
    return (await services.functions.create(services.admin, "default", HELLO)).function


def code(number: int) -> bytes:
    return f"def handler(event, context):\n    return {number}\n".encode()


async def changed(services: Services, function: Function, number: int) -> Function:
    change = FunctionChange(code=code(number))
    return (await services.functions.update(services.admin, function.id, change)).function


async def published(services: Services, function: Function, number: int) -> Function:
    """A version with code of its own."""
    await changed(services, function, number)
    return (await services.versions.publish(services.admin, function.id)).version.function


async def versions_of(services: Services, function: Function) -> list[str]:
    page = await services.versions.list(services.admin, function.id)
    return [described.function.version for described in page.items]


async def runs(services: Services, version: Function) -> None:
    """What a controller reports."""
    await services.functions.report(
        Observation(function_id=version.id, version=version.version, revision=version.revision, state="Active")
    )


async def items_left(services: Services, function: Function) -> set[str]:
    page = await services.table.query(partition("default"), limit=1000)
    return {item.key.sk for item in page.items if function.id in item.key.sk and "SWEEP" not in item.key.sk}


async def test_a_version_is_the_function_as_it_was(services: Services, hello: Function) -> None:
    """Code, configuration and description, whatever becomes of the draft; the name and who may call are the
    function's."""
    functions, versions, admin = services.functions, services.versions, services.admin
    first = (await versions.publish(admin, hello.id, description="the first")).version
    assert (first.function.version, first.function.description, first.status.state) == ("1", "the first", "Active")
    change = FunctionChange(
        name="renamed", code=code(1), environment={"A": "b"}, timeout_s=9, memory_mib=256, description="new", auth="key"
    )
    await functions.update(admin, hello.id, change)
    now = (await versions.get(admin, hello.id, "1")).function
    assert now == structs.replace(first.function, name="renamed", auth="key")
    assert now.code == hello.code
    assert (now.environment, now.timeout_s, now.memory_mib, now.concurrency) == ({}, 3, 128, 10)
    assert await versions.source(admin, hello.id, "1") == HELLO.code.decode()
    assert await versions.source(admin, hello.id, LATEST) == code(1).decode()


async def test_publishing_what_is_published_makes_nothing(services: Services, hello: Function) -> None:
    """Until something is changed; a change that was taken back is none. What is the function's alone is none either."""
    versions, functions, admin = services.versions, services.functions, services.admin
    first = await versions.publish(admin, hello.id)
    assert first.is_new
    again = await versions.publish(admin, hello.id, description="not a change")
    assert (again.is_new, again.version) == (False, first.version)
    await changed(services, hello, 5)
    await functions.update(admin, hello.id, FunctionChange(code=HELLO.code, replicas=2))
    assert not (await versions.publish(admin, hello.id)).is_new
    await functions.update(admin, hello.id, FunctionChange(description="a change"))
    assert (await versions.publish(admin, hello.id)).version.function.version == "2"
    assert await versions_of(services, hello) == ["1", "2"]


async def test_numbers_are_given_out_once(services: Services, hello: Function) -> None:
    """Also of what was deleted, and to who publishes at the same time as others."""
    versions, admin = services.versions, services.admin

    async def change_and_publish(number: int) -> str:
        return (await published(services, hello, number)).version

    numbers = await asyncio.gather(*(change_and_publish(number) for number in range(1, 13)))
    made = await versions_of(services, hello)
    # Some published one change together: that is one version. No number means two things.
    assert made == [str(number) for number in range(1, len(made) + 1)]
    assert set(numbers) == set(made)
    artifacts = [(await versions.get(admin, hello.id, version)).function.code.sha256 for version in made]
    assert all(one != other for one, other in pairwise(artifacts))
    last = made[-1]
    assert await versions.delete(admin, hello.id, last)
    assert not await versions.delete(admin, hello.id, last)
    assert (await published(services, hello, 99)).version == str(int(last) + 1)


async def test_publishers_that_do_not_know_of_each_other(
    services: Services, hello: Function, table: Table, file_objects: FileObjects
) -> None:
    """Processes share nothing but the table: each change is a version of one number, whoever was faster."""
    others = [assemble(table, file_objects, RUNTIMES, clock=ManualClock()) for _ in range(4)]

    async def publish(number: int, process: Services) -> tuple[str, str]:
        own = (
            await process.functions.create(services.admin, "default", structs.replace(HELLO, name=f"f{number}"))
        ).function
        version = (await process.versions.publish(services.admin, own.id)).version.function
        await changed(process, hello, number)
        mine = (await process.versions.publish(services.admin, hello.id)).version.function
        return mine.version, version.version

    numbers = await asyncio.gather(*(publish(number, process) for number, process in enumerate(others, 1)))
    assert {own for _, own in numbers} == {"1"}
    made = await versions_of(services, hello)
    assert made == [str(number) for number in range(1, len(made) + 1)]
    assert {number for number, _ in numbers} == set(made)


async def test_a_publish_that_expects_something_else(services: Services, hello: Function) -> None:
    versions, admin = services.versions, services.admin
    with pytest.raises(RevisionMismatch):
        await versions.publish(admin, hello.id, expected=2)
    with pytest.raises(InvalidInput, match="code_sha256"):
        await versions.publish(admin, hello.id, code_sha256="0" * 64)
    with pytest.raises(InvalidInput, match="description"):
        await versions.publish(admin, hello.id, description="x" * 257)
    assert await versions_of(services, hello) == []
    assert (await versions.publish(admin, hello.id, expected=1, code_sha256=hello.code.sha256)).is_new


async def test_an_alias_leads_to_one_or_two_versions(services: Services, hello: Function) -> None:
    aliases, admin = services.aliases, services.admin
    for number in (1, 2):
        await published(services, hello, number)
    made = (await aliases.create(admin, hello.id, "live", Target("1"), description="for all")).alias
    assert (made.target, made.description, made.revision) == (Target("1"), "for all", 1)
    shared = (await aliases.update(admin, hello.id, "live", AliasChange(weights={"2": 0.25}))).alias
    assert (shared.target, shared.hash, shared.revision) == (Target("1", {"2": 0.25}), made.hash, 2)
    assert shared.description == "for all"
    same = (await aliases.update(admin, hello.id, "live", AliasChange(version="1"))).alias
    assert same == shared
    _, is_new = await aliases.put(admin, hello.id, "draft", AliasChange(version=LATEST))
    assert is_new
    names = [each.alias.name for each in (await aliases.list(admin, hello.id)).items]
    assert names == ["draft", "live"]
    of_two = await aliases.list(admin, hello.id, version="2")
    assert [each.alias.name for each in of_two.items] == ["live"]
    assert await aliases.delete(admin, hello.id, "live")
    assert not await aliases.delete(admin, hello.id, "live")
    with pytest.raises(NotFound):
        await aliases.get(admin, hello.id, "live")


@pytest.mark.parametrize(
    ("name", "change", "field"),
    [
        ("1", AliasChange(version="1"), "name"),
        ("a b", AliasChange(version="1"), "name"),
        ("a\n", AliasChange(version="1"), "name"),
        ("", AliasChange(version="1"), "name"),
        ("x" * 129, AliasChange(version="1"), "name"),
        ("a", AliasChange(), "version"),
        ("a", AliasChange(version="latest"), "version"),
        ("a", AliasChange(version="01"), "version"),
        ("a", AliasChange(version="1\n"), "version"),
        ("a", AliasChange(version=LATEST, weights={"1": 0.5}), "routing"),
        ("a", AliasChange(version="1", weights={LATEST: 0.5}), "routing"),
        ("a", AliasChange(version="1", weights={"1": 0.5}), "routing"),
        ("a", AliasChange(version="1", weights={"2": 0.5, "3": 0.1}), "routing"),
        ("a", AliasChange(version="1", weights={"2": 1.1}), "routing.2"),
        ("a", AliasChange(version="1", weights={"2": -0.1}), "routing.2"),
        ("a", AliasChange(version="1", weights={"2": float("nan")}), "routing.2"),
        ("a", AliasChange(version="1", description="\x1b"), "description"),
    ],
)
async def test_what_no_alias_can_be(
    services: Services, hello: Function, name: str, change: AliasChange, field: str
) -> None:
    await services.versions.publish(services.admin, hello.id)
    with pytest.raises(InvalidInput) as refused:
        await services.aliases.put(services.admin, hello.id, name, change)
    assert refused.value.field == field


async def test_an_alias_leads_to_what_there_is(services: Services, hello: Function) -> None:
    """And what an alias leads to stays, whoever is faster."""
    aliases, versions, admin = services.aliases, services.versions, services.admin
    with pytest.raises(NotFound, match="version"):
        await aliases.create(admin, hello.id, "live", Target("1"))
    for number in (1, 2):
        await published(services, hello, number)
    await aliases.create(admin, hello.id, "live", Target("1", {"2": 0.5}))
    with pytest.raises(AlreadyExists):
        await aliases.create(admin, hello.id, "live", Target("1"))
    for version in ("1", "2"):
        with pytest.raises(Conflict, match="live"):
            await versions.delete(admin, hello.id, version)
    await aliases.delete(admin, hello.id, "live")
    raced = await asyncio.gather(
        *(aliases.create(admin, hello.id, f"a{number}", Target("1")) for number in range(4)),
        versions.delete(admin, hello.id, "1"),
        return_exceptions=True,
    )
    is_there = "1" in await versions_of(services, hello)
    lead_there = [each for each in (await aliases.list(admin, hello.id)).items if "1" in each.alias.target.versions]
    assert is_there == isinstance(raced[-1], Conflict)
    assert is_there or not lead_there


async def test_what_events_get_goes_with_the_version_or_alias(services: Services, hello: Function) -> None:
    """A new one of that name begins with the defaults, and listings show none that leads nowhere."""
    aliases, versions, admin = services.aliases, services.versions, services.admin
    configs = services.event_configs
    for number in (1, 2):
        await published(services, hello, number)
    await aliases.create(admin, hello.id, "live", Target("1"))
    for qualifier in ("live", "2", "$LATEST"):
        await configs.put(hello, qualifier, EventInvokeChange(maximum_retry_attempts=0))
    await aliases.delete(admin, hello.id, "live")
    await versions.delete(admin, hello.id, "2")
    assert [each.qualifier for each in (await configs.list(hello)).items] == ["$LATEST"]
    await aliases.create(admin, hello.id, "live", Target("1"))
    with pytest.raises(NotFound):
        await configs.get(hello, "live")


@pytest.mark.parametrize("qualifier", ["live", "2"])
async def test_what_is_set_for_events_beside_a_delete_goes_too(
    services: Services, hello: Function, file_objects: FileObjects, qualifier: str
) -> None:
    """A later alias of that name does not have it."""
    admin, table = services.admin, InterposedTable(services.table)
    configs = assemble(table, file_objects, RUNTIMES, clock=services.clock).event_configs
    for number in (1, 2):
        await published(services, hello, number)
    await services.aliases.create(admin, hello.id, "live", Target("1"))

    async def delete() -> None:
        if qualifier == "live":
            await services.aliases.delete(admin, hello.id, "live")
        else:
            await services.versions.delete(admin, hello.id, "2")

    latest = (await services.functions.get(admin, hello.id)).function
    key = config_key(hello.id, qualifier)
    table.interpose(key.pk, key.sk, delete)
    with pytest.raises(NotFound):
        await configs.put(latest, qualifier, EventInvokeChange(maximum_retry_attempts=0))
    assert table.is_done
    assert (await configs.list(latest)).items == []
    with pytest.raises(NotFound):
        await configs.put(latest, "never-made", EventInvokeChange(maximum_retry_attempts=0))


@pytest.mark.parametrize("how", ["update", "change", "delete"])
async def test_what_is_done_to_an_alias_is_not_done_to_a_later_one(
    services: Services, hello: Function, file_objects: FileObjects, how: str
) -> None:
    """Another one was made with its name after it was read: what is stored is of that one, whose URL goes on leading
    somewhere."""
    admin, table = services.admin, InterposedTable(services.table)
    own = assemble(table, file_objects, RUNTIMES, clock=services.clock).aliases
    await published(services, hello, 1)
    await services.aliases.create(admin, hello.id, "live", Target("1"))
    made: list[Alias] = []

    async def make_anew() -> None:
        await services.aliases.delete(admin, hello.id, "live")
        made.append((await services.aliases.create(admin, hello.id, "live", Target("1"), description="new")).alias)

    key = alias_key("default", hello.id, "live")
    table.interpose(key.pk, key.sk, make_anew)
    if how == "delete":
        assert await own.delete(admin, hello.id, "live")
        assert (await services.table.query(f"HASH#{made[0].hash}")).items == []
        return
    if how == "update":
        stored = (await own.update(admin, hello.id, "live", AliasChange(version=LATEST))).alias
    else:
        stored = await own.change(admin, hello.id, "live", lambda old: structs.replace(old, policy=({"Sid": "a"},)))
    assert table.is_done
    assert (stored.hash, stored.description, stored.revision) == (made[0].hash, "new", 2)
    assert (await services.aliases.get(admin, hello.id, "live")).alias == stored
    assert (await Routes(services.table, master=MASTER).find(stored.hash.encode())).id.startswith(hello.id)


async def test_an_alias_moves_when_what_it_leads_to_runs(services: Services, hello: Function) -> None:
    """Until then its calls go where they went; what a rollback leads to is what served."""
    aliases, admin = services.aliases, services.admin
    one, two, three = [await published(services, hello, number) for number in (1, 2, 3)]
    await runs(services, one)
    await aliases.create(admin, hello.id, "live", Target("1"))

    async def served() -> str:
        return (await aliases.resolve(hello, "live")).version

    assert await served() == "1"
    moved = await aliases.update(admin, hello.id, "live", AliasChange(version="2"))
    assert moved.status.state == "Pending"
    assert await served() == "1"
    assert set(await services.functions.versions_wanted(hello)) == {"1", "2"}
    again = await aliases.update(admin, hello.id, "live", AliasChange(version="3"))
    assert again.alias.before == Target("1")
    await runs(services, two)
    assert await served() == "1"
    await runs(services, three)
    assert await served() == "3"
    assert (await aliases.get(admin, hello.id, "live")).status.state == "Active"
    assert set(await services.functions.versions_wanted(hello)) == {"3"}


async def test_what_was_reported_of_a_version_is_of_no_other(services: Services, hello: Function) -> None:
    """And nothing is kept of one that is gone."""
    one, two = [await published(services, hello, number) for number in (1, 2)]
    failed = Observation(function_id=hello.id, version="1", revision=one.revision, state="Failed", reason="no image")
    await services.functions.report(failed)
    states = [each.status.state for each in (await services.versions.list(services.admin, hello.id)).items]
    assert states == ["Failed", "Active"]
    assert (await services.functions.get(services.admin, hello.id)).status.state == "Pending"
    await services.versions.delete(services.admin, hello.id, "1")
    await services.functions.report(failed)
    assert not any(sk.endswith("-1") for sk in await items_left(services, hello))
    assert two.version == "2"


async def test_calls_are_drawn_by_lot(services: Services, hello: Function) -> None:
    """Within two points of the weights over 10,000 calls, by name as by the alias's own URL; other qualifiers lead to
    one version each."""
    aliases, admin = services.aliases, services.admin
    one, two = [await published(services, hello, number) for number in (1, 2)]
    for version in (one, two):
        await runs(services, version)
    alias = (await aliases.create(admin, hello.id, "live", Target("1", {"2": 0.1}))).alias
    latest = (await services.functions.get(admin, hello.id)).function
    assert [(await aliases.resolve(latest, q)).version for q in (None, LATEST, "1", "2")] == [LATEST, LATEST, "1", "2"]
    routes = Routes(services.table, master=MASTER)
    found = [await routes.find(alias.hash.encode()) for _ in range(10_000)]
    share = sum(deployment.version == "2" for deployment in found) / len(found)
    assert 0.08 <= share <= 0.12
    drawn = [(await aliases.resolve(latest, "live")).version for _ in range(200)]
    assert 2 <= drawn.count("2") <= 60
    for qualifier in ("3", "9" * 9, "none"):
        with pytest.raises(NotFound):
            await aliases.resolve(latest, qualifier)
    for qualifier in ("", "a b", "../x", "9" * 200):
        with pytest.raises((NotFound, InvalidInput)):
            await aliases.resolve(latest, qualifier)


async def test_who_knows_an_older_alias_is_told(services: Services, hello: Function) -> None:
    """And changes nothing; what is gone is not made anew by who thinks that he knows it."""
    aliases, admin = services.aliases, services.admin
    for number in (1, 2):
        await published(services, hello, number)
    await aliases.create(admin, hello.id, "live", Target("1"))
    moved = (await aliases.update(admin, hello.id, "live", AliasChange(version="2"), expected=1)).alias
    for late in (aliases.update, aliases.put):
        with pytest.raises(RevisionMismatch):
            await late(admin, hello.id, "live", AliasChange(version="1"), expected=1)
    with pytest.raises(RevisionMismatch):
        await aliases.delete(admin, hello.id, "live", expected=1)
    assert (await aliases.get(admin, hello.id, "live")).alias == moved
    assert await aliases.delete(admin, hello.id, "live", expected=2)
    with pytest.raises(NotFound):
        await aliases.put(admin, hello.id, "live", AliasChange(version="1"), expected=2)


async def test_an_alias_that_is_moved_while_it_is_provisioned(
    services: Services, hello: Function, file_objects: FileObjects
) -> None:
    """Whoever is later is told: $LATEST can't have any."""
    admin, table = services.admin, InterposedTable(services.table)
    own = assemble(table, file_objects, RUNTIMES, clock=services.clock).provisioned
    await published(services, hello, 1)
    await services.aliases.create(admin, hello.id, "live", Target("1"))
    key = alias_key("default", hello.id, "live")
    change = AliasChange(version=LATEST)
    table.interpose(key.pk, key.sk, lambda: services.aliases.update(admin, hello.id, "live", change))
    with pytest.raises(InvalidInput, match="unpublished"):
        await own.put(hello, "live", 1)
    assert table.is_done
    assert (await own.list(hello)).items == []


async def test_a_route_of_an_alias(services: Services, hello: Function) -> None:
    """It is the function's in what a caller needs, and goes with the alias; one of the same name has another URL."""
    aliases, functions, admin = services.aliases, services.functions, services.admin
    await published(services, hello, 1)
    alias = (await aliases.create(admin, hello.id, "live", Target("1"))).alias
    url_hash = alias.hash.encode()
    routes = Routes(services.table, master=MASTER, lives_s=float("inf"))
    functions.subscribe(routes.changed)
    found = await routes.find(url_hash)
    assert (found.id, found.hash, found.open, found.version) == (f"{hello.id}-1", hello.hash, True, "1")
    assert (routes.now(url_hash), routes.alias_of(url_hash)) == (None, "live")
    assert routes.alias_of(hello.hash.encode()) == ""
    await functions.update(admin, hello.id, FunctionChange(auth="key"))
    assert not (await routes.find(url_hash)).open
    await aliases.delete(admin, hello.id, "live")
    again = (await aliases.create(admin, hello.id, "live", Target("1"))).alias
    for _ in range(2):
        with pytest.raises(NotFound):
            await routes.find(url_hash)
    assert (await routes.find(again.hash.encode())).version == "1"
    with pytest.raises(NotFound):  # what is done to a function by its hash is not done by an alias's
        await functions.delete_by_hash(admin, again.hash)
    await functions.delete(admin, hello.id)
    with pytest.raises(NotFound):
        await routes.find(again.hash.encode())


async def test_an_alias_is_called_as_its_own_url_says(services: Services, hello: Function) -> None:
    """Where URLs were configured. Without one of its own it is nobody's to call, however open the function's is; with
    AuthType NONE it is so until its policy lets everybody in, and no key opens it meanwhile."""
    functions, urls, admin = services.functions, services.urls, services.admin
    await published(services, hello, 1)
    alias = (await services.aliases.create(admin, hello.id, "live", Target("1"))).alias
    routes = Routes(services.table, master=MASTER, lives_s=float("inf"))
    functions.subscribe(routes.changed)

    async def doors() -> tuple[bool, bool, bool]:
        found = await routes.find(alias.hash.encode())
        return found.open, found.signed, found.closed

    await urls.put(admin, hello.id, None, FunctionUrl(auth_type="NONE"))
    assert (await routes.find(hello.hash.encode())).open
    assert await doors() == (False, False, True)
    await urls.put(admin, hello.id, "live", FunctionUrl(auth_type="NONE"))
    assert await doors() == (True, False, False)
    await services.aliases.change(admin, hello.id, "live", lambda old: structs.replace(old, policy=()))
    assert await doors() == (False, False, True)
    await urls.put(admin, hello.id, "live", FunctionUrl(auth_type="AWS_IAM"))
    assert await doors() == (False, True, False)


async def test_a_route_is_closed_whichever_aliases_are_remembered(
    services: Services, hello: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where routes live until they are told of a change, none may be out of sight."""
    aliases, functions, admin = services.aliases, services.functions, services.admin
    await published(services, hello, 1)
    hashes = [(await aliases.create(admin, hello.id, name, Target("1"))).alias.hash.encode() for name in ("a", "b")]
    routes = Routes(services.table, master=MASTER, lives_s=float("inf"))
    functions.subscribe(routes.changed)
    monkeypatch.setattr("lateen.services.routes.ROUTES", 1)
    assert all([(await routes.find(each)).open for each in hashes])
    await functions.update(admin, hello.id, FunctionChange(auth="iam"))
    assert not any([(await routes.find(each)).open for each in hashes])


async def test_a_versions_code_goes_with_it(services: Services, hello: Function) -> None:
    """And not before, however old it is."""
    functions, versions, admin = services.functions, services.versions, services.admin
    one = await published(services, hello, 1)
    latest = await changed(services, hello, 2)
    await functions.report(Observation(function_id=hello.id, revision=latest.revision, state="Active"))
    services.clock.now_s = NEVER
    assert await functions.sweep() == 1  # what never was a version
    assert await versions.source(admin, hello.id, "1") == code(1).decode()
    await versions.delete(admin, hello.id, "1")
    assert await functions.sweep() == 1
    left = {blob.key async for blob in services.objects.list()}
    assert one.code.artifact_key not in left
    assert latest.code.artifact_key in left


async def test_a_deleted_function_leaves_no_version(services: Services, hello: Function) -> None:
    """Nor an alias, nor what was reported: its variables may be secrets."""
    for number in range(1, 60):
        version = await published(services, hello, number)
    await runs(services, version)
    for number in range(1, 60):
        await services.aliases.create(services.admin, hello.id, f"a{number}", Target(str(number)))
    assert len(await items_left(services, hello)) > 100
    await services.functions.delete(services.admin, hello.id)
    assert await items_left(services, hello) == {f"FN#{hello.id}"}
    for refused in (
        services.versions.get(services.admin, hello.id, "1"),
        services.versions.publish(services.admin, hello.id),
        services.aliases.get(services.admin, hello.id, "a1"),
        services.aliases.put(services.admin, hello.id, "a1", AliasChange(version=LATEST)),
    ):
        with pytest.raises(NotFound):
            await refused


async def test_the_draft_becomes_a_version_again(services: Services, hello: Function) -> None:
    """All of it but what is the function's; the number of changes goes on. It is started as after any update."""
    functions, versions, admin = services.functions, services.versions, services.admin
    await functions.update(admin, hello.id, FunctionChange(environment={"A": "1"}, timeout_s=7))
    await versions.publish(admin, hello.id)
    await functions.update(
        admin, hello.id, FunctionChange(code=code(9), environment={}, timeout_s=1, name="other", auth="key")
    )
    bad = await functions.update(admin, hello.id, FunctionChange(reserved_concurrency=2))
    told: list[Function] = []
    functions.subscribe(told.append)
    restored = (await versions.restore(admin, hello.id, "1", expected=bad.function.revision)).function
    assert (restored.version, restored.revision) == (LATEST, bad.function.revision + 1)
    assert rolled_revision(restored) == configured_revision(restored) == restored.revision
    assert told == [restored]
    assert (restored.environment, restored.timeout_s, restored.code) == ({"A": "1"}, 7, hello.code)
    assert (restored.name, restored.auth, restored.hash) == ("other", "key", hello.hash)
    assert await functions.source(admin, hello.id) == HELLO.code.decode()
    assert (await versions.restore(admin, hello.id, "1")).function == restored
    with pytest.raises(RevisionMismatch):
        await versions.restore(admin, hello.id, "1", expected=1)
    with pytest.raises(NotFound):
        await versions.restore(admin, hello.id, "2")


async def test_a_version_that_goes_meanwhile_is_not_restored(
    services: Services, hello: Function, file_objects: FileObjects
) -> None:
    """Its code may be swept then."""
    admin, table = services.admin, InterposedTable(services.table)
    own = assemble(table, file_objects, RUNTIMES, clock=services.clock).versions
    one = await published(services, hello, 1)
    latest = await changed(services, hello, 2)
    key = version_key("default", hello.id, one.version)
    table.interpose(key.pk, key.sk, lambda: services.versions.delete(admin, hello.id, one.version))
    with pytest.raises(NotFound):
        await own.restore(admin, hello.id, one.version)
    assert table.is_done
    assert (await services.functions.get(admin, hello.id)).function == latest


@pytest.mark.parametrize("how", ["update", "delete"])
async def test_what_is_changed_while_it_is_published(
    services: Services, hello: Function, file_objects: FileObjects, how: str
) -> None:
    """The version is what the function is when it is made: the code of before may be swept, and of a function that was
    deleted nothing is to stay."""
    admin, table = services.admin, InterposedTable(services.table)
    own = assemble(table, file_objects, RUNTIMES, clock=services.clock).versions

    async def change() -> None:
        if how == "update":
            await changed(services, hello, 1)
        else:
            await services.functions.delete(admin, hello.id)

    key = head_key(hello)
    table.interpose(key.pk, key.sk, change)
    if how == "update":
        assert (await own.publish(admin, hello.id)).version.function.code != hello.code
    else:
        with pytest.raises(NotFound):
            await own.publish(admin, hello.id)
        assert await items_left(services, hello) == {f"FN#{hello.id}"}
    assert table.is_done


async def test_nothing_is_left_of_a_version(services: Services, hello: Function) -> None:
    """Not what was reported of it, nor whom its policy lets in."""
    await published(services, hello, 1)
    before = await items_left(services, hello)
    two = await published(services, hello, 2)
    await runs(services, two)
    await services.version_policies.change(hello, two.version, lambda _: ({"Sid": "a"},))
    assert len(await items_left(services, hello)) > len(before) + 2
    await services.versions.delete(services.admin, hello.id, two.version)
    assert await items_left(services, hello) == before


async def test_a_version_s_own_description_stays_its_own(services: Services, hello: Function) -> None:
    """What is restored gets the description that the function had."""
    functions, versions, admin = services.functions, services.versions, services.admin
    await functions.update(admin, hello.id, FunctionChange(description="Says hello"))
    await versions.publish(admin, hello.id, description="release 1")
    await functions.update(admin, hello.id, FunctionChange(description="Says goodbye"))
    assert (await versions.restore(admin, hello.id, "1")).function.description == "Says hello"
    assert not (await versions.publish(admin, hello.id)).is_new


async def test_what_is_restored_has_yet_to_run(services: Services, hello: Function) -> None:
    """Also where nothing but the reserved concurrency was changed before it was published."""
    functions, versions, admin = services.functions, services.versions, services.admin
    reserved = (await functions.update(admin, hello.id, FunctionChange(reserved_concurrency=3))).function
    await versions.publish(admin, hello.id)
    latest = await changed(services, hello, 2)
    await functions.report(Observation(function_id=hello.id, revision=latest.revision, state="Active"))
    restored = await versions.restore(admin, hello.id, "1")
    assert restored.status.state == "Pending"
    assert rolled_revision(restored.function) == restored.function.revision > latest.revision > reserved.revision
    await functions.update(admin, hello.id, FunctionChange(reserved_concurrency=4))
    again = await versions.restore(admin, hello.id, "1")
    assert again.function.revision == restored.function.revision + 1, "it is that version already"


async def test_other_workspaces_see_none_of_it(services: Services, hello: Function) -> None:
    """As if there were none."""
    await services.versions.publish(services.admin, hello.id)
    await services.aliases.create(services.admin, hello.id, "live", Target("1"))
    stranger = Caller("k", "elsewhere")
    for refused in (
        services.versions.get(stranger, hello.id, "1"),
        services.versions.list(stranger, hello.id),
        services.versions.publish(stranger, hello.id),
        services.versions.delete(stranger, hello.id, "1"),
        services.versions.restore(stranger, hello.id, "1"),
        services.aliases.get(stranger, hello.id, "live"),
        services.aliases.list(stranger, hello.id),
        services.aliases.put(stranger, hello.id, "live", AliasChange(version=LATEST)),
        services.aliases.delete(stranger, hello.id, "live"),
    ):
        with pytest.raises(NotFound, match="no such function"):
            await refused


async def test_listings_go_on_where_they_stopped(services: Services, hello: Function) -> None:
    """Versions by number, not by text; aliases by name."""
    for number in range(1, 13):
        await published(services, hello, number)
        await services.aliases.create(services.admin, hello.id, f"a{number:02}", Target(str(number)))
    versions: list[str] = []
    aliases: list[Alias] = []
    cursor = None
    while True:
        page = await services.versions.list(services.admin, hello.id, limit=5, cursor=cursor)
        versions += [each.function.version for each in page.items]
        if (cursor := page.cursor) is None:
            break
    while True:
        named = await services.aliases.list(services.admin, hello.id, limit=5, cursor=cursor)
        aliases += [each.alias for each in named.items]
        if (cursor := named.cursor) is None:
            break
    assert versions == [str(number) for number in range(1, 13)]
    assert [alias.name for alias in aliases] == [f"a{number:02}" for number in range(1, 13)]
