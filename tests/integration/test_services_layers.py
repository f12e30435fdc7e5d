"""Layers in the services: numbered, listed, deleted, and kept for as long as a function has them."""

import asyncio
import hashlib
import io
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lateen.adapters.filesystem import FileObjects
from lateen.adapters.sqlite import SqliteTable
from lateen.domain.access import Caller
from lateen.domain.errors import InvalidInput, NotFound, TooLarge
from lateen.domain.functions import Function
from lateen.domain.layers import LayerVersion
from lateen.ports.deployer import Observation
from lateen.ports.table import Page
from lateen.services.functions import FunctionChange, NewFunction
from lateen.services.idempotency import Once
from lateen.services.layers import NewLayer
from lateen.services.zips import MAX_UNZIPPED
from lateen.testing.assembled import ManualClock, Services, assemble
from lateen.testing.interposed import InterposedTable

SOURCE = b"def handler(event, context):\n    return event\n"
RUNTIMES = Path(__file__).parents[2] / "runtimes"
ELSEWHERE = Caller(key_id="k1", workspace_id="elsewhere")


def zip_of(files: Mapping[str, str | bytes] | None = None) -> bytes:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in (files or {"python/shared.py": "VALUE = 1\n"}).items():
            archive.writestr(name, content)
    return whole.getvalue()


@pytest.fixture
def interposed(sqlite_table: SqliteTable) -> InterposedTable:
    return InterposedTable(sqlite_table)


@pytest.fixture
async def services(interposed: InterposedTable, file_objects: FileObjects) -> Services:
    services = assemble(interposed, file_objects, RUNTIMES, clock=ManualClock())
    await services.workspaces.ensure_default()
    return services


async def publish(services: Services, name: str = "shared", content: bytes | None = None) -> LayerVersion:
    return await services.layers.publish(
        services.admin, "default", NewLayer(name=name, content=zip_of() if content is None else content)
    )


async def function_with(services: Services, *layers: LayerVersion, name: str = "hello") -> Function:
    new = NewFunction(name=name, runtime="python3.12", code=SOURCE, layers=[layer.arn for layer in layers])
    return (await services.functions.create(services.admin, "default", new)).function


async def change(services: Services, function: Function, *arns: str) -> Function:
    asked = FunctionChange(layers=arns)
    return (await services.functions.update(services.admin, function.id, asked)).function


async def layer_blobs(services: Services) -> set[str]:
    return {blob.key async for blob in services.objects.list("default/layers/")}


async def sweep(services: Services) -> int:
    services.clock.now_s = 4e9  # long after what the real clock dates blobs by
    return await services.layers.sweep()


async def test_a_version_is_as_it_was_published(services: Services) -> None:
    content = zip_of({"python/a.py": "1" * 1000, "bin/tool": "#!/bin/sh\n"})
    asked = NewLayer(
        name="shared",
        content=content,
        description="What all share",
        runtimes=("python3.12",),
        architectures=("arm64",),
        license="MIT",
    )
    made = await services.layers.publish(services.admin, "default", asked)
    account = (await services.workspaces.get(services.admin, "default")).account_id
    assert made.arn == f"arn:aws:lambda:us-east-1:{account}:layer:shared:1"
    assert made.layer_arn == f"arn:aws:lambda:us-east-1:{account}:layer:shared"
    assert (made.description, made.runtimes, made.architectures, made.license) == (
        "What all share",
        ("python3.12",),
        ("arm64",),
        "MIT",
    )
    assert (made.size, made.sha256, made.unzipped) == (len(content), hashlib.sha256(content).hexdigest(), 1010)
    assert b"".join([chunk async for chunk in services.objects.read(made.key)]) == content
    assert await services.layers.get(services.admin, "default", "shared", 1) == made


async def test_numbers_count_up_and_are_never_used_again(services: Services) -> None:
    """Also where a version, or all of them, were deleted; each layer counts for itself."""
    assert [(await publish(services)).version for _ in range(2)] == [1, 2]
    await services.layers.delete(services.admin, "default", "shared", 2)
    await services.layers.delete(services.admin, "default", "shared", 1)
    assert (await publish(services)).version == 3
    assert (await publish(services, "other")).version == 1


