"""`lateen worker`: runs what was given to functions without waiting for an answer."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from lateen.adapters.kubernetes.config import FunctionsConfig
from lateen.adapters.kubernetes.runtime_images import RuntimeImages
from lateen.api.metrics import ProcessMetrics
from lateen.cluster.parts import (
    RUNTIMES,
    BadSecret,
    connecting_of,
    master_of,
    objects_of,
    queue_of,
    readiness_of,
    table_of,
)
from lateen.cluster.settings import ClusterSettings
from lateen.gateway.invocations import Invocations
from lateen.services.assembled import assemble, event_worker
from lateen.services.background import in_background
from lateen.services.changes import ChangeWriter
from lateen.services.events import Events
from lateen.services.wanted_versions import Waking

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric


class WorkerProcess:
    app = None

    def __init__(self, settings: ClusterSettings) -> None:
        config = FunctionsConfig.read(settings.functions_config)
        queue = queue_of(settings)
        if queue is None:
            raise BadSecret("LATEEN_REDIS_URL_FILE: needed, or LATEEN_REDIS_URL: the URL of the queue's server")
        self._settings = settings
        self._queue = queue
        self._table = table_of(settings)
        self._objects = objects_of(settings)
        self._changes = ChangeWriter(self._table)
        waking = Waking(self._table, changed=self._changes.look_at)
        self._connecting = connecting_of(config, self._table, want=waking.want)
        services = assemble(
            self._table,
            self._objects,
            master=master_of(settings),
            runtimes=settings.runtimes or RUNTIMES,
            disabled=RuntimeImages(config.images.runtimes).disabled,
        )
        self._worker = event_worker(
            services,
            queue,
            Events(queue, self._objects),
            invoker=Invocations(functions=services.functions, connecting=self._connecting),
            concurrency=settings.worker_concurrency,
            region=settings.region,
        )
        self.readiness = readiness_of(settings, self._table, self._objects, queue)
        self.metrics = ProcessMetrics()
        self.metrics.registry.register(self._worker)
        self.metrics.registry.register(self._changes)
        self.metrics.registry.register(self)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._table.close)
            stack.push_async_callback(self._objects.close)
            stack.push_async_callback(self._queue.close)
            stack.push_async_callback(self._connecting.pool.close)
            await stack.enter_async_context(in_background(self._changes.run, ended=self.readiness.broke))
            await stack.enter_async_context(
                self._worker.working(drain_s=self._settings.drain_seconds, ended=self.readiness.broke)
            )
            yield

    def collect(self) -> "Iterator[Metric]":
        """For a `prometheus_client` registry."""
        from prometheus_client.core import CounterMetricFamily

        yield CounterMetricFamily(
            "lateen_queue_losses", "How often the queue's server was found without what it had.", self._queue.losses
        )
