"""How a function's reserved concurrency is shared out among the invokers that run it, all of its versions'.

At every moment what they may run adds up to no more than was reserved. So what one gets, another one has given up
before, and has said that it doesn't use it any more: an invoker that is told a smaller share *holds* what still runs.
Pure; the adapters bring what invokers say and take what they are to be told.
"""

import heapq
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from lateen_invoker.control import Load, Share


class Holder(Struct):
    """One invoker, as far as it is known."""

    room: int
    """Environments that it may have."""
    holds: int | None = None
    """At most so many events run there. None: nobody knows, it has not said anything yet."""
    share: Share = Share(serial=0, most=None)
    """The last one that it was told."""
    wants: int = 0
    is_leaving: bool = False
    """Another one takes its place: it gets what it has need of."""


class Sharing:
    """One function. Invokers have keys; `due` says what they are to be told."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._holders: dict[str, Holder] = {}

    @property
    def keys(self) -> set[str]:
        return set(self._holders)

    def join(self, key: str, *, room: int, holds: int | None, share: Share | None = None) -> None:
        """Args:
        holds: see `Holder`; 0 where it runs nothing before it is told to.
        share: the one that it was told; None: none.
        """
        self._holders[key] = Holder(
            room=room, holds=holds, share=share or Share(serial=0, most=0 if holds == 0 else None)
        )

    def leaving(self, key: str) -> None:
        if (holder := self._holders.get(key)) is not None:
            holder.is_leaving = True

    def left(self, key: str) -> None:
        """It runs no more."""
        self._holders.pop(key, None)

    def silent(self, key: str) -> None:
        """Nobody listens where it should be, so nothing runs; it will begin without a share."""
        if (holder := self._holders.get(key)) is not None:
            holder.holds, holder.wants = 0, 0
            holder.share = Share(serial=holder.share.serial, most=0, of=self.limit)

    def said(self, key: str, load: Load) -> None:
        """What an invoker said, in the order in which it was said."""
        if (holder := self._holders.get(key)) is None:
            return
        holder.room = load.room
        holder.wants = load.running + load.waiting
        if load.serial < holder.share.serial and holder.holds is not None:
            return  # of an earlier share; what it may run is more than it says now
        holder.share = Share(serial=load.serial, most=load.most, of=holder.share.of)
        holder.holds = max(load.running, load.room if load.most is None else min(load.most, load.room))

    def due(self, now: float) -> Mapping[str, Share]:
        """What is to be told, by key; it counts as told from now on.

        Args:
            now: seconds; who is served first when there isn't enough changes with them.
        """
        holders = list(self._holders.values())
        left = self.limit - sum(self.limit if each.holds is None else each.holds for each in holders)
        told: dict[str, Share] = {}
        for (key, holder), target in zip(self._holders.items(), split(self.limit, holders, int(now)), strict=True):
            if holder.holds is None:
                continue  # what is a smaller share to it, and what a larger one?
            before, most = holder.share.most, target
            if before is not None and target > before:
                most = max(before, min(target, holder.holds + max(0, left)))
                left -= max(0, most - holder.holds)
                holder.holds = max(holder.holds, most)
            if most != before or holder.share.of != self.limit:
                told[key] = self._tell(holder, most)
        return told

    def again(self, key: str) -> Share:
        """The last one, under a new serial, for an invoker that may not have heard of it."""
        holder = self._holders[key]
        return self._tell(holder, holder.share.most)

    def share_of(self, key: str) -> Share:
        return self._holders[key].share

    def _tell(self, holder: Holder, most: int | None) -> Share:
        holder.share = Share(serial=holder.share.serial + 1, most=most, of=self.limit)
        return holder.share


def split(limit: int, holders: Sequence[Holder], turn: int = 0) -> list[int]:
    """What each holder should have: first what it has need of, as evenly as that goes, then of the rest the same.

    Args:
        turn: who comes first of those that can't all have one more.
    """
    count = len(holders)
    needs = [min(each.wants, each.room) for each in holders]
    shares = [0] * count
    left = _pour(limit, shares, needs, [(index + turn) % count for index in range(count)])
    # Who has it keeps it, so that not every look changes something; else the newest, which has others' place to take.
    rooms = [max(need, 1) if each.is_leaving else each.room for each, need in zip(holders, needs, strict=True)]
    order = sorted(
        range(count), key=lambda index: (holders[index].is_leaving, -(holders[index].share.most or 0), -index)
    )
    ranks = [0] * count
    for rank, index in enumerate(order):
        ranks[index] = rank
    _pour(left, shares, rooms, ranks)
    return shares


def _pour(amount: int, shares: list[int], limits: Iterable[int], ranks: Sequence[int]) -> int:
    """Raise the lowest shares to their limits, one by one, as far as `amount` goes. Returns: what is left of it."""
    limits = list(limits)
    lowest = [(share, ranks[index], index) for index, share in enumerate(shares) if share < limits[index]]
    heapq.heapify(lowest)
    while amount and lowest:
        share, rank, index = heapq.heappop(lowest)
        shares[index] = share + 1
        amount -= 1
        if shares[index] < limits[index]:
            heapq.heappush(lowest, (share + 1, rank, index))
    return amount
