"""`lateen api`: the management surfaces and the AWS Lambda API, and events to functions by id or name."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from msgspec.structs import asdict

from lateen.adapters.kubernetes.builder import KubernetesBuildPlace
from lateen.adapters.kubernetes.config import FunctionsConfig
from lateen.adapters.kubernetes.runtime_images import RuntimeImages
from lateen.api.application import management_app
from lateen.api.dependencies import UseCases
from lateen.api.metrics import Metrics
from lateen.api.origins import Origins
from lateen.aws.assembled import aws_api
from lateen.cluster.parts import (
    RUNTIMES,
    code_store_of,
    connecting_of,
    master_of,
    objects_of,
    queue_of,
    readiness_of,
    table_of,
)
from lateen.cluster.settings import ClusterSettings
from lateen.gateway.invocations import Invocations
from lateen.services.assembled import assemble
from lateen.services.background import in_background
from lateen.services.changes import ChangeWriter
from lateen.services.cursors import Cursors
from lateen.services.ended_sessions import EndedSessions
from lateen.services.events import Events
from lateen.services.redrives import Redrives
from lateen.services.wanted_versions import Waking
from lateen.ui.app import Pages


class ApiProcess:
    def __init__(self, settings: ClusterSettings) -> None:
        config = FunctionsConfig.read(settings.functions_config)
        self._table = table_of(settings)
        self._objects = objects_of(settings)
        self._code_store = code_store_of(settings)
        master = master_of(settings)
        self._queue = queue_of(settings)
        services = assemble(
            self._table,
            self._objects,
            master=master,
            runtimes=settings.runtimes or RUNTIMES,
            disabled=RuntimeImages(config.images.runtimes).disabled,
            most_functions=config.workspace_limits.functions,
            build_place=KubernetesBuildPlace(config),
            images=config.function_images.policy,
            code_store=self._code_store,
            own_bucket=settings.bucket,
            retention_days=settings.retention_days,
            region=settings.region,
        )
        self._changes = ChangeWriter(self._table)
        services.functions.subscribe(self._changes.changed)
        waking = Waking(self._table, changed=self._changes.look_at)
        self._connecting = connecting_of(config, self._table, want=waking.want)
        self.metrics = Metrics()
        self.metrics.registry.register(self._changes)
        self.readiness = readiness_of(settings, self._table, self._objects, self._queue)
        self.readiness.on_stopping = services.log_streams.stop
        invocations = Invocations(functions=services.functions, connecting=self._connecting)
        events = Events(self._queue, self._objects)
        self._aws = aws_api(
            services,
            objects=self._objects,
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
                invoker=invocations,
                events=events,
                redrives=Redrives(self._table, functions=services.functions, events=events, cursors=Cursors(master)),
                base_url=settings.base_url,
            ),
            readiness=self.readiness,
            metrics=self.metrics,
            origins=Origins(hosts=settings.hosts, cors_origins=settings.cors_origins),
        )
        self._management.pages = Pages(self._management, key=master.derive("ui"), ended=EndedSessions(self._table))

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        served = self._aws if scope["type"] == "http" and self._aws.handles(scope) else self._management
        await served(scope, receive, send)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._table.close)
            stack.push_async_callback(self._objects.close)
            stack.push_async_callback(self._code_store.close)
            if self._queue is not None:
                stack.push_async_callback(self._queue.close)
            stack.push_async_callback(self._connecting.pool.close)
            await stack.enter_async_context(in_background(self._changes.run, ended=self.readiness.broke))
            yield
