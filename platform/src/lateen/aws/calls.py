"""One call of an operation: what it is given, by whom, and what it answers.

A class of operations has methods that are marked with `operation`; the names are AWS's. The table of what is offered in
`docs/lambda-api.md` is made of these marks.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol, TypeVar

from msgspec import Struct

from lateen.aws.references import Place, Reference, reference_from
from lateen.domain.access import Caller


class Call(Struct, frozen=True, kw_only=True):
    operation: str
    parameters: dict[str, Any]
    """By the model's names. They satisfy its constraints."""
    body: bytes
    """As it came, for operations whose body is not JSON."""
    caller: Caller
    workspace_id: str
    place: Place
    request_id: str
    origin: str
    """Scheme, host and port by which the caller reaches us."""

    def reference(self, *, qualifier: bool = False) -> Reference:
        """The function that the call is about. `qualifier`: the operation knows `Qualifier`. Raises: `AwsError`."""
        given = self.parameters.get("Qualifier") if qualifier else None
        return reference_from(
            self.parameters["FunctionName"], self.place, qualifier=given or None, operation=self.operation
        )


class Stream(Protocol):
    """A body that is on its way."""

    def watch(self, receive: Callable[[], Awaitable[MutableMapping[str, Any]]]) -> None:
        """End it when the caller leaves, which the server's `receive` tells."""

    async def next(self) -> tuple[bytes, bool]:
        """Bytes, and whether more follow. Raises: `Unavailable` when the rest will not come."""

    def close(self) -> None: ...


class Answer(Struct, frozen=True, kw_only=True):
    """`body`: None for none, bytes as they are, else what becomes JSON. `status` None: the operation's own."""

    body: Any = None
    stream: Stream | None = None
    """Instead of `body`."""
    status: int | None = None
    headers: dict[str, str] = {}


Handler = Callable[[Call], Awaitable[Answer]]
H = TypeVar("H", bound=Callable[..., Awaitable[Answer]])


class Offer(Struct, frozen=True):
    """Of an operation: its name, and what is missing in it; empty if nothing is."""

    name: str
    missing: str = ""


def operation(name: str, *, missing: str = "") -> Callable[[H], H]:
    """Mark a method as an operation of the API."""

    def mark(method: H) -> H:
        method.offer = Offer(name, missing)  # type: ignore[attr-defined]
        return method

    return mark


def offers(*classes: type) -> dict[str, Offer]:
    found = (getattr(method, "offer", None) for cls in classes for method in vars(cls).values())
    return {offer.name: offer for offer in found if offer is not None}


def handlers(*parts: object) -> dict[str, Handler]:
    """By operation."""
    return {
        method.offer.name: getattr(part, name)
        for part in parts
        for name, method in vars(type(part)).items()
        if hasattr(method, "offer")
    }
