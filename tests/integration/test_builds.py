"""Builds on this machine, from the sent zip to the answer of the function, with a package index of the test's own."""

import asyncio
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from package_index import PASSWORD, Index, package_index
from running_platform import Running, a_zip, run, zip_of

from lateen.adapters.filesystem import FileObjects
from lateen.adapters.local.builder import BuildLimits
from lateen.domain.access import PLATFORM
from lateen.domain.functions import Function
from lateen.ports.builder import BuildRequest, BuildWaits, Log
from lateen.ports.objects import Objects
from lateen.ports.table import Item, ItemNotFound
from lateen.services import building
from lateen.services.build_settings import settings_key
from lateen.services.build_sweep import BuildSweep
from lateen.services.builds import Build, build_item

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

HANDLER = "import lateen_tiny\n\ndef handler(event, context):\n    return lateen_tiny.WORD\n"


TINY = a_zip(code__py=HANDLER, requirements__txt="lateen-tiny==1.0\n")


@pytest.fixture
def index() -> Iterator[Index]:
    with package_index() as index:
        yield index


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with run(tmp_path / "data") as running:
        yield running


async def test_what_a_source_depends_on_is_installed_for_it(running: Running, index: Index) -> None:
    """From the workspace's own index, with its password, which appears in no log and no answer."""
    await running.index(index)
    function = await running.create(TINY)
    assert (await running.settled(function))[0] == "Active"
    assert await running.called(function) == "tiny"
    log = await running.log(function)
    assert "lateen_tiny" in log
    assert PASSWORD not in log
    assert any(path.startswith("/files/") for path in index.asked)
    assert await running.platform.build_settings.names(PLATFORM, "default") == ["PIP_INDEX_URL", "PIP_RETRIES"]


async def test_equal_sources_are_built_once(running: Running, index: Index) -> None:
    await running.index(index)
    first = await running.create(TINY)
    await running.settled(first)
    asked = len(index.asked)
    second = await running.create(TINY, name="g")
    assert (await running.settled(second))[0] == "Active"
    assert await running.called(second) == "tiny"
    assert len(index.asked) == asked


async def test_the_same_source_gives_the_same_bytes(tmp_path: Path, index: Index) -> None:
    """Built in two places, each with nothing kept from before."""
    made = []
    for place in ("one", "another/and/deeper"):
        async with run(tmp_path / place) as running:
            await running.index(index)
            function = await running.create(TINY)
            assert (await running.settled(function))[0] == "Active"
            made.append(await running.artifact(function))
    assert made[0] == made[1]


async def test_modules_are_compiled_by_the_build(running: Running, index: Index) -> None:
    """And not at each cold start; what can't be compiled is no matter, and traces name the files that run."""
    handler = (
        "import lateen_tiny, os\nfrom package import own\n"
        "def handler(event, context):\n"
        "    cached = [os.path.isfile(each.__spec__.cached) for each in (lateen_tiny, own)]\n"
        "    return [*cached, own.fail.__code__.co_filename == own.__file__, own.__file__.endswith('package/own.py')]\n"
    )
    await running.index(index)
    function = await running.create(
        zip_of(
            {
                "code.py": handler,
                "requirements.txt": "lateen-tiny==1.0\n",
                "struct.py": "raise ValueError('imported by the build')",
                "package/own.py": "def fail():\n    raise ValueError\n",
                "package/__pycache__/own.cpython-312.pyc": "of some other day",
                "package/template.py": "class {{ name }}:\n    print 'hello'\n",
                "package/tests/test_own.py": "x = 1",
            }
        )
    )
    assert await running.settled(function) == ("Active", None), await running.log(function)
    assert json.loads(await running.called(function)) == [True] * 4
    assert "template" not in await running.log(function)


async def test_a_source_without_manifests_costs_no_build(running: Running) -> None:
    for name, code in (
        ("file", b"def handler(event, context):\n    return 1\n"),
        ("zip", a_zip(code__py="def handler(event, context):\n    return 1\n")),
        ("nothing-asked", a_zip(code__py=HANDLER, requirements__txt="# nothing\n\n")),
        ("built-before", zip_of({"code.py": "x = 1", "requirements.txt": "x", "x-1.dist-info/METADATA": ""})),
    ):
        assert (await running.create(code, name=name)).code.build is None, name


