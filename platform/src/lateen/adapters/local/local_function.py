"""One version of a function on this machine: which invoker serves it, which is being started, and when to start none.

A new revision is started beside the old one and takes its place when it is ready; until then, and for good if it never
is, the old one serves. Nothing runs for a function that sleeps. Starts are single-flight, and each function has its own
backoff, so that a broken one costs no other.
"""

import asyncio
import logging
from typing import Protocol

import msgspec

from lateen.adapters.local.process import InvokerProcess, StartFailed
from lateen.domain.functions import Kept, State
from lateen.domain.provisioned import per_pod
from lateen.ports.deployer import Deployment, Endpoint, NotRunning, Observation
from lateen_invoker.control import Ready

log = logging.getLogger(__name__)

INIT_S = 10.0
"""An invoker lets the first initialisation take this long, or the function's timeout where that is longer."""
START_SLACK_S = 20.0
WAKE_S = 30.0
"""The longest that a caller waits for a start."""
STABLE_S = 60.0
FAILED_RETRY_S = (0.5, 30.0)
CRASH_RETRY_S = (0.1, 5.0)
REASON_LENGTH = 1000


def start_limit_s(deployment: Deployment) -> float:
    """An invoker is ready when all provisioned environments are, which share what cores there are."""
    one_s = max(INIT_S, deployment.timeout_s)
    return one_s + START_SLACK_S + one_s * max(0, provisioned_in(deployment) - 1)


def provisioned_in(deployment: Deployment) -> int:
    """Environments that the one invoker of a version keeps started."""
    return per_pod(deployment.provisioned, pods=1, concurrency=deployment.concurrency)


class Host(Protocol):
    """What the deployer does for its functions."""

    async def start_invoker(self, deployment: Deployment) -> tuple[InvokerProcess, Ready]:
        """Raises: `StartFailed`."""

    def retire(self, process: InvokerProcess, deployment: Deployment) -> None:
        """Its route is gone: end it when no call uses it any more."""

    def note(self, deployment: Deployment) -> str | None:
        """What the owner should know of how it runs here."""

    def observed(self, observation: Observation) -> None: ...


