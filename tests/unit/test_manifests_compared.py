"""What differs between what is wanted and what is there, and what became of a function: the pure parts."""

import asyncio
from typing import Any

import pytest

from lateen.adapters.kubernetes import work as work_module
from lateen.adapters.kubernetes.api import ApiUnavailable
from lateen.adapters.kubernetes.kinds import Manifest
from lateen.adapters.kubernetes.labels import CONFIGURATION, TEMPLATE
from lateen.adapters.kubernetes.planner import adopted, difference, names_in, unneeded
from lateen.adapters.kubernetes.rollouts import clean, essentials, is_creating, is_early, refusal_text, rollout_of
from lateen.adapters.kubernetes.work import Work, together


@pytest.mark.parametrize(
    ("desired", "actual"),
    [
        ({"a": 1}, {"a": 1, "status": {"b": 2}}),
        ({"memory": "1024Mi"}, {"memory": "1Gi"}),
        ({"cpu": "1000m"}, {"cpu": "1"}),
        ({"hostNetwork": False, "tolerations": [], "x": None, "annotations": {}}, {}),
        ([{"name": "a"}], [{"name": "a", "protocol": "TCP"}]),
    ],
)
def test_what_others_add_is_no_difference(desired: Any, actual: Any) -> None:
    """Defaults, status, and another way to write the same amount."""
    assert difference(desired, actual) is None


@pytest.mark.parametrize(
    ("desired", "actual", "where"),
    [
        ({"a": {"b": 1}}, {"a": {"b": 2}}, ".a.b"),
        ({"a": {"b": 1}}, {}, ".a"),
        ({"a": [1, 2]}, {"a": [1, 2, 3]}, ".a"),
        ({"a": [{"b": 1}]}, {"a": [{"b": 3}]}, ".a[0].b"),
        ({"a": []}, {"a": [{}]}, ".a"),
        ({"a": False}, {"a": True}, ".a"),
        ({"a": 0}, {}, ".a"),
        ({"a": "1Gi"}, {"a": "2Gi"}, ".a"),
        # A wall that somebody has moved elsewhere, a Service that leads nowhere.
        ({"podSelector": {}}, {"podSelector": {"matchLabels": {"app": "none"}}}, ".podSelector"),
        (
            {"podSelector": {"matchLabels": {"a": "b"}}},
            {"podSelector": {"matchLabels": {"a": "b", "c": "d"}}},
            ".podSelector.matchLabels",
        ),
        ({"selector": {"a": "b"}}, {"selector": {"a": "b", "c": "d"}}, ".selector"),
    ],
)
def test_differences_are_named(desired: Any, actual: Any, where: str) -> None:
    assert difference(desired, actual) == where


def test_secrets_that_were_made_are_not_forgotten() -> None:
    """The names of earlier ones stay until they are removed, and that is when no pod has them any more."""
    desired: Manifest = {"metadata": {"annotations": {CONFIGURATION: "s-3"}}}
    live: Manifest = {"metadata": {"annotations": {CONFIGURATION: "s-2,s-1"}}}
    adopting = adopted(desired, live, CONFIGURATION)
    assert names_in(adopting, CONFIGURATION) == ["s-3", "s-2", "s-1"]
    assert adopted(desired, None, CONFIGURATION) == desired
    pod = {"spec": {"volumes": [{"name": "c", "secret": {"secretName": "s-2"}}, {"name": "run", "emptyDir": {}}]}}
    assert unneeded(adopting, [pod], CONFIGURATION, "s-3") == ["s-1"]
    assert unneeded(adopting, [], CONFIGURATION, "s-3") == ["s-2", "s-1"]


def a_deployment(template: str = "new", **status: Any) -> Manifest:
    counted = {
        "observedGeneration": 2,
        "replicas": 1,
        "updatedReplicas": 1,
        "availableReplicas": 1,
        "readyReplicas": 1,
        **status,
    }
    return {
        "metadata": {"name": "fn-a", "generation": 2},
        "spec": {"replicas": 1, "template": {"metadata": {"annotations": {TEMPLATE: template}}}},
        "status": counted,
    }


def a_pod(template: str = "new", *, ready: bool = True, stopping: bool = False, **status: Any) -> Manifest:
    metadata: Manifest = {"name": "p", "uid": "u", "annotations": {TEMPLATE: template}}
    if stopping:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    return {"metadata": metadata, "spec": {}, "status": {"phase": "Running", "conditions": conditions, **status}}


def waiting(name: str, reason: str, message: str = "", **more: Any) -> Manifest:
    return {"name": name, "state": {"waiting": {"reason": reason, "message": message}}, **more}


NOT_DONE = a_deployment(availableReplicas=0, readyReplicas=0)


def look(live: Manifest | None, *pods: Manifest) -> tuple[str | None, str | None]:
    rollout = rollout_of(template="new", replicas=1, live=live, pods=pods)
    return rollout.state, rollout.reason


