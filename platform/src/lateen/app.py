"""The composition root: builds the embedded platform out of its parts, and is the ASGI application that serves it.

Nothing else sees all of them. `/{hash}` goes to the gateway before anything looks at it; paths with a date are the AWS
Lambda API's, and all others the management surfaces'.
"""

import logging
import math
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from msgspec.structs import asdict

from lateen.adapters.filesystem import FileObjects
from lateen.adapters.local.build_commands import BuildCommands
from lateen.adapters.local.builder import BuildLimits, LocalBuilder
from lateen.adapters.local.code_store import LocalCodeStore
from lateen.adapters.local.deployer import LocalDeployer, LocalSettings
from lateen.adapters.local.probe import isolation_here
from lateen.adapters.local.readable import SYSTEM, keep_apart
from lateen.adapters.local.runtime_commands import RuntimeCommands
from lateen.adapters.secret_files import administrator_secret, master_key, save_administrator_secret
from lateen.adapters.sqlite import SqliteTable
from lateen.adapters.sqlite_queue import SqliteQueue
from lateen.api.application import management_app
from lateen.api.dependencies import UseCases
from lateen.api.health import Readiness
from lateen.api.invoking import Invoker
from lateen.api.metrics import Metrics
from lateen.api.origins import Origins
from lateen.aws.assembled import aws_api
from lateen.domain.master import MasterKey
from lateen.gateway.connecting import Connecting
from lateen.gateway.gateway import Gateway
from lateen.gateway.invocations import Invocations
from lateen.gateway.invoker_metrics import invoker_metrics
from lateen.gateway.pool import Pool
from lateen.ports.deployer import Engine
from lateen.services.assembled import assemble, event_worker
from lateen.services.background import in_background
from lateen.services.build_sweep import BuildSweep
from lateen.services.building import Building
from lateen.services.controller import Controller
from lateen.services.cursors import Cursors
from lateen.services.ended_sessions import EndedSessions
from lateen.services.events import SWEEP_BATCH as EVENT_BATCH
from lateen.services.events import Events
from lateen.services.housekeeping import Chore, Housekeeping
from lateen.services.redrives import Redrives
from lateen.services.routes import Routes
from lateen.services.tombstones import Tombstones
from lateen.settings import Settings
from lateen.ui.app import Pages

log = logging.getLogger(__name__)

RUNTIMES = Path(__file__).resolve().parents[3] / "runtimes"
"""Of the checkout that this file lies in."""
DATABASE = "lateen.db"
RUN = "run"
BUILDS = "builds"
SWEEP_EVERY_S = 60.0
SWEEP_BATCH = 1000
CODE_SWEEP_EVERY_S = 3600.0
STOP_S = 10.0
"""For functions that still run when the last request has been answered."""


def create_app(settings: Settings, *, deployer: Engine | None = None, invoker: Invoker | None = None) -> "Platform":
    """Args:
        deployer, invoker: instead of the embedded ones; for tests.
    Raises: `DataFolderError` if the data folder can't be used, `ValueError` if a runtime's description is wrong.
    """
    return Platform(settings, deployer=deployer, invoker=invoker)


