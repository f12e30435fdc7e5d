"""How many files a process may have open: each call takes one for its caller and one for who executes it."""

import resource
from contextlib import suppress

OPEN_FILES = 65_536


def allow_many_connections() -> None:
    """Raise this process' soft limit, often 1024, in containers too. What it starts inherits it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
