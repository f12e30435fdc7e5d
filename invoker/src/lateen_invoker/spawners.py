"""`Spawner` over a fork server (`forkserver.py`): the runtime's own where it forks, else one that only executes."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping
from typing import Any

from lateen_invoker import forkserver, new_root, processes
from lateen_invoker.control import Configure
from lateen_invoker.new_root import is_in
from lateen_invoker.spawner import Exit, Listener, Spawner, SpawnFailed, Usage, data_limit, exit_in, pass_on
from lateen_invoker.variables import RUNTIME_ONLY

START_S = 20.0
SPAWN_S = 10.0
KILL_S = 1.0
_MESSAGE = 32 * 1024


def spawner_for(configure: Configure, code_dir: str, layers_dir: str = "") -> Spawner:
    """The spawner for one function whose code is unpacked in `code_dir`, and its layers, if it has any, in
    `layers_dir`. Environments' folders are in `environments` in its work folder."""
    return ForkServer(configure, code_dir, layers_dir)


class ForkServer:
    """See the module. Also after its process has died it can be started again."""

    def __init__(self, configure: Configure, code_dir: str, layers_dir: str = "") -> None:
        self._runtime = configure.runtime
        self._environments = os.path.join(configure.work_dir, "environments")
        self._settings = _settings(configure, code_dir, layers_dir, self._environments)
        self._control: socket.socket | None = None
        self._pidfd = -1
        self._pid = -1
        self._tmp: str | None = None
        self._owner: int | None = None
        self._lock = asyncio.Lock()
        self._answered_at_s = 0.0
        """On the loop's clock."""
        self._living: set[EnvironmentProcess] = set()
        self.isolation = ""
        self.task_root = self.code_dir = code_dir
        self.layers_dir = layers_dir
        self.layers_root = layers_dir or new_root.OPT

    @property
    def owner(self) -> int | None:
        """Whom environments' folders belong to; None: whoever this is. Known after `start`."""
        return self._owner

    def variables(self, directory: str) -> Mapping[str, str]:
        tmp = self._tmp or directory
        return {"HOME": tmp, "TMPDIR": tmp, "LAMBDA_RUNTIME_DIR": self._runtime.runtime_dir}

    async def start(self) -> None:
        async with self._lock:
            if self._control is None:
                await self._start()

    async def spawn(
        self,
        *,
        environment: Mapping[str, str],
        directory: str,
        log_fd: int,
        channel_fd: int | None,
        program: str | None = None,
    ) -> "EnvironmentProcess":
        if os.path.dirname(directory) != self._environments:
            raise ValueError("an environment's folder is in `environments` in the work folder")
        request: dict[str, Any] = {"environment": dict(environment), "directory": directory, "program": program}
        if self.layers_dir:
            request["extensions"] = {"folder": f"{self.layers_root}/extensions", "without": sorted(RUNTIME_ONLY)}
        message = json.dumps(request).encode()
        if len(message) > forkserver.MAX_MESSAGE:
            raise SpawnFailed("the environment variables are too large")
        if self._owner is not None:
            os.chown(directory, self._owner, self._owner)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        asked_at_s = asyncio.get_running_loop().time()
        try:
            with theirs:
                fds = [theirs.fileno(), log_fd, *([] if channel_fd is None else [channel_fd])]
                control = await self._send(message, fds)
            try:
                reply, given = await _receive(ours, SPAWN_S)
            except SpawnFailed:
                # One that has answered others meanwhile is only slow, and with it end environments that run events.
                if self._answered_at_s < asked_at_s:
                    await self._give_up(control)
                raise
            if not reply:
                await self._give_up(control)
                raise SpawnFailed("the fork server has ended")
            self._answered_at_s = asyncio.get_running_loop().time()
            if len(given) != 2:
                raise SpawnFailed(json.loads(reply).get("error", "no answer"))
        except BaseException:
            ours.close()
            raise
        extensions = json.loads(reply).get("extensions", [])
        process = EnvironmentProcess(ours, *given, has_namespace=self._tmp is not None, extensions=extensions)
        self._living.add(process)
        process.exited.add_done_callback(lambda _: self._living.discard(process))
        return process

    async def close(self) -> None:
        control, self._control = self._control, None
        if control is None:
            return
        pidfd, pid = self._pidfd, self._pid  # a start need not wait for this one's end
        asyncio.get_running_loop().remove_reader(pidfd)
        # The end of the stream ends the fork server; in a namespace that ends everything. Closed it is later: a spawn
        # may be waiting to write.
        with contextlib.suppress(OSError):
            control.shutdown(socket.SHUT_RDWR)
        for process in self._living:
            process.kill()
        try:
            try:
                await _ended(pidfd, 2.0)
            finally:  # also where the spawn that gave it up has been cancelled: nobody else knows of it any more
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            await _ended(pidfd, 2.0)
        finally:
            _reap(pid)
            os.close(pidfd)
            control.close()

    async def _give_up(self, control: socket.socket) -> None:
        """End the fork server that does not answer there, unless it has been replaced. A start makes a new one."""
        if self._control is control:
            await self.close()

    async def _start(self) -> None:
        _check_readable(self._runtime.readable, os.path.dirname(self._environments))
        if self.layers_dir:
            _check_layers(self.layers_dir, new_root.needed([self._runtime.runtime_dir, *self._runtime.readable]))
        os.makedirs(self._environments, mode=0o700, exist_ok=True)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        launched = -1
        try:
            with theirs:
                launched = _launch(self._command(), theirs.fileno())
            ours.send(json.dumps(self._settings).encode())
            reply, given = await _receive(ours, START_S)
            told: dict[str, Any] = json.loads(reply) if reply else {}
            if not told.get("ready") or len(given) != 1:
                raise SpawnFailed(told.get("error", "the runtime's fork server did not start"))
        except BaseException:
            ours.close()
            if launched > 0:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(launched, signal.SIGKILL)
                _reap(launched)
            raise
        self._pidfd = given[0]
        self._pid = processes.pid_of(self._pidfd)
        if launched != self._pid:
            _reap_when_over(launched)  # it only led into the namespaces
        self.isolation, self.task_root = told["isolation"], told["task_root"]
        self._tmp, self._owner = told["tmp"], told["owner"]
        self.layers_root = told["layers_root"]
        self._control = ours
        asyncio.get_running_loop().add_reader(self._pidfd, self._died)

    def _died(self) -> None:
        """The fork server is over without having been told to. Its environments follow; a start makes a new one."""
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        _reap(self._pid)
        if self._control is not None:
            self._control.close()
            self._control = None
        for process in self._living:
            process.kill()

    def _command(self) -> list[str]:
        if self._runtime.forks:
            return [*self._runtime.command, forkserver.__file__]
        return [sys.executable, "-I", "-S", forkserver.__file__]

    async def _send(self, message: bytes, fds: list[int]) -> socket.socket:
        """Returns: what it was sent on."""
        control = self._control
        if control is None:
            raise SpawnFailed("the fork server is not running")
        try:
            async with asyncio.timeout(SPAWN_S):
                while True:
                    try:
                        socket.send_fds(control, [message], fds)
                        return control
                    except BlockingIOError:
                        await _writable(control)
        except (OSError, TimeoutError):
            await self._give_up(control)
            raise SpawnFailed("the fork server has ended") from None


