"""What holds functions on this machine, found out by having it once, before any function is there."""

import sys
import tempfile
from pathlib import Path

from lateen_invoker.control import Configure, RuntimeCommand
from lateen_invoker.spawner import SpawnFailed
from lateen_invoker.spawners import ForkServer


async def isolation_here(*, sandbox: bool) -> str:
    """`namespaces, landlock`, `namespaces`, `landlock` or `none`, as an invoker will say."""
    with tempfile.TemporaryDirectory(prefix="lateen-probe-") as folder:
        spawner = ForkServer(_nothing(folder, sandbox=sandbox), folder)
        try:
            await spawner.start()
            return spawner.isolation
        except (SpawnFailed, OSError):
            return "none"
        finally:
            await spawner.close()


def _nothing(folder: str, *, sandbox: bool) -> Configure:
    """A function that is never run: only its fork server is started."""
    python = sorted({str(Path(prefix).resolve()) for prefix in (sys.prefix, sys.base_prefix)})
    runtime = RuntimeCommand(
        name="probe",
        execution_env=None,
        command=[sys.executable],
        forks=False,
        channel=False,
        runtime_dir=folder,
        readable=python,
    )
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
        runtime=runtime,
        work_dir=folder,
        idle_s=1.0,
        sandbox=sandbox,
    )
