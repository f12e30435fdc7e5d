"""For schemathesis: what a well-formed request may still be refused for, because no schema can say it.

Its own check of valid data only knows statuses; this one looks at which field was refused. Loaded by
`test_schemathesis.py` through schemathesis' configuration.
"""

from typing import Any

import schemathesis

BEYOND_A_SCHEMA = {
    "cursor",  # sealed: one that this list gave out
    "runtime", "version",  # of those that are installed
    "code", "file", "content",  # Base64 of UTF-8 text or of a safe zip
    "code_s3", "content_s3",  # what lies in a bucket, and that a key leads to nowhere else
    "layers",  # of those that are there, each once
    "on_success", "on_failure",  # another function of the same account
    "image", "image_config",  # only in a cluster
    "If-Match",  # its pattern is more than the generator can follow: it sends an empty one as valid
    "environment",  # its size as a whole, and reserved names
    "reserved_concurrency", "requested",  # all functions of a workspace together have a limit
    "auth",  # `none` only where the URL has no settings of its own
    "cors",  # its size as a whole
    "logging_config",  # levels only beside the format JSON
    "routing",  # only beside a published version
    "variables",  # those that a runtime's builds understand, of which runtimes there are
}  # fmt: skip


@schemathesis.check
def refused_for_what_a_schema_says(ctx: Any, response: Any, case: Any) -> None:
    """A request that the document allows is taken, or the refusal names a field that no schema can describe."""
    if (
        case.meta is None
        or not case.meta.generation.mode.is_positive
        or response.status_code not in (400, 412, 415, 422)
    ):
        return
    problem = response.json()
    if response.status_code == 412:
        assert case.headers.get("If-Match"), "412 without If-Match"
        return
    assert problem["errors"], problem
    # 85.0 is an integer to JSON Schema, and none to most who write or read JSON.
    errors = [error for error in problem["errors"] if error["reason"] != "expected `int`, got `float`"]
    refused = {error["field"].split(".")[0] for error in errors}
    assert refused <= BEYOND_A_SCHEMA, f"valid by the document, but refused: {problem['detail']}"


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Nobody waits for records of calls that were never made: all of the time would go there."""
    given = case.query or {}
    if case.operation.definition.raw.get("operationId") == "getLog" and str(given.get("wait")) in map(
        str, range(1, 11)
    ):
        given["wait"] = 0