class EnvironmentProcess:
    """`Process`: one environment, by the status socket and the pidfds that its keeper sent."""

    def __init__(
        self, status: socket.socket, keeper: int, started: int, *, has_namespace: bool, extensions: list[str]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._status = status
        self._keeper = keeper
        self._has_namespace = has_namespace
        self._is_killed = False
        self._last: dict[str, Any] = {}
        self._keeper_pid = processes.pid_of(keeper)
        self.pid = processes.pid_of(started)
        os.close(started)
        self.exited: asyncio.Future[Exit] = self._loop.create_future()
        self.extensions = extensions
        self.listener: Listener | None = None
        self._loop.add_reader(keeper, self._ended)
        if extensions:
            self._loop.add_reader(status, self._read)

    def run(self) -> None:
        self._say(b'{"run":true}')

    def terminate(self) -> None:
        self._say(b'{"terminate":true}')

    def _say(self, message: bytes) -> None:
        if self._keeper >= 0 and not self._is_killed:
            with contextlib.suppress(OSError):
                self._status.send(message)

    def kill(self) -> None:
        if self._keeper < 0 or self._is_killed:
            return
        self._is_killed = True
        # The keeper kills, so that it can still say how the environment ended, should it have done so just now.
        with contextlib.suppress(OSError):
            self._status.shutdown(socket.SHUT_WR)
        if self._has_namespace:
            self._loop.call_later(KILL_S, self._kill_keeper)

    def _kill_keeper(self) -> None:
        # The keeper is the first process of a PID namespace: the kernel ends the others with it.
        if self._keeper >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._keeper, signal.SIGKILL)

    def usage(self) -> Usage | None:
        return processes.usage_below(self._keeper_pid) if self._keeper >= 0 else None

    def peak_memory_kib(self) -> int:
        return processes.peak_kib(self.pid) if self._keeper >= 0 else 0

    def owns_connection(self, local_port: int, peer_port: int) -> bool:
        return self._keeper >= 0 and processes.owns_connection(self._keeper_pid, local_port, peer_port)

    def _read(self) -> None:
        """Pass on what is said of single processes, and keep what is said last."""
        with contextlib.suppress(OSError):
            while message := self._status.recv(_MESSAGE):
                told: dict[str, Any] = json.loads(message)
                if "extension" in told or "runtime" in told:
                    pass_on(told, self.listener)
                else:
                    self._last = told
            self._loop.remove_reader(self._status)

    def _ended(self) -> None:
        self._loop.remove_reader(self._keeper)
        self._loop.remove_reader(self._status)
        os.close(self._keeper)
        self._keeper = -1
        self._read()
        self._status.close()
        if not self.exited.done():
            self.exited.set_result(exit_in(self._last))


