"""How runtimes are run in pods: the image of each, from the chart's values, and the `[image]` table of its
`runtime.toml`, whose paths are those inside the image."""

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from lateen.domain.errors import Unavailable
from lateen.domain.runtimes import Runtime, search_paths
from lateen_invoker.control import RuntimeCommand

RUNTIME_DIR = "/lateen/runtime"


class _Image(Struct, frozen=True):
    """The `[image]` table, as far as it concerns pods."""

    command: list[str] = []
    """`{runtime_dir}` is the runtime's folder in the image."""
    init: bool = True
    """False: the image has no `/lateen/init`; that is brought into the pod."""
    forks: bool = False
    channel: bool = False
    execution_env: str | None = None
    environment: dict[str, str] = {}


class RuntimeImages:
    """`disabled` is asked once for each runtime, at the start; then `command` and `image` know the usable ones."""

    def __init__(self, images: Mapping[str, str]) -> None:
        """Args:
        images: full references by the runtime's canonical name.
        """
        self._images = dict(images)
        self._commands: dict[str, RuntimeCommand] = {}
        self._without_init: set[str] = set()

    def disabled(self, runtime: Runtime) -> str | None:
        """Why it can't be used in this cluster; None: it can. Raises: `ValueError` if the table is wrong."""
        if runtime.name not in self._images:
            return "this installation has no image for it"
        try:
            image = msgspec.convert(runtime.settings.get("image", {}), _Image)
        except msgspec.ValidationError as exc:
            raise ValueError(f"{runtime.folders[0]}/runtime.toml: [image]: {exc}") from exc
        if not image.command:
            return "it has no way to run in a container"
        if not image.init:
            self._without_init.add(runtime.name)
        self._commands[runtime.name] = RuntimeCommand(
            name=runtime.name,
            execution_env=image.execution_env,
            command=[part.replace("{runtime_dir}", RUNTIME_DIR) for part in image.command],
            forks=image.forks,
            channel=image.channel,
            runtime_dir=RUNTIME_DIR,
            readable=[],
            environment=image.environment,
            layers=search_paths(runtime),
        )
        return None

    def command(self, name: str) -> RuntimeCommand:
        """Raises: `Unavailable`."""
        try:
            return self._commands[name]
        except KeyError:
            raise Unavailable(f"this installation has no image for the runtime {name}") from None

    def image(self, name: str) -> str:
        """Raises: `Unavailable`."""
        self.command(name)
        return self._images[name]

    def has_init(self, name: str) -> bool:
        """Whether its image has Lateen's `init`."""
        return name not in self._without_init
