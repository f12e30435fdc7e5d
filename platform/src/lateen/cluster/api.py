"""`lateen api`: the management surfaces, and events to functions by id."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from msgspec.structs import asdict

from lateen.adapters.kubernetes.config import FunctionsConfig
from lateen.adapters.kubernetes.runtime_images import RuntimeImages
from lateen.api.application import management_app
from lateen.api.dependencies import UseCases
from lateen.api.metrics import Metrics
from lateen.api.origins import Origins
from lateen.cluster.parts import RUNTIMES, connecting_of, master_of, objects_of, readiness_of, table_of
from lateen.cluster.settings import ClusterSettings
from lateen.gateway.invocations import Invocations
from lateen.services.assembled import assemble
from lateen.services.background import in_background
from lateen.services.changes import ChangeWriter
from lateen.services.wanted_versions import Waking


class ApiProcess:
    def __init__(self, settings: ClusterSettings) -> None:
        config = FunctionsConfig.read(settings.functions_config)
        self._table = table_of(settings)
        self._objects = objects_of(settings)
        services = assemble(
            self._table,
            self._objects,
            master=master_of(settings),
            runtimes=settings.runtimes or RUNTIMES,
            disabled=RuntimeImages(config.images.runtimes).disabled,
            retention_days=settings.retention_days,
            region=settings.region,
        )
        self._changes = ChangeWriter(self._table)
        services.functions.subscribe(self._changes.changed)
        waking = Waking(self._table, changed=self._changes.look_at)
        self._connecting = connecting_of(config, self._table, want=waking.want)
        self.metrics = Metrics()
        self.metrics.registry.register(self._changes)
        self.readiness = readiness_of(settings, self._table, self._objects)
        self.app = management_app(
            UseCases(
                **asdict(services),
                invoker=Invocations(functions=services.functions, connecting=self._connecting),
                base_url=settings.base_url,
            ),
            readiness=self.readiness,
            metrics=self.metrics,
            origins=Origins(hosts=settings.hosts, cors_origins=settings.cors_origins),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._table.close)
            stack.push_async_callback(self._objects.close)
            stack.push_async_callback(self._connecting.pool.close)
            await stack.enter_async_context(in_background(self._changes.run, ended=self.readiness.broke))
            yield
