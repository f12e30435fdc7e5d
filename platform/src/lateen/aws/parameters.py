"""From a routed request to an operation's parameters, by the model's names. Constraints come later."""

from typing import Any

import msgspec

from lateen.aws.errors import AwsError
from lateen.aws.model import Model, Operation
from lateen.aws.routing import Routed
from lateen.domain.sigv4 import Headers

LARGE, MANY = 1024 * 1024, 100_000
"""A body of more bytes than that is large because of the code in it, which is one text, and has fewer commas."""


def parameters_of(model: Model, operation: Operation, routed: Routed, headers: Headers, body: bytes) -> dict[str, Any]:
    """Raises: `AwsError`. What the model doesn't know is left out, as AWS does; a payload is left to the operation."""
    if operation.input is None:
        return {}
    shape = model.shapes[operation.input]
    given = {name.decode("latin-1"): value for name, value in headers}
    document = _document(body) if shape.payload is None else {}
    found: dict[str, Any] = {}
    for name, member in shape.members.items():
        wire = member.location_name or name
        value: Any = None
        if member.location == "uri":
            label = routed.labels.get(wire)
            value = None if label is None else _converted(model.shapes[member.shape].type, label)
        elif member.location == "querystring":
            if (texts := routed.query.get(wire)) is not None:
                kind = model.shapes[member.shape].type
                value = texts if kind == "list" else _converted(kind, texts[-1])
        elif member.location == "header":
            raw = given.get(wire.lower())
            if raw is not None:
                value = _converted(model.shapes[member.shape].type, raw.decode("latin-1"))
        elif name != shape.payload:
            value = _without_nulls(model, member.shape, document.get(wire))
        if value is not None:
            found[name] = value
    return found


def _without_nulls(model: Model, name: str, value: Any) -> Any:
    """A structure's member that is null is one that isn't there. In lists and maps null is a value, refused later."""
    shape = model.shapes[name]
    if shape.type == "list" and isinstance(value, list):
        return [_without_nulls(model, str(shape.member), each) for each in value]
    if not isinstance(value, dict):
        return value
    if shape.type == "map":
        return {key: _without_nulls(model, str(shape.value), each) for key, each in value.items()}
    members = shape.members
    return {
        key: _without_nulls(model, members[key].shape, each) if key in members else each
        for key, each in value.items()
        if each is not None
    }


def _document(body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    if len(body) > LARGE and body.count(b",") > MANY:
        # Small parts take twenty times as much memory as they took to send.
        raise AwsError("SerializationException", "The body has too many parts")
    try:
        document = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError) as exc:
        raise AwsError("SerializationException", "The body is not JSON") from exc
    if not isinstance(document, dict):
        raise AwsError("SerializationException", "Unexpected value where an object is needed")
    return document


def _converted(kind: str, text: str) -> Any:
    """Of a query or a header."""
    if kind in ("integer", "long"):
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) < 19):
            raise AwsError("SerializationException", "STRING_VALUE can not be converted to an Integer")
        return int(text)
    if kind == "boolean":
        if text.lower() not in ("true", "false"):
            raise AwsError("SerializationException", "STRING_VALUE can not be converted to a Boolean")
        return text.lower() == "true"
    return text
