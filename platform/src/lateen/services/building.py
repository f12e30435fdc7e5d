"""Building: has a `Builder` make what functions need, once per distinct source, and keeps what came out of it.

Level-triggered, as all that the controller does. Whoever needs an artifact asks for it, as often as it likes; what is
being built is claimed in the table for half a minute at a time, so a builder that dies is followed by the next who
asks, here or in another process, and of two that race one loses before it begins.
"""

import asyncio
import hashlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import msgspec
from anyio import move_on_after, to_thread

from lateen.domain.errors import LateenError
from lateen.domain.functions import Function
from lateen.domain.times import iso_ms
from lateen.ports.builder import Builder, BuildInterrupted, BuildRefused, BuildRequest, BuildWaits
from lateen.ports.objects import Objects
from lateen.ports.table import ItemNotFound, RevisionConflict, Table
from lateen.services.build_logs import BuildLog
from lateen.services.build_recipes import recipe_of
from lateen.services.build_settings import BuildSettings
from lateen.services.builds import (
    RETRIES_AFTER_S,
    Artifact,
    Build,
    BuildFailed,
    artifact_key,
    build_from,
    build_item,
    build_key,
)
from lateen.services.runtimes import Runtimes

log = logging.getLogger(__name__)

CLAIM_S = 30.0
RENEW_S = 10.0
INTERRUPTED_S = (5.0, 600.0)
"""After this long what was interrupted is begun again; the first time, and at the most."""
AT_A_TIME = 2
USED_EVERY_S = 3600.0
REMEMBERED = 1000
"""Builds that could not run; of those that nobody wants any more nothing is heard."""
_CHUNK = 256 * 1024
_RELEASE_S = 2.0


