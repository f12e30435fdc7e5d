"""What Node functions find without bringing it: AWS's SDK, and layers' packages, in modules of both kinds."""

import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from runtime_driver import Environment, Function
from runtimes_here import FOLDER, catalogue, command, needs_packages

from lateen_invoker.variables import variables_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="environments are held by Linux' means")

SDK = FOLDER / "node20" / "sdk"

COMMON = 'const { S3Client } = require("@aws-sdk/client-s3");'
"""Each of these gives `S3Client`; with the SDK it is a class, and with another package of that name a text."""
MODULE = 'import { S3Client } from "@aws-sdk/client-s3";'
LATER = 'const { S3Client } = await import("@aws-sdk/client-s3");'
WAYS = {
    "require": {"index.js": f"{COMMON} exports.handler = async () => String(S3Client);"},
    "import": {"index.mjs": f"{MODULE} export const handler = async () => String(S3Client);"},
    "import in another file": {
        "index.mjs": 'export { handler } from "./src/own.js";',
        "src/own.js": f"{MODULE} export const handler = async () => String(S3Client);",
        "package.json": '{"type": "module"}',
    },
    "import() in a module": {
        "index.mjs": f"export const handler = async () => {{ {LATER} return String(S3Client); }};"
    },
    "import() in CommonJS": {"index.js": f"exports.handler = async () => {{ {LATER} return String(S3Client); }};"},
    "as a bundler writes it": {
        "index.mjs": 'import{S3Client as a}from"@aws-sdk/client-s3";var b=async()=>String(a);export{b as handler};'
    },
    "with a word to a bundler": {
        "index.mjs": "export const handler = async () => "
        'String((await import(/* webpackIgnore: true */ "@aws-sdk/client-s3")).S3Client);'
    },
    "a library's": {
        "index.mjs": 'export { handler } from "library";',
        "node_modules/library/index.mjs": f"{MODULE} export const handler = async () => String(S3Client);",
        "node_modules/library/package.json": json.dumps(
            {"name": "library", "exports": "./index.mjs", "peerDependencies": {"@aws-sdk/client-s3": "*"}}
        ),
    },
    "a library's that has it for its own tests": {
        "index.mjs": 'export { handler } from "library";',
        "node_modules/library/index.mjs": f"{MODULE} export const handler = async () => String(S3Client);",
        "node_modules/library/package.json": json.dumps(
            {"name": "library", "exports": "./index.mjs", "devDependencies": {"@aws-sdk/client-s3": "*"}}
        ),
    },
}


