"""`ImageResolver`: says which image a tag leads to, as those see it who will run it."""

from typing import Protocol

from lateen.domain.errors import LateenError
from lateen.domain.images import Image


class ImageFailed(LateenError):
    """The image can't be had as things are. The text says why, in a sentence for the function's owner."""


class ImageResolver(Protocol):
    async def digest(self, workspace_id: str, image: Image) -> str | None:
        """64 hex digits, with which the image's repository leads there for good. None: it has none: it was put into
        the nodes by hand.

        Raises: `ImageFailed`, `Unavailable`.
        """
