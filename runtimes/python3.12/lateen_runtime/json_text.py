"""JSON as simplejson reads and writes it, which is what AWS's client uses: named tuples are objects, bytes are text,
decimals are numbers with all their digits. The standard library's encoder does the plain cases, which are nearly all.
"""

import json
import json.encoder
import marshal
from decimal import Decimal

from lateen_runtime.faults import Fault


def _refuse(value):
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _plain_encoder(escape):
    make = json.encoder.c_make_encoder
    if make is None:
        return json.JSONEncoder(ensure_ascii=escape is json.encoder.encode_basestring_ascii, default=_refuse).encode
    # No look-out for circles: `marshal` has been there before and refuses them.
    encoder = make(None, _refuse, escape, None, ": ", ", ", False, False, True)
    return lambda value: "".join(encoder(value, 0))


def to_json(value):
    """Text. Raises whatever the value's own methods raise, TypeError and ValueError included."""
    try:
        # Fails on everything but plain builtin types, and costs next to nothing.
        marshal.dumps(value, 2)
        return _encode_plain(value)
    except (ValueError, TypeError):
        return _written(value, set())


def _written(value, above):
    """The slow way. `above` are the ids of what the value is inside of."""
    if isinstance(value, str):
        return _escape(value)
    if isinstance(value, bytes):
        return _escape(str(value, "utf-8"))
    if value is None or value is True or value is False or isinstance(value, (int, float)):
        return _written_word(value)
    if isinstance(value, Decimal) and not hasattr(value, "_asdict"):
        return "NaN" if value.is_nan() else str(value)
    if id(value) in above:
        raise ValueError("Circular reference detected")
    above.add(id(value))
    fields = _as_dict(value)
    if isinstance(value, dict) or fields is not None:
        items = (value if fields is None else fields).items()
        text = "{" + ", ".join(f"{_escape(_key(key))}: {_written(item, above)}" for key, item in items) + "}"
    elif isinstance(value, (list, tuple)):
        text = "[" + ", ".join(_written(item, above) for item in value) + "]"
    else:
        _refuse(value)
    above.discard(id(value))
    return text


def _written_word(value):
    if value is None:
        return "null"
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, int):
        return int.__repr__(value)
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    return float.__repr__(value)


def _key(key):
    if isinstance(key, str):
        return key
    if isinstance(key, bytes):
        return str(key, "utf-8")
    if key is None or isinstance(key, (int, float)):
        return _written_word(key)
    raise TypeError(f"keys must be str, int, float, bool or None, not {type(key).__name__}")


def _as_dict(value):
    method = getattr(value, "_asdict", None)
    if not callable(method):
        return None
    try:
        fields = method()
    except TypeError:
        return None
    if not isinstance(fields, dict):
        raise TypeError(f"_asdict() must return a dict, not {type(fields).__name__}")
    return fields


_escape = json.encoder.encode_basestring_ascii
_encode_plain = _plain_encoder(_escape)


def _refuse_constant(name):
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(parse_constant=_refuse_constant)
_scan_once = _decoder.scan_once


def use_execution_env(name):
    """`AWS_Lambda_python3.12` and later write non-ASCII text as it is, earlier ones escape it."""
    global _encode_plain, _escape
    major, _, minor = name.removeprefix("AWS_Lambda_python").partition(".")
    as_is = major == "3" and minor.isdigit() and int(minor) >= 12
    _escape = json.encoder.encode_basestring if as_is else json.encoder.encode_basestring_ascii
    _encode_plain = _plain_encoder(_escape)


def from_json(body):
    """The value of UTF-8 text. Raises: `Fault`."""
    try:
        text = str(body, "utf-8")
        try:
            value, end = _scan_once(text, 0)
            if end == len(text):
                return value
        except StopIteration:
            pass
        return _decoder.decode(text.removeprefix("\ufeff"))
    except Exception as exc:
        raise Fault("Runtime.UnmarshalError", f"Unable to unmarshal input: {exc}") from None
