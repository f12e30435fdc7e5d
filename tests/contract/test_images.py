"""Functions whose package is an image, over each table: made, changed, published, restored, deleted, and kept by the
digest that nodes have found."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from lateen.adapters.filesystem import FileObjects
from lateen.domain.errors import InvalidInput, NotFound
from lateen.domain.functions import Function, rolled_revision
from lateen.domain.images import Image, ImageConfig, ImagePolicy
from lateen.ports.deployer import Observation
from lateen.ports.image_resolver import ImageFailed
from lateen.ports.table import Table
from lateen.services.functions import FunctionChange, NewFunction
from lateen.services.resolving import Resolving
from lateen.testing.assembled import ManualClock, Services, assemble

RUNTIMES = Path(__file__).parents[2] / "runtimes"
CODE = b"def handler(event, context):\n    return 0\n"
URI, OTHER = "ghcr.io/team/thing:1", "ghcr.io/team/other:2"
PINNED = f"ghcr.io/team/thing@sha256:{'0123456789abcdef' * 4}"


@pytest.fixture(params=["sqlite", pytest.param("dynamodb", marks=pytest.mark.cluster)])
def table(request: pytest.FixtureRequest) -> Table:
    found: Table = request.getfixturevalue(f"{request.param}_table")
    return found


@pytest.fixture
async def services(table: Table, file_objects: FileObjects) -> Services:
    policy = ImagePolicy(allowed=("ghcr.io/team",))
    services = assemble(table, file_objects, RUNTIMES, clock=ManualClock(), images=policy)
    await services.workspaces.ensure_default()
    return services


async def made(services: Services, uri: str = URI, **more: Any) -> Function:
    new = NewFunction(name="thing", image=Image(uri=uri), **more)
    return (await services.functions.create(services.admin, "default", new)).function


async def changed(services: Services, function: Function, **change: Any) -> Function:
    return (await services.functions.update(services.admin, function.id, FunctionChange(**change))).function


async def refusal(services: Services, function: Function, **change: Any) -> str:
    with pytest.raises(InvalidInput) as refused:
        await changed(services, function, **change)
    return refused.value.field


async def test_an_image_is_all_of_its_code(services: Services) -> None:
    """No blob, no runtime, no handler; what a deployer is told is the image."""
    function = await made(services, memory_mib=256)
    assert (function.runtime, function.handler, function.code.artifact_key, function.code.size) == ("", "", "", 0)
    found = (await services.functions.get(services.admin, function.id)).function
    assert found == function
    assert found.image == Image(uri=URI, given_at=1)
    deployment = services.functions.deployment_for(found)
    assert (deployment.image, deployment.artifact_key, deployment.handler) == (found.image, "", "")
    assert await services.functions.with_artifact(deployment) is deployment
    assert await services.functions.source(services.admin, function.id) is None
    assert [blob async for blob in services.objects.list()] == []
    assert await services.functions.sweep(older_than_s=-1) == 0


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"runtime": "python3.12"}, "runtime"),
        ({"code": CODE}, "code"),
        ({"version": "3.12"}, "version"),
        ({"handler": "code.handler"}, "handler"),
        ({"uri": "no reference"}, "image"),
        ({"uri": "docker.io/team/thing"}, "image"),
        ({"timeout_s": 0}, "timeout"),
    ],
)
async def test_what_is_not_said_beside_an_image(services: Services, given: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await made(services, **given)
    assert refused.value.field == field
    assert not await services.functions.exist_in("default")


async def test_a_package_stays_of_its_kind(services: Services) -> None:
    image = await made(services)
    zipped = NewFunction(name="zipped", runtime="python3.12", code=CODE)
    code = (await services.functions.create(services.admin, "default", zipped)).function
    assert await refusal(services, image, code=CODE) == "code"
    assert await refusal(services, image, handler="a.b") == "handler"
    assert await refusal(services, image, handler=None) == "handler"
    assert await refusal(services, image, runtime="python3.12") == "runtime"
    assert await refusal(services, code, image_uri=URI) == "image"
    assert await refusal(services, code, image_config=ImageConfig()) == "image_config"
    for without in ({"runtime": "python3.12"}, {"code": CODE}):
        with pytest.raises(InvalidInput, match="required"):
            await services.functions.create(services.admin, "default", NewFunction(name="x", **without))  # type: ignore[arg-type]


async def test_changes(services: Services) -> None:
    """The same tag again is a change, for it may lead elsewhere by now; the same digest is none."""
    first = await made(services)
    same = await changed(services, first, image_uri=URI)
    assert (same.revision, same.code.sha256 != first.code.sha256) == (2, True)
    config = ImageConfig(entry_point=("/bin/x",), command=("a",), working_directory="/b")
    configured = await changed(services, same, image_config=config)
    assert configured.image == Image(uri=URI, config=config, given_at=2)
    assert services.functions.deployment_for(configured).handler == "a"
    pinned = await changed(services, configured, image_uri=PINNED, timeout_s=9)
    assert (pinned.code.sha256, pinned.timeout_s) == (PINNED.rpartition(":")[2], 9)
    assert (await changed(services, pinned, image_uri=PINNED)).revision == pinned.revision
    assert await refusal(services, pinned, image_uri="ghcr.io/teammate/thing:1") == "image"
    assert await refusal(services, pinned, image_config=ImageConfig(working_directory="b")) == (
        "image_config.working_directory"
    )


async def test_what_is_reserved_replaces_nothing(services: Services) -> None:
    """Of an image as of a zip: what runs is what ran."""
    function = await made(services)
    await services.functions.report(Observation(function_id=function.id, revision=function.revision, state="Active"))
    reserved = FunctionChange(reserved_concurrency=3)
    described = await services.functions.update(services.admin, function.id, reserved)
    assert (described.function.revision, rolled_revision(described.function)) == (2, 1)
    assert described.status.state == "Active"
    other = await services.functions.update(services.admin, function.id, FunctionChange(image_uri=URI))
    assert (rolled_revision(other.function), other.status.state) == (3, "Pending")


async def test_versions_keep_their_image(services: Services) -> None:
    """And give it back."""
    function = await made(services)
    versions = services.versions
    assert (await versions.publish(services.admin, function.id)).is_new
    assert not (await versions.publish(services.admin, function.id)).is_new
    await changed(services, function, image_uri=OTHER)
    assert (await versions.publish(services.admin, function.id)).is_new
    first = (await versions.get(services.admin, function.id, "1")).function
    assert first.image == Image(uri=URI, given_at=1)
    restored = (await versions.restore(services.admin, function.id, "1")).function
    assert (restored.image, restored.code) == (first.image, first.code)
    assert await services.functions.delete(services.admin, function.id)
    with pytest.raises(NotFound):
        await versions.get(services.admin, function.id, "1")


ONE, TWO = "1" * 64, "2" * 64


class Nodes:
    """`ImageResolver`; the test says what nodes have to say, and lets them say it."""

    def __init__(self, *said: str | Exception | None) -> None:
        self.said = list(said)
        self.asked: list[str] = []
        self.may = asyncio.Event()
        self.may.set()

    async def digest(self, workspace_id: str, image: Image) -> str | None:
        self.asked.append(image.uri)
        await self.may.wait()
        said = self.said.pop(0)
        if isinstance(said, Exception):
            raise said
        return said


class Lookups:
    """`Resolving`, and who was told."""

    def __init__(self, services: Services, nodes: Nodes | None) -> None:
        self.told: asyncio.Queue[str] = asyncio.Queue()
        self.resolving = Resolving(services.table, resolver=nodes)
        self.resolving.subscribe(self.told.put)

    async def image(self, function: Function) -> Image:
        """As it is deployed in the end. Raises: `ImageFailed`."""
        while (found := await self.resolving.resolved(function)) is None:
            assert await asyncio.wait_for(self.told.get(), 10) == function.id
        assert found.image is not None
        return found.image


async def test_a_tag_is_looked_up_once_for_each_time_that_it_was_given(services: Services) -> None:
    """The draft and the version of it have the same bytes, whichever is started first and whatever the tag does."""
    nodes = Nodes(ONE, TWO, ONE)
    lookups = Lookups(services, nodes)
    function = await made(services)
    await services.versions.publish(services.admin, function.id)
    version = (await services.versions.get(services.admin, function.id, "1")).function
    assert (await lookups.image(version)).pinned == f"ghcr.io/team/thing@sha256:{ONE}"
    assert (await lookups.image(function)).digest == ONE
    shown = (await services.functions.get(services.admin, function.id)).function
    assert (shown.code.sha256, shown.image and shown.image.uri) == (ONE, URI)
    configured = await changed(services, function, timeout_s=9)
    assert (await lookups.image(configured)).digest == ONE
    assert nodes.asked == [URI]

    other = await changed(services, configured, image_uri=OTHER)
    assert (await lookups.image(other)).pinned == f"ghcr.io/team/other@sha256:{TWO}"
    assert (await lookups.image(await changed(services, other, image_uri=URI))).digest == ONE
    assert nodes.asked == [URI, OTHER, URI]
    pinned = await changed(services, other, image_uri=PINNED)
    assert (await lookups.image(pinned)).pinned == PINNED
    assert len(nodes.asked) == 3
    digests = (await services.table.query(f"WS#{function.workspace_id}", begins="IMAGE#")).items
    assert [item.data["digest"] for item in digests].count(TWO) == 0, "nothing has that image any more"
    restored = (await services.versions.restore(services.admin, function.id, "1")).function
    assert restored.code.sha256 == ONE
    await services.functions.delete(services.admin, function.id)
    partition = (await services.table.query(f"WS#{function.workspace_id}", begins="IMAGE#")).items
    assert partition == []


async def test_the_same_bytes_are_no_new_version(services: Services) -> None:
    """Once both digests are known; and the caller may say which bytes are meant."""
    lookups = Lookups(services, Nodes(ONE, ONE, TWO))
    function = await made(services)
    await lookups.image(function)
    publish = services.versions.publish
    assert (await publish(services.admin, function.id, code_sha256=ONE)).is_new
    again = await changed(services, function, image_uri=URI)
    await lookups.image(again)
    assert not (await publish(services.admin, function.id)).is_new
    moved = await changed(services, again, image_uri=URI)
    await lookups.image(moved)
    with pytest.raises(InvalidInput, match="code_sha256"):
        await publish(services.admin, function.id, code_sha256=ONE)
    second = await publish(services.admin, function.id, code_sha256=TWO)
    assert (second.is_new, second.version.function.code.sha256) == (True, TWO)


async def test_what_was_put_into_nodes_by_hand_runs_as_it_was_given(services: Services) -> None:
    """Also where no node may ask a registry; and each time that it is given is told from the one before."""
    function = await made(services)
    assert (await Lookups(services, None).image(function)).pinned == URI
    lookups = Lookups(services, Nodes(None, None))
    first = await lookups.image(function)
    assert (first.pinned, first.digest) == (URI, None)
    again = await lookups.image(await changed(services, function, image_uri=URI))
    assert (again.pinned, again.sha256 != first.sha256) == (URI, True)


async def test_a_failure_is_told_and_tried_again(services: Services) -> None:
    """Each time that somebody asks after it was told; it stays the reason until another attempt has ended."""
    nodes = Nodes(ImageFailed("no password"), ImageFailed("no password"), ONE)
    lookups = Lookups(services, nodes)
    function = await made(services)
    with pytest.raises(ImageFailed, match="no password"):
        await lookups.image(function)
    assert len(nodes.asked) == 1
    for attempt in (2, 3):
        nodes.may.clear()
        for _ in range(2):
            with pytest.raises(ImageFailed, match="no password"):
                await lookups.resolving.resolved(function)
            await asyncio.sleep(0)
        assert len(nodes.asked) == attempt
        nodes.may.set()
        if attempt == 2:
            await asyncio.sleep(0.05)
            assert lookups.told.empty(), "the same again is no news"
    assert await asyncio.wait_for(lookups.told.get(), 10) == function.id
    assert (await lookups.image(function)).digest == ONE


async def test_another_image_ends_the_attempt_before(services: Services) -> None:
    nodes = Nodes(TWO)
    nodes.may.clear()
    lookups = Lookups(services, nodes)
    function = await made(services)
    assert await lookups.resolving.resolved(function) is None
    await asyncio.sleep(0)
    other = await changed(services, function, image_uri=OTHER)
    assert await lookups.resolving.resolved(other) is None
    await asyncio.sleep(0)
    nodes.may.set()
    assert (await lookups.image(other)).digest == TWO
    assert nodes.asked == [URI, OTHER]
    await lookups.resolving.close()
