"""What several of the cluster's processes are made of: the stores, the secrets, how functions are reached."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from lateen.adapters.dynamodb import DynamoTable
from lateen.adapters.kubernetes.config import FunctionsConfig
from lateen.adapters.kubernetes.service_endpoints import ServiceEndpoints
from lateen.adapters.redis_queue import RedisQueue
from lateen.adapters.s3 import S3Objects
from lateen.adapters.s3_code import S3Code
from lateen.api.health import Readiness
from lateen.cluster.settings import ClusterSettings
from lateen.domain.master import MasterKey
from lateen.gateway.connecting import Connecting
from lateen.gateway.pool import Network, Pool
from lateen.ports.deployer import Deployment
from lateen.services.statuses import failure_of, is_reported

MASTER_KEY, ADMIN_TOKEN = "master-key", "admin-token"
IDLE_S = 4.0
RUNTIMES = Path(__file__).resolve().parents[4] / "runtimes"
"""Of the checkout that this file lies in; the image says where its own are."""


class BadSecret(Exception):
    """The mounted Secret lacks something; the text says what."""


def table_of(settings: ClusterSettings) -> DynamoTable:
    """Connects to nothing yet."""
    return DynamoTable(settings.table, region=settings.region)


def objects_of(settings: ClusterSettings) -> S3Objects:
    """Connects to nothing yet."""
    return S3Objects(settings.bucket, region=settings.region, path_style=settings.s3_path_style)


def code_store_of(settings: ClusterSettings) -> S3Code:
    """Connects to nothing yet."""
    return S3Code(region=settings.region, path_style=settings.s3_path_style)


def queue_of(settings: ClusterSettings) -> RedisQueue | None:
    """Connects to nothing yet. None: there is none. Raises: `BadSecret`."""
    url, password = settings.redis_url, None
    try:
        if settings.redis_url_file is not None:
            url = settings.redis_url_file.read_text("utf-8").strip()
        if settings.redis_password_file is not None:
            password = settings.redis_password_file.read_text("utf-8").strip()
    except OSError as exc:
        raise BadSecret(f"{exc.filename} cannot be read: {exc.strerror}") from exc
    if not url:
        return None
    try:
        # The table's name is the installation's, and so several may share a server.
        return RedisQueue(
            url,
            password=password,
            name=settings.table,
            tenant_limit_bytes=settings.queue_workspace_mib * 1024**2,
        )
    except ValueError as exc:
        raise BadSecret(f"the queue's URL: {exc}") from exc


def readiness_of(
    settings: ClusterSettings, table: DynamoTable, objects: S3Objects | None = None, queue: RedisQueue | None = None
) -> Readiness:
    stores = {"table": table.ping}
    if objects is not None:
        stores["objects"] = objects.ping
    if queue is not None:
        stores["queue"] = queue.ping
    return Readiness(stores, deadline_s=settings.store_seconds)


def master_of(settings: ClusterSettings) -> MasterKey:
    """Raises: `BadSecret`."""
    try:
        return MasterKey(read_secret(settings, MASTER_KEY))
    except ValueError as exc:
        raise BadSecret(f"{MASTER_KEY} in {settings.secrets}: {exc}") from exc


def read_secret(settings: ClusterSettings, name: str) -> bytes:
    """Raises: `BadSecret`."""
    try:
        return (settings.secrets / name).read_bytes()
    except OSError as exc:
        raise BadSecret(f"{name} in {settings.secrets} cannot be read: {exc.strerror}") from exc


def connecting_of(
    config: FunctionsConfig, table: DynamoTable, *, want: Callable[[Deployment], None] = lambda _: None
) -> Connecting:
    """To functions' pods. `want`: says that a published version shall run."""
    # No connection is idle for as long as a pod that stops still answers.
    network = Network(idle_s=min(IDLE_S, config.drain_lag_s * 0.8))
    endpoints = ServiceEndpoints(config, is_reported=partial(is_reported, table), want=want)
    return Connecting(endpoints, Pool(network), failure_of=partial(failure_of, table))
