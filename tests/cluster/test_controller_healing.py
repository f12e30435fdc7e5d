"""What somebody else does to the cluster, or to the controller: it ends as it should be all the same."""

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from controller_setting import Setting, a_function, changed, config_for, new_code, until

from lateen.adapters.kubernetes import deployer as deployer_module
from lateen.adapters.kubernetes import watcher as watcher_module
from lateen.adapters.kubernetes.access import Access
from lateen.adapters.kubernetes.api import ApiRefused, ApiUnavailable, KubernetesApi
from lateen.adapters.kubernetes.config import HttpRoute, Ingress, Pods
from lateen.adapters.kubernetes.kinds import (
    DEPLOYMENT,
    HTTP_ROUTE,
    INGRESS,
    LIMIT_RANGE,
    NAMESPACE,
    NETWORK_POLICY,
    POD,
    RESOURCE_QUOTA,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
    Kind,
    Manifest,
    Ref,
)
from lateen.domain.workspaces import Quota
from lateen.ports.deployer import Deployment

pytestmark = pytest.mark.cluster
NOWHERE = Pods(node_selector={"lateen.dev/no": "where"})
"""For tests of objects only: pods that never run cost the machine nothing."""


@pytest.fixture
async def setting(tmp_path: Path) -> AsyncIterator[Setting]:
    setting = Setting(config_for(tmp_path, pods=NOWHERE))
    await setting.prepare()
    setting.start()
    yield setting
    await setting.close()


async def applied(setting: Setting, *functions: object) -> None:
    for function in functions:
        await setting.deployer.apply(function)  # type: ignore[arg-type]
    for function in functions:
        await setting.until_state(function, "Failed", reason="no room")  # type: ignore[arg-type]


async def patch(setting: Setting, ref: Ref, change: Manifest) -> Manifest:
    """As somebody with kubectl does it."""
    made: Manifest = await setting.admin._call(
        "PATCH", ref.path, body=change, content_type="application/strategic-merge-patch+json"
    )
    return made


def ref(setting: Setting, kind: Kind, function: object) -> Ref:
    return Ref(kind, setting.namespace(function), f"fn-{function.function_id}")  # type: ignore[arg-type, attr-defined]


async def test_what_somebody_deletes_comes_back(setting: Setting) -> None:
    """Each object of a function and of its workspace's namespace, without waiting for a round."""
    function = a_function()
    await applied(setting, function)
    namespace = setting.namespace(function)
    refs = [ref(setting, kind, function) for kind in (SERVICE, INGRESS, DEPLOYMENT)]
    refs += [Ref(kind, namespace, "lateen-functions") for kind in (RESOURCE_QUOTA, LIMIT_RANGE, NETWORK_POLICY)]
    refs += [Ref(SERVICE_ACCOUNT, namespace, "lateen-function"), Ref(NETWORK_POLICY, namespace, "lateen-deny")]
    for each in refs:
        found = await setting.admin.get(each)
        assert found is not None
        old = found["metadata"]["uid"]
        await setting.admin.delete(each)

        async def is_back(each: Ref = each, old: str = old) -> bool:
            live = await setting.admin.get(each)
            return live is not None and live["metadata"]["uid"] != old

        await until(is_back, within_s=20)
    # The Secret went with the Deployment that owned it.
    live = await setting.deployment(function)

    async def secret_is_owned() -> bool:
        secrets = await setting.objects(SECRET, function)
        return [s["metadata"]["ownerReferences"][0]["uid"] for s in secrets] == [live["metadata"]["uid"]]

    await until(secret_is_owned)


