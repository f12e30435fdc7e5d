"""How this machine starts a runtime: from its `[embedded]` table, or why it can't."""

import sys
from pathlib import Path
from typing import Any

import pytest

from lateen.adapters.local.runtime_commands import RuntimeCommands
from lateen.domain.errors import Unavailable
from lateen.domain.runtimes import Runtime


def runtime(tmp_path: Path, **embedded: Any) -> Runtime:
    return Runtime(
        name="toy1", runtime="toy", version="1", file="code.toy", handler="code.handler", folders=(str(tmp_path),),
        settings={"embedded": embedded},
    )  # fmt: skip


def test_code_that_is_a_program_needs_no_interpreter(tmp_path: Path) -> None:
    """It runs on every machine, and may read nothing but its runtime's folder."""
    commands = RuntimeCommands()
    assert commands.disabled(runtime(tmp_path, command=["./bootstrap"])) is None
    command = commands.command("toy1")
    assert (command.command, command.readable, command.execution_env) == (["./bootstrap"], [str(tmp_path)], None)
    assert commands.notes == {}


def test_another_version_is_named(tmp_path: Path) -> None:
    """The reason says what there is instead, and where was looked."""
    probe = tmp_path / "probe.py"
    probe.write_text(f"""print('{{"executable": "{sys.executable}", "version": "2", "readable": []}}')""")
    commands = RuntimeCommands()
    asked = runtime(
        tmp_path, command=["{interpreter}"], interpreters=[sys.executable], probe=["{runtime_dir}/probe.py"]
    )
    assert commands.disabled(asked) == (
        f"this machine has no toy 1, only 2 ({sys.executable}); looked for {sys.executable}"
    )
    with pytest.raises(Unavailable):
        commands.command("toy1")
    nowhere = runtime(tmp_path, command=["{interpreter}"], interpreters=["no-such-toy"])
    assert commands.disabled(nowhere) == "this machine has no toy 1; looked for no-such-toy"


@pytest.mark.parametrize(
    ("memory_mib", "shown"), [(128, ["x", "--old=115", "--new=6"]), (10_240, ["x", "--old=9216", "--new=512"])]
)
def test_a_command_says_a_share_of_the_memory(tmp_path: Path, memory_mib: int, shown: list[str]) -> None:
    """In whole MiB."""
    commands = RuntimeCommands()
    commands.disabled(runtime(tmp_path, command=["x", "--old={memory:90%}", "--new={memory:5%}"]))
    assert commands.command("toy1").environment_command(memory_mib, "a.b") == shown


@pytest.mark.parametrize("handler", ["app.handler", "{memory:90%}", "{handler}", "$(x)", "a;b.c"])
def test_a_command_says_the_handler(tmp_path: Path, handler: str) -> None:
    """As one word with what stands beside it, and nothing in it means anything."""
    commands = RuntimeCommands()
    commands.disabled(runtime(tmp_path, command=["x", "{handler}", "--max={memory:50%}:{handler}"]))
    assert commands.command("toy1").environment_command(128, handler) == ["x", handler, f"--max=64:{handler}"]
