"""`Places`: where a workspace's functions run, for deployers that give each workspace a place of its own."""

from collections.abc import Collection
from typing import Protocol

from lateen.domain.workspaces import Quota


class Places(Protocol):
    def settle(self, workspace_id: str, quota: Quota) -> None:
        """What its functions may use together, from now on. Idempotent; must not block."""

    async def places(self) -> Collection[str]:
        """Ids of all workspaces that have a place."""

    async def clear(self, workspace_id: str) -> None:
        """The workspace is gone, and so shall its place be, once no function is left there. Idempotent."""
