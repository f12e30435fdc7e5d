"""The cluster's stores, for the contract suites: a table and a bucket for each test, on real servers."""

from collections.abc import AsyncIterator, Callable
from secrets import token_hex

import pytest
from botocore.session import Session, get_session
from cluster_stores import ClusterStores

from lateen.adapters.dynamodb import DynamoTable
from lateen.adapters.dynamodb_schema import create_table
from lateen.adapters.s3 import S3Objects
from lateen.adapters.s3_bucket import create_bucket

MakeSession = Callable[[], Session]


@pytest.fixture
def aws_session(cluster_stores: ClusterStores) -> MakeSession:
    """What makes sessions with the test servers' credentials."""

    def session() -> Session:
        made = get_session()
        made.set_credentials(cluster_stores.access_key, cluster_stores.secret_key)
        return made

    return session


@pytest.fixture
def dynamodb_name(cluster_stores: ClusterStores, aws_session: MakeSession) -> str:
    """A new table."""
    name = f"test-{token_hex(8)}"
    create_table(name, region=cluster_stores.region, endpoint_url=cluster_stores.dynamodb_endpoint, session=aws_session)
    return name


@pytest.fixture
async def dynamodb_table(
    cluster_stores: ClusterStores, dynamodb_name: str, aws_session: MakeSession
) -> AsyncIterator[DynamoTable]:
    table = DynamoTable(
        dynamodb_name,
        region=cluster_stores.region,
        endpoint_url=cluster_stores.dynamodb_endpoint,
        session=aws_session,
    )
    yield table
    await table.close()


@pytest.fixture
def s3_bucket(cluster_stores: ClusterStores, aws_session: MakeSession) -> str:
    """A new bucket."""
    name = f"test-{token_hex(8)}"
    create_bucket(
        name,
        region=cluster_stores.region,
        path_style=True,
        endpoint_url=cluster_stores.s3_endpoint,
        session=aws_session,
    )
    return name


@pytest.fixture
async def s3_objects(
    cluster_stores: ClusterStores, s3_bucket: str, aws_session: MakeSession
) -> AsyncIterator[S3Objects]:
    objects = S3Objects(
        s3_bucket,
        region=cluster_stores.region,
        path_style=True,
        endpoint_url=cluster_stores.s3_endpoint,
        session=aws_session,
    )
    yield objects
    await objects.close()
