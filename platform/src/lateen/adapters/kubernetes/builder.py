"""`KubernetesBuilder`: builds as Jobs in the workspace's namespace, followed by looking again.

A Job's name follows from what is asked for. So whoever asks again, another controller after this one's end too, finds
what is being built already, and follows that.
"""

import asyncio
import logging
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from anyio import open_file

from lateen.adapters.kubernetes.api import ApiError, KubernetesApi
from lateen.adapters.kubernetes.build_manifests import BUILD, FETCH, PACK, build_job, build_name, build_secret
from lateen.adapters.kubernetes.config import FunctionsConfig
from lateen.adapters.kubernetes.kinds import JOB, POD, Manifest, Ref
from lateen.adapters.kubernetes.rollouts import problem_of_pod
from lateen.domain.errors import LateenError
from lateen.domain.runtimes import Runtime
from lateen.ports.builder import BuildInterrupted, BuildRefused, BuildRequest, BuildWaits, Log
from lateen.ports.objects import ObjectNotFound, Objects
from lateen.services.build_recipes import recipe_of
from lateen.services.builds import BUILDS_FOLDER

log = logging.getLogger(__name__)

LOOK_S = 1.0
STUCK_S = 15.0
"""A build whose pod can't be made, or can't start, for so long makes way for others."""
SLACK_S = 300
"""The addresses of a build are good for so much longer than it may take."""
REFUSED_EXIT = 3
"""Of the container that packs: what was built can't be a function's code; its last words say why."""
_TOO_LONG = "DeadlineExceeded"


class Presigned(Objects, Protocol):
    async def upload_url(self, key: str, *, expires_s: int) -> str: ...


class KubernetesBuildPlace:
    """`BuildPlace`: what is known of the builder without the cluster."""

    def __init__(self, config: FunctionsConfig) -> None:
        self._config = config
        architecture = config.pods.node_selector.get("kubernetes.io/arch")
        self.platform = f"linux/{architecture}" if architecture else "linux"

    def refusal(self, runtime: Runtime) -> str | None:
        recipe = recipe_of(runtime)
        if recipe is None or recipe.image is None:
            return f"nothing can be built for {runtime.name}"
        if runtime.name not in self._config.images.builds:
            return f"this installation has no image to build {runtime.name} in"
        return None


class KubernetesBuilder(KubernetesBuildPlace):
    """`Builder`."""

    def __init__(
        self,
        api: KubernetesApi,
        config: FunctionsConfig,
        *,
        objects: Presigned,
        runtime: Callable[[str], Runtime],
        ensure_place: Callable[[str], Awaitable[None]],
        leads_for_s: Callable[[], float],
    ) -> None:
        """Args:
        runtime: by its canonical name.
        ensure_place: returns when the workspace has its namespace, with its walls.
        leads_for_s: seconds for which no other process may act; asked before each write.
        """
        super().__init__(config)
        self._api = api
        self._objects = objects
        self._runtime = runtime
        self._ensure_place = ensure_place
        self._leads_for_s = leads_for_s

    @asynccontextmanager
    async def build(self, request: BuildRequest, *, log: Log) -> AsyncIterator[Path]:
        ref = self._job_of(request)
        incoming = f"{request.workspace_id}/{BUILDS_FOLDER}/incoming-{request.id}.zip"
        try:
            async with asyncio.timeout(self._config.builds.deadline_s + SLACK_S / 2):
                await self._begin(request, ref, incoming)
                await self._follow(ref, log)
        except TimeoutError:
            raise BuildInterrupted("the build's Job does not end") from None
        except ApiError as exc:
            raise BuildInterrupted(f"Kubernetes does not answer, or refuses: {exc}") from exc
        except BuildRefused:
            await self._remove(ref)
            raise
        with tempfile.TemporaryDirectory(prefix="build-") as folder:
            package = Path(folder, "artifact.zip")
            try:
                async with await open_file(package, "wb") as file:
                    async for chunk in self._objects.read(incoming):
                        await file.write(chunk)
            except ObjectNotFound:
                await self._remove(ref)
                raise BuildInterrupted("what the build's Job made is gone") from None
            yield package
        await self._remove(ref)
        await self._objects.delete(incoming)

    async def discard(self, request: BuildRequest) -> None:
        await self._remove(self._job_of(request))

    def _job_of(self, request: BuildRequest) -> Ref:
        return Ref(JOB, self._config.namespace_of(request.workspace_id), build_name(request))

    async def _begin(self, request: BuildRequest, ref: Ref, incoming: str) -> None:
        """A Job runs for this request, or has ended well."""
        await self._ensure_place(request.workspace_id)
        found = await self._api.get(ref)
        while found is not None and (_condition(found, "Failed") or "deletionTimestamp" in found["metadata"]):
            # Of an attempt before.
            await self._api.delete(ref, uid=found["metadata"]["uid"], within_s=self._leads_for_s())
            await asyncio.sleep(LOOK_S)
            found = await self._api.get(ref)
        if found is None:
            recipe = recipe_of(self._runtime(request.runtime))
            assert recipe is not None
            found = await self._api.create(
                build_job(request, self._config, recipe=recipe), within_s=self._leads_for_s()
            )
        elif _condition(found, "Complete"):
            return
        # Also for a Job that was there: who made it may not have come as far as this.
        expires_s = self._config.builds.deadline_s + SLACK_S
        kept = f"{request.workspace_id}/{BUILDS_FOLDER}/cache-{request.runtime}-{request.lock[:32]}.zip"
        addresses = {
            "source": await self._objects.url(request.source_key, expires_s=expires_s),
            "artifact": await self._objects.upload_url(incoming, expires_s=expires_s),
            "cache": await self._objects.url(kept, expires_s=expires_s),
            "kept": await self._objects.upload_url(kept, expires_s=expires_s),
        }
        secret = build_secret(request, self._config, addresses=addresses, owner=found)
        await self._api.apply(secret, within_s=self._leads_for_s())

    async def _follow(self, ref: Ref, log: Log) -> None:
        """Until it has ended well. Raises: `BuildRefused`, `BuildInterrupted`, `ApiError`.

        What waits for room stays there, for whoever makes nodes to see, and the next attempt follows it.
        """
        loop = asyncio.get_running_loop()
        free_at_s = loop.time()
        printing: asyncio.Task[None] | None = None
        pod: Manifest | None = None
        try:
            while True:
                job = await self._api.get(ref)
                if job is None:
                    raise BuildInterrupted("somebody removed the build's Job")
                pods, _ = await self._api.list(POD, ref.namespace, selector=f"job-name={ref.name}")
                pod = pods[0] if pods else pod
                if printing is None and pod is not None and _state_of(pod, BUILD).keys() & {"running", "terminated"}:
                    printing = asyncio.create_task(self._print(pod, log))
                if _condition(job, "Complete"):
                    break
                if (failed := _condition(job, "Failed")) is not None:
                    await _ended(printing)
                    raise _failure(failed, pod)
                if (problem := _hindrance(pod)) is None:
                    free_at_s = loop.time()
                elif loop.time() - free_at_s > STUCK_S:
                    raise BuildWaits(problem)
                await asyncio.sleep(LOOK_S)
            await _ended(printing)
        finally:
            if printing is not None:
                printing.cancel()

    async def _print(self, pod: Manifest, say: Log) -> None:
        metadata = pod["metadata"]
        try:
            chunks = self._api.log(
                metadata["namespace"], metadata["name"], BUILD, within_s=self._config.builds.deadline_s
            )
            async for chunk in chunks:
                say(chunk)
        except ApiError as exc:
            log.warning("a build's log is not whole", extra={"pod": metadata["name"], "reason": str(exc)})

    async def _remove(self, ref: Ref) -> None:
        """With its pod and its Secret. What fails is done by the Job's own limit."""
        with suppress(ApiError, LateenError):
            await self._api.delete(ref, within_s=self._leads_for_s())


