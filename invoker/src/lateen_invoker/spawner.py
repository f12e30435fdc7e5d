"""`Spawner`: starts environments, says how they end, and ends all that descends from them.

Two kinds of runtimes. One whose command *is* an environment is executed anew for each. One that `forks` is started
once, holds no user code, and is asked for children: it reads requests from the SOCK_SEQPACKET socket on its
descriptor 3, each a JSON object with the descriptors of the new environment beside it (`forkserver.py` has a table).
"""

import asyncio
import signal
from collections.abc import Mapping
from typing import Any, Protocol

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


class Listener(Protocol):
    """Who is told of the single processes of an environment that has external extensions."""

    def runtime_ended(self, ended: Exit) -> None:
        """The runtime has; `exited` tells when the extensions have too."""

    def extension_ended(self, name: str, ended: Exit | str) -> None:
        """`ended`: how, or why it could not even be started."""


class Usage(Struct, frozen=True):
    """What all processes of one environment use now; memory without pages that are shared with files."""

    memory_kib: int
    processes: int


class Process(Protocol):
    """One environment's processes. `pid` is the one in which user code starts, as this process sees it."""

    pid: int
    exited: "asyncio.Future[Exit]"
    extensions: list[str]
    """Names of the external extensions that were started. Where there are any, the runtime waits for `run`."""
    listener: Listener | None

    def run(self) -> None:
        """Let the runtime start, for its extensions have registered."""

    def terminate(self) -> None:
        """Ask the runtime to end (SIGTERM)."""

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
    code_dir: str
    """Where it is for this process."""
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
        self,
        *,
        environment: Mapping[str, str],
        directory: str,
        log_fd: int,
        channel_fd: int | None,
        program: str | None = None,
    ) -> Process:
        """Start one environment.

        Args:
            environment: all of its variables; nothing else is inherited.
            directory: its own folder, 0700, in `environments` in the function's work folder; where `TMPDIR` and `HOME`
                point, and `/tmp` if it has a root of its own. Removed by the caller.
            log_fd: what it writes to stdout and stderr goes here. The caller closes its own copy.
            channel_fd: the bootstrap's end of the channel of `wire.py`. The caller closes its own copy.
            program: in the place of the command's first word; a path as user code sees it.
        Raises: `SpawnFailed`.
        """

    async def close(self) -> None:
        """End everything that was started."""


def signal_name(number: int) -> str:
    """As Go's runtime names it, and so the Lambda service."""
    return _SIGNAL_NAMES.get(number, f"signal {number}")


def data_limit(memory_mib: int) -> int:
    """Of the data of one process of a function with so much memory, in bytes; it holds until the next look at memory.

    That counts the stacks of threads as a whole, 8 MiB each, of which next to nothing is used: there is room for 256.
    """
    return (2 * memory_mib + 512 + 256 * 8) * 1024 * 1024


def pass_on(told: Mapping[str, Any], listener: Listener | None) -> None:
    """A message about one process of an environment, which is what `extension` or `runtime` says, to who listens."""
    if listener is None:
        return
    if "runtime" in told:
        listener.runtime_ended(exit_in(told["runtime"]))
    elif "extension" in told:
        error = told.get("error")
        listener.extension_ended(str(told["extension"]), exit_in(told) if error is None else str(error))


def exit_in(told: Mapping[str, Any]) -> Exit:
    """How a process ended, as `code` or `signal` say; killed, where nobody could say it any more."""
    code = told.get("code")
    end = signal.SIGKILL if code is None else None
    return Exit(code, told.get("signal", end), told.get("peak_kib", 0), out_of_memory=bool(told.get("out_of_memory")))


_SIGNAL_NAMES: dict[int, str] = {
    signal.SIGHUP: "hangup", signal.SIGINT: "interrupt", signal.SIGQUIT: "quit", signal.SIGILL: "illegal instruction",
    signal.SIGTRAP: "trace/breakpoint trap", signal.SIGABRT: "aborted", signal.SIGBUS: "bus error",
    signal.SIGFPE: "floating point exception", signal.SIGKILL: "killed", signal.SIGUSR1: "user defined signal 1",
    signal.SIGSEGV: "segmentation fault", signal.SIGUSR2: "user defined signal 2", signal.SIGPIPE: "broken pipe",
    signal.SIGALRM: "alarm clock", signal.SIGTERM: "terminated",
}  # fmt: skip
