"""A deployer whose functions are active at once and run nothing, and an invoker that answers for them."""

import asyncio
from collections.abc import AsyncIterator, Collection

import msgspec
from msgspec import Struct

from lateen.domain.functions import LATEST, Function
from lateen.ports.deployer import Deployment, Endpoint, NotRunning, Observation


class FakeDeployer:
    """`Deployer`; `applied` by the deployment's id. `broken` holds names of functions that fail to start, with the
    reason."""

    def __init__(self) -> None:
        self.applied: dict[str, Deployment] = {}
        self.reserved: dict[str, int | None] = {}
        self.broken: dict[str, str] = {}
        self._news: asyncio.Queue[Observation] = asyncio.Queue()

    async def apply(self, deployment: Deployment) -> None:
        self.applied[deployment.id] = deployment
        reason = self.broken.get(deployment.function_name)
        self._news.put_nowait(
            Observation(
                function_id=deployment.function_id,
                version=deployment.version,
                revision=deployment.revision,
                state="Active" if reason is None else "Failed",
                reason=reason,
            )
        )

    def hold(self, deployment: Deployment) -> None:
        self.reserved[deployment.function_id] = deployment.reserved

    async def remove(self, function_id: str, version: str | None = None) -> None:
        for deployment in list(self.applied.values()):
            if deployment.function_id == function_id and version in (None, deployment.version):
                del self.applied[deployment.id]

    async def observations(self) -> AsyncIterator[Observation]:
        while True:
            yield await self._news.get()

    async def endpoint(self, deployment: Deployment) -> Endpoint:
        raise NotRunning("nothing runs in a test")

    def endpoint_now(self, deployment: Deployment) -> Endpoint | None:
        return None

    async def deployed(self) -> Collection[str]:
        return {deployment.function_id for deployment in self.applied.values()}

    async def deployed_versions(self) -> Collection[tuple[str, str]]:
        return [(each.function_id, each.version) for each in self.applied.values() if each.version != LATEST]


class FakeAnswer(Struct, frozen=True, kw_only=True):
    status: int = 200
    body: bytes = b"null"
    request_id: str = "8476a536-e9f4-11e8-9739-2dfe598c3fcd"
    function_error: str | None = None
    executed_version: str | None = None


class FakeInvoker:
    """Answers every event with itself, unless told what to answer."""

    def __init__(self) -> None:
        self.answer: FakeAnswer | None = None
        self.events: list[bytes] = []

    async def invoke(
        self,
        function: Function,
        event: bytes,
        *,
        qualifier: str | None = None,
        client_context: str | None = None,
        request_id: str | None = None,
    ) -> FakeAnswer:
        self.events.append(event)
        return self.answer or FakeAnswer(body=event or msgspec.json.encode({}), executed_version=function.version)
