"""One invoker process: started without a function, configured once, drained or killed, and waited for.

It inherits its end of the control socket and nothing else: the environment is empty, other descriptors are closed, and
the session is its own. The end of the socket is the end of the process, seen from either side.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property
from typing import TypeVar, cast

import msgspec

from lateen.ports.deployer import Endpoint
from lateen_invoker import control

T = TypeVar("T")

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
LISTEN_S = 15.0
BACKLOG = 1024
RECORDS_S = 8.0
"""A draining invoker gives extensions up to 2 s, and takes up to 5 s to hand over its last records."""
_EXIT_S = 2.0
_REAP_AFTER_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05)


class StartFailed(Exception):
    """The invoker did not get ready. The text is for the function's owner."""


class InvokerProcess(asyncio.Protocol):
    """`exited` is set when the process is gone and waited for, whatever ended it."""

    def __init__(self, process: "subprocess.Popen[bytes]", control_socket: socket.socket, http_address: bytes) -> None:
        loop = asyncio.get_running_loop()
        self.pid = process.pid
        self.invoke_key = b""
        self.exited = asyncio.Event()
        self.on_records: Callable[[control.Records], None] = lambda _: None
        self.on_idle: Callable[[], None] = lambda: None
        self.on_load: Callable[[control.Load], None] = lambda _: None
        self.share_serial = 0
        """Of the share that it was told last."""
        self._process = process
        self._socket = control_socket
        self._http_address = http_address
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._port: asyncio.Future[int] = loop.create_future()
        self._ready: asyncio.Future[control.Ready] = loop.create_future()
        self._reaping: asyncio.Task[None] | None = None

    @classmethod
    def launch(cls) -> "InvokerProcess":
        """Start one; `listening` tells when it is up. Raises: `StartFailed`.

        The calling thread must live as long as the platform: the invoker asks the kernel to be killed when the thread
        that started it ends. Blocks for the millisecond or two that a vfork and an exec take.
        """
        with ExitStack() as passed:
            ours, theirs = socket.socketpair()
            passed.enter_context(theirs)
            options = {"--control-fd": theirs.fileno()}
            if (listening := _listening_socket()) is not None:
                passed.enter_context(listening)
                options["--http-fd"] = listening.fileno()
            words = [word for option, descriptor in options.items() for word in (option, str(descriptor))]
            try:
                process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                    [sys.executable, "-I", "-m", "lateen_invoker", *words],
                    env={},
                    cwd="/",
                    stdin=subprocess.DEVNULL,
                    stdout=2,
                    pass_fds=list(options.values()),
                    start_new_session=True,
                )
            except OSError as exc:
                ours.close()
                raise StartFailed(f"no process could be started: {exc.strerror}") from exc
            return cls(process, ours, listening.getsockname() if listening is not None else b"")

    async def listening(self) -> None:
        """Wait until it is there to be configured. Raises: `StartFailed`; the process is ended then."""
        try:
            await asyncio.get_running_loop().create_connection(lambda: self, sock=self._socket)
            await self._within(self._port, LISTEN_S, "the invoker did not start within")
        except OSError as exc:
            self.kill()
            raise StartFailed("the invoker can't be reached") from exc
        except BaseException:
            self.kill()
            raise

    @cached_property
    def endpoint(self) -> Endpoint:
        """Once it is configured."""
        if self._http_address:
            return Endpoint(self._http_address.decode("ascii"), 0, self.invoke_key)
        return Endpoint(HOST, self._port.result(), self.invoke_key)

    @property
    def is_alive(self) -> bool:
        return self._reaping is None

    async def configure(self, configure: control.Configure, *, within_s: float) -> control.Ready:
        """Give it its function and wait until it is ready. Raises: `StartFailed`; the process is ended then."""
        self.invoke_key = configure.invoke_key
        self._send(configure)
        try:
            return await self._within(self._ready, within_s, "the function was not ready within")
        except BaseException:
            self.kill()
            raise

    def records_stored(self, batch: int) -> None:
        self._send(control.RecordsStored(batch=batch))

    def share(self, share: control.Share) -> None:
        self.share_serial = share.serial
        self._send(share)

    async def stop(self, *, within_s: float) -> None:
        """Let it finish what runs, then make sure that it is gone."""
        if not self.invoke_key:
            self.kill()  # it never had a function
        self._send(control.Drain(within_s=within_s))
        try:
            async with asyncio.timeout(within_s + RECORDS_S):
                await self.exited.wait()
        except TimeoutError:
            log.warning("invoker killed because it did not stop", extra={"pid": self.pid})
        finally:
            self.kill()
        await self.exited.wait()

    def kill(self) -> None:
        """End it at once; what it started ends with it. Again is no error."""
        # Until it is waited for the number can't belong to anybody else. Its group is its session's.
        if self._process.returncode is None:
            self._process.kill()
            with contextlib.suppress(OSError):
                os.killpg(self.pid, signal.SIGKILL)
        if self._transport is not None:
            self._transport.abort()
        else:
            self._socket.close()
        self._ended()

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the interface and not the base class.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        try:
            for message in control.taken(self._buffer, control.to_platform):
                self._told(message)
        except (ValueError, msgspec.MsgspecError):
            log.exception("invoker killed because of what it said", extra={"pid": self.pid})
            self.kill()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended()

    def _told(self, message: control.ToPlatform) -> None:
        if isinstance(message, control.Records):
            self.on_records(message)
        elif isinstance(message, control.Idle):
            self.on_idle()
        elif isinstance(message, control.Load):
            self.on_load(message)
        elif isinstance(message, control.Log):
            extra = {**message.fields, "invoker": self.pid}
            logging.getLogger(message.logger).log(message.level, message.message, extra=extra)
        elif isinstance(message, control.Listening):
            if not self._port.done():
                self._port.set_result(message.port)
        elif not self._ready.done():
            if isinstance(message, control.Ready):
                self._ready.set_result(message)
            else:
                self._fail(StartFailed(message.reason))

    async def _within(self, future: "asyncio.Future[T]", limit_s: float, what: str) -> T:
        try:
            async with asyncio.timeout(limit_s):
                return await asyncio.shield(future)
        except TimeoutError:
            raise StartFailed(f"{what} {limit_s:.0f} s") from None

    def _send(self, message: control.ToInvoker) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(control.encode(message))

    def _fail(self, failure: StartFailed) -> None:
        for future in (self._port, self._ready):
            if not future.done():
                future.set_exception(failure)
                future.exception()  # seen, also where nobody waits

    def _ended(self) -> None:
        self._fail(StartFailed("the invoker ended while it started"))
        if self._reaping is None:
            self._reaping = asyncio.get_running_loop().create_task(self._reap())

    async def _reap(self) -> None:
        # It has closed its socket, so it is dead or about to be: a short wait costs less than a watch on each process.
        waited_s = 0.0
        steps = iter(_REAP_AFTER_S)
        step_s = 0.0
        while self._process.poll() is None:
            step_s = next(steps, step_s)
            await asyncio.sleep(step_s)
            waited_s += step_s
            if waited_s > _EXIT_S:
                self.kill()
        self.exited.set()


def _listening_socket() -> socket.socket | None:
    """A Unix socket at an address without a file, which the kernel chooses; Linux only. A call over it costs about ten
    microseconds less than one over TCP. What comes that way is checked as what comes to the port."""
    if sys.platform != "linux":
        return None
    listening = socket.socket(socket.AF_UNIX)
    listening.bind("")
    listening.listen(BACKLOG)
    return listening
