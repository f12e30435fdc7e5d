"""What became of a function, read from its Deployment and pods: state, and a reason that a person can act on. Pure."""

from collections.abc import Sequence

from msgspec import Struct

from lateen.adapters.kubernetes.image_functions import ENTRY_POINT, LOOKUP, TAKING
from lateen.adapters.kubernetes.kinds import POD, Manifest
from lateen.adapters.kubernetes.labels import TEMPLATE
from lateen.adapters.kubernetes.pod_manifests import INVOKER, RUNTIME
from lateen.domain.functions import State

_TEXT_LIMIT = 400
PULL = frozenset({"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError"})
_CREATE = frozenset(
    {
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
        "StartError",
        "ContainerCannotRun",
        "PreCreateHookError",
        "PostStartHookError",
    }
)
_WHAT = {INVOKER: "the invoker", RUNTIME: "the runtime", TAKING: "the function", LOOKUP: "the function"}


class Rollout(Struct, frozen=True, kw_only=True):
    is_complete: bool
    """All pods that are wanted are of the current template and ready, and no others serve."""
    state: State | None = None
    """None: nothing is known that wasn't known before."""
    reason: str | None = None
    serves: bool = True
    """Some pod does, also of an earlier template."""
    replaces: bool = False
    """Pods of an earlier template are stopping."""
    pod: Manifest | None = None
    """A ready one of the current template."""


def rollout_of(*, template: str, replicas: int, live: Manifest | None, pods: Sequence[Manifest]) -> Rollout:
    """Args:
    template: digest of the pods that are wanted.
    pods: the function's.
    """
    if live is None:
        return Rollout(is_complete=False)
    current = [pod for pod in pods if _template(pod) == template and not _is_stopping(pod)]
    # An evicted pod stays as an object; what became of it is over as soon as there is another one.
    current = [pod for pod in current if pod.get("status", {}).get("phase") != "Failed"] or current
    ready = [pod for pod in current if is_ready(pod)]
    replaces = any(_template(pod) != template for pod in pods)
    if ready and _is_complete(live, template, replicas, "availableReplicas" if replaces else "readyReplicas"):
        return Rollout(is_complete=True, state="Active", replaces=replaces, pod=ready[0])
    problem = _problem_of(live, template, current)
    if problem is None:
        return Rollout(is_complete=False)
    serves = any(_template(pod) != template and is_ready(pod) and not _is_stopping(pod) for pod in pods)
    if serves:
        stop = "" if problem.endswith((".", "…")) else "."
        reason = f"{problem}{stop} The version before goes on serving."
        return Rollout(is_complete=False, state="Failed", reason=reason)
    if ready:
        reason = f"{len(ready)} of {replicas} pods are ready. {problem}"
        return Rollout(is_complete=False, state="Active", reason=reason)
    return Rollout(is_complete=False, state="Failed", reason=problem, serves=False)


def is_early(service: Manifest | None, pods: Sequence[Manifest]) -> bool:
    """Whether calls may reach pods that are not ready: as long as nothing of the function ever was.

    A pod's invoker listens, and holds calls until they can be served, more than a second before the cluster knows that
    it is ready; and there is nothing else that could serve. The Service itself remembers that the time is over.

    Args:
    service: the live one.
    pods: the function's.
    """
    was_early = service is None or bool(service["spec"].get("publishNotReadyAddresses"))
    return was_early and not any(is_ready(pod) for pod in pods)


def is_earlier(pod: Manifest, template: str) -> bool:
    """Of another template, and not stopping yet."""
    return _template(pod) != template and not _is_stopping(pod)


def has_address(pod: Manifest) -> bool:
    return bool((pod.get("status") or {}).get("podIP"))


def _is_complete(live: Manifest, template: str, replicas: int, counted: str) -> bool:
    """`counted`: available are those that were ready for a while. Where they replace nothing, nothing is waited for."""
    metadata, status = live["metadata"], live.get("status") or {}
    return (
        status.get("observedGeneration", 0) >= metadata.get("generation", 0)
        and (live["spec"]["template"]["metadata"].get("annotations") or {}).get(TEMPLATE) == template
        and live["spec"].get("replicas") == replicas
        and status.get("replicas", 0) == replicas
        and status.get("updatedReplicas", 0) == replicas
        and status.get(counted, 0) == replicas
    )


