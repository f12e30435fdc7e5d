"""The embedded platform, put together from the real parts: stores, services, deployer, controller, gateway."""

import asyncio
import math
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from lateen.adapters.filesystem import FileObjects
from lateen.adapters.local.deployer import LocalDeployer, LocalSettings
from lateen.adapters.local.runtime_commands import RuntimeCommands
from lateen.adapters.sqlite import SqliteTable
from lateen.domain.access import PLATFORM
from lateen.domain.functions import Function
from lateen.domain.master import MasterKey
from lateen.gateway.connecting import Connecting
from lateen.gateway.gateway import Gateway
from lateen.gateway.invocations import Invocations
from lateen.gateway.pool import Pool
from lateen.http_protocol import LateenProtocol
from lateen.services.aliases import Aliases
from lateen.services.artifacts import Artifacts
from lateen.services.code_sources import CodeSources
from lateen.services.controller import Controller
from lateen.services.cursors import Cursors
from lateen.services.functions import FunctionChange, Functions, NewFunction
from lateen.services.keys import Keys
from lateen.services.layers import Layers
from lateen.services.provisioned import Provisioned
from lateen.services.records import Records
from lateen.services.routes import Routes
from lateen.services.runtimes import Runtimes
from lateen.services.versions import Versions
from lateen.services.workspaces import Workspaces


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The loop of the platform's server."""
    return "asyncio", {"use_uvloop": True}


RUNTIMES = Path(__file__).parents[2] / "runtimes"


class Stores:
    """Stores and services, and short words for what tests do with them."""

    def __init__(self, folder: Path) -> None:
        self.master = MasterKey(b"m" * 32)
        self.cursors = cursors = Cursors(self.master)
        self.folder = folder
        self.table = SqliteTable(folder / "lateen.db")
        self.objects = FileObjects(folder / "objects")
        self.commands = RuntimeCommands()
        runtimes = Runtimes(RUNTIMES, table=self.table, disabled=self.commands.disabled)
        sources = CodeSources(self.table)
        self.functions = Functions(
            self.table, self.objects, runtimes=runtimes, master=self.master, cursors=cursors, sources=sources
        )
        self.versions = Versions(
            self.table, functions=self.functions, artifacts=Artifacts(self.objects), cursors=cursors
        )
        self.aliases = Aliases(self.table, functions=self.functions, cursors=cursors)
        self.provisioned = Provisioned(self.table, functions=self.functions, cursors=cursors)
        self.keys = Keys(self.table, master=self.master, cursors=cursors)
        self.layers = Layers(
            self.table,
            self.objects,
            used=self.functions.layers_of,
            sources=sources,
            cursors=cursors,
            region="eu-central-1",
        )
        self.workspaces = Workspaces(
            self.table,
            functions=self.functions,
            layers=self.layers,
            keys=self.keys,
            sources=sources,
            cursors=cursors,
        )
        self.records = Records(self.table, functions=self.functions, cursors=cursors, retention_s=3600)

    async def create(self, code: str, *, name: str = "f", **settings: Any) -> Function:
        new = NewFunction(name=name, runtime="python3.12", code=code.encode(), **settings)
        return (await self.functions.create(PLATFORM, "default", new)).function

    async def update(self, function: Function, **change: Any) -> Function:
        if "code" in change:
            change["code"] = change["code"].encode()
        return (await self.functions.update(PLATFORM, function.id, FunctionChange(**change))).function

    async def state(self, function: Function) -> tuple[str, str | None]:
        status = (await self.functions.get(PLATFORM, function.id)).status
        return status.state, status.reason

    async def settled(self, function: Function, state: str = "Active") -> str | None:
        """Wait until the function's current revision has this state. Returns: the reason."""
        async with asyncio.timeout(20):
            while (shown := await self.state(function))[0] != state:
                await asyncio.sleep(0.01)
        return shown[1]


class Embedded(Stores):
    """All parts."""

    def __init__(self, folder: Path, settings: LocalSettings) -> None:
        super().__init__(folder)
        self.pool = Pool()
        self.deployer = LocalDeployer(
            folder / "run",
            objects=self.objects,
            command=self.commands.command,
            notes=self.commands.notes,
            store=self.store_records,
            traffic=self.pool,
            settings=settings,
        )
        routes = Routes(self.table, master=self.master, lives_s=math.inf)
        self.functions.subscribe(routes.changed)
        connecting = Connecting(self.deployer, self.pool)
        self.gateway = Gateway(routes=routes, keys=self.keys, connecting=connecting)
        self.invocations = Invocations(functions=self.functions, connecting=connecting)
        self.controller = Controller(functions=self.functions, deployer=self.deployer)
        self.url = ""

    async def store_records(self, function_id: str, records: Any, rollups: Any) -> None:
        await self.records.store(function_id, records, rollups)

    def url_of(self, function: Function, path: str = "") -> str:
        return f"{self.url}/{function.hash}{path}"

    def client(self, **settings: Any) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        return httpx.AsyncClient(timeout=30, limits=limits, trust_env=False, **settings)

    def pid_of(self, function: Function) -> int:
        """Of the function's invoker; 0 where none runs."""
        current = self.deployer._functions[function.id]._current
        return 0 if current is None else current.pid

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        assert Gateway.handles(scope["raw_path"])
        await self.gateway(scope, receive, send)


StartEmbedded = Callable[..., Awaitable[Embedded]]


@pytest.fixture
async def start_stores() -> AsyncIterator[Callable[[Path], Awaitable[Stores]]]:
    """Stores and services without a deployer."""
    started: list[Stores] = []

    async def start(folder: Path) -> Stores:
        stores = Stores(folder)
        started.append(stores)
        await stores.workspaces.ensure_default()
        return stores

    yield start
    for stores in started:
        await stores.table.close()


@pytest.fixture
async def start_embedded(tmp_path: Path) -> AsyncIterator[StartEmbedded]:
    """Start one, with `LocalSettings`' fields; it ends with the test."""
    running: list[Any] = []

    async def start(folder: Path | None = None, **settings: Any) -> Embedded:
        context = run_embedded(folder or tmp_path / "data", LocalSettings(**settings))
        embedded = await context.__aenter__()
        running.append(context)
        return embedded

    yield start
    for context in running:
        await context.__aexit__(None, None, None)


@pytest.fixture
async def embedded(start_embedded: StartEmbedded) -> Embedded:
    return await start_embedded()


@asynccontextmanager
async def run_embedded(folder: Path, settings: LocalSettings) -> AsyncIterator[Embedded]:
    embedded = Embedded(folder, settings)
    await embedded.workspaces.ensure_default()
    await embedded.deployer.start()
    controller = asyncio.create_task(embedded.controller.run())
    # With its protocol named: asyncio sets TCP_NODELAY only where it is.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))

    class Protocol(LateenProtocol):
        short_way = embedded.gateway.short_way

    config = uvicorn.Config(
        embedded.app,
        interface="asgi3",
        http=Protocol,
        log_level="warning",
        ws="none",
        lifespan="off",
        backlog=2048,
    )
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    embedded.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    serving = asyncio.create_task(server._serve([listening]))
    while not server.started:
        await asyncio.sleep(0.005)
    try:
        yield embedded
    finally:
        server.should_exit = server.force_exit = True
        await serving
        controller.cancel()
        with suppress(asyncio.CancelledError):
            await controller
        await embedded.deployer.close(within_s=5)
        await embedded.pool.close()
        await embedded.table.close()