async def test_a_build_that_fails_says_why(running: Running, index: Index) -> None:
    """Its last lines are the state's reason; the version before goes on; a good one takes over."""
    await running.index(index)
    function = await running.create(TINY)
    assert (await running.settled(function))[0] == "Active"
    function = await running.update(function, a_zip(code__py=HANDLER, requirements__txt="lateen-tiny==9.9\n"))
    state, reason = await running.settled(function)
    assert state == "Failed"
    assert reason is not None
    assert "lateen-tiny==9.9" in reason.splitlines()[-1]
    assert PASSWORD not in reason
    assert await running.called(function) == "tiny"
    better = a_zip(code__py=HANDLER.replace("WORD", "WORD + '!'"), requirements__txt="lateen-tiny==1.0\n")
    function = await running.update(function, better)
    assert (await running.settled(function))[0] == "Active"
    assert await running.called(function) == "tiny!"


async def test_what_keeps_a_build_from_running_is_told(
    running: Running, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the reason for which the function is pending, of an update too; then it is built as if nothing had been."""

    @asynccontextmanager
    async def full(request: BuildRequest, *, log: Log) -> AsyncIterator[Path]:
        raise BuildWaits("There is no room in the cluster: 0/3 nodes are available.")
        yield Path()

    async def pending(function: Function) -> str:
        async with asyncio.timeout(20):
            while "room" not in (reason := (await running.functions.get(PLATFORM, function.id)).status.reason or ""):
                await asyncio.sleep(0.05)
        return reason

    await running.index(index)
    monkeypatch.setattr(building, "INTERRUPTED_S", (0.5, 0.5))
    code = a_zip(code__py=HANDLER + "#\n", requirements__txt="lateen-tiny==1.0\n")
    function: Function | None = None
    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(running.platform.builder, "build", full)
            function = await running.create(TINY) if function is None else await running.update(function, code)
            expected = "The code can't be built yet. There is no room in the cluster: 0/3 nodes are available."
            assert await pending(function) == expected
        assert (await running.settled(function))[0] == "Active"
    assert function is not None
    assert await running.called(function) == "tiny"


async def test_sent_again_after_a_failure_it_is_built_again(running: Running, index: Index) -> None:
    """The same bytes: what was wrong was elsewhere."""
    await running.index(index)
    wheels, index.wheels = index.wheels, {}
    function = await running.create(TINY)
    assert (await running.settled(function))[0] == "Failed"
    index.wheels = wheels
    function = await running.update(function, TINY)
    assert (await running.settled(function))[0] == "Active"
    assert await running.called(function) == "tiny"


def building_with(script: str) -> bytes:
    """A source whose build runs this: the backend of a package in it, which needs nothing to be fetched."""
    project = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    files = {"requirements.txt": "./own\n", "own/pyproject.toml": project, "own/backend.py": script}
    return zip_of({"code.py": HANDLER, **files})


ENDLESS: dict[str, tuple[str, BuildLimits, str]] = {
    "hangs": ("import time; time.sleep(1000)", BuildLimits(deadline_s=6), "more than 6 s"),
    "forks": (
        "import os, time\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        time.sleep(0.1)\n",
        BuildLimits(deadline_s=8),
        "more than",
    ),
    "fills the disk": (
        "import os\nn = 0\nwhile True:\n    n += 1\n    open(f'{n}', 'wb').write(bytes(1 << 20))\n",
        BuildLimits(deadline_s=60, disk_mib=100),
        "wrote more than 100 MiB",
    ),
    "takes the memory": (
        "import time\nkept = []\nwhile True:\n    kept.append(bytearray(8 << 20)); time.sleep(0.01)\n",
        BuildLimits(deadline_s=60, memory_mib=300),
        "more than 300 MiB of memory",
    ),
}


@pytest.mark.parametrize("what", ENDLESS)
async def test_a_script_that_knows_no_end_is_ended(tmp_path: Path, what: str) -> None:
    """With all that it started; its folder is gone, and the reason says which limit it was."""
    script, limits, expected = ENDLESS[what]
    data = tmp_path / "data"
    async with run(data, limits=limits) as running:
        function = await running.create(building_with(script))
        state, reason = await running.settled(function)
        assert state == "Failed"
        assert reason is not None
        assert expected in reason
        await until(lambda: not any((data / "builds" / "work").iterdir()))
        await until(lambda: not builds_below(os.getpid()))


async def until(condition: Callable[[], bool], within_s: float = 20.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.05)


def builds_below(pid: int) -> list[str]:
    """Command lines of what descends from this process and builds."""
    from lateen_invoker.forkserver import descendants

    found = []
    for child in descendants(pid):
        try:
            line = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if "build.py" in line or "backend" in line or " pip " in line:
            found.append(line)
    return found


LINKING = """
import os
import subprocess
for name in ("output", "cache"):
    inside = os.path.dirname(os.environ["LATEEN_BUILD_OUTPUT"]) + "/" + name
    os.makedirs({target!r}, exist_ok=True)  # there in the build's own file system too, or nothing could be put into it
    if not os.path.islink(inside):
        os.rename(inside, inside + "-before")
        os.symlink({target!r}, inside)
def get_requires_for_build_wheel(config=None): return []
def build_wheel(folder, config=None, metadata=None):
    import zipfile
    about = ["Metadata-Version: 2.1", "Name: own", "Version: 1", ""]
    kind = ["Wheel-Version: 1.0", "Tag: py3-none-any", ""]
    with zipfile.ZipFile(folder + "/own-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("own-1.dist-info/METADATA", chr(10).join(about))
        wheel.writestr("own-1.dist-info/WHEEL", chr(10).join(kind))
        wheel.writestr("own-1.dist-info/RECORD", "")
    return "own-1-py3-none-any.whl"
"""


async def test_a_build_can_lead_nobody_out_of_its_folder(tmp_path: Path) -> None:
    """It puts links in the place of its folders: what they lead to outside, which it can't read, is not packed."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("the operator's")
    async with run(tmp_path / "data") as running:
        function = await running.create(building_with(LINKING.format(target=str(outside))))
        state, reason = await running.settled(function)
        assert state == "Failed"
        assert reason is not None
        assert "left no folder" in reason


async def test_a_link_in_the_place_of_the_cache_is_not_kept(tmp_path: Path) -> None:
    """The next build would be given the folder that it leads to, and its user that folder's ownership."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("the operator's")
    script = LINKING.format(target=str(outside)).replace('("output", "cache")', '("cache",)')
    async with run(tmp_path / "data") as running:
        function = await running.create(building_with(script))
        assert (await running.settled(function))[0] == "Active"
        assert list((tmp_path / "data" / "builds" / "caches").iterdir()) == []
    assert (outside / "secret.txt").read_text() == "the operator's"


async def test_builds_that_nothing_names_any_more_are_swept(running: Running, index: Index) -> None:
    """A week after their last use; what a function, or a version of one, was made of stays."""
    await running.index(index)
    platform = running.platform
    old = await running.create(TINY)
    await running.settled(old)
    current = await running.update(
        old, a_zip(code__py=HANDLER.replace("WORD", "WORD * 2"), requirements__txt="lateen-tiny==1.0\n")
    )
    assert (await running.settled(current))[0] == "Active"
    assert await sweep(running).run() == 0
    assert await sweep(running, days=8).run() == 1
    assert old.code.build is not None
    assert await platform.builds.find("default", old.code.build.id) is None
    await running.artifact(current)
    again = await running.create(TINY, name="again")
    assert (await running.settled(again))[0] == "Active"
    assert await running.called(again) == "tiny"


async def test_what_is_built_again_while_its_artifact_is_swept_stays(
    running: Running, index: Index, tmp_path: Path
) -> None:
    """The same source, and so the same bytes, which nothing named when the sweep looked."""
    await running.index(index)
    old = await running.create(TINY)
    await running.settled(old)
    await running.functions.delete(PLATFORM, old.id)
    again: list[Function] = []

    class Sweeping(FileObjects):
        async def delete(self, key: str) -> None:
            again.append(await running.create(TINY))
            assert (await running.settled(again[0]))[0] == "Active"
            await super().delete(key)

    sweeping = sweep(running, days=8, objects=Sweeping(tmp_path / "data" / "objects"))
    assert await sweeping.run() == 1
    await running.artifact(again[0])


def sweep(running: Running, *, days: int = 0, objects: Objects | None = None) -> BuildSweep:
    platform = running.platform
    return BuildSweep(
        platform.table,
        objects or platform.objects,
        functions=running.functions,
        workspaces=platform.workspaces,
        now=lambda: time.time() + days * 24 * 3600,
    )


async def test_builds_that_made_nothing_are_swept_too(running: Running) -> None:
    """Where no build of the workspace has ever left an artifact."""
    platform = running.platform
    function = await running.create(building_with("raise SystemExit('no')"))
    assert (await running.settled(function))[0] == "Failed"
    await running.functions.delete(PLATFORM, function.id)
    assert function.code.build is not None
    await sweep(running).run()
    assert await platform.builds.find("default", function.code.build.id) is not None
    await sweep(running, days=8).run()
    assert await platform.builds.find("default", function.code.build.id) is None


async def test_builds_go_with_their_workspace(running: Running) -> None:
    platform = running.platform
    workspace = await platform.workspaces.create(PLATFORM, name="team-a")
    for number in range(120):
        build = Build(id=f"{number:064x}", workspace_id=workspace.id, runtime="python3.12", state="Failed")
        await platform.table.put(build_item(build), expected=None)
    await platform.workspaces.delete(PLATFORM, workspace.id)
    assert await platform.builds.find(workspace.id, f"{0:064x}") is None
    assert await platform.builds.find(workspace.id, f"{119:064x}") is None


TOO_DEEP = """
import os, time
for _ in range(30):
    os.mkdir("d" * 250)
    os.chdir("d" * 250)
while True:
    open(str(time.time_ns()), "wb").write(bytes(1 << 20))
    time.sleep(0.01)
"""


async def test_a_build_can_hide_from_its_limit_nowhere(tmp_path: Path) -> None:
    """Below a path that is too long to be looked into."""
    data = tmp_path / "data"
    async with run(data, limits=BuildLimits(deadline_s=60, disk_mib=200)) as running:
        function = await running.create(building_with(TOO_DEEP))
        state, reason = await running.settled(function)
        assert state == "Failed"
        assert "wrote more than 200 MiB" in (reason or "")
        await until(lambda: not any((data / "builds" / "work").iterdir()))


async def test_a_build_whose_claim_is_being_renewed_as_it_ends(
    running: Running, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a slow table: the renewal is stored, and so is the outcome after it, at the first attempt."""
    await running.index(index)
    monkeypatch.setattr("lateen.services.building.RENEW_S", 0.01)
    put = running.platform.table.put

    async def slow_put(item: Item, *, expected: int | None) -> Item:
        stored = await put(item, expected=expected)
        if item.key.sk.startswith("BUILD#"):
            await asyncio.sleep(0.3)
        return stored

    monkeypatch.setattr(running.platform.table, "put", slow_put)
    function = await running.create(TINY)
    assert (await running.settled(function))[0] == "Active"
    assert function.code.build is not None
    build = await running.platform.builds.find("default", function.code.build.id)
    assert build is not None
    assert (build.state, build.attempt) == ("Built", 1)


async def test_settings_are_stored_encrypted_and_go_with_their_workspace(running: Running, index: Index) -> None:
    platform = running.platform
    workspace = await platform.workspaces.create(PLATFORM, name="team-a")
    names = await platform.build_settings.change(
        PLATFORM, workspace.id, {"PIP_INDEX_URL": index.url, "NPM_CONFIG_//registry.example.org/:_authToken": "t" * 40}
    )
    assert names == ["NPM_CONFIG_//registry.example.org/:_authToken", "PIP_INDEX_URL"]
    stored = await platform.table.get(settings_key(workspace.id))
    assert PASSWORD not in str(stored)
    assert await platform.build_settings.variables(workspace.id, ["PIP_"]) == {"PIP_INDEX_URL": index.url}
    assert await platform.build_settings.change(PLATFORM, workspace.id, {names[0]: None}) == ["PIP_INDEX_URL"]
    await platform.workspaces.delete(PLATFORM, workspace.id)
    with pytest.raises(ItemNotFound):
        await platform.table.get(settings_key(workspace.id))


def test_a_package_may_have_a_folder_in_bin(tmp_path: Path) -> None:
    """Beside its scripts, of which the first line is the only thing to be changed."""
    source, output = tmp_path / "source", tmp_path / "output"
    source.mkdir()
    with zipfile.ZipFile(source / "own-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("own-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: own\nVersion: 1\n")
        wheel.writestr("own-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("own-1.dist-info/RECORD", "")
        wheel.writestr("own-1.data/scripts/tool", "#!python\n")
        wheel.writestr("bin/data/words", "x")
    (source / "requirements.txt").write_text("./own-1-py3-none-any.whl\n")
    folders = {"LATEEN_BUILD_OUTPUT": str(output), "LATEEN_BUILD_CACHE": str(tmp_path / "cache")}
    build = Path(__file__).parents[2] / "runtimes" / "python3.12" / "build.py"
    subprocess.run([sys.executable, "-I", build], check=True, cwd=source, env={**os.environ, **folders})
    assert (output / "bin" / "data" / "words").read_text() == "x"
