"""What holds functions on this machine, found out by having it once, before any function is there."""

import asyncio
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lateen_invoker.control import Configure, RuntimeCommand
from lateen_invoker.spawner import SpawnFailed
from lateen_invoker.spawners import ForkServer

FROM_WEAK_TO_STRONG = ("none", "landlock, files only", "landlock", "namespaces", "namespaces, landlock")


async def isolation_here(commands: Sequence[RuntimeCommand], folder: Path, *, sandbox: bool) -> str:
    """The weakest that a function of these runtimes has, one of `FROM_WEAK_TO_STRONG`, as an invoker will say.

    Args:
        commands: how environments are started; what they name may be readable for fewer than functions run as.
        folder: where the functions' work folders are.
    """
    found = await asyncio.gather(*(_isolation_of(command, folder, sandbox=sandbox) for command in commands))
    return min(found, key=FROM_WEAK_TO_STRONG.index)


async def _isolation_of(command: RuntimeCommand, folder: Path, *, sandbox: bool) -> str:
    with _work_folder(folder) as (work_dir, code_dir):
        spawner = ForkServer(_nothing(command, work_dir, sandbox=sandbox), code_dir)
        try:
            await spawner.start()
            return spawner.isolation
        except (SpawnFailed, OSError):
            return "none"
        finally:
            await spawner.close()


def is_weaker(isolation: str, than: str) -> bool:
    known = FROM_WEAK_TO_STRONG
    return isolation in known and than in known and known.index(isolation) < known.index(than)


@contextmanager
def _work_folder(folder: Path) -> Iterator[tuple[str, str]]:
    """As a function has one, and its code folder."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="probe-", dir=folder) as work_dir:
        code = Path(work_dir, "code")
        code.mkdir()
        code.chmod(0o755)
        yield work_dir, str(code)


def _nothing(command: RuntimeCommand, work_dir: str, *, sandbox: bool) -> Configure:
    """A function that is never run: only its fork server is started."""
    return Configure(
        function_id="probe",
        function_name="probe",
        workspace_id="probe",
        account_id="0" * 12,
        version="1",
        hash="0" * 32,
        region="us-east-1",
        handler="probe",
        environment={},
        timeout_s=1,
        memory_mib=128,
        concurrency=1,
        queue=0,
        open=False,
        invoke_key=b"",
        artifact="",
        artifact_sha256="",
        runtime=command,
        work_dir=work_dir,
        idle_s=1.0,
        sandbox=sandbox,
    )