@pytest.fixture(params=["node20", "node22"])
def runtime(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if (why := catalogue()[1][name].disabled) is not None:
        # Of Node 22 CI's machine may have none.
        (pytest.fail if os.environ.get("CI") == "true" and name == "node20" else pytest.skip)(why)
    needs_packages("node")
    return name


class Made:
    """Functions of the test, with their environments."""

    def __init__(self, folder: Path, runtime: str) -> None:
        self._folder = folder
        self._runtime = runtime
        self._functions: list[Function] = []

    async def environment(
        self, files: Mapping[str, str], variables: Mapping[str, str] | None = None, **configure: Any
    ) -> Environment:
        folder = self._folder / str(len(self._functions))
        runtime = command(self._runtime)
        made = Function(folder, files, runtime=runtime, handler="index.handler", memory_mib=256, **configure)
        self._functions.append(await made.__aenter__())
        given = variables_for(made.configure, made.spawner, "/nowhere", "", started=1)
        return await made.environment(**{**given, **(variables or {})})

    async def value(self, files: Mapping[str, str], **given: Any) -> Any:
        environment = await self.environment(files, **given)
        return await environment.value({}, within_s=20)

    async def close(self) -> None:
        for function in self._functions:
            await function.__aexit__()


@pytest.fixture
async def made(tmp_path: Path, runtime: str) -> AsyncIterator[Made]:
    made = Made(tmp_path, runtime)
    yield made
    await made.close()


@pytest.mark.parametrize("way", WAYS)
async def test_the_sdk_is_there(made: Made, way: str) -> None:
    """Without being brought, as on AWS."""
    assert (await made.value(WAYS[way])).startswith("class S3Client ")


@pytest.mark.parametrize("allowed", [["landlock"], []], ids=["landlock", "nothing"])
async def test_where_there_are_no_namespaces(made: Made, allowed: list[str]) -> None:
    """The SDK is there too, and behind a layer's."""
    assert (await made.value(WAYS["import"], allowed=allowed)).startswith("class S3Client ")
    layers = lying_in("nodejs/node_modules", package("layer"))
    assert await made.value(WAYS["import"], allowed=allowed, layers=layers) == "layer"


def package(text: str) -> dict[str, str]:
    return {"index.js": f'exports.S3Client = "{text}";', "package.json": '{"name": "@aws-sdk/client-s3"}'}


def lying_in(folder: str, files: Mapping[str, str]) -> dict[str, str]:
    return {f"{folder}/@aws-sdk/client-s3/{name}": text for name, text in files.items()}


@pytest.mark.parametrize("way", WAYS)
async def test_what_the_function_brings_wins(made: Made, way: str) -> None:
    files = {**WAYS[way], **lying_in("node_modules", package("own"))}
    layers = lying_in("nodejs/node_modules", package("layer"))
    assert await made.value(files, layers=layers) == "own"


@pytest.mark.parametrize("way", WAYS)
async def test_what_a_layer_brings_wins(made: Made, way: str) -> None:
    layers = lying_in("nodejs/node_modules", package("layer"))
    assert await made.value(WAYS[way], layers=layers) == "layer"


@pytest.mark.parametrize("way", ["require", "import"])
async def test_a_layer_for_this_version_alone(made: Made, runtime: str, way: str) -> None:
    """Comes before one for all of them."""
    layers = {
        **lying_in("nodejs/node_modules", package("all")),
        **lying_in(f"nodejs/{runtime}/node_modules", package("this")),
    }
    assert await made.value(WAYS[way], layers=layers) == "this"


async def test_a_function_that_sets_the_path(made: Made) -> None:
    """NODE_PATH is the function's to set; the SDK is there all the same."""
    environment = await made.environment(WAYS["require"], {"NODE_PATH": "/nowhere"})
    assert (await environment.value({}, within_s=20)).startswith("class S3Client ")


async def test_a_handler_in_a_layer(made: Made) -> None:
    """As wrappers have it; it is not among the function's own sources."""
    environment = await made.environment({"index.txt": ""}, {"_HANDLER": "/opt/index.handler"}, layers=WAYS["import"])
    assert (await environment.value({}, within_s=20)).startswith("class S3Client ")


async def test_every_package_loads(made: Made) -> None:
    """Also without what was left out of them, by modules of either kind, with the same names."""
    code = """import { createRequire } from "node:module";
    const require = createRequire(import.meta.url);
    export const handler = async (names) => {
      const found = {};
      for (const name of names) {
        const { default: _, "module.exports": __, ...members } = await import(name);
        const missing = Object.keys(require(name)).filter((member) => !(member in members));
        found[name] = [Object.keys(members).length > 0, missing];
      }
      return found;
    };
    import("@aws-sdk/client-s3");"""
    names = list(json.loads((SDK / "package.json").read_text())["dependencies"])
    environment = await made.environment({"index.mjs": code}, timeout_s=60)
    found = await environment.value(names, within_s=60)
    assert found == {name: [True, []] for name in names}


THREADS = 'export const handler = async () => fs.readdirSync("/proc/self/task").length; import fs from "fs";'


async def test_who_imports_nothing_of_it_pays_nothing(made: Made) -> None:
    """No thread more than before, also where a word of it is in the text."""
    plain = await made.value({"index.mjs": THREADS})
    spoken = await made.value({"index.mjs": f'{THREADS} // "@aws-sdk/client-s3" is not what it wants'})
    brought = await made.value({"index.mjs": f"{THREADS} {MODULE}", **lying_in("node_modules", package("own"))})
    assert plain == spoken == brought


def test_the_lock_file_names_no_registry() -> None:
    """Packages are had from where the user's npm has them, each by its hash."""
    packages = json.loads((SDK / "package-lock.json").read_text())["packages"]
    del packages[""]
    assert all(each["integrity"].startswith("sha512-") for each in packages.values())
    assert not any("resolved" in each for each in packages.values())
