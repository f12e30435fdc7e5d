"""What is made where a new installation's pods replace the old ones, a few functions at a time."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from controller_setting import OneRuntime, a_function, config_for

from lateen.adapters.kubernetes import deployer as deployer_module
from lateen.adapters.kubernetes.api import ApiUnavailable, Event, Page
from lateen.adapters.kubernetes.config import FunctionsConfig
from lateen.adapters.kubernetes.deployer import KubernetesDeployer
from lateen.adapters.kubernetes.kinds import DEPLOYMENT, SECRET, SERVICE, Kind, Manifest, Ref, ref_of
from lateen.adapters.kubernetes.labels import CONFIGURATION
from lateen.ports.deployer import Deployment


class Api:
    """Keeps objects as they are given. Nothing ever runs."""

    def __init__(self) -> None:
        self.objects: dict[Ref, Manifest] = {}
        self.writes = 0
        self._versions = itertools.count(1)

    def of(self, kind: Kind) -> list[Manifest]:
        return [each for ref, each in self.objects.items() if ref.kind == kind]

    async def pages(self, kind: Kind, *_: Any, **__: Any) -> AsyncIterator[Page]:
        objects = [msgspec.json.decode(msgspec.json.encode(each)) for each in self.of(kind)]
        yield Page(objects, str(next(self._versions)))

    async def watch(self, *_: Any, **__: Any) -> AsyncIterator[Event]:
        await asyncio.Event().wait()
        yield Event("BOOKMARK", {})

    async def apply(self, manifest: Manifest, **_: Any) -> Manifest:
        self.writes += 1
        ref, made = ref_of(manifest), msgspec.json.decode(msgspec.json.encode(manifest))
        made["metadata"] |= {"uid": f"uid of {ref.name}", "resourceVersion": str(next(self._versions))}
        self.objects[ref] = made
        return msgspec.json.decode(msgspec.json.encode(made))

    create = apply

    async def get(self, ref: Ref) -> Manifest | None:
        return self.objects.get(ref)


async def apply_all(api: Any, config: FunctionsConfig, functions: list[Deployment]) -> None:
    """By a controller that has just started, until it has nothing more to do for now."""
    deployer = KubernetesDeployer(api, config, runtimes=OneRuntime())
    running = asyncio.create_task(deployer.run())
    for function in functions:
        await deployer.apply(function)
    await until(lambda: deployer._work.length == 0 and not deployer._work._running)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while True:
            await asyncio.sleep(0.1)
            if condition():
                return


async def test_a_cluster_that_takes_nothing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as a webhook that has to agree is away, or addresses of Services are used up, an API server says: later.
    A function that waits for that longer than a moment says why; what only looks like a hiccup says nothing."""
    monkeypatch.setattr(deployer_module, "AWAY_S", 0.5)
    api, function = Refusing(), a_function()
    deployer = KubernetesDeployer(api, config_for(tmp_path), runtimes=OneRuntime())  # type: ignore[arg-type]
    running = asyncio.create_task(deployer.run())
    await deployer.apply(function)
    await until(lambda: api.refused > 0)
    assert not deployer._news
    await until(lambda: bool(deployer._news))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    told = deployer._news[function.id]
    assert (told.state, told.reason) == ("Failed", "The cluster does not take it now: failed calling webhook.")


async def test_an_api_server_that_is_away_is_no_functions_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or one that has too much to do: who waits for the function goes on waiting."""
    monkeypatch.setattr(deployer_module, "AWAY_S", 0.01)
    api = Refusing(said="")
    deployer = KubernetesDeployer(api, config_for(tmp_path), runtimes=OneRuntime())  # type: ignore[arg-type]
    running = asyncio.create_task(deployer.run())
    await deployer.apply(a_function())
    await until(lambda: api.refused > 2)
    assert not deployer._news
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


class Refusing(Api):
    """No new Service."""

    def __init__(self, said: str = "failed calling webhook") -> None:
        super().__init__()
        self.refused = 0
        self._said = said

    async def apply(self, manifest: Manifest, **_: Any) -> Manifest:
        if manifest["kind"] == SERVICE.name:
            self.refused += 1
            raise ApiUnavailable(f"500 {self._said}", said=self._said)
        return await super().apply(manifest)


async def test_pods_that_may_not_be_replaced_yet_have_no_new_secret(tmp_path: Path) -> None:
    """Nobody would ever remove one that no Deployment names, if the values are taken back before its turn comes."""
    api, config = Api(), config_for(tmp_path)
    functions = [a_function() for _ in range(deployer_module.ROLLING + 3)]
    await apply_all(api, config, functions)
    before = {each["metadata"]["name"] for each in api.of(SECRET)}
    await apply_all(api, msgspec.structs.replace(config, drain_lag_s=7), functions)
    made = {each["metadata"]["name"] for each in api.of(SECRET)} - before
    named = Counter(
        name for each in api.of(DEPLOYMENT) for name in each["metadata"]["annotations"][CONFIGURATION].split(",")
    )
    assert len(made) == deployer_module.ROLLING
    assert made <= set(named)
