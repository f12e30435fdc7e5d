"""What a function prints: taken from its pipe, bounded, kept for the invocation that runs.

A flood costs nobody anything: beyond `BUDGET` bytes in one tick the pipe is left alone until the next tick, so that
the writer waits, and of each invocation's output the beginning and the end are kept.
"""

import asyncio
import os
from fcntl import ioctl
from termios import FIONREAD

HEAD, TAIL = 16 * 1024, 48 * 1024
BUDGET = 1024 * 1024
_CHUNK = 64 * 1024
_NOTHING = bytes(4)
MARK = "\n[... {} bytes of output left out ...]\n"


class LogPipe:
    """The read end of the pipe that an environment has as stdout and stderr."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int) -> None:
        self._loop = loop
        self._fd = fd
        self._buffer = bytearray()
        self._left_out = 0
        self._budget = BUDGET
        self._watching = True
        os.set_blocking(fd, False)
        loop.add_reader(fd, self._read)

    def take(self) -> tuple[bytes, bool]:
        """What was printed since the last call, and whether something was left out of it.

        Reads what is in the pipe first: the answer travels another way and may have overtaken the last lines.
        """
        # Most functions print nothing, and this question costs less than the exception that an empty pipe raises.
        if self._fd >= 0 and ioctl(self._fd, FIONREAD, _NOTHING) != _NOTHING:
            self._read(rounds=4)
        if not self._buffer:
            return b"", False
        text, left_out = bytes(self._buffer), self._left_out
        self._buffer.clear()
        self._left_out = 0
        if left_out:
            text = text[:HEAD] + MARK.format(left_out).encode() + text[HEAD:]
        return text, left_out > 0

    def note(self, line: str) -> None:
        """One line of ours, behind what was printed by now."""
        if self._fd >= 0 and ioctl(self._fd, FIONREAD, _NOTHING) != _NOTHING:
            self._read(rounds=4)
        self._keep(f"{line}\n".encode("utf-8", "replace"))

    def tick(self) -> None:
        """A new tick has a new budget; called while the environment is busy."""
        self._budget = BUDGET
        if not self._watching and self._fd >= 0:
            self._watching = True
            self._loop.add_reader(self._fd, self._read)

    def close(self) -> None:
        if self._fd >= 0:
            if self._watching:
                self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _read(self, rounds: int = 1) -> None:
        for _ in range(rounds):
            try:
                chunk = os.read(self._fd, _CHUNK)
            except BlockingIOError:
                return
            except OSError:
                chunk = b""
            if not chunk:
                self.close()
                return
            self._keep(chunk)
            self._budget -= len(chunk)
            if self._budget <= 0:
                if self._watching:
                    self._watching = False
                    self._loop.remove_reader(self._fd)
                return
            if len(chunk) < _CHUNK:
                return

    def _keep(self, chunk: bytes) -> None:
        self._buffer += chunk
        if (excess := len(self._buffer) - HEAD - TAIL) > 0:
            del self._buffer[HEAD : HEAD + excess]
            self._left_out += excess
