"""Writing to a transport's socket at once.

uvloop keeps what is written until the end of the loop's iteration. The other side of an invocation could have begun
meanwhile, and the queue costs more than the system call that it saves.
"""

import os
from typing import Any


def write_now(transport: Any, fd: int, *parts: bytes) -> None:
    """Write the parts, one after the other, in one system call where the socket takes them.

    Args:
        fd: the transport's own descriptor; what doesn't fit now is left to the transport.
    """
    if transport.is_closing():
        return
    sent = 0
    if not transport.get_write_buffer_size():
        try:
            sent = os.write(fd, parts[0]) if len(parts) == 1 else os.writev(fd, parts)
        except BlockingIOError:
            pass
        except OSError:
            transport.abort()
            return
    for part in parts:
        if sent < len(part):
            transport.write(part[sent:])
            sent = 0
        else:
            sent -= len(part)
