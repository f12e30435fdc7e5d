"""Functions and runtimes as `/lambda` shows them."""

from typing import Annotated

from msgspec import Meta, Struct

from lateen.api.fields import Hash, Timestamp
from lateen.domain.functions import Auth, Described, State
from lateen.domain.runtimes import Runtime, RuntimeEntry


class ConsoleFunction(Struct, frozen=True, kw_only=True):
    hash: Hash
    name: str
    runtime: Annotated[str, Meta(examples=["python"])]
    """`image` where the package is one."""
    version: Annotated[str, Meta(examples=["3.12"])]
    url: str
    auth: Auth
    state: State
    state_reason: str | None
    reg_date: Timestamp
    update_date: Timestamp


class ConsoleSource(ConsoleFunction, frozen=True, kw_only=True):
    file: str | None
    """The source file as it was given; null: it was a zip."""


class ConsoleStarter(Struct, frozen=True, kw_only=True):
    runtime: Annotated[str, Meta(examples=["python"])]
    version: Annotated[str, Meta(examples=["3.12"])]
    name: Annotated[str, Meta(examples=["code.py"])]
    """What a single source file is called."""
    file: str
    """The starter code."""


class ConsoleRuntime(Struct, frozen=True, kw_only=True):
    name: Annotated[str, Meta(examples=["python3.12"])]
    """Canonical."""
    runtime: Annotated[str, Meta(examples=["python"])]
    version: Annotated[str, Meta(examples=["3.12"])]
    aliases: list[str]
    """Further names of it, such as AWS's."""
    file: Annotated[str, Meta(examples=["code.py"])]
    """What a single source file is called."""
    sources: list[str]
    """How the names of its source files end."""
    disabled: bool
    disabled_reason: str | None
    deprecated: str | None
    reg_date: Timestamp
    update_date: Timestamp


def console_function(described: Described, runtime: Runtime | None, base_url: str) -> ConsoleFunction:
    """`runtime`: the function's; None: it is not installed any more."""
    function = described.function
    return ConsoleFunction(
        hash=function.hash,
        name=function.name,
        runtime=runtime.runtime if runtime else function.runtime or "image",
        version=runtime.version if runtime else "",
        url=f"{base_url}/{function.hash}",
        auth=function.auth,
        state=described.status.state,
        state_reason=described.status.reason,
        reg_date=function.created_at,
        update_date=function.updated_at,
    )


def console_runtime(entry: RuntimeEntry) -> ConsoleRuntime:
    return ConsoleRuntime(
        name=entry.runtime.name,
        aliases=list(entry.runtime.aliases),
        file=entry.runtime.file,
        sources=list(entry.runtime.sources),
        runtime=entry.runtime.runtime,
        version=entry.runtime.version,
        disabled=entry.runtime.disabled is not None,
        disabled_reason=entry.runtime.disabled,
        deprecated=entry.runtime.deprecated,
        reg_date=entry.reg_date,
        update_date=entry.update_date,
    )
