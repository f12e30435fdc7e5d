"""External extensions as children of a keeper: each file in their folder is started before the runtime, which waits.

A fork server imports this under the runtime's interpreter: standard library only.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

MOST_STARTED = 11
"""One more than an environment may have, which is what it then fails for."""
_REPORT_FD = 3


class ExtensionProcesses:
    """Those of one environment, and the gate at which its runtime waits.

    Args:
        given: `folder`, and `without`: names of variables that are the runtime's own.
        environment: the runtime's variables.
        prepare: in a new process, everything up to user code; keeps the one descriptor given, as number 3.
    """

    def __init__(
        self, given: Mapping[str, Any], environment: Mapping[str, str], prepare: Callable[[int], None]
    ) -> None:
        self._folder = given["folder"]
        self._environment = {name: value for name, value in environment.items() if name not in given["without"]}
        self._prepare = prepare
        self._living: dict[int, tuple[str, int]] = {}
        self._waiting, self._gate = -1, -1
        self.names = _files_in(self._folder)[:MOST_STARTED]

    def start(self) -> None:
        """In a keeper. Raises: `OSError` where no process can be had."""
        for name in self.names:
            report, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            pid = os.fork()
            if pid == 0:
                self._become(name, theirs)
            os.close(theirs)
            self._living[pid] = (name, report)
        self._waiting, self._gate = os.pipe2(os.O_CLOEXEC)

    def wait(self) -> None:
        """In the runtime's process, until all have registered. Where that never happens it does not return."""
        os.close(self._gate)
        if not os.read(self._waiting, 1):
            os._exit(0)

    def runtime_is_there(self) -> None:
        """In the keeper, after that process was made."""
        os.close(self._waiting)

    def open_gate(self) -> None:
        with contextlib.suppress(OSError):
            os.write(self._gate, b"1")

    def are_there(self) -> bool:
        return bool(self._living)

    def ended(self, pid: int, how: Mapping[str, int]) -> dict[str, Any] | None:
        """What is said of a process that has ended. None: it was not one of them."""
        name, report = self._living.pop(pid, ("", -1))
        if report < 0:
            return None
        try:
            error = os.read(report, 4096).decode("utf-8", "replace")
        except OSError:
            error = ""
        os.close(report)
        return {"extension": name, **({"error": error} if error else how)}

    def _become(self, name: str, report: int) -> NoReturn:
        path = os.path.join(self._folder, name)
        try:
            self._prepare(report)
            for number in (signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_DFL)  # Python ignores these two, and a program would inherit that
            os.chdir("/")
            os.execve(path, [path], self._environment)  # noqa: S606 - there is no shell, which is the point
        except OSError as exc:
            with contextlib.suppress(OSError):
                os.write(_REPORT_FD, f"fork/exec {path}: {(exc.strerror or '').lower()}".encode("utf-8", "replace"))
        os._exit(126)


def _files_in(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if not entry.is_dir(follow_symlinks=False))
    except OSError:
        return []
