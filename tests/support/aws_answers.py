"""Whether an answer on the wire is one that AWS's model allows: members known, of their types, within constraints."""

import json
import re
from typing import Any

from botocore.model import OperationModel, Shape

EMPTY = frozenset({"GetFunctionCodeSigningConfig"})
"""Answer `{}` on AWS where there is nothing, whatever the model requires."""
OUTSIDE = frozenset({("LastUpdateStatusReasonCode", "Creating")})
"""What AWS answers though its own model's enum lacks it."""
COMMON = frozenset(
    {
        "AccessDeniedException", "IncompleteSignatureException", "InvalidSignatureException",
        "MissingAuthenticationTokenException", "RequestEntityTooLargeException", "SerializationException",
        "ServiceUnavailableException", "UnknownOperationException", "UnrecognizedClientException",
        "ValidationException",
    }
)  # fmt: skip
"""Errors of AWS's front end, which the model doesn't name."""


def problems(operation: OperationModel, status: int, headers: dict[str, str], body: bytes) -> list[str]:
    """Of one answer; none: it is right."""
    found: list[str] = []
    if not headers.get("x-amzn-requestid"):
        found.append("no x-amzn-RequestId")
    if status >= 300:
        return found + _error_problems(operation, status, headers, body)
    shape = operation.output_shape
    payload = shape.serialization.get("payload") if shape is not None else None
    if shape is None or payload is not None or status in (202, 204):
        return found
    document = json.loads(body) if body else {}
    for name in shape.required_members if operation.name not in EMPTY else ():
        if name not in document and not shape.members[name].serialization.get("location"):
            found.append(f"{name} is missing")
    _structure(shape, document, operation.name, found)
    return found


def _error_problems(operation: OperationModel, status: int, headers: dict[str, str], body: bytes) -> list[str]:
    code = headers.get("x-amzn-errortype", "")
    known = {shape.name: shape for shape in operation.error_shapes}
    if code in COMMON:
        return []
    if code not in known:
        return [f"{operation.name} does not answer with {code!r}"]
    found: list[str] = []
    _structure(known[code], json.loads(body), code, found)
    if (stated := known[code].metadata.get("error", {}).get("httpStatusCode")) != status:
        found.append(f"{code} has status {stated}, not {status}")
    return found


def _structure(shape: Shape, document: Any, path: str, found: list[str]) -> None:
    if not isinstance(document, dict):
        found.append(f"{path} is no object")
        return
    names = {each.serialization.get("name", name): each for name, each in shape.members.items()}
    for name, value in document.items():
        if name not in names:
            found.append(f"{path}.{name} is unknown")
        else:
            _value(names[name], value, f"{path}.{name}", found)


def _value(shape: Shape, value: Any, path: str, found: list[str]) -> None:
    kind = shape.type_name
    if kind == "structure":
        _structure(shape, value, path, found)
        return
    good = {
        "string": str, "blob": str, "integer": int, "long": int, "boolean": bool, "list": list, "map": dict,
        "timestamp": int | float | str, "double": int | float,
    }[kind]  # fmt: skip
    if not isinstance(value, good):
        found.append(f"{path} is {type(value).__name__}, not {kind}")
        return
    if kind == "list":
        for number, each in enumerate(value):
            _value(shape.member, each, f"{path}[{number}]", found)
    elif kind == "map":
        for name, each in value.items():
            _value(shape.value, each, f"{path}[{name}]", found)
    elif kind == "string":
        _text(shape, value, path, found)
    elif kind in ("integer", "long"):
        low, high = shape.metadata.get("min"), shape.metadata.get("max")
        if (low is not None and value < low) or (high is not None and value > high):
            found.append(f"{path} is {value}")


def _text(shape: Shape, value: str, path: str, found: list[str]) -> None:
    if shape.enum and value not in shape.enum and (shape.name, value) not in OUTSIDE:
        found.append(f"{path} is {value!r}, which is not in the enum")
    pattern = shape.metadata.get("pattern")
    if pattern and r"\p{" not in pattern and not re.fullmatch(pattern, value):
        found.append(f"{path} is {value!r}, not of the form {pattern}")
