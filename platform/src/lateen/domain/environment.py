"""Environment variables of a function: which names and sizes are accepted."""

import json
import re
from collections.abc import Mapping

from lateen.domain.errors import InvalidInput

MAX_BYTES = 4096
RESERVED = frozenset(
    {
        "_HANDLER",
        "_X_AMZN_TRACE_ID",
        "AWS_DEFAULT_REGION",
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_LAMBDA_RUNTIME_API",
        "AWS_REGION",
        "LAMBDA_RUNTIME_DIR",
        "LAMBDA_TASK_ROOT",
    }
)
"""The platform sets them. Source: AWS Lambda Developer Guide, "Defined runtime environment variables". Those of
credentials, which AWS has among them, are the user's to set: no role gives any by variables here."""

_NAME = re.compile(r"^[A-Za-z][A-Za-z0-9_]*\Z")


def check_environment(environment: Mapping[str, str]) -> None:
    """Raises: `InvalidInput` whose field is `environment` or `environment.NAME`; it never quotes a value."""
    for name, value in environment.items():
        if name in RESERVED:
            raise InvalidInput(f"environment.{name}", "reserved: the platform sets it")
        if not _NAME.match(name):
            shown = name[:64].encode("ascii", "backslashreplace").decode()
            raise InvalidInput(f"environment.{shown}", "a name is a letter, then letters, digits and '_'")
        if "\0" in value:
            raise InvalidInput(f"environment.{name}", "no NUL characters")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidInput(f"environment.{name}", "not valid Unicode") from None
    # AWS measures the map as compact JSON.
    if len(json.dumps(dict(environment), separators=(",", ":"), ensure_ascii=False).encode()) > MAX_BYTES:
        raise InvalidInput("environment", f"all variables together are more than {MAX_BYTES} bytes (as JSON)")
