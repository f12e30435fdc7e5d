"""From a function to a connection that carries one call, however long its pods take to come.

Only what was never sent is tried again: a connection that was refused, that nobody answered, a name that leads nowhere
yet. A function whose only pod moves is called late, then, and not in vain. One caller at a time tries, and tells the
others of its success, so that a thousand callers of a function that is away cost what one costs. Nobody waits for a
function that has failed.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

from lateen.domain.errors import Unavailable
from lateen.gateway.connections import Connection
from lateen.gateway.pool import CallerLeft, ConnectFailed, Pool
from lateen.gateway.refusals import Receive
from lateen.ports.deployer import Deployment, Endpoint, Endpoints, NotRunning, NotYetRunning

PATIENCE_S = 30.0
WAITS_S = (0.0, 0.02, 0.05, 0.1)
"""Before each further attempt; the last one again and again."""
STILL_THERE_S = 1.0
"""How often a call that waits for its function asks whether there is one."""
WAITING = 2000
"""Callers that wait at a time, for all functions together."""
WAITING_OF_ONE = WAITING // 2
"""For all functions of one workspace: its own callers must not take every other one's place."""


NOT_YET = (ConnectFailed, NotYetRunning)


class Connecting:
    """For one event loop."""

    def __init__(
        self,
        endpoints: Endpoints,
        pool: Pool,
        *,
        patience_s: float = PATIENCE_S,
        failure_of: Callable[[Deployment], Awaitable[str | None]] | None = None,
    ) -> None:
        """Args:
        failure_of: why it is in vain to wait for a deployment, or None: it may come.
        """
        self._endpoints = endpoints
        self._failure_of = failure_of or _unknown
        self._checked: dict[str, tuple[str | None, float]] = {}
        """By the deployment's id: why it has failed, if it has, and until when that is believed."""
        self.pool = pool
        self._patience_s = patience_s
        self._tries: dict[str, asyncio.Event] = {}
        """By the deployment's id: set when the one who tries has come through, or has given up."""
        self.waiting = 0
        self._waiting_of: Counter[str] = Counter()
        """By workspace."""

    def now(self, deployment: Deployment) -> tuple[Endpoint, Connection] | None:
        """Where there is one without waiting."""
        endpoint = self._endpoints.endpoint_now(deployment)
        connection = self.pool.idle(endpoint) if endpoint is not None else None
        if endpoint is None or connection is None:
            return None
        return endpoint, connection

    async def connection(self, deployment: Deployment, *, fresh: bool = False) -> tuple[Endpoint, Connection]:
        """Wakes the function if it sleeps, and waits for it while it is away.

        Args:
            fresh: no connection that was used before.
        Raises: `Unavailable` (`NotRunning` says why).
        """
        try:
            return await self.attempt(deployment, fresh=fresh)
        except NOT_YET:
            return await self.wait(deployment)

    async def attempt(
        self, deployment: Deployment, *, fresh: bool = False, is_probe: bool = False
    ) -> tuple[Endpoint, Connection]:
        """As `connection`, once. Raises: `NOT_YET` too.

        Args:
            is_probe: made for all that wait for the function.
        """
        endpoint = await self._endpoints.endpoint(deployment)
        if not fresh and (connection := self.pool.idle(endpoint)) is not None:
            return endpoint, connection
        return endpoint, await self.pool.connect(endpoint, is_probe=is_probe)

    async def wait(self, deployment: Deployment) -> tuple[Endpoint, Connection]:
        """As `connection`, after an attempt that was in vain."""
        workspace_id = deployment.workspace_id
        if self.waiting >= WAITING or self._waiting_of[workspace_id] >= WAITING_OF_ONE:
            raise Unavailable("too many callers wait for functions that are away")
        self.waiting += 1
        self._waiting_of[workspace_id] += 1
        try:
            async with asyncio.timeout(self._patience_s):
                return await self._until_it_is_there(deployment)
        except TimeoutError:
            raise Unavailable(f"nothing of the function answered for {self._patience_s:g} s") from None
        finally:
            self.waiting -= 1
            self._waiting_of[workspace_id] -= 1
            if not self._waiting_of[workspace_id]:
                del self._waiting_of[workspace_id]

    async def wait_while(
        self,
        deployment: Deployment,
        watch: Receive | None,
        *,
        is_there: Callable[[bytes], Awaitable[object]],
    ) -> tuple[Endpoint, Connection]:
        """As `wait`, while the caller waits too, and while there is such a function.

        Args:
            watch: tells when the caller leaves; None: that can't be seen.
            is_there: raises where its hash leads nowhere any more.
        Raises: `CallerLeft` too, and what `is_there` raises.
        """
        waiting = asyncio.ensure_future(self.wait(deployment))
        left = asyncio.ensure_future(_left(watch))
        is_taken = False
        try:
            while True:
                await asyncio.wait((waiting, left), timeout=STILL_THERE_S, return_when=asyncio.FIRST_COMPLETED)
                if waiting.done():
                    break
                if left.done():
                    raise CallerLeft("the caller left")
                await is_there(deployment.hash.encode())
            is_taken = True
            return waiting.result()
        finally:
            left.cancel()
            if not waiting.cancel() and not is_taken and waiting.exception() is None:
                self.pool.release(waiting.result()[1], sent=False)

    async def _until_it_is_there(self, deployment: Deployment) -> tuple[Endpoint, Connection]:
        attempt = 0
        while True:
            tried = self._tries.get(deployment.id)
            if tried is not None:
                await tried.wait()
            else:
                tried = self._tries[deployment.id] = asyncio.Event()
                try:
                    while True:
                        await self._check(deployment)
                        await asyncio.sleep(WAITS_S[min(attempt, len(WAITS_S) - 1)])
                        attempt += 1
                        try:
                            return await self.attempt(deployment, is_probe=True)
                        except NOT_YET:
                            continue
                finally:
                    del self._tries[deployment.id]
                    tried.set()
            await self._check(deployment)
            try:
                return await self.attempt(deployment)
            except NOT_YET:
                continue

    async def _check(self, deployment: Deployment) -> None:
        """Raises: `NotRunning` where it is in vain to wait; that is asked anew every second."""
        now_s = asyncio.get_running_loop().time()
        reason, until_s = self._checked.get(deployment.id, (None, now_s))
        if until_s <= now_s:
            try:
                reason = await self._failure_of(deployment)
            except Unavailable:
                reason = None
            self._checked.pop(deployment.id, None)
            self._checked[deployment.id] = reason, now_s + STILL_THERE_S
            if len(self._checked) > WAITING:
                del self._checked[next(iter(self._checked))]
        if reason is not None:
            raise NotRunning(reason)


async def _unknown(_: Deployment) -> None:
    """Nobody can say."""


async def _left(watch: Receive | None) -> None:
    """Return when the caller has left; never where that can't be seen."""
    if watch is None:
        await asyncio.get_running_loop().create_future()
    else:
        while (await watch())["type"] != "http.disconnect":
            pass


def may_go_elsewhere(deployment: Deployment, connection: Connection) -> bool:
    """Whether a call that was refused is worth another pod: one that stops has a successor, one that is full has
    neighbours only where there are several."""
    return connection.is_refused and (connection.status != 429 or deployment.replicas > 1)
