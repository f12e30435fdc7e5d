"""Functions whose package is an image, over each table: made, changed, published, restored, deleted."""

from pathlib import Path
from typing import Any

import pytest

from lateen.adapters.filesystem import FileObjects
from lateen.domain.errors import InvalidInput, NotFound
from lateen.domain.functions import Function
from lateen.domain.images import Image, ImageConfig, ImagePolicy
from lateen.ports.table import Table
from lateen.services.functions import FunctionChange, NewFunction
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
    assert found.image == Image(uri=URI)
    deployment = services.functions.deployment_for(found)
    assert (deployment.image, deployment.artifact_key, deployment.handler) == (Image(uri=URI), "", "")
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
    assert configured.image == Image(uri=URI, config=config, pulls=1)
    assert services.functions.deployment_for(configured).handler == "a"
    pinned = await changed(services, configured, image_uri=PINNED, timeout_s=9)
    assert (pinned.code.sha256, pinned.timeout_s) == (PINNED.rpartition(":")[2], 9)
    assert (await changed(services, pinned, image_uri=PINNED)).revision == pinned.revision
    assert await refusal(services, pinned, image_uri="ghcr.io/teammate/thing:1") == "image"
    assert await refusal(services, pinned, image_config=ImageConfig(working_directory="b")) == (
        "image_config.working_directory"
    )


async def test_versions_keep_their_image(services: Services) -> None:
    """And give it back."""
    function = await made(services)
    versions = services.versions
    assert (await versions.publish(services.admin, function.id)).is_new
    assert not (await versions.publish(services.admin, function.id)).is_new
    await changed(services, function, image_uri=OTHER)
    assert (await versions.publish(services.admin, function.id)).is_new
    first = (await versions.get(services.admin, function.id, "1")).function
    assert first.image == Image(uri=URI)
    restored = (await versions.restore(services.admin, function.id, "1")).function
    assert (restored.image, restored.code) == (first.image, first.code)
    assert await services.functions.delete(services.admin, function.id)
    with pytest.raises(NotFound):
        await versions.get(services.admin, function.id, "1")
