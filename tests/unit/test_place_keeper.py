"""A workspace's place is there before anything is made in it, whoever else has asked for it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from controller_setting import config_for

from lateen.adapters.kubernetes.api import ApiUnavailable
from lateen.adapters.kubernetes.kinds import DEPLOYMENT, NETWORK_POLICY, SERVICE_ACCOUNT, Manifest
from lateen.adapters.kubernetes.labels import workspace_in
from lateen.adapters.kubernetes.place_keeper import OWN_KINDS, PlaceKeeper
from lateen.adapters.kubernetes.watcher import Watched


class SlowApplier:
    """Makes nothing until it `may`; then fails as often as it is told to."""

    def __init__(self) -> None:
        self.may = asyncio.Event()
        self.failures = 0
        self.made: list[str] = []

    async def create(self, manifest: Manifest) -> Manifest:
        return await self.apply(manifest)

    async def apply(self, manifest: Manifest) -> Manifest:
        await self.may.wait()
        if self.failures:
            self.failures -= 1
            raise ApiUnavailable("503 later")
        self.made.append(manifest["kind"])
        return manifest


@pytest.fixture
def applier() -> SlowApplier:
    return SlowApplier()


@pytest.fixture
def places(tmp_path: Path, applier: SlowApplier) -> PlaceKeeper:
    nothing: Any = None
    watched = {
        kind: Watched(nothing, kind, None, selector="", owner=workspace_in, changed=lambda _: None)
        for kind in (*OWN_KINDS, NETWORK_POLICY, SERVICE_ACCOUNT, DEPLOYMENT)
    }
    slow: Any = applier
    return PlaceKeeper(config_for(tmp_path), applier=slow, watched=watched)


async def test_nobody_passes_before_it_is_made(places: PlaceKeeper, applier: SlowApplier) -> None:
    """Its walls and its quota are there when the second function comes, too; from then on asking costs nothing."""
    asking = [asyncio.create_task(places.ensure("w1")) for _ in range(3)]
    await asyncio.sleep(0.05)
    assert [each.done() for each in asking] == [False] * 3
    applier.may.set()
    await asyncio.gather(*asking)
    assert {"Namespace", "NetworkPolicy", "ResourceQuota", "LimitRange"} <= set(applier.made)
    made = len(applier.made)
    await places.ensure("w1")
    assert len(applier.made) == made


async def test_nobody_passes_when_it_can_not_be_made(places: PlaceKeeper, applier: SlowApplier) -> None:
    """Who waited tries it anew."""
    applier.failures = 1
    asking = [asyncio.create_task(places.ensure("w1")) for _ in range(2)]
    await asyncio.sleep(0.05)
    applier.may.set()
    first, second = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(first, ApiUnavailable)
    assert second is None
    assert "NetworkPolicy" in applier.made