async def _ended(printing: "asyncio.Task[None] | None") -> None:
    """What it has printed is there."""
    if printing is not None:
        await asyncio.wait([printing], timeout=10)


def _hindrance(pod: Manifest | None) -> str | None:
    """What keeps a build from running; None: nothing. How containers have ended is for their Job to say."""
    if pod is None:
        return "No pod can be made for it; the workspace's quota may be used up."
    status = pod.get("status") or {}
    if status.get("phase") == "Failed":
        return None
    lists = ("initContainerStatuses", "containerStatuses")
    waiting = {name: [each for each in status.get(name) or () if "waiting" in each.get("state", {})] for name in lists}
    return problem_of_pod({**pod, "status": {**status, **waiting}})


def _failure(condition: dict[str, Any], pod: Manifest | None) -> LateenError:
    """What the end of a Job and its pod say of the build."""
    build = {} if pod is None else _state_of(pod, BUILD)
    ended = build.get("terminated")
    reason = condition.get("reason", "")
    if reason == _TOO_LONG and ("running" in build or ended):
        return BuildRefused("it took too long.")
    if pod is not None and pod["status"].get("reason") == "Evicted":
        return BuildRefused(f"it was ended: {pod['status'].get('message', 'it took too much')}")
    if ended is not None and ended.get("reason") == "OOMKilled":
        return BuildRefused("it took too much memory.")
    if ended is not None and ended.get("exitCode") != 0:
        return BuildRefused(f"the build failed (exit status {ended.get('exitCode')}).")
    if pod is not None:
        packed = _state_of(pod, PACK).get("terminated") or {}
        if packed.get("exitCode") == REFUSED_EXIT:
            return BuildRefused(f"{packed.get('message', 'what was built is refused')}.")
        for name in (FETCH, BUILD, PACK):
            state = _state_of(pod, name)
            why = state.get("waiting") or state.get("terminated") or {}
            if why and why.get("exitCode") != 0 and why.get("reason") != "PodInitializing":
                words = f"{why.get('reason', '')} {why.get('message', '')}".strip()
                return BuildInterrupted(f"the container {name} did not do its work: {words}")
    return BuildInterrupted(f"the build's Job failed: {reason} {condition.get('message', '')}".strip())


def _condition(job: Manifest, kind: str) -> dict[str, Any] | None:
    conditions = job.get("status", {}).get("conditions", [])
    return next((each for each in conditions if each["type"] == kind and each["status"] == "True"), None)


def _state_of(pod: Manifest, container: str) -> dict[str, Any]:
    status = pod.get("status", {})
    for each in (*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])):
        if each["name"] == container:
            state: dict[str, Any] = each.get("state", {})
            return state
    return {}
