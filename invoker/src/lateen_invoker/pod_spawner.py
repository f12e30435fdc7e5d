"""`Spawner` in a pod: environments are processes of the other container; `init` there starts, watches and ends them.

The invoker listens on a Unix socket in a volume that both containers have. `init` connects before any user code runs;
then the socket's name is removed, and is there again only when that connection has ended. What is said on it is in
`runtimes/init/README.md`. Nothing here looks at processes: they are in another PID namespace.
"""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Mapping
from typing import Any

from lateen_invoker.control import Configure
from lateen_invoker.forkserver import MAX_MESSAGE, needs_exec
from lateen_invoker.spawner import Exit, Listener, SpawnFailed, Usage, data_limit, exit_in, pass_on
from lateen_invoker.variables import DEFAULTS, RUNTIME_ONLY

SOCKET = "/run/lateen/init.sock"
TASK_ROOT, OPT = "/var/task", "/opt"
TMP = "/tmp"  # noqa: S108 - of the runtime's container
PROTOCOL = 1
CONNECT_S = 60.0
"""For `init` to come: its container may have to be restarted first."""
START_S = 20.0
SPAWN_S = 10.0
GONE_S = 1.0
"""Within this long it is known that a connection has ended."""
PROCESSES = 256
"""That one environment may have; those of all have the user's limit as well."""
_MESSAGE = 32 * 1024


class _Gone(SpawnFailed):
    """`init`, or its connection, was gone when it was asked for something; another one may come."""

    def __init__(self) -> None:
        super().__init__("the runtime's first process has ended")


