"""Settings of the processes in a cluster: those of every platform, and what only a cluster has."""

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from lateen.settings import Seconds, Settings


class ClusterSettings(Settings, frozen=True, kw_only=True):
    host: str = "0.0.0.0"  # noqa: S104 - a pod's address is known to nobody before it is there
    """Address to listen on; `::` is every address, of both kinds."""
    operations_port: Annotated[int, Meta(ge=0, le=65_535)] = 9090
    """TCP port of health and metrics, without a key."""
    table: Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_.-]{3,255}\Z")] = "lateen"
    """The DynamoDB table."""
    bucket: Annotated[str, Meta(pattern=r"^[a-zA-Z0-9._-]{3,255}\Z")] = "lateen"
    """The S3 bucket."""
    s3_path_style: bool = False
    """Buckets are part of URLs' paths, not of their host names."""
    secrets: Path = Path("/etc/lateen/secrets")
    """Folder of the mounted Secret: `master-key`, `admin-token`."""
    functions_config: Path = Path("/etc/lateen/functions/functions.json")
    """How functions run; made by the chart."""
    redis_url: str = ""
    """Of the Redis that holds asynchronous invocations: `redis://host:port/db`, `rediss://` for TLS. Without this and
    without a file with it there are none."""
    redis_url_file: Path | None = None
    """File with the URL, where a user and a password are in it: `redis://user:password@host:port/db`."""
    redis_password_file: Path | None = None
    """File with the password, where the URL has none."""
    pod_name: str = ""
    """Who this is among the controllers; empty: the host's name."""
    create_table: bool = False
    """`lateen migrate` makes the table."""
    create_bucket: bool = False
    """`lateen migrate` makes the bucket."""
    wait_seconds: Seconds = 300.0
    """Seconds that `lateen migrate` waits for stores that do not answer yet."""
    secret_name: Annotated[str, Meta(pattern=r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)?\Z")] = ""
    """Of the Secret that `lateen secrets` makes."""
    secret_labels: tuple[str, ...] = ()
    """`name=value`, comma-separated."""