async def test_publishes_at_once_get_a_number_each(
    services: Services, interposed: InterposedTable, file_objects: FileObjects
) -> None:
    """Of two processes, ten each."""
    other = assemble(interposed, file_objects, RUNTIMES, clock=services.clock)
    made = await asyncio.gather(*(publish(each) for each in [services, other] * 10))
    assert sorted(layer.version for layer in made) == list(range(1, 21))


async def test_the_same_request_publishes_once(services: Services) -> None:
    new, once = NewLayer(name="shared", content=zip_of()), Once.of("key", b"request")
    first, second = [await services.layers.publish(services.admin, "default", new, once=once) for _ in range(2)]
    assert first == second
    assert (await publish(services)).version == 2


async def test_layers_are_listed_by_name_and_versions_newest_first(services: Services) -> None:
    for name in ("b", "a", "b", "gone"):
        await publish(services, name)
    await services.layers.delete(services.admin, "default", "gone", 1)
    listed = await services.layers.list(services.admin, "default")
    assert [(layer.name, layer.version) for layer in listed.items] == [("a", 1), ("b", 2)]
    first = await services.layers.versions(services.admin, "default", "b", limit=1)
    assert [layer.version for layer in first.items] == [2]
    rest = await services.layers.versions(services.admin, "default", "b", cursor=first.cursor)
    assert [layer.version for layer in rest.items] == [1]
    for name in ("nobody", "b#0000000001", "../b", ""):
        assert (await services.layers.versions(services.admin, "default", name)).items == []


async def test_eleven_versions_are_in_order(services: Services) -> None:
    """As numbers, not as texts."""
    for _ in range(11):
        await publish(services)
    listed = (await services.layers.versions(services.admin, "default", "shared")).items
    assert [layer.version for layer in listed] == list(range(11, 0, -1))


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"name": "a b"}, "name"),
        ({"name": "x" * 141}, "name"),
        ({"name": ""}, "name"),
        ({"content": b"no zip"}, "content"),
        ({"content": b""}, "content"),
        ({"content": zip_of({"../evil": "x"})}, "content"),
        ({"description": "x" * 257}, "description"),
        ({"description": "\x1b[2J"}, "description"),
        ({"license": "x" * 513}, "license"),
        ({"runtimes": ("python3.12",) * 16}, "runtimes"),
        ({"runtimes": ("../x",)}, "runtimes"),
        ({"architectures": ("vax",)}, "architectures"),
    ],
)
async def test_what_is_no_layer_is_refused(services: Services, asked: dict[str, object], field: str) -> None:
    """By the field's name, and nothing is stored."""
    with pytest.raises(InvalidInput) as refused:
        await services.layers.publish(
            services.admin,
            "default",
            NewLayer(**{"name": "shared", "content": zip_of(), **asked}),  # type: ignore[arg-type]
        )
    assert refused.value.field == field
    assert await layer_blobs(services) == set()


