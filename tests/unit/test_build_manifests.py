"""What a build is in the cluster. Pure: no cluster is needed to know it."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from controller_setting import config_for

from lateen.adapters.kubernetes.build_manifests import build_job, build_name, build_secret
from lateen.adapters.kubernetes.builder import KubernetesBuildPlace, _failure
from lateen.adapters.kubernetes.config import Builds, FunctionsConfig, Stores
from lateen.adapters.kubernetes.network_policies import network_policies_for
from lateen.domain.runtimes import Runtime
from lateen.ports.builder import BuildInterrupted, BuildRefused, BuildRequest
from lateen.services.build_recipes import ImageRecipe, Recipe

RECIPE = Recipe(
    command=["never", "used"],
    environment={"KEPT": "{cache}/kept"},
    image=ImageRecipe(name="b", command=["/bin/build", "{runtime_dir}/build.py", "{output}"]),
)
REQUEST = BuildRequest(
    id="ab" * 32,
    workspace_id="team-a",
    runtime="python3.12",
    source_key="team-a/f/1.zip",
    source_sha256="cd" * 32,
    lock="ef" * 32,
    variables={"PIP_INDEX_URL": "https://me:secret@index"},
)
ADDRESSES = {name: f"https://s3/{name}?Signature=x" for name in ("source", "artifact", "cache", "kept")}


@pytest.fixture
def config(tmp_path: Path) -> FunctionsConfig:
    config = config_for(tmp_path, release="lateen", namespace="lateen", stores=Stores(), copied_secrets=[])
    images = msgspec.structs.replace(config.images, builds={"python3.12": "registry/python-build:1"})
    return msgspec.structs.replace(config, images=images, builds=Builds(deadline_s=120))


def pod(config: FunctionsConfig) -> dict[str, Any]:
    spec: dict[str, Any] = build_job(REQUEST, config, recipe=RECIPE)["spec"]["template"]["spec"]
    return spec


def test_every_container_meets_restricted(config: FunctionsConfig) -> None:
    spec = pod(config)
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    containers = [*spec["initContainers"], *spec["containers"]]
    assert [each["name"] for each in containers] == ["fetch", "build", "pack"]
    for each in containers:
        assert each["securityContext"]["readOnlyRootFilesystem"] is True
        assert each["securityContext"]["allowPrivilegeEscalation"] is False
        assert each["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert each["resources"]["limits"].keys() >= {"cpu", "memory"}
    assert all(volume.keys() & {"emptyDir", "secret"} for volume in spec["volumes"])


def test_it_is_built_where_it_runs(config: FunctionsConfig) -> None:
    """Machine code of one architecture is of no use on another."""
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}
    apart = {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "kubernetes.io/hostname"}]}
    pods = msgspec.structs.replace(
        config.pods,
        node_selector={"pool": "functions"},
        # Where no two function pods share a node, a build must not need one that has none.
        affinity={**affinity, "podAntiAffinity": apart},
        tolerations=[{"key": "functions"}],
    )
    spec = pod(msgspec.structs.replace(config, pods=pods))
    assert spec["nodeSelector"] == {"pool": "functions"}
    assert spec["affinity"] == affinity
    assert spec["tolerations"] == [{"key": "functions"}]


def test_a_job_ends(config: FunctionsConfig) -> None:
    """By its deadline, without a second try of its own, and is cleared away."""
    spec = build_job(REQUEST, config, recipe=RECIPE)["spec"]
    assert (spec["activeDeadlineSeconds"], spec["backoffLimit"]) == (120, 0)
    assert spec["ttlSecondsAfterFinished"] > 0


def test_addresses_and_settings_are_in_the_secret_only(config: FunctionsConfig) -> None:
    """And the build, which runs the user's scripts, has none of the addresses."""
    job = build_job(REQUEST, config, recipe=RECIPE)
    assert "secret@index" not in json.dumps(job)
    assert "Signature" not in json.dumps(job)
    owner = {"metadata": {"name": build_name(REQUEST), "uid": "u"}}
    secret = build_secret(REQUEST, config, addresses=ADDRESSES, owner=owner)
    assert secret["metadata"]["ownerReferences"][0]["uid"] == "u"
    keys = {}
    for container in (*pod(config)["initContainers"], *pod(config)["containers"]):
        named = [each for each in container["env"] if "valueFrom" in each]
        keys[container["name"]] = {each["name"]: each["valueFrom"]["secretKeyRef"]["key"] for each in named}
    assert keys == {
        "fetch": {"LATEEN_SOURCE_URL": "source", "LATEEN_CACHE_URL": "cache"},
        "build": {"PIP_INDEX_URL": "variable-0"},
        "pack": {"LATEEN_ARTIFACT_URL": "artifact", "LATEEN_CACHE_URL": "kept"},
    }
    assert secret["stringData"]["variable-0"] == REQUEST.variables["PIP_INDEX_URL"]


