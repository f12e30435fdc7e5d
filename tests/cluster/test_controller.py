"""The deployer on a real cluster: what it makes, what it tells, and what it leaves. It has the controller's rights and
no others, and its pods run a stand-in for the invoker."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from controller_setting import INVOKER_IMAGE, RUNTIME_IMAGE, Setting, a_function, changed, config_for, new_code, until

from lateen.adapters.kubernetes.api import ApiUnavailable
from lateen.adapters.kubernetes.config import Images
from lateen.adapters.kubernetes.image_resolver import KubernetesImageResolver
from lateen.adapters.kubernetes.kinds import (
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    INGRESS,
    JOB,
    POD,
    SECRET,
    SERVICE,
    Manifest,
    Ref,
)
from lateen.domain.images import Image
from lateen.domain.workspaces import Quota
from lateen.ports.image_resolver import ImageFailed

pytestmark = pytest.mark.cluster


@pytest.fixture
async def setting(tmp_path: Path) -> AsyncIterator[Setting]:
    setting = Setting(config_for(tmp_path))
    await setting.prepare()
    setting.start()
    yield setting
    await setting.close()


async def test_a_function_runs_and_goes(setting: Setting) -> None:
    """Its objects are made, its pods get ready in a namespace that enforces *restricted*, and that is told; after its
    removal nothing is left, and removing it again is no error."""
    function = a_function()
    await setting.active(function)
    told = setting.told(function)
    assert told is not None
    assert told.reason is None
    # Nodes hear of a new pod up to a second later; the gateway waits for that.
    assert (await until(lambda: setting.reached(function)))["code"] == function.artifact_sha256
    assert len(await setting.objects(SECRET, function)) == 1
    assert await setting.get(INGRESS, function) is not None
    for _ in range(2):
        await setting.deployer.remove(function.function_id)

        async def is_gone() -> bool:
            return not any([await setting.objects(kind, function) for kind in (DEPLOYMENT, SERVICE, INGRESS, SECRET)])

        await until(is_gone)
    assert function.function_id not in await setting.deployer.deployed()
    await setting.deployer.remove("never-was-there")


async def test_what_needs_no_new_pods_makes_none(setting: Setting) -> None:
    """A description rolls nothing, more replicas are added beside, and neither makes another Secret."""
    function = a_function()
    await setting.active(function)
    (pod,) = await setting.pods(function)
    ingress = await setting.get(INGRESS, function)
    described = changed(function)
    await setting.active(described)
    live = await setting.deployment(function)
    assert live["metadata"]["annotations"]["lateen.dev/revision"] == "2"
    assert [each["metadata"]["uid"] for each in await setting.objects(POD, function)] == [pod["metadata"]["uid"]]
    more = changed(described, replicas=2)
    await setting.active(more)
    uids = [each["metadata"]["uid"] for each in await setting.pods(function)]
    assert len(uids) == 2
    assert pod["metadata"]["uid"] in uids
    assert len(await setting.objects(SECRET, function)) == 1
    assert await setting.get(INGRESS, function) == ingress


async def test_a_drain_never_takes_all_pods(setting: Setting) -> None:
    """Of two pods one may be evicted, and the other only when that one is replaced. The budget comes and goes with the
    second pod, is made anew if somebody deletes it, and goes with the function."""
    function = a_function()
    await setting.active(function)
    assert await setting.get(DISRUPTION_BUDGET, function) is None
    two = changed(function, replicas=2)
    await setting.active(two)

    async def one_may_go() -> bool:
        budget = await setting.get(DISRUPTION_BUDGET, function)
        return budget is not None and budget.get("status", {}).get("disruptionsAllowed") == 1

    await until(one_may_go)
    first, second = await setting.pods(function)
    await evict(setting, first)
    with pytest.raises(ApiUnavailable, match="disruption budget"):
        await evict(setting, second)
    await setting.admin.delete(Ref(DISRUPTION_BUDGET, setting.namespace(function), f"fn-{function.id}"))
    await until(one_may_go)
    await setting.active(changed(two, replicas=1))
    assert await setting.get(DISRUPTION_BUDGET, function) is None
    await setting.active(changed(changed(two), replicas=2))
    await setting.deployer.remove(function.function_id)

    async def is_gone() -> bool:
        return not any([await setting.objects(kind, function) for kind in (DISRUPTION_BUDGET, DEPLOYMENT)])

    await until(is_gone)


async def evict(setting: Setting, pod: Manifest) -> None:
    """As `kubectl drain` does."""
    metadata = {name: pod["metadata"][name] for name in ("name", "namespace")}
    await setting.admin._call(
        "POST",
        f"{POD.path(metadata['namespace'], metadata['name'])}/eviction",
        body={"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata},
        content_type="application/json",
    )


async def test_an_update_loses_no_call(setting: Setting) -> None:
    """The new pods are there before the old ones go; `Active` is told when only the new code answers; the old
    configuration goes with the last pod that has it; the Ingress stays as it is."""
    function = a_function(environment={"LINGER_S": "3"})
    await setting.active(function)
    await until(lambda: setting.reached(function))
    ingress = await setting.get(INGRESS, function)
    updated = new_code(function, "2")
    answers: list[str] = []

    async def call() -> None:
        while True:
            answers.append((await setting.ask(function))["code"])

    calls = asyncio.create_task(call())
    await setting.deployer.apply(updated)
    await setting.until_state(updated, "Active")
    assert (await setting.ask(function))["code"] == updated.artifact_sha256
    calls.cancel()
    outcome = (await asyncio.gather(calls, return_exceptions=True))[0]
    assert isinstance(outcome, asyncio.CancelledError), "a call failed"
    assert set(answers) <= {function.artifact_sha256, updated.artifact_sha256}
    assert len(await setting.objects(POD, function)) == 2, "the old pod is finishing"
    assert len(await setting.objects(SECRET, function)) == 2

    async def one_secret() -> bool:
        live = await setting.deployment(function)
        names = live["metadata"]["annotations"]["lateen.dev/configurations"]
        return [secret["metadata"]["name"] for secret in await setting.objects(SECRET, function)] == [names]

    await until(one_secret)
    assert await setting.get(INGRESS, function) == ingress


async def test_a_failed_update_leaves_the_old_version_serving(setting: Setting) -> None:
    """And says so, with the invoker's last words; the next update gets over it."""
    function = a_function()
    await setting.active(function)
    await until(lambda: setting.reached(function))
    broken = changed(function, environment={"LAST_WORDS": "The code is not in the object store."})
    await setting.deployer.apply(broken)
    told = await setting.until_state(broken, "Failed")
    assert told.reason == "The code is not in the object store. The version before goes on serving."
    assert (await setting.ask(function))["code"] == function.artifact_sha256
    repaired = changed(broken, environment={"REPAIRED": "yes"})
    await setting.active(repaired)


