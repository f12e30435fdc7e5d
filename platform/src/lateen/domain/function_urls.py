"""The URLs that are configured: a function's own, and one of each of its aliases.

A URL is open, or asks for AWS's signature, or is nobody's to call: AuthType NONE needs a statement of the resource
policy besides, which lets everybody call it.
"""

from collections.abc import Sequence
from typing import Any, Literal

from msgspec import Struct

from lateen.domain.errors import InvalidInput
from lateen_invoker.urls import PLAIN, Cors, UrlSettings

AuthType = Literal["NONE", "AWS_IAM"]
Statement = dict[str, Any]
"""Of a resource policy, as AWS writes them."""

CORS_LIMIT = 16 * 1024
"""Characters. Of an alias's URL all of it goes with each call."""
CORS_LISTS = ("allow_origins", "allow_methods", "allow_headers", "expose_headers")
OPENING = "FunctionURLAllowPublicAccess"
"""The statement with which AWS's console opens a URL, and we do."""

_ACTIONS = frozenset({"lambda:InvokeFunctionUrl", "lambda:*", "*"})


class FunctionUrl(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What of a URL matters to calls."""

    auth_type: AuthType = "NONE"
    settings: UrlSettings = PLAIN


class UrlConfig(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """That a function, or an alias, was given a URL. Times in ISO 8601."""

    created_at: str
    updated_at: str
    url: FunctionUrl = FunctionUrl()


def is_open(config: UrlConfig, policy: Sequence[Statement]) -> bool:
    """Whether everybody may call it."""
    return config.url.auth_type == "NONE" and any(
        each["Effect"] == "Allow"
        and each["Principal"] == "*"
        and each["Action"] in _ACTIONS
        and each.get("Condition", {}) in ({}, {"StringEquals": {"lambda:FunctionUrlAuthType": "NONE"}})
        for each in policy
    )


def opened(policy: Sequence[Statement], arn: str) -> tuple[Statement, ...]:
    """The policy of what has this ARN, with the statement that lets everybody call its URL."""
    statement = {
        "Sid": OPENING,
        "Effect": "Allow",
        "Principal": "*",
        "Action": "lambda:InvokeFunctionUrl",
        "Resource": arn,
        "Condition": {"StringEquals": {"lambda:FunctionUrlAuthType": "NONE"}},
    }
    return (*without_opening(policy), statement)


def without_opening(policy: Sequence[Statement]) -> tuple[Statement, ...]:
    return tuple(each for each in policy if each["Sid"] != OPENING)


def check_cors(cors: Cors) -> None:
    """Raises: `InvalidInput` that names the field as the REST API does."""
    lists: dict[str, tuple[str, ...]] = {name: getattr(cors, name) or () for name in CORS_LISTS}
    for name, texts in lists.items():
        # They become header lines as they are.
        if not all(text.isascii() and text.isprintable() and "," not in text for text in texts):
            raise InvalidInput(f"cors.{name}", "can't be sent in a header")
    if sum(len(text) + 1 for texts in lists.values() for text in texts) > CORS_LIMIT:
        raise InvalidInput("cors", f"more than {CORS_LIMIT} characters")
