"""JSON from strangers, looked at before it is parsed: bounded in depth, values and digits, without NUL.

One pass over the text, so that what would take a parser's stack or minutes of arithmetic costs microseconds
for an ordinary body and a bounded time for any.
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
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_ESCAPED_NUL = re.compile(rb"(?<!\\)(?:\\\\)*+\\u0000")
_QUOTE, _OPENING, _CLOSING = ord('"'), b"[{", b"]}"


def check(body: bytes) -> None:
    """Raises: `Refusal`. What it lets through may still be no JSON; the parser says so."""
    depth = count = position = 0
    while (token := _TOKEN.search(body, position)) is not None:
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
    if b"\0" in body or (b"\\u0000" in body and _ESCAPED_NUL.search(body)):
        raise invalid("body", "NUL characters are not accepted")


def _end_of_string(body: bytes, start: int) -> int:
    """The position behind the string that begins at `start`."""
    quote = body.find(b'"', start + 1)
    # Code in Base64 has no escapes: megabytes are passed at the speed of memchr.
    if quote >= 0 and body.find(b"\\", start + 1, quote) < 0:
        return quote + 1
    if (string := _STRING.match(body, start)) is None:
        raise invalid("body", "not JSON: a string does not end")
    return string.end()
