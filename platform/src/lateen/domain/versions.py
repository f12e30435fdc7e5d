"""Versions and aliases: snapshots of a function by number, and names for one or two of them.

A version is the whole function as it was when it was published, its name, its URL and who may call it, how many pods it
has and what is reserved for it excepted: these are the function's, whichever version runs.
"""

import re
from collections.abc import Mapping

import msgspec
from msgspec import Struct

from lateen.domain.errors import InvalidInput
from lateen.domain.function_urls import Statement, UrlConfig
from lateen.domain.functions import LATEST, Function

ALIAS_NAME = r"^(?![0-9]+\Z)[A-Za-z0-9_-]{1,128}\Z"
"""Never only digits, which would be a version."""
NUMBER = r"^[1-9][0-9]{0,8}\Z"
VERSION = r"^(\$LATEST|[1-9][0-9]{0,8})\Z"
QUALIFIER = r"^(\$LATEST|[A-Za-z0-9_-]{1,128})\Z"
"""A version or an alias."""
PUBLISHED = r"^[A-Za-z0-9_-]{1,128}\Z"
"""The same without `$LATEST`."""
OF_THE_FUNCTION = ("name", "auth", "url", "replicas", "reserved_concurrency")
_OWN = (*OF_THE_FUNCTION, "version", "revision", "rolled", "configured", "created_at", "updated_at", "deleted_at")

_ALIAS_NAME, _NUMBER, _VERSION, _QUALIFIER = (re.compile(each) for each in (ALIAS_NAME, NUMBER, VERSION, QUALIFIER))


class Target(Struct, frozen=True):
    """Where an alias leads: to `version`, but for the shares of calls that `weights` gives to other ones."""

    version: str
    weights: dict[str, float] = {}
    """Version → share of the calls, 0 to 1; at most one."""

    @property
    def versions(self) -> tuple[str, ...]:
        return (self.version, *self.weights)

    def pick(self, chance: float) -> str:
        """The version of one call. `chance`: random, 0 included, 1 not."""
        for version, weight in self.weights.items():
            if chance < weight:
                return version
            chance -= weight
        return self.version


class Alias(Struct, frozen=True, kw_only=True):
    """`revision` counts its changes."""

    workspace_id: str
    function_id: str
    name: str
    description: str = ""
    hash: str
    """The path of its own URL; 32 hex digits, random and permanent."""
    target: Target
    before: Target | None = None
    """Where it led before, which serves until all of `target` runs, and is what a rollback leads to."""
    url: UrlConfig | None = None
    """None: it was given no URL of its own."""
    policy: tuple[Statement, ...] = ()
    """Of the resource policy, those about this alias."""
    revision: int = 0
    created_at: str
    updated_at: str


def is_same(published: Function, function: Function) -> bool:
    """Whether a version published now would be what this one is."""
    neutral = {name: getattr(function, name) for name in _OWN}
    return msgspec.structs.replace(published, **neutral) == function


def as_now(published: Function, function: Function) -> Function:
    """The version with what is the function's."""
    return msgspec.structs.replace(published, **{name: getattr(function, name) for name in OF_THE_FUNCTION})


def is_number(text: str) -> bool:
    return _NUMBER.match(text) is not None


def is_alias_name(text: str) -> bool:
    return _ALIAS_NAME.match(text) is not None


def check_qualifier(text: str) -> None:
    if not _QUALIFIER.match(text):
        raise InvalidInput("qualifier", "$LATEST, a version's number or an alias")


def check_alias_name(name: str) -> None:
    if not is_alias_name(name):
        raise InvalidInput("name", "1 to 128 letters, digits, '-' and '_', not digits only")


def check_target(version: str, weights: Mapping[str, float]) -> None:
    """Raises: `InvalidInput` that names the field as the REST API does."""
    if not _VERSION.match(version):
        raise InvalidInput("version", "$LATEST or a version's number")
    if len(weights) > 1:
        raise InvalidInput("routing", "at most one further version")
    for other, weight in weights.items():
        if version == LATEST or not is_number(other):
            raise InvalidInput("routing", "only published versions share calls, and $LATEST is none")
        if other == version:
            raise InvalidInput("routing", "the alias leads to this version anyway")
        if not 0.0 <= weight <= 1.0:
            raise InvalidInput(f"routing.{other}", "0 to 1")
