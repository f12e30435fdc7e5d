"""What nodes say of an image that they were told to pull, and the pod that they are told by. Nothing here needs a
cluster."""

from pathlib import Path
from typing import Any

import pytest
from controller_setting import config_for

from lateen.adapters.kubernetes.access import Access
from lateen.adapters.kubernetes.api import KubernetesApi
from lateen.adapters.kubernetes.config import FunctionImages, Pods
from lateen.adapters.kubernetes.image_resolver import KubernetesImageResolver, Seen, lookup_job, seen_in
from lateen.adapters.kubernetes.kinds import Manifest
from lateen.adapters.kubernetes.labels import selector_of_functions
from lateen.domain.images import Image
from lateen.ports.image_resolver import ImageFailed

DIGEST = "0123456789abcdef" * 4
REPOSITORY = "a.b:5000/c"
BY_HAND = f"sha256:{DIGEST}"
IMPORTED = f"docker.io/library/import-2026-11-21@sha256:{DIGEST}"
"""As kind's nodes call what was loaded into them."""
PULLED = f"{REPOSITORY}@sha256:{DIGEST}"


def a_pod(registry: Any, node: Any = "", **status: Any) -> Manifest:
    """`registry`, `node`: image id of a started container, or the reason for which one waits."""

    def container(name: str, said: Any) -> Manifest:
        if ":" in said:
            return {"name": name, "imageID": said, "state": {"terminated": {"exitCode": 1}}}
        return {"name": name, "imageID": "", "state": {"waiting": {"reason": said, "message": f"{said} of {name}"}}}

    containers = [container("as-is", node), container("registry", registry)]
    return {"status": {"phase": "Pending", "containerStatuses": containers, **status}}


@pytest.mark.parametrize(
    ("pod", "seen"),
    [
        (a_pod(PULLED), Seen(REPOSITORY, DIGEST)),
        (a_pod(f"docker-pullable://{PULLED}", PULLED, phase="Failed"), Seen(REPOSITORY, DIGEST)),
        (a_pod(IMPORTED), Seen("docker.io/library/import-2026-11-21", DIGEST)),
        (a_pod(BY_HAND), Seen()),
        (a_pod("ErrImagePull", BY_HAND), Seen()),
        (a_pod("ImagePullBackOff", IMPORTED), Seen()),
        (a_pod("ErrImagePull", "ContainerCreating"), None),
        (a_pod("ContainerCreating", "ContainerCreating"), None),
        (a_pod("PodInitializing", "PodInitializing"), None),
        ({}, None),
    ],
)
def test_what_a_node_says(pod: Manifest, seen: Seen | None) -> None:
    assert seen_in(pod, REPOSITORY) == seen


@pytest.mark.parametrize(
    ("pod", "why"),
    [
        (a_pod("ErrImagePull", "ErrImageNeverPull"), "The image of the function can't be pulled (ErrImagePull): "),
        # The node has what it was given by the registry once, which now refuses it.
        (a_pod("ErrImagePull", PULLED), "ErrImagePull of registry"),
        (a_pod("InvalidImageName", "InvalidImageName"), "InvalidImageName of registry"),
        (
            {"status": {"conditions": [
                {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}
            ]}},
            "There is no room in the cluster: 0/1 nodes",
        ),
        (
            {"status": {"initContainerStatuses": [
                {"name": "init", "state": {"waiting": {"reason": "ErrImagePull", "message": "gone"}}}
            ]}},
            "can't be pulled (ErrImagePull): gone",
        ),
        ({"status": {"phase": "Failed", "reason": "Evicted"}}, "A pod was ended by its node: Evicted."),
    ],
)  # fmt: skip
def test_why_it_can_not_be_had(pod: Manifest, why: str) -> None:
    with pytest.raises(ImageFailed) as failed:
        seen_in(pod, REPOSITORY)
    assert why in str(failed.value)


def test_the_pod_that_asks(tmp_path: Path) -> None:
    """Confined like a function's, of no function, with the pull secrets; nothing of the image runs in it."""
    config = config_for(tmp_path)
    one, two = (lookup_job("default", f"{REPOSITORY}:1", config) for _ in range(2))
    assert one["metadata"]["name"] != two["metadata"]["name"]
    template = one["spec"]["template"]
    wanted = dict(each.split("=") for each in selector_of_functions(config).split(","))
    assert not wanted.items() <= template["metadata"]["labels"].items()
    spec = template["spec"]
    assert spec["automountServiceAccountToken"] is False
    registry, node = spec["containers"]
    assert (registry["imagePullPolicy"], node["imagePullPolicy"]) == ("Always", "Never")
    for each in (registry, node):
        assert each["image"] == f"{REPOSITORY}:1"
        assert each["command"] == ["/lateen/init", "take"]
        assert each["securityContext"]["allowPrivilegeEscalation"] is False
        assert each["volumeMounts"] == [{"name": "init", "mountPath": "/lateen", "readOnly": True}]


def test_it_is_scheduled_by_what_function_pods_say_of_nodes(tmp_path: Path) -> None:
    """And not by what they say of each other: where no two share a node, it must not need one that has none."""
    by_node = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}
    apart = {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "kubernetes.io/hostname"}]}
    pods = Pods(affinity={**by_node, "podAntiAffinity": apart})
    job = lookup_job("default", f"{REPOSITORY}:1", config_for(tmp_path, pods=pods))
    assert job["spec"]["template"]["spec"]["affinity"] == by_node


async def test_nobody_asks_for_what_is_forbidden(tmp_path: Path) -> None:
    """Nor is anything made for it."""
    config = config_for(tmp_path, function_images=FunctionImages(allowed=["ghcr.io/team"]))
    made: list[str] = []

    async def ensure_place(workspace_id: str) -> None:
        made.append(workspace_id)

    api = KubernetesApi(Access(url="http://127.0.0.1:1"))
    resolver = KubernetesImageResolver(api, config, ensure_place=ensure_place, leads_for_s=lambda: 1.0)
    with pytest.raises(ImageFailed, match=r"runs images of these only: ghcr\.io/team"):
        await resolver.digest("default", Image(uri=f"{REPOSITORY}:1"))
    assert made == []
