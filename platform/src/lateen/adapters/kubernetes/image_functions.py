"""Functions whose package is an image: how that runs under `init`, which it doesn't have.

A container's manifest can't say "the image's own entry point, but under this program", and only a registry could say
what that is. So the entry point is what the function names, or else that of AWS's base images; and where the function
names no argument either, `init` lies in that one's place, and is started by it and with the arguments of the image.
"""

from lateen.adapters.kubernetes.config import FunctionsConfig
from lateen.adapters.kubernetes.kinds import Manifest
from lateen.domain.images import Image
from lateen_invoker.control import RuntimeCommand

TAKING = "entrypoint"
"""The container that takes the image's entry point out of the way."""
LOOKUP = "registry"
"""The container, of another pod, that has the registry asked for the image."""
ENTRY_POINT = "/lambda-entrypoint.sh"
_TAKEN = "/lateen/entrypoint"


def is_own(image: Image) -> bool:
    """Whether the image itself says what is started."""
    return not image.config.entry_point and not image.config.command


def command_of(image: Image) -> RuntimeCommand:
    config = image.config
    entry_point = [_TAKEN] if is_own(image) else config.entry_point or [ENTRY_POINT]
    return RuntimeCommand(
        name="image",
        execution_env=None,
        command=[*entry_point, *config.command],
        forks=False,
        channel=False,
        runtime_dir="/var/runtime",
        inherits=True,
        directory=config.working_directory,
    )


def pull_policy_of(image: Image, config: FunctionsConfig) -> str:
    """As Kubernetes has it where nobody says anything: who uses `latest` wants the latest."""
    policy = config.images.pull_policy
    return "Always" if policy == "IfNotPresent" and image.is_newest else policy


def in_its_place(volume: str) -> Manifest:
    """The mount by which the image's entry point is `init`."""
    return {"name": volume, "mountPath": ENTRY_POINT, "subPath": "init", "readOnly": True}


def taking_command() -> list[str]:
    return ["/lateen/init", "take", _TAKEN]