async def test_links_are_refused(services: Services) -> None:
    """As in a function's code."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        link = zipfile.ZipInfo("lib/link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(InvalidInput):
        await publish(services, content=whole.getvalue())


async def test_another_workspace_is_not_there(services: Services) -> None:
    """Neither its layers nor a place to publish."""
    layer = await publish(services)
    for attempt in (
        services.layers.get(ELSEWHERE, "default", "shared", 1),
        services.layers.list(ELSEWHERE, "default"),
        services.layers.versions(ELSEWHERE, "default", "shared"),
        services.layers.delete(ELSEWHERE, "default", "shared", 1),
        services.layers.publish(ELSEWHERE, "default", NewLayer(name="x", content=zip_of())),
    ):
        with pytest.raises(NotFound):
            await attempt
    other = await services.workspaces.create(services.admin, name="other")
    with pytest.raises(InvalidInput) as refused:
        await services.functions.create(
            services.admin, other.id, NewFunction(name="f", runtime="python3.12", code=SOURCE, layers=[layer.arn])
        )
    assert refused.value.reason == f"Layer version {layer.arn} does not exist."


async def test_a_function_has_what_it_was_given_in_order(services: Services) -> None:
    """The deployer is told where each zip is; layers are replaced as a whole."""
    a, b = await publish(services, "a"), await publish(services, "b")
    function = await function_with(services, b, a)
    assert function.layers == (b.used, a.used)
    assert services.functions.deployment_for(function).layers == (b.used, a.used)
    turned = await change(services, function, a.arn, b.arn)
    assert (turned.layers, turned.revision) == ((a.used, b.used), 2)
    assert (await change(services, function, a.arn, b.arn)).revision == 2
    kept = (await services.functions.update(services.admin, function.id, FunctionChange(timeout_s=9))).function
    assert kept.layers == turned.layers
    assert (await change(services, function)).layers == ()


async def test_what_aws_refuses_is_refused_in_its_words(services: Services) -> None:
    first, second = await publish(services), await publish(services)
    many = [await publish(services, f"l{number}") for number in range(6)]
    absent = first.arn[:-1] + "9"
    foreign = first.arn.replace("us-east-1", "eu-central-1")
    for layers, reason in (
        (
            [first.arn, second.arn],
            "Two different versions of the same layer are not allowed to be referenced in the same function. "
            f"{first.arn} and {second.arn} are versions of the same layer.",
        ),
        ([layer.arn for layer in many], "Cannot reference more than 5 layers."),
        ([absent], f"Layer version {absent} does not exist."),
        ([foreign], f"Layer version {foreign} does not exist."),
        ([first.layer_arn], "at most 5 layers, each as the ARN of a version: "
         "arn:aws:lambda:us-east-1:123456789012:layer:name:1"),
    ):  # fmt: skip
        with pytest.raises(InvalidInput) as refused:
            await services.functions.create(
                services.admin, "default", NewFunction(name="f", runtime="python3.12", code=SOURCE, layers=layers)
            )
        assert (refused.value.field, refused.value.reason) == ("layers", reason)


async def test_code_and_layers_together_have_a_limit(services: Services) -> None:
    """Of what comes out of the zips; whichever of them is changed."""
    half = await publish(services, "half", zip_of({"data": bytes(MAX_UNZIPPED // 2 + 1)}))
    other = await publish(services, "other", zip_of({"data": bytes(MAX_UNZIPPED // 2 - 20)}))
    with pytest.raises(TooLarge):
        await function_with(services, half, other)
    function = await function_with(services, half)
    with pytest.raises(TooLarge):
        await change(services, function, half.arn, other.arn)
    code = zip_of({"code.py": bytes(MAX_UNZIPPED // 2)})
    with pytest.raises(TooLarge):
        await services.functions.update(services.admin, function.id, FunctionChange(code=code))


async def test_a_deleted_version_stays_with_who_has_it(services: Services) -> None:
    """Its zip too; nobody else can take it, and with the last function that has it the zip goes."""
    layer = await publish(services)
    function = await function_with(services, layer)
    await services.layers.delete(services.admin, "default", "shared", 1)
    await services.layers.delete(services.admin, "default", "shared", 1)
    with pytest.raises(NotFound):
        await services.layers.get(services.admin, "default", "shared", 1)
    with pytest.raises(InvalidInput):
        await function_with(services, layer, name="late")
    assert await sweep(services) == 0
    other = await publish(services, "other")
    assert (await change(services, function, layer.arn, other.arn)).layers == (layer.used, other.used)
    assert await sweep(services) == 0
    await services.functions.delete(services.admin, function.id)
    assert await sweep(services) == 1
    assert await layer_blobs(services) == {other.key}


async def test_layers_of_what_still_serves_stay(services: Services) -> None:
    """While the new revision doesn't run, pods of the one before it may have to fetch theirs once more."""
    old, new = await publish(services), await publish(services, "other")
    function = await function_with(services, old)
    await services.functions.report(Observation(function_id=function.id, revision=1, state="Active"))
    await services.layers.delete(services.admin, "default", "shared", 1)
    await change(services, function, new.arn)
    await services.functions.report(Observation(function_id=function.id, revision=2, state="Failed", reason="no room"))
    assert await sweep(services) == 0
    await services.functions.report(Observation(function_id=function.id, revision=2, state="Active"))
    assert await sweep(services) == 1
    assert await layer_blobs(services) == {new.key}


