"""The invoker beside an embedded platform: `python -m lateen_invoker --control-fd N`.

Started without a function and configured over the control socket, so that one can be kept ready. It ends with the
platform, whatever ends that.
"""

import argparse
import asyncio
import contextlib
import ctypes
import gc
import logging
import os
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from lateen_invoker import control
from lateen_invoker.artifact import ArtifactError, unpack, unpack_layers
from lateen_invoker.forkserver import keep_freed_memory
from lateen_invoker.front import Call, Front
from lateen_invoker.http_port import Port, process_behind
from lateen_invoker.invocations import error_document
from lateen_invoker.pool import Pool
from lateen_invoker.recorder import Recorder
from lateen_invoker.room import room_on_this_machine
from lateen_invoker.shares import Shares
from lateen_invoker.spawner import SpawnFailed
from lateen_invoker.spawners import spawner_for

log = logging.getLogger("lateen_invoker")
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_RECORDS_S = 5.0
_TRACE_LIMIT = 8192
_OF_EVERY_RECORD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "taskName"}


def main() -> int:
    """Until it is told to end. Returns: the exit code."""
    parser = argparse.ArgumentParser(prog="lateen_invoker")
    parser.add_argument("--control-fd", type=int, required=True)
    parser.add_argument("--http-fd", type=int, help="a listening Unix socket that serves as the port does")
    arguments = parser.parse_args()
    _die_with_parent()
    keep_freed_memory()
    # The code is read by another user where root starts all this. Its folder's own folder stays closed to others.
    os.umask(0o022)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(serve(_given(arguments.control_fd), arguments.http_fd and _given(arguments.http_fd)))
    except msgspec.ValidationError as exc:
        print(f"lateen_invoker: {exc}", file=sys.stderr)
        return 2


def _given(descriptor: int) -> socket.socket:
    """An inherited socket, which goes no further: what holds it would keep the connection alive after us."""
    os.set_inheritable(descriptor, False)
    return socket.socket(fileno=descriptor)


async def serve(control_socket: socket.socket, http_socket: socket.socket | None = None) -> int:
    """Run until drained (0) or until the platform is gone (1)."""
    loop = asyncio.get_running_loop()
    invoker = Invoker()
    link = Link(invoker)
    # Not our parent, for something may stand between us: the platform made both ends of this socket.
    platform_pid = process_behind(control_socket) if http_socket is not None else 0
    await loop.create_connection(lambda: link, sock=control_socket)
    logging.basicConfig(level=logging.INFO, handlers=[Forward(link)])
    link.send(control.Listening(port=await invoker.port.listen(http_socket, platform_pid=platform_pid)))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, invoker.drain, 25.0)
    return await invoker.run(link)


class Link(asyncio.Protocol):
    """The control socket."""

    def __init__(self, invoker: "Invoker") -> None:
        self._invoker = invoker
        self._transport: Any = None
        self._buffer = bytearray()
        self._sent = asyncio.Event()
        self._sent.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._transport.set_write_buffer_limits(0)  # it is paused while anything is left

    def send(self, message: control.ToPlatform) -> None:
        if not self._transport.is_closing():
            self._transport.write(control.encode(message))

    async def sent(self) -> None:
        """Return when all of it has left this process."""
        await self._sent.wait()

    def pause_writing(self) -> None:
        self._sent.clear()

    def resume_writing(self) -> None:
        self._sent.set()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        for message in control.taken(self._buffer, control.to_invoker):
            self._invoker.told(message)

    def connection_lost(self, exc: Exception | None) -> None:
        self._sent.set()
        self._invoker.finished(1)


class Forward(logging.Handler):
    """Log lines to the platform, which writes them in its own form."""

    def __init__(self, link: Link) -> None:
        super().__init__()
        self._link = link

    def emit(self, record: logging.LogRecord) -> None:
        fields = {name: str(value) for name, value in vars(record).items() if name not in _OF_EVERY_RECORD}
        if record.exc_info:
            fields["exception"] = "".join(traceback.format_exception(*record.exc_info))[-_TRACE_LIMIT:]
        message = record.getMessage()[:_TRACE_LIMIT]
        self._link.send(control.Log(level=record.levelno, logger=record.name, message=message, fields=fields))


