"""How one event reaches a function: what the surfaces need of the gateway."""

from typing import Protocol

from lateen.domain.functions import Function


class Invoked(Protocol):
    """What came back. `status` 200: the function ran, and `body` is what its runtime posted. 429: no room; 502: its
    process was lost while it had the event; 504: no answer in time."""

    @property
    def status(self) -> int: ...
    @property
    def body(self) -> bytes: ...
    @property
    def request_id(self) -> str: ...
    @property
    def function_error(self) -> str | None:
        """Set: `body` is the error document."""

    @property
    def executed_version(self) -> str | None: ...


class Invoker(Protocol):
    async def invoke(
        self,
        function: Function,
        event: bytes,
        *,
        qualifier: str | None = None,
        client_context: str | None = None,
        request_id: str | None = None,
    ) -> Invoked:
        """Args:
            function: the version.
            event: empty stands for `{}`.
            qualifier: by what that was addressed, if by anything.
            client_context: Base64 of JSON.
            request_id: where it has one already.
        Raises: `TooLarge`, `InvalidInput`, `Unavailable`; nothing was executed then."""
