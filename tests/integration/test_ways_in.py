"""Ingresses and HTTPRoutes of open functions, by a deployer whose API server runs nothing."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from controller_setting import OneRuntime, a_function, changed, config_for, until
from stand_in_api_server import StandInApiServer, api_server

from lateen.adapters.kubernetes import watcher as watcher_module
from lateen.adapters.kubernetes.api import KubernetesApi
from lateen.adapters.kubernetes.config import HttpRoute, Ingress
from lateen.adapters.kubernetes.deployer import KubernetesDeployer
from lateen.ports.deployer import Deployment

ROUTES = HttpRoute(enabled=True, parent_refs=[{"name": "public"}])


class Cluster:
    """`start` again: a new process, with other settings."""

    def __init__(self, folder: Path, server: StandInApiServer, api: KubernetesApi) -> None:
        self.server = server
        self._api = api
        self._settings: dict[str, Any] = {"folder": folder, "release": config_for(folder).release, "copied_secrets": []}
        self._task: asyncio.Task[None] | None = None

    def start(self, **changes: Any) -> KubernetesDeployer:
        config = config_for(**self._settings, **changes)
        deployer = KubernetesDeployer(self._api, config, runtimes=OneRuntime())
        self._task = asyncio.create_task(deployer.run())
        return deployer

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def has(self, plural: str, count: int) -> Callable[[], bool]:
        return lambda: len(self.server.names(plural)) == count


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with api_server() as (server, api):
        cluster = Cluster(tmp_path, server, api)
        yield cluster
        await cluster.stop()


async def held(deployer: KubernetesDeployer, function: Deployment) -> Deployment:
    deployer.hold(function)
    await deployer.apply(function)
    return function


@pytest.mark.parametrize(
    "settings",
    [{"ingress": Ingress(enabled=True)}, {"ingress": Ingress(), "http_route": ROUTES}],
    ids=["ingresses", "httproutes"],
)
async def test_what_is_closed_is_closed_at_once(cluster: Cluster, settings: Any) -> None:
    """Also while nothing can be made of the revision that says so; and an earlier one opens nothing."""
    plural = "httproutes" if "http_route" in settings else "ingresses"
    deployer = cluster.start(**settings)
    first = await held(deployer, a_function())
    other = await held(deployer, a_function())
    await until(cluster.has(plural, 2))
    closed = changed(changed(first), open=False, artifact_key="")
    deployer.hold(closed)
    await until(cluster.has(plural, 1))
    assert cluster.server.names(plural) == [f"fn-{other.function_id}"]
    await deployer.apply(changed(first, timeout_s=9))
    await until(cluster.has("secrets", 3))
    assert cluster.server.names(plural) == [f"fn-{other.function_id}"]
    deployer.hold(changed(closed, open=True))
    await until(cluster.has(plural, 2))


async def test_what_was_closed_while_no_controller_ran(cluster: Cluster) -> None:
    """Nothing is known of the function but that it is not open: what leads there goes, and what runs stays."""
    deployer = cluster.start()
    function = await held(deployer, a_function())
    await until(cluster.has("ingresses", 1))
    await cluster.stop()
    cluster.start().hold(changed(function, open=False, artifact_key=""))
    await until(cluster.has("ingresses", 0))
    assert cluster.server.names("deployments") == [f"fn-{function.function_id}"]


@pytest.mark.parametrize("after", [Ingress(), Ingress(enabled=True)], ids=["none", "ingresses"])
async def test_what_is_made_no_more_goes(cluster: Cluster, after: Ingress) -> None:
    """With the setting that had the controller make HTTPRoutes, those that it made go; also of what was deleted since,
    which is known by nothing else any more."""
    deployer = cluster.start(ingress=Ingress(), http_route=ROUTES)
    function = await held(deployer, a_function())
    removed = await held(deployer, a_function())
    await until(cluster.has("httproutes", 2))
    await cluster.stop()
    deployer = cluster.start(ingress=after)
    await held(deployer, function)
    assert removed.function_id in await deployer.deployed()
    await deployer.remove(removed.function_id)
    await until(cluster.has("httproutes", 0))
    await until(cluster.has("ingresses", 1 if after.enabled else 0))
    await until(cluster.has("deployments", 1))


async def test_a_cluster_without_the_gateway_api(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing waits for it, and it is asked for seldom and silently; when it is there it is watched."""
    cluster.server.unknown.add("httproutes")
    monkeypatch.setattr(watcher_module, "LAST_RETRY_S", 0.2)
    with caplog.at_level(logging.INFO):
        deployer = cluster.start()
        function = await held(deployer, a_function())
        await until(cluster.has("ingresses", 1))
        await asyncio.sleep(1)
        await held(deployer, changed(function, open=False))
        await until(cluster.has("ingresses", 0))
    assert cluster.server.count("GET", "httproutes") == 1
    assert cluster.server.count("WATCH", "httproutes") == 0
    assert cluster.server.count("DELETE", "httproutes") == 0
    assert "HTTPRoute" not in [getattr(record, "kind", None) for record in caplog.records]
    await cluster.stop()
    monkeypatch.setattr(watcher_module, "ABSENT_S", 0.1)
    cluster.start()
    await until(lambda: cluster.server.count("GET", "httproutes") > 2)
    cluster.server.unknown.clear()
    await until(lambda: cluster.server.count("WATCH", "httproutes") == 1)
