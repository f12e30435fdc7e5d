"""AWS's model of the Lambda API, as far as requests go: operations, and the shapes of what they are given.

A table that `hack/update-aws-api` makes of botocore's model, whose size in memory (27 MB) no process should pay.
"""

from functools import cache
from importlib.resources import files
from typing import Literal

import msgspec
from msgspec import Struct

_FILE = "lambda-2015-03-31.json"


class Member(Struct, frozen=True, rename="camel"):
    shape: str
    location: Literal["uri", "querystring", "header", "headers", "statusCode"] | None = None
    """None: in the body."""
    location_name: str | None = None


class Shape(Struct, frozen=True):
    """`min` and `max` are a number's bounds, or a text's, a list's or a map's size."""

    type: str
    required: tuple[str, ...] = ()
    members: dict[str, Member] = {}
    member: str | None = None
    key: str | None = None
    value: str | None = None
    min: float | None = None
    max: float | None = None
    pattern: str | None = None
    enum: tuple[str, ...] = ()
    payload: str | None = None
    """The member that the whole body is."""


class Operation(Struct, frozen=True):
    method: str
    uri: str
    """`/2015-03-31/functions/{FunctionName}`; may end in a query that is part of the operation's address."""
    status: int
    """Of an answer that all went well for."""
    input: str | None = None


class Model(Struct, frozen=True):
    operations: dict[str, Operation]
    shapes: dict[str, Shape]


@cache
def lambda_model() -> Model:
    return msgspec.json.decode(files("lateen.aws").joinpath(_FILE).read_bytes(), type=Model)