async def test_who_may_call_decides_about_the_ingress(setting: Setting) -> None:
    """A function that asks for a key has none; one that was opened has one."""
    function = a_function(open=False)
    await setting.active(function)
    assert await setting.get(INGRESS, function) is None
    opened = changed(function, open=True)
    await setting.active(opened)
    ingress = await setting.get(INGRESS, function)
    assert ingress is not None
    assert ingress["spec"]["rules"][0]["http"]["paths"][0]["path"] == f"/{function.hash}"
    await setting.active(changed(opened, open=False))
    assert await setting.get(INGRESS, function) is None


async def test_how_the_first_initialisation_went_is_told(setting: Setting) -> None:
    """`Active` with the error as its reason, where each call will say so. A pod that answers without end, or nothing
    of use, is not believed and not waited for."""
    failing = a_function(environment={"INIT_ERROR": "No module named 'numpy'\n\x1b[31m"})
    endless = a_function(environment={"ENDLESS_STATE": "yes"})
    await setting.active(failing, endless)
    told, other = setting.told(failing), setting.told(endless)
    assert told is not None
    assert told.reason == "ImportError: No module named 'numpy' [31m"
    assert other is not None
    assert other.reason is None


async def test_reasons_that_a_person_can_act_on(setting: Setting, caplog: pytest.LogCaptureFixture) -> None:
    """Failed, within two seconds of the cluster knowing, says why; and whoever watches sees how many and which."""
    no_room = a_function(memory_mib=10_240, concurrency=100)
    no_runtime = a_function(runtime="cobol85")
    no_code = a_function(environment={"LAST_WORDS": "The code is not in the object store."})
    for function in (no_room, no_runtime, no_code):
        await setting.deployer.apply(function)
    await setting.until_state(no_runtime, "Failed", reason="no image for the runtime cobol85")
    await setting.until_state(no_code, "Failed", reason="The code is not in the object store.")
    told = await setting.until_state(no_room, "Failed", reason="There is no room in the cluster")
    assert "Insufficient" in (told.reason or "")
    logged = {each.__dict__["function"] for each in caplog.records if each.message == "function failed"}
    assert logged == {each.function_id for each in (no_room, no_runtime, no_code)}
    runs = a_function()
    await setting.active(runs)
    (functions,) = (each for each in setting.deployer.collect() if each.name == "lateen_controller_functions")
    counts = {sample.labels["state"]: sample.value for sample in functions.samples}
    assert counts == {"Active": 1, "Pending": 0, "Failed": 3}


