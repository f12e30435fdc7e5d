"""One process of the cluster from its start to its end: what it is made of is said elsewhere (`api`, `gateway` …).

It is process 1 of its container, where a signal without a handler is ignored; so handlers are there from the first
moment. The operations port is there before the other one and stays until that is done, so that the kubelet is told of
an orderly stop, and Prometheus reads what its last requests came to.
"""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import FrameType
from typing import Any, NoReturn, Protocol

import uvloop
from msgspec.structs import replace

from lateen import logs
from lateen.adapters.kubernetes.access import NoAccess
from lateen.adapters.kubernetes.config import ConfigError
from lateen.api.health import Readiness
from lateen.api.metrics import ProcessMetrics
from lateen.api.operations_port import OperationsPort
from lateen.cluster.parts import BadSecret
from lateen.cluster.settings import ClusterSettings
from lateen.server import CannotListen, Server, listen, settle

log = logging.getLogger(__name__)

MISCONFIGURED, FAILED = 2, 1


class Process(Protocol):
    """What `serve` needs of one."""

    @property
    def readiness(self) -> Readiness: ...
    @property
    def metrics(self) -> ProcessMetrics: ...
    @property
    def app(self) -> Any:
        """Serves port 8000: ASGI, of type `http` only. None: there is no such port."""

    def running(self) -> AbstractAsyncContextManager[None]:
        """All that works behind the ports; at its end everything is closed in order."""


def serve(make: Callable[[ClusterSettings], Process], settings: ClusterSettings, *, service: str) -> None:
    """Until SIGTERM or SIGINT. Ends the process where it cannot start; returns when it was told to stop and has."""
    begin(settings, service=service)
    try:
        process = make(settings)
        sockets = [listen(settings.host, settings.operations_port)]
        if process.app is not None:
            sockets.append(listen(settings.host, settings.port))
    except (BadSecret, ConfigError, NoAccess, CannotListen, ValueError) as exc:
        refuse(str(exc))
    uvloop.run(_serve(process, settings, sockets))


def begin(settings: ClusterSettings, *, service: str) -> None:
    """Signals end the process, and its log is as the settings say."""
    for sig in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sig, _end)
    logs.configure(level=settings.log_level, json=settings.logs_json, environment=settings.environment, service=service)


def refuse(text: str) -> NoReturn:
    """A setting is wrong."""
    sys.stderr.write(f"error: {logs.escaped(logs.masked(text))}\n")
    sys.exit(MISCONFIGURED)


async def _serve(process: Process, settings: ClusterSettings, sockets: list[Any]) -> None:
    def stopping() -> None:
        process.readiness.stop()

    port = OperationsPort(readiness=process.readiness, metrics=process.metrics)
    # Nothing comes through it that has to be waited for.
    operations = Server(port, replace(settings, drain_lag_seconds=0.0), on_stopping=stopping, lifespan="off")
    async with process.running():
        settle()
        if process.app is None:
            log.info("started", extra={"operations_port": _port(sockets[0])})
            await operations.serve(sockets=sockets)
            return
        watching = asyncio.create_task(operations._serve(sockets=sockets[:1]))
        try:
            log.info("started", extra={"port": _port(sockets[1]), "operations_port": _port(sockets[0])})
            await Server(process.app, settings, on_stopping=stopping, lifespan="off").serve(sockets=sockets[1:])
        finally:
            operations.should_exit = True
            await watching


def _port(listening: Any) -> int:
    return int(listening.getsockname()[1])


def _end(sig: int, _: FrameType | None) -> None:
    # Before there is anything to stop.
    sys.exit(128 + sig)
