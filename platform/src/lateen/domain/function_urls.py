"""The URLs that AWS's tools configure: a function's own, and one of each of its aliases.

A URL is open, or asks for AWS's signature, or is nobody's to call: AuthType NONE needs a statement of the resource
policy besides, which lets everybody call it.
"""

from collections.abc import Sequence
from typing import Any, Literal

from msgspec import Struct

from lateen_invoker.urls import PLAIN, UrlSettings

AuthType = Literal["NONE", "AWS_IAM"]
Statement = dict[str, Any]
"""Of a resource policy, as AWS writes them."""

_ACTIONS = frozenset({"lambda:InvokeFunctionUrl", "lambda:*", "*"})


class FunctionUrl(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What of a URL matters to calls."""

    auth_type: AuthType = "NONE"
    settings: UrlSettings = PLAIN


class UrlConfig(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """That AWS's tools have given a function, or an alias, a URL. Times in ISO 8601."""

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
