"""`LocalDeployer`: functions as processes of this machine, one invoker for each version that is awake.

One invoker more may be kept started and without a function (`spare`), so that a new or sleeping function does not wait
for an interpreter. Everything ends with this process: by `close`, and by the kernel where that is not reached.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from lateen.adapters.local.hardening import forbid_inspection
from lateen.adapters.local.local_function import LocalFunction, provisioned_in, start_limit_s
from lateen.adapters.local.probe import is_weaker
from lateen.adapters.local.process import InvokerProcess, StartFailed
from lateen.adapters.local.record_keeper import RecordKeeper, Store
from lateen.adapters.local.reservations import Reservations
from lateen.adapters.local.work_folders import WorkFolders
from lateen.domain.errors import LateenError
from lateen.domain.functions import LATEST, deployment_id, version_in
from lateen.ports.deployer import Deployment, Endpoint, NotRunning, Observation
from lateen.ports.objects import Objects
from lateen_invoker import control
from lateen_invoker.control import RuntimeCommand

if TYPE_CHECKING:
    from prometheus_client import Metric

log = logging.getLogger(__name__)

SPARE_AFTER_S = 0.5
"""A new spare is made when the one before has most likely got its function going: both at once would slow that down."""
REMEMBERED = 10_000
_CALL_SLACK_S = 10.0


class LocalSettings(Struct, frozen=True, kw_only=True):
    region: str = "us-east-1"
    idle_s: float = 600.0
    """Environments without an event for this long end, and the invoker with its last one."""
    spare: bool = True
    queue: int = 1000
    """Callers of one function that may wait for an environment; the next one is answered 429."""
    sandbox: bool = True
    """False: the operator said that the code is trusted."""


class Traffic(Protocol):
    """Who sends calls to invokers; `lateen.gateway.pool.Pool`."""

    async def quiet(self, endpoint: Endpoint) -> None:
        """Return when no call uses this address."""


class LocalDeployer:
    """`Deployer`. `start` and everything else run on one loop, in a thread that lives as long as the process should."""

    def __init__(
        self,
        folder: Path,
        *,
        objects: Objects,
        command: Callable[[str], RuntimeCommand],
        store: Store,
        traffic: Traffic,
        settings: LocalSettings | None = None,
        notes: Mapping[str, str] | None = None,
        with_artifact: Callable[[Deployment], Awaitable[Deployment]] | None = None,
    ) -> None:
        """Args:
        with_artifact: for a deployment that lacks its artifact, which is built. Raises: `LateenError`.
        folder: for the functions' work folders; emptied by `start`.
        command: how a runtime's environments are started, by its canonical name. Raises: `LateenError`.
        notes: by runtime, what the owner of a function should know of how it runs here; said as its state's reason.
        store: keeps execution records.
        """
        self._folders = WorkFolders(folder)
        self._objects = objects
        self._command = command
        self._traffic = traffic
        self._settings = settings or LocalSettings()
        self._notes = notes or {}
        self._with_artifact = with_artifact
        self._records = RecordKeeper(store)
        self._reservations = Reservations()
        self._functions: dict[str, LocalFunction] = {}
        """By the deployment's id."""
        # Ids are never used again, so a call that knew a function before it was removed can't bring it back.
        self._removed: deque[str] = deque(maxlen=REMEMBERED)
        self._spare: asyncio.Task[InvokerProcess] | None = None
        self._processes: set[InvokerProcess] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._news: dict[str, Observation] = {}
        self._has_news = asyncio.Event()
        self._is_closing = False
        self._warned = False
        self.isolation = ""
        """What holds functions here, as a person was told; empty: nobody was."""

    async def start(self) -> None:
        """Remove what an earlier run left, prepare this process, make the spare."""
        forbid_inspection()
        await self._folders.clear()
        self._make_spare()

    async def apply(self, deployment: Deployment) -> None:
        function = self._functions.get(deployment.id)
        if function is None:
            if self._is_removed(deployment) or self._is_closing:
                return
            function = self._functions[deployment.id] = LocalFunction(self, deployment)
        function.apply(deployment)

    def hold(self, deployment: Deployment) -> None:
        self._reservations.reserve(deployment.function_id, deployment.reserved)

    async def remove(self, function_id: str, version: str | None = None) -> None:
        if version is not None:
            gone = [deployment_id(function_id, version)]
        else:
            self._reservations.forget(function_id)
            gone = [each for each in self._functions if version_in(each)[0] == function_id]
            if function_id not in self._removed:
                self._removed.append(function_id)
        for each in gone:
            if (function := self._functions.pop(each, None)) is not None:
                self._removed.append(each)
                function.remove()

    async def observations(self) -> AsyncIterator[Observation]:
        while True:
            await self._has_news.wait()
            news, self._news = self._news, {}
            self._has_news.clear()
            for observation in news.values():
                yield observation

    async def endpoint(self, deployment: Deployment) -> Endpoint:
        function = self._functions.get(deployment.id)
        if function is None and not deployment.artifact_key and self._with_artifact is not None:
            deployment = await self._with_artifact(deployment)
            function = self._functions.get(deployment.id)
        if function is None:
            if self._is_closing or self._is_removed(deployment):
                raise NotRunning("the function was removed" if not self._is_closing else "Lateen stops")
            function = self._functions[deployment.id] = LocalFunction(self, deployment)
        return await function.endpoint(deployment)

    def endpoint_now(self, deployment: Deployment) -> Endpoint | None:
        function = self._functions.get(deployment.id)
        return None if function is None else function.endpoint_now(deployment)

    def running(self) -> dict[str, Endpoint]:
        """What is awake and where; by the deployment's id."""
        return {
            each: endpoint for each, function in self._functions.items() if (endpoint := function.running) is not None
        }

    async def deployed(self) -> Collection[str]:
        return {version_in(each)[0] for each in self._functions}

    async def deployed_versions(self) -> Collection[tuple[str, str]]:
        return [each for each in map(version_in, self._functions) if each[1] != LATEST]

    @property
    def records_dropped(self) -> int:
        """Execution records lost since the start."""
        return self._records.dropped

    def collect(self) -> "Iterator[Metric]":
        """For a `prometheus_client` registry."""
        from prometheus_client.core import CounterMetricFamily

        yield CounterMetricFamily(
            "lateen_records_lost",
            "Execution records that never reached the store, those that invokers dropped included.",
            value=self.records_dropped,
        )

    async def close(self, *, within_s: float) -> None:
        """Drain every invoker at once; kill what is left after `within_s`."""
        self._is_closing = True
        for function in self._functions.values():
            function.remove()
        self._functions.clear()
        if self._spare is not None:
            self._spare.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*(process.stop(within_s=within_s) for process in list(self._processes)))
        await self._records.close(within_s=5.0)
        await self._folders.clear()

    # What functions ask of their host

    async def start_invoker(self, deployment: Deployment) -> tuple[InvokerProcess, control.Ready]:
        """Raises: `StartFailed`."""
        try:
            command = self._command(deployment.runtime)
            artifact = await self._objects.url(deployment.artifact_key)
            layers = [
                control.Layer(layer.arn, await self._objects.url(layer.key), layer.sha256)
                for layer in deployment.layers
            ]
        except LateenError as exc:
            raise StartFailed(str(exc)) from exc
        function_id = deployment.function_id
        process = await self._take()
        try:
            folder = self._folders.make(deployment.id)
        except OSError as exc:
            process.kill()
            raise StartFailed(f"no work folder: {exc.strerror}") from exc
        self._own(self._watch(process, deployment, folder))
        process.on_records = lambda batch: self._records.take(
            function_id, batch, stored=process.records_stored, gone=process.exited
        )
        process.on_idle = lambda: self._tell(deployment.id, LocalFunction.process_idle, process)
        configure = configure_for(
            deployment,
            self._settings,
            command=command,
            artifact=artifact,
            layers=layers,
            work_dir=str(folder),
            share=self._reservations.starts(process, deployment),
        )
        ready = await process.configure(configure, within_s=start_limit_s(deployment))
        if is_weaker(ready.isolation, than=self.isolation) and not self._warned:
            self._warned = True
            log.warning(
                "functions are held by less than was said at the start",
                extra={"function": function_id, "isolation": ready.isolation, "said": self.isolation},
            )
        return process, ready

    def retire(self, process: InvokerProcess, deployment: Deployment) -> None:
        self._reservations.leaves(process, deployment.function_id)
        if not self._is_closing:
            self._own(self._retire(process, deployment.timeout_s))

    def note(self, deployment: Deployment) -> str | None:
        return self._notes.get(deployment.runtime)

    def observed(self, observation: Observation) -> None:
        self._news[observation.id] = observation
        self._has_news.set()

    # Processes

    def _make_spare(self) -> None:
        if self._settings.spare and self._spare is None and not self._is_closing:
            self._spare = asyncio.get_running_loop().create_task(self._launch())
            self._spare.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def _take(self) -> InvokerProcess:
        """The spare where there is one, also one that is still starting; else a new process."""
        spare, self._spare = self._spare, None
        asyncio.get_running_loop().call_later(SPARE_AFTER_S, self._make_spare)
        if spare is not None:
            with suppress(StartFailed):
                process = await spare
                if process.is_alive:
                    return process
        return await self._launch()

    async def _launch(self) -> InvokerProcess:
        if self._is_closing:
            raise StartFailed("Lateen stops")
        process = InvokerProcess.launch()
        self._processes.add(process)
        self._own(self._forget(process))
        await process.listening()
        return process

    async def _forget(self, process: InvokerProcess) -> None:
        await process.exited.wait()
        self._processes.discard(process)

    async def _watch(self, process: InvokerProcess, deployment: Deployment, folder: Path) -> None:
        await process.exited.wait()
        self._reservations.ended(process, deployment.function_id)
        self._tell(deployment.id, LocalFunction.process_exited, process)
        await self._folders.remove(folder)

    async def _retire(self, process: InvokerProcess, timeout_s: int) -> None:
        try:
            # The longest that a call may take: waiting for an environment, then running.
            async with asyncio.timeout(max(10, timeout_s) + timeout_s + _CALL_SLACK_S):
                await self._traffic.quiet(process.endpoint)
        except TimeoutError:
            log.warning("invoker stopped below a call that does not end", extra={"pid": process.pid})
        await process.stop(within_s=1.0)

    def _tell(
        self, deployed: str, event: Callable[[LocalFunction, InvokerProcess], None], process: InvokerProcess
    ) -> None:
        if (function := self._functions.get(deployed)) is not None:
            event(function, process)

    def _is_removed(self, deployment: Deployment) -> bool:
        return deployment.id in self._removed or deployment.function_id in self._removed

    def _own(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def configure_for(
    deployment: Deployment,
    settings: LocalSettings,
    *,
    command: RuntimeCommand,
    artifact: str,
    layers: list[control.Layer],
    work_dir: str,
    share: control.Share | None = None,
) -> control.Configure:
    """What an invoker is told."""
    return control.Configure(
        function_id=deployment.function_id,
        function_name=deployment.function_name,
        workspace_id=deployment.workspace_id,
        account_id=deployment.account_id,
        version=deployment.version,
        hash=deployment.hash,
        region=settings.region,
        handler=deployment.handler,
        environment=deployment.environment,
        system_log_level=deployment.system_log_level,
        timeout_s=deployment.timeout_s,
        memory_mib=deployment.memory_mib,
        concurrency=deployment.concurrency,
        provisioned=provisioned_in(deployment),
        queue=settings.queue,
        open=deployment.open,
        url=deployment.url,
        invoke_key=deployment.invoke_key,
        artifact=artifact,
        artifact_sha256=deployment.artifact_sha256,
        layers=layers,
        runtime=command,
        work_dir=work_dir,
        idle_s=settings.idle_s,
        share=share,
        sandbox=settings.sandbox,
    )