class Building:
    def __init__(
        self,
        table: Table,
        objects: Objects,
        *,
        builder: Builder,
        runtimes: Runtimes,
        settings: BuildSettings,
        is_alone: bool = False,
        at_a_time: int = AT_A_TIME,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Args:
        is_alone: no other process builds for this table, so a claim that is found is a dead one's.
        """
        self._table = table
        self._objects = objects
        self._builder = builder
        self._runtimes = runtimes
        self._settings = settings
        self._is_alone = is_alone
        self._now = now
        self._owner = secrets.token_hex(8)
        self._gate = asyncio.Semaphore(at_a_time)
        self._gates: dict[str, asyncio.Semaphore] = {}
        self._a_tenant = max(1, at_a_time - 1)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._waiting: dict[str, set[str]] = {}
        self._unwanted: set[str] = set()
        self._reasons: dict[str, str] = {}
        """By the build's id: what kept it from running when that was tried last."""
        self._settled: Callable[[str], Awaitable[None]] | None = None
        self._telling: set[asyncio.Task[None]] = set()

    def subscribe(self, settled: Callable[[str], Awaitable[None]]) -> None:
        """Be told the ids of functions for which `artifact` is worth asking for again."""
        self._settled = settled

    async def artifact(self, function: Function) -> Artifact | None:
        """What is to be deployed of the function. None: it is being built, and who subscribed will be told.

        Raises: `BuildFailed`, `Unavailable`.
        """
        code = function.code
        if code.build is None:
            return Artifact(code.artifact_key, code.sha256, code.size)
        build_id = code.build.id
        if build_id in self._running:
            self._waiting.setdefault(build_id, set()).add(function.id)
            return None
        build, revision = await self._read(function.workspace_id, build_id)
        if build is not None and build.artifact is not None:
            await self._use(build, revision, function.id)
            return build.artifact
        if build is not None and build.state == "Failed" and not (build.retry_at and build.retry_at <= self._now()):
            raise BuildFailed(build.reason or "The code could not be built.")
        if build is not None and build.state == "Waiting" and build.retry_at and build.retry_at > self._now():
            self._tell_later(function.id, build.retry_at - self._now())
            return None
        if build_id in self._running:  # since the item was read
            self._waiting.setdefault(build_id, set()).add(function.id)
        else:
            self._waiting[build_id] = {function.id}
            task = asyncio.get_running_loop().create_task(self._run(function))
            self._running[build_id] = task
            task.add_done_callback(lambda _: self._over(build_id))
        return None

    def reason(self, function: Function) -> str:
        """Why there is no artifact yet."""
        waits = self._reasons.get(function.code.build.id) if function.code.build is not None else None
        return "The code is being built." if waits is None else f"The code can't be built yet. {waits}"

    def forget(self, function_id: str) -> None:
        """It is gone; what is built for it alone ends."""
        for build_id, waiting in self._waiting.items():
            waiting.discard(function_id)
            if not waiting and (task := self._running.get(build_id)) is not None:
                self._unwanted.add(build_id)
                task.cancel()

    async def close(self) -> None:
        """Ends what is being built; the next process goes on with it."""
        self._settled = None
        tasks = [*self._running.values(), *self._telling]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _over(self, build_id: str) -> None:
        self._running.pop(build_id, None)
        self._unwanted.discard(build_id)
        for function_id in self._waiting.pop(build_id, ()):
            self._tell_later(function_id, 0.0)

    def _tell_later(self, function_id: str, after_s: float) -> None:
        if self._settled is None:
            return
        task = asyncio.get_running_loop().create_task(self._tell(function_id, after_s))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _tell(self, function_id: str, after_s: float) -> None:
        await asyncio.sleep(after_s)
        if self._settled is not None:
            await self._settled(function_id)

    async def _run(self, function: Function) -> None:
        """One build from its claim to its outcome."""
        assert function.code.build is not None
        build_id = function.code.build.id
        own = self._gates.setdefault(function.workspace_id, asyncio.Semaphore(self._a_tenant))
        wait_s = INTERRUPTED_S[0]
        try:
            async with own, self._gate:
                claimed = await self._claim(function)
                if isinstance(claimed, float):
                    wait_s = claimed
                else:
                    wait_s = 0.0  # who asks is told how long
                    self._reasons.pop(build_id, None)
                    await _Attempt(self, function, *claimed).run()
                    return
        except BuildInterrupted as exc:
            if isinstance(exc, BuildWaits):
                self._reasons[build_id] = str(exc)
                while len(self._reasons) > REMEMBERED:
                    del self._reasons[next(iter(self._reasons))]
            log.warning("build interrupted", extra={"build": build_id, "reason": str(exc)})
        except LateenError as exc:
            log.warning("build put off", extra={"build": build_id, "reason": str(exc)})
        except Exception:
            log.exception("build failed by a defect", extra={"build": build_id})
            wait_s = INTERRUPTED_S[1]
        for function_id in self._waiting.pop(build_id, ()):
            self._tell_later(function_id, wait_s)

    async def _claim(self, function: Function) -> tuple[Build, int] | float:
        """The build, ours for a while, and its item's revision; or seconds after which to look again."""
        assert function.code.build is not None
        build, revision = await self._read(function.workspace_id, function.code.build.id)
        now_s = self._now()
        if build is None:
            build = Build(id=function.code.build.id, workspace_id=function.workspace_id, runtime=function.runtime)
        elif build.artifact is not None:
            return 0.0
        elif build.state == "Building" and build.until > now_s and not (self._is_alone or build.owner == self._owner):
            return build.until - now_s + 1.0
        claimed = msgspec.structs.replace(
            build,
            state="Building",
            attempt=build.attempt + 1,
            owner=self._owner,
            until=now_s + CLAIM_S,
            started_at=iso_ms(now_s),
            ended_at=None,
            used_at=now_s,
        )
        try:
            stored = await self._table.put(build_item(claimed), expected=revision)
        except RevisionConflict:
            return 1.0
        return claimed, stored.revision

    async def _use(self, build: Build, revision: int | None, function_id: str) -> None:
        """Keeps the sweep from it. A race that is lost was won by somebody who used it too."""
        is_known = function_id in build.used_by
        if is_known and build.used_at > self._now() - USED_EVERY_S:
            return
        users = build.used_by if is_known else [*build.used_by[-99:], function_id]
        used = msgspec.structs.replace(build, used_at=self._now(), used_by=users)
        with suppress(RevisionConflict):
            await self._table.put(build_item(used), expected=revision)

    async def _read(self, workspace_id: str, build_id: str) -> tuple[Build | None, int | None]:
        try:
            item = await self._table.get(build_key(workspace_id, build_id))
        except ItemNotFound:
            return None, None
        return build_from(item), item.revision


class _Attempt:
    """One claimed build: it is said to go on for as long as it does, its log is stored, and then its outcome."""

    def __init__(self, building: Building, function: Function, build: Build, revision: int) -> None:
        self._building = building
        self._table = building._table
        self._now = building._now
        self._function = function
        self._build = build
        self._revision = revision
        self._lock = asyncio.Lock()

    async def run(self) -> None:
        """Raises: `BuildInterrupted` and other `LateenError`s where there is no outcome."""
        function = self._function
        assert function.code.build is not None
        recipe = recipe_of(self._building._runtimes.get(function.runtime))
        prefixes = [] if recipe is None else recipe.settings
        variables = await self._building._settings.variables(function.workspace_id, prefixes)
        request = BuildRequest(
            id=self._build.id,
            workspace_id=function.workspace_id,
            runtime=function.runtime,
            source_key=function.code.artifact_key,
            source_sha256=function.code.sha256,
            lock=function.code.build.lock,
            variables=variables,
        )
        said = BuildLog(self._table, self._build, secrets=variables.values(), now=self._now)
        renewing = asyncio.create_task(self._renew())
        outcome: Build | None = None
        retry_at: float | None = None
        try:
            async with said.writing(), self._building._builder.build(request, log=said.add) as file:
                outcome = msgspec.structs.replace(self._build, state="Built", artifact=await self._store(file))
        except BuildRefused as exc:
            outcome = self._refused(said.masked(str(exc)), said.last_lines())
        except LateenError:
            # Nothing is known of the source. Not at once again: what is away is so for a while.
            retry_at = self._now() + min(INTERRUPTED_S[1], INTERRUPTED_S[0] * 2 ** min(self._build.attempt - 1, 16))
            raise
        finally:
            renewing.cancel()
            if outcome is None:
                with move_on_after(_RELEASE_S, shield=True):
                    if self._build.id in self._building._unwanted:
                        await self._building._builder.discard(request)
                    await self._release(retry_at)
        await self._end(outcome)

    def _refused(self, why: str, last_lines: str) -> Build:
        failures = self._build.failures + 1
        retry_at = None if failures > len(RETRIES_AFTER_S) else self._now() + RETRIES_AFTER_S[failures - 1]
        reason = f"The code could not be built: {why}" + (f"\n{last_lines}" if last_lines else "")
        return msgspec.structs.replace(self._build, state="Failed", failures=failures, reason=reason, retry_at=retry_at)

    async def _store(self, file: Path) -> Artifact:
        sha256, size = await to_thread.run_sync(_digest_of, file)
        key = artifact_key(self._build.workspace_id, sha256)
        await self._building._objects.put(key, _chunks(file))
        return Artifact(key, sha256, size)

    async def _end(self, outcome: Build) -> None:
        now_s = self._now()
        async with self._lock:
            ended = msgspec.structs.replace(outcome, until=0.0, ended_at=iso_ms(now_s), used_at=now_s)
            try:
                await self._table.put(build_item(ended), expected=self._revision)
            except RevisionConflict:
                # We were taken for dead; whoever took it over stores what it finds.
                raise BuildInterrupted("another process has taken this build over") from None
        log.info("build ended", extra={"build": ended.id, "state": ended.state, "attempt": ended.attempt})

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            # Never cut short: it would be stored, and the outcome over a revision that is gone. Who stores that waits.
            await asyncio.shield(asyncio.ensure_future(self._renew_once()))

    async def _renew_once(self) -> None:
        with suppress(LateenError):
            await self._put(until=self._now() + CLAIM_S)

    async def _release(self, retry_at: float | None) -> None:
        """It had no outcome: whoever comes next needs not wait until the claim is over."""
        with suppress(LateenError):
            await self._put(state="Waiting", until=0.0, retry_at=retry_at)

    async def _put(self, **changes: object) -> None:
        async with self._lock:
            changed = msgspec.structs.replace(self._build, **changes)
            self._revision = (await self._table.put(build_item(changed), expected=self._revision)).revision


def _digest_of(file: Path) -> tuple[str, int]:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest(), file.stat().st_size


async def _chunks(file: Path) -> AsyncIterator[bytes]:
    with file.open("rb") as opened:
        while chunk := await to_thread.run_sync(opened.read, _CHUNK):
            yield chunk
