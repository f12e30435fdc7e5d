"""The code of a pod's function on its way: the process that fetches it is watched, and replaced when it dies."""

import asyncio
import contextlib
import json
import logging
import os
import random
import signal
from typing import Any

from lateen_invoker import fetching
from lateen_invoker.artifact import ArtifactError
from lateen_invoker.fetching import FetchProcess

log = logging.getLogger(__name__)

FIRST_RETRY_S, LAST_RETRY_S = 0.2, 5.0
_LINES_LIMIT = 64 * 1024


class Code:
    """`reason` says for a person why it isn't there yet; empty while all goes well."""

    def __init__(self, process: FetchProcess) -> None:
        self._process = process
        self.reason = ""
        self.seconds: dict[str, float] = {}
        """Where the time went: `client`, `download`, `unpack`; empty where the code was there already."""

    async def there(self) -> None:
        """Returns when the code is whole in its folder. Raises: `ArtifactError` when it will not come."""
        wait_s = FIRST_RETRY_S
        while True:
            last = await self._watch()
            if last.get("state") == "done":
                self.reason = ""
                self.seconds = last.get("seconds", {})
                return
            if last.get("state") == "failed":
                raise ArtifactError(str(last.get("reason")))
            log.warning("the process that fetches the code has died")
            await asyncio.sleep(wait_s * random.uniform(0.75, 1.25))  # noqa: S311 - jitter
            wait_s = min(LAST_RETRY_S, wait_s * 2)
            self._process = fetching.start()

    async def _watch(self) -> dict[str, Any]:
        """Until it has ended. Returns: its last words."""
        loop = asyncio.get_running_loop()
        lines = asyncio.StreamReader(limit=_LINES_LIMIT, loop=loop)
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(lines, loop=loop), os.fdopen(self._process.lines, "rb", buffering=0)
        )
        last: dict[str, Any] = {}
        try:
            async for line in lines:
                with contextlib.suppress(ValueError):
                    last = json.loads(line)
                if last.get("state") == "retrying":
                    self.reason = str(last.get("reason"))
                    log.warning("the code is waited for", extra={"reason": self.reason})
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)
            raise
        finally:
            transport.close()
            with contextlib.suppress(ChildProcessError):
                # It has closed its stdout, so it is over but for the kernel's part.
                await loop.run_in_executor(None, os.waitpid, self._process.pid, 0)
        return last
