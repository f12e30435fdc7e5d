"""The invoker of a function pod: `python -m lateen_invoker --pod`, beside the container with the function's runtime.

Everything that has to be there begins at once: the code is fetched by a process of its own, the ports listen, and the
runtime's first process connects and starts its fork server. When the code is there, a first environment is started;
when that has initialised, well or badly, the pod is ready, and stays so until it stops.

It stops when the runtime's container is told to, or this process: unready at once, it takes calls for as long as
others may not know that yet, finishes what runs, lets the runtime end, and writes the last records.
"""

import asyncio
import contextlib
import gc
import logging
import os
import random
import shutil
import signal
import socket
import sys
import time
from pathlib import Path

import msgspec
import uvloop

from lateen_invoker.artifact import ArtifactError
from lateen_invoker.control import Records
from lateen_invoker.early_calls import EarlyPort
from lateen_invoker.fetching import FetchProcess, name_region
from lateen_invoker.forkserver import keep_freed_memory
from lateen_invoker.front import Front
from lateen_invoker.invocations import Invocation, error_document
from lateen_invoker.json_log import log_to_stdout
from lateen_invoker.metrics import Metrics
from lateen_invoker.open_files import allow_many_connections
from lateen_invoker.pod_code import Code
from lateen_invoker.pod_configure import PodConfigure
from lateen_invoker.pod_operations import Operations, operations_port
from lateen_invoker.pod_records import Sink
from lateen_invoker.pod_settings import PodSettings
from lateen_invoker.pod_spawner import PodSpawner
from lateen_invoker.pool import Pool
from lateen_invoker.recorder import Recorder
from lateen_invoker.records import ErrorDocument, ExecutionRecord
from lateen_invoker.rollups import Rollup
from lateen_invoker.room import room_in
from lateen_invoker.shares import AskedShares
from lateen_invoker.spawner import Spawner, SpawnFailed
from lateen_invoker.spawners import ForkServer

log = logging.getLogger("lateen_invoker")

WARM = 1
"""Environments that stay however long there is no call: nothing else would wake a pod's function."""
FIRST_RETRY_S, LAST_RETRY_S = 0.2, 5.0
QUIET_EVERY_S = 0.02
SLACK_S = 2.0
"""What runs at the end of the lag may take the function's timeout, and this."""
FLUSH_S = 3.0
_TERMINATION_LIMIT = 2048


def main(fetching: FetchProcess) -> int:
    """Until the pod stops. Returns: the exit code; 2 where it was told something that can't be understood."""
    try:
        settings = PodSettings.from_env(os.environ)
        configure = PodConfigure.read(settings.configure)
        settings.work.mkdir(mode=0o700, parents=True, exist_ok=True)
        # What a predecessor that was killed has left lies where our environments' folders will be.
        shutil.rmtree(settings.work / "environments", ignore_errors=True)
    except (ValueError, OSError) as exc:
        print(f"lateen_invoker: {exc}", file=sys.stderr)
        return 2
    name_region(configure.region)
    log_to_stdout(os.environ, function=configure.function_id, workspace=configure.workspace_id)
    keep_freed_memory()
    allow_many_connections()
    os.umask(0o022)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(configure, settings, fetching))


async def _serve(configure: PodConfigure, settings: PodSettings, fetching: FetchProcess) -> int:
    pod = Pod(configure, settings, fetching)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, pod.stop, f"signal {signal.Signals(number).name}")
    return await pod.run()