async def test_what_somebody_edits_is_put_right(setting: Setting) -> None:
    """Replicas, image, a Service's selector, an Ingress' path, a quota."""
    function = a_function()
    await applied(setting, function)
    namespace = setting.namespace(function)
    containers = [{"name": "runtime", "image": "localhost/evil:1"}]
    await patch(
        setting,
        ref(setting, DEPLOYMENT, function),
        {"spec": {"replicas": 7, "template": {"spec": {"containers": containers}}}},
    )
    await patch(setting, ref(setting, SERVICE, function), {"spec": {"selector": {"lateen.dev/function": "another"}}})
    await patch(setting, Ref(RESOURCE_QUOTA, namespace, "lateen-functions"), {"spec": {"hard": {"pods": "100000"}}})
    await patch(setting, Ref(NETWORK_POLICY, namespace, "lateen-deny"), {"spec": {"ingress": [{}]}})

    async def is_right() -> bool:
        deployment, service = await setting.deployment(function), await setting.get(SERVICE, function)
        quota = await setting.admin.get(Ref(RESOURCE_QUOTA, namespace, "lateen-functions"))
        policy = await setting.admin.get(Ref(NETWORK_POLICY, namespace, "lateen-deny"))
        assert service is not None
        assert quota is not None
        assert policy is not None
        return (
            deployment["spec"]["replicas"] == 1
            and deployment["spec"]["template"]["spec"]["containers"][0]["image"] != "localhost/evil:1"
            and service["spec"]["selector"]["lateen.dev/function"] == function.function_id
            and quota["spec"]["hard"]["pods"] == "300"
            and not policy["spec"].get("ingress")
        )

    await until(is_right, within_s=20)


async def test_nothing_to_do_costs_no_call(setting: Setting) -> None:
    """Not when all is applied again, and not after a restart."""
    functions = [a_function(open=n % 2 == 0) for n in range(4)]
    await applied(setting, *functions)
    before = setting.deployer.writes()
    for function in functions:
        await setting.deployer.apply(function)
    await until(lambda: setting.deployer.waiting == 0)
    assert setting.deployer.writes() == before
    await setting.stop()
    setting.observed.clear()
    setting.start()
    await applied(setting, *functions)
    # Whether their Secrets are there can't be seen, and their pods don't run: these are made sure of.
    assert setting.deployer.writes() == {("apply", "Secret", "done"): 4}


async def test_a_controller_that_is_killed_midway_leaves_nothing_wrong(setting: Setting, tmp_path: Path) -> None:
    """50 functions are being made when it dies. Another one brings all of them to their end; of one that was deleted
    meanwhile nothing is left."""
    await setting.stop()
    functions = [a_function(workspace_id=f"w{n % 3}") for n in range(50)]
    (tmp_path / "config.json").write_bytes(msgspec.json.encode(setting.config))
    (tmp_path / "functions.json").write_bytes(msgspec.json.encode(functions))
    support = Path(__file__).parents[1] / "support"
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(support / "doomed_controller.py"), str(tmp_path / "config.json"),
        str(tmp_path / "functions.json"), env={**os.environ, "PYTHONPATH": str(support)},
    )  # fmt: skip
    selector = f"app.kubernetes.io/instance={setting.config.release}"

    async def some_are_there() -> bool:
        return len((await setting.admin.list(DEPLOYMENT, None, selector=selector))[0]) >= 10

    await until(some_are_there, every_s=0.005)
    process.send_signal(signal.SIGKILL)
    await process.wait()
    there = (await setting.admin.list(DEPLOYMENT, None, selector=selector))[0]
    assert 10 <= len(there) < 50
    setting.start()
    deleted = {each["metadata"]["labels"]["lateen.dev/function"] for each in there[:3]}
    wanted = [function for function in functions if function.function_id not in deleted]
    await applied(setting, *wanted)
    assert set(await setting.deployer.deployed()) == {function.function_id for function in functions[:]} & (
        deleted | {function.function_id for function in wanted}
    )
    for function_id in set(await setting.deployer.deployed()) - {function.function_id for function in wanted}:
        await setting.deployer.remove(function_id)

    async def all_is_right() -> bool:
        names = {f"fn-{function.function_id}" for function in wanted}
        for kind in (DEPLOYMENT, SERVICE, INGRESS):
            objects = (await setting.admin.list(kind, None, selector=selector))[0]
            if {each["metadata"]["name"] for each in objects} != names:
                return False
        secrets = (await setting.admin.list(SECRET, None, selector=f"{selector},lateen.dev/function"))[0]
        return sorted(s["metadata"]["name"].rpartition("-")[0] for s in secrets) == sorted(names)

    await until(all_is_right)


