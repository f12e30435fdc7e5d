"""Runtimes: the catalogue's values. One folder under `runtimes/` each, described by its `runtime.toml`:

```toml
name = "python3.12"            # the folder's name, and what AWS calls it
runtime = "python"             # the pair: runtime and version
version = "3.12"
aliases = ["python"]           # further names
file = "code.py"               # what a single source file is called inside the artifact
handler = "code.handler"       # default handler
sources = [".py"]              # how names of its source files end
starter = "starter/code.py"    # starter code, relative to this folder
deprecated = ""                # a sentence for the runtime's users; empty or absent: it is not
extends = "python3.11"         # optional: this folder's keys over that folder's, tables merged key by key
[layers]                       # search paths of a function with layers: "{layers}/lib"; {version} is the pair's
[embedded]                     # for the local deployer, which alone reads it
[build]                        # how dependencies are installed or code is compiled; see `services/build_recipes.py`
```
Further keys and tables (image) are kept in `settings` for whom they concern.
"""

from typing import Any

from msgspec import Struct


class Runtime(Struct, frozen=True, kw_only=True):
    name: str
    """Canonical: `python3.12`."""
    runtime: str
    """First of the pair: `python`."""
    version: str
    """Second of the pair: `3.12`."""
    aliases: tuple[str, ...] = ()
    file: str
    """Name of a single source file."""
    handler: str
    """Default handler."""
    sources: tuple[str, ...] = ()
    """How the names of its source files end, by which tools know them."""
    starter: str = ""
    """Starter code, as text."""
    deprecated: str | None = None
    folders: tuple[str, ...]
    """Absolute: the runtime's own folder, then those that it extends. A file is the first folder's that has it."""
    settings: dict[str, Any]
    """The whole merged `runtime.toml`."""
    disabled: str | None = None
    """Why it can't be used on this machine; None: it can."""


def search_paths(runtime: Runtime) -> dict[str, str]:
    """The `[layers]` table. Raises: `ValueError` if it is wrong."""
    table = runtime.settings.get("layers", {})
    if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
        raise ValueError(f"{runtime.folders[0]}/runtime.toml: [layers]: a table of texts")
    return {name: value.replace("{version}", runtime.version) for name, value in table.items()}


class RuntimeEntry(Struct, frozen=True, kw_only=True):
    """A runtime with the times of its seeding: when it was first known here, and when it last changed."""

    runtime: Runtime
    reg_date: str
    update_date: str
