"""How this machine starts each runtime's environments, from the `[embedded]` table of its `runtime.toml`.

A runtime whose interpreter the machine lacks is disabled, with the reason. One that takes the program that runs Lateen
for want of its own version says so in its functions' state.
"""

from pathlib import Path

import msgspec
from msgspec import Struct

from lateen.adapters.local.interpreters import Interpreter, find_interpreter, found_versions
from lateen.domain.errors import Unavailable
from lateen.domain.runtimes import Runtime, search_paths
from lateen_invoker.control import RuntimeCommand


class _Embedded(Struct, frozen=True):
    """The `[embedded]` table."""

    command: list[str]
    interpreters: list[str] = []
    """None: the code itself is what runs."""
    probe: list[str] = []
    forks: bool = False
    channel: bool = False
    execution_env: str | None = None
    environment: dict[str, str] = {}


class RuntimeCommands:
    """`disabled` is asked once for each runtime, at the start; then `command` knows those that can be used."""

    def __init__(self) -> None:
        self._commands: dict[str, RuntimeCommand] = {}
        self.notes: dict[str, str] = {}
        """By runtime: what a user of it should know."""
        self.interpreters: dict[str, str] = {}
        """By runtime: the program that runs its code."""

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
        folder = runtime.folders[0]
        probe = tuple(filled(part, {"runtime_dir": folder}, runtime.folders) for part in embedded.probe)
        if embedded.interpreters:
            found = find_interpreter(embedded.interpreters, runtime.version, probe)
        else:
            found = Interpreter("", runtime.version, [])
        if found is None:
            others = found_versions(embedded.interpreters, probe)
            instead = f", only {', '.join(others)}" if others else ""
            wanted = f"{runtime.runtime} {runtime.version}"
            return f"this machine has no {wanted}{instead}; looked for {', '.join(embedded.interpreters)}"
        if found.version != runtime.version:
            self.notes[runtime.name] = (
                f"This machine has no {runtime.name}: functions run on {found.version}, which runs Lateen."
            )
        self.interpreters[runtime.name] = found.executable
        values = {"interpreter": found.executable, "runtime_dir": folder}
        self._commands[runtime.name] = RuntimeCommand(
            name=runtime.name,
            execution_env=embedded.execution_env,
            command=[filled(part, values, runtime.folders) for part in embedded.command],
            forks=embedded.forks,
            channel=embedded.channel,
            runtime_dir=folder,
            readable=[*found.readable, *runtime.folders],
            environment=embedded.environment,
            layers=search_paths(runtime),
        )
        return None

    def usable(self) -> list[RuntimeCommand]:
        """Of the runtimes that can be used on this machine."""
        return list(self._commands.values())

    @property
    def readable(self) -> set[str]:
        """What functions of any runtime may read, beside what they all may."""
        return {path for command in self._commands.values() for path in command.readable}

    def command(self, name: str) -> RuntimeCommand:
        """Raises: `Unavailable`."""
        try:
            return self._commands[name]
        except KeyError:
            raise Unavailable(f"the runtime {name} can't be used on this machine") from None


def filled(part: str, values: dict[str, str], folders: tuple[str, ...]) -> str:
    """A file of `{runtime_dir}` is that of the first folder that has it."""
    if part.startswith("{runtime_dir}/"):
        name = part.removeprefix("{runtime_dir}/")
        for folder in folders:
            if (path := Path(folder, name)).exists():
                return str(path)
    for name, value in values.items():
        part = part.replace(f"{{{name}}}", value)
    return part
