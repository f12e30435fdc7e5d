"""Layers where functions run: merged in order, read-only, on the search paths, held by whatever there is."""

import hashlib
import io
import json
import os
import re
import shutil
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import invoker_process
import msgspec
import pytest
from invoker_process import InvokerProcess, own_bootstrap, package, program
from runtime_driver import RUNTIME, Function, python_command

from lateen.domain.access import PLATFORM
from lateen.services.functions import NewFunction
from lateen.services.layers import NewLayer
from lateen_invoker import control, kernel, new_root, spawners
from lateen_invoker.spawner import SpawnFailed
from lateen_invoker.variables import variables_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")

SEARCHED = {
    name: value.replace("{version}", "3.12")
    for name, value in tomllib.loads((RUNTIME / "runtime.toml").read_text())["layers"].items()
}
IMPORTING = "import shared\ndef handler(event, context):\n    return shared.WORD\n"
LOOKING = """
import os, subprocess, sys
def tried(function, *arguments):
    try:
        return function(*arguments)
    except OSError as exc:
        return type(exc).__name__
def handler(event, context):
    root = os.environ["PATH"].rpartition(":")[2].rpartition("/")[0]
    return {
        "root": root,
        "tool": tried(lambda: subprocess.run(["tool"], capture_output=True, text=True).stdout),
        "write": tried(lambda: open(root + "/bin/tool", "w") and "done"),
        "add": tried(lambda: open(root + "/new", "w") and "done"),
        "names": tried(lambda: sorted(os.listdir(root))),
        "task": os.environ["LAMBDA_TASK_ROOT"],
        "library": os.environ.get("LD_LIBRARY_PATH"),
        "said": os.environ.get("_LATEEN_LAYERS"),
        "path": [folder for folder in sys.path if folder.startswith(root)],
    }
"""
TOOL = "#!/bin/sh\necho from the layer\n"


def with_program(files: Mapping[str, str], programs: Mapping[str, str]) -> bytes:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        for name, text in programs.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o100755 << 16
            archive.writestr(entry, text)
    return whole.getvalue()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., tuple[InvokerProcess, Any]]]:
    """Starts an invoker with a function that has layers. Returns: it, and what it said."""
    with ExitStack() as stack:

        def started(code: str, *layers: bytes, **changes: Any) -> tuple[InvokerProcess, Any]:
            folder = tmp_path / str(len(list(tmp_path.iterdir())))
            folder.mkdir()
            given = []
            for number, content in enumerate(layers):
                (folder / f"layer{number}.zip").write_bytes(content)
                address = (folder / f"layer{number}.zip").as_uri()
                given.append(control.Layer(f"layer:{number}", address, hashlib.sha256(content).hexdigest()))
            invoker = InvokerProcess(folder)
            stack.callback(invoker.close)
            environment = {"PATH": "/usr/bin:/bin:{layers}/bin"}
            runtime = msgspec.structs.replace(own_bootstrap(), layers=SEARCHED, environment=environment)
            return invoker, invoker.configure(code, **{"layers": given, "runtime": runtime, **changes})

        yield started


Start = Callable[..., tuple[InvokerProcess, Any]]


@pytest.mark.parametrize("sandbox", [True, False])
def test_a_handler_imports_what_the_last_layer_has(start: Start, sandbox: bool) -> None:
    """The code's own module comes before all of them."""
    layers = [package({"python/shared.py": f"WORD = {word!r}\n"}) for word in ("first", "second")]
    invoker, _ = start(IMPORTING, *layers, sandbox=sandbox)
    assert invoker.call().body == b"second"
    own = {"lambda_function.py": IMPORTING, "shared.py": "WORD = 'own'\n"}
    assert start(own, *layers, sandbox=sandbox)[0].call().body == b"own"  # type: ignore[arg-type]


def test_packages_are_found_where_aws_has_them(start: Start) -> None:
    """The interpreter's folder in `python/` first, then that itself; both before the standard library."""
    site = "python/lib/python3.12/site-packages"
    both = {"python/shared.py": "WORD = 'python'\n", f"{site}/shared.py": "WORD = 'packages'\n"}
    assert start(IMPORTING, package(both))[0].call().body == b"packages"
    assert start(IMPORTING, package({"python/shared.py": "WORD = 'python'\n"}))[0].call().body == b"python"
    shadowing = "import csv\ndef handler(event, context):\n    return csv.WORD\n"
    assert start(shadowing, package({"python/csv.py": "WORD = 'layer'\n"}))[0].call().body == b"layer"
    sdk = shadowing.replace("csv", "boto3")
    assert start(sdk, package({"python/boto3.py": "WORD = 'layer'\n"}))[0].call().body == b"layer"


@pytest.mark.parametrize("sandbox", [True, False])
def test_layers_are_seen_read_only(start: Start, sandbox: bool) -> None:
    """Programs of theirs are on the path, and nothing of ours is left in the environment."""
    invoker, ready = start(LOOKING, with_program({"python/a.py": ""}, {"bin/tool": TOOL}), sandbox=sandbox)
    seen = msgspec.json.decode(invoker.call().body)
    if "namespaces" in ready.isolation:
        assert seen["root"] == "/opt"
    assert seen["tool"] == "from the layer\n"
    if sandbox:
        assert seen["names"] == ["bin", "python"]
        assert seen["write"] in ("OSError", "PermissionError")
        assert seen["add"] in ("OSError", "PermissionError")
    assert (seen["library"], seen["said"]) == (None, None)
    assert seen["path"] == [f"{seen['root']}/python"]


