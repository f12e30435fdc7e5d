"""How much memory an invoker needs, and how much of that holds what callers have sent, and what they do not read.

Half of what the process does not need for itself: three quarters of it at most for requests that arrive or wait,
and what those leave for answers that nobody reads. The other half is for what is held twice (a binary body as Base64,
a body while it is put together), for answers on their way from the runtime, and for what is being written down.
"""

MIB = 1024 * 1024
_ITSELF = 96 * MIB
"""The process with a full buffer of records, and the one that writes them."""
_LEAST = 10 * MIB
"""One of the largest requests has room all the same."""


def memory_mib(concurrency: int) -> int:
    """What an invoker needs that runs so many calls at a time, each with an event and an answer of 6 MiB."""
    return 160 + 16 * concurrency


def room_in(memory: int) -> int:
    """Bytes that an invoker with so many bytes of memory may hold for callers."""
    return max(_LEAST, (memory - _ITSELF) // 2)


def room_on_this_machine(concurrency: int) -> int:
    """The same where nobody limits its memory: as if that were twice what it needs."""
    return room_in(2 * memory_mib(concurrency) * MIB)


def most_in(room: int, *, is_small: bool) -> int:
    """How much of the room may be taken by requests once this one is there: what large ones leave is for small ones."""
    return room * 6 // 8 if is_small else room * 5 // 8
