"""A table between whose read and the reader's next step a test can do something: the moment in which races are lost."""

from collections.abc import Awaitable, Callable, Sequence

from lateen.ports.table import Item, Key, Operation, Page, Table


class InterposedTable:
    """`Table` over another one. Its own behaviour is the other one's, with `interpose`'s actions in between."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._pending: dict[Key, Callable[[], Awaitable[object]]] = {}

    def interpose(self, pk: str, sk: str, action: Callable[[], Awaitable[object]]) -> None:
        """Run `action` once, after the next read of this item, or of this partition by this prefix, and before the
        reader has the answer."""
        self._pending[Key(pk, sk)] = action

    @property
    def is_done(self) -> bool:
        """Whether every action ran."""
        return not self._pending

    async def get(self, key: Key) -> Item:
        try:
            return await self._table.get(key)
        finally:
            await self._act(key)

    async def put(self, item: Item, *, expected: int | None) -> Item:
        return await self._table.put(item, expected=expected)

    async def delete(self, key: Key, *, expected: int | None = None) -> None:
        await self._table.delete(key, expected=expected)

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
        page = await self._table.query(
            pk, begins=begins, lower=lower, upper=upper, after=after, descending=descending, limit=limit
        )
        await self._act(Key(pk, begins))
        return page

    async def transact(self, operations: Sequence[Operation]) -> list[Item]:
        return await self._table.transact(operations)

    async def write(self, items: Sequence[Item]) -> None:
        await self._table.write(items)

    async def ping(self) -> None:
        await self._table.ping()

    async def _act(self, key: Key) -> None:
        if (action := self._pending.pop(key, None)) is not None:
            await action()
