"""What runs beside everything else for as long as a process, or its leading, lasts."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

log = logging.getLogger(__name__)


@asynccontextmanager
async def in_background(
    part: Callable[[], Awaitable[None]], *, ended: Callable[[], None] = lambda: None
) -> AsyncIterator[None]:
    """Run `part`, which does not end by itself; it is cancelled and waited for at the end.

    Args:
        ended: called if it ends all the same, which is a defect.
    """
    task = asyncio.create_task(_watched(part, ended))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _watched(part: Callable[[], Awaitable[None]], ended: Callable[[], None]) -> None:
    try:
        await part()
    except Exception:
        log.exception("a part ended that should not")
    ended()