def test_libraries_of_layers_are_found_by_the_loader(start: Start) -> None:
    """Which has to know of them before the interpreter starts."""
    invoker, _ = start(LOOKING, with_program({"lib/libnothing.so": "", "python/a.py": ""}, {"bin/tool": TOOL}))
    seen = msgspec.json.decode(invoker.call().body)
    assert seen["library"].split(":")[2:] == [seen["task"], f"{seen['task']}/lib", f"{seen['root']}/lib"]
    assert seen["path"] == [f"{seen['root']}/python"]


PATH_FILES = """
import logging, os, sys
import inner
def handler(event, context):
    is_first = sys.path[0] == os.environ["LAMBDA_TASK_ROOT"]
    return [inner.WORD, logging.in_layer, is_first, len(sys.path) - len({*sys.path})]
"""


@pytest.mark.parametrize("variables", [{}, {"PYTHONHASHSEED": "0"}], ids=["fork", "exec"])
def test_path_files_count(start: Start, variables: dict[str, str]) -> None:
    """A `.pth` at the root of the package or of a layer adds folders behind the others, and runs what begins with
    `import`, as on AWS."""
    code = {"lambda_function.py": PATH_FILES, "own.pth": "vendor\n", "vendor/inner.py": "WORD = 'vendor'\n"}
    layer = package({"python/start.pth": "import logging; logging.in_layer = True\n"})
    invoker, _ = start(code, layer, environment=variables)  # type: ignore[arg-type]
    assert json.loads(invoker.call().body) == ["vendor", True, True, 0]


@pytest.mark.parametrize("file", ["libown.so", "lib/libown.so.1", "own.cpython-312-x86_64-linux-gnu.so", "lib/own.py"])
def test_libraries_of_the_package_are_found_by_the_loader(start: Start, file: str) -> None:
    """At its root and in `lib/`, without any layer; where there are none, the fork server does."""
    invoker, _ = start({"lambda_function.py": LOOKING, file: ""})  # type: ignore[arg-type]
    seen = msgspec.json.decode(invoker.call().body)
    has_one = "libown" in file
    assert seen["library"] == (f"/lib64:/usr/lib64:{seen['task']}:{seen['task']}/lib" if has_one else None)


def test_a_program_without_a_language_finds_them(start: Start) -> None:
    """By the same variables: here with AWS's own client in the place of a bootstrap of ours."""
    runtime = msgspec.structs.replace(
        program([sys.executable, "-m", "awslambdaric", "lambda_function.handler"]),
        layers={"PYTHONPATH": "{layers}/python:{layers}/nowhere"},
    )
    invoker, _ = start(IMPORTING, package({"python/shared.py": "WORD = 'layer'\n"}), runtime=runtime)
    assert invoker.call().body == b"layer"


BOOTSTRAP = (
    f"#!{sys.executable}\n"
    + """
import json, os, sys, urllib.request
api = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime/invocation"
while True:
    with urllib.request.urlopen(f"{api}/next") as event:
        request_id = event.headers["lambda-runtime-aws-request-id"]
    said = f"WHICH {os.path.basename(sys.argv[0])} in {os.path.basename(os.getcwd())}"
    urllib.request.urlopen(f"{api}/{request_id}/response", json.dumps(said).encode()).close()
"""
)


