"""How this machine starts each runtime's environments, from the `[embedded]` table of its `runtime.toml`.

A runtime whose interpreter the machine lacks is disabled, with the reason. Python is never lacking: without the version
that is asked for, the one that runs Lateen is used, and functions' state says so.
"""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from lateen.adapters.local.interpreters import interpreter_paths
from lateen.domain.errors import Unavailable
from lateen.domain.runtimes import Runtime
from lateen_invoker.control import RuntimeCommand

PROBE_S = 10.0
_PROBE = """
import json, os, sys
print(json.dumps([sys.implementation.name, "%d.%d" % sys.version_info[:2], os.path.realpath(sys.executable),
                  sorted({os.path.realpath(p) for p in (sys.prefix, sys.base_prefix)})]))
"""


class _Embedded(Struct, frozen=True):
    """The `[embedded]` table."""

    command: list[str]
    language: str = ""
    interpreters: list[str] = []
    forks: bool = False
    channel: bool = False
    execution_env: str | None = None
    environment: dict[str, str] = {}


class _Interpreter(Struct, frozen=True):
    path: str
    version: str
    readable: list[str]


class RuntimeCommands:
    """`disabled` is asked once for each runtime, at the start; then `command` knows those that can be used."""

    def __init__(self) -> None:
        self._commands: dict[str, RuntimeCommand] = {}
        self.notes: dict[str, str] = {}
        """By runtime: what a user of it should know."""

    def disabled(self, runtime: Runtime) -> str | None:
        """Why it can't be used on this machine; None: it can. Blocks for as long as an interpreter takes to start.

        Raises: `ValueError` if the table is wrong.
        """
        if "embedded" not in runtime.settings:
            return "it has no way to run without a container"
        try:
            embedded = msgspec.convert(runtime.settings["embedded"], _Embedded)
        except msgspec.ValidationError as exc:
            raise ValueError(f"{runtime.folders[0]}/runtime.toml: [embedded]: {exc}") from exc
        found = _interpreter_for(embedded, runtime.version)
        if found is None:
            return f"this machine has none of: {', '.join(embedded.interpreters)}"
        if embedded.language == "python" and found.version != runtime.version:
            self.notes[runtime.name] = (
                f"This machine has no Python {runtime.version}: functions run on {found.version}, which runs Lateen."
            )
        folder = runtime.folders[0]
        values = {"interpreter": found.path, "runtime_dir": folder}
        self._commands[runtime.name] = RuntimeCommand(
            name=runtime.name,
            execution_env=embedded.execution_env,
            command=[_filled(part, values, runtime.folders) for part in embedded.command],
            forks=embedded.forks,
            channel=embedded.channel,
            runtime_dir=folder,
            readable=[*found.readable, *runtime.folders],
            environment=embedded.environment,
        )
        return None

    def command(self, name: str) -> RuntimeCommand:
        """Raises: `Unavailable`."""
        try:
            return self._commands[name]
        except KeyError:
            raise Unavailable(f"the runtime {name} can't be used on this machine") from None


def _filled(part: str, values: dict[str, str], folders: tuple[str, ...]) -> str:
    """A file of `{runtime_dir}` is that of the first folder that has it."""
    if part.startswith("{runtime_dir}/"):
        name = part.removeprefix("{runtime_dir}/")
        for folder in folders:
            if (path := Path(folder, name)).exists():
                return str(path)
    for name, value in values.items():
        part = part.replace(f"{{{name}}}", value)
    return part


def _interpreter_for(embedded: _Embedded, version: str) -> _Interpreter | None:
    for path in interpreter_paths(embedded.interpreters, version):
        if embedded.language != "python":
            path = os.path.realpath(path)
            return _Interpreter(path, version, [path])
        if (found := _probed(path)) is not None and found.version == version:
            return found
    return _probed(sys.executable) if embedded.language == "python" else None


@cache
def _probed(path: str) -> _Interpreter | None:
    """None if it is no CPython that starts; a launcher of a version manager may lead nowhere."""
    try:
        ended = subprocess.run(  # noqa: S603 - a path from the machine's own PATH
            [path, "-I", "-S", "-c", _PROBE],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_S,
            check=True,
        )
        answer: Any = json.loads(ended.stdout)
        implementation, version, executable, prefixes = answer
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return _Interpreter(executable, version, prefixes) if implementation == "cpython" else None
