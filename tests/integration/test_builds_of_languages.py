"""Builds with what the world has: packages from PyPI, npm and Go's proxy, by the machine's own tools.

Where a registry can't be reached these tests are skipped with the reason; in CI it has to be.
"""

import os
import shutil
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from running_platform import Running, run, zip_of

pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"), pytest.mark.timeout(400)]

ROOT = Path(__file__).parents[2]


def needs(host: str, tool: str | None = None) -> None:
    why = ""
    try:
        socket.create_connection((host, 443), timeout=5).close()
    except OSError as exc:
        why = f"{host} can't be reached: {exc}"
    if tool is not None and shutil.which(tool) is None:
        why = f"this machine has no {tool}"
    if not why:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(why, pytrace=False)
    pytest.skip(why)


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with run(tmp_path / "data") as running:
        yield running


async def built_twice(running: Running, tmp_path: Path, runtime: str, code: bytes, *, cached: bool = False) -> str:
    """What the function answers, after a build here and another on a second platform gave the same bytes.

    Args:
        cached: the second has what the first left in its cache; for Go it's the standard library, half a minute's work.
    """
    function = await running.create(code, runtime=runtime)
    assert await running.settled(function, within_s=300) == ("Active", None), await running.log(function)
    async with run(tmp_path / "second" / "platform") as another:
        if cached:
            caches = [each.platform.builder._caches for each in (running, another)]
            shutil.copytree(*caches, dirs_exist_ok=True)
        again = await another.create(code, runtime=runtime)
        assert (await another.settled(again, within_s=300))[0] == "Active"
        assert await another.artifact(again) == await running.artifact(function)
    return await running.called(function)


async def test_python_packages_come_from_pypi(running: Running, tmp_path: Path) -> None:
    """With hashes in the requirements, and one with a program."""
    needs("pypi.org")
    code = zip_of(
        {
            "code.py": "import idna, tabulate\ndef handler(event, context):\n    return tabulate.tabulate([[1, 2]])\n",
            "requirements.txt": "idna==3.10 "
            "--hash=sha256:946d195a0d259cbba61165e88e65941f16e9b36ea6ddb97f00452bae8b1287d3\n"
            "tabulate==0.9.0 "
            "--hash=sha256:024ca478df22e9340661486f85298cff5f6dcdba14f3813e8830015b9ed1948f\n",
        }
    )
    assert "1  2" in await built_twice(running, tmp_path, "python3.12", code)


async def test_a_hash_that_does_not_fit_is_a_failure(running: Running) -> None:
    needs("pypi.org")
    code = zip_of({"code.py": "", "requirements.txt": f"idna==3.10 --hash=sha256:{'0' * 64}\n"})
    function = await running.create(code)
    state, reason = await running.settled(function)
    assert state == "Failed"
    assert reason is not None
    assert "DO NOT MATCH THE HASHES" in reason


async def test_a_project_s_dependencies_are_enough(running: Running) -> None:
    needs("pypi.org")
    project = '[project]\nname = "f"\nversion = "1"\ndependencies = ["idna==3.10"]\n'
    handler = "import idna\n\ndef handler(event, context):\n    return idna.__version__\n"
    function = await running.create(zip_of({"code.py": handler, "pyproject.toml": project}))
    assert await running.settled(function) == ("Active", None), await running.log(function)
    assert await running.called(function) == "3.10"


PACKAGE = '{"name": "f", "version": "1.0.0", "type": "module", "dependencies": {"is-odd": "3.0.1"}}'
NODE_HANDLER = 'import isOdd from "is-odd";\nexport const handler = async () => `odd: ${isOdd(3)}`;\n'


async def test_node_packages_come_from_npm(running: Running, tmp_path: Path) -> None:
    needs("registry.npmjs.org", "npm")
    code = zip_of({"index.mjs": NODE_HANDLER, "package.json": PACKAGE})
    assert await built_twice(running, tmp_path, "node20", code) == "odd: true"


async def test_a_lock_that_does_not_fit_is_a_failure(running: Running) -> None:
    """As `npm ci` has it, which is what a lock file asks for."""
    needs("registry.npmjs.org", "npm")
    lock = '{"name": "f", "version": "1.0.0", "lockfileVersion": 3, "packages": {"": {"name": "f"}}}'
    code = zip_of({"index.mjs": NODE_HANDLER, "package.json": PACKAGE, "package-lock.json": lock})
    function = await running.create(code, runtime="node20")
    assert (await running.settled(function))[0] == "Failed"
    assert "`npm ci` can only install packages when" in await running.log(function)


async def test_a_package_without_dependencies_costs_no_build(running: Running) -> None:
    needs("registry.npmjs.org", "npm")
    code = zip_of({"index.mjs": "export const handler = async () => 1;", "package.json": '{"type": "module"}'})
    assert (await running.create(code, runtime="node20")).code.build is None


@pytest.mark.slow
async def test_go_is_compiled(running: Running, tmp_path: Path) -> None:
    """The runtime's starter as a single file, which brings no go.mod."""
    needs("proxy.golang.org", "go")
    starter = (ROOT / "runtimes" / "golang1.22" / "starter" / "main.go").read_bytes()
    assert await built_twice(running, tmp_path, "golang1.22", starter, cached=True) == "hello world\n"


async def test_go_that_does_not_compile_says_where(running: Running) -> None:
    needs("proxy.golang.org", "go")
    code = zip_of({"go.mod": "module f\n\ngo 1.22\n", "main.go": "package main\n\nfunc main() { nothing() }\n"})
    function = await running.create(code, runtime="golang1.22")
    state, reason = await running.settled(function, within_s=300)
    assert state == "Failed"
    assert reason is not None
    assert "main.go:3:15: undefined: nothing" in reason
