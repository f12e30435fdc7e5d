"""Starts the process that fetches the code (`fetch.py`), before this one imports anything else; so it needs little."""

import os
import sys

DEFAULTS = {
    "LATEEN_CONFIGURE": "/etc/lateen/function/configure.json",
    "LATEEN_CODE": "/var/task",
    "LATEEN_LAYERS": "/opt",
    "LATEEN_CODE_MARKER": "/run/lateen/code",
    "LATEEN_FETCH_SECONDS": "300",
}
"""Of the variables that both processes read."""


class FetchProcess:
    """A running one. `lines` is the read end of its stdout."""

    def __init__(self, pid: int, lines: int) -> None:
        self.pid = pid
        self.lines = lines


def start() -> FetchProcess:
    """Raises: `OSError`."""
    ours, theirs = os.pipe()
    command = [sys.executable, "-m", "lateen_invoker.fetch"]
    actions = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), (os.POSIX_SPAWN_DUP2, theirs, 1)]
    environment = {**DEFAULTS, **{name: value for name, value in os.environ.items() if value}}
    try:
        return FetchProcess(os.posix_spawn(sys.executable, command, environment, file_actions=actions), ours)
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)


def name_region(region: str) -> None:
    """All AWS tools know AWS_DEFAULT_REGION; that AWS_REGION comes first is not true of the Python ones."""
    os.environ["AWS_DEFAULT_REGION"] = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or region
