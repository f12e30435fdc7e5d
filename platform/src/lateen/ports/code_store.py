"""`CodeStore`: packages that users keep in buckets of their own. Read only."""

from typing import Protocol

from lateen.domain.code_places import CodePlace
from lateen.ports.blobs import Blob


class CodeRefused(Exception):
    """The store refuses the read. `code`: S3's word for why, such as `NoSuchKey`."""

    def __init__(self, code: str, *, region: str | None = None) -> None:
        """Args:
        region: where the bucket is, if that is why.
        """
        super().__init__(code)
        self.code = code
        self.region = region


class CodeTooLarge(Exception):
    """The object has more bytes than the limit."""


class CodeUnreadable(Exception):
    """The store is not reached as the installation is set up; the text, for a person, says why."""


class CodeStoreUnavailable(Exception):
    """No answer, or not all of it, in time; the call may be repeated."""


class CodeStore(Protocol):
    async def read(self, place: CodePlace, *, limit: int) -> Blob:
        """The whole object, of at most `limit` bytes. Raises: this module's exceptions."""

    async def close(self) -> None:
        """Finish what was begun."""
