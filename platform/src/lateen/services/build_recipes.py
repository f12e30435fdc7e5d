"""Recipes: the `[build]` table of a runtime, and whether a source needs it.

```toml
[build]
manifests = ["requirements.txt"]   # a file of this name at the zip's root: it is built
ready = ["*.dist-info"]            # a name there that says that it was built before it was packed: it is run as it is
locks = ["requirements.txt"]       # the files by whose content fetched packages are kept; the manifests if absent
always = false                     # true: every source, also a single file, unless it is `ready`
settings = ["PIP_"]                # how the names of variables begin that a workspace may give to its builds
result = "output"                  # the folder that becomes the artifact: `output`, or `source`
command = ["{interpreter}", "{runtime_dir}/build.py"]
tools = []                         # further programs that it needs on the machine itself
[build.when]                       # what else a manifest has to hold, as a regular expression
"pyproject.toml" = '(?m)^dependencies\\s*='
[build.environment]                # variables of the build; `{cache}` and the others may be part of them
[build.image]                      # for a cluster: the image to build in, and its own command
```
The command is executed in a writable copy of the source, without a shell. `{source}`, `{output}` and `{cache}` are
folders; what is left in the cache is there again for the next build with the same locks.
"""

import hashlib
import re
import zipfile
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any, Literal

import msgspec
from msgspec import Struct

from lateen.domain.runtimes import Runtime
from lateen.ports.blobs import Blob
from lateen.services.zips import open_zip

MANIFEST_LIMIT = 4 * 1024 * 1024
"""Bytes of a manifest or lock file that are looked at."""


class ImageRecipe(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    command: list[str]
    environment: dict[str, str] = {}


class Recipe(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    manifests: list[str] = []
    when: dict[str, str] = {}
    ready: list[str] = []
    locks: list[str] = []
    always: bool = False
    settings: list[str] = []
    result: Literal["output", "source"] = "output"
    command: list[str]
    tools: list[str] = []
    readable: list[str] = []
    environment: dict[str, str] = {}
    image: ImageRecipe | None = None

    @property
    def digest(self) -> str:
        """Another recipe builds something else."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()


def recipe_of(runtime: Runtime) -> Recipe | None:
    """None: nothing is ever built for it. Raises: `ValueError` that names the file."""
    table: Any = runtime.settings.get("build")
    if table is None:
        return None
    try:
        recipe = msgspec.convert(table, Recipe)
        for pattern in recipe.when.values():
            re.compile(pattern)
    except (msgspec.ValidationError, re.error) as exc:
        raise ValueError(f"{runtime.folders[0]}/runtime.toml: [build]: {exc}") from exc
    return recipe


def understood_by(runtimes: Iterable[Runtime]) -> list[str]:
    """How the names of variables begin that any of the runtimes' builds understand. Raises: `ValueError`."""
    return [prefix for runtime in runtimes if (recipe := recipe_of(runtime)) for prefix in recipe.settings]


class Need(Struct, frozen=True):
    """That a source is to be built."""

    because: str
    """The manifest's name, or the runtime's."""
    lock: str
    """As in `CodeBuild`."""


def need_of(source: Blob, runtime: Runtime) -> Need | None:
    """Args:
        source: a zip that was checked.
    Returns: None if it runs as it is. Blocks.
    """
    recipe = recipe_of(runtime)
    if recipe is None:
        return None
    with open_zip(source) as archive:
        names = archive.namelist()
        tops = {name.split("/", 1)[0] for name in names}
        if any(fnmatchcase(top, ready) for top in tops for ready in recipe.ready):
            return None
        found = [name for name in recipe.manifests if name in names]
        asked = [
            name
            for name in found
            if name not in recipe.when or re.search(recipe.when[name], _read(archive, name).decode("utf-8", "replace"))
        ]
        if not asked and not recipe.always:
            return None
        lock = hashlib.sha256()
        for name in sorted({*(recipe.locks or recipe.manifests)} & {*names}):
            content = _read(archive, name)
            lock.update(f"{len(name)}:{name}:{len(content)}:".encode() + content)
    return Need(asked[0] if asked else runtime.name, lock.hexdigest())


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as file:
        return file.read(MANIFEST_LIMIT)