class LocalFunction:
    def __init__(self, host: Host, deployment: Deployment) -> None:
        self._host = host
        self._desired = deployment
        self._current: InvokerProcess | None = None
        self._served = deployment
        self._reason: str | None = None
        self._starting: asyncio.Task[str | None] | None = None
        self._kept: Kept | None = None
        self._failure: str | None = None
        self._failures = 0
        self._retry_at_s = 0.0
        self._ready_at_s = 0.0
        self._is_removed = False

    @property
    def running(self) -> Endpoint | None:
        """Where it can be called without waking it."""
        return None if self._current is None else self._current.endpoint

    @property
    def _serves_desired(self) -> bool:
        return self._current is not None and _version_of(self._served) == _version_of(self._desired)

    def apply(self, deployment: Deployment) -> None:
        """Make this, or what is newer, run."""
        known = self._desired
        is_otherwise = deployment.revision == known.revision and deployment.provisioned != known.provisioned
        if deployment.revision > known.revision or is_otherwise:
            self._desired = deployment
            self._failures, self._retry_at_s, self._failure = 0, 0.0, None
            if is_otherwise and not deployment.provisioned:
                self._let_sleep()
                return
            if self._current is not None and _runs_alike(deployment, self._served):
                self._served = deployment
        if self._serves_desired:
            self._observe("Active", self._served, self._reason)  # a report that was lost is made again
        else:
            self._start()

    def remove(self) -> None:
        self._is_removed = True
        self._failure = "the function was removed"
        self._drop()

    async def endpoint(self, deployment: Deployment) -> Endpoint:
        """Raises: `NotRunning`."""
        if deployment.revision > self._desired.revision and deployment.artifact_key:
            self.apply(deployment)  # else its code is being built, and what is desired here goes on
        if (current := self._current) is not None:
            return current.endpoint
        loop = asyncio.get_running_loop()
        give_up_at_s = loop.time() + min(WAKE_S, start_limit_s(deployment))
        while (current := self._current) is None:
            if self._is_removed or (self._starting is None and loop.time() < self._retry_at_s and self._failure):
                raise NotRunning(self._failure or "the function was removed")
            started = self._start()
            left_s = give_up_at_s - loop.time()
            if left_s > 0:
                await asyncio.wait([started], timeout=left_s)
            if self._current is not None:
                continue
            if not started.done():
                raise NotRunning("the function did not start in time")
            if (failure := started.result()) is not None:
                raise NotRunning(failure)
        return current.endpoint

    def endpoint_now(self, deployment: Deployment) -> Endpoint | None:
        current = self._current
        if current is None or (deployment.revision > self._desired.revision and deployment.artifact_key):
            return None
        return current.endpoint

    def process_idle(self, process: InvokerProcess) -> None:
        # A call that is on its way is not lost: the process ends only when nothing uses it.
        if process is self._current and not self._desired.provisioned:
            self._drop()

    def process_exited(self, process: InvokerProcess) -> None:
        """It died. The next call starts another one, or this does where environments are kept; after the second
        death in a row that takes a little longer."""
        if process is not self._current:
            return
        now_s = asyncio.get_running_loop().time()
        self._failures = self._failures + 1 if now_s - self._ready_at_s < STABLE_S else 1
        self._failure = None
        self._retry_at_s = now_s + (_backoff_s(CRASH_RETRY_S, self._failures - 1) if self._failures > 1 else 0.0)
        log.warning("invoker died", extra={"function": self._served.function_id, "pid": process.pid})
        self._drop()
        if self._desired.provisioned:
            self._start()

    def _let_sleep(self) -> None:
        """Nothing is kept any more: the next call starts it."""
        self._kept = None
        if self._current is not None:
            self._drop()
            self._observe("Active", self._desired, self._reason)

    def _drop(self) -> None:
        process, self._current = self._current, None
        if process is not None:
            self._host.retire(process, self._served)

    def _start(self) -> "asyncio.Task[str | None]":
        if self._starting is None:
            self._starting = asyncio.get_running_loop().create_task(self._start_desired())
            self._starting.add_done_callback(self._start_ended)
        return self._starting

    def _start_ended(self, task: "asyncio.Task[str | None]") -> None:
        self._starting = None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("start failed by a defect", exc_info=error, extra={"function": self._desired.function_id})

    async def _start_desired(self) -> str | None:
        """Start what is desired, again if that changes meanwhile. Returns: why it does not run, or None."""
        loop = asyncio.get_running_loop()
        while not self._is_removed:
            deployment = self._desired
            if (wait_s := self._retry_at_s - loop.time()) > 0:
                await asyncio.sleep(wait_s)
            try:
                process, ready = await self._host.start_invoker(deployment)
            except StartFailed as exc:
                if deployment is self._desired and not self._is_removed:
                    return self._failed(deployment, str(exc))
                continue
            if self._is_removed or deployment.revision < self._served.revision:
                # The change was taken back meanwhile: what serves runs alike, and is newer by now than this.
                self._host.retire(process, deployment)
                if self._serves_desired:
                    return None
                continue
            # Also when a newer one is desired by now: this is newer than what serves.
            self._drop()
            self._current, self._served, self._ready_at_s = process, deployment, loop.time()
            self._failure = None
            self._reason = _reason_of(ready) or self._host.note(deployment)
            self._kept = None
            if deployment.provisioned:
                self._kept = Kept(deployment.provisioned, 0 if ready.init_error else provisioned_in(deployment))
            self._observe("Active", deployment, self._reason)
            if deployment is self._desired:
                return None
        return "the function was removed"

    def _failed(self, deployment: Deployment, reason: str) -> str:
        self._failures += 1
        self._retry_at_s = asyncio.get_running_loop().time() + _backoff_s(FAILED_RETRY_S, self._failures)
        self._failure = reason[:REASON_LENGTH]
        log.warning("function not started", extra={"function": deployment.function_id, "reason": self._failure})
        self._observe("Failed", deployment, self._failure)
        return self._failure

    def _observe(self, state: State, deployment: Deployment, reason: str | None) -> None:
        self._host.observed(
            Observation(
                function_id=deployment.function_id,
                version=deployment.version,
                revision=deployment.revision,
                state=state,
                reason=reason,
                kept=self._kept if state == "Active" else None,
            )
        )


def _version_of(deployment: Deployment) -> tuple[int, int]:
    """What an invoker has to be started anew for."""
    return deployment.revision, deployment.provisioned


def _runs_alike(one: Deployment, other: Deployment) -> bool:
    """Whether nothing that an invoker is told differs, such as after a change of the description."""
    own = {name: getattr(other, name) for name in ("revision", "replicas", "reserved")}
    return msgspec.structs.replace(one, **own) == other


def _backoff_s(bounds_s: tuple[float, float], failures: int) -> float:
    first_s, last_s = bounds_s
    return float(min(last_s, first_s * 2 ** min(failures - 1, 16)))


def _reason_of(ready: Ready) -> str | None:
    """An initialisation that fails leaves the function Active, as on AWS: each call answers the error."""
    if ready.init_error is None:
        return None
    return f"The code failed when it was loaded: {ready.init_error.type}: {ready.init_error.message}"[:REASON_LENGTH]
