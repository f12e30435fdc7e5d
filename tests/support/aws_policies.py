"""Calls of AWS's API as they are made, and what an IAM policy says of them.

Enough of IAM to judge the chart's policies: Allow statements, wildcards in resources, and the condition on DynamoDB's
leading keys. https://docs.aws.amazon.com/service-authorization/latest/reference/ names the actions of each call.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from unittest.mock import patch

from botocore.client import BaseClient

from lateen.adapters.dynamodb_wire import DynamoWire
from lateen.adapters.s3_wire import S3Wire

TABLE = "arn:aws:dynamodb:us-east-1:111122223333:table/lateen"
BUCKET = "arn:aws:s3:::lateen-111122223333"
PACKAGES = "arn:aws:s3:::packages"
"""What stands for a bucket whose name begins so."""

# TransactWriteItems has no action of its own: it needs those of the single operations.
_TRANSACTED = {"Put": "PutItem", "Delete": "DeleteItem", "Update": "UpdateItem", "ConditionCheck": "ConditionCheckItem"}
_OBJECT_CALLS = {"PutObject": "PutObject", "GetObject": "GetObject", "DeleteObject": "DeleteObject"}
_BUCKET_CALLS = {"ListObjectsV2": "ListBucket", "HeadBucket": "ListBucket", "CreateBucket": "CreateBucket"}


@dataclass(frozen=True)
class Need:
    """What a call must be allowed: an action on a resource; of DynamoDB's items, the partitions too."""

    action: str
    resource: str
    leading_keys: frozenset[str] = frozenset()


@contextmanager
def recorded() -> Iterator[set[Need]]:
    """What the calls of this process need: those of botocore's clients, and those that go without it."""
    needs: set[Need] = set()
    original = BaseClient._make_api_call

    def make_api_call(client: BaseClient, operation: str, arguments: dict[str, Any]) -> Any:
        needs.update(_needs(client.meta.service_model.service_name, operation, arguments))
        return original(client, operation, arguments)

    call = DynamoWire.call

    def wire_call(wire: DynamoWire, operation: str, request: dict[str, Any]) -> Any:
        needs.update(_dynamodb_needs(operation, request))
        return call(wire, operation, request)

    put = S3Wire.put

    def wire_put(wire: S3Wire, bucket: str, key: str, body: bytes) -> None:
        needs.update(_needs("s3", "PutObject", {"Key": key}))
        put(wire, bucket, key, body)

    with (
        patch.object(BaseClient, "_make_api_call", make_api_call),
        patch.object(DynamoWire, "call", wire_call),
        patch.object(S3Wire, "put", wire_put),
    ):
        yield needs


def is_allowed(policy: dict[str, Any], need: Need) -> bool:
    return any(_grants(statement, need) for statement in policy["Statement"])


def granted(policy: dict[str, Any]) -> set[str]:
    """All actions that the policy names."""
    return {action for statement in policy["Statement"] for action in _listed(statement["Action"])}


def read_policy(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def _grants(statement: dict[str, Any], need: Need) -> bool:
    assert statement["Effect"] == "Allow"
    if need.action not in _listed(statement["Action"]):
        return False
    if not any(fnmatchcase(need.resource, resource) for resource in _listed(statement["Resource"])):
        return False
    for operator, terms in statement.get("Condition", {}).items():
        assert operator == "ForAllValues:StringLike", operator
        assert set(terms) == {"dynamodb:LeadingKeys"}, terms
        patterns = _listed(terms["dynamodb:LeadingKeys"])
        if not all(any(fnmatchcase(key, pattern) for pattern in patterns) for key in need.leading_keys):
            return False
    return True


def _needs(service: str, operation: str, arguments: dict[str, Any]) -> Iterator[Need]:
    if service == "dynamodb":
        yield from _dynamodb_needs(operation, arguments)
    elif operation in _OBJECT_CALLS:
        bucket = PACKAGES if arguments.get("Bucket", "").startswith("packages-") else BUCKET
        action = _OBJECT_CALLS[operation] + ("Version" if "VersionId" in arguments else "")
        yield Need(f"s3:{action}", f"{bucket}/{arguments['Key']}")
    else:
        yield Need(f"s3:{_BUCKET_CALLS[operation]}", BUCKET)


def _dynamodb_needs(operation: str, arguments: dict[str, Any]) -> Iterator[Need]:
    match operation:
        case "TransactWriteItems":
            for item in arguments["TransactItems"]:
                ((kind, request),) = item.items()
                yield _on_keys(_TRANSACTED[kind], (request.get("Item") or request["Key"])["PK"]["S"])
        case "BatchWriteItem":
            ((_, requests),) = arguments["RequestItems"].items()
            yield _on_keys(operation, *(request["PutRequest"]["Item"]["PK"]["S"] for request in requests))
        case "Query":
            yield _on_keys(operation, arguments["ExpressionAttributeValues"][":pk"]["S"])
        case "GetItem" | "DeleteItem":
            yield _on_keys(operation, arguments["Key"]["PK"]["S"])
        case "PutItem":
            yield _on_keys(operation, arguments["Item"]["PK"]["S"])
        case _:
            yield Need(f"dynamodb:{operation}", TABLE)


def _on_keys(operation: str, *keys: str) -> Need:
    return Need(f"dynamodb:{operation}", TABLE, frozenset(keys))


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value