@pytest.mark.parametrize("sandbox", [True, False])
def test_a_runtime_in_a_layer(start: Start, sandbox: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `bootstrap` of a layer runs, in the code's folder, unless the package has its own."""
    runtime = program(["./bootstrap"])
    layers = [with_program({}, {"bootstrap": BOOTSTRAP.replace("WHICH", which)}) for which in ("first", "second")]
    code = {"function.php": "x"}
    invoker, ready = start(code, *layers, runtime=runtime, sandbox=sandbox)
    assert ready.init_error is None, ready
    folder = "task" if "namespaces" in ready.isolation else "code"
    assert json.loads(invoker.invoke(b"{}").body) == f"second bootstrap in {folder}"
    monkeypatch.setattr(invoker_process, "package", lambda files: with_program({}, files))
    invoker, _ = start({"bootstrap": BOOTSTRAP.replace("WHICH", "own")}, *layers, runtime=runtime, sandbox=sandbox)
    assert json.loads(invoker.invoke(b"{}").body) == f"own bootstrap in {folder}"


@pytest.mark.parametrize("programs", [[], ["bootstrap/x"]])
def test_no_runtime_in_any_layer(start: Start, programs: list[str]) -> None:
    """Both places are named, in AWS's words; a folder is no program."""
    layer = with_program({"other": "x"}, dict.fromkeys(programs, TOOL))
    _, ready = start({"function.php": "x"}, layer, runtime=program(["./bootstrap"]))
    assert ready.init_error.type == "Runtime.InvalidEntrypoint"
    why = r"RequestId:  Error: Couldn't find valid bootstrap\(s\): \[/\S+/bootstrap /\S+/bootstrap\]"
    assert re.fullmatch(why, ready.init_error.message)


@pytest.mark.skipif(shutil.which("node") is None and os.environ.get("CI") != "true", reason="node is not on the PATH")
async def test_node_finds_packages_of_a_layer(embedded: Any) -> None:
    """By NODE_PATH, also those that are for its version only, and the code's own come first."""
    files = {
        "nodejs/node_modules/everywhere/index.js": "exports.word = 'any'",
        "nodejs/node20/node_modules/here/index.js": "exports.word = 'twenty'",
        "nodejs/node_modules/own/index.js": "exports.word = 'layer'",
    }
    layer = await embedded.layers.publish(PLATFORM, "default", NewLayer(name="packages", content=package(files)))
    code = {
        "index.js": "exports.handler = async () => ['everywhere', 'here', 'own'].map((name) => require(name).word)",
        "node_modules/own/index.js": "exports.word = 'code'",
    }
    new = NewFunction(
        name="f", runtime="node20", code=package(code), handler="index.handler", auth="none", layers=[layer.arn]
    )
    function = (await embedded.functions.create(PLATFORM, "default", new)).function
    await embedded.settled(function)
    async with embedded.client() as client:
        assert (await client.get(embedded.url_of(function))).json() == ["any", "twenty", "code"]


def test_a_layer_that_is_not_what_was_deployed_fails_the_start(start: Start) -> None:
    """By its name; no code runs without it."""
    content = package({"python/shared.py": "WORD = 1\n"})
    _, said = start(IMPORTING, content, layers=[control.Layer("layer:x", "file:///nowhere", "0" * 64)])
    assert isinstance(said, control.Failed)
    assert said.reason == "the layer layer:x can't be read (FileNotFoundError)"


@pytest.mark.skipif(not kernel.landlock_version(), reason="the kernel has no Landlock")
async def test_landlock_alone_lets_them_be_read(tmp_path: Path) -> None:
    """There is no `/opt` of the function's own then: variables name the folder where they are."""
    runtime = msgspec.structs.replace(
        python_command(), layers=SEARCHED, environment={"PATH": "/usr/bin:/bin:{layers}/bin"}
    )
    code = LOOKING.replace("handler(event, context):", "handler(event, context):\n    import shared", 1)
    files = {"python/shared.py": "", "bin/other": "x"}
    async with Function(tmp_path, code, layers=files, allowed=["landlock"], runtime=runtime) as function:
        variables = variables_for(function.configure, function.spawner, "/nowhere", "", started=1)
        seen = await (await function.environment(**variables)).value()
    assert seen["root"] == str(tmp_path / "layers")
    assert seen["names"] == ["bin", "python"]
    assert (seen["write"], seen["add"]) == ("PermissionError", "PermissionError")


def test_a_layer_can_not_weaken_what_holds_a_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a file where the interpreter has to be mounted: that is refused, not answered with less isolation."""
    interpreter = tmp_path / "opt" / "tools" / "python"
    interpreter.mkdir(parents=True)
    (interpreter / "python3").write_text("")
    monkeypatch.setattr(new_root, "OPT", str(tmp_path / "opt"))
    needed = [str(interpreter)]
    for number, (file, is_refused) in enumerate(
        {"python/a.py": False, "tools/python/a.py": False, "tools": True, "tools/python": True}.items()
    ):
        layers = tmp_path / str(number)
        (layers / file).parent.mkdir(parents=True)
        (layers / file).write_text("")
        if is_refused:
            with pytest.raises(SpawnFailed, match="a layer is in the way"):
                spawners._check_layers(str(layers), needed)
        else:
            spawners._check_layers(str(layers), needed)


@pytest.mark.skipif(not os.access("/opt", os.W_OK), reason="nothing can be put into /opt here")
async def test_an_interpreter_in_opt_is_there_beside_the_layers(tmp_path: Path) -> None:
    """As CI machines have it: what the runtime needs of the machine's `/opt` is seen among the layers' files."""
    with tempfile.TemporaryDirectory(dir="/opt", prefix="lateen-test-") as folder:
        Path(folder).chmod(0o755)
        Path(folder, "tools").mkdir()
        Path(folder, "tools", "word").write_text("of the machine")
        command = python_command()
        runtime = msgspec.structs.replace(command, readable=[*command.readable, f"{folder}/tools"])
        code = f"""
def handler(event, context):
    return [open(name).read() for name in ("{folder}/tools/word", "/opt/python/word", "{folder}/other")]
"""
        name = Path(folder).name
        files = {"python/word": "of a layer", f"{name}/other": "beside it"}
        async with Function(tmp_path, code, layers=files, runtime=runtime) as function:
            if function.spawner.task_root != new_root.TASK_ROOT:
                pytest.skip("the kernel has no user namespaces to give")
            environment = await function.environment()
            assert await environment.value() == ["of the machine", "of a layer", "beside it"]
