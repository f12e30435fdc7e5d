"""Calls that come before there is a function to call: to the first pods of a new function, which calls reach before the
cluster knows them ready, and where a pod's invoker had to be started again.

Whoever called is answered a moment later instead of being refused. As many as may queue wait for a few seconds; then
they are told that nothing was executed, so that the platform tries once more.
"""

import asyncio

from lateen_invoker.front import Call, Front
from lateen_invoker.http_port import JSON, REFUSED, Port

WAIT_S = 10.0


class EarlyCall(Call):
    """A request that is held until `release`. Only the controller's are answered at once."""

    __slots__ = ()

    def start(self) -> None:
        port = self.connection.port
        assert isinstance(port, EarlyPort)
        front: Front = port.front
        # Its turn on its connection may have come since. A share has to be there before the first call runs.
        if port.is_released or self.target.startswith("/_lateen/share?"):
            super().start()
        elif self.target.partition("?")[0] != "/_lateen/state" or front.state is None:
            port.early.hold(self)
        elif front.is_signed(self.method, self.target, self.headers):
            self.connection.respond(self, 200, JSON, front.state())
        else:
            self.say(403, "Forbidden")


class EarlyPort(Port):
    """A port that begins with `EarlyCall`s."""

    def __init__(self, front: Front, *, keep_alive_s: float) -> None:
        super().__init__(EarlyCall, keep_alive_s=keep_alive_s)
        self.front = front
        self.metrics = front.metrics
        self.early = EarlyCalls(front.configure.queue)
        self.is_released = False

    def release(self) -> None:
        """There is a function now."""
        self.is_released = True
        self.new_request = Call
        self.early.release()


class EarlyCalls:
    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: dict[EarlyCall, asyncio.TimerHandle] = {}
        self._loop = asyncio.get_running_loop()

    def hold(self, call: EarlyCall) -> None:
        if len(self._held) >= self._limit:
            self._say_no(call)
        else:
            self._held[call] = self._loop.call_later(WAIT_S, self._refuse, call)

    def release(self) -> None:
        held, self._held = self._held, {}
        for call, timer in held.items():
            timer.cancel()
            if not call.connection.is_lost:  # nobody waits for that answer any more
                Call.start(call)

    def refuse_all(self) -> None:
        for call in list(self._held):
            self._refuse(call)

    def _refuse(self, call: EarlyCall) -> None:
        self._held.pop(call).cancel()
        self._say_no(call)

    @staticmethod
    def _say_no(call: EarlyCall) -> None:
        call.connection.respond(call, 503, REFUSED, b'{"message":"Service Unavailable"}')
