"""Builds: what became of each distinct source. One item a build, and its log in further ones.

A function's desired state names the build that its code needs (`Code.build`) and never what came out of it. So a build
that was lost is made again by whoever looks, and two functions of a workspace with equal code share one.
"""

import hashlib
import time
from collections.abc import Callable
from secrets import token_hex
from typing import Literal

import msgspec
from anyio import CapacityLimiter, to_thread
from msgspec import Struct

from lateen.domain.errors import InvalidInput, LateenError
from lateen.domain.functions import Code, CodeBuild
from lateen.domain.names import is_id
from lateen.domain.runtimes import Runtime
from lateen.ports.blobs import Blob
from lateen.ports.builder import BuildPlace
from lateen.ports.table import TRANSACTION_LIMIT, Delete, Item, ItemNotFound, Key, Table
from lateen.services.build_recipes import need_of, recipe_of
from lateen.services.build_settings import BuildSettings
from lateen.services.tenants import partition

State = Literal["Waiting", "Building", "Built", "Failed"]

RETRIES_AFTER_S = (60.0, 300.0, 1800.0)
"""A build that failed is tried again by itself after so long, for the index may have been away; then no more."""
LOG_DAYS = 7
LOG_PART = 64 * 1024
"""Characters of one log item, at most."""
LOG_LIMIT = 1024 * 1024
BUILDS_FOLDER = "_builds"
"""Of a workspace in the object store; no function's id can be that."""
_AGAIN = 10
_THREADS = 2


class BuildFailed(LateenError):
    """The code of a function can't be built. The text has the last lines of the log."""


class Artifact(Struct, frozen=True):
    """What a build made."""

    key: str
    sha256: str
    size: int


class Build(Struct, frozen=True, kw_only=True):
    """One build as it is stored."""

    id: str
    workspace_id: str
    runtime: str
    state: State = "Waiting"
    attempt: int = 0
    """Counts from 1."""
    failures: int = 0
    """Attempts that found that the source can't be built."""
    owner: str = ""
    """The process that builds."""
    until: float = 0.0
    """Unix time. From then on the owner is taken for dead, unless it has said more meanwhile."""
    started_at: str | None = None
    ended_at: str | None = None
    artifact: Artifact | None = None
    reason: str | None = None
    """Why it failed: a sentence and the last lines."""
    retry_at: float | None = None
    """Unix time of the next attempt by itself; None: there is none."""
    used_at: float = 0.0
    """Unix time at which a function was last made of it, or given it."""
    used_by: list[str] = []
    """Ids of functions."""


class LogPage(Struct, frozen=True):
    """A part of a build's log. `next`: what to ask for afterwards."""

    text: str
    next: str


class Builds:
    """Which build a source needs, and what is stored of builds."""

    def __init__(
        self, table: Table, *, settings: BuildSettings, place: BuildPlace | None, now: Callable[[], float] = time.time
    ) -> None:
        """Args:
        place: None: nothing is built here, whatever is in a source.
        """
        self._table = table
        self._settings = settings
        self._place = place
        self._now = now
        self._threads = CapacityLimiter(_THREADS)

    async def needed(
        self, source: Blob, sha256: str, *, workspace_id: str, runtime: Runtime, field: str = "code"
    ) -> CodeBuild | None:
        """The build that this source is to have; None: it runs as it is.

        Raises: `InvalidInput` where it would have to be built and can't be here.
        """
        if self._place is None or (recipe := recipe_of(runtime)) is None:
            return None
        need = await to_thread.run_sync(need_of, source, runtime, limiter=self._threads)
        if need is None:
            return None
        if (why := self._place.refusal(runtime)) is not None:
            raise InvalidInput(field, f"it has to be built ({need.because}), and {why}")
        variables = await self._settings.variables(workspace_id, recipe.settings)
        whole = "\n".join(
            (sha256, runtime.name, recipe.digest, self._place.platform, self._settings.digest(workspace_id, variables))
        )
        build_id = hashlib.sha256(whole.encode()).hexdigest()
        # Who sends code that could not be built wants it tried anew: as another build, so that it is pending again.
        for _ in range(_AGAIN):
            found = await self.find(workspace_id, build_id)
            if found is None or found.state != "Failed":
                break
            build_id = hashlib.sha256(f"{build_id}\n{found.ended_at}".encode()).hexdigest()
        return CodeBuild(build_id, need.lock)

    async def find(self, workspace_id: str, build_id: str) -> Build | None:
        item = await self._item(workspace_id, build_id)
        return None if item is None else build_from(item)

    async def artifact(self, workspace_id: str, code: Code) -> Artifact | None:
        """What runs of this code; None: it is not built."""
        if code.build is None:
            return Artifact(code.artifact_key, code.sha256, code.size)
        found = await self.find(workspace_id, code.build.id)
        return None if found is None else found.artifact

    async def log(self, build: Build, after: str = "") -> LogPage:
        """What was printed by its last attempt after what was given out before. Raises: `InvalidInput`."""
        if after and not (is_id(after) and after.startswith(f"{build.attempt:06}-")):
            after = ""  # of an attempt before: this one from its beginning
        page = await self._table.query(
            log_partition(build.workspace_id, build.id),
            begins=f"{build.attempt:06}-",
            after=after or None,
            limit=_AGAIN,
        )
        if not page.items:
            return LogPage("", after)
        return LogPage("".join(item.data["text"] for item in page.items), page.items[-1].key.sk)

    async def _item(self, workspace_id: str, build_id: str) -> Item | None:
        try:
            return await self._table.get(build_key(workspace_id, build_id))
        except ItemNotFound:
            return None


def build_key(workspace_id: str, build_id: str) -> Key:
    return Key(partition(workspace_id), f"BUILD#{build_id}")


def build_item(build: Build) -> Item:
    return Item(key=build_key(build.workspace_id, build.id), data=msgspec.to_builtins(build))


def build_from(item: Item) -> Build:
    return msgspec.convert(item.data, Build)


async def remove_builds(table: Table, workspace_id: str) -> None:
    """All of a workspace that ends; their logs and artifacts follow by themselves."""
    while items := (await table.query(partition(workspace_id), begins="BUILD#", limit=TRANSACTION_LIMIT)).items:
        await table.transact([Delete(item.key) for item in items])


def log_partition(workspace_id: str, build_id: str) -> str:
    return f"BUILDLOG#{workspace_id}#{build_id}"


def log_item(build: Build, part: int, text: str, *, now_s: float) -> Item:
    return Item(
        key=Key(log_partition(build.workspace_id, build.id), f"{build.attempt:06}-{part:06}"),
        data={"text": text},
        expires_at=int(now_s) + LOG_DAYS * 24 * 3600,
    )


def artifact_key(workspace_id: str, sha256: str) -> str:
    """A new one, for the sweep may be about to remove an artifact with the same content that nothing named any more."""
    return f"{workspace_id}/{BUILDS_FOLDER}/{sha256}-{token_hex(4)}.zip"
