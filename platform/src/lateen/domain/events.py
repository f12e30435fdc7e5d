"""Asynchronous invocations: how often an event is tried, for how long, and where what became of it goes.

The rules are AWS Lambda's: an error of the function is tried again up to twice, after one minute and after two; a
function that has no room, or does not answer, is tried again for as long as the event lives, and no try of that kind
counts.
"""

import re
from typing import Literal

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from lateen.domain.errors import InvalidInput

EVENT_LIMIT_BYTES = 1_048_576
RETRY_ATTEMPTS = (0, 2)
EVENT_AGE_S = (60, 21_600)
RETRY_WAITS_S = (60.0, 120.0)
"""After the first error of the function, and after the second one."""
FIRST_HOLDUP_S, LAST_HOLDUP_S = 1.0, 300.0
HOP_LIMIT = 16
"""Events that functions' destinations have made out of one: then it is taken for a loop."""
DEAD_LETTER_DAYS = 14

Condition = Literal["Success", "RetriesExhausted", "EventAgeExceeded", "ZeroReservedConcurrency"]
"""Why an event has ended; AWS's words."""

ARN_LENGTH = 350
DESTINATIONS = ("lambda", "sqs", "sns", "s3", "events")
"""Services that AWS lets be told; here only functions are."""
_ARN = re.compile(
    r"^arn:(aws[a-zA-Z0-9-]*):([a-zA-Z0-9-]+):([a-z]{2}(-gov)?(-iso[a-z]?)?-[a-z]+-\d{1})?:(\d{12})?:([\x21-\x7e]*)\Z"
)
FUNCTION_ARN = (
    r"^arn:aws[a-zA-Z0-9-]*:lambda:[a-z0-9-]*:([0-9]{12}):function:([A-Za-z0-9_-]{1,64})"
    r"(?::(\$LATEST|[A-Za-z0-9_-]{1,128}))?\Z"
)
_FUNCTION_ARN = re.compile(FUNCTION_ARN)


class FunctionRef(Struct, frozen=True):
    """What a function's ARN names. `qualifier`: a version or an alias, where it names one."""

    account_id: str
    name: str
    qualifier: str | None


class EventInvokeConfig(Struct, frozen=True, kw_only=True):
    """What was set for one qualifier of a function; None: AWS's default."""

    qualifier: str
    maximum_retry_attempts: int | None = None
    maximum_event_age_s: int | None = None
    on_success: str | None = None
    """ARN of what the record of a success is sent to."""
    on_failure: str | None = None
    updated_at_s: float = 0.0
    """Unix time."""

    @property
    def retries(self) -> int:
        return RETRY_ATTEMPTS[1] if self.maximum_retry_attempts is None else self.maximum_retry_attempts

    @property
    def age_s(self) -> int:
        return EVENT_AGE_S[1] if self.maximum_event_age_s is None else self.maximum_event_age_s


class EventInvokeChange(Struct, frozen=True, kw_only=True):
    """What an update says; `UNSET` leaves as it is, None takes back to the default."""

    maximum_retry_attempts: int | UnsetType | None = UNSET
    maximum_event_age_s: int | UnsetType | None = UNSET
    on_success: str | UnsetType | None = UNSET
    on_failure: str | UnsetType | None = UNSET

    def applied_to(self, config: EventInvokeConfig) -> EventInvokeConfig:
        given = {name: getattr(self, name) for name in self.__struct_fields__ if getattr(self, name) is not UNSET}
        return replace(config, **given)


def function_arn(region: str, account_id: str, name: str, qualifier: str | None) -> str:
    arn = f"arn:aws:lambda:{region}:{account_id}:function:{name}"
    return arn if qualifier is None else f"{arn}:{qualifier}"


def function_of(arn: str) -> FunctionRef | None:
    """None: it is no function's."""
    found = _FUNCTION_ARN.match(arn)
    return None if found is None else FunctionRef(found[1], found[2], found[3])


def check_config(config: EventInvokeConfig, *, account_id: str, name: str) -> None:
    """Args:
        account_id, name: the function's.
    Raises: `InvalidInput` that names the field as AWS does.
    """
    for field, value, (lowest, highest) in (
        ("MaximumRetryAttempts", config.maximum_retry_attempts, RETRY_ATTEMPTS),
        ("MaximumEventAgeInSeconds", config.maximum_event_age_s, EVENT_AGE_S),
    ):
        if value is not None and not lowest <= value <= highest:
            raise InvalidInput(field, f"{lowest} to {highest}")
    for field, arn in (
        ("DestinationConfig.OnSuccess.Destination", config.on_success),
        ("DestinationConfig.OnFailure.Destination", config.on_failure),
    ):
        if arn is not None:
            _check_destination(field, arn, account_id=account_id, name=name)


def _check_destination(field: str, arn: str, *, account_id: str, name: str) -> None:
    if len(arn) > ARN_LENGTH or not (parts := _ARN.match(arn)):
        raise InvalidInput(field, f"an ARN of at most {ARN_LENGTH} characters")
    if parts[2] not in DESTINATIONS:
        raise InvalidInput(field, f"an ARN of one of: {', '.join(DESTINATIONS)}")
    if parts[2] != "lambda":
        return
    function = function_of(arn)
    if function is None:
        raise InvalidInput(field, "of Lambda's ARNs only a function's can be a destination")
    if function.account_id != account_id:
        raise InvalidInput(field, "a function of another account can't be a destination")
    if function.name == name:
        raise InvalidInput(field, "You can't specify the function as a destination for itself.")


def holdup_s(number: int) -> float:
    """How long an event waits that a function had no room for. `number`: how often that was so before, in a row."""
    return min(LAST_HOLDUP_S, FIRST_HOLDUP_S * 2.0 ** min(number, 16))
