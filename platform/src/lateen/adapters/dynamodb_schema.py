"""The table in DynamoDB: made where the migration is asked to, looked at where it was made by others.

These functions block; they are for a job that does nothing else meanwhile.
"""

import time
from typing import Any

from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.session import get_session

from lateen.adapters.aws_client import MakeSession
from lateen.adapters.dynamodb_faults import EXPECTED, words_for
from lateen.ports.table import TableUnavailable
from lateen_invoker.dynamo_items import EXPIRES_AT, PK, SK

ACTIVE_S = 120.0
_KEY_SCHEMA = [{"AttributeName": PK, "KeyType": "HASH"}, {"AttributeName": SK, "KeyType": "RANGE"}]
_ATTRIBUTES = [{"AttributeName": PK, "AttributeType": "S"}, {"AttributeName": SK, "AttributeType": "S"}]
_CONFIG = Config(connect_timeout=2.0, read_timeout=10.0, retries={"mode": "standard", "total_max_attempts": 5})


class SchemaError(Exception):
    """A table of this name is there, or is not, in a way that only a person can change. The text says which."""


def create_table(
    name: str, *, region: str, endpoint_url: str | None = None, session: MakeSession = get_session
) -> bool:
    """Make the table, paid per request, unless it exists, and wait until it can be used.

    Returns: whether it was made now. Raises: `SchemaError` if there is another kind of table; `TableUnavailable`.
    """
    client = _client(region, endpoint_url, session)
    is_new = True
    try:
        client.create_table(
            TableName=name, BillingMode="PAY_PER_REQUEST", KeySchema=_KEY_SCHEMA, AttributeDefinitions=_ATTRIBUTES
        )
    except EXPECTED as exc:
        if not (isinstance(exc, ClientError) and exc.response["Error"]["Code"] == "ResourceInUseException"):
            raise TableUnavailable(words_for(exc)) from exc
        is_new = False
    _check_table(client, name)
    return is_new


def check_table(name: str, *, region: str, endpoint_url: str | None = None, session: MakeSession = get_session) -> None:
    """Wait until the table can be used. Raises: `SchemaError` if it is another kind of table, or none;
    `TableUnavailable`."""
    _check_table(_client(region, endpoint_url, session), name)


def enable_ttl(name: str, *, region: str, endpoint_url: str | None = None, session: MakeSession = get_session) -> bool:
    """Have DynamoDB remove what has expired, unless it does already.

    Returns: whether it was told so now. Raises: `SchemaError` if it goes by another attribute; `TableUnavailable`.
    """
    client = _client(region, endpoint_url, session)
    try:
        found = client.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
        status, attribute = found["TimeToLiveStatus"], found.get("AttributeName", EXPIRES_AT)
        if status in ("ENABLED", "ENABLING") and attribute == EXPIRES_AT:
            return False
        if status != "DISABLED":
            raise SchemaError(f"table '{name}': time to live is {status} for '{attribute}', not for '{EXPIRES_AT}'")
        client.update_time_to_live(
            TableName=name, TimeToLiveSpecification={"Enabled": True, "AttributeName": EXPIRES_AT}
        )
    except EXPECTED as exc:
        raise TableUnavailable(words_for(exc)) from exc
    return True


def _check_table(client: Any, name: str) -> None:
    until = time.monotonic() + ACTIVE_S
    try:
        while (table := client.describe_table(TableName=name)["Table"])["TableStatus"] not in ("ACTIVE", "UPDATING"):
            if time.monotonic() > until:
                raise TableUnavailable(f"the table is still {table['TableStatus']}")
            time.sleep(0.5)
    except EXPECTED as exc:
        if isinstance(exc, ClientError) and exc.response["Error"]["Code"] == "ResourceNotFoundException":
            raise SchemaError(f"table '{name}' does not exist, and this job was not asked to make it") from exc
        raise TableUnavailable(words_for(exc)) from exc
    types = {found["AttributeName"]: found["AttributeType"] for found in table["AttributeDefinitions"]}
    keys = [(found["AttributeName"], found["KeyType"], types[found["AttributeName"]]) for found in table["KeySchema"]]
    if sorted(keys) != [(PK, "HASH", "S"), (SK, "RANGE", "S")]:
        had = ", ".join(f"{key} ({kind}, {type_})" for key, kind, type_ in keys)
        raise SchemaError(f"table '{name}' has the key {had}; Lateen needs {PK} (HASH, S), {SK} (RANGE, S)")


def _client(region: str, endpoint_url: str | None, session: MakeSession) -> Any:
    made = session()
    made.set_default_client_config(_CONFIG)
    try:
        return made.create_client("dynamodb", region_name=region, endpoint_url=endpoint_url, config=_CONFIG)
    except (ValueError, *EXPECTED) as exc:
        raise TableUnavailable(words_for(exc)) from exc
