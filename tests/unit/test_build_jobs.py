"""Builds that can't start: who waits for them is told why, and others have their turn."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from controller_setting import config_for

from lateen.adapters.kubernetes import builder as builder_module
from lateen.adapters.kubernetes.builder import KubernetesBuilder
from lateen.adapters.kubernetes.config import Builds
from lateen.adapters.kubernetes.kinds import Manifest, Ref
from lateen.domain.runtimes import Runtime
from lateen.ports.builder import BuildInterrupted, BuildRefused, BuildRequest, BuildWaits

REQUEST = BuildRequest(
    id="ab" * 32,
    workspace_id="w1",
    runtime="python3.12",
    source_key="w1/f/1.zip",
    source_sha256="cd" * 32,
    lock="ef" * 32,
    variables={},
)
RUNTIME = Runtime(
    name="python3.12",
    runtime="python",
    version="3.12",
    file="code.py",
    handler="code.handler",
    folders=(),
    settings={"build": {"manifests": ["x"], "command": ["x"], "image": {"name": "b", "command": ["x"]}}},
)


class Api:
    """Keeps one Job, whose pods are as the test says."""

    def __init__(self) -> None:
        self.job: Manifest | None = None
        self.pods: list[Manifest] = []
        self.looks = 0

    async def get(self, ref: Ref) -> Manifest | None:
        return self.job

    async def create(self, manifest: Manifest, **_: Any) -> Manifest:
        self.job = msgspec.json.decode(msgspec.json.encode(manifest))
        assert self.job is not None
        self.job["metadata"]["uid"] = "u"
        return self.job

    async def apply(self, manifest: Manifest, **_: Any) -> Manifest:
        return manifest

    async def delete(self, ref: Ref, **_: Any) -> bool:
        self.job = None
        return True

    async def list(self, *_: Any, **__: Any) -> tuple[list[Manifest], str]:
        self.looks += 1
        return self.pods, "1"

    async def log(self, *_: Any, **__: Any) -> AsyncIterator[bytes]:
        yield b"said\n"


class Addresses:
    async def url(self, key: str, **_: Any) -> str:
        return f"https://s3/{key}"

    upload_url = url


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    monkeypatch.setattr(builder_module, "LOOK_S", 0.01)
    monkeypatch.setattr(builder_module, "STUCK_S", 0.1)
    return Api()


async def build(api: Any, folder: Path, *, deadline_s: int = 120) -> None:
    config = config_for(folder, builds=Builds(deadline_s=deadline_s))
    images = msgspec.structs.replace(config.images, builds={RUNTIME.name: "registry/build:1"})

    async def ensure_place(workspace_id: str) -> None:
        pass

    objects: Any = Addresses()
    builder = KubernetesBuilder(
        api,
        msgspec.structs.replace(config, images=images),
        objects=objects,
        runtime=lambda _: RUNTIME,
        ensure_place=ensure_place,
        leads_for_s=lambda: 100.0,
    )
    async with asyncio.timeout(10), builder.build(REQUEST, log=lambda _: None):
        raise AssertionError("nothing is built here")


def a_pod(phase: str = "Pending", *, waiting: dict[str, str] | None = None, **status: Any) -> Manifest:
    first = [{"name": "fetch", "state": {"waiting": waiting}}] if waiting is not None else []
    return {"metadata": {"name": "p"}, "status": {"phase": phase, "initContainerStatuses": first, **status}}


NO_ROOM = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available"}
STUCK = {
    "no pod": ([], "workspace's quota may be used up"),
    "no room": ([a_pod(conditions=[NO_ROOM])], "There is no room in the cluster: 0/3 nodes are available"),
    "no image": ([a_pod(waiting={"reason": "ImagePullBackOff", "message": "gone"})], "can't be pulled"),
}


@pytest.mark.parametrize("how", STUCK)
async def test_what_can_not_start_makes_way(api: Api, tmp_path: Path, how: str) -> None:
    """And not only when its time is over. Its Job stays: what waits for room is what makes a cluster grow."""
    api.pods, why = STUCK[how]
    with pytest.raises(BuildWaits, match=why):
        await build(api, tmp_path)
    assert api.job is not None


async def test_what_starts_late_is_followed(api: Api, tmp_path: Path) -> None:
    """A Secret that comes a moment after its pod, a pull that takes long: nothing is in the way."""
    api.pods = [a_pod(waiting={"reason": "CreateContainerConfigError", "message": 'secret "build" not found'})]
    building = asyncio.create_task(build(api, tmp_path))
    await asyncio.sleep(0.05)
    api.pods = [a_pod(waiting={"reason": "PodInitializing"})]
    await asyncio.sleep(0.3)
    assert not building.done()
    assert api.looks > 5
    assert api.job is not None
    api.job["status"] = {"conditions": [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}]}
    with pytest.raises(BuildInterrupted):
        await building


async def test_how_a_build_has_ended_is_for_its_job_to_say(api: Api, tmp_path: Path) -> None:
    """Which says it some time after the pod."""
    ended = {"name": "build", "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}
    api.pods = [a_pod(initContainerStatuses=[ended])]
    building = asyncio.create_task(build(api, tmp_path))
    await asyncio.sleep(0.2)
    api.pods = [a_pod("Failed", initContainerStatuses=[ended])]
    await asyncio.sleep(0.2)
    assert not building.done()
    assert api.job is not None
    api.job["status"] = {"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]}
    with pytest.raises(BuildRefused, match="too much memory"):
        await building