class PodSpawner:
    """See the module. After `init` or its connection has gone, `start` and `spawn` wait for it to come again."""

    isolation = "container"

    def __init__(
        self,
        configure: Configure,
        *,
        path: str = SOCKET,
        task_root: str = TASK_ROOT,
        layers_root: str = OPT,
        tmp: str = TMP,
    ) -> None:
        self._runtime = configure.runtime
        self._settings = _settings(configure, task_root, tmp)
        self._path = path
        self._tmp = tmp
        self._listener: socket.socket | None = None
        self._connection: socket.socket | None = None
        self._arrived = asyncio.Event()
        self._left = asyncio.Event()
        self._ready: asyncio.Future[None] | None = None
        self._lock = asyncio.Lock()
        self._living: set[PodProcess] = set()
        self._is_closed = False
        self.task_root = self.code_dir = task_root
        self.layers_root = layers_root
        self.layers_dir = layers_root if configure.layers else ""
        self.stopping = asyncio.Event()
        """Set when the runtime's container was told to stop. It stays until `release`."""

    def listen(self) -> None:
        """Make the socket, so that `init` can come; `start` does it too. Again is no error."""
        if self._listener is not None or self._connection is not None or self._is_closed:
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            listener.setblocking(False)
            listener.bind(self._path)
            os.chmod(self._path, 0o666)  # noqa: S103 - `init` is another user; who else could come is not running yet
            listener.listen(1)
        except OSError:
            listener.close()
            raise
        self._listener = listener
        asyncio.get_running_loop().add_reader(listener, self._accept)

    async def connected(self) -> None:
        """Returns when `init` is there."""
        self.listen()
        await self._arrived.wait()

    def release(self) -> None:
        """Let `init`, and with it the runtime's container, end. Everything that still runs there ends too."""
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.send(b'{"release":true}')

    def variables(self, directory: str) -> Mapping[str, str]:
        own = self._folder(directory)
        return {"HOME": own, "TMPDIR": own, "LAMBDA_RUNTIME_DIR": self._runtime.runtime_dir}

    async def start(self) -> None:
        while not self._is_ready:
            # Each for itself: in turn, those who came last would wait for the patience of all before them.
            try:
                async with asyncio.timeout(CONNECT_S):
                    await self.connected()
            except TimeoutError:
                raise SpawnFailed("the runtime's container did not start its first process") from None
            async with self._lock:
                if self._arrived.is_set() and not self._is_ready:
                    await self._get_ready()

    async def spawn(
        self,
        *,
        environment: Mapping[str, str],
        directory: str,
        log_fd: int,
        channel_fd: int | None,
        program: str | None = None,
    ) -> "PodProcess":
        start = {
            "environment": dict(environment),
            "directory": self._folder(directory),
            "fork": self._runtime.forks and not needs_exec(environment),
            "program": program,
            # An image may have some too, which only its container knows.
            "extensions": {"folder": f"{self.layers_root}/extensions", "without": sorted(RUNTIME_ONLY)},
        }
        message = json.dumps({"start": start}).encode()
        if len(message) > MAX_MESSAGE:
            raise SpawnFailed("the environment variables are too large")
        fds = [log_fd, *([] if channel_fd is None else [channel_fd])]
        await self.start()
        try:
            process = await self._spawn(message, fds)
        except _Gone:
            # It had ended a moment ago, and nothing was started: as if that had been known before it was asked.
            await self.start()
            process = await self._spawn(message, fds)
        self._living.add(process)
        process.exited.add_done_callback(lambda _: self._living.discard(process))
        return process

    async def _spawn(self, message: bytes, fds: list[int]) -> "PodProcess":
        """Raises: `_Gone`, where nothing of it runs or ever will; `SpawnFailed`."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        try:
            with theirs:
                connection = await self._send(message, [theirs.fileno(), *fds])
            told = await _receive(ours, SPAWN_S)
            if not told:
                await self._heard_the_last_of(connection)
            if "started" not in told and "extensions" not in told:
                raise SpawnFailed(str(told.get("error", "the runtime's first process has ended")))
        except BaseException:
            ours.close()
            raise
        return PodProcess(ours, int(told.get("started", 0)), int(told.get("peak_kib", 0)), told.get("extensions", []))

    async def close(self) -> None:
        """End all environments. `init` stays, for `release`; without it, nothing can be started any more."""
        self._is_closed = True
        self._stop_listening()
        for process in list(self._living):
            process.kill()
        if self._living:
            await asyncio.wait([process.exited for process in self._living], timeout=2.0)

    @property
    def _is_ready(self) -> bool:
        return self._ready is not None and self._ready.done() and self._ready.exception() is None

    async def _get_ready(self) -> None:
        """Returns also where `init` is gone before it was told anything. Raises: `SpawnFailed`."""
        try:
            if self._ready is None:
                self._ready = ready = asyncio.get_running_loop().create_future()
                try:
                    await self._send(json.dumps({"settings": self._settings}).encode(), [])
                except _Gone:
                    if not ready.cancel():
                        ready.exception()  # who has asked knows
                    self._ready = None
                    return
            async with asyncio.timeout(START_S):
                await asyncio.shield(self._ready)
        except TimeoutError:
            raise SpawnFailed("the runtime did not start in time") from None
        except SpawnFailed:
            self._ready = None  # the next start says it all again
            raise

    def _folder(self, directory: str) -> str:
        """The environment's own folder in the runtime's container, where `init` makes and removes it."""
        return f"{self._tmp}/environment-{os.path.basename(directory)}"

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        self._stop_listening()
        connection.setblocking(False)
        self._connection = connection
        self._left.clear()
        asyncio.get_running_loop().add_reader(connection, self._read)

    def _stop_listening(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            # The name goes first: whoever finds it can't have been early enough.
            with contextlib.suppress(OSError):
                os.unlink(self._path)
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()

    def _read(self) -> None:
        assert self._connection is not None
        try:
            message = self._connection.recv(_MESSAGE)
            told: dict[str, Any] = json.loads(message) if message else {}
        except BlockingIOError:
            return
        except (OSError, ValueError):
            told = {}
        if told.get("protocol") == PROTOCOL:
            self._arrived.set()
        elif told.get("stopping"):
            self.stopping.set()
        elif self._ready is not None and not self._ready.done() and (told.get("ready") or "error" in told):
            if "error" in told:
                self._ready.set_exception(SpawnFailed(str(told["error"])))
            else:
                self._ready.set_result(None)
        else:
            self._lost()

    def _lost(self) -> None:
        """The connection is over, which `init` takes as the end of all environments, and then connects again."""
        assert self._connection is not None
        asyncio.get_running_loop().remove_reader(self._connection)
        self._connection.close()
        self._connection = None
        self._arrived.clear()
        self._left.set()
        ready, self._ready = self._ready, None
        if ready is not None and not ready.done():
            ready.set_exception(SpawnFailed("the runtime's first process has ended"))
        self.listen()

    async def _send(self, message: bytes, fds: list[int]) -> socket.socket:
        """Returns: what it was sent on. Raises: `_Gone`, where it was not; `SpawnFailed`."""
        if (connection := self._connection) is None:
            raise _Gone
        try:
            async with asyncio.timeout(SPAWN_S):
                while True:
                    try:
                        socket.send_fds(connection, [message], fds)
                        return connection
                    except BlockingIOError:
                        # Readers and writers of one descriptor don't disturb each other.
                        await _writable(connection)
        except ConnectionError:
            await self._heard_the_last_of(connection)
        except (OSError, TimeoutError):
            if self._connection is not connection:
                raise _Gone from None
        raise SpawnFailed("the runtime's first process does not listen")

    async def _heard_the_last_of(self, connection: socket.socket) -> None:
        """Raises: `_Gone`, when that has been noticed. Returns: it has not ended, as far as one knows."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GONE_S):
                while self._connection is connection:
                    await self._left.wait()
        if self._connection is not connection:
            raise _Gone


