"""What the platform asks of the kernel for its own process: user code runs beside it, and many callers come at once."""

import ctypes
import resource
import sys
from contextlib import suppress

_PR_SET_DUMPABLE = 4
OPEN_FILES = 65_536


def forbid_inspection() -> None:
    """No process of the same user may read our memory, environment or descriptors any more. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def allow_many_connections() -> None:
    """Raise the soft limit of open files, often 1024: each call takes one here for its caller and one for its invoker.
    Invokers inherit it; what they start is limited by them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
