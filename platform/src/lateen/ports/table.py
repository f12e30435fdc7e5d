"""`Table`: items by (partition key, sort key), the one place where the platform's state lives.

The contract suite in `tests/contract/test_table.py` says what every adapter must do; SQLite is its executable
specification. Nothing here knows what an item means.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from msgspec import Struct

from lateen.domain.errors import LateenError, Unavailable

ITEM_LIMIT_BYTES = 400_000
"""Of an item's data as MessagePack, which is about how DynamoDB counts; its own limit, keys included, is 409,600."""
PK_LIMIT_BYTES = 2048
SK_LIMIT_BYTES = 1024
TRANSACTION_LIMIT = 100
TRANSACTION_LIMIT_BYTES = 4_000_000
QUERY_LIMIT = 1000


class Key(Struct, frozen=True):
    """Where an item lives: `pk` is 1 to 2048 bytes of UTF-8, `sk` 1 to 1024. Sort keys are compared as UTF-8 bytes.
    A write to any other key raises `ValueError`; a read doesn't find it."""

    pk: str
    sk: str


class Item(Struct, frozen=True, kw_only=True):
    """`data` holds JSON types only, integers of at most 64 bits. `revision` counts this item's writes, from 1; 0 before
    the first."""

    key: Key
    data: dict[str, Any]
    revision: int = 0
    expires_at: int | None = None
    """Unix time in whole seconds. From then on the item is not seen any more, whether it was swept yet or not."""


class Page(Struct, frozen=True):
    """Items in order, and the sort key to pass as `after` for the next page; None when this was the last.

    A page of large items may end before `limit`: only None says that there is no more. Only the last can be empty.
    """

    items: list[Item]
    next: str | None


class Put(Struct, frozen=True):
    """Store `item`. `expected`: its current revision, None: it must not exist."""

    item: Item
    expected: int | None


class Delete(Struct, frozen=True):
    """Remove what is at `key`. `expected`: its current revision; None: whatever is there, also nothing."""

    key: Key
    expected: int | None = None


class Check(Struct, frozen=True):
    """Nothing is written here; the rest happens only if the item's revision is `expected` (None: it must not exist)."""

    key: Key
    expected: int | None


Operation = Put | Delete | Check


class ItemNotFound(LateenError):
    """There is no such item."""

    def __init__(self, key: Key) -> None:
        super().__init__("no such item")
        self.key = key


class RevisionConflict(LateenError):
    """The item at `key` is not at the revision that the writer expected. Nothing was written."""

    def __init__(self, key: Key) -> None:
        super().__init__("the item was changed meanwhile")
        self.key = key


class TableUnavailable(Unavailable):
    """The store did not answer, or its disk is full."""


class Table(Protocol):
    """Every call may raise `TableUnavailable`. A read sees every write that returned before it began, and what a
    call acknowledged by returning is on disk. An item over the limits above is `TooLarge` and nothing is written."""

    async def get(self, key: Key) -> Item:
        """The item, or `ItemNotFound`."""

    async def put(self, item: Item, *, expected: int | None) -> Item:
        """Store if the current revision is `expected` (None: must not exist), else `RevisionConflict`.

        Returns: the item with its new revision, `(expected or 0) + 1`. The revision inside `item` is ignored.
        """

    async def delete(self, key: Key, *, expected: int | None = None) -> None:
        """Remove if at `expected` (None: whatever is there). What is not there is no error without `expected`."""

    async def query(
        self,
        pk: str,
        *,
        begins: str = "",
        lower: str | None = None,
        upper: str | None = None,
        after: str | None = None,
        descending: bool = False,
        limit: int = 100,
    ) -> Page:
        """Items of one partition, ordered by sort key.

        Args:
            begins: prefix of the sort key.
            lower, upper: bounds of the sort key, both inclusive.
            after: the `next` of the page before, in the same direction.
            limit: 1 to 1000 items.
        """

    async def transact(self, operations: Sequence[Operation]) -> list[Item]:
        """All of it or nothing; at most 100 operations, each on another key (else `ValueError`), together at most 4 MB
        (else `TooLarge`). `RevisionConflict` names the first loser.

        Returns: the stored items of the `Put`s, in order.
        """

    async def write(self, items: Sequence[Item]) -> None:
        """Store all, whatever was there; not atomic as a whole; of two with one key the later stays. For records,
        which never change: the revision of an item that was already there is not defined."""

    async def ping(self) -> None:
        """Answers if a read would."""
