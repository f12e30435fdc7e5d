"""A closed loop of HTTP requests over keep-alive connections, and what they cost the servers.

One thread on epoll and plain sockets, so that the client is never what is measured.
"""

import os
import selectors
import socket
import time
from collections.abc import Mapping
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


class BadAnswer(Exception):
    """A server answered something else than 200: its figures would mean nothing."""


def request_bytes(
    path: str, port: int, body: bytes, *, host: str = "127.0.0.1", headers: Mapping[str, str] | None = None
) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: application/json\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def run(port: int, request: bytes, *, connections: int, requests: int, host: str = "127.0.0.1") -> list[float]:
    """Latency of each request in microseconds. Raises: `BadAnswer`."""
    selector = selectors.DefaultSelector()
    latencies: list[float] = []
    sent = 0
    for _ in range(connections):
        sock = socket.create_connection((host, port), timeout=30)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(sock, selectors.EVENT_READ, state := _Connection(sock))
        state.send(request)
        sent += 1
    while len(latencies) < requests:
        for key, _ in selector.select(30):
            state = key.data
            if not state.receive():
                continue
            latencies.append((time.perf_counter() - state.sent_at) * 1e6)
            if sent < requests:
                state.send(request)
                sent += 1
    for key in list(selector.get_map().values()):
        key.data.sock.close()
    return latencies


class _Connection:
    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sent_at = 0.0
        self._answer = b""

    def send(self, request: bytes) -> None:
        self._answer = b""
        self.sent_at = time.perf_counter()
        self.sock.sendall(request)

    def receive(self) -> bool:
        """Whether the answer is whole."""
        data = self.sock.recv(262_144)
        self._answer += data
        head, separator, body = self._answer.partition(b"\r\n\r\n")
        if not data or (separator and not head.startswith(b"HTTP/1.1 200")):
            raise BadAnswer(self._answer[:300].decode("latin-1") or "the connection was closed")
        if not separator:
            return False
        lower = head.lower()
        at = lower.find(b"content-length:")
        return at >= 0 and len(body) >= int(lower[at + 15 :].split(b"\r\n", 1)[0])


def tree(pid: int) -> list[int]:
    """The process and all that descends from it."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = [pid]
    for known in found:
        found.extend(child for child, parent in parents.items() if parent == known)
    return found


def cpu_s(pids: list[int]) -> float:
    """Processor time that the processes have used, user and system."""
    return sum(times_s(pids))


def times_s(pids: list[int]) -> tuple[float, float]:
    """The same apart: in their own code, and in the kernel. What the network does for others counts there too."""
    user = system = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        user += int(fields[11])
        system += int(fields[12])
    return user / TICKS, system / TICKS


def pss_mib(pids: list[int]) -> float:
    """Proportional set size of the processes, in MiB."""
    total = 0
    for pid in pids:
        try:
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
        except OSError:
            continue
    return total / 1024


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return ""


def listening_ports(pid: int) -> list[int]:
    """The TCP ports on which the process listens."""
    inodes = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(fd)
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return [int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A" and row[9] in inodes]
