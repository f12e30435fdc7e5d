"""uvicorn, as the platform runs it: bounded callers, and a stop that finishes what runs.

On the first SIGTERM or SIGINT the application is told at once, so that it is unready. For `drain_lag_s` requests are
still taken, each as the last one of its connection; then none is, and what runs has `drain_s` to finish. A second
signal doesn't wait for it: what runs is cut with a 503, and everything is still closed in order.
"""

import asyncio
import contextlib
import errno
import gc
import logging
import resource
import signal
import socket
import threading
from collections.abc import Callable, Generator
from types import FrameType
from typing import Any, Literal

from uvicorn import Config
from uvicorn import Server as UvicornServer

from lateen.gateway.proxies import Proxies
from lateen.http_protocol import CONNECTIONS, Deadlines, LateenProtocol
from lateen.settings import Settings
from lateen_invoker.open_files import allow_many_connections

log = logging.getLogger(__name__)

BACKLOG = 2048
_LOCALHOST_TOO = {"127.0.0.1": "::1", "localhost": "::1", "0.0.0.0": "::1", "::1": "127.0.0.1"}  # noqa: S104 - asked for
_NOT_HERE = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
"""A machine without addresses of that family."""


class CannotListen(Exception):
    """The text says where and why."""


def listen(host: str, port: int) -> socket.socket:
    """Raises: `CannotListen`."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server(
            (host, port), family=family, backlog=BACKLOG, dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6()
        )
    except OSError as exc:
        # create_server puts the address into the text itself.
        reason = socket.gaierror.__name__ if exc.errno is None else (exc.strerror or "").split(" (while")[0].lower()
        raise CannotListen(f"cannot listen on {host}:{port}: {reason}") from exc
    listening.setblocking(False)
    return listening


def listen_here(host: str, port: int) -> list[socket.socket]:
    """As `listen`. Where the host is what `localhost` means, all that it means is taken: else any function of this
    machine could, and would be shown the keys of who says `localhost`. Raises: `CannotListen`."""
    sockets = [listen(host, port)]
    if (other := _LOCALHOST_TOO.get(host)) is not None:
        try:
            sockets.append(listen(other, sockets[0].getsockname()[1]))
        except CannotListen as exc:
            cause = exc.__cause__
            if not isinstance(cause, OSError) or cause.errno not in _NOT_HERE:
                sockets[0].close()
                raise
    return sockets


def settle() -> None:
    """What was made by now stays. Calls need not pay for looking through it for circles again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)


class Server(UvicornServer):
    """`run` or `await serve`; use `stop` from the same thread to end it without a signal."""

    def __init__(
        self,
        app: Any,
        settings: Settings,
        *,
        on_stopping: Callable[[], None] = lambda: None,
        lifespan: Literal["on", "off"] = "on",
    ) -> None:
        """Args:
        on_stopping: called at once when a stop is asked for, in the event loop.
        lifespan: whether the application starts and stops what it needs by itself.
        """

        class Protocol(LateenProtocol):
            deadlines = Deadlines(head_s=settings.header_seconds, body_s=settings.body_seconds)
            short_way = getattr(app, "short_way", None)
            trusted = Proxies(settings.trusted_proxies) if settings.trusted_proxies else None

        config = Config(
            app,
            host=settings.host,
            port=settings.port,
            http=Protocol,
            # Left to itself uvicorn takes a bound method for an application of the version before.
            interface="asgi3",
            ws="none",
            lifespan=lifespan,
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=int(settings.keep_alive_seconds) or 1,
            timeout_graceful_shutdown=int(settings.drain_seconds) or 1,
        )
        super().__init__(config)
        self._protocol = Protocol
        self._on_stopping = on_stopping
        self._lag_s = settings.drain_lag_seconds
        self._stops = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._cut = asyncio.Event()

    @property
    def port(self) -> int:
        """The one that is listened on; once it is `started`."""
        return int(self.servers[0].sockets[0].getsockname()[1])

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        allow_many_connections()  # before there are invokers, which inherit it
        await super().startup(sockets)
        # A call takes one descriptor for its caller and one for its invoker, and stores need theirs.
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._protocol.most_connections = min(CONNECTIONS, descriptors // 2)

    def stop(self) -> None:
        """The first time: finish what runs and end. The second time: end."""
        self._stops += 1
        if self._stops > 1:
            self.should_exit = True
            self._cut.set()
            return
        log.info("stopping", extra={"running": len(self.server_state.tasks)})
        self._on_stopping()
        assert self._loop is not None
        if self._lag_s:
            # Who comes meanwhile is told to come elsewhere next time, so that nobody relies on a connection that ends.
            self._protocol.is_draining = True
            self._loop.call_later(self._lag_s, self._exit)
        else:
            self._exit()

    def _exit(self) -> None:
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # A handler runs between any two instructions of the main thread; the loop is the place for what it does.
        if self._loop is not None and self._loop.is_running():
            self._loop.call_soon_threadsafe(self.stop)
        else:
            self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """As uvicorn's, but a stop that was asked for and went well is not raised again as a signal afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handled = (signal.SIGINT, signal.SIGTERM)
        before = {sig: signal.signal(sig, self.handle_exit) for sig in handled}
        try:
            yield
        finally:
            for sig, handler in before.items():
                signal.signal(sig, handler)

    async def _wait_tasks_to_complete(self) -> None:
        finished = asyncio.ensure_future(super()._wait_tasks_to_complete())
        cut = asyncio.ensure_future(self._cut.wait())
        try:
            await asyncio.wait((finished, cut), return_when=asyncio.FIRST_COMPLETED)
            if not finished.done():
                # uvicorn takes it for the end of the time, cancels what runs and goes on with an orderly end.
                raise TimeoutError
            await finished
        finally:
            finished.cancel()
            cut.cancel()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        log.info("stopped")