def _settings(configure: Configure, code_dir: str, layers_dir: str, environments: str) -> dict[str, Any]:
    runtime = configure.runtime
    return {
        "sandbox": configure.sandbox,
        "forks": runtime.forks,
        "exec": runtime.environment_command(configure.memory_mib, configure.handler),
        "code_dir": code_dir,
        "layers_dir": layers_dir,
        "environments": environments,
        "runtime_dir": runtime.runtime_dir,
        "readable": runtime.readable,
        "allowed": ["namespaces", "landlock"],
        "has_layers": bool(layers_dir),
        "processes": 64 + 192 * configure.concurrency,
        "limits": {
            "RLIMIT_CORE": 0,
            "RLIMIT_NOFILE": 1024,
            "RLIMIT_FSIZE": 512 * 1024 * 1024,
            "RLIMIT_DATA": data_limit(configure.memory_mib),
        },
    }


def _check_readable(readable: list[str], work_dir: str) -> None:
    work_dir = os.path.realpath(work_dir)
    if any(is_in(work_dir, os.path.realpath(path)) for path in readable):
        raise SpawnFailed("the runtime's interpreter is installed around the data folder: move either")


def _check_layers(layers_dir: str, needed: list[str]) -> None:
    """Where the interpreter is installed in `/opt`, it is mounted among the layers' files, and they must leave room:
    else a function could choose to be held by less."""
    for path in needed:
        if not is_in(path, new_root.OPT):
            continue
        parts = os.path.relpath(path, new_root.OPT).split("/")
        for end in range(1, len(parts) + 1):
            theirs, ours = os.path.join(layers_dir, *parts[:end]), os.path.join(new_root.OPT, *parts[:end])
            if os.path.lexists(theirs) and os.path.isdir(theirs) != os.path.isdir(ours):
                raise SpawnFailed(f"a layer is in the way of the runtime's interpreter: {ours}")


def _launch(command: list[str], control_fd: int) -> int:
    """Start the fork server with nothing but its end of the control socket, and our stderr for what goes wrong."""
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_DUP2, control_fd, forkserver.CONTROL_FD),
    ]
    try:
        return os.posix_spawn(
            command[0], command, {"LANG": "C.UTF-8", "PATH": os.defpath}, file_actions=actions,
            setsid=True, setsigmask=[], setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGHUP],
        )  # fmt: skip
    except OSError as exc:
        raise SpawnFailed(f"{os.path.basename(command[0])}: {exc.strerror}") from None


async def _receive(sock: socket.socket, within_s: float) -> tuple[bytes, list[int]]:
    """One message with its descriptors; empty at the end of the stream. Raises: `SpawnFailed` when it takes long."""
    loop = asyncio.get_running_loop()
    readable: asyncio.Future[None] = loop.create_future()
    loop.add_reader(sock, lambda: None if readable.done() else readable.set_result(None))
    try:
        async with asyncio.timeout(within_s):
            await readable
    except TimeoutError:
        raise SpawnFailed("no process could be started in time") from None
    finally:
        loop.remove_reader(sock)
    try:
        message, fds, _, _ = socket.recv_fds(sock, _MESSAGE, 4, socket.MSG_CMSG_CLOEXEC)
    except OSError:
        return b"", []
    return message, list(fds)


async def _writable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    writable: asyncio.Future[None] = loop.create_future()
    loop.add_writer(sock, lambda: None if writable.done() else writable.set_result(None))
    try:
        await writable
    finally:
        loop.remove_writer(sock)


async def _ended(pidfd: int, within_s: float) -> None:
    """Wait until the process is over, at most so long."""
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()
    loop.add_reader(pidfd, lambda: None if over.done() else over.set_result(None))
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await over
    finally:
        loop.remove_reader(pidfd)


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _reap_when_over(pid: int) -> None:
    loop = asyncio.get_running_loop()
    pidfd = os.pidfd_open(pid)

    def over() -> None:
        loop.remove_reader(pidfd)
        os.close(pidfd)
        _reap(pid)

    loop.add_reader(pidfd, over)
