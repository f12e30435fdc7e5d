"""A build's log on its way into the table: in parts, soon after it was printed, bounded, and without the secrets that
the build was given."""

import asyncio
import base64
import logging
import re
import time
from codecs import getincrementaldecoder
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from urllib.parse import quote, unquote

from lateen.domain.errors import LateenError
from lateen.ports.table import Table
from lateen.services.builds import LOG_LIMIT, LOG_PART, Build, log_item

log = logging.getLogger(__name__)

EVERY_S = 0.5
LAST_LINES = 20
LAST_CHARACTERS = 2000
SHORTEST_SECRET, SHORTEST_VALUE = 4, 8
"""Characters, of a password in an address and of a variable's whole value; what is shorter is a number or a switch."""
_MASK = "[hidden]"
_CUT = "\n[the log is longer; the rest was left out]\n"
_TERMINAL = re.compile(
    r"\x1b(\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-Z\\-_])|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"
)


class BuildLog:
    def __init__(
        self, table: Table, build: Build, *, secrets: Iterable[str] = (), now: Callable[[], float] = time.time
    ) -> None:
        self._table = table
        self._build = build
        self._now = now
        self._hidden = sorted({form for secret in secrets for form in _forms(secret)}, key=len, reverse=True)
        self._decoder = getincrementaldecoder("utf-8")("replace")
        self._line = ""
        self._waiting = ""
        self._tail = ""
        self._size = 0
        self._parts = 0

    def add(self, printed: bytes) -> None:
        """Whole lines go on; so a secret is never split. An endless line goes on in pieces."""
        text = self._line + self._decoder.decode(printed)
        lines, newline, self._line = text.rpartition("\n")
        if len(self._line) > LOG_PART:
            lines, newline, self._line = text, "", ""
        if lines or newline:
            self._say(lines + newline)

    def masked(self, text: str) -> str:
        text = _TERMINAL.sub("", text)  # first, for a colour in the midst of a secret would hide it from us
        for secret in self._hidden:
            text = text.replace(secret, _MASK)
        return text

    def last_lines(self) -> str:
        self._flush_line()
        lines = self._tail.strip().splitlines()[-LAST_LINES:]
        return "\n".join(lines)[-LAST_CHARACTERS:]

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """For as long as the build lasts; at the end all is stored. A table that is away costs log lines, no build."""
        writer = asyncio.create_task(self._write_for_ever())
        try:
            yield
        finally:
            writer.cancel()
            with suppress(asyncio.CancelledError):
                await writer
            self._flush_line()
            await self._write()

    def _say(self, text: str) -> None:
        text = self.masked(text)
        self._tail = (self._tail + text)[-4 * LAST_CHARACTERS :]
        if self._size > LOG_LIMIT:
            return
        self._size += len(text)
        self._waiting += text if self._size <= LOG_LIMIT else _CUT

    def _flush_line(self) -> None:
        if self._line:
            self._say(self._line + "\n")
            self._line = ""

    async def _write_for_ever(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            await self._write()

    async def _write(self) -> None:
        text, self._waiting = self._waiting, ""
        items = []
        for start in range(0, len(text), LOG_PART):
            items.append(log_item(self._build, self._parts, text[start : start + LOG_PART], now_s=self._now()))
            self._parts += 1
        if items:
            try:
                await self._table.write(items)
            except LateenError as exc:
                log.warning("a part of a build's log is lost", extra={"build": self._build.id, "reason": str(exc)})


def _forms(value: str) -> set[str]:
    """What is secret of a variable's value, as it may be printed: as it is, or encoded. Of addresses that is who asks
    there and not where; of other values all, unless they are too short to be a secret."""
    found: set[str] = set()
    words = re.split(r"[\s,|]+", value)
    for word in words:
        if "://" not in word:
            continue
        user = word.split("://", 1)[1].split("/", 1)[0].rpartition("@")[0]
        name, _, password = user.partition(":")
        for each in (user, password or name):
            found |= {each, unquote(each)}
    if not any("://" in word for word in words) and len(value) >= SHORTEST_VALUE:
        found.add(value)
    found |= {quote(each, safe="") for each in found} | {base64.b64encode(each.encode()).decode() for each in found}
    return {each for each in found if len(each) >= SHORTEST_SECRET}
