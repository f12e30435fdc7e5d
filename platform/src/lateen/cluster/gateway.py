"""`lateen gateway`: `/{hash}` and nothing else. Needs reads of the table, and no other store."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from lateen.adapters.kubernetes.config import FunctionsConfig
from lateen.api.metrics import ProcessMetrics
from lateen.api.problems import Refusal, send_problem
from lateen.cluster.parts import connecting_of, master_of, readiness_of, table_of
from lateen.cluster.settings import ClusterSettings
from lateen.gateway.gateway import Gateway
from lateen.services.cursors import Cursors
from lateen.services.keys import Keys
from lateen.services.routes import Routes


class GatewayProcess:
    def __init__(self, settings: ClusterSettings) -> None:
        master = master_of(settings)
        self._table = table_of(settings)
        self._connecting = connecting_of(FunctionsConfig.read(settings.functions_config), self._table)
        self._gateway = Gateway(
            routes=Routes(self._table, master=master),
            keys=Keys(self._table, master=master, cursors=Cursors(master)),
            connecting=self._connecting,
        )
        self.app = _OnlyFunctions(self._gateway)
        self.metrics = ProcessMetrics()
        self.metrics.registry.register(self._gateway.counts)
        self.readiness = readiness_of(settings, self._table)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await self._connecting.pool.close()
            await self._table.close()


class _OnlyFunctions:
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.short_way = gateway.short_way

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._gateway.handles(scope["raw_path"]):
            await self._gateway(scope, receive, send)
        else:
            await send_problem(send, Refusal("not-found", "there is nothing at this path"))
