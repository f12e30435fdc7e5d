"""`KubernetesImageResolver`: has a node pull an image, with what nodes have for that, and reads what it got.

The platform itself asks no registry. Only nodes know mirrors, certificates and a cloud's credentials, and an address
that users name would be asked for from inside. So there is a Job whose pod has the image twice: once as the registry
has it, and once as the node does, which tells an image that was put there by hand from one that can't be had. Of the
image itself nothing runs: both containers start `init` with nothing to do, for only what was started is reported.
"""

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress

from anyio import move_on_after
from msgspec import Struct

from lateen.adapters.kubernetes.api import ApiError, ApiRefused, KubernetesApi
from lateen.adapters.kubernetes.config import FunctionsConfig
from lateen.adapters.kubernetes.image_functions import LOOKUP
from lateen.adapters.kubernetes.kinds import JOB, POD, Manifest, Ref, ref_of
from lateen.adapters.kubernetes.labels import lookup_labels
from lateen.adapters.kubernetes.pod_manifests import BRIEF, CONFINED, INIT_VOLUME, INVOKER_USER, copying
from lateen.adapters.kubernetes.roles import SERVICE_ACCOUNT_NAME
from lateen.adapters.kubernetes.rollouts import PULL, problem_of_container, problem_of_pod, refusal_text
from lateen.domain.errors import LateenError, Unavailable
from lateen.domain.images import Image
from lateen.ports.image_resolver import ImageFailed

LOOK_S = 0.5
LIMIT_S = 900
"""For a pull, the pod's start included."""
NO_POD_S = 15.0
_REMOVE_S = 5.0
_HERE = "as-is"
_NAMED = re.compile(r"(?:[a-z-]+://)?([^@]+)@sha256:([0-9a-f]{64})\Z")


class Seen(Struct, frozen=True):
    """What a node says of an image."""

    repository: str = ""
    digest: str = ""
    """Empty: it knows none that a registry has."""


class KubernetesImageResolver:
    """`ImageResolver`."""

    def __init__(
        self,
        api: KubernetesApi,
        config: FunctionsConfig,
        *,
        ensure_place: Callable[[str], Awaitable[None]],
        leads_for_s: Callable[[], float],
    ) -> None:
        """Args:
        ensure_place: returns when the workspace has its namespace, with its walls.
        leads_for_s: seconds for which no other process may act; asked before each write.
        """
        self._api = api
        self._config = config
        self._ensure_place = ensure_place
        self._leads_for_s = leads_for_s

    async def digest(self, workspace_id: str, image: Image) -> str | None:
        try:
            self._config.function_images.policy.check(image)
            await self._ensure_place(workspace_id)
            seen = await self._look(workspace_id, image.uri, image.repository)
            if seen.digest and seen.repository != image.repository:
                # A node that has an image under several names says one of them. Does the digest lead there by ours too?
                pinned = f"{image.repository}@sha256:{seen.digest}"
                with suppress(ImageFailed):
                    await self._look(workspace_id, pinned, image.repository)
                    return seen.digest
                return None
        except ImageFailed:
            raise
        except ApiRefused as exc:
            raise ImageFailed(refusal_text(str(exc))) from exc
        except ApiError as exc:
            raise Unavailable(f"Kubernetes does not answer: {exc}") from exc
        except LateenError as exc:
            raise ImageFailed(str(exc)) from exc
        return seen.digest or None

    async def _look(self, workspace_id: str, reference: str, repository: str) -> Seen:
        job = lookup_job(workspace_id, reference, self._config)
        ref = ref_of(job)
        try:
            async with asyncio.timeout(LIMIT_S):
                await self._api.create(job, within_s=self._leads_for_s())
                return await self._follow(ref, repository)
        except TimeoutError:
            raise ImageFailed(f"The image of the function was not pulled within {LIMIT_S} seconds.") from None
        finally:
            # What fails is done by the Job's own limits.
            with move_on_after(_REMOVE_S, shield=True), suppress(ApiError, LateenError):
                await self._api.delete(ref, within_s=self._leads_for_s())

    async def _follow(self, ref: Ref, repository: str) -> Seen:
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        while True:
            pods, _ = await self._api.list(POD, ref.namespace, selector=f"job-name={ref.name}")
            if not pods and loop.time() - begun_s > NO_POD_S:
                raise ImageFailed("No pod can be made to pull the image; the workspace's quota may be used up.")
            if pods and (seen := seen_in(pods[0], repository)) is not None:
                return seen
            await asyncio.sleep(LOOK_S)


