"""JSON from strangers, looked at before it is parsed: bounded in depth, values and digits, without NUL.

One pass over the text, so that what would take a parser's stack or minutes of arithmetic costs microseconds
for an ordinary body and a bounded time for any. A large body is looked at piece by piece: no piece keeps the event loop
waiting for long while a thread does it.
"""

import re

from lateen.api.problems import invalid

MAX_DEPTH = 32
MAX_DIGITS = 64
"""Of a number in a row."""
MAX_TOKENS = 50_000
"""Strings, numbers and brackets; an ordinary body has a few dozen."""

# Possessive, so that nothing is ever tried twice: linear for any input.
_TOKEN = re.compile(rb'["\[\]{}]|[0-9]++')
_IN_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_PIECE = 1024 * 1024
_QUOTE, _OPENING, _CLOSING = ord('"'), b"[{", b"]}"


def check(body: bytes) -> None:
    """Raises: `Refusal`. What it lets through may still be no JSON; the parser says so."""
    depth = count = position = 0
    while position < len(body):
        if (token := _TOKEN.search(body, position, position + _PIECE)) is None:
            position += _PIECE
            continue
        first, position = body[token.start()], token.end()
        if first == _QUOTE:
            position = _end_of_string(body, token.start())
        elif first in _OPENING:
            depth += 1
            if depth > MAX_DEPTH:
                raise invalid("body", f"nested more than {MAX_DEPTH} levels deep")
        elif first in _CLOSING:
            depth -= 1
        elif position - token.start() > MAX_DIGITS:
            raise invalid("body", f"a number has more than {MAX_DIGITS} digits")
        count += 1
        if count > MAX_TOKENS:
            raise invalid("body", f"more than {MAX_TOKENS} values")
    # Without the escaped backslashes what is left of an escape is one.
    if b"\0" in body or (b"\\u0000" in body and b"\\u0000" in body.replace(rb"\\", b"")):
        raise invalid("body", "NUL characters are not accepted")


def _end_of_string(body: bytes, start: int) -> int:
    """The position behind the string that begins at `start`."""
    quote = body.find(b'"', start + 1)
    # Code in Base64 has no escapes: megabytes are passed at the speed of memchr.
    if quote >= 0 and body.find(b"\\", start + 1, quote) < 0:
        return quote + 1
    position = start + 1
    while (string := _IN_STRING.match(body, position, position + _PIECE)) is not None and string.end() > position:
        position = string.end()
    if body[position : position + 1] != b'"':
        raise invalid("body", "not JSON: a string does not end")
    return position + 1