class Pod:
    """The parts of the process, and its life: starting, ready, stopping, over."""

    def __init__(self, configure: PodConfigure, settings: PodSettings, fetching: FetchProcess) -> None:
        self._told = configure
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[int] = self._loop.create_future()
        self._stopping: asyncio.Task[None] | None = None
        self._configure = configure.configure(settings.work)
        self._metrics = Metrics()
        self._code = Code(fetching)
        self._sink = Sink(settings.table, retention_s=configure.retention_s, stored=self._stored)
        self._recorder = Recorder(self._configure, self._metrics, self._send_records)
        self._spawner: Spawner = self._new_spawner()
        record = self._record_and_log if settings.log_invocations else self._recorder.add
        self._pool = Pool(
            self._configure, self._spawner, self._metrics, record=record, idle=lambda: None, keep=WARM
        )  # fmt: skip
        self.front = Front(self._configure, self._pool, self._metrics)
        self.front.state = self._state
        self.front.is_behind_ingress = True
        self.front.shares = self._shares = AskedShares(
            self._pool, self._configure.concurrency, self._configure.share
        )  # fmt: skip
        self._init_error: ErrorDocument | None = None
        self._reason = ""
        self._operations = Operations(
            metrics=self._metrics.text, probe_timeout_s=settings.probe_timeout_seconds
        )  # fmt: skip
        self._operations_port = operations_port(self._operations)
        self._port = EarlyPort(self.front, keep_alive_s=settings.keep_alive_seconds)
        if settings.memory_bytes:
            self._port.room = room_in(settings.memory_bytes)

    async def run(self) -> int:
        settings = self._settings
        try:
            calls, calls_port = _listening(settings.host, settings.port)
            operations, operations_port = _listening(settings.host, settings.operations_port)
            await self._port.serve(calls)
            await self._operations_port.serve(operations)
        except OSError as exc:
            print(f"lateen_invoker: can't listen: {exc.strerror}", file=sys.stderr)
            return 2
        log.info("listening", extra={"port": calls_port, "operations_port": operations_port})
        tasks = [self._loop.create_task(self._get_ready())]
        if isinstance(self._spawner, PodSpawner):
            tasks.append(self._loop.create_task(self._wait_for_stop(self._spawner)))
        code = await self._over
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._port.close()
        self._operations_port.close()
        await self._pool.close()
        await self._sink.close()
        return code

    def stop(self, why: str) -> None:
        """Once; again is no error."""
        if self._stopping is None:
            self._stopping = self._loop.create_task(self._stop(why))
            self._stopping.add_done_callback(self._stopped)

    # Getting ready.

    def _new_spawner(self) -> Spawner:
        if self._settings.environments == "children":
            layers_dir = str(self._settings.layers) if self._configure.layers else ""
            return ForkServer(self._configure, str(self._settings.code), layers_dir)
        return PodSpawner(
            self._configure,
            path=str(self._settings.init_socket),
            task_root=str(self._settings.code),
            layers_root=str(self._settings.layers),
        )

    async def _get_ready(self) -> None:
        started = time.monotonic()
        spawner = self._loop.create_task(self._start_spawner())
        try:
            await self._code.there()
            fetched = time.monotonic()
            await spawner
            begun = time.monotonic()
            # What was made by now stays. The rest dies young, by its reference count (see `embedded.py`).
            gc.freeze()
            gc.set_threshold(200_000, 10, 10)
            await self._initialise()
            self._port.release()
        except ArtifactError as exc:
            self._fail(str(exc))
            return
        except asyncio.CancelledError:
            raise
        except Exception as exc:
            log.exception("the function can't be served")
            self._fail(f"the invoker has failed ({type(exc).__name__})")
            return
        finally:
            spawner.cancel()
        if self._stopping is None:
            self._operations.settle(True)
        log.info(
            "ready",
            extra={
                "code_s": round(fetched - started, 3),
                "runtime_s": round(begun - started, 3),
                "ready_s": round(time.monotonic() - started, 3),
                "since_start_s": round(time.clock_gettime(time.CLOCK_BOOTTIME) - _started_s(), 3),
                "fetch": self._code.seconds,
                "init_error": None if self._init_error is None else self._init_error.type,
            },
        )

    async def _start_spawner(self) -> None:
        """Beside the code: a fork server holds none of it."""
        wait_s = FIRST_RETRY_S
        while True:
            try:
                await self._spawner.start()
                return
            except SpawnFailed as exc:
                wait_s = await self._wait_to_retry("the runtime can't be started", str(exc), wait_s)

    async def _initialise(self) -> None:
        wait_s = FIRST_RETRY_S
        while True:
            try:
                outcome = await self._pool.initialise()
            except SpawnFailed as exc:
                wait_s = await self._wait_to_retry("no environment can be started", str(exc), wait_s)
            else:
                self._init_error = None if outcome is None else error_document(outcome.body)
                return

    async def _wait_to_retry(self, message: str, reason: str, wait_s: float) -> float:
        if reason != self._reason:
            log.warning(message, extra={"reason": reason})
        self._reason = reason
        await asyncio.sleep(wait_s * random.uniform(0.75, 1.25))  # noqa: S311 - jitter
        return min(LAST_RETRY_S, wait_s * 2)

    def _fail(self, reason: str) -> None:
        """End with a reason that the controller shows. The kubelet tries again, after longer and longer waits."""
        log.error("the function can't run", extra={"reason": reason})
        with contextlib.suppress(OSError):
            fd = os.open(self._settings.termination_log, os.O_WRONLY | os.O_TRUNC)
            with os.fdopen(fd, "wb") as message:
                message.write(reason.encode("utf-8", "replace")[:_TERMINATION_LIMIT])
        self._port.early.refuse_all()  # none of them was executed, and who is cut off can't know that
        if not self._over.done():
            self._over.set_result(1)

    def _state(self) -> bytes:
        """What `/_lateen/state` says. `reason`: why it isn't ready yet, where that is known."""
        error = self._init_error
        return msgspec.json.encode(
            {
                "ready": self._operations.is_ready is True,
                "init_error": None if error is None else {"type": error.type, "message": error.message},
                "revision": self._told.revision,
                "reason": (self._code.reason or self._reason or None) if self._operations.is_ready is None else None,
            }
        )

    # Records.

    def _record_and_log(self, invocation: Invocation) -> None:
        self._recorder.add(invocation)
        log.info(
            "invocation",
            extra={
                "request_id": invocation.request_id,
                "status": invocation.status,
                "duration_ms": round((invocation.ended_at - invocation.started_at) * 1000, 3),
                "cold_reason": invocation.cold_reason,
            },
        )

    def _send_records(self, batch: int, records: list[ExecutionRecord], dropped: int, rollups: list[Rollup]) -> None:
        if dropped:
            log.warning("execution records dropped", extra={"count": dropped})
        self._sink.send(Records(batch=batch, records=records, dropped=dropped, rollups=rollups))

    def _stored(self, batch: int, lost: int) -> None:
        self._metrics.records_dropped += lost
        self._recorder.stored(batch)

    # Stopping.

    async def _wait_for_stop(self, spawner: PodSpawner) -> None:
        await spawner.stopping.wait()
        self.stop("the runtime's container stops")

    async def _stop(self, why: str) -> None:
        began = time.monotonic()
        served = self._port.is_released
        self._operations.settle(False, "stopping")
        log.info("stopping", extra={"reason": why})
        if served:
            lag_s = self._told.drain_lag_s
            self._port.wind_down()
            self._shares.stop()
            await asyncio.sleep(lag_s)
            self._port.stop_listening()
            await self._finished(began + lag_s + self._told.timeout_s + SLACK_S)
        self._port.early.refuse_all()
        self._port.close()
        await self._pool.close()
        if isinstance(self._spawner, PodSpawner):
            self._spawner.release()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_S):
                await self._recorder.flushed()
        if lost := self._recorder.unsaved:
            log.error("execution records lost", extra={"count": lost})
        log.info("stopped", extra={"took_s": round(time.monotonic() - began, 3)})

    async def _finished(self, deadline: float) -> None:
        """Until no call runs or is on its way in."""
        while time.monotonic() < deadline:
            await asyncio.sleep(QUIET_EVERY_S)
            if self._pool.running == 0 and self._pool.waiting == 0 and self._port.is_quiet:
                return
        log.warning("calls are cut: they took longer than the function may")

    def _stopped(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("stopping failed", exc_info=error)
        if not self._over.done():
            self._over.set_result(0)


def _listening(host: str, port: int) -> tuple[list[socket.socket], int]:
    """Bound sockets, and their port. An empty host: all addresses, of whichever family there is."""
    families = [socket.AF_INET6 if ":" in host else socket.AF_INET] if host else [socket.AF_INET, socket.AF_INET6]
    sockets: list[socket.socket] = []
    failed: OSError | None = None
    for family in families:
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
        except OSError as exc:
            failed = exc
            continue
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((host, port))
        except OSError as exc:
            sock.close()
            failed = exc
            continue
        sockets.append(sock)
        port = sock.getsockname()[1]
    if not sockets:
        raise failed or OSError("no address")
    return sockets, port


def _started_s() -> float:
    """When the kernel started this process, in seconds since it was booted."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")
