"""Says hello at the function's URL: `?name=Ada`."""

import os
from typing import Any

from politeness import polite


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    name = event.get("queryStringParameters", {}).get("name", "stranger")
    return {"statusCode": 200, "headers": {"content-type": "text/plain"}, "body": polite(os.environ["WORD"], name)}