async def test_a_new_invoker_reaches_all_functions_a_few_at_a_time(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one that never gets ready goes no further than those few; what users change doesn't wait for it."""
    monkeypatch.setattr(deployer_module, "ROLLING", 2)
    monkeypatch.setattr(deployer_module, "ROLLING_AGAIN_S", 0.2)
    functions = [a_function() for _ in range(5)]
    await applied(setting, *functions)
    await setting.stop()
    images = msgspec.structs.replace(setting.config.images, invoker="localhost/lateen/invoker:broken")
    setting.config = msgspec.structs.replace(setting.config, images=images)
    setting.start()
    for function in functions[:4]:
        await setting.deployer.apply(function)

    async def with_new_image() -> set[str]:
        lives = [await setting.deployment(function) for function in functions]
        specs = {live["metadata"]["name"]: live["spec"]["template"]["spec"] for live in lives}
        return {name for name, spec in specs.items() if spec["initContainers"][0]["image"] == images.invoker}

    async def two() -> bool:
        return len(await with_new_image()) == 2

    await until(two)
    await asyncio.sleep(2)
    assert len(await with_new_image()) == 2
    updated = new_code(functions[4], "2")
    await applied(setting, updated)
    assert f"fn-{updated.function_id}" in await with_new_image()
    monkeypatch.setattr(deployer_module, "ROLLING_S", 1.0)

    async def everywhere() -> bool:
        return len(await with_new_image()) == 5

    await until(everywhere)


async def test_many_at_once(setting: Setting) -> None:
    """A hundred functions: what each costs this process leaves room for what the API server can take in a second.
    (How many it takes is measured by the bench, on a machine that does nothing else.)"""
    functions = [a_function() for _ in range(100)]
    names = {f"fn-{function.function_id}" for function in functions}
    began_s, began_cpu_s = time.monotonic(), time.process_time()
    for function in functions:
        await setting.deployer.apply(function)
    selector = f"app.kubernetes.io/instance={setting.config.release},lateen.dev/function"

    async def all_applied() -> bool:
        for kind in (SECRET, INGRESS, SERVICE, DEPLOYMENT):
            objects = (await setting.admin.list(kind, None, selector=selector))[0]
            if not names <= {each["metadata"]["name"].removesuffix(f"-{_digest(each)}") for each in objects}:
                return False
        return True

    await until(all_applied, every_s=0.5)
    seconds, cpu_s = time.monotonic() - began_s, time.process_time() - began_cpu_s
    print(f"{len(functions) / seconds:.0f} functions a second, {1000 * cpu_s / len(functions):.1f} ms of CPU each")
    assert cpu_s / len(functions) < 0.025


def _digest(secret: Manifest) -> str:
    return str(secret["metadata"]["name"].rpartition("-")[2]) if secret["kind"] == "Secret" else ""


async def test_a_place_goes_with_its_workspace(setting: Setting) -> None:
    """Not while there is a function in it; a namespace of the same name that isn't ours is not touched."""
    namespace = setting.config.namespace_of("other")
    await setting.admin.create(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": {"mine": "yes"}}}
    )
    function, homeless = a_function(), a_function(workspace_id="other")
    try:
        await setting.deployer.apply(homeless)
        await applied(setting, function)  # which nothing of this delays
        await setting.until_state(homeless, "Failed", reason=f"{namespace} exists and is not this installation's")
        assert list(await setting.deployer.places()) == ["default"]
        await setting.deployer.clear("other")
        await setting.deployer.clear("default")
        await setting.deployer.remove(function.function_id)
        live = await setting.admin.get(Ref(NAMESPACE, "", namespace))
        assert live is not None
        assert live["metadata"]["labels"] == {"mine": "yes", "kubernetes.io/metadata.name": namespace}
        assert live["status"]["phase"] == "Active"

        async def is_going() -> bool:
            await setting.deployer.clear("default")
            live = await setting.admin.get(Ref(NAMESPACE, "", setting.namespace(function)))
            return live is None or "deletionTimestamp" in live["metadata"]

        await until(is_going)
        # Somebody makes a function there at that very moment: it waits until the old namespace is gone.
        late = a_function()
        await applied(setting, late)
    finally:
        await setting.admin.delete(Ref(NAMESPACE, "", namespace))


async def test_a_place_that_is_gone_stays_gone(setting: Setting) -> None:
    """What is seen of its end does not make it anew."""
    function = a_function()
    await applied(setting, function)
    await setting.deployer.remove(function.function_id)
    ref = Ref(NAMESPACE, "", setting.namespace(function))

    async def is_gone() -> bool:
        await setting.deployer.clear("default")
        return await setting.admin.get(ref) is None

    await until(is_gone, within_s=120)
    for _ in range(10):
        await asyncio.sleep(0.3)
        assert await setting.admin.get(ref) is None


async def test_a_workspaces_own_quota(setting: Setting) -> None:
    """What it says counts for its namespace, what it doesn't is the installation's, and later changes too."""
    setting.deployer.settle("rich", Quota(cpu="20", memory="64Gi"))
    function = a_function(workspace_id="rich")
    await applied(setting, function)
    quota_ref = Ref(RESOURCE_QUOTA, setting.namespace(function), "lateen-functions")
    quota = await setting.admin.get(quota_ref)
    assert quota is not None
    hard = quota["spec"]["hard"]
    assert (hard["pods"], hard["limits.cpu"], hard["limits.memory"]) == ("300", "20", "64Gi")
    setting.deployer.settle("rich", Quota(pods=3))

    async def is_changed() -> bool:
        quota = await setting.admin.get(quota_ref)
        return quota is not None and quota["spec"]["hard"] == {
            "pods": "3", "services.loadbalancers": "0", "services.nodeports": "0",
            "count/deployments.apps": "4050", "count/services": "4050",
            "count/secrets": "8050", "count/configmaps": "1050", "count/serviceaccounts": "4050",
        }  # fmt: skip

    await until(is_changed)


async def test_who_leads_no_more_changes_nothing(setting: Setting) -> None:
    """Each write asks first."""
    function = a_function()
    await applied(setting, function)
    setting.leads_for_s = lambda: 0.0
    other = a_function()
    await setting.deployer.apply(other)
    await setting.deployer.remove(function.function_id)
    await asyncio.sleep(1)
    assert await setting.get(DEPLOYMENT, other) is None
    assert await setting.get(DEPLOYMENT, function) is not None
    assert setting.told(other) is None, "that is no news about the function"
    setting.leads_for_s = lambda: 1000.0
    await setting.until_state(other, "Failed", reason="no room")


class SlowFor(KubernetesApi):
    """Calls about one function take for ever."""

    slow = ""

    async def _call(self, method: str, path: str, **rest: object) -> object:
        if self.slow and self.slow in path:
            await asyncio.sleep(5)
            raise ApiUnavailable("no answer")
        return await super()._call(method, path, **rest)  # type: ignore[arg-type]


async def test_slow_and_broken_functions_delay_no_other(setting: Setting) -> None:
    """More of them than there are workers."""
    await setting.stop()
    slow = SlowFor(setting.api._access)
    slow.slow = "fn-slow"
    api, setting.api = setting.api, slow
    await api.close()
    setting.start()
    for n in range(60):
        await setting.deployer.apply(a_function(function_id=f"slow-{n}", open=False))
    broken = [a_function(runtime="cobol85") for _ in range(40)]
    for function in broken:
        await setting.deployer.apply(function)
    function = a_function()
    await setting.deployer.apply(function)
    began = time.monotonic()
    await setting.until_state(function, "Failed", reason="no room")
    assert time.monotonic() - began < 5


async def test_one_namespace_for_all(tmp_path: Path) -> None:
    """Nothing that is cluster-wide is needed or asked for; other people's objects there stay as they are."""
    shared = f"ctl-shared-{os.getpid()}"
    setting = Setting(config_for(tmp_path, functions_namespace=shared))
    await setting.prepare()
    try:
        guest: Manifest = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "guest", "namespace": shared}}
        await setting.admin.create({**guest, "spec": {"ports": [{"port": 1}]}})
        setting.start()
        one, two = a_function(workspace_id="one"), a_function(workspace_id="two")
        await setting.active(one, two)
        assert setting.namespace(one) == setting.namespace(two) == shared
        assert list(await setting.deployer.places()) == []
        policies = (await setting.admin.list(NETWORK_POLICY, shared, selector=""))[0]
        assert all(policy["spec"]["podSelector"]["matchLabels"] for policy in policies)
        assert (await setting.admin.list(RESOURCE_QUOTA, shared, selector=""))[0] == []
        for function in (one, two):
            await setting.deployer.remove(function.function_id)
        selector = "lateen.dev/function"

        async def only_the_guest() -> bool:
            kinds = (DEPLOYMENT, SERVICE, INGRESS, SECRET)
            return not any([(await setting.admin.list(kind, shared, selector=selector))[0] for kind in kinds])

        await until(only_the_guest)
        assert await setting.admin.get(Ref(SERVICE, shared, "guest")) is not None
    finally:
        await setting.close()


