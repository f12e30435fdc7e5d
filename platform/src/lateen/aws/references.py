"""How a request names a function: by name, by a whole or a partial ARN, each with or without a qualifier."""

import re

from msgspec import Struct

from lateen.aws.errors import AwsError, invalid, not_found, validation
from lateen.domain.functions import LATEST

_REFERENCE = re.compile(
    r"(?:arn:(?P<partition>aws[a-zA-Z-]*):lambda:)?(?:(?P<region>(?:eusc-)?[a-z]{2}(?:-gov|-iso[a-z]?)?-[a-z]+-[0-9]):)?"
    r"(?:(?P<account>[0-9]{12}):)?(?:(?P<kind>function):)?(?P<name>[a-zA-Z0-9-_.]+)"
    r"(?::(?P<qualifier>\$LATEST(?:\.PUBLISHED)?|[a-zA-Z0-9-_]+))?"
)
_LONGEST_NAME = 64


class Place(Struct, frozen=True):
    """Where ARNs are: this installation's region, and a workspace's account."""

    region: str
    account_id: str

    def arn(self, name: str, qualifier: str | None = None) -> str:
        base = f"arn:aws:lambda:{self.region}:{self.account_id}:function:{name}"
        return base if qualifier is None else f"{base}:{qualifier}"


class Reference(Struct, frozen=True):
    name: str
    qualifier: str | None
    """A version, an alias or `$LATEST`; None: none was given."""
    place: Place

    @property
    def version(self) -> str:
        return self.qualifier or LATEST

    @property
    def arn(self) -> str:
        """As it was asked for."""
        return self.place.arn(self.name, self.qualifier)

    @property
    def unqualified_arn(self) -> str:
        return self.place.arn(self.name)


def reference_from(text: str, place: Place, *, qualifier: str | None = None, operation: str) -> Reference:
    """Args:
        text: `FunctionName` of the request, which satisfies the model's constraints.
        qualifier: the one that is given beside it.
    Raises: `AwsError`, also for what lies in another account or region.
    """
    found = _REFERENCE.fullmatch(text)
    if found is None or (found["partition"] and not (found["region"] and found["account"] and found["kind"])):
        problem = f"Value '{text[:256]}' at 'functionName' failed to satisfy constraint: Member must be a function name"
        raise validation([f"{problem} or an ARN"])
    if found["qualifier"] and qualifier and found["qualifier"] != qualifier:
        raise invalid(
            "The derived qualifier from the function name does not match the specified qualifier.",
        )
    if found["account"] and found["account"] != place.account_id:
        raise AwsError(
            "AccessDeniedException",
            f"User: arn:aws:iam::{place.account_id}:root is not authorized to perform: lambda:{operation} on resource: "
            f"{text} because no resource-based policy allows the lambda:{operation} action",
            status=403,
        )
    if found["region"] and found["region"] != place.region:
        raise not_found(f"Functions from '{found['region']}' are not reachable in this region ('{place.region}')")
    return Reference(found["name"], found["qualifier"] or qualifier or None, place)


def check_new_name(name: str) -> None:
    """Of a function that is to be made. Raises: `AwsError`."""
    if len(name) > _LONGEST_NAME:
        raise invalid(
            f"1 validation error detected: Value '{name}' at 'functionName' failed to satisfy constraint: "
            f"Member must have length less than or equal to {_LONGEST_NAME}"
        )
