"""What `/proc` tells of an environment's processes: which there are, what they use, which connections they hold."""

import contextlib
import os

from lateen_invoker.forkserver import descendants
from lateen_invoker.spawner import Usage

_LISTEN_ADDRESS = "0100007F"  # 127.0.0.1 as /proc/net/tcp writes it


def pid_of(pidfd: int) -> int:
    """The process id, as this process' own PID namespace counts; -1 if the process is over."""
    with open(f"/proc/self/fdinfo/{pidfd}") as info:
        for line in info:
            if line.startswith("Pid:"):
                return int(line[4:])
    return -1


def usage_below(keeper: int) -> Usage | None:
    """What all processes below the keeper use.

    Pages that a process shares with its parent since the fork count in both. Where that could matter (more than one
    process) the kernel is asked for proportional figures, which costs it more.
    """
    pids = descendants(keeper)
    if not pids:
        return None
    if len(pids) == 1:
        return Usage(memory_kib=_status_kib(pids[0], b"RssAnon:", b"RssShmem:"), processes=1)
    return Usage(memory_kib=sum(_proportional_kib(pid) for pid in pids), processes=len(pids))


def peak_kib(pid: int) -> int:
    """Peak resident memory of one process, or 0."""
    return _status_kib(pid, b"VmHWM:")


def owns_connection(keeper: int, local_port: int, peer_port: int) -> bool:
    """Whether a process below the keeper holds the end `local_port` of a loopback connection to `peer_port`."""
    inode = _inode_of(local_port, peer_port)
    if inode is None:
        return False
    wanted = f"socket:[{inode}]"
    for pid in descendants(keeper):
        folder = f"/proc/{pid}/fd"
        try:
            fds = os.listdir(folder)
        except OSError:
            continue
        for fd in fds:
            with contextlib.suppress(OSError):
                if os.readlink(f"{folder}/{fd}") == wanted:
                    return True
    return False


def _inode_of(local_port: int, peer_port: int) -> str | None:
    local, peer = f"{_LISTEN_ADDRESS}:{local_port:04X}", f"{_LISTEN_ADDRESS}:{peer_port:04X}"
    with open("/proc/net/tcp") as table:
        for line in table:
            fields = line.split(None, 10)
            if fields[1] == local and fields[2] == peer:
                return fields[9]
    return None


def _status_kib(pid: int, *names: bytes) -> int:
    """Where a process's first thread has ended before the others, only theirs tell of its memory."""
    if found := _kib_in(f"/proc/{pid}/status", names):
        return found
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            if found := _kib_in(f"/proc/{pid}/task/{thread}/status", names):
                return found
    return 0


def _kib_in(path: str, names: tuple[bytes, ...]) -> int:
    try:
        with open(path, "rb") as status:
            return sum(int(line.split()[1]) for line in status if line.startswith(names))
    except (OSError, ValueError):
        return 0


def _proportional_kib(pid: int) -> int:
    return _kib_in(f"/proc/{pid}/smaps_rollup", (b"Pss_Anon:", b"Pss_Shmem:")) or _status_kib(
        pid, b"RssAnon:", b"RssShmem:"
    )
