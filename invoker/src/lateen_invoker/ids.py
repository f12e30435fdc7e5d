"""Ids of requests and traces: random, unique, and made on every call, so cheaply.

For one thread of a process, which must not be forked.
"""

from os import urandom


def new_request_id() -> str:
    """A random UUID of version 4."""
    digits = _random_hex(32)
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{_VARIANT[digits[16]]}{digits[17:20]}-{digits[20:]}"


def new_trace_id(now_s: float) -> str:
    """An X-Ray trace header of our own making, not sampled."""
    digits = _random_hex(40)
    return f"Root=1-{int(now_s):08x}-{digits[:24]};Parent={digits[24:]};Sampled=0"


_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
_randomness, _taken = "", 0


def _random_hex(digits: int) -> str:
    # A system call for each id would cost as much as the rest of the id. These are names, not secrets.
    global _randomness, _taken
    if _taken + digits > len(_randomness):
        _randomness, _taken = urandom(4096).hex(), 0
    start = _taken
    _taken += digits
    return _randomness[start:_taken]
