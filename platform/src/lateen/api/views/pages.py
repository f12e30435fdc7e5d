"""One page of any list."""

from typing import Generic, TypeVar

from msgspec import Struct

from lateen.domain.pages import Page as DomainPage

T = TypeVar("T")
U = TypeVar("U")


class Page(Struct, Generic[T], frozen=True):
    """One page of a list. `next_cursor` is what to send as `cursor` for the next one; null: this was the last."""

    items: list[T]
    next_cursor: str | None


def page_of(page: DomainPage[U], items: list[T]) -> Page[T]:
    return Page(items, page.cursor)
