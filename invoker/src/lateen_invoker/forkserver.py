"""The fork server: asked over a socket for environments, each a fork of this process or a program that it becomes.

This module runs in the interpreter of the runtime, which may be another than the invoker's, and holds no user code.
Standard library only, as is what it imports. A bootstrap that forks calls `serve`; for any other runtime this file is
the program itself.

    invoker ── descriptor 3, SOCK_SEQPACKET ──▶ fork server ──▶ keeper ──▶ environment (user code)
       ▲                                                          │
       └──────────── one status socket per environment ───────────┘

The keeper holds no user code either. It is the reaper of all that descends from its environment, tells how the
environment ended, and takes the rest with it when it ends itself. Messages are JSON, descriptors travel beside them:

| on | from | message | descriptors |
| --- | --- | --- | --- |
| 3 | invoker | settings, once | |
| 3 | fork server | `ready`, `isolation`, `task_root`, `layers_root`, `tmp`, `owner` | its own pidfd |
| 3 | invoker | `environment`, `directory`, `program`, `extensions` (`extension_processes.py`) | status, log, channel |
| status | keeper | `started`, and `extensions`: names, if some were; or `error` | pidfds of keeper and environment |
| status | invoker | `run`: the runtime, which waits for that if there are extensions | |
| status | invoker | `terminate`: a SIGTERM for the runtime | |
| status | keeper | `extension` (a name) with `code`, `signal` or `error`; `runtime` with how that ended before them | |
| status | keeper | `code` or `signal`, `peak_kib`; last, when all is over | |

The end of the invoker's side of either socket is the end of what is on the other.
"""

import array
import contextlib
import ctypes
import gc
import json
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NoReturn, Protocol

