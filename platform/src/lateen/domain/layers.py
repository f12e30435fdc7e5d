"""Layers: zips that functions share, unpacked over each other into `/opt`. A version of one never changes."""

import re
from collections.abc import Collection, Sequence

from msgspec import Struct

from lateen.domain.errors import InvalidInput
from lateen.domain.names import DESCRIPTION, DESCRIPTION_LENGTH, RUNTIME

LAYER_NAME = r"^[A-Za-z0-9_-]{1,140}\Z"
LICENSE_LENGTH = 512
ARCHITECTURES = ("x86_64", "arm64")
MAX_RUNTIMES = 15
"""That a version may name."""
MAX_LAYERS = 5
"""Of one function."""
LAYER_ARN = r"^arn:aws:lambda:[a-z0-9-]{1,32}:[0-9]{12}:layer:[A-Za-z0-9_-]{1,140}:[1-9][0-9]{0,9}\Z"
"""Of a version."""
LAYERS_TEXT = "at most 5 layers, each as the ARN of a version: arn:aws:lambda:us-east-1:123456789012:layer:name:1"

_NAME, _RUNTIME, _TEXT, _ARN = (re.compile(pattern) for pattern in (LAYER_NAME, RUNTIME, DESCRIPTION, LAYER_ARN))


class UsedLayer(Struct, frozen=True, kw_only=True):
    """A layer version as a function has it: all that it takes to run, also after the version was deleted."""

    arn: str
    key: str
    """Of the zip in the object store."""
    sha256: str
    """Of the zip, hex."""
    size: int
    """Of the zip, bytes."""
    unzipped: int
    """Bytes of all its files."""


class LayerVersion(UsedLayer, frozen=True, kw_only=True):
    workspace_id: str
    name: str
    version: int
    """From 1, and never used again."""
    description: str = ""
    runtimes: tuple[str, ...] = ()
    """Names that it is said to be for; nothing is refused for what they say."""
    architectures: tuple[str, ...] = ()
    license: str = ""
    created_at: str

    @property
    def layer_arn(self) -> str:
        """Without the version."""
        return self.arn.rpartition(":")[0]

    @property
    def used(self) -> UsedLayer:
        return UsedLayer(arn=self.arn, key=self.key, sha256=self.sha256, size=self.size, unzipped=self.unzipped)


class LayerArn(Struct, frozen=True):
    account_id: str
    name: str
    version: int


def arn_of(region: str, account_id: str, name: str, version: int) -> str:
    return f"arn:aws:lambda:{region}:{account_id}:layer:{name}:{version}"


def parse_arn(arn: str, field: str = "layers") -> LayerArn:
    """Raises: `InvalidInput`."""
    if not _ARN.match(arn):
        raise InvalidInput(field, LAYERS_TEXT)
    *_, account_id, _, name, version = arn.split(":")
    return LayerArn(account_id, name, int(version))


def is_layer_name(name: str) -> bool:
    return _NAME.match(name) is not None


def check_layer_name(name: str, field: str = "name") -> None:
    if not is_layer_name(name):
        raise InvalidInput(field, "1 to 140 letters, digits, '-' and '_'")


def check_texts(*, description: str, license: str, runtimes: Sequence[str], architectures: Collection[str]) -> None:
    """Raises: `InvalidInput` that names the field as the REST API does."""
    for field, text, length in (("description", description, DESCRIPTION_LENGTH), ("license", license, LICENSE_LENGTH)):
        if len(text) > length:
            raise InvalidInput(field, f"at most {length} characters")
        if not _TEXT.match(text):
            raise InvalidInput(field, "no control characters")
    if len(runtimes) > MAX_RUNTIMES:
        raise InvalidInput("runtimes", f"at most {MAX_RUNTIMES}")
    if not all(_RUNTIME.match(runtime) for runtime in runtimes):
        raise InvalidInput("runtimes", "names such as python3.12")
    if not set(architectures) <= set(ARCHITECTURES) or len(architectures) > len(ARCHITECTURES):
        raise InvalidInput("architectures", f"of: {', '.join(ARCHITECTURES)}")


def check_layers(arns: Sequence[str]) -> None:
    """What can be said of a function's layers without looking them up. The texts are AWS's. Raises: `InvalidInput`."""
    if len(arns) > MAX_LAYERS:
        raise InvalidInput("layers", f"Cannot reference more than {MAX_LAYERS} layers.")
    seen: dict[str, str] = {}
    for arn in arns:
        parse_arn(arn)
        layer = arn.rpartition(":")[0]
        if (other := seen.setdefault(layer, arn)) is not arn:
            raise InvalidInput(
                "layers",
                "Two different versions of the same layer are not allowed to be referenced in the same function. "
                f"{other} and {arn} are versions of the same layer.",
            )
