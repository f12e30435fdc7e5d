"""How reserved concurrency is shared out: never more than there is, and to those who have use for it."""

import random
from collections import deque

import pytest

from lateen.services.shares import Holder, Sharing, split
from lateen_invoker.control import Load, Share


def a_holder(wants: int = 0, *, room: int = 10, has: int = 0, is_leaving: bool = False) -> Holder:
    return Holder(room=room, wants=wants, holds=has, share=Share(serial=1, most=has), is_leaving=is_leaving)


@pytest.mark.parametrize(
    ("limit", "holders", "shares"),
    [
        (10, [a_holder()], [10]),
        (10, [a_holder(), a_holder()], [5, 5]),
        (30, [a_holder(), a_holder()], [10, 10]),
        (10, [a_holder(8), a_holder()], [8, 2]),
        (10, [a_holder(30), a_holder(30)], [5, 5]),
        (10, [a_holder(2), a_holder(30)], [2, 8]),
        # One for whoever may still be called, however idle.
        (3, [a_holder(), a_holder(), a_holder()], [1, 1, 1]),
        (10, [a_holder(has=10, is_leaving=True), a_holder()], [1, 9]),
        # What is not enough for all goes to whoever has need of it, or had it, or is the newest.
        (1, [a_holder(has=1), a_holder(1)], [0, 1]),
        (1, [a_holder(has=1), a_holder()], [1, 0]),
        (1, [a_holder(has=1, is_leaving=True), a_holder()], [0, 1]),
        (1, [a_holder(), a_holder()], [0, 1]),
        (0, [a_holder(5), a_holder()], [0, 0]),
        (5, [], []),
    ],
)
def test_who_gets_how_much(limit: int, holders: list[Holder], shares: list[int]) -> None:
    assert split(limit, holders) == shares


def test_all_have_their_turn() -> None:
    """Where one is to be had and two want it, both get it in the course of time."""
    holders = [a_holder(5), a_holder(5)]
    assert {tuple(split(1, holders, turn)) for turn in range(4)} == {(1, 0), (0, 1)}


def test_what_one_gets_another_has_given_up() -> None:
    """A pod that still runs five after it was told three keeps the others from the two until they have ended."""
    sharing = Sharing(6)
    sharing.join("a", room=6, holds=0)
    first = sharing.due(0)["a"]
    assert first.most == 6
    sharing.said("a", Load(serial=first.serial, most=6, room=6, running=5, waiting=0))
    sharing.join("b", room=6, holds=0)
    sharing.said("b", Load(serial=0, most=0, room=6, running=0, waiting=9))
    told = sharing.due(0)
    assert (told["a"].most, told["b"].most) == (3, 0)
    sharing.said("a", Load(serial=told["a"].serial, most=3, room=6, running=5, waiting=0))
    assert sharing.due(0)["b"].most == 1
    sharing.said("a", Load(serial=told["a"].serial, most=3, room=6, running=3, waiting=0))
    assert sharing.due(0)["b"].most == 3


def test_nobody_gets_more_before_all_were_heard() -> None:
    """Whoever begins to share out doesn't know what others were given before; less is always possible."""
    sharing = Sharing(4)
    sharing.join("unknown", room=0, holds=None)
    sharing.join("new", room=10, holds=0)
    assert not any((share.most or 0) for share in sharing.due(0).values())
    sharing.said("unknown", Load(serial=7, most=3, room=10, running=1, waiting=0))
    told = sharing.due(0)
    assert told["unknown"].most == 2
    assert told["unknown"].serial > 7
    assert told["new"].most == 1


class _Invoker:
    """Takes what it is told, after a while, and runs what it may."""

    def __init__(self, room: int, share: Share) -> None:
        self.room, self.share, self.running, self.waiting = room, share, 0, 0
        self.to, self.back = deque[Share](), deque[Load]()
        self.is_leaving = False

    @property
    def may_run(self) -> int:
        most = self.room if self.share.most is None else min(self.share.most, self.room)
        return max(self.running, most)

    def step(self, chance: random.Random) -> None:
        if self.to and chance.random() < 0.5:
            share = self.to.popleft()
            if share.serial >= self.share.serial:
                self.share = share
            self.say()
        if chance.random() < 0.3 and not self.is_leaving:
            self.waiting += chance.randrange(5)
        if self.running and chance.random() < 0.5:
            self.running -= 1
            self.say()
        while self.waiting and self.running < min(self.share.most or 0, self.room):
            self.running, self.waiting = self.running + 1, self.waiting - 1
        if self.waiting and chance.random() < 0.3:
            self.say()

    def say(self) -> None:
        self.back.append(
            Load(
                serial=self.share.serial,
                most=self.share.most,
                room=self.room,
                running=self.running,
                waiting=self.waiting,
            )
        )


@pytest.mark.parametrize("seed", range(8))
def test_never_more_than_there_is(seed: int) -> None:
    """Invokers come and go, are slow to hear and to say, and always want more than there is."""
    chance = random.Random(seed)
    limit = chance.randrange(1, 12)
    sharing, invokers, peak = Sharing(limit), dict[str, _Invoker](), 0
    for step in range(2000):
        if len(invokers) < 4 and chance.random() < 0.05:
            key = f"i{step}"
            invokers[key] = _Invoker(chance.randrange(1, 12), Share(serial=0, most=0))
            sharing.join(key, room=invokers[key].room, holds=0)
        for key, invoker in list(invokers.items()):
            invoker.step(chance)
            if invoker.back and chance.random() < 0.7:
                sharing.said(key, invoker.back.popleft())
            if chance.random() < 0.01:
                invoker.is_leaving = True
                sharing.leaving(key)
            if invoker.is_leaving and not invoker.running:
                del invokers[key]
                sharing.left(key)
        for key, share in sharing.due(step / 10).items():
            invokers[key].to.append(share)
        running = sum(each.running for each in invokers.values())
        peak = max(peak, running)
        assert sum(each.may_run for each in invokers.values()) <= limit
    assert peak == limit, "all of it was used at some moment"
