"""An invoker's share of its function's reserved concurrency: what it is told, and what it says of it.

Whoever shares out has to know two things: that callers wait here for want of share, at once; and that less is used than
was, so that it may be given to others.
"""

import asyncio
from collections.abc import Callable

import msgspec

from lateen_invoker.control import Load, Share
from lateen_invoker.http_port import JSON, Request
from lateen_invoker.pool import Pool

SOON_S = 0.02
"""What changes within this time is said once."""
AGAIN_S = 1.0
"""While the share is used, what has changed is said this often."""
HOLD_S = 20.0


class Shares:
    """`report` is called with the load whenever there is something to say. One for a pool."""

    def __init__(self, pool: Pool, room: int, *, report: Callable[[Load], None]) -> None:
        """Args:
        room: environments that there may be.
        """
        self._pool = pool
        self._room = room
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._share = Share(serial=0, most=None)
        self._said: Load | None = None
        self._soon: asyncio.TimerHandle | None = None
        self._later: asyncio.TimerHandle | None = None
        pool.on_load = self._changed

    @property
    def load(self) -> Load:
        return Load(
            serial=self._share.serial,
            most=self._share.most,
            room=self._room,
            running=self._pool.running,
            waiting=self._pool.waiting,
        )

    @property
    def share(self) -> Share:
        return self._share

    def told(self, share: Share) -> None:
        """What was told before and comes later changes nothing."""
        if share.serial >= self._share.serial:
            self._share = share
            self._pool.share(share.most, share.of)
            self._say()

    def said(self, load: Load) -> None:
        """It was, unasked; `report` need not say it again."""
        self._said = load
        if self._later is not None:
            self._later.cancel()
        self._later = None
        if load.most is not None and (load.running or load.waiting):
            self._later = self._loop.call_later(AGAIN_S, self._look_again)

    def _changed(self) -> None:
        if self._soon is None:
            self._soon = self._loop.call_later(SOON_S, self._say)

    def _look_again(self) -> None:
        self._later = None
        if self.load != self._said:
            self._say()
        elif self._said is not None:
            self.said(self._said)

    def _say(self) -> None:
        if self._soon is not None:
            self._soon.cancel()
        self._soon = None
        load = self.load
        self.said(load)
        self._report(load)


class AskedShares:
    """In a pod, from which nothing leads to whoever shares out: it asks, and what is to be said is the answer.

    `POST /_lateen/share?serial=&most=&of=`, signed. A new serial is answered at once, without `most` the share stays as
    it is, `most=all` is none. The serial that is in force is answered when there is something new, or after `HOLD_S`.
    An older one is answered with 409.
    """

    def __init__(self, pool: Pool, room: int, share: Share | None) -> None:
        self._has_news = False
        self._held: Request | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._holds = True
        self._loop = asyncio.get_running_loop()
        self.shares = Shares(pool, room, report=lambda _: self._news())
        if share is not None:
            self.shares.told(share)
        self._has_news = False

    def ask(self, request: Request, query: str) -> None:
        """A signed request."""
        share = _share_in(query, self.shares.share)
        if request.method != "POST" or share is None:
            request.say(400, "Bad Request")
            return
        self._answer()  # whoever asks now has given the one before up
        known = self.shares.share.serial
        if share.serial < known:
            self._respond(request, 409)
        elif share.serial > known or self._has_news or not self._holds:
            if share.serial > known:
                self.shares.told(share)
            self._respond(request, 200)
        else:
            self._held = request
            self._timer = self._loop.call_later(HOLD_S, self._answer)

    def stop(self) -> None:
        """Hold nothing any more: an open request would look like a call that still runs."""
        self._holds = False
        self._answer()

    def _news(self) -> None:
        self._has_news = True
        self._answer()

    def _answer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        request, self._held, self._timer = self._held, None, None
        if request is not None and not request.connection.is_lost:
            self._respond(request, 200)

    def _respond(self, request: Request, status: int) -> None:
        load = self.shares.load
        self.shares.said(load)
        self._has_news = False
        request.connection.respond(request, status, JSON, msgspec.json.encode(load))


def _share_in(query: str, known: Share) -> Share | None:
    """None: it can't be understood."""
    given = dict(part.partition("=")[::2] for part in query.split("&"))
    if not given.keys() <= {"serial", "most", "of"} or (serial := _number(given.get("serial", ""))) is None:
        return None
    if "most" not in given:
        return Share(serial=serial, most=known.most, of=known.of)
    if given["most"] == "all":
        return Share(serial=serial, most=None)
    most, of = _number(given["most"]), _number(given.get("of", ""))
    return None if most is None or of is None else Share(serial=serial, most=most, of=of)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 16 else None
