"""`Spawner`: starts environments, says how they end, and ends all that descends from them.

Two kinds of runtimes. One whose command *is* an environment is executed anew for each. One that `forks` is started
once, holds no user code, and is asked for children: it reads requests from the SOCK_SEQPACKET socket on its
descriptor 3, each a JSON object with the descriptors of the new environment beside it (`forkserver.py` has a table).
"""

import asyncio
from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct


class SpawnFailed(Exception):
    """No process could be made; the text may be shown to the function's owner."""


class Exit(Struct, frozen=True):
    """How an environment ended: exactly one of `code` and `signal` is set."""

    code: int | None
    signal: int | None
    peak_memory_kib: int
    out_of_memory: bool = False
    """It was ended for the memory that it took, by whoever watches that there."""


class Usage(Struct, frozen=True):
    """What all processes of one environment use now; memory without pages that are shared with files."""

    memory_kib: int
    processes: int


class Process(Protocol):
    """One environment's processes. `pid` is the one in which user code starts, as this process sees it."""

    pid: int
    exited: "asyncio.Future[Exit]"

    def kill(self) -> None:
        """End all that descends from it. Never blocks; `exited` tells when it is done. Again is no error."""

    def usage(self) -> Usage | None:
        """None where it can't be told or all is over."""

    def peak_memory_kib(self) -> int:
        """Peak resident memory of the process in which user code started, or 0."""

    def owns_connection(self, local_port: int, peer_port: int) -> bool:
        """Whether a process of this environment holds the client end of the loopback TCP connection."""


class Spawner(Protocol):
    """Made for one function; all its environments end with it."""

    isolation: str
    """What environments are held by, in words; known after `start`."""
    task_root: str
    """Where the code is, as user code sees it."""
    layers_root: str
    """Where the layers are, as user code sees it."""
    layers_dir: str
    """Where they are for this process; empty where the function has none."""

    def variables(self, directory: str) -> Mapping[str, str]:
        """Variables that name paths as user code sees them: `HOME`, `TMPDIR`, `LAMBDA_RUNTIME_DIR`."""

    async def start(self) -> None:
        """Get ready, which for a runtime that forks starts the fork server. Asked before every `spawn`: costs next to
        nothing when all is there, and makes anew what has ended. Raises: `SpawnFailed`."""

    async def spawn(
        self, *, environment: Mapping[str, str], directory: str, log_fd: int, channel_fd: int | None
    ) -> Process:
        """Start one environment.

        Args:
            environment: all of its variables; nothing else is inherited.
            directory: its own folder, 0700, in `environments` in the function's work folder; where `TMPDIR` and `HOME`
                point, and `/tmp` if it has a root of its own. Removed by the caller.
            log_fd: what it writes to stdout and stderr goes here. The caller closes its own copy.
            channel_fd: the bootstrap's end of the channel of `wire.py`. The caller closes its own copy.
        Raises: `SpawnFailed`.
        """

    async def close(self) -> None:
        """End everything that was started."""
