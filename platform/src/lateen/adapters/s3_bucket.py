"""The bucket: made where the migration is asked to. The function blocks; it is for a job that does nothing else."""

from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.session import get_session

from lateen.adapters.aws_client import MakeSession
from lateen.adapters.s3_faults import EXPECTED, words_for
from lateen.ports.objects import ObjectsUnavailable

_CONFIG = Config(connect_timeout=2.0, read_timeout=10.0, retries={"mode": "standard", "total_max_attempts": 5})


def create_bucket(
    name: str,
    *,
    region: str,
    path_style: bool = False,
    endpoint_url: str | None = None,
    session: MakeSession = get_session,
) -> bool:
    """Make the bucket unless it is there and ours. Returns: whether it was made now. Raises: `ObjectsUnavailable`."""
    config = _CONFIG.merge(Config(s3={"addressing_style": "path" if path_style else "virtual"}))
    made = session()
    made.set_default_client_config(config)
    try:
        client = made.create_client("s3", region_name=region, endpoint_url=endpoint_url, config=config)
        try:
            client.head_bucket(Bucket=name)
        except ClientError as exc:
            if exc.response["Error"].get("Code") != "404":
                raise
        else:
            return False
        # The first region is the default, and the only one that must not be named.
        place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        client.create_bucket(Bucket=name, **place)
    except (ValueError, *EXPECTED) as exc:
        if isinstance(exc, ClientError) and exc.response["Error"].get("Code") == "BucketAlreadyOwnedByYou":
            return False
        raise ObjectsUnavailable(words_for(exc)) from exc
    return True
