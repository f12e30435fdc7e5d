"""`KubernetesDeployer`: functions as Deployments. The only part of the platform that changes the cluster.

What is wanted is told by `apply` and `remove`; what is there is seen by watches. Whenever either changes, the function
is looked at: what differs is applied, and what became of it is told. So whatever someone deletes or edits heals, and
doing nothing costs no call.
"""

import asyncio
import logging
import math
import random
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Protocol, get_args

import msgspec
from msgspec import Struct

from lateen.adapters.kubernetes.api import ApiRefused, ApiUnavailable, KubernetesApi
from lateen.adapters.kubernetes.applier import Applier
from lateen.adapters.kubernetes.config import FunctionsConfig
from lateen.adapters.kubernetes.image_functions import command_of
from lateen.adapters.kubernetes.kinds import (
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    HTTP_ROUTE,
    INGRESS,
    NAMESPACE,
    NETWORK_POLICY,
    POD,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
    Kind,
    Manifest,
    Ref,
    annotated,
    ref_of,
)
from lateen.adapters.kubernetes.labels import (
    CONFIGURATION,
    REVISION,
    TEMPLATE,
    deployment_in,
    selector_of_functions,
    selector_of_ours,
    selector_of_places,
    workspace_in,
)
from lateen.adapters.kubernetes.manifests import WEEK_S, FunctionObjects, objects_for, owned, provisioned_per_pod
from lateen.adapters.kubernetes.place_keeper import OWN_KINDS, PlaceKeeper
from lateen.adapters.kubernetes.planner import adopted, difference, names_in, unneeded
from lateen.adapters.kubernetes.pod_states import NoState, PodStates
from lateen.adapters.kubernetes.rollouts import (
    Rollout,
    clean,
    essentials,
    has_address,
    is_creating,
    is_earlier,
    is_early,
    is_ready,
    refusal_text,
    rollout_of,
)
from lateen.adapters.kubernetes.share_keeper import ShareKeeper
from lateen.adapters.kubernetes.watcher import Watched
from lateen.adapters.kubernetes.work import Work, together
from lateen.domain.errors import LateenError
from lateen.domain.functions import LATEST, Kept, State, deployment_id, version_in
from lateen.domain.workspaces import Quota
from lateen.ports.deployer import Deployment, Observation
from lateen_invoker.control import RuntimeCommand

if TYPE_CHECKING:
    from prometheus_client import Metric

log = logging.getLogger(__name__)

STUCK_S = 5.0
"""A pod whose containers are not even made after this long may lack a Secret."""
AWAY_S = 60.0
"""A function that the cluster doesn't take for so long, and says why, has failed, though it is tried again."""
LAG_S = 1.0
"""For which nodes may still send calls to a pod that is stopping."""
HEALS, HEALS_S = 5, 60.0
"""So many times in so long is put right at once what somebody changes; against another machine nobody wins."""
REMEMBERED = 10_000
ROLLING = 10
"""Functions at a time whose pods are replaced for the installation's sake: a new invoker, other values. Those that
users change are not among them, and don't wait."""
ROLLING_S = 300.0
"""So long one that doesn't get ready counts among them. An image that is broken is soon in nobody's way and goes no
further than these few; the others' pods stay as they are."""
ROLLING_AGAIN_S = 2.0
ROUTES = (INGRESS, HTTP_ROUTE)
"""Ways in past the gateway."""
PARTS = (*ROUTES, SERVICE, DISRUPTION_BUDGET, DEPLOYMENT, SERVICE_ACCOUNT)
"""What a function is made of, in the order in which it is taken away. Its Secrets go with the Deployment."""


class RunnableRuntimes(Protocol):
    """`runtime_images.RuntimeImages`. The first two raise `LateenError`."""

    def command(self, name: str) -> RuntimeCommand: ...

    def image(self, name: str) -> str: ...

    def has_init(self, name: str) -> bool: ...


class _Init(Struct, frozen=True):
    """How the first initialisation of these pods went."""

    template: str
    error: str | None


