"""What AWS's front end checks of every request before the service sees it: types, then the model's constraints.

The texts are AWS's: `2 validation errors detected: Value '' at 'functionName' failed to satisfy constraint: …; …`.
"""

import re
from functools import cache
from typing import Any

from lateen.aws.errors import AwsError, validation
from lateen.aws.model import Model, Shape

_UNCHECKED = frozenset({"Runtime", "EnvironmentVariables", "Blob", "BlobStream"})
"""Lambda itself refuses these, in words of its own."""
_OF_LAYERS = "compatibleRuntime"
"""But not this one, by which listings of layers are filtered."""
_LONGEST = 16_384
"""Of a text that is compared with a pattern; every bounded one is shorter."""
_MOST = 100
"""Violations after which a list's members are not looked at any more: each that is told is longer than its cause."""
_PAST = {"integer": 2**31, "long": 2**63}
_NAMES = {"string": "STRING_VALUE", "integer": "NUMBER_VALUE", "boolean": "BOOLEAN_VALUE"}
_NOT_NULL = "Member must not be null"
_PLACES = {
    "string": "a String",
    "blob": "a String",
    "timestamp": "a Timestamp",
    "integer": "an Integer",
    "long": "a Long",
    "double": "a Double",
    "boolean": "a Boolean",
}


def check(model: Model, shape: str, parameters: dict[str, Any]) -> None:
    """Raises: `AwsError`: `SerializationException` for a wrong type, `ValidationException` for all else."""
    found: list[str] = []
    _structure(model, model.shapes[shape], parameters, "", found)
    if found:
        raise validation(found)


def _structure(model: Model, shape: Shape, given: dict[str, Any], path: str, found: list[str]) -> None:
    for name in shape.required:
        # What the whole body is may be empty.
        if given.get(name) is None and name != shape.payload:
            found.append(f"Value null at '{_at(path, name)}' failed to satisfy constraint: {_NOT_NULL}")
    for name, member in shape.members.items():
        if (value := given.get(name)) is not None:
            _value(model, member.shape, value, _at(path, name), found)


def _value(model: Model, name: str, value: Any, path: str, found: list[str]) -> None:
    shape = model.shapes[name]
    _check_type(shape, value)
    if name in _UNCHECKED and path != _OF_LAYERS:
        if isinstance(value, dict):
            for each in value.values():
                _check_type(model.shapes[str(shape.value)], each)
            if None in value.values():
                found.append(f"Value null at '{path}' failed to satisfy constraint: {_NOT_NULL}")
        return
    for constraint in _broken(shape, value):
        found.append(f"Value {_shown(value)} at '{path}' failed to satisfy constraint: {constraint}")
    if shape.type == "structure":
        _structure(model, shape, value, path, found)
    elif shape.type == "list":
        _members(model, str(shape.member), value, value, path, found)
    elif shape.type == "map":
        _members(model, str(shape.key), list(value), value, path, found, "Map keys")
        _members(model, str(shape.value), list(value.values()), value, path, found, "Map value")


def _members(
    model: Model, name: str, members: list[Any], whole: Any, path: str, found: list[str], what: str = "Member"
) -> None:
    """Of a list or a map: told once for all of it."""
    shape = model.shapes[name]
    if shape.type == "structure":
        for number, member in enumerate(members, 1):
            if len(found) >= _MOST:
                return
            place = f"{path}.{number}.member"
            _check_type(shape, member)
            if member is None:
                found.append(f"Value null at '{place}' failed to satisfy constraint: {_NOT_NULL}")
            else:
                _structure(model, shape, member, place, found)
        return
    broken: list[str] = []
    for member in members:
        _check_type(shape, member)
        broken += [text for text in _broken(shape, member) if text not in broken]
    if broken:
        constraints = ", ".join(broken)
        found.append(
            f"Value {_shown(whole)} at '{path}' failed to satisfy constraint: {what} must satisfy constraint: "
            f"[{constraints}]"
        )


def _broken(shape: Shape, value: Any) -> list[str]:
    """Constraints of one value that it does not satisfy."""
    if value is None:
        return [_NOT_NULL]
    texts = []
    size = value if isinstance(value, int | float) else len(value) if shape.type != "structure" else 0
    kind = "value" if isinstance(value, int | float) else "length"
    if shape.enum and value not in shape.enum:
        texts.append(f"Member must satisfy enum value set: [{', '.join(shape.enum)}]")
    if shape.max is not None and size > shape.max:
        texts.append(f"Member must have {kind} less than or equal to {shape.max:g}")
    if shape.min is not None and size < shape.min:
        texts.append(f"Member must have {kind} greater than or equal to {shape.min:g}")
    if (
        shape.pattern is not None
        and isinstance(value, str)
        and (len(value) > _LONGEST or not _pattern(shape.pattern).fullmatch(value))
    ):
        texts.append(f"Member must satisfy regular expression pattern: {shape.pattern}")
    return texts


@cache
def _pattern(text: str) -> re.Pattern[str]:
    # Python has no classes by Unicode property. These three are letters and digits, and what separates.
    return re.compile(text.replace(r"\p{L}\p{Z}\p{N}", r"\w \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"))


def _check_type(shape: Shape, value: Any) -> None:
    kind = shape.type
    if value is None:
        return
    if kind in ("string", "blob", "timestamp"):
        good = isinstance(value, str) or (kind == "timestamp" and isinstance(value, int | float))
    elif kind in ("integer", "long"):
        # What no store could keep: AWS's own numbers are Java's.
        good = isinstance(value, int) and not isinstance(value, bool) and -_PAST[kind] <= value < _PAST[kind]
    elif kind == "double":
        good = isinstance(value, int | float) and not isinstance(value, bool)
    elif kind == "boolean":
        good = isinstance(value, bool)
    elif kind == "list":
        good = isinstance(value, list)
    else:
        good = isinstance(value, dict)
    if not good:
        raise _unserializable(kind, value)


def _unserializable(kind: str, value: Any) -> AwsError:
    if kind not in _PLACES:
        return AwsError("SerializationException", "Unexpected value where an object or a list is needed")
    if isinstance(value, dict | list):
        opens = "Start of structure or map" if isinstance(value, dict) else "Start of list"
        return AwsError("SerializationException", f"{opens} found where not expected.")
    names = {str: "STRING_VALUE", bool: "TRUE_VALUE" if value is True else "FALSE_VALUE"}
    name = names.get(type(value), "NUMBER_VALUE")
    return AwsError("SerializationException", f"{name} can not be converted to {_PLACES[kind]}")


def _at(path: str, name: str) -> str:
    spelled = name[:1].lower() + name[1:]
    return f"{path}.{spelled}" if path else spelled


def _shown(value: Any) -> str:
    """As Java prints it. Bounded, and without control characters: it ends up in people's terminals."""
    text = _java(value)
    safe = "".join(letter if letter.isprintable() else "?" for letter in text[:1024])
    return f"'{safe}'"


def _java(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_java(name)}={_java(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_java(each) for each in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)
