"""Housekeeping: what is no longer needed goes away, a little at a time, behind everybody's back."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from msgspec import Struct

from lateen.domain.errors import LateenError

log = logging.getLogger(__name__)


class Chore(Struct, frozen=True, kw_only=True):
    """`run` removes some and says how many."""

    name: str
    run: Callable[[], Awaitable[int]]
    every_s: float
    batch: int | None = None
    """As many removed means that there is more: it is repeated at once. None: it removes all in one go."""


class Housekeeping:
    """`run` until cancelled. A chore that fails is put off, and never stops another one."""

    def __init__(self, chores: list[Chore]) -> None:
        self._chores = chores

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for chore in self._chores:
                tasks.create_task(_repeat(chore))


async def _repeat(chore: Chore) -> None:
    while True:
        # Not all at the start, where there is other work, and not all at once.
        await asyncio.sleep(chore.every_s * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
        removed = 0
        try:
            while (count := await chore.run()) == chore.batch:
                removed += count
            removed += count
        except LateenError as exc:
            log.warning("housekeeping put off", extra={"chore": chore.name, "reason": str(exc)})
        except Exception:
            log.exception("housekeeping failed", extra={"chore": chore.name})
        if removed:
            log.info("housekeeping", extra={"chore": chore.name, "removed": removed})