class _Wanted(Struct):
    deployment: Deployment
    objects: FunctionObjects | None = None
    secret_of: str | None = None
    """Uid of the Deployment for whose pods the Secret was made, by this process."""
    secret_at_s: float = 0.0
    init: _Init | None = None
    complete_at_s: float | None = None
    away_since_s: float | None = None
    """When the cluster didn't take it for the first time, and has not taken it since."""
    told: Observation | None = None
    heals: deque[float] = msgspec.field(default_factory=lambda: deque(maxlen=HEALS))


class KubernetesDeployer:
    """`Deployer` and `Places`; `run` makes it work. One for each time that this process leads."""

    def __init__(
        self,
        api: KubernetesApi,
        config: FunctionsConfig,
        *,
        runtimes: RunnableRuntimes,
        leads_for_s: Callable[[], float] = lambda: math.inf,
        retention_s: int = WEEK_S,
        pod_states: PodStates | None = None,
        digest_key: bytes = b"",
    ) -> None:
        """Args:
        digest_key: of digests of secrets, which are no secrets themselves.
        leads_for_s: seconds for which no other process may act; asked before each write.
        retention_s: execution records are kept so long.
        """
        self._config = config
        self._runtimes = runtimes
        self._retention_s = retention_s
        self._states = pod_states or PodStates()
        self._shares = ShareKeeper(leads_for_s=leads_for_s)
        # These are by the deployment's id.
        self._wanted: dict[str, _Wanted] = {}
        self._removing: dict[str, None] = {}
        self._closed: set[str] = set()
        """Those that aren't open, whatever is known of them otherwise."""
        self._news: dict[str, Observation] = {}
        self._has_news = asyncio.Event()
        self._rolling: dict[str, float] = {}
        """Since when."""
        self._asking: dict[str, asyncio.Task[None]] = {}
        functions, places = selector_of_functions(config), selector_of_places(config)
        namespace = config.functions_namespace
        watched = self._watched = {
            kind: Watched(api, kind, namespace, selector=functions, owner=deployment_in, changed=self._seen)
            for kind in (DEPLOYMENT, SERVICE, INGRESS, DISRUPTION_BUDGET)
        }
        # Also where none are made any more: what is left of them has to go. Few clusters know the kind otherwise.
        watched[HTTP_ROUTE] = Watched(
            api,
            HTTP_ROUTE,
            namespace,
            selector=functions,
            owner=deployment_in,
            changed=self._seen,
            may_be_absent=not config.http_route.enabled,
        )
        self._pods = watched[POD] = Watched(
            api, POD, namespace, selector=functions, owner=deployment_in, changed=self._pod_seen, reduced=essentials
        )
        for kind in (NETWORK_POLICY, *(OWN_KINDS if namespace is None else ())):
            watched[kind] = Watched(api, kind, namespace, selector=places, owner=workspace_in, changed=self._place_seen)
        watched[SERVICE_ACCOUNT] = Watched(
            api,
            SERVICE_ACCOUNT,
            namespace,
            selector=selector_of_ours(config),
            owner=deployment_in,
            changed=self._account_seen,
        )
        self._applier = Applier(api, watched, leads_for_s=leads_for_s)
        self._places = PlaceKeeper(config, applier=self._applier, watched=watched, digest_key=digest_key)
        self._work = Work(self._look)

    async def run(self) -> None:
        """Until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for watched in self._watched.values():
                    tasks.create_task(watched.run())
                await self._synced()
                tasks.create_task(self._places.run())
                tasks.create_task(self._work.run())
        finally:
            for task in self._asking.values():
                task.cancel()
            await self._states.close()
            await self._shares.close()

    # Deployer

    def hold(self, deployment: Deployment) -> None:
        self._shares.reserve(deployment)
        if deployment.open is (deployment.id in self._closed):
            self._closed ^= {deployment.id}
            self._work.add(deployment.id, anew=True)

    async def apply(self, deployment: Deployment) -> None:
        deployed = deployment.id
        known = self._wanted.get(deployed)
        if known is not None and known.deployment.revision > deployment.revision:
            return
        if known is not None and known.deployment == deployment:
            if known.init is not None and known.init.error is not None:
                known.init = None  # ask again: what it lacked may be there by now
            self._work.add(deployed)
            return
        self._removing.pop(deployed, None)
        self._wanted[deployed] = _Wanted(deployment)
        self._work.add(deployed, anew=True)

    async def remove(self, function_id: str, version: str | None = None) -> None:
        if version is None:
            # Its own id in any case: what was made of it may not have been seen yet.
            gone = {function_id, *(each for each in self._there() if version_in(each)[0] == function_id)}
            self._shares.forget(function_id)
        else:
            gone = {deployment_id(function_id, version)}
        for each in gone:
            self._wanted.pop(each, None)
            self._closed.discard(each)
            self._rolling.pop(each, None)
            self._news.pop(each, None)
            self._removing[each] = None
            self._work.add(each, anew=True)
        while len(self._removing) > REMEMBERED:
            del self._removing[next(iter(self._removing))]

    async def deployed(self) -> Collection[str]:
        await self._synced()
        return {version_in(each)[0] for each in self._there()}

    async def deployed_versions(self) -> Collection[tuple[str, str]]:
        await self._synced()
        return [each for each in map(version_in, self._there()) if each[1] != LATEST]

    def _there(self) -> set[str]:
        """Ids of all deployments of which there is, or shall be, something."""
        return set(self._wanted).union(*(self._watched[kind].owners() for kind in PARTS))

    async def observations(self) -> AsyncIterator[Observation]:
        while True:
            await self._has_news.wait()
            news, self._news = self._news, {}
            self._has_news.clear()
            for observation in news.values():
                yield observation

    # Places

    def settle(self, workspace_id: str, quota: Quota) -> None:
        self._places.settle(workspace_id, quota)

    async def ensure_place(self, workspace_id: str) -> None:
        """Returns when the workspace has its place. Raises: `ApiError`, `LateenError`."""
        await self._synced()
        await self._places.ensure(workspace_id)

    async def places(self) -> Collection[str]:
        await self._synced()
        return await self._places.places()

    async def clear(self, workspace_id: str) -> None:
        await self._synced()
        try:
            await self._places.clear(workspace_id)
        except (ApiRefused, ApiUnavailable) as exc:
            log.warning("namespace not removed", extra={"workspace": workspace_id, "reason": str(exc)})

    # What was seen

    async def _synced(self) -> None:
        for watched in self._watched.values():
            await watched.synced.wait()

    def _seen(self, manifest: Manifest) -> None:
        deployed = deployment_in(manifest)
        if deployed is not None and any(deployed in each for each in (self._wanted, self._removing, self._closed)):
            self._work.add(deployed)

    def _pod_seen(self, manifest: Manifest) -> None:
        metadata = manifest["metadata"]
        known = self._pods.get(metadata["namespace"], metadata["name"])
        self._shares.seen(manifest, is_there=known is not None and known["metadata"]["uid"] == metadata["uid"])
        self._seen(manifest)

    def _place_seen(self, manifest: Manifest) -> None:
        self._places.seen(manifest)
        if manifest["kind"] == NAMESPACE.name:
            for deployed in self._watched[DEPLOYMENT].owners() & set(self._wanted):
                if self._namespace(self._wanted[deployed].deployment) == manifest["metadata"]["name"]:
                    self._work.add(deployed)

    def _account_seen(self, manifest: Manifest) -> None:
        if deployment_in(manifest) is None:
            self._place_seen(manifest)
        else:
            self._seen(manifest)

    async def _look(self, deployed: str) -> None:
        wanted = self._wanted.get(deployed)
        if wanted is None:
            if deployed in self._removing:
                await self._take_away(deployed, PARTS)
            elif deployed in self._closed:
                await self._take_away(deployed, ROUTES)
        elif deployed in self._closed:
            # Not behind the rest, which may fail for long.
            await together(self._take_away(deployed, ROUTES), self._keep(wanted))
        else:
            await self._keep(wanted)

    async def _keep(self, wanted: _Wanted) -> None:
        try:
            if wanted.objects is None:
                wanted.objects = self._objects(wanted.deployment)
            await self._places.ensure(wanted.deployment.workspace_id)
            await self._make(wanted, wanted.objects)
        except LateenError as exc:
            self._tell(wanted, "Failed", str(exc), serves=self._serves(wanted))
            raise ApiUnavailable(str(exc)) from exc
        except ApiRefused as exc:
            if exc.status in (404, 409) or "being terminated" in str(exc):
                # Its namespace is not there, or not any more: made anew as soon as it is gone.
                self._places.doubt(wanted.deployment.workspace_id)
                raise ApiUnavailable(str(exc)) from exc
            self._tell(wanted, "Failed", refusal_text(str(exc)), serves=self._serves(wanted))
            raise
        except ApiUnavailable as exc:
            self._note_away(wanted, exc)
            raise
        wanted.away_since_s = None
        self._observe(wanted, wanted.objects)
        await self._prune(wanted, wanted.objects)
        await self._prune_accounts(wanted, wanted.objects)

    def _note_away(self, wanted: _Wanted, exc: ApiUnavailable) -> None:
        now_s = asyncio.get_running_loop().time()
        if wanted.away_since_s is None:
            wanted.away_since_s = now_s
        # A server that is away or has too much to do is no failure of this function, which waits for it.
        if exc.said and now_s - wanted.away_since_s >= AWAY_S:
            reason = f"The cluster does not take it now: {clean(exc.said)}."
            self._tell(wanted, "Failed", reason, serves=self._serves(wanted))

    def _objects(self, deployment: Deployment) -> FunctionObjects:
        """Raises: `LateenError`."""
        if deployment.image is not None:
            # Again here: what an administrator forbids is not started any more, whenever it was made.
            self._config.function_images.policy.check(deployment.image)
            return objects_for(
                deployment,
                self._config,
                command=command_of(deployment.image),
                image=deployment.image.pinned,
                has_init=False,
                retention_s=self._retention_s,
            )
        return objects_for(
            deployment,
            self._config,
            command=self._runtimes.command(deployment.runtime),
            image=self._runtimes.image(deployment.runtime),
            has_init=self._runtimes.has_init(deployment.runtime),
            retention_s=self._retention_s,
        )

    # Making it so

    async def _make(self, wanted: _Wanted, objects: FunctionObjects) -> None:
        deployment = objects.deployment["metadata"]
        live = self._watched[DEPLOYMENT].get(deployment["namespace"], deployment["name"])
        if live is not None and "deletionTimestamp" in live["metadata"]:
            raise ApiUnavailable("the Deployment is being deleted")
        if objects.account is not None:
            # First: without it there are no pods.
            await self._make_one(objects.account)
        service = objects.early_service if self._is_early(wanted, objects) else objects.service
        if live is not None:
            # Before there are newer pods: calls must not reach those until they are ready.
            await self._make_one(service)
        await together(
            self._make_pods(wanted, objects, live),
            self._make_ways_in(wanted, objects, service),
            self._make_budget(wanted, objects),
        )

    async def _make_pods(self, wanted: _Wanted, objects: FunctionObjects, live: Manifest | None) -> None:
        desired = adopted(objects.deployment, live, CONFIGURATION)
        if live is None:
            # First the Deployment, which owns the Secret: so no Secret is ever left behind. Its pods wait for it.
            live = await self._applier.apply(desired)
            await self._make_secret(wanted, objects, live)
            return
        is_stuck = wanted.secret_of != live["metadata"]["uid"] and not self._is_complete(wanted, objects, live)
        waits = self._waits(wanted)
        where = difference(desired, live)
        if where is not None and not (self._may_roll(wanted, desired, live) and self._may_heal(wanted)):
            desired, where = live, None
        # One that no Deployment names would stay, if something else is wanted by the time that this one may be changed.
        is_named = objects.secret["metadata"]["name"] in names_in(desired, CONFIGURATION)
        if is_named and (is_stuck or waits):
            await self._make_secret(wanted, objects, live)
        if waits:
            await self._places.copy_again(wanted.deployment.workspace_id)
        if where is not None:
            log.info(
                "deployment applied", extra={"function": wanted.deployment.function_id, "differs": where.lstrip(".")}
            )
            await self._applier.apply(desired)

    async def _make_secret(self, wanted: _Wanted, objects: FunctionObjects, owner: Manifest) -> None:
        await self._applier.apply(owned(objects.secret, owner))
        wanted.secret_of = owner["metadata"]["uid"]
        wanted.secret_at_s = asyncio.get_running_loop().time()

    def _is_early(self, wanted: _Wanted, objects: FunctionObjects) -> bool:
        metadata = objects.service["metadata"]
        live = self._watched[SERVICE].get(metadata["namespace"], metadata["name"])
        # Nobody shall wait for pods that have failed.
        return self._rollout(wanted, objects).serves and is_early(live, self._pods.of_owner(wanted.deployment.id))

    async def _make_ways_in(self, wanted: _Wanted, objects: FunctionObjects, service: Manifest) -> None:
        await self._make_one(service)
        if wanted.deployment.id in self._closed:
            return
        if objects.route is not None and self._may_lead(wanted, objects, objects.route):
            await self._make_one(objects.route)
        kept = None if objects.route is None else ref_of(objects.route).kind
        metadata = service["metadata"]
        for kind in ROUTES:
            if kind is not kept and self._watched[kind].get(metadata["namespace"], metadata["name"]) is not None:
                await self._applier.delete(Ref(kind, metadata["namespace"], metadata["name"]))

    async def _make_budget(self, wanted: _Wanted, objects: FunctionObjects) -> None:
        if objects.budget is not None:
            await self._make_one(objects.budget)
        else:
            await self._take_away(wanted.deployment.id, (DISRUPTION_BUDGET,))

    def _may_lead(self, wanted: _Wanted, objects: FunctionObjects, route: Manifest) -> bool:
        """Whether callers may be led past the gateway. Not to pods that were started before the function was opened:
        these refuse everybody. Until they are gone the gateway leads there, by another way in."""
        ref = ref_of(route)
        if self._watched[ref.kind].get(ref.namespace, ref.name) is not None:
            return True
        if any(is_earlier(pod, objects.template) for pod in self._pods.of_owner(wanted.deployment.id)):
            return False
        rollout = self._rollout(wanted, objects)
        return not (rollout.is_complete and rollout.replaces and self._lags(wanted))

    async def _make_one(self, manifest: Manifest) -> None:
        ref = ref_of(manifest)
        live = self._watched[ref.kind].get(ref.namespace, ref.name)
        if live is None or difference(manifest, live) is not None:
            await self._applier.apply(manifest)

    def _may_roll(self, wanted: _Wanted, desired: Manifest, live: Manifest) -> bool:
        deployed, now_s = wanted.deployment.id, asyncio.get_running_loop().time()
        new, old = desired["metadata"]["annotations"], live["metadata"].get("annotations") or {}
        if new[TEMPLATE] == old.get(TEMPLATE) or new[REVISION] != old.get(REVISION):
            return True
        self._rolling = {each: since_s for each, since_s in self._rolling.items() if since_s > now_s - ROLLING_S}
        if len(self._rolling) >= ROLLING and deployed not in self._rolling:
            self._work.add_later(deployed, ROLLING_AGAIN_S * random.uniform(0.5, 1.5))  # noqa: S311
            return False
        self._rolling.setdefault(deployed, now_s)
        return True

    def _may_heal(self, wanted: _Wanted) -> bool:
        now_s = asyncio.get_running_loop().time()
        if len(wanted.heals) == HEALS and wanted.heals[0] > now_s - HEALS_S:
            self._work.add_later(wanted.deployment.id, HEALS_S / HEALS)
            return False
        wanted.heals.append(now_s)
        return True

    def _waits(self, wanted: _Wanted) -> bool:
        """Whether a pod has been waiting for long for what its containers need."""
        deployed = wanted.deployment.id
        if not any(is_creating(pod) for pod in self._pods.of_owner(deployed)):
            return False
        left_s = wanted.secret_at_s + STUCK_S - asyncio.get_running_loop().time()
        self._work.add_later(deployed, max(0.1, left_s if left_s > 0 else STUCK_S))
        return left_s <= 0

    async def _take_away(self, deployed: str, kinds: Iterable[Kind]) -> None:
        for kind in kinds:
            for live in self._watched[kind].of_owner(deployed):
                if "deletionTimestamp" not in live["metadata"]:
                    metadata = live["metadata"]
                    await self._applier.delete(Ref(kind, metadata["namespace"], metadata["name"]))

    async def _prune(self, wanted: _Wanted, objects: FunctionObjects) -> None:
        """Remove the Secrets of pods that are gone."""
        metadata = objects.deployment["metadata"]
        live = self._watched[DEPLOYMENT].get(metadata["namespace"], metadata["name"])
        if live is None or len(names_in(live, CONFIGURATION)) < 2 or not self._is_complete(wanted, objects, live):
            return
        current = objects.secret["metadata"]["name"]
        pods = self._pods.of_owner(wanted.deployment.id)
        if not (names := unneeded(live, pods, CONFIGURATION, current)):
            return
        for name in names:
            await self._applier.delete(Ref(SECRET, metadata["namespace"], name))
        kept = [name for name in names_in(live, CONFIGURATION) if name not in names]
        await self._applier.apply(annotated(objects.deployment, CONFIGURATION, ",".join(kept)))

    async def _prune_accounts(self, wanted: _Wanted, objects: FunctionObjects) -> None:
        """Remove those of pods that are gone: of a function that has no role any more, or another name."""
        current = None if objects.account is None else objects.account["metadata"]["name"]
        there = [each["metadata"] for each in self._watched[SERVICE_ACCOUNT].of_owner(wanted.deployment.id)]
        if all(each["name"] == current for each in there):
            return
        rollout = self._rollout(wanted, objects)
        if rollout.is_complete and not rollout.replaces:
            for each in there:
                if each["name"] != current:
                    await self._applier.delete(Ref(SERVICE_ACCOUNT, each["namespace"], each["name"]))

    # Telling

    def _is_complete(self, wanted: _Wanted, objects: FunctionObjects, live: Manifest) -> bool:
        pods = self._pods.of_owner(wanted.deployment.id)
        rollout = rollout_of(template=objects.template, replicas=wanted.deployment.replicas, live=live, pods=pods)
        return rollout.is_complete

    def _rollout(self, wanted: _Wanted, objects: FunctionObjects) -> Rollout:
        metadata = objects.deployment["metadata"]
        return rollout_of(
            template=objects.template,
            replicas=wanted.deployment.replicas,
            live=self._watched[DEPLOYMENT].get(metadata["namespace"], metadata["name"]),
            pods=self._pods.of_owner(wanted.deployment.id),
        )

    def _observe(self, wanted: _Wanted, objects: FunctionObjects) -> None:
        rollout = self._rollout(wanted, objects)
        if rollout.is_complete:
            self._rolling.pop(wanted.deployment.id, None)
        if rollout.state is None:
            if wanted.told is None and self._can_be_called(wanted, objects):
                self._tell(wanted, "Pending", None)
            return
        if not rollout.is_complete:
            self._tell(wanted, rollout.state, rollout.reason, serves=rollout.serves)
        elif rollout.replaces and self._lags(wanted):
            return
        elif wanted.init is not None and wanted.init.template == objects.template:
            self._tell(wanted, "Active", wanted.init.error, kept=_kept(wanted.deployment, wanted.init))
        elif rollout.pod is not None:
            self._ask(wanted, objects.template, rollout.pod["status"].get("podIP", ""))

    def _can_be_called(self, wanted: _Wanted, objects: FunctionObjects) -> bool:
        """Though it is not ready: calls wait where they will be served. Whoever reaches for a function waits for the
        first report, for the Service's name must not be asked for too early; an address comes a second after that."""
        pods = self._pods.of_owner(wanted.deployment.id)
        return any(has_address(pod) for pod in pods) and self._is_early(wanted, objects)

    def _lags(self, wanted: _Wanted) -> bool:
        """Whether calls may still reach the pods of the version before."""
        now_s = asyncio.get_running_loop().time()
        if wanted.complete_at_s is None:
            wanted.complete_at_s = now_s
        left_s = wanted.complete_at_s + LAG_S - now_s
        if left_s > 0:
            self._work.add_later(wanted.deployment.id, left_s)
        return left_s > 0

    def _ask(self, wanted: _Wanted, template: str, address: str) -> None:
        deployed = wanted.deployment.id
        if deployed not in self._asking:
            task = self._asking[deployed] = asyncio.create_task(self._ask_pod(wanted, template, address))
            task.add_done_callback(lambda _: self._asking.pop(deployed, None))

    async def _ask_pod(self, wanted: _Wanted, template: str, address: str) -> None:
        try:
            error = await self._states.init_error(wanted.deployment, address)
        except NoState as exc:
            log.warning(
                "a pod did not say how it began", extra={"function": wanted.deployment.function_id, "reason": str(exc)}
            )
            error = None
        wanted.init = _Init(template, error)
        # Not from here: it looks up this task, which is not done yet.
        asyncio.get_running_loop().call_soon(self._work.add, wanted.deployment.id)

    def _serves(self, wanted: _Wanted) -> bool:
        return any(is_ready(pod) for pod in self._pods.of_owner(wanted.deployment.id))

    def _tell(
        self, wanted: _Wanted, state: State, reason: str | None, *, serves: bool = True, kept: Kept | None = None
    ) -> None:
        deployment = wanted.deployment
        observation = Observation(
            function_id=deployment.function_id,
            version=deployment.version,
            revision=deployment.revision,
            state=state,
            reason=reason,
            serves=serves,
            kept=kept,
        )
        if wanted.told != observation and self._wanted.get(deployment.id) is wanted:
            wanted.told = observation
            if state == "Failed":
                log.warning(
                    "function failed",
                    extra={"function": deployment.function_id, "version": deployment.version, "reason": reason},
                )
            self._news[deployment.id] = observation
            self._has_news.set()

    def _namespace(self, deployment: Deployment) -> str:
        return self._config.namespace_of(deployment.workspace_id)

    @property
    def waiting(self) -> int:
        """Functions that are to be looked at."""
        return self._work.length

    def writes(self) -> dict[tuple[str, str, str], int]:
        """Calls that were to change the cluster, by verb, kind and outcome."""
        return dict(self._applier.counts)

    def collect(self) -> "Iterator[Metric]":
        """For a `prometheus_client` registry."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        writes = CounterMetricFamily(
            "lateen_controller_writes",
            "Calls that change the cluster, by verb, kind of object and outcome.",
            labels=("verb", "kind", "outcome"),
        )
        for labels, count in self.writes().items():
            writes.add_metric(labels, count)
        yield writes
        yield GaugeMetricFamily(
            "lateen_controller_queue", "Functions that wait to be compared with the cluster.", value=self.waiting
        )
        functions = GaugeMetricFamily(
            "lateen_controller_functions",
            "Functions, and versions of them, that this controller keeps as they should be, by what became of them.",
            labels=["state"],
        )
        told = Counter("Pending" if each.told is None else each.told.state for each in self._wanted.values())
        for state in get_args(State):
            functions.add_metric([state], told[state])
        yield functions


def _kept(deployment: Deployment, init: _Init) -> Kept | None:
    """Of pods that are all ready: each is when its provisioned environments have settled."""
    if not deployment.provisioned:
        return None
    room = provisioned_per_pod(deployment) * deployment.replicas
    return Kept(deployment.provisioned, 0 if init.error is not None else room)