def _problem_of(live: Manifest, template: str, pods: Sequence[Manifest]) -> str | None:
    for pod in pods:
        if (problem := problem_of_pod(pod)) is not None:
            return problem
    if (live["spec"]["template"]["metadata"].get("annotations") or {}).get(TEMPLATE) != template:
        return None  # the conditions are those of an earlier template
    status = live.get("status") or {}
    if status.get("observedGeneration", 0) < live["metadata"].get("generation", 0):
        return None
    conditions = {each["type"]: each for each in status.get("conditions") or ()}
    failure = conditions.get("ReplicaFailure")
    if failure is not None and failure.get("status") == "True":
        return refusal_text(failure.get("message", ""))
    progress = conditions.get("Progressing")
    if progress is not None and progress.get("reason") == "ProgressDeadlineExceeded":
        return "No pod got ready in time."
    return None


def refusal_text(message: str) -> str:
    """Why the API server would not have a pod or another object."""
    if "exceeded quota" in message:
        return f"The workspace's quota is used up: {clean(message.partition('exceeded quota:')[2] or message)}."
    return f"The cluster refuses it: {clean(message)}."


def problem_of_pod(pod: Manifest) -> str | None:
    status = pod.get("status") or {}
    if status.get("phase") == "Failed":
        return (
            f"A pod was ended by its node: {clean(status.get('message') or status.get('reason') or 'no reason given')}."
        )
    for condition in status.get("conditions") or ():
        if (
            condition["type"] == "PodScheduled"
            and condition["status"] == "False"
            and condition.get("reason") == "Unschedulable"
        ):
            return f"There is no room in the cluster: {clean(condition.get('message', ''))}"
    first = status.get("initContainerStatuses") or ()
    for container in (*first, *(status.get("containerStatuses") or ())):
        if (problem := problem_of_container(container)) is not None:
            if "ends again" in problem and any(each["name"] == TAKING for each in first):
                # Nothing else of such a container ends by itself: `init` was not what the image starts.
                problem += f" The image's entry point may be another one than {ENTRY_POINT}; name it (EntryPoint)."
            return problem
    return None


def problem_of_container(container: Manifest) -> str | None:
    name = container["name"]
    what = _WHAT.get(name, "a container")
    state, last = container.get("state") or {}, (container.get("lastState") or {}).get("terminated") or {}
    waiting, ended = state.get("waiting") or {}, state.get("terminated") or last
    reason = waiting.get("reason", "")
    if reason in PULL:
        return f"The image of {what} can't be pulled ({reason}): {clean(waiting.get('message') or 'no reason given')}"
    if reason in _CREATE:
        return f"The container of {what} can't be started: {clean(waiting.get('message') or reason)}"
    if container.get("ready") or not ended or not (waiting or state.get("terminated")):
        return None
    if name in (INVOKER, TAKING) and ended.get("message"):
        # Its last words: what it could not get, or do.
        return clean(ended["message"])
    if ended.get("reason") == "OOMKilled":
        return f"The container of {what} ran out of memory."
    if ended.get("reason") in _CREATE:
        return f"The container of {what} can't be started: {clean(ended.get('message') or ended['reason'])}"
    if reason == "CrashLoopBackOff":
        return f"The container of {what} ends again and again, with exit code {ended.get('exitCode')}."
    return None


def clean(text: str) -> str:
    """One line that fits a state's reason; what a container or another program wrote is not trusted."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text[: 4 * _TEXT_LIMIT]).split())
    return line if len(line) <= _TEXT_LIMIT else f"{line[: _TEXT_LIMIT - 1]}…"


def _template(pod: Manifest) -> str | None:
    template: str | None = (pod["metadata"].get("annotations") or {}).get(TEMPLATE)
    return template


def _is_stopping(pod: Manifest) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def is_ready(pod: Manifest) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def is_creating(pod: Manifest) -> bool:
    """It has its node, and not one container yet: it waits for an image, a Secret, a volume."""
    status = pod.get("status") or {}
    if _is_stopping(pod) or status.get("phase") != "Pending":
        return False
    conditions = {each["type"]: each["status"] for each in status.get("conditions") or ()}
    begun = any(each.get("containerID") for each in status.get("initContainerStatuses") or ())
    return conditions.get("PodScheduled") == "True" and not begun


def essentials(pod: Manifest) -> Manifest:
    """What of a pod is read here; the rest of many pods would be most of the controller's memory."""
    metadata = pod["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "labels", "annotations", "deletionTimestamp")
    status = pod.get("status") or {}
    wanted = ("phase", "reason", "message", "podIP", "conditions", "initContainerStatuses", "containerStatuses")
    volumes = [each for each in pod["spec"].get("volumes") or () if "secret" in each]
    return {
        "kind": POD.name,
        "metadata": {name: metadata[name] for name in kept if name in metadata},
        "spec": {"volumes": volumes},
        "status": {name: status[name] for name in wanted if name in status},
    }