def test_active_is_when_all_is_done() -> None:
    """And nothing is said while it is not."""
    assert look(None) == (None, None)
    assert look(a_deployment(), a_pod()) == ("Active", None)
    for live in (
        a_deployment(observedGeneration=1),
        a_deployment("old"),
        a_deployment(replicas=2),
        a_deployment(updatedReplicas=0),
        a_deployment(readyReplicas=0),
    ):
        assert look(live, a_pod()) == (None, None)
    assert look(a_deployment(), a_pod("old"), a_pod(stopping=True)) == (None, None)


def test_calls_come_early_until_something_was_ready() -> None:
    """The Service remembers that it was; where there is none, it is made as what is there wants it."""
    early: Manifest = {"spec": {"publishNotReadyAddresses": True}}
    later: Manifest = {"spec": {}}
    assert is_early(None, [])
    assert is_early(None, [a_pod(ready=False)])
    assert is_early(early, [a_pod(ready=False)])
    assert not is_early(early, [a_pod(ready=False), a_pod("old")])
    assert not is_early(None, [a_pod(stopping=True)])
    assert not is_early(later, [a_pod(ready=False)])
    assert not is_early({"spec": {"publishNotReadyAddresses": False}}, [])


def test_an_evicted_pod_is_soon_forgotten() -> None:
    """Its successor counts."""
    evicted = a_pod(ready=False, phase="Failed", message="low on memory")
    assert look(NOT_DONE, evicted)[0] == "Failed"
    assert look(NOT_DONE, evicted, a_pod(ready=False, phase="Pending")) == (None, None)


def test_an_update_is_known_by_the_old_pods() -> None:
    """While they are stopping, calls may still reach them."""
    rollout = rollout_of(template="new", replicas=1, live=a_deployment(), pods=[a_pod(), a_pod("old", stopping=True)])
    assert rollout.replaces
    assert not rollout_of(template="new", replicas=1, live=a_deployment(), pods=[a_pod()]).replaces


def test_what_replaces_nothing_waits_for_nothing() -> None:
    """Pods that are ready but not available yet are enough for a function that is new."""
    live = a_deployment(availableReplicas=0)
    assert look(live, a_pod()) == ("Active", None)
    assert look(live, a_pod(), a_pod("old", stopping=True)) == (None, None)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (
            {"initContainerStatuses": [waiting("invoker", "ErrImagePull", "no such image")]},
            "The image of the invoker can't be pulled (ErrImagePull): no such image",
        ),
        (
            {"containerStatuses": [waiting("runtime", "ImagePullBackOff")]},
            "The image of the runtime can't be pulled (ImagePullBackOff): no reason given",
        ),
        (
            {"containerStatuses": [waiting("runtime", "CreateContainerConfigError", "image will run as root")]},
            "The container of the runtime can't be started: image will run as root",
        ),
        (
            {"initContainerStatuses": [{"name": "invoker", "state": {"terminated": {"message": "No code.\n"}}}]},
            "No code.",
        ),
        (
            {
                "initContainerStatuses": [
                    waiting(
                        "invoker", "CrashLoopBackOff", lastState={"terminated": {"message": "No code.", "exitCode": 1}}
                    )
                ]
            },
            "No code.",
        ),
        (
            {"containerStatuses": [waiting("runtime", "CrashLoopBackOff", lastState={"terminated": {"exitCode": 3}})]},
            "The container of the runtime ends again and again, with exit code 3.",
        ),
        (
            {
                "containerStatuses": [
                    {"name": "runtime", "state": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}}
                ]
            },
            "The container of the runtime ran out of memory.",
        ),
        (
            {
                "containerStatuses": [
                    waiting(
                        "runtime",
                        "CrashLoopBackOff",
                        lastState={"terminated": {"reason": "StartError", "message": "/lateen/init: no such file"}},
                    )
                ]
            },
            "The container of the runtime can't be started: /lateen/init: no such file",
        ),
        (
            {"phase": "Failed", "message": "node was low on memory"},
            "A pod was ended by its node: node was low on memory.",
        ),
        (
            {
                "conditions": [
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/1 nodes are available: 1 Insufficient memory.",
                    }
                ]
            },
            "There is no room in the cluster: 0/1 nodes are available: 1 Insufficient memory.",
        ),
    ],
)
def test_failures_of_pods(status: Manifest, reason: str) -> None:
    assert look(NOT_DONE, a_pod(ready=False, **status)) == ("Failed", reason)


def test_failures_of_an_update() -> None:
    """Old pods that serve are told of; new ones that are ready beside others that are not, too."""
    broken = a_pod(ready=False, containerStatuses=[waiting("runtime", "ErrImagePull", "gone")])
    reason = "The image of the runtime can't be pulled (ErrImagePull): gone"
    assert look(NOT_DONE, broken, a_pod("old")) == ("Failed", f"{reason}. The version before goes on serving.")
    assert look(NOT_DONE, broken, a_pod("old", stopping=True)) == ("Failed", reason)
    assert look(NOT_DONE, broken, a_pod()) == ("Active", f"1 of 1 pods are ready. {reason}")


