"""One process that serves everything: what `lateen up` runs. Returns when it was told to stop and has."""

import asyncio
import errno
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from threading import Thread

from msgspec import Struct
from msgspec.structs import replace

from lateen import logs
from lateen.adapters.data_folder import DataFolderError
from lateen.app import create_app
from lateen.server import CannotListen, Server, listen_here, settle
from lateen.settings import Settings


class CannotStart(Exception):
    """The text is for a person: what is wrong and what to do."""


class Started(Struct, frozen=True, kw_only=True):
    """What can be told once requests are answered."""

    endpoint: str
    data: Path
    isolation: str
    """What holds functions; one of `lateen.adapters.local.probe.FROM_WEAK_TO_STRONG`."""


def run(settings: Settings, *, on_started: Callable[[Started], None]) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        on_started: called in a thread of its own, in which it may send requests.
    Raises: `CannotStart`.
    """
    # The port first: who has it may well have the data folder too, and is told apart more easily.
    try:
        sockets = listen_here(settings.host, settings.port)
    except CannotListen as exc:
        cause = exc.__cause__
        is_elsewhere = isinstance(cause, OSError) and cause.errno == errno.EADDRNOTAVAIL
        step = "stop what has the port, or choose another one with LATEEN_PORT"
        if is_elsewhere or isinstance(cause, socket.gaierror):
            step = "LATEEN_HOST is an address of this machine"
        raise CannotStart(f"{exc}; {step}") from exc
    with ExitStack() as listening:
        for each in sockets:
            listening.enter_context(each)
        # What is started later has other working folders, and the URLs have the port that it became.
        port = sockets[0].getsockname()[1]
        settings = replace(settings, data=settings.data.absolute(), port=port)
        logs.configure(
            level=settings.log_level, json=settings.logs_json, environment=settings.environment, service="lateen"
        )
        try:
            platform = create_app(settings)
        except (DataFolderError, ValueError) as exc:
            raise CannotStart(str(exc)) from exc
        isolation = asyncio.run(platform.isolation())
        started = Started(endpoint=_address(settings), data=settings.data, isolation=isolation)
        server = _Server(platform, settings, on_stopping=platform.stopping)
        server.on_started = lambda: on_started(started)
        server.run(sockets=sockets)
    if not server.started:
        raise CannotStart("Lateen did not start; the log above says why")


class _Server(Server):
    on_started: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            settle()
            Thread(target=self.on_started, name="started", daemon=True).start()


def _address(settings: Settings) -> str:
    """Where this machine finds it, whatever it listens on."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)  # noqa: S104 - read, not bound
    return f"http://{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{settings.port}"
