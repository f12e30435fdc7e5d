"""Execution records on their way out of a pod: the process that writes them (`sink.py`), started when there are some.

It ends after a while without any, and a new one takes over where it dies: the batch that it had is sent again, which
stores nothing twice, for a record's key is its own.
"""

import asyncio
import contextlib
import logging
import os
import random
import signal
import socket
import sys
from collections.abc import Callable

from lateen_invoker import control
from lateen_invoker.control import Records, RecordsStored

log = logging.getLogger(__name__)

IDLE_S = 60.0
FIRST_RETRY_S, LAST_RETRY_S = 0.2, 10.0
CLOSE_S = 1.0


class Sink:
    """`send` is what a `Recorder` calls; `stored` is called with a batch's number and how many of it were refused."""

    def __init__(self, table: str, *, retention_s: int, stored: Callable[[int, int], None]) -> None:
        self._command = [sys.executable, "-m", "lateen_invoker.sink", table, str(retention_s)]
        self._stored = stored
        self._loop = asyncio.get_running_loop()
        self._process: _SinkProcess | None = None
        self._batch: Records | None = None
        self._retry_s = FIRST_RETRY_S
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False
        self.pid: int | None = None
        """Of the process, while there is one."""
        self.starts = 0

    def send(self, batch: Records) -> None:
        """One at a time: the next after `stored`."""
        self._batch = batch
        self._cancel_timer()
        if self._process is None:
            self._start()
        else:
            self._process.send(batch)

    async def close(self) -> None:
        """End the process, whatever it does."""
        self._is_closed = True
        self._cancel_timer()
        process, self._process = self._process, None
        if process is not None:
            await process.end(CLOSE_S)

    def _start(self) -> None:
        self._timer = None
        if self._is_closed or self._process is not None:
            return
        try:
            self._process = _SinkProcess(self._command, told=self._told, over=self._over)
        except OSError as exc:
            log.warning("no process for execution records", extra={"reason": exc.strerror})
            self._start_later()
            return
        self.pid = self._process.pid
        self.starts += 1
        if self._batch is not None:
            self._process.send(self._batch)

    def _told(self, message: RecordsStored) -> None:
        if self._batch is None or message.batch != self._batch.batch:
            return
        self._batch = None
        self._retry_s = FIRST_RETRY_S
        self._cancel_timer()
        self._timer = self._loop.call_later(IDLE_S, self._end_idle)
        self._stored(message.batch, message.lost)

    def _over(self) -> None:
        self._process, self.pid = None, None
        self._cancel_timer()
        if self._batch is not None and not self._is_closed:
            log.warning("the process that writes execution records has died")
            self._start_later()

    def _start_later(self) -> None:
        self._timer = self._loop.call_later(self._retry_s * random.uniform(0.75, 1.25), self._start)  # noqa: S311
        self._retry_s = min(LAST_RETRY_S, self._retry_s * 2)

    def _end_idle(self) -> None:
        self._timer = None
        if self._process is not None and self._batch is None:
            self._process.hang_up()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _SinkProcess:
    """One, with its end of the socket. `over` is called once, when it has ended by itself."""

    def __init__(self, command: list[str], *, told: Callable[[RecordsStored], None], over: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._told = told
        self._over: Callable[[], None] | None = over
        self._buffer = bytearray()
        self._outgoing = bytearray()
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                actions = [(os.POSIX_SPAWN_DUP2, theirs.fileno(), 0)]
                self.pid = os.posix_spawn(command[0], command, dict(os.environ), file_actions=actions)
            except BaseException:
                ours.close()
                raise
        self._socket = ours
        self._socket.setblocking(False)
        self._pidfd = os.pidfd_open(self.pid)
        self._ended = self._loop.create_future()
        self._loop.add_reader(self._pidfd, self._exited)
        self._loop.add_reader(self._socket, self._read)

    def send(self, message: Records) -> None:
        if self._socket.fileno() < 0:
            return
        if not self._outgoing:
            self._loop.add_writer(self._socket, self._write)
        self._outgoing += control.encode(message)

    def hang_up(self) -> None:
        """It ends when it sees that."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    async def end(self, within_s: float) -> None:
        self._over = None
        self.hang_up()
        await asyncio.wait([self._ended], timeout=within_s)
        if not self._ended.done():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            await asyncio.wait([self._ended], timeout=within_s)

    def _write(self) -> None:
        try:
            sent = self._socket.send(self._outgoing[: 1 << 18])
        except BlockingIOError:
            return
        except OSError:
            self._outgoing.clear()
            sent = 0
        del self._outgoing[:sent]
        if not self._outgoing:
            self._loop.remove_writer(self._socket)

    def _read(self) -> None:
        try:
            data = self._socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._socket)
            return
        self._buffer += data
        for message in control.taken(self._buffer, control.to_invoker):
            if isinstance(message, RecordsStored):
                self._told(message)

    def _exited(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        self._ended.set_result(None)
        if (over := self._over) is not None:
            over()