async def test_a_function_that_is_renamed_during_the_sweep_keeps_its_layers(
    services: Services, interposed: InterposedTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where its new name lies among those that were looked at."""
    layer = await publish(services)
    function = await function_with(services, layer, name="z")
    other = await function_with(services, name="b")
    await services.layers.delete(services.admin, "default", "shared", 1)
    for each in (function, other):
        await services.functions.report(Observation(function_id=each.id, revision=1, state="Active"))
    query, has_renamed = interposed.query, False

    async def one_by_one(pk: str, **asked: Any) -> Page:
        nonlocal has_renamed
        page = await query(pk, **{**asked, "limit": 1})
        if asked.get("begins") in ("NAME#", "FN#") and not has_renamed and page.next is not None:
            has_renamed = True
            await services.functions.update(services.admin, function.id, FunctionChange(name="a"))
        return page

    monkeypatch.setattr(interposed, "query", one_by_one)
    assert await sweep(services) == 0
    assert has_renamed
    assert await layer_blobs(services) == {layer.key}


async def test_the_sweep_takes_only_what_nothing_names(services: Services) -> None:
    """Not a version that is there, nor what is younger than an hour, nor what is not ours."""
    kept, gone = await publish(services, "kept"), await publish(services, "gone")
    foreign = "nobody/layers/abc/0.zip"
    await services.objects.put(foreign, b"x")
    await services.layers.delete(services.admin, "default", "gone", 1)
    services.clock.now_s = time.time()  # by which blobs are dated
    assert await services.layers.sweep() == 0
    assert await services.functions.sweep(older_than_s=-1e10) == 0
    assert await layer_blobs(services) == {kept.key, gone.key}
    assert await sweep(services) == 1
    assert {blob.key async for blob in services.objects.list()} == {kept.key, foreign}


async def test_a_function_never_gets_a_version_that_goes_meanwhile(
    services: Services, interposed: InterposedTable
) -> None:
    """Deleted between the look at it and the function's transaction, on create and on update."""
    layer = await publish(services)
    plain = await function_with(services, name="plain")

    def delete_when_read(version: int) -> None:
        interposed.interpose(
            "WS#default",
            f"LAYERVERSION#shared#{version:010}",
            lambda: services.layers.delete(services.admin, "default", "shared", version),
        )

    delete_when_read(1)
    with pytest.raises(InvalidInput):
        await function_with(services, layer)
    layer = await publish(services)
    delete_when_read(2)
    with pytest.raises(InvalidInput):
        await change(services, plain, layer.arn)
    assert interposed.is_done


async def test_a_workspace_goes_with_its_layers(services: Services) -> None:
    workspace = await services.workspaces.create(services.admin, name="short-lived")
    await services.layers.publish(services.admin, workspace.id, NewLayer(name="shared", content=zip_of()))
    await services.workspaces.delete(services.admin, workspace.id)
    assert await sweep(services) == 1


async def test_published_versions_keep_their_layers(services: Services) -> None:
    """Also where neither the function nor the layer's version is any more what it was; restored, the function has them
    again."""
    layer = await publish(services)
    function = await function_with(services, layer)
    await services.versions.publish(services.admin, function.id)
    await change(services, function)
    await services.layers.delete(services.admin, "default", "shared", 1)
    assert await sweep(services) == 0
    restored = (await services.versions.restore(services.admin, function.id, "1")).function
    assert restored.layers == (layer.used,)
    await services.functions.delete(services.admin, function.id)
    assert await sweep(services) == 1