class Invoker:
    """The parts of the process, and its life: listening, configured, draining, over."""

    def __init__(self) -> None:
        self.port = Port(Call)
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[int] = self._loop.create_future()
        self._configured: asyncio.Future[control.Configure] = self._loop.create_future()
        self._pool: Pool | None = None
        self._recorder: Recorder | None = None
        self._draining: asyncio.Task[None] | None = None
        self._link: Link | None = None
        self._shares: Shares | None = None
        self._share: control.Share | None = None

    def told(self, message: control.ToInvoker) -> None:
        if isinstance(message, control.RecordsStored):
            if self._recorder is not None:
                self._recorder.stored(message.batch)
        elif isinstance(message, control.Drain):
            self.drain(message.within_s)
        elif isinstance(message, control.Share):
            self._share = message
            if self._shares is not None:
                self._shares.told(message)
        elif not self._configured.done():
            self._configured.set_result(message)

    def drain(self, within_s: float) -> None:
        if self._draining is None:
            self._draining = self._loop.create_task(self._drain(within_s))

    def finished(self, code: int) -> None:
        if not self._over.done():
            self._over.set_result(code)

    async def run(self, link: Link) -> int:
        self._link = link
        serving = self._loop.create_task(self._serve(link))
        serving.add_done_callback(self._served)
        code = await self._over
        serving.cancel()
        if self._pool is not None:
            await self._pool.close(at_once=code != 0)
        return code

    def _served(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the function can't be served", exc_info=error)
            self.finished(1)

    async def _serve(self, link: Link) -> None:
        configure = await self._configured
        work_dir = Path(configure.work_dir)
        code_dir = work_dir / "code"
        metrics = self.port.metrics
        self.port.room = room_on_this_machine(configure.concurrency)
        try:
            await self._loop.run_in_executor(None, unpack, configure.artifact, configure.artifact_sha256, code_dir)
            layers_dir = ""
            if configure.layers:
                layers_dir = str(work_dir / "layers")
                await self._loop.run_in_executor(None, unpack_layers, configure.layers, Path(layers_dir))
            spawner = spawner_for(configure, str(code_dir), layers_dir)
            self._recorder = Recorder(
                configure, metrics, lambda batch, records, dropped, rollups: link.send(
                    control.Records(batch=batch, records=records, dropped=dropped, rollups=rollups)
                )
            )  # fmt: skip
            self._pool = Pool(
                configure, spawner, metrics, record=self._recorder.add, idle=lambda: link.send(control.Idle())
            )
            self._shares = Shares(self._pool, configure.concurrency, report=link.send)
            # What was told since it was configured is newer.
            if (share := self._share or configure.share) is not None:
                self._shares.told(share)
            self.port.front = Front(configure, self._pool, metrics)
            # What was made by now stays. The rest dies young, by its reference count: calls need not pay for looking
            # for circles among it every few hundred objects.
            gc.freeze()
            gc.set_threshold(200_000, 10, 10)
            init_error = await self._pool.initialise()
        except (ArtifactError, SpawnFailed) as exc:
            link.send(control.Failed(reason=str(exc)))
            self.finished(1)
            return
        error = None if init_error is None else error_document(init_error.body)
        link.send(control.Ready(init_error=error, isolation=spawner.isolation))

    async def _drain(self, within_s: float) -> None:
        if self._pool is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._pool.drained()
            self.port.close()
            await self._pool.close()
        if self._recorder is not None and self._link is not None:
            try:
                async with asyncio.timeout(_RECORDS_S):
                    await self._recorder.flushed()
            except TimeoutError:
                self._recorder.hand_over()
                await self._link.sent()
        self.finished(0)


def _die_with_parent() -> None:
    if sys.platform == "linux":
        parent = os.getppid()
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        # A fork server that loses its parent on the way into its namespaces stays ours.
        prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
