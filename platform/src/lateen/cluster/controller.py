"""`lateen controller`: makes the cluster match the table, and keeps the stores tidy, while it leads."""

import asyncio
import logging
import secrets
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from lateen.adapters.kubernetes.access import Access
from lateen.adapters.kubernetes.api import KubernetesApi
from lateen.adapters.kubernetes.builder import KubernetesBuilder, KubernetesBuildPlace
from lateen.adapters.kubernetes.config import FunctionsConfig
from lateen.adapters.kubernetes.deployer import KubernetesDeployer
from lateen.adapters.kubernetes.image_resolver import KubernetesImageResolver
from lateen.adapters.kubernetes.leader import Leadership
from lateen.adapters.kubernetes.runtime_images import RuntimeImages
from lateen.api.metrics import ProcessMetrics
from lateen.cluster.parts import RUNTIMES, master_of, objects_of, readiness_of, table_of
from lateen.cluster.settings import ClusterSettings
from lateen.services.assembled import assemble
from lateen.services.background import in_background
from lateen.services.build_sweep import BuildSweep
from lateen.services.building import Building
from lateen.services.changes import ChangeReader
from lateen.services.controller import Controller
from lateen.services.events import SWEEP_BATCH as EVENT_BATCH
from lateen.services.events import Events
from lateen.services.housekeeping import Chore, Housekeeping
from lateen.services.resolving import Resolving
from lateen.services.tombstones import Tombstones

if TYPE_CHECKING:
    from prometheus_client import Metric

log = logging.getLogger(__name__)

TOMBSTONES_SWEEP_EVERY_S = 60.0
CODE_SWEEP_EVERY_S = 3600.0


class ControllerProcess:
    app = None

    def __init__(self, settings: ClusterSettings) -> None:
        self._settings = settings
        self._config = FunctionsConfig.read(settings.functions_config)
        self._master = master_of(settings)
        self._table = table_of(settings)
        self._objects = objects_of(settings)
        self._api = KubernetesApi(Access.found())
        # With connections of its own: a renewal waits behind no other call.
        self._lease_api = KubernetesApi(Access.found())
        self._leadership = Leadership(
            self._lease_api,
            namespace=self._config.namespace,
            name=f"{self._config.release}-controller",
            # A container that starts again in its pod is another process.
            identity=f"{settings.pod_name or socket.gethostname()}-{secrets.token_hex(4)}",
        )
        self._leading: _Leading | None = None
        self.readiness = readiness_of(settings, self._table, self._objects)
        self.metrics = ProcessMetrics()
        self.metrics.registry.register(self)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._table.close)
            stack.push_async_callback(self._objects.close)
            stack.push_async_callback(self._api.close)
            stack.push_async_callback(self._lease_api.close)
            await stack.enter_async_context(
                in_background(lambda: self._leadership.lead(self._lead), ended=self.readiness.broke)
            )
            yield

    def collect(self) -> "Iterator[Metric]":
        """For a `prometheus_client` registry."""
        from prometheus_client.core import GaugeMetricFamily

        yield GaugeMetricFamily(
            "lateen_controller_leads", "1 where this process is the one that acts.", int(self._leadership.is_leading)
        )
        if self._leading is not None:
            yield from self._leading.deployer.collect()

    async def _lead(self) -> None:
        """What the leader does. All of it is made anew each time: another one may have led meanwhile."""
        leading = self._leading = _Leading(self)
        try:
            await leading.run()
        finally:
            self._leading = None


class _Leading:
    def __init__(self, process: ControllerProcess) -> None:
        settings, table = process._settings, process._table
        images = RuntimeImages(process._config.images.runtimes)
        services = assemble(
            table,
            process._objects,
            master=process._master,
            runtimes=settings.runtimes or RUNTIMES,
            disabled=images.disabled,
            build_place=KubernetesBuildPlace(process._config),
        )
        self.deployer = KubernetesDeployer(
            process._api,
            process._config,
            runtimes=images,
            leads_for_s=process._leadership.leads_for_s,
            retention_s=settings.retention_days * 24 * 3600,
            digest_key=process._master.derive("copied-secrets"),
        )
        builder = KubernetesBuilder(
            process._api,
            process._config,
            objects=process._objects,
            runtime=services.runtimes.get,
            ensure_place=self.deployer.ensure_place,
            leads_for_s=process._leadership.leads_for_s,
        )
        self._building = Building(
            table,
            process._objects,
            builder=builder,
            runtimes=services.runtimes,
            settings=services.build_settings,
            at_a_time=process._config.builds.at_a_time,
        )
        resolver = KubernetesImageResolver(
            process._api,
            process._config,
            ensure_place=self.deployer.ensure_place,
            leads_for_s=process._leadership.leads_for_s,
        )
        # Where nodes never ask a registry, what they have under a name is what there is.
        asks = process._config.images.pull_policy != "Never"
        self._resolving = Resolving(table, resolver=resolver if asks else None)
        tombstones = Tombstones(table, process._objects, functions=services.functions)
        controller = Controller(
            functions=services.functions,
            deployer=self.deployer,
            workspaces=services.workspaces,
            places=self.deployer,
            building=self._building,
            resolving=self._resolving,
        )
        housekeeping = Housekeeping(
            [
                Chore(name="deleted functions", run=tombstones.sweep, every_s=TOMBSTONES_SWEEP_EVERY_S),
                Chore(
                    name="unreferenced builds",
                    run=BuildSweep(
                        table, process._objects, functions=services.functions, workspaces=services.workspaces
                    ).run,
                    every_s=CODE_SWEEP_EVERY_S,
                ),
                Chore(name="unreferenced code", run=services.functions.sweep, every_s=CODE_SWEEP_EVERY_S),
                Chore(name="unreferenced layers", run=services.layers.sweep, every_s=CODE_SWEEP_EVERY_S),
                Chore(
                    name="old events",
                    run=Events(None, process._objects).sweep,
                    every_s=CODE_SWEEP_EVERY_S,
                    batch=EVENT_BATCH,
                ),
            ]
        )
        changes = ChangeReader(table, act=services.functions.look_at)
        self._parts = (self.deployer.run, controller.run, changes.run, housekeeping.run)

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                for part in self._parts:
                    tasks.create_task(part())
        finally:
            await self._building.close()
            await self._resolving.close()
