"""Errors as AWS tells them: a code, a text, and the shape on the wire of services that speak REST with JSON."""

from typing import Any

import msgspec

from lateen.domain.errors import (
    AlreadyExists,
    Conflict,
    Forbidden,
    InvalidInput,
    LateenError,
    NotFound,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from lateen.ports.queue import TenantFull


class AwsError(Exception):
    """A refusal that AWS's own clients understand.

    Args:
        code: such as `ResourceNotFoundException`; clients make their exceptions of it.
        more: further members of the body.
    """

    def __init__(self, code: str, message: str | None, *, status: int = 400, **more: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.more = more

    def body(self) -> bytes:
        """Lambda says `Message` where something is missing, else `message`; its front end leaves `Type` out."""
        spelling = "Message" if self.code in _CAPITAL else "message"
        kind = {} if self.code in _FRONT_END else {"Type": "Service" if self.status >= 500 else "User"}
        text = {} if self.message is None else {spelling: self.message}
        return msgspec.json.encode(kind | text | self.more)


_CAPITAL = frozenset({"ResourceNotFoundException", "AccessDeniedException"})
_FRONT_END = frozenset(
    {
        "ValidationException",
        "SerializationException",
        "MissingAuthenticationTokenException",
        "InvalidSignatureException",
        "IncompleteSignatureException",
        "UnrecognizedClientException",
        "UnknownOperationException",
        "AccessDeniedException",
    }
)

BUSY = "The service is currently unavailable. Try again in a moment."


def not_found(text: str) -> AwsError:
    return AwsError("ResourceNotFoundException", text, status=404)


def function_not_found(arn: str) -> AwsError:
    return not_found(f"Function not found: {arn}")


def no_such_resource() -> AwsError:
    return not_found("The resource you requested does not exist.")


def conflict(text: str) -> AwsError:
    return AwsError("ResourceConflictException", text, status=409)


def invalid(text: str) -> AwsError:
    return AwsError("InvalidParameterValueException", text)


def functions_only() -> AwsError:
    return invalid(
        "This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. "
        "Please specify either a function name or an unqualified function ARN."
    )


def validation(problems: list[str]) -> AwsError:
    """Args:
    problems: `Value 'x' at 'y' failed to satisfy constraint: …`, each.
    """
    count = f"{len(problems)} validation error{'s' if len(problems) > 1 else ''} detected: "
    return AwsError("ValidationException", count + "; ".join(problems))


def wrong_revision() -> AwsError:
    text = (
        "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve "
        "the latest Revision Id"
    )
    return AwsError("PreconditionFailedException", text, status=412)


def request_too_large(limit: int, operation: str) -> AwsError:
    text = f"Request must be smaller than {limit} bytes for the {operation} operation"
    return AwsError("RequestEntityTooLargeException", text, status=413)


def unknown_operation(name: str | None) -> AwsError:
    """Args:
    name: of an operation that AWS has, and this installation has not.
    """
    text = f"{name} is not offered by this installation." if name else None
    return AwsError("UnknownOperationException", text, status=404)


def not_offered(what: str) -> AwsError:
    """For settings that Lateen could not keep: refused, for what is stored and not done is a trap."""
    return invalid(f"{what} is not offered by this installation.")


def service_error() -> AwsError:
    return AwsError("ServiceException", "Something went wrong here; the log has it under this request id.", status=500)


def error_from(exc: LateenError) -> AwsError:
    """What a use case refuses, where no operation has said it better."""
    text = str(exc)
    match exc:
        case InvalidInput():
            return invalid(text)
        case NotFound():
            return not_found(text)
        case AlreadyExists() | Conflict():
            return conflict(text)
        case TooLarge():
            return AwsError("RequestEntityTooLargeException", text, status=413)
        case Unauthenticated():
            return AwsError(
                "UnrecognizedClientException", "The security token included in the request is invalid.", status=403
            )
        case Forbidden():
            return AwsError("AccessDeniedException", text, status=403)
        case TenantFull():
            return AwsError("TooManyRequestsException", text, status=429, Reason="CallerRateLimitExceeded")
        case Unavailable():
            return AwsError("ServiceUnavailableException", BUSY, status=503)
        case _:
            return service_error()