CRD: Manifest = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {
        "name": "httproutes.gateway.networking.k8s.io",
        "annotations": {"api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/gateway-api/pull/2466"},
    },
    "spec": {
        "group": "gateway.networking.k8s.io",
        "scope": "Namespaced",
        "names": {"kind": "HTTPRoute", "plural": "httproutes", "singular": "httproute"},
        "versions": [
            {
                "name": "v1", "served": True, "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}  # fmt: skip
CRDS = Kind("CustomResourceDefinition", "apiextensions.k8s.io/v1", "customresourcedefinitions", is_namespaced=False)


THE_CRD = Ref(CRDS, "", CRD["metadata"]["name"])
ROUTES = HttpRoute(enabled=True, parent_refs=[{"name": "public", "namespace": "gateways"}], hostnames=["f.example"])


class GatewayApi:
    """As far as functions need it. What the cluster had before stays."""

    def __init__(self, admin: KubernetesApi) -> None:
        self._admin = admin
        self.existed = False

    async def install(self) -> None:
        if not self.existed:
            await self._admin._call("POST", CRDS.path(), body=CRD, content_type="application/json")

        async def is_served() -> bool:
            try:
                await self._admin.list(HTTP_ROUTE, None, selector="")
            except ApiRefused:
                return False
            return True

        await until(is_served)


@pytest.fixture
async def gateway_api() -> AsyncIterator[GatewayApi]:
    admin = KubernetesApi(Access.found())
    api = GatewayApi(admin)
    api.existed = await admin.get(THE_CRD) is not None
    yield api
    if not api.existed:
        await admin.delete(THE_CRD)

        async def is_gone() -> bool:
            return await admin.get(THE_CRD) is None

        await until(is_gone)  # else the next test would find it, and lose it
    await admin.close()


async def held(setting: Setting, *functions: Deployment) -> None:
    """As the controller tells of them."""
    for function in functions:
        setting.deployer.hold(function)
    await applied(setting, *functions)


def gone(setting: Setting, kind: Kind, *functions: Deployment) -> Callable[[], Awaitable[bool]]:
    async def is_gone() -> bool:
        return not any([await setting.get(kind, function) for function in functions])

    return is_gone


async def test_routes_of_the_gateway_api(tmp_path: Path, gateway_api: GatewayApi) -> None:
    """One for each open function, and no Ingress; healed and removed as all the rest."""
    await gateway_api.install()
    setting = Setting(config_for(tmp_path, pods=NOWHERE, ingress=Ingress(), http_route=ROUTES))
    await setting.prepare()
    try:
        setting.start()
        function = a_function()
        await held(setting, function)
        live = await setting.get(HTTP_ROUTE, function)
        assert live is not None
        assert live["spec"]["parentRefs"] == [{"name": "public", "namespace": "gateways"}]
        assert live["spec"]["hostnames"] == ["f.example"]
        (rule,) = live["spec"]["rules"]
        assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": f"/{function.hash}"}}]
        assert rule["backendRefs"] == [{"name": f"fn-{function.function_id}", "port": 8080}]
        assert await setting.get(INGRESS, function) is None
        await setting.admin.delete(ref(setting, HTTP_ROUTE, function))
        await until(lambda: setting.get(HTTP_ROUTE, function))
        setting.deployer.hold(changed(function, open=False, artifact_key=""))
        await until(gone(setting, HTTP_ROUTE, function))
    finally:
        await setting.close()


@pytest.mark.parametrize("after", [Ingress(), Ingress(enabled=True)], ids=["none", "ingresses"])
async def test_routes_that_are_made_no_more_go(tmp_path: Path, gateway_api: GatewayApi, after: Ingress) -> None:
    """With the setting; also of what was deleted since, which is known by nothing else any more."""
    await gateway_api.install()
    setting = Setting(config_for(tmp_path, pods=NOWHERE, ingress=Ingress(), http_route=ROUTES))
    await setting.prepare()
    try:
        setting.start()
        function, removed = a_function(), a_function()
        await held(setting, function, removed)
        assert await setting.get(HTTP_ROUTE, function) is not None
        await setting.stop()
        setting.config = msgspec.structs.replace(setting.config, ingress=after, http_route=HttpRoute())
        setting.start()
        setting.deployer.hold(function)
        await setting.deployer.apply(function)
        assert removed.function_id in await setting.deployer.deployed()
        await setting.deployer.remove(removed.function_id)
        await until(gone(setting, HTTP_ROUTE, function, removed))
        await until(gone(setting, DEPLOYMENT, removed))
        if after.enabled:
            await until(lambda: setting.get(INGRESS, function))
    finally:
        await setting.close()


async def test_a_cluster_without_the_gateway_api(
    setting: Setting, gateway_api: GatewayApi, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing waits for it, and nothing is said of it; when it is there it is watched."""
    if gateway_api.existed:
        assert os.environ.get("CI") != "true", "there the cluster begins without it"
        pytest.skip("this cluster has the Gateway API, and to take it away would take away its routes")
    await setting.stop()
    monkeypatch.setattr(watcher_module, "ABSENT_S", 0.2)
    function = a_function()
    with caplog.at_level(logging.INFO):
        setting.start()
        await held(setting, function)
        await asyncio.sleep(1)
        ingress = await setting.get(INGRESS, function)
        assert ingress is not None
        setting.deployer.hold(changed(function, open=False))
        await until(gone(setting, INGRESS, function))
    assert "HTTPRoute" not in [getattr(record, "kind", None) for record in caplog.records]
    await gateway_api.install()
    metadata = {name: ingress["metadata"][name] for name in ("name", "namespace", "labels")}
    route = {"apiVersion": HTTP_ROUTE.version, "kind": HTTP_ROUTE.name, "metadata": metadata, "spec": {}}
    await setting.admin.create(route)
    await until(gone(setting, HTTP_ROUTE, function))


async def test_what_is_closed_is_closed_at_once(setting: Setting) -> None:
    """Also while nothing can be made of the revision that says so; and an earlier one opens nothing."""
    function, other = a_function(), a_function()
    await held(setting, function, other)
    assert await setting.get(INGRESS, function) is not None
    closed = changed(changed(function), open=False, artifact_key="")
    setting.deployer.hold(closed)
    await until(gone(setting, INGRESS, function))
    opened = changed(closed, open=True)
    setting.deployer.hold(opened)
    await until(lambda: setting.get(INGRESS, function))
    setting.deployer.hold(changed(opened, open=False))
    await until(gone(setting, INGRESS, function))
    await applied(setting, changed(function, timeout_s=9))
    assert await setting.get(INGRESS, function) is None
    assert await setting.get(INGRESS, other) is not None


async def test_what_was_closed_while_no_controller_ran(setting: Setting) -> None:
    """Nothing is known of the function but that it is not open: what leads there goes, and what runs stays."""
    function = a_function()
    await held(setting, function)
    assert await setting.get(INGRESS, function) is not None
    await setting.stop()
    setting.start()
    setting.deployer.hold(changed(function, open=False, artifact_key=""))
    await until(gone(setting, INGRESS, function))
    assert await setting.get(DEPLOYMENT, function) is not None


async def test_a_secret_that_somebody_removes_heals_when_a_pod_needs_it(tmp_path: Path) -> None:
    """Secrets are not watched: that would be a right to read them. A new pod that waits for one has it made again."""
    setting = Setting(config_for(tmp_path))
    await setting.prepare()
    setting.start()
    try:
        function = a_function()
        await setting.active(function)
        (secret,) = await setting.objects(SECRET, function)
        await setting.admin.delete(Ref(SECRET, setting.namespace(function), secret["metadata"]["name"]))
        await setting.admin.delete(Ref(SECRET, setting.namespace(function), "lateen-ca"))
        (pod,) = await setting.pods(function)
        await setting.admin.delete(Ref(POD, setting.namespace(function), pod["metadata"]["name"]))

        async def runs_again() -> bool:
            pods = await setting.pods(function)
            states = [c for p in pods for c in p["status"].get("conditions", ()) if c["type"] == "Ready"]
            return [c["status"] for c in states] == ["True"] and pods[0]["metadata"]["uid"] != pod["metadata"]["uid"]

        await until(runs_again)
        updated = new_code(function, "2")
        await setting.active(updated)
    finally:
        await setting.close()
