"""How this machine builds for each runtime, from the `[build]` table of its `runtime.toml` and what the machine has."""

import os
import platform
import shutil
import sys

from msgspec import Struct

from lateen.adapters.local.runtime_commands import RuntimeCommands, filled
from lateen.domain.runtimes import Runtime
from lateen.services.build_recipes import Recipe, recipe_of

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
PASSED_ON = (
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "PIP_CERT", "NODE_EXTRA_CA_CERTS", "CURL_CA_BUNDLE",
)  # fmt: skip
"""Of the machine's variables, what a build needs to reach the outside; nothing else of them is a build's business."""


class BuildCommand(Struct, frozen=True, kw_only=True):
    """How one runtime's sources are built."""

    command: list[str]
    """`{source}`, `{output}` and `{cache}` are still to be filled in."""
    readable: list[str]
    environment: dict[str, str]
    recipe: Recipe
    runtime_dir: str


class BuildCommands:
    """`BuildPlace`, for runtimes that can be used here."""

    platform = f"{sys.platform}/{_ARCHITECTURES.get(platform.machine(), platform.machine())}"

    def __init__(self, runtimes: RuntimeCommands) -> None:
        self._runtimes = runtimes

    def refusal(self, runtime: Runtime) -> str | None:
        recipe = recipe_of(runtime)
        if recipe is None:
            return f"nothing can be built for {runtime.name}"
        missing = [tool for tool in recipe.tools if _found(tool, self._runtimes.interpreters[runtime.name]) is None]
        return f"this machine has no {missing[0]}" if missing else None

    def command(self, runtime: Runtime) -> BuildCommand:
        """What was not refused. Raises: `LateenError`."""
        recipe = recipe_of(runtime)
        assert recipe is not None
        started = self._runtimes.command(runtime.name)
        interpreter = self._runtimes.interpreters[runtime.name]
        tools = {tool: path for tool in recipe.tools if (path := _found(tool, interpreter)) is not None}
        programs = (interpreter, *tools.values())
        beside = [os.path.dirname(path) for path in programs if path]
        values = {"interpreter": interpreter, "runtime_dir": runtime.folders[0], **tools}
        search = list(dict.fromkeys([*beside, "/usr/local/bin", "/usr/bin", "/bin"]))
        passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        return BuildCommand(
            command=[filled(part, values, runtime.folders) for part in recipe.command],
            readable=[
                *started.readable,
                *recipe.readable,
                *(_installed(path) for path in programs if path),
            ],
            environment={"PATH": os.pathsep.join(search), "LANG": "C.UTF-8", **passed, **recipe.environment},
            recipe=recipe,
            runtime_dir=runtime.folders[0],
        )


def _found(tool: str, interpreter: str) -> str | None:
    """Beside the interpreter, else on the `PATH`."""
    return shutil.which(tool, path=os.path.dirname(interpreter)) or shutil.which(tool)


def _installed(tool: str) -> str:
    """The folder that it is installed in with what belongs to it, or at least itself; never a home folder."""
    path = os.path.realpath(tool)
    folder, prefix = os.path.dirname(path), os.path.dirname(os.path.dirname(path))
    is_own = os.path.basename(folder) == "bin" and prefix not in ("/", os.path.realpath(os.path.expanduser("~")))
    return prefix if is_own else path
