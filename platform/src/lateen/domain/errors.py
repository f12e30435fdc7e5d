"""Refusals that a caller may read. Adapters translate a driver's errors into these at their edge."""


class LateenError(Exception):
    """A refusal in words a caller may read. Never carries a driver's text."""


class NotFound(LateenError):
    """It does not exist, or it is not the caller's to see: the answer is the same."""


class AlreadyExists(LateenError):
    """A name that must be unique is taken."""


class Conflict(LateenError):
    """The thing is in a state that forbids this."""


class RevisionMismatch(LateenError):
    """The caller's revision (`If-Match`) is not the current one."""


class InvalidInput(LateenError):
    """A field's value is refused. `field` is its path in the request, such as `environment.PATH`."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class TooLarge(LateenError):
    """More bytes than a stated limit."""


class Unauthenticated(LateenError):
    """No key, or one that is not known."""


class Forbidden(LateenError):
    """The key is known and may not do this."""


class Unavailable(LateenError):
    """A store or a part of the platform does not answer at the moment; the call may be repeated."""
