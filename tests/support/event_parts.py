"""Everything that an event meets, over the real embedded stores and on a clock that tests move."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from lateen.adapters.filesystem import FileObjects
from lateen.adapters.sqlite import SqliteTable
from lateen.adapters.sqlite_queue import SqliteQueue
from lateen.domain.access import PLATFORM
from lateen.domain.events import EventInvokeChange
from lateen.domain.functions import Function
from lateen.services.cursors import Cursors
from lateen.services.dead_letters import DeadLetter
from lateen.services.event_runs import EventRuns
from lateen.services.events import Events
from lateen.services.functions import FunctionChange, NewFunction
from lateen.services.redrives import Redrives
from lateen.testing.assembled import MASTER, ManualClock, Services, assemble
from lateen.testing.fake_deployer import FakeAnswer

RUNTIMES = Path(__file__).parents[2] / "runtimes"
FAILED = FakeAnswer(body=b'{"errorType":"ValueError","errorMessage":"no"}', function_error="Unhandled")
DONE = FakeAnswer(body=b'{"done":true}', executed_version="$LATEST")


class ScriptedInvoker:
    """Answers what it is told to, the last of it again and again; remembers what it was given."""

    def __init__(self) -> None:
        self.answers: list[FakeAnswer | Exception] = [DONE]
        self.calls: list[tuple[str, bytes, str | None, str | None]] = []

    async def invoke(
        self,
        function: Function,
        event: bytes,
        *,
        qualifier: str | None = None,
        client_context: str | None = None,
        request_id: str | None = None,
    ) -> FakeAnswer:
        self.calls.append((function.name, event, request_id, client_context))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Parts:
    """Everything that an event meets, but for what runs functions."""

    def __init__(self, services: Services, table: SqliteTable) -> None:
        self.services = services
        self.clock = services.clock
        self.queue = SqliteQueue(table, clock=self.clock)
        self.events = Events(self.queue, services.objects, now=self.clock)
        self.invoker = ScriptedInvoker()
        self.runs = EventRuns(
            self.queue,
            events=self.events,
            functions=services.functions,
            aliases=services.aliases,
            configs=services.event_configs,
            letters=services.dead_letters,
            invoker=self.invoker,
            region="eu-west-1",
            now=self.clock,
        )
        self.redrives = Redrives(
            table, functions=services.functions, events=self.events, cursors=Cursors(MASTER), now=self.clock
        )

    async def reserve(self, function: Function, concurrency: int | None) -> None:
        await self.services.functions.update(PLATFORM, function.id, FunctionChange(reserved_concurrency=concurrency))

    async def function(self, name: str = "hello", workspace: str = "default") -> Function:
        new = NewFunction(name=name, runtime="python3.12", code=b"def handler(e, c): return e\n")
        return (await self.services.functions.create(PLATFORM, workspace, new)).function

    async def set(self, function: Function, **change: Any) -> None:
        await self.services.event_configs.put(function, "$LATEST", EventInvokeChange(**change))

    async def run_due(self) -> int:
        """All that is due now. Returns: how many deliveries that were."""
        count = 0
        while messages := await self.queue.receive():
            for message in messages:
                await self.runs.run(message)
                count += 1
        return count

    async def later(self, seconds: float) -> int:
        self.clock.now_s += seconds
        return await self.run_due()

    async def letters(self, function: Function) -> list[DeadLetter]:
        return (await self.services.dead_letters.list(PLATFORM, function.id)).items

    async def blobs(self) -> list[str]:
        return [blob.key async for blob in self.services.objects.list("events/")]

    async def is_settled(self) -> bool:
        depth = await self.queue.depth()
        return (depth.waiting, depth.delayed, depth.leased) == (0, 0, 0)


@pytest.fixture
async def parts(tmp_path: Path, file_objects: FileObjects) -> AsyncIterator[Parts]:
    clock = ManualClock()
    table = SqliteTable(tmp_path / "lateen.db", clock=clock)
    services = assemble(table, file_objects, RUNTIMES, clock=clock)
    await services.workspaces.ensure_default()
    yield Parts(services, table)
    await table.close()


def arn(function: Function, name: str = "") -> str:
    return f"arn:aws:lambda:eu-west-1:{function.account_id}:function:{name or function.name}"
