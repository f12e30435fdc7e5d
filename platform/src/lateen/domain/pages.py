"""Listings: one bounded page and where the next one begins."""

from typing import Generic, TypeVar

from msgspec import Struct

T = TypeVar("T")

DEFAULT_LIMIT = 50
MAX_LIMIT = 100


class Page(Struct, Generic[T], frozen=True):
    """`cursor` is what the caller sends for the next page; None: this was the last. A page may be short, even empty,
    and still have a next one."""

    items: list[T]
    cursor: str | None = None
