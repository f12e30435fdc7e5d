"""`Builder`: turns a source into what runs. It runs the user's own scripts, so it runs them as user code is run."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from lateen.domain.errors import LateenError, Unavailable
from lateen.domain.runtimes import Runtime

Log = Callable[[bytes], None]
"""Called with what the build printed, as it comes, in pieces of any size; in the loop; must not block."""


class BuildRequest(Struct, frozen=True, kw_only=True):
    """One build. Its `repr` shows no variable's value."""

    id: str
    """Who asks for the same again, here or in another process, may be given what is being built already."""
    workspace_id: str
    runtime: str
    """Canonical name."""
    source_key: str
    """Of the zip in the object store."""
    source_sha256: str
    lock: str
    """What was fetched may be kept for the next build of the same workspace, runtime and lock."""
    variables: dict[str, str]
    """The workspace's settings, which may be secrets."""

    def __repr__(self) -> str:
        return f"BuildRequest(id={self.id!r}, runtime={self.runtime!r}, variables={sorted(self.variables)!r})"


class BuildRefused(LateenError):
    """It was tried, and the source can't be built as it is. The text says why, in a sentence for its owner."""


class BuildInterrupted(Unavailable):
    """Nothing is known of the source: the builder was away, or ended before it had an answer. Worth another try."""


class BuildWaits(BuildInterrupted):
    """Nothing runs it for now. The text says why, in sentences for the source's owner."""


class BuildPlace(Protocol):
    """What is known of the builder also where it isn't."""

    platform: str
    """What is built there runs on: `linux/amd64`."""

    def refusal(self, runtime: Runtime) -> str | None:
        """Why nothing is built for this runtime there; None: it can be. Raises: `ValueError` if its recipe is wrong."""


class Builder(BuildPlace, Protocol):
    def build(self, request: BuildRequest, *, log: Log) -> AbstractAsyncContextManager[Path]:
        """The artifact, a zip in a file that is there for as long as the context is open. The same request gives the
        same bytes. A cancelled build ends here; elsewhere it may go on, for another process to ask for.

        Raises: `BuildRefused`, `BuildWaits`, `BuildInterrupted`.
        """

    async def discard(self, request: BuildRequest) -> None:
        """Nobody wants a build any more that was cancelled: what of it may go on elsewhere ends."""