class PodProcess:
    """`Process`: one environment, by its status socket. Its memory and processes are `init`'s to limit."""

    def __init__(self, status: socket.socket, pid: int, peak_kib: int, extensions: list[str]) -> None:
        self._loop = asyncio.get_running_loop()
        self._status = status
        self._peak_kib = peak_kib
        self._is_over = False
        self.pid = pid
        self.exited: asyncio.Future[Exit] = self._loop.create_future()
        self.extensions = extensions
        self.listener: Listener | None = None
        self._loop.add_reader(status, self._read)

    def run(self) -> None:
        self._say(b'{"run":true}')

    def terminate(self) -> None:
        self._say(b'{"terminate":true}')

    def _say(self, message: bytes) -> None:
        if not self._is_over:
            with contextlib.suppress(OSError):
                self._status.send(message)

    def kill(self) -> None:
        if not self._is_over:
            with contextlib.suppress(OSError):
                self._status.shutdown(socket.SHUT_WR)

    def usage(self) -> Usage | None:
        return None

    def peak_memory_kib(self) -> int:
        """As last told: within a tenth of a second of the truth."""
        return self._peak_kib

    def owns_connection(self, local_port: int, peer_port: int) -> bool:
        """Always: in a pod one function version is one trust domain, and nobody else is on its loopback."""
        return True

    def _read(self) -> None:
        told: dict[str, Any] = {}
        try:
            told = json.loads(self._status.recv(_MESSAGE) or b"{}")
        except BlockingIOError:
            return
        except (OSError, ValueError):
            pass
        if "extension" in told or "runtime" in told:
            pass_on(told, self.listener)
            return
        self._peak_kib = max(self._peak_kib, int(told.get("peak_kib", 0)))
        self.pid = int(told.get("started", self.pid))
        if told and "code" not in told and "signal" not in told:
            return
        # If nothing was said, `init` is gone, and everything with it.
        self._is_over = True
        self._loop.remove_reader(self._status)
        self._status.close()
        if not self.exited.done():
            self.exited.set_result(exit_in({**told, "peak_kib": self._peak_kib}))


def _settings(configure: Configure, task_root: str, tmp: str) -> dict[str, Any]:
    runtime = configure.runtime
    return {
        **({"inherit": DEFAULTS} if runtime.inherits else {}),
        "fork_server": [*runtime.command, "init"] if runtime.forks else [],
        # A fork server needs none of the machine's packages; an environment on its own finds its way like any program.
        "command": runtime.environment_command(configure.memory_mib, configure.handler),
        "task_root": runtime.directory if runtime.inherits else task_root,
        "tmp": tmp,
        "memory_kib": configure.memory_mib * 1024,
        "processes": PROCESSES,
        "limits": {
            "core": 0,
            "nofile": 1024,
            "fsize": 512 * 1024 * 1024,
            "data": data_limit(configure.memory_mib),
            "nproc": 64 + 192 * configure.concurrency,
        },
    }


async def _receive(sock: socket.socket, within_s: float) -> dict[str, Any]:
    """One message; empty at the end of the stream. Raises: `SpawnFailed` when it takes long."""
    try:
        async with asyncio.timeout(within_s):
            message = await asyncio.get_running_loop().sock_recv(sock, _MESSAGE)
    except TimeoutError:
        raise SpawnFailed("no process could be started in time") from None
    except OSError:
        return {}
    return json.loads(message) if message else {}


async def _writable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    writable: asyncio.Future[None] = loop.create_future()
    loop.add_writer(sock, lambda: None if writable.done() else writable.set_result(None))
    try:
        await writable
    finally:
        loop.remove_writer(sock)
