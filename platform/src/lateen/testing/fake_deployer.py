"""A deployer whose functions are active at once and run nothing, and an invoker that answers for them."""

import asyncio
from collections.abc import AsyncIterator, Collection

import msgspec
from msgspec import Struct

from lateen.domain.functions import Function
from lateen.ports.deployer import Deployment, Endpoint, NotRunning, Observation


class FakeDeployer:
    """`Deployer`. `broken` holds names of functions that fail to start, with the reason."""

    def __init__(self) -> None:
        self.applied: dict[str, Deployment] = {}
        self.broken: dict[str, str] = {}
        self._news: asyncio.Queue[Observation] = asyncio.Queue()

    async def apply(self, deployment: Deployment) -> None:
        self.applied[deployment.function_id] = deployment
        reason = self.broken.get(deployment.function_name)
        self._news.put_nowait(
            Observation(
                function_id=deployment.function_id,
                revision=deployment.revision,
                state="Active" if reason is None else "Failed",
                reason=reason,
            )
        )

    async def remove(self, function_id: str) -> None:
        self.applied.pop(function_id, None)

    async def observations(self) -> AsyncIterator[Observation]:
        while True:
            yield await self._news.get()

    async def endpoint(self, deployment: Deployment) -> Endpoint:
        raise NotRunning("nothing runs in a test")

    def endpoint_now(self, deployment: Deployment) -> Endpoint | None:
        return None

    async def deployed(self) -> Collection[str]:
        return list(self.applied)


class FakeAnswer(Struct, frozen=True, kw_only=True):
    status: int = 200
    body: bytes = b"null"
    request_id: str = "8476a536-e9f4-11e8-9739-2dfe598c3fcd"
    function_error: str | None = None


class FakeInvoker:
    """Answers every event with itself, unless told what to answer."""

    def __init__(self) -> None:
        self.answer: FakeAnswer | None = None
        self.events: list[bytes] = []

    async def invoke(self, function: Function, event: bytes) -> FakeAnswer:
        self.events.append(event)
        return self.answer or FakeAnswer(body=event or msgspec.json.encode({}))
