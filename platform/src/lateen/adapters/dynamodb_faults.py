"""What a failed call of DynamoDB means: whether it may have happened all the same, and what its caller is told."""

from enum import Enum, auto
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    SSLError,
)
from botocore.parsers import ResponseParserError

from lateen.adapters.aws_client import ClientClosed, ClientFault
from lateen.adapters.dynamodb_wire import NotAnswered, NotSent

_CONDITION = "ConditionalCheckFailed"
_THROTTLED = {
    "ProvisionedThroughputExceeded",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ReplicatedWriteConflictException",
    "ThrottlingError",
    "ThrottlingException",
}
_CONTENDED = {"TransactionConflict", "TransactionConflictException", "TransactionInProgressException"}
_CREDENTIALS = {
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationTokenException",
    "UnrecognizedClientException",
}


class Fault(Enum):
    CONDITION = auto()
    """A condition did not hold. Nothing was written by this attempt."""
    CONTENDED = auto()
    """A transaction on the same items was under way. Nothing was written by this attempt."""
    THROTTLED = auto()
    """Too much at the moment. Nothing was written."""
    NOT_SENT = auto()
    """There was no connection. Nothing was written."""
    UNKNOWN = auto()
    """No answer, or one that tells of a failure inside: it may have been written."""
    CREDENTIALS = auto()
    """None, or refused as such; new ones may have been put in their place."""
    INVALID = auto()
    """DynamoDB doesn't accept such a request."""
    FINAL = auto()
    """It will be the same again: no table, no permission, a certificate."""


def fault_of(exc: Exception) -> Fault:
    match exc:
        case ClientError():
            return _fault_of_answer(exc)
        case NoCredentialsError() | PartialCredentialsError():
            return Fault.CREDENTIALS
        case SSLError() | ClientFault():
            return Fault.FINAL
        case NotSent():
            return Fault.NOT_SENT
        case NotAnswered() | ResponseParserError() | HTTPClientError() | TimeoutError():
            return Fault.UNKNOWN
        case _:  # a credential provider's own errors
            return Fault.FINAL


def loser_of(exc: ClientError) -> int:
    """The place in its transaction of the first operation whose condition did not hold."""
    return [reason.get("Code") for reason in _reasons(exc)].index(_CONDITION)


def words_for(exc: Exception) -> str:
    """For a caller who may not see the driver's text."""
    if isinstance(exc, ClientError) and exc.response["Error"].get("Code") == "ResourceNotFoundException":
        return "the table does not exist"
    match fault_of(exc):
        case Fault.CREDENTIALS:
            return "the table's credentials are missing or refused"
        case Fault.THROTTLED | Fault.CONTENDED:
            return "the table is busy"
        case Fault.FINAL if isinstance(exc, ClientClosed):
            return "the store is closed"
        case Fault.FINAL if isinstance(exc, SSLError | ClientFault):
            return "the table cannot be reached with these settings"
        case Fault.FINAL:
            return "the table refuses the platform"
        case _:
            return "the table does not answer"


EXPECTED = (BotoCoreError, ClientError, ResponseParserError, OSError, ClientFault, NotSent, NotAnswered)
"""What a call may raise; `OSError` is a credentials file's, or the end of the time."""


def _fault_of_answer(exc: ClientError) -> Fault:
    code = exc.response.get("Error", {}).get("Code", "")
    if code == "TransactionCanceledException":
        codes = {reason.get("Code") for reason in _reasons(exc)} - {None, "None"}
        if _CONDITION in codes:
            return Fault.CONDITION
        if codes & _CONTENDED:
            return Fault.CONTENDED
        return Fault.THROTTLED if codes & _THROTTLED else Fault.INVALID
    if code == "ConditionalCheckFailedException":
        return Fault.CONDITION
    if code in _CONTENDED:
        return Fault.CONTENDED
    if code in _THROTTLED:
        return Fault.THROTTLED
    if code in _CREDENTIALS:
        return Fault.CREDENTIALS
    if code in ("ValidationException", "SerializationException", "ItemCollectionSizeLimitExceededException"):
        return Fault.INVALID
    if exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500) >= 500:
        return Fault.UNKNOWN
    return Fault.FINAL


def _reasons(exc: ClientError) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = exc.response.get("CancellationReasons", [])
    return found
