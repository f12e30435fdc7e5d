"""`LocalBuilder`: builds as child processes of this machine, held as functions are, with the network.

A build has a folder to itself, which is its `/tmp` where namespaces are to be had: the source, what it makes, what it
keeps for the next one. It ends with all that descends from it when it takes too long, too much memory or too much disk,
and with this process.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from secrets import token_hex

from anyio import to_thread
from msgspec import Struct

from lateen.adapters.local.build_commands import BuildCommand, BuildCommands
from lateen.adapters.local.runtime_commands import filled
from lateen.domain.errors import LateenError
from lateen.domain.runtimes import Runtime
from lateen.ports.builder import BuildInterrupted, BuildRefused, BuildRequest, Log
from lateen.ports.objects import Objects
from lateen_invoker.artifact import ArtifactError
from lateen_invoker.build_folders import PackRefused, pack, unpack_source
from lateen_invoker.control import Configure, RuntimeCommand
from lateen_invoker.folders import remove
from lateen_invoker.spawner import Exit, Process, SpawnFailed
from lateen_invoker.spawners import ForkServer

LOOK_S = 0.5
_READ = 64 * 1024
_MIB = 1024 * 1024


class BuildLimits(Struct, frozen=True, kw_only=True):
    """Of one build."""

    deadline_s: float = 600.0
    memory_mib: int = 2048
    disk_mib: int = 2048
    """Of source, output, cache and whatever else it writes."""
    caches: int = 20
    """Kept on this machine, the latest used."""
    sandbox: bool = True


class LocalBuilder:
    """`Builder`. `start` comes first, and runs on the loop that everything else does."""

    def __init__(
        self,
        folder: Path,
        *,
        objects: Objects,
        commands: BuildCommands,
        runtime: Callable[[str], Runtime],
        limits: BuildLimits | None = None,
    ) -> None:
        """Args:
        folder: for builds' folders and caches; what an earlier process was building there is removed by `start`.
        runtime: by its canonical name.
        """
        self._work = folder / "work"
        self._caches = folder / "caches"
        self._objects = objects
        self._commands = commands
        self._runtime = runtime
        self._limits = limits or BuildLimits()
        self.platform = commands.platform

    async def start(self) -> None:
        await to_thread.run_sync(remove, str(self._work))
        for folder in (self._work, self._caches):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def refusal(self, runtime: Runtime) -> str | None:
        return self._commands.refusal(runtime)

    @asynccontextmanager
    async def build(self, request: BuildRequest, *, log: Log) -> AsyncIterator[Path]:
        runtime = self._runtime(request.runtime)
        command = self._commands.command(runtime)
        work = self._work / f"{request.id[:16]}-{token_hex(4)}"
        cache = self._caches / f"{request.workspace_id}-{request.runtime}-{request.lock[:32]}"
        try:
            yield await self._built(request, command, work, cache, log)
        except (OSError, ArtifactError) as exc:
            raise BuildInterrupted(f"the build's folder fails: {exc}") from exc
        finally:
            await asyncio.shield(asyncio.ensure_future(to_thread.run_sync(remove, str(work))))

    async def discard(self, request: BuildRequest) -> None:
        """A cancelled build has ended with all its processes."""

    async def _built(self, request: BuildRequest, command: BuildCommand, work: Path, cache: Path, log: Log) -> Path:
        inside = work / "environments" / "build"
        code = work / "code"
        inside.mkdir(mode=0o700, parents=True)
        code.mkdir(mode=0o755)
        spawner = ForkServer(self._configure(command, work), str(code))
        try:
            await spawner.start()
            await self._fill(request, work, inside, cache, spawner.owner)
            ended = await self._run(spawner, request, command, inside, log)
        except SpawnFailed as exc:
            raise BuildInterrupted(f"no build could be started: {exc}") from exc
        finally:
            await spawner.close()
        _check(ended)
        package = work / "artifact.zip"
        try:
            await to_thread.run_sync(pack, inside / command.recipe.result, package)
        except PackRefused as exc:
            raise BuildRefused(f"{exc}.") from exc
        await to_thread.run_sync(self._keep, inside / "cache", cache)
        return package

    async def _fill(self, request: BuildRequest, work: Path, inside: Path, cache: Path, owner: int | None) -> None:
        given = work / "source.zip"
        try:
            with given.open("xb") as file:
                async for chunk in self._objects.read(request.source_key):
                    file.write(chunk)
        except LateenError as exc:
            raise BuildInterrupted(f"the source can't be read: {exc}") from exc

        def fill() -> None:
            unpack_source(given, request.source_sha256, inside / "source", owner=owner)
            self._take(cache, inside / "cache")
            for name in ("output", "cache", "tmp", "home"):
                (inside / name).mkdir(mode=0o755, exist_ok=True)
                if owner is not None:
                    os.chown(inside / name, owner, owner)

        await to_thread.run_sync(fill)

    async def _run(
        self, spawner: ForkServer, request: BuildRequest, command: BuildCommand, inside: Path, log: Log
    ) -> Exit | str:
        """Returns: how it ended, or why it was ended."""
        seen_as = spawner.variables(str(inside))["TMPDIR"]
        folders = {name: f"{seen_as}/{name}" for name in ("source", "output", "cache")}
        environment = {
            **{name: filled(value, folders, ()) for name, value in command.environment.items()},
            **request.variables,
            "HOME": f"{seen_as}/home",
            "TMPDIR": f"{seen_as}/tmp",  # noqa: S108 - its own
            "LAMBDA_TASK_ROOT": folders["source"],
            "LATEEN_BUILD_OUTPUT": folders["output"],
            "LATEEN_BUILD_CACHE": folders["cache"],
            "SOURCE_DATE_EPOCH": "315532800",
        }
        reading, writing = os.pipe()
        reader = asyncio.StreamReader()
        try:
            transport, _ = await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb", 0)
            )
            process = await spawner.spawn(
                environment=environment, directory=str(inside), log_fd=writing, channel_fd=None
            )
        finally:
            os.close(writing)
        printing = asyncio.create_task(_print(reader, log))
        try:
            why = await self._watch(process, inside)
            return why or await process.exited
        finally:
            process.kill()
            with suppress(TimeoutError):
                async with asyncio.timeout(5):
                    await asyncio.shield(process.exited)
                    await asyncio.shield(printing)  # what is left in the pipe
            printing.cancel()
            transport.close()

    async def _watch(self, process: Process, inside: Path) -> str | None:
        """Until it ends. Returns: why it has to be ended; None: it has ended by itself."""
        limits = self._limits
        loop = asyncio.get_running_loop()
        over_at_s = loop.time() + limits.deadline_s
        while True:
            done, _ = await asyncio.wait([process.exited], timeout=LOOK_S)
            if done:
                return None
            if loop.time() >= over_at_s:
                return f"it took more than {limits.deadline_s:.0f} s."
            usage = await to_thread.run_sync(process.usage)
            if usage is not None and usage.memory_kib > limits.memory_mib * 1024:
                return f"it took more than {limits.memory_mib} MiB of memory."
            if await to_thread.run_sync(_is_larger, str(inside), limits.disk_mib * _MIB):
                return f"it wrote more than {limits.disk_mib} MiB, a great many files, or where nobody can look."

    def _configure(self, command: BuildCommand, work: Path) -> Configure:
        """A build is held as an environment of a function that is called never."""
        # As seen from the source, which is where it starts: what its folder is called inside, is known later.
        seen = {"source": ".", "output": "../output", "cache": "../cache"}
        return Configure(
            function_id="build",
            function_name="build",
            workspace_id="build",
            account_id="0" * 12,
            version="1",
            hash="0" * 32,
            region="us-east-1",
            handler="build",
            environment={},
            timeout_s=1,
            memory_mib=self._limits.memory_mib,
            concurrency=4,
            queue=0,
            open=False,
            invoke_key=b"",
            artifact="",
            artifact_sha256="",
            runtime=RuntimeCommand(
                name="build",
                execution_env=None,
                command=[filled(part, seen, ()) for part in command.command],
                forks=False,
                channel=False,
                runtime_dir=command.runtime_dir,
                readable=command.readable,
            ),
            work_dir=str(work),
            idle_s=1.0,
            sandbox=self._limits.sandbox,
        )

    def _take(self, cache: Path, target: Path) -> None:
        """What an earlier build of these locks has kept, else of others, for much of it is the same. One build at a
        time has it, and it comes back when that one is good."""
        others = self._caches.glob(f"{cache.name.rpartition('-')[0]}-*")
        for each in (cache, *sorted(others, key=lambda other: other.stat().st_mtime, reverse=True)):
            with suppress(OSError):
                each.rename(target)
                return

    def _keep(self, made: Path, cache: Path) -> None:
        """What it left in its cache, for the next build with the same locks. Blocks."""
        with suppress(OSError):
            # A link in the folder's place would lead us, and the next build, to where no build may go.
            if made.is_symlink() or not any(made.iterdir()) or _is_larger(str(made), self._limits.disk_mib * _MIB // 2):
                return
            if cache.exists():
                remove(str(cache))
            made.rename(cache)
            os.utime(cache)
            kept = sorted(self._caches.iterdir(), key=lambda each: each.stat().st_mtime)
            for old in kept[: -self._limits.caches]:
                remove(str(old))


async def _print(reader: asyncio.StreamReader, log: Log) -> None:
    while printed := await reader.read(_READ):
        log(printed)


def _check(ended: Exit | str) -> None:
    """Raises: `BuildRefused`, unless it ended well."""
    if isinstance(ended, str):
        raise BuildRefused(ended)
    if ended.code == 0:
        return
    how = f"exit status {ended.code}" if ended.code is not None else f"ended by signal {ended.signal}"
    raise BuildRefused(f"the build failed ({how}).")


def _is_larger(folder: str, limit: int) -> bool:
    """Whether there is more in it than that, an entry counted as 4 KiB at least, or it may be: a folder that can't be
    looked into, because it has no rights or a path that is too long, can still be written to. Blocks."""
    size, waiting = 0, [folder]
    while waiting:
        try:
            entries = os.scandir(waiting.pop())
        except (FileNotFoundError, NotADirectoryError):
            continue  # since its name was read
        except OSError:
            return True
        with entries:
            for entry in entries:
                try:
                    size += max(4096, entry.stat(follow_symlinks=False).st_blocks * 512)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                except FileNotFoundError:
                    continue
                except OSError:
                    return True
                if size > limit:
                    return True
    return False
