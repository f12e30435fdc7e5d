"""CORS as function URLs have it: preflights are answered without the function, and the headers of all answers are the
configuration's and not the function's. Pure.

Source: AWS Lambda Developer Guide, "Cross-origin resource sharing (CORS)"; the Fetch standard, "CORS protocol".
"""

from collections.abc import Mapping

from lateen_invoker.urls import Cors

_EVERY = ("*",)
_PREFIX = b"access-control-"


def is_preflight(method: str, headers: Mapping[str, str]) -> bool:
    return method == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers


def preflight(cors: Cors, headers: Mapping[str, str]) -> bytes:
    """Header lines of the answer; of a request that is not allowed they say nothing, and the browser stops there."""
    lines = _origin(cors, headers["origin"])
    method, methods = headers["access-control-request-method"], cors.allow_methods or ()
    asked = _names(headers.get("access-control-request-headers", ""))
    allowed = cors.allow_headers or ()
    if (
        b"-origin:" not in lines
        or not ("*" in methods or method in methods)
        or not ("*" in allowed or asked <= _names(",".join(allowed)))
    ):
        return _vary(cors)
    # Beside credentials an asterisk is a name like any other; so those that were asked for are named.
    lines += f"access-control-allow-methods: {method if '*' in methods else ','.join(methods)}\r\n".encode()
    if asked:
        named = headers["access-control-request-headers"] if "*" in allowed else ",".join(allowed)
        lines += f"access-control-allow-headers: {named}\r\n".encode("latin-1", "replace")
    if cors.max_age_s is not None:
        lines += b"access-control-max-age: %d\r\n" % cors.max_age_s
    return lines


def lines_for(cors: Cors, origin: str | None) -> bytes:
    """Header lines of an answer to this origin; None: the request names none."""
    lines = _vary(cors) if origin is None else _origin(cors, origin)
    if b"-origin:" in lines and cors.expose_headers:
        lines += f"access-control-expose-headers: {','.join(cors.expose_headers)}\r\n".encode()
    return lines


def with_lines(head: bytes, lines: bytes) -> bytes:
    """Args:
    head: header lines of the function's, names in lower case; those about CORS are left out.
    """
    if _PREFIX in head:
        head = b"".join(line for line in head.splitlines(keepends=True) if not line.startswith(_PREFIX))
    return head + lines


def _origin(cors: Cors, origin: str) -> bytes:
    origins = cors.allow_origins or ()
    if "*" not in origins and origin not in origins:
        return _vary(cors)
    if _depends(cors):
        lines = b"access-control-allow-origin: %b\r\n" % origin.encode("latin-1", "replace")
    else:
        lines = b"access-control-allow-origin: *\r\n"
    if cors.allow_credentials:
        lines += b"access-control-allow-credentials: true\r\n"
    return lines + _vary(cors)


def _depends(cors: Cors) -> bool:
    """Whether the answer depends on the origin, which caches must know. With credentials `*` would mean nothing."""
    return cors.allow_origins != _EVERY or bool(cors.allow_credentials)


def _vary(cors: Cors) -> bytes:
    return b"vary: Origin\r\n" if _depends(cors) else b""


def _names(text: str) -> set[str]:
    return {name.strip().lower() for name in text.split(",") if name.strip()}
