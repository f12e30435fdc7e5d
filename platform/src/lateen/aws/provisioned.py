"""Provisioned concurrency of versions and aliases."""

from typing import Any

from lateen.aws.calls import Answer, Call, operation
from lateen.aws.configurations import Shown, last_modified
from lateen.aws.errors import AwsError, conflict, function_not_found, invalid, not_found
from lateen.aws.finding import Finding
from lateen.aws.references import Reference
from lateen.domain.errors import Conflict, InvalidInput, NotFound
from lateen.domain.functions import LATEST
from lateen.domain.pages import DEFAULT_LIMIT
from lateen.domain.versions import is_number
from lateen.services.provisioned import UNPUBLISHED, DescribedConfig, Provisioned

_NO_FUNCTION = "The function resource provided must be an alias or a published version."


class ProvisionedOperations:
    def __init__(self, finding: Finding, *, provisioned: Provisioned) -> None:
        self._finding = finding
        self._provisioned = provisioned

    @operation(
        "PutProvisionedConcurrencyConfig",
        missing="beyond concurrency times pods it has FAILED",
    )
    async def put(self, call: Call) -> Answer:
        reference = _qualified(call, UNPUBLISHED)
        function = (await self._finding.draft(call, reference)).function
        requested = call.parameters["ProvisionedConcurrentExecutions"]
        try:
            described = await self._provisioned.put(function, reference.version, requested)
        except NotFound:
            raise _missing(reference) from None
        except InvalidInput as exc:
            raise invalid(exc.reason) from None
        except Conflict as exc:
            raise conflict(str(exc)) from None
        return Answer(body=_shown(described))

    @operation("GetProvisionedConcurrencyConfig", missing="what was reported when pods got ready, not counted since")
    async def get(self, call: Call) -> Answer:
        reference = _qualified(call, _NO_FUNCTION)
        await self._there(call, reference)
        function = (await self._finding.draft(call, reference)).function
        try:
            described = await self._provisioned.get(function, reference.version)
        except NotFound:
            raise AwsError(
                "ProvisionedConcurrencyConfigNotFoundException",
                "No Provisioned Concurrency Config found for this function",
                status=404,
            ) from None
        return Answer(body=_shown(described))

    @operation("DeleteProvisionedConcurrencyConfig")
    async def delete(self, call: Call) -> Answer:
        reference = _qualified(call, _NO_FUNCTION)
        await self._there(call, reference)
        function = (await self._finding.draft(call, reference)).function
        try:
            await self._provisioned.delete(function, reference.version)
        except NotFound:
            raise _missing(reference) from None
        return Answer(status=204)

    @operation("ListProvisionedConcurrencyConfigs", missing="as GetProvisionedConcurrencyConfig")
    async def list(self, call: Call) -> Answer:
        reference = call.reference()
        function = (await self._finding.draft(call, reference)).function
        try:
            page = await self._provisioned.list(
                function,
                limit=min(call.parameters.get("MaxItems", DEFAULT_LIMIT), DEFAULT_LIMIT),
                cursor=call.parameters.get("Marker") or None,
            )
        except InvalidInput:
            raise invalid("Invalid Marker.") from None
        shown = [
            {"FunctionArn": reference.place.arn(reference.name, each.config.qualifier)} | _shown(each)
            for each in page.items
        ]
        body: dict[str, Any] = {"ProvisionedConcurrencyConfigs": shown}
        return Answer(body=body | ({"NextMarker": page.cursor} if page.cursor else {}))

    async def _there(self, call: Call, reference: Reference) -> None:
        try:
            await self._finding.found(call, reference)
        except AwsError:
            await self._finding.draft(call, reference)
            raise _missing(reference) from None


def _qualified(call: Call, refusal: str) -> Reference:
    reference = call.reference(qualifier=True)
    if reference.version == LATEST:
        raise invalid(refusal)
    return reference


def _missing(reference: Reference) -> AwsError:
    if is_number(reference.version):
        return function_not_found(reference.arn)
    return not_found(f"Cannot find alias arn: {reference.arn}")


def _shown(described: DescribedConfig) -> Shown:
    config, status = described.config, described.status
    shown: Shown = {
        "RequestedProvisionedConcurrentExecutions": config.requested,
        "AvailableProvisionedConcurrentExecutions": status.allocated,
        "AllocatedProvisionedConcurrentExecutions": status.allocated,
        "Status": status.state,
        "LastModified": last_modified(config.updated_at),
    }
    return shown | ({"StatusReason": status.reason} if status.reason else {})
