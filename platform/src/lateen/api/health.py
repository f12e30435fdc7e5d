"""Health: alive, and ready to serve. Said to everybody, so nothing is said but which part does not answer."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Literal

from msgspec import Meta, Struct

log = logging.getLogger(__name__)


class Health(Struct, frozen=True):
    status: Annotated[Literal["healthy", "unhealthy"], Meta(examples=["healthy"])]


class Ready(Struct, frozen=True, omit_defaults=True):
    """`stores`: each store's name and `ok` or `down`. `reason`: why not ready, where it is not a store."""

    status: Literal["ready", "unready"]
    stores: dict[str, Literal["ok", "down"]] = {}
    reason: str | None = None


class Readiness:
    """Whether requests should come here: not before the start is over, not once a stop was asked for."""

    def __init__(self, stores: Mapping[str, Callable[[], Awaitable[None]]], *, deadline_s: float) -> None:
        self._stores = stores
        self._deadline_s = deadline_s
        self._asking: dict[str, asyncio.Task[bool]] = {}
        """One question to each store at a time: anybody may ask us, as often as he likes."""
        self.is_stopping = False
        self.is_broken = False
        """Something has ended that this process is for: only a new one helps."""
        self.on_stopping: Callable[[], None] = lambda: None

    def stop(self) -> None:
        """A stop was asked for."""
        self.is_stopping = True
        self.on_stopping()

    def broke(self) -> None:
        self.is_broken = True

    async def check(self, *, stores: bool) -> Ready:
        if self.is_stopping:
            return Ready("unready", reason="stopping")
        if not stores:
            return Ready("ready")
        answers = await asyncio.gather(*(self._answers(name) for name in self._stores))
        found: dict[str, Literal["ok", "down"]] = {
            name: "ok" if answer else "down" for name, answer in zip(self._stores, answers, strict=True)
        }
        return Ready("ready" if all(answers) else "unready", stores=found)

    async def _answers(self, name: str) -> bool:
        asking = self._asking.get(name)
        if asking is None:
            asking = self._asking[name] = asyncio.create_task(self._ask(name))
            asking.add_done_callback(lambda _: self._asking.pop(name, None))
        return await asyncio.shield(asking)

    async def _ask(self, name: str) -> bool:
        try:
            async with asyncio.timeout(self._deadline_s):
                await self._stores[name]()
        except Exception as exc:
            log.warning("store does not answer", extra={"store": name, "cause": repr(exc)})
            return False
        return True