CONTROL_FD = 3
MAX_MESSAGE = 128 * 1024
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# Variables that the interpreter or the loader looks at before any of our code runs. They need an exec.
_EARLY = ("PYTHON", "LD_", "MALLOC_", "GLIBC_", "OPENSSL_", "SSLKEYLOGFILE", "LC_", "LANGUAGE")
_HARMLESS = {"PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}
WRAPPER = "AWS_LAMBDA_EXEC_WRAPPER"

_WARM = object()
_QUIET_S = 0.03
"""After this time without a request the next is not near, and what was asked for has had the processor to itself."""
_WALKS, _GLANCES = 10, 200
"""How often all that descends from a keeper is looked for, and then its own children, before it begins again."""
_libc = ctypes.CDLL(None, use_errno=True)


def keep_freed_memory() -> None:
    """For this process: memory for an event is not given back after each one.

    By default the C library returns 128 KiB to the kernel as soon as they are free at the end of the heap, and takes
    them again for the next event: two dozen page faults each time.
    """
    if hasattr(_libc, "mallopt"):
        _libc.mallopt(_M_TRIM_THRESHOLD, 4 * 1024 * 1024)
        _libc.mallopt(_M_MMAP_THRESHOLD, 1024 * 1024)


def serve(warming: Iterator[object] | None = None, *, hidden: str = "") -> int:
    """Returns only in a new environment whose code is to run in this interpreter: the descriptor of its channel.

    Args:
        warming: what is worth having in memory before an environment is forked, in steps. They are taken while nobody
            asks for one, so that the first environment, for which somebody waits, has to wait for none of it.
        hidden: folder on the module search path that only the fork server needs.
    """
    control = socket.socket(fileno=CONTROL_FD)
    message, _ = _receive(control)
    if not message:
        os._exit(0)
    settings = json.loads(message)
    _yield_to_the_platform()
    if settings["has_layers"]:
        from lateen_invoker import extension_processes  # noqa: F401 - the folder where it is may be out of sight soon
    held = _held(settings)
    if hidden:
        sys.path.remove(hidden)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    pidfd = os.pidfd_open(os.getpid())
    _send(control, {"ready": True, **held.described()}, pidfd)
    os.close(pidfd)
    quiet_s = _QUIET_S
    while True:
        if warming is not None and not select.select([control], [], [], quiet_s)[0]:
            quiet_s = 0
            if next(warming, _WARM) is _WARM:
                warming = None
                gc.collect()
            continue
        quiet_s = _QUIET_S
        message, fds = _receive(control)
        if not message:
            os._exit(0)
        gc.freeze()  # no collection in a child touches, and so copies, what is the parent's
        channel = _start(control, held, settings, json.loads(message), fds)
        if channel is not None:
            keep_freed_memory()
            return channel
        for fd in fds:
            os.close(fd)


class Held(Protocol):
    """How environments are held: `Plain`, or what `sandbox.py` has."""

    own_pids: bool
    """A keeper is the first process of a PID namespace."""

    def described(self) -> dict[str, Any]:
        """What the invoker is told."""

    def fork_keeper(self) -> int:
        """As `os.fork`."""

    def keep(self, directory: str) -> None:
        """In a keeper, before its environment is forked."""

    def confine(self, directory: str) -> None:
        """In an environment, last before user code."""


class Plain:
    """No isolation: child processes with limits."""

    own_pids = False

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings

    def described(self) -> dict[str, Any]:
        settings = self._settings
        return {
            "isolation": "none",
            "task_root": settings["code_dir"],
            "layers_root": settings["layers_dir"] or "/opt",
            "tmp": None,
            "owner": None,
        }

    def fork_keeper(self) -> int:
        return os.fork()

    def keep(self, directory: str) -> None:
        pass

    def confine(self, directory: str) -> None:
        pass


def _held(settings: dict[str, Any]) -> Held:
    """How environments are held here. May return in another process than the one that called."""
    if not settings["sandbox"]:
        return Plain(settings)
    from lateen_invoker import sandbox

    held: Held = sandbox.enter(settings, Plain(settings))
    return held


def _start(
    control: socket.socket, held: Held, settings: dict[str, Any], request: dict[str, Any], fds: list[int]
) -> int | None:
    """Fork a keeper, which forks the environment. Returns: None here, the channel in the environment."""
    try:
        pid = held.fork_keeper()
    except OSError as exc:
        with socket.socket(fileno=os.dup(fds[0])) as status:
            _send(status, {"error": f"no process could be made: {exc.strerror}"})
        return None
    if pid:
        return None
    control.detach()
    os.close(CONTROL_FD)
    status = socket.socket(fileno=fds[0])
    try:
        # The keeper is what stays when user code does whatever it likes with its own parents.
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        held.keep(request["directory"])
        extensions = _extensions(held, settings, request, fds[1])
        pid = os.fork()
    except OSError as exc:
        _send(status, {"error": f"no process could be made: {exc.strerror}"})
        os._exit(1)
    if pid == 0:
        status.detach()
        try:
            if extensions is not None:
                extensions.wait()
            return _become(held, settings, request, fds)
        except OSError as exc:
            os.write(2, f"not started: {exc}\n".encode())
            os._exit(126)
    _keep(held, status, pid, fds[1:], extensions)
    os._exit(0)


def _extensions(held: Held, settings: dict[str, Any], request: dict[str, Any], log: int) -> Any:
    """Those of the environment, started; None where it has none."""
    if "extensions" not in request:
        return None
    from lateen_invoker.extension_processes import ExtensionProcesses

    def prepare(kept: int) -> None:
        _prepare(held, settings, request["directory"], log, [kept])

    found = ExtensionProcesses(request["extensions"], request["environment"], prepare)
    if not found.names:
        return None
    found.start()
    return found


def _keep(held: Held, status: socket.socket, pid: int, fds: list[int], extensions: Any) -> None:
    for fd in fds:
        os.close(fd)
    started: dict[str, Any] = {"started": True}
    if extensions is not None:
        started["extensions"] = extensions.names
        extensions.runtime_is_there()
    waking, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    own, child = os.pidfd_open(os.getpid()), os.pidfd_open(pid)
    try:
        _send(status, started, own, child)
        poll = select.poll()
        poll.register(status, select.POLLIN)
        poll.register(waking, select.POLLIN)
        end: dict[str, Any] | None = None
        while True:
            for reaped, how in _reaped():
                if reaped == pid:
                    end = how
                    if extensions is not None:
                        _send(status, {"runtime": end})
                elif extensions is not None and (told := extensions.ended(reaped, how)) is not None:
                    _send(status, told)
            if end is not None and (extensions is None or not extensions.are_there()):
                break
            ready = {fd for fd, _ in poll.poll()}
            if status.fileno() in ready:
                order = json.loads(status.recv(4096) or b"{}")
                if not order:
                    # The invoker has closed its end: everything here ends. What has done so by itself, that stands.
                    if end is None:
                        os.kill(pid, signal.SIGKILL)
                        _, wait_status, usage = os.wait4(pid, 0)
                        end = _how(wait_status, usage.ru_maxrss)
                    break
                if "run" in order and extensions is not None:
                    extensions.open_gate()
                if "terminate" in order and end is None:
                    os.kill(pid, signal.SIGTERM)
            with contextlib.suppress(BlockingIOError):
                os.read(waking, 512)
        if end is not None:
            _send(status, end)
    except OSError:
        pass  # nobody listens any more
    if not held.own_pids:
        end_descendants()


def _reaped() -> Iterator[tuple[int, dict[str, Any]]]:
    """Wait for all that has ended: process ids, and how."""
    with contextlib.suppress(ChildProcessError):
        while True:
            reaped, wait_status, usage = os.wait4(-1, os.WNOHANG)
            if not reaped:
                break
            yield reaped, _how(wait_status, usage.ru_maxrss)


def _how(wait_status: int, peak_kib: int) -> dict[str, Any]:
    code = os.waitstatus_to_exitcode(wait_status)
    return {**({"code": code} if code >= 0 else {"signal": -code}), "peak_kib": peak_kib}


def _become(held: Held, settings: dict[str, Any], request: dict[str, Any], fds: list[int]) -> int:
    """In the new process: everything up to user code. Returns: the channel's descriptor."""
    log, *rest = fds[1:]
    _prepare(held, settings, request["directory"], log, rest)
    environment = request["environment"]
    if not settings["forks"] or needs_exec(environment):
        command = settings["exec"]
        if request["program"] is not None:
            command = [request["program"], *command[1:]]
        _exec(command, environment, has_channel=bool(rest))
    os.environ.clear()
    os.environ.update(environment)
    return CONTROL_FD


def _prepare(held: Held, settings: dict[str, Any], directory: str, log: int, rest: list[int]) -> None:
    """Its session, descriptors, limits and hold. Of `rest` the first becomes descriptor 3, close-on-exec."""
    os.setsid()
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.umask(0o022)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if rest:
        os.dup2(rest[0], CONTROL_FD, inheritable=False)
    os.closerange(CONTROL_FD + (1 if rest else 0), resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    limit(settings)
    held.confine(directory)


def needs_exec(environment: Mapping[str, str]) -> bool:
    """Whether a variable is among them that an interpreter which is running already can't be given."""
    return any(name == WRAPPER or (name.startswith(_EARLY) and name not in _HARMLESS) for name in environment)


def _exec(command: list[str], environment: dict[str, str], *, has_channel: bool) -> NoReturn:
    environment = dict(environment)
    wrapper = environment.get(WRAPPER)
    if wrapper:
        command = [wrapper, *command]
    if has_channel:
        os.set_inheritable(CONTROL_FD, True)
        environment["_LATEEN_CHANNEL_FD"] = str(CONTROL_FD)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # Python ignores these two, and a program would inherit that
    try:
        os.chdir(environment["LAMBDA_TASK_ROOT"])
        os.execvpe(command[0], command, environment)  # noqa: S606 - there is no shell, which is the point
    except OSError as exc:
        os.write(2, f"{command[0]}: {exc.strerror}\n".encode())
        os._exit(127 if isinstance(exc, FileNotFoundError) else 126)


def _yield_to_the_platform() -> None:
    # User code that gets an event waits until whoever sent it has nothing more to do on its processor: an invoker in
    # the middle of eight answers is not torn out of it eight times, which saves a sixth of a call's cost.
    if hasattr(os, "SCHED_BATCH"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def limit(settings: dict[str, Any]) -> None:
    """Resource limits of an environment."""
    for name, value in settings["limits"].items():
        kind = getattr(resource, name)
        _, most = resource.getrlimit(kind)
        value = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(kind, (value, value))


def end_descendants() -> None:
    """Kill everything below this process, which reaps what loses its parent.

    Stopped first: what is stopped forks no more, so that the killing ends also where processes are made faster than
    they can be killed one by one. One that hands itself on, each process forking the next and ending, may slip through
    a walk over all of them; but it is always a child of this one before long, and those are killed without a walk.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    own = os.getpid()
    children = os.open(f"/proc/{own}/task/{own}/children", os.O_RDONLY | os.O_CLOEXEC)
    while True:
        stopped: set[int] = set()
        for _ in range(_WALKS):
            if not (fresh := set(descendants(own)) - stopped):
                break
            _signal_all(fresh, signal.SIGSTOP)
            stopped |= fresh
        _signal_all(stopped, signal.SIGKILL)
        for _ in range(_GLANCES):
            try:
                os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return  # as children are ignored, there is none left
            _signal_all(map(int, os.pread(children, 4096, 0).rpartition(b" ")[0].split()), signal.SIGKILL)
        time.sleep(0.001)


def _signal_all(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def descendants(pid: int) -> list[int]:
    """Process ids of all that descends from it, without itself."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        parent = waiting.pop()
        try:
            threads = os.listdir(f"/proc/{parent}/task")
            for thread in threads:
                with open(f"/proc/{parent}/task/{thread}/children", "rb") as children:
                    below = [int(child) for child in children.read().split()]
                found += below
                waiting += below
        except OSError:
            continue
    return found


def _receive(control: socket.socket) -> tuple[bytes, list[int]]:
    fds = array.array("i")
    message, ancillary, _, _ = control.recvmsg(
        MAX_MESSAGE, socket.CMSG_SPACE(4 * fds.itemsize), socket.MSG_CMSG_CLOEXEC
    )
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return message, list(fds)


def _send(to: socket.socket, message: dict[str, Any], *fds: int) -> None:
    socket.send_fds(to, [json.dumps(message).encode()], fds)


if __name__ == "__main__":
    sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    serve()
    sys.exit("a runtime that does not fork came back from its exec")