def seen_in(pod: Manifest, repository: str) -> Seen | None:
    """What a pod of `lookup_job` says by now; None: nothing yet. Raises: `ImageFailed`."""
    status = pod.get("status") or {}
    containers = {each["name"]: each for each in status.get("containerStatuses") or ()}
    asked, here = containers.get(LOOKUP, {}), containers.get(_HERE, {})
    if asked.get("imageID"):
        return _seen(asked)
    if _waiting(asked) in PULL:
        if not here.get("imageID") and _waiting(here) not in PULL:
            return None
        if here.get("imageID") and _seen(here).repository != repository:
            return Seen()
        raise ImageFailed(problem_of_container(asked) or "")
    # What keeps it from coming as far as that.
    if (problem := problem_of_pod({**pod, "status": {**status, "containerStatuses": []}})) is not None:
        raise ImageFailed(problem)
    return None


def _seen(container: Manifest) -> Seen:
    found = _NAMED.match(container["imageID"])
    return Seen() if found is None else Seen(found[1], found[2])


def _waiting(container: Manifest) -> str:
    reason: str = ((container.get("state") or {}).get("waiting") or {}).get("reason", "")
    return reason


def lookup_job(workspace_id: str, reference: str, config: FunctionsConfig) -> Manifest:
    """Scheduled as the function's pods are: nodes differ in what they can pull."""
    pods = config.pods
    labels = lookup_labels(config, workspace_id=workspace_id)
    spec: Manifest = {
        "restartPolicy": "Never",
        "serviceAccountName": SERVICE_ACCOUNT_NAME,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 0,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "initContainers": [copying(config)],
        "containers": [_container(LOOKUP, reference, "Always"), _container(_HERE, reference, "Never")],
        "volumes": [INIT_VOLUME],
        "imagePullSecrets": [{"name": name} for name in pods.image_pull_secrets],
        "nodeSelector": pods.node_selector,
        "tolerations": pods.tolerations,
        "affinity": pods.node_affinity,
        "priorityClassName": pods.priority_class_name,
        "runtimeClassName": pods.runtime_class_name,
    }
    return {
        "apiVersion": JOB.version,
        "kind": JOB.name,
        "metadata": {
            # Each attempt its own: a node waits ever longer before it asks again for the same pod.
            "name": f"image-{secrets.token_hex(8)}",
            "namespace": config.namespace_of(workspace_id),
            "labels": labels,
        },
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": LIMIT_S,
            "ttlSecondsAfterFinished": 60,
            "template": {
                "metadata": {
                    "labels": {**pods.labels, **labels},
                    "annotations": {"eks.amazonaws.com/skip-containers": f"{LOOKUP},{_HERE}"},
                },
                "spec": {name: value for name, value in spec.items() if value not in (None, {}, [])},
            },
        },
    }


def _container(name: str, reference: str, pull_policy: str) -> Manifest:
    return {
        "name": name,
        "image": reference,
        "imagePullPolicy": pull_policy,
        "command": ["/lateen/init", "take"],
        "workingDir": "/",
        "resources": BRIEF,
        "securityContext": {**CONFINED, "runAsUser": INVOKER_USER, "runAsGroup": INVOKER_USER},
        "volumeMounts": [{"name": INIT_VOLUME["name"], "mountPath": "/lateen", "readOnly": True}],
    }
