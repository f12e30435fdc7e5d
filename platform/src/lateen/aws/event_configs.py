"""What is set for asynchronous invocations of a function, by qualifier."""

from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import UNSET, UnsetType

from lateen.aws.calls import Answer, Call, operation
from lateen.aws.configurations import Shown
from lateen.aws.errors import AwsError, invalid, not_found
from lateen.aws.finding import Finding
from lateen.aws.references import Reference
from lateen.domain.errors import InvalidInput, NotFound
from lateen.domain.events import EventInvokeChange, EventInvokeConfig, function_of
from lateen.domain.functions import LATEST, Function
from lateen.domain.pages import DEFAULT_LIMIT
from lateen.services.event_configs import EventConfigs

_SETTINGS = ("MaximumRetryAttempts", "MaximumEventAgeInSeconds", "DestinationConfig")
Change = Callable[[Function, str, EventInvokeChange], Awaitable[EventInvokeConfig]]


class EventConfigOperations:
    def __init__(self, finding: Finding, *, configs: EventConfigs) -> None:
        self._finding = finding
        self._configs = configs

    @operation("PutFunctionEventInvokeConfig")
    async def put(self, call: Call) -> Answer:
        return await self._change(call, self._configs.put, absent=None)

    @operation("UpdateFunctionEventInvokeConfig")
    async def update(self, call: Call) -> Answer:
        return await self._change(call, self._configs.update, absent=UNSET)

    @operation("GetFunctionEventInvokeConfig")
    async def get(self, call: Call) -> Answer:
        reference = call.reference(qualifier=True)
        try:
            function = (await self._finding.draft(call, reference)).function
            config = await self._configs.get(function, reference.version)
        except (AwsError, NotFound):
            raise _none_for(reference) from None
        return Answer(body=_shown(config, reference))

    @operation("DeleteFunctionEventInvokeConfig")
    async def delete(self, call: Call) -> Answer:
        reference = call.reference(qualifier=True)
        try:
            function = (await self._finding.draft(call, reference)).function
            await self._configs.delete(function, reference.version)
        except (AwsError, NotFound):
            raise _none_for(reference) from None
        return Answer(status=204)

    @operation("ListFunctionEventInvokeConfigs")
    async def list(self, call: Call) -> Answer:
        reference = call.reference()
        function = (await self._finding.draft(call, reference)).function
        try:
            page = await self._configs.list(
                function,
                limit=min(call.parameters.get("MaxItems", DEFAULT_LIMIT), DEFAULT_LIMIT),
                cursor=call.parameters.get("Marker") or None,
            )
        except InvalidInput:
            raise invalid("Invalid Marker.") from None
        body: dict[str, Any] = {"FunctionEventInvokeConfigs": [_shown(each, reference) for each in page.items]}
        return Answer(body=body | ({"NextMarker": page.cursor} if page.cursor else {}))

    async def _change(self, call: Call, change: Change, *, absent: UnsetType | None) -> Answer:
        """`absent`: what a setting becomes that is not given."""
        reference = call.reference(qualifier=True)
        given = call.parameters
        if not any(name in given for name in _SETTINGS):
            raise invalid("You must specify at least one of error handling or destination setting.")
        try:
            function = (await self._finding.found(call, reference)).function
        except AwsError as exc:
            raise not_found("The function doesn't exist.") from exc
        asked = _asked(given, absent)
        for arn in (asked.on_success, asked.on_failure):
            if isinstance(arn, str):
                await self._check_destination(call, arn)
        try:
            config = await change(function, reference.version, asked)
        except NotFound:
            raise _none_for(reference) from None
        except InvalidInput as exc:
            raise invalid(f"The provided destination config is not valid: {exc}") from exc
        return Answer(body=_shown(config, reference))

    async def _check_destination(self, call: Call, arn: str) -> None:
        """Raises: `AwsError` for a function that isn't there. REST takes one: templates may make it later."""
        target, wrong = function_of(arn), invalid(f"The destination ARN {arn} is invalid.")
        if target is None or target.account_id != call.place.account_id:
            return  # refused, where it has to be, by what else is checked
        if arn.split(":")[3] != call.place.region:
            raise wrong
        try:
            await self._finding.draft(call, Reference(target.name, None, call.place))
        except AwsError:
            raise wrong from None


def _asked(given: dict[str, Any], absent: UnsetType | None) -> EventInvokeChange:
    destinations = given.get("DestinationConfig")

    def destination(name: str) -> str | UnsetType | None:
        if destinations is None:
            return absent
        if name not in destinations:
            return absent
        return destinations[name].get("Destination") or None

    return EventInvokeChange(
        maximum_retry_attempts=given.get("MaximumRetryAttempts", absent),
        maximum_event_age_s=given.get("MaximumEventAgeInSeconds", absent),
        on_success=destination("OnSuccess"),
        on_failure=destination("OnFailure"),
    )


def _shown(config: EventInvokeConfig, reference: Reference) -> Shown:
    def destination(arn: str | None) -> Shown:
        return {} if arn is None else {"Destination": arn}

    shown: Shown = {
        "LastModified": round(config.updated_at_s, 3),
        "FunctionArn": reference.place.arn(reference.name, config.qualifier),
        "DestinationConfig": {"OnSuccess": destination(config.on_success), "OnFailure": destination(config.on_failure)},
    }
    if config.maximum_retry_attempts is not None:
        shown["MaximumRetryAttempts"] = config.maximum_retry_attempts
    if config.maximum_event_age_s is not None:
        shown["MaximumEventAgeInSeconds"] = config.maximum_event_age_s
    return shown


def _shown_arn(reference: Reference) -> str:
    return reference.place.arn(reference.name, reference.qualifier or LATEST)


def _none_for(reference: Reference) -> AwsError:
    return not_found(f"The function {_shown_arn(reference)} doesn't have an EventInvokeConfig")
