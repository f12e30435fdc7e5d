"""Names and ids: what they may be made of, and how new ids are made.

The patterns are public so that the API's structs can carry them into the OpenAPI document. `\\Z`, not `$`, which would
let a trailing newline in.
"""

import base64
import re
import secrets

from lateen.domain.errors import InvalidInput

NAME = r"^[A-Za-z0-9_-]{1,64}\Z"
"""Of a function or a workspace."""
ID = r"^[a-z0-9-]{1,40}\Z"
HASH = r"^[0-9a-f]{32}\Z"
ACCOUNT_ID = r"^[0-9]{12}\Z"
HANDLER_LENGTH = 128
_UNSEEN = r"\s\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff"
"""Spaces, controls, marks that turn the order of characters around, halves of characters."""
HANDLER = rf"^(?=.{{1,{HANDLER_LENGTH}}}\Z)(?!-)(?!/(?!opt/|var/task/))(?!(.*/)?\.\.(/|\Z))[^{_UNSEEN}]+\Z"
"""What AWS takes, which is any character but spaces: what a handler means is the runtime's to say. But it is no option
of a command that it is part of, absolute only where a function's code and layers lie, climbs out of no folder, and is
shown by logs and terminals as what it is."""
RUNTIME = r"^[A-Za-z0-9][A-Za-z0-9.-]{0,39}\Z"
IDEMPOTENCY_KEY = r"^[\x21-\x7e]{1,255}\Z"
DESCRIPTION_LENGTH = 256
DESCRIPTION = r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]*\Z"
"""Any text but control characters, which would reach people's terminals; tabs and newlines are fine."""

_NAME, _ID, _HASH, _HANDLER, _ACCOUNT, _DESCRIPTION = (
    re.compile(pattern) for pattern in (NAME, ID, HASH, HANDLER, ACCOUNT_ID, DESCRIPTION)
)


def check_name(name: str, field: str = "name") -> None:
    if not _NAME.match(name):
        raise InvalidInput(field, "1 to 64 letters, digits, '-' and '_'")


def check_handler(handler: str) -> None:
    if not _HANDLER.match(handler):
        raise InvalidInput(
            "handler",
            f"a module and a name such as 'app.handler': 1 to {HANDLER_LENGTH} characters, no spaces or control "
            "characters, no '..' as a folder, absolute only below /opt/ and /var/task/, and no '-' at its beginning",
        )


def check_description(text: str) -> None:
    if len(text) > DESCRIPTION_LENGTH:
        raise InvalidInput("description", f"at most {DESCRIPTION_LENGTH} characters")
    if not _DESCRIPTION.match(text):
        raise InvalidInput("description", "no control characters")


def is_id(text: str) -> bool:
    return _ID.match(text) is not None


def is_hash(text: str) -> bool:
    return _HASH.match(text) is not None


def is_account_id(text: str) -> bool:
    return _ACCOUNT.match(text) is not None


def new_id() -> str:
    """17 characters `[a-z2-7]`, 85 random bits."""
    return base64.b32encode(secrets.token_bytes(11)).decode().lower()[:17]


def new_hash() -> str:
    """128 random bits: for an open function, knowing it is being allowed to call it."""
    return secrets.token_hex(16)


def new_account_id() -> str:
    """12 digits; never a leading zero, which spreadsheets and numbers lose."""
    return str(100_000_000_000 + secrets.randbelow(900_000_000_000))
