"""`Endpoints` in a cluster: a function is where its Service's name leads. No question to the Kubernetes API is needed.

The name stands for one address for as long as the Service lives; behind it the node picks a pod for each connection.
A Service that is made anew gets another address, so a name is looked up again every few seconds, behind the backs of
those who use it. Look-ups run in the loop's own threads, one for each name at a time.

Resolvers remember for up to half a minute that a name does not exist. So nobody asks for a new function's name before
the controller has reported on it; by then its Service is there. A published version's Service goes when nobody wants it
any more, the report first; so of a version that is asked each time. Whoever calls one wants it.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable

from msgspec import Struct

from lateen.adapters.kubernetes.config import HTTP_PORT, FunctionsConfig
from lateen.domain.errors import Unavailable
from lateen.domain.functions import LATEST
from lateen.ports.deployer import Deployment, Endpoint, NotYetRunning

LIVES_S = 10.0
LOOK_UP_S = 2.0
"""For a resolver that does not answer; what was known is used meanwhile."""
NAMES = 10_000


class _Found(Struct):
    endpoint: Endpoint
    until_s: float


class ServiceEndpoints:
    def __init__(
        self,
        config: FunctionsConfig,
        *,
        is_reported: Callable[[str, str], Awaitable[bool]],
        want: Callable[[Deployment], None] = lambda _: None,
        port: int = HTTP_PORT,
    ) -> None:
        """Args:
        is_reported: whether the controller has said anything of this deployment, by workspace and id.
        want: says that a published version shall run.
        """
        self._config = config
        self._is_reported = is_reported
        self._want = want
        self._port = port
        self._found: dict[str, _Found] = {}
        """By the deployment's id."""
        self._looking: dict[str, asyncio.Task[Endpoint]] = {}

    async def endpoint(self, deployment: Deployment) -> Endpoint:
        """Raises: `NotYetRunning` where the name leads nowhere, also because the resolver is away."""
        known = self.endpoint_now(deployment)
        return known if known is not None else await asyncio.shield(self._look(deployment))

    def endpoint_now(self, deployment: Deployment) -> Endpoint | None:
        found = self._found.get(deployment.id)
        if found is None:
            return None
        if found.until_s < asyncio.get_running_loop().time():
            self._look(deployment)
        return found.endpoint

    def _look(self, deployment: Deployment) -> "asyncio.Task[Endpoint]":
        looking = self._looking.get(deployment.id)
        if looking is None:
            looking = self._looking[deployment.id] = asyncio.ensure_future(self._look_up(deployment))
            looking.add_done_callback(lambda done: done.cancelled() or done.exception())
        return looking

    async def _look_up(self, deployment: Deployment) -> Endpoint:
        deployed = deployment.id
        loop = asyncio.get_running_loop()
        known = self._found.get(deployed)
        if known is not None:
            # Whatever comes of it: not again for each call.
            known.until_s = loop.time() + LIVES_S
        try:
            may_go = deployment.version != LATEST
            if may_go:
                self._want(deployment)
            if (may_go or known is None) and not await self._may_be_asked_for(deployment):
                self._found.pop(deployed, None)
                raise NotYetRunning("the function was not deployed yet")
            async with asyncio.timeout(LOOK_UP_S):
                found = await loop.getaddrinfo(
                    self._config.host_of(deployed, deployment.workspace_id), self._port, type=socket.SOCK_STREAM
                )
        except socket.gaierror as exc:
            if exc.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)):
                self._found.pop(deployed, None)
            raise NotYetRunning("the function has no address yet") from exc
        except (OSError, TimeoutError) as exc:
            raise NotYetRunning("the cluster's resolver does not answer") from exc
        finally:
            self._looking.pop(deployed, None)
        endpoint = Endpoint(str(found[0][4][0]), self._port, deployment.invoke_key)
        if known is not None and known.endpoint == endpoint:
            endpoint = known.endpoint
        self._found.pop(deployed, None)
        self._found[deployed] = _Found(endpoint, loop.time() + LIVES_S)
        if len(self._found) > NAMES:
            del self._found[next(iter(self._found))]
        return endpoint

    async def _may_be_asked_for(self, deployment: Deployment) -> bool:
        try:
            return await self._is_reported(deployment.workspace_id, deployment.id)
        except Unavailable:
            return True
