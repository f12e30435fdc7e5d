"""Who calls, and what they may see."""

from msgspec import Struct

from lateen.domain.errors import Forbidden, NotFound


class Caller(Struct, frozen=True):
    """An authenticated key. `workspace_id` None: the key is the whole installation's."""

    key_id: str
    workspace_id: str | None

    def sees(self, workspace_id: str) -> bool:
        return self.workspace_id is None or self.workspace_id == workspace_id

    def must_see(self, workspace_id: str, what: str) -> None:
        """Raises: `NotFound`, the same as if it did not exist."""
        if not self.sees(workspace_id):
            raise NotFound(f"no such {what}")

    def must_be_installation(self) -> None:
        if self.workspace_id is not None:
            raise Forbidden("this needs a key of the whole installation")


PLATFORM = Caller("platform", None)
"""The platform's own parts: controller and gateway."""