def test_a_build_runs_its_own_command(config: FunctionsConfig) -> None:
    _, build = pod(config)["initContainers"]
    assert build["image"] == "registry/python-build:1"
    assert build["command"] == ["/bin/build", "/lateen/runtime/build.py", "../output"]
    assert build["workingDir"] == "/build/source"
    assert {"name": "KEPT", "value": "/build/cache/kept"} in build["env"]


def test_variables_whose_names_are_addresses(config: FunctionsConfig) -> None:
    """npm's of a registry: no name that every Kubernetes takes, so the build's own `env` gives it. The value is in the
    Secret alone."""
    name = "NPM_CONFIG_//registry.example.org/:_authToken"
    request = msgspec.structs.replace(REQUEST, variables={"PIP_INDEX_URL": "https://index", name: "t0k$(HOME)en"})
    job = build_job(request, config, recipe=RECIPE)
    _, build = job["spec"]["template"]["spec"]["initContainers"]
    assert build["command"] == [
        "/usr/bin/env",
        f"{name}=$(LATEEN_VARIABLE_0)",
        "/bin/build",
        "/lateen/runtime/build.py",
        "../output",
    ]
    keys = {each["name"]: each["valueFrom"]["secretKeyRef"]["key"] for each in build["env"] if "valueFrom" in each}
    assert keys == {"LATEEN_VARIABLE_0": "variable-0", "PIP_INDEX_URL": "variable-1"}
    secret = build_secret(request, config, addresses=ADDRESSES, owner=job | {"metadata": {"name": "j", "uid": "u"}})
    assert secret["stringData"]["variable-0"] == "t0k$(HOME)en"
    assert "t0k" not in str(job)
    assert all(re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", each["name"]) for each in build["env"])


def test_builds_have_walls_of_their_own(config: FunctionsConfig) -> None:
    """Nothing reaches them, functions' rules are not theirs, and what only they may reach is theirs alone."""
    index = {"to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}]}
    config = msgspec.structs.replace(config, builds=Builds(egress=[index]))
    policies = {each["metadata"]["name"]: each["spec"] for each in network_policies_for(config, "n", {})}
    labels = build_job(REQUEST, config, recipe=RECIPE)["spec"]["template"]["metadata"]["labels"]
    theirs = policies["lateen-builds"]
    assert theirs["podSelector"]["matchLabels"].items() <= labels.items()
    assert theirs["ingress"] == []
    assert index in theirs["egress"]
    assert not policies["lateen-functions"]["podSelector"]["matchLabels"].items() <= labels.items()
    assert index not in policies["lateen-functions"]["egress"]


def test_a_name_is_the_request_s(config: FunctionsConfig) -> None:
    """So whoever asks again finds the Job that is there; another workspace's is another."""
    assert build_name(REQUEST) == build_name(msgspec.structs.replace(REQUEST, variables={}))
    assert build_name(REQUEST) != build_name(msgspec.structs.replace(REQUEST, workspace_id="team-b"))
    assert len(build_name(REQUEST)) <= 63


def test_without_an_image_nothing_is_built(config: FunctionsConfig) -> None:
    settings = {"build": msgspec.to_builtins(RECIPE)}
    python, other = (
        Runtime(name=name, runtime="r", version="1", file="f", handler="h", folders=(), settings=settings)
        for name in ("python3.12", "other")
    )
    place = KubernetesBuildPlace(config)
    assert place.refusal(python) is None
    assert place.refusal(other) == "this installation has no image to build other in"


ENDS: dict[str, tuple[dict[str, Any], str, type[Exception]]] = {
    "by itself": ({"terminated": {"exitCode": 2}}, "BackoffLimitExceeded", BuildRefused),
    "for its memory": ({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}, "BackoffLimitExceeded", BuildRefused),
    "for its time": ({"running": {}}, "DeadlineExceeded", BuildRefused),
    "before it began": ({"waiting": {"reason": "ImagePullBackOff"}}, "DeadlineExceeded", BuildInterrupted),
}


@pytest.mark.parametrize("how", ENDS)
def test_who_is_to_blame_is_told_apart(how: str) -> None:
    """Of a build that failed the source is refused; what kept it from running is tried again."""
    state, reason, expected = ENDS[how]
    found = {"status": {"initContainerStatuses": [{"name": "build", "state": state}]}}
    assert type(_failure({"reason": reason}, found)) is expected
