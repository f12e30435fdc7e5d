"""The processes behind a pod's containers, for tests that run on the node itself: to kill one of them, or to ask what
they cost. A container's processes are known by its id in their cgroup path, which holds for cgroup v1 and v2."""

import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class NotOnThisNode(Exception):
    """None of the container's processes is to be seen: the cluster runs elsewhere."""


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    """On the node."""
    inner_pid: int
    """In its innermost PID namespace, so 1 for a container's first process."""
    command: str
    cgroup: str

    def kill(self) -> None:
        """SIGKILL, if the process is still the one that was found."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            if _read(self.pid, "cgroup") == self.cgroup:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        except ProcessLookupError:
            pass
        finally:
            os.close(handle)


def container_ids(pod: Mapping[str, Any]) -> dict[str, str]:
    """Of a pod as the API server shows it: the running containers' ids, native sidecars included, by name."""
    status = pod["status"]
    rows = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    return {
        row["name"]: row["containerID"].rpartition("/")[2]
        for row in rows
        if row.get("containerID") and "running" in row["state"]
    }


def processes_of(pod: Mapping[str, Any], container: str) -> list[Process]:
    """The first process first. Raises: `NotOnThisNode`."""
    container_id = container_ids(pod)[container]
    found = sorted(_inside(container_id), key=lambda process: process.inner_pid)
    if not found:
        raise NotOnThisNode(f"no process of {pod['metadata']['name']}/{container} is on this machine")
    return found


def _inside(container_id: str) -> Iterator[Process]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        pid = int(entry.name)
        cgroup = _read(pid, "cgroup")
        if container_id not in cgroup:
            continue
        inner = [line.split()[-1] for line in _read(pid, "status").splitlines() if line.startswith("NSpid:")]
        command = _read(pid, "cmdline").replace("\0", " ").strip()
        if inner:
            yield Process(pid, int(inner[0]), command, cgroup)


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""
