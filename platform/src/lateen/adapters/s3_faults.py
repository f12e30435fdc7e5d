"""What a failed call of S3 means."""

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    FlexibleChecksumError,
    NoCredentialsError,
    PartialCredentialsError,
    SSLError,
)
from botocore.parsers import ResponseParserError

from lateen.adapters.aws_client import ClientClosed, ClientFault

EXPECTED = (BotoCoreError, ClientError, ResponseParserError, OSError, ClientFault)
"""What a call may raise; `OSError` is a credentials file's, or the end of the time."""

_CREDENTIALS = {"ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch", "TokenRefreshRequired"}
_BUSY = {"SlowDown", "ServiceUnavailable", "RequestLimitExceeded", "Throttling", "TooManyRequests", "503"}


def is_missing(exc: Exception) -> bool:
    return _code(exc) == "NoSuchKey"


def is_folder_in_the_way(exc: BaseException | None) -> bool:
    """Of servers that keep blobs in folders. It passes where a neighbour was removed at the same moment."""
    return _code(exc) in ("ExistingObjectIsDirectory", "ObjectParentIsFile")


def are_credentials_refused(exc: Exception) -> bool:
    return isinstance(exc, NoCredentialsError | PartialCredentialsError) or _code(exc) in _CREDENTIALS


def words_for(exc: Exception) -> str:
    """For a caller who may not see the driver's text."""
    if are_credentials_refused(exc):
        return "the bucket's credentials are missing or refused"
    match exc:
        case ClientClosed():
            return "the store is closed"
        case FlexibleChecksumError():
            return "the blob came damaged"
        case ClientError() if _code(exc) in ("NoSuchBucket", "404"):
            return "the bucket does not exist"
        case ClientError() if _code(exc) in _BUSY:
            return "the bucket is busy"
        case ClientError() if exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500) < 500:
            return "the bucket refuses the platform"
        case SSLError() | ClientFault():
            return "the bucket cannot be reached with these settings"
        case _:
            return "the bucket does not answer"


def _code(exc: BaseException | None) -> str:
    return str(exc.response.get("Error", {}).get("Code", "")) if isinstance(exc, ClientError) else ""