async def test_room_heals_what_failed(setting: Setting) -> None:
    """A workspace's quota that is used up is told; when it is raised, the function runs, by itself."""
    setting.deployer.settle("default", Quota(pods=1))
    first, second = a_function(), a_function()
    await setting.active(first)
    await setting.deployer.apply(second)
    told = await setting.until_state(second, "Failed", reason="quota is used up")
    assert "pods=1" in (told.reason or "")
    setting.deployer.settle("default", Quota(pods=5))
    await setting.until_state(second, "Active")


async def test_an_image_that_somebody_put_into_the_node(tmp_path: Path) -> None:
    """It has no digest that a registry would know. Nothing is left of having asked, with the rights that there are."""
    config = config_for(tmp_path, images=Images(invoker=INVOKER_IMAGE, runtimes={}))
    setting = Setting(config)
    try:
        await setting.prepare()
        setting.start()
        resolver = KubernetesImageResolver(
            setting.api, config, ensure_place=setting.deployer.ensure_place, leads_for_s=setting.leads_for_s
        )
        assert await resolver.digest("default", Image(uri=RUNTIME_IMAGE)) is None
        with pytest.raises(ImageFailed, match="localhost/lateen/not-there:1"):
            await resolver.digest("default", Image(uri="localhost/lateen/not-there:1"))
        assert (await setting.admin.list(JOB, config.namespace_of("default"), selector=""))[0] == []
    finally:
        await setting.close()


async def test_an_image_that_cannot_be_pulled_is_told(tmp_path: Path) -> None:
    """With what the node says."""
    config = config_for(tmp_path, images=Images(invoker="localhost/lateen/not-there:1", runtimes={"python3.12": "x"}))
    setting = Setting(config)
    try:
        await setting.prepare()
        setting.start()
        function = a_function()
        await setting.deployer.apply(function)
        told = await setting.until_state(function, "Failed")
        assert (told.reason or "").startswith("The image of the invoker can't be pulled (")
        assert "localhost/lateen/not-there:1" in (told.reason or "")
    finally:
        await setting.close()


async def test_a_pod_that_is_gone_is_none_of_the_services(setting: Setting) -> None:
    """A pod that somebody deletes comes back; the state stays `Active` all the while."""
    function = a_function(replicas=2)
    await setting.active(function)
    pods = await setting.pods(function)
    before = len(setting.observed)
    await setting.admin.delete(Ref(POD, setting.namespace(function), pods[0]["metadata"]["name"]))

    async def two_others() -> bool:
        now = await setting.pods(function)
        ready = [
            p
            for p in now
            if any(c["type"] == "Ready" and c["status"] == "True" for c in p["status"].get("conditions", ()))
        ]
        return len(ready) == 2 and pods[0]["metadata"]["uid"] not in {p["metadata"]["uid"] for p in now}

    await until(two_others)
    states = {o.state for _, o in setting.observed[before - 1 :] if o.function_id == function.function_id}
    assert states == {"Active"}
