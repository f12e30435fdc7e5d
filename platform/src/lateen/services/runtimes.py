"""Runtimes: the catalogue, read once from the folders under `runtimes/`."""

import time
from collections.abc import Callable
from pathlib import Path

from lateen.domain.runtimes import Runtime, RuntimeEntry
from lateen.ports.table import Table

Disabled = Callable[[Runtime], str | None]
"""Why a runtime can't be used on this machine; None: it can. Given in by the deployer's side."""


class Runtimes:
    def __init__(
        self,
        folder: Path,
        *,
        table: Table,
        disabled: Disabled = lambda _: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Raises: `ValueError` that names the file, if a `runtime.toml` is wrong."""

    def list(self) -> list[Runtime]:
        """By name."""
        raise NotImplementedError

    def get(self, name: str) -> Runtime:
        """By canonical name. Raises: `NotFound`."""
        raise NotImplementedError

    def resolve(self, name: str, version: str | None = None) -> Runtime:
        """The runtime that a user means: a name or alias, or a pair. Raises: `InvalidInput`, also for a disabled one."""
        raise NotImplementedError

    async def setup(self) -> list[RuntimeEntry]:
        """Seed one item per runtime; again changes nothing. Returns: `entries()`."""
        raise NotImplementedError

    async def entries(self) -> list[RuntimeEntry]:
        """The runtimes with the dates of their seeding; those not seeded yet are seeded."""
        raise NotImplementedError