def test_failures_of_deployments() -> None:
    """Of the current template only; and nothing that was observed before the last change."""
    quota = {"type": "ReplicaFailure", "status": "True", "message": 'pods "x" is forbidden: exceeded quota: q, used: 1'}
    late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    none = {"availableReplicas": 0, "readyReplicas": 0}
    expected = "The workspace's quota is used up: q, used: 1."
    assert look(a_deployment(conditions=[quota], **none)) == ("Failed", expected)
    assert look(a_deployment(conditions=[late], **none)) == ("Failed", "No pod got ready in time.")
    assert look(a_deployment("old", conditions=[late], **none)) == (None, None)
    assert look(a_deployment(conditions=[late], observedGeneration=1, **none)) == (None, None)
    assert refusal_text("violates PodSecurity") == "The cluster refuses it: violates PodSecurity."


def test_what_containers_say_is_cleaned() -> None:
    """One line, without control characters, and short."""
    assert clean("a\n\x1b[31mb\x00\u202e  c") == "a [31mb c"
    assert len(clean("x" * 100_000)) == 400


def test_what_of_a_pod_is_kept() -> None:
    """All that is read, and no more."""
    pod = a_pod()
    pod["spec"] = {"volumes": [{"name": "c", "secret": {"secretName": "s"}}, {"name": "d", "emptyDir": {}}], "x": 1}
    pod["metadata"]["ownerReferences"] = []
    kept = essentials(pod)
    assert kept["spec"] == {"volumes": [{"name": "c", "secret": {"secretName": "s"}}]}
    assert "ownerReferences" not in kept["metadata"]
    assert kept["status"] == pod["status"]
    scheduled = [{"type": "PodScheduled", "status": "True"}]
    pending = a_pod(phase="Pending", conditions=scheduled)
    assert is_creating(pending)
    assert not is_creating(a_pod(phase="Pending", conditions=[]))
    assert not is_creating(
        a_pod(phase="Pending", conditions=scheduled, initContainerStatuses=[{"name": "invoker", "containerID": "c"}])
    )


class Noting:
    def __init__(self) -> None:
        self.calls: list[tuple[str, float]] = []
        self.running: set[str] = set()
        self.takes_s: dict[str, float] = {}
        self.failing: set[str] = set()

    async def __call__(self, key: str) -> None:
        assert key not in self.running, "one at a time"
        self.running.add(key)
        self.calls.append((key, asyncio.get_running_loop().time()))
        await asyncio.sleep(self.takes_s.get(key, 0))
        self.running.discard(key)
        if key in self.failing:
            raise ApiUnavailable("not now")

    def count(self, key: str) -> int:
        return len([1 for each, _ in self.calls if each == key])


async def test_a_key_is_worked_on_by_one_and_again_if_it_changed() -> None:
    """However often it is added meanwhile."""
    noting = Noting()
    noting.takes_s = {"a": 0.5}
    work = Work(noting)
    task = asyncio.create_task(work.run())
    for _ in range(10):
        work.add("a")
        await asyncio.sleep(0.005)
    await asyncio.sleep(1.3)
    assert noting.count("a") == 2
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_slow_keys_stand_in_nobodys_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when there are more of them than are worked on at a time."""
    monkeypatch.setattr(work_module, "PATIENCE_S", 0.05)
    noting = Noting()
    noting.takes_s = {f"slow-{n}": 10 for n in range(60)}
    work = Work(noting)
    task = asyncio.create_task(work.run())
    for n in range(60):
        work.add(f"slow-{n}")
    work.add("quick")
    await asyncio.sleep(0.4)
    assert noting.count("quick") == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_failing_keys_are_tried_ever_more_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    """No event has them tried sooner, but a new wish does."""
    monkeypatch.setattr(work_module, "FIRST_RETRY_S", 0.1)
    noting = Noting()
    noting.failing = {"a"}
    work = Work(noting)
    task = asyncio.create_task(work.run())
    work.add("a")
    for _ in range(60):
        await asyncio.sleep(0.01)
        work.add("a")
    times = [when for _, when in noting.calls]
    assert 3 <= len(times) <= 4
    assert times[2] - times[1] > 1.2 * (times[1] - times[0])
    noting.failing.clear()
    count = noting.count("a")
    work.add("a", anew=True)
    await asyncio.sleep(0.03)
    assert noting.count("a") == count + 1
    work.add("a")
    await asyncio.sleep(0.03)
    assert noting.count("a") == count + 2, "it counts as failing no more"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_all_of_several_parts_end_before_an_error_is_told() -> None:
    ended = []

    async def part(number: int) -> None:
        await asyncio.sleep(0.01 * number)
        ended.append(number)
        if number == 1:
            raise ApiUnavailable("no")

    with pytest.raises(ApiUnavailable):
        await together(part(1), part(2))
    assert ended == [1, 2]
