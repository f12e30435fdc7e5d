"""`lateen rollback` without an alias: which version the function becomes."""

from collections.abc import Callable
from typing import Any

import pytest

from .conftest import Ended, Server, listed

AS_IT_IS: dict[str, Any] = {
    "description": "Says hello",
    "runtime": "python3.12",
    "handler": "code.handler",
    "image": None,
    "image_config": None,
    "environment": {},
    "timeout": 3,
    "memory": 128,
    "concurrency": 10,
    "layers": [],
    "code_sha256": "2222",
    "logging_config": {"log_format": "Text", "application_log_level": None, "system_log_level": None},
    "role": None,
}


@pytest.mark.parametrize(
    ("changed", "number"),
    [
        ({"description": "release 2"}, "1"),
        ({"layers": ["arn:aws:lambda:us-east-1:123456789012:layer:base:1"]}, "2"),
    ],
)
def test_the_newest_version_that_it_is_not(
    lateen: Server, ended: Callable[..., Ended], changed: dict[str, Any], number: str
) -> None:
    """A version's own description makes it no other one; its layers do."""
    lateen.has_function(**AS_IT_IS, url="http://lateen.example/f")
    versions = [AS_IT_IS | {"version": "1", "code_sha256": "1111"}, AS_IT_IS | {"version": "2"} | changed]
    lateen.answers["GET /api/functions/f1/versions"] = listed(versions)
    lateen.answers[f"POST /api/functions/f1/versions/{number}/restore"] = {"url": "http://lateen.example/f"}
    code, _, said = ended("rollback", "hello", "--no-wait")
    assert (code, said) == (0, f"'hello' is what version {number} is\n")
