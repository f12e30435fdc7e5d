"""What operators and their tools ask: health for everybody, metrics with a key of the installation."""

from litestar import Controller, MediaType, Response, get
from litestar.params import FromQuery

from lateen.api.dependencies import CallerDep, MetricsDep, ReadinessDep
from lateen.api.health import Health, Ready
from lateen.api.metrics import CONTENT_TYPE

RETRY_AFTER_S = 1


class Operations(Controller):
    tags = ("Operations",)

    @get("/health", summary="Whether Lateen runs", operation_id="health")
    async def health(self) -> Health:
        return Health("healthy")

    @get("/health/live", summary="Whether the process is alive", operation_id="healthLive")
    async def live(self) -> Health:
        return Health("healthy")

    @get("/health/ready", summary="Whether Lateen can serve: both stores answer", operation_id="healthReady")
    async def ready(self, readiness: ReadinessDep, stores: FromQuery[bool] = True) -> Response[Ready]:
        found = await readiness.check(stores=stores)
        if found.status == "ready":
            return Response(found)
        return Response(found, status_code=503, headers={"Retry-After": str(RETRY_AFTER_S)})

    @get("/metrics", summary="Metrics for Prometheus", operation_id="metrics", media_type=MediaType.TEXT)
    async def measured(self, metrics: MetricsDep, caller: CallerDep) -> Response[bytes]:
        """Counters, gauges and histograms of this process and of the invokers, as text. Needs a key of the whole
        installation, for all workspaces' functions are in it."""
        caller.must_be_installation()
        return Response(await metrics.text(), media_type=CONTENT_TYPE)