class Platform:
    """An ASGI application. `running` starts and stops what works behind it; a server's lifespan does it too."""

    def __init__(self, settings: Settings, *, deployer: Engine | None, invoker: Invoker | None) -> None:
        self.settings = settings
        folder = settings.data.absolute()
        self.administrator_secret = ""
        """Known once it runs."""
        if settings.runtimes is not None and not any(settings.runtimes.glob("*/runtime.toml")):
            raise ValueError(f"LATEEN_RUNTIMES: there is no runtime in {settings.runtimes}")
        isolates = deployer is None and settings.sandbox
        if isolates:
            keep_apart(folder, [*SYSTEM, str(settings.runtimes or RUNTIMES)])
        # Opening the table takes the folder's lock, so it comes before whatever else is written there.
        self.table = SqliteTable(folder / DATABASE)
        self.objects = FileObjects(folder / "objects")
        self._code_store = LocalCodeStore(region=settings.region)
        master = MasterKey(master_key(folder))
        commands = self._commands = RuntimeCommands()
        build_commands = BuildCommands(commands)
        services = assemble(
            self.table,
            self.objects,
            master=master,
            runtimes=settings.runtimes or RUNTIMES,
            disabled=commands.disabled,
            build_place=build_commands,
            code_store=self._code_store,
            retention_days=settings.retention_days,
            region=settings.region,
            # All changes are made in this process, which tells of them.
            known_s=math.inf,
        )
        if isolates:
            keep_apart(folder, commands.readable)
        self.functions = services.functions
        self.keys = services.keys
        self.workspaces = services.workspaces
        self.records = services.records
        self.event_configs = services.event_configs
        self.runtimes = services.runtimes
        self.urls = services.urls
        self.builds = services.builds
        self.build_settings = services.build_settings
        self._pool = Pool()
        self._local: LocalDeployer | None = None
        if deployer is None:
            deployer = self._local = LocalDeployer(
                folder / RUN,
                objects=self.objects,
                command=commands.command,
                notes=commands.notes,
                with_artifact=self.functions.with_artifact,
                store=self.records.store,
                traffic=self._pool,
                settings=LocalSettings(region=settings.region, idle_s=settings.idle_seconds, sandbox=settings.sandbox),
            )
        self.deployer = deployer
        routes = Routes(self.table, master=master, lives_s=math.inf)
        self.functions.subscribe(routes.changed)
        connecting = Connecting(deployer, self._pool)
        self.gateway = Gateway(routes=routes, keys=self.keys, connecting=connecting)
        self.short_way = self.gateway.short_way
        self.builder = LocalBuilder(
            folder / BUILDS,
            objects=self.objects,
            commands=build_commands,
            runtime=self.runtimes.get,
            limits=BuildLimits(deadline_s=settings.build_seconds, sandbox=settings.sandbox),
        )
        self._building = Building(
            self.table,
            self.objects,
            builder=self.builder,
            runtimes=self.runtimes,
            settings=services.build_settings,
            is_alone=True,
        )
        self._controller = Controller(functions=self.functions, deployer=deployer, building=self._building)
        invocations = Invocations(functions=self.functions, connecting=connecting)
        self._queue = SqliteQueue(self.table, tenant_limit_bytes=settings.queue_workspace_mib * 1024**2)
        events = Events(self._queue, self.objects)
        self._worker = event_worker(
            services,
            self._queue,
            events,
            invoker=invoker or invocations,
            concurrency=settings.worker_concurrency,
            region=settings.region,
        )
        self._housekeeping = Housekeeping(
            [
                Chore(
                    name="expired items",
                    run=lambda: self.table.sweep(limit=SWEEP_BATCH),
                    every_s=SWEEP_EVERY_S,
                    batch=SWEEP_BATCH,
                ),
                Chore(
                    name="deleted functions",
                    run=Tombstones(self.table, self.objects, functions=self.functions).sweep,
                    every_s=SWEEP_EVERY_S,
                ),
                Chore(
                    name="unreferenced builds",
                    run=BuildSweep(
                        self.table, self.objects, functions=self.functions, workspaces=services.workspaces
                    ).run,
                    every_s=CODE_SWEEP_EVERY_S,
                ),
                Chore(name="unreferenced code", run=self.functions.sweep, every_s=CODE_SWEEP_EVERY_S),
                Chore(name="unreferenced layers", run=services.layers.sweep, every_s=CODE_SWEEP_EVERY_S),
                Chore(name="old events", run=events.sweep, every_s=CODE_SWEEP_EVERY_S, batch=EVENT_BATCH),
            ]
        )
        self.metrics = Metrics(self._invoker_metrics)
        self.metrics.registry.register(self.gateway.counts)
        self.metrics.registry.register(self._worker)
        if self._local is not None:
            self.metrics.registry.register(self._local)
        self.readiness = Readiness(
            {"table": self.table.ping, "objects": self.objects.ping}, deadline_s=settings.store_seconds
        )
        self.log_streams = services.log_streams
        self.readiness.on_stopping = self.log_streams.stop
        self._aws = aws_api(
            services,
            objects=self.objects,
            invoker=invocations,
            events=events,
            master=master,
            region=settings.region,
            base_url=settings.base_url,
            metrics=self.metrics,
        )
        self._management = management_app(
            UseCases(
                **asdict(services),
                invoker=invoker or invocations,
                events=events,
                redrives=Redrives(self.table, functions=services.functions, events=events, cursors=Cursors(master)),
                base_url=settings.base_url,
            ),
            readiness=self.readiness,
            metrics=self.metrics,
            origins=Origins(hosts=settings.hosts, cors_origins=settings.cors_origins),
        )
        self._management.pages = Pages(self._management, key=master.derive("ui"), ended=EndedSessions(self.table))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            if self.gateway.handles(scope.get("raw_path") or scope["path"].encode()):
                await self.gateway(scope, receive, send)
            elif self._aws.handles(scope):
                await self._aws(scope, receive, send)
            else:
                await self._management(scope, receive, send)
        elif scope["type"] == "lifespan":
            await _lifespan(self.running, receive, send)

    def stopping(self) -> None:
        """Unready from now on; requests are served for as long as they come. Streams end."""
        self.readiness.stop()

    async def isolation(self) -> str:
        """What holds functions of any runtime here, one of `probe.FROM_WEAK_TO_STRONG`. Before `running`."""
        commands = self._commands.usable()
        if self._local is None or not commands:
            return "none"
        folder = self.settings.data.absolute() / RUN
        self._local.isolation = await isolation_here(commands, folder, sandbox=self.settings.sandbox)
        return self._local.isolation

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """What the first start makes is there, functions are deployed; at the end everything is closed in order."""
        folder = self.settings.data.absolute()
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.table.close)
            stack.push_async_callback(self._code_store.close)
            self.administrator_secret = await self.keys.administrator(
                administrator_secret(folder), lambda secret: save_administrator_secret(folder, secret)
            )
            await self.workspaces.ensure_default()
            await self.runtimes.setup()
            stack.push_async_callback(self._pool.close)
            if self._local is not None:
                await self._local.start()
                stack.push_async_callback(self._local.close, within_s=STOP_S)
            await self.builder.start()
            stack.push_async_callback(self._building.close)
            for part in (self._controller.run, self._housekeeping.run):
                await stack.enter_async_context(in_background(part))
            # Nobody else has this file: what was being worked on when a process before this one ended, is by nobody.
            await self._queue.take_back()
            await stack.enter_async_context(self._worker.working(drain_s=STOP_S))
            log.info("started", extra={"data": str(folder), "runtimes": [each.name for each in self.runtimes.list()]})
            yield
            self.stopping()

    async def _invoker_metrics(self) -> Any:
        return [] if self._local is None else await invoker_metrics(self._pool, self._local.running())


async def _lifespan(running: Callable[[], Any], receive: Any, send: Any) -> None:
    """The server's side of `running`."""
    await receive()
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(running())
        except Exception as exc:
            log.exception("start failed")
            await send({"type": "lifespan.startup.failed", "message": str(exc)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        try:
            await stack.aclose()
        except Exception as exc:
            log.exception("stop failed")
            await send({"type": "lifespan.shutdown.failed", "message": str(exc)})
            return
    await send({"type": "lifespan.shutdown.complete"})
