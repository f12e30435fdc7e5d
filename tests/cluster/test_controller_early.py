"""A new function's pods are reached before the cluster knows them ready, and no other function's are."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from controller_setting import Setting, a_function, changed, config_for, new_code, until

from lateen.adapters.kubernetes.config import name_of
from lateen.adapters.kubernetes.kinds import SERVICE, Ref
from lateen.ports.deployer import Deployment

pytestmark = pytest.mark.cluster

UNREADY = {"UNREADY": "1"}


@pytest.fixture
async def setting(tmp_path: Path) -> AsyncIterator[Setting]:
    setting = Setting(config_for(tmp_path))
    await setting.prepare()
    setting.start()
    yield setting
    await setting.close()


async def is_early(setting: Setting, function: Deployment) -> bool:
    service = await setting.get(SERVICE, function)
    assert service is not None
    return bool(service["spec"].get("publishNotReadyAddresses"))


async def test_a_new_function_is_reached_before_it_is_ready(setting: Setting) -> None:
    """Also through a controller that comes later; until something of it was ready, once and for all."""
    function = a_function(environment=UNREADY)
    await setting.deployer.apply(function)
    told = await setting.until_state(function, "Pending")
    assert told.reason is None, "an address is there, and no more is known"
    assert (await until(lambda: setting.reached(function)))["code"] == function.artifact_sha256
    await setting.stop()
    setting.start()
    await setting.deployer.apply(function)
    await setting.until_state(function, "Pending")
    assert await is_early(setting, function)
    mended = changed(function, environment={})
    await setting.deployer.apply(mended)
    await setting.until_state(mended, "Active")
    assert not await is_early(setting, function)


async def test_an_update_is_not_reached_before_it_is_ready(setting: Setting) -> None:
    """The version before answers, also where somebody opened the Service while no controller was there."""
    function = a_function()
    await setting.active(function)
    assert not await is_early(setting, function)
    service = Ref(SERVICE, setting.namespace(function), name_of(function.function_id))
    await setting.stop()
    await setting.admin._call(
        "PATCH",
        service.path,
        body={"spec": {"publishNotReadyAddresses": True}},
        content_type="application/strategic-merge-patch+json",
    )
    setting.start()
    updated = new_code(changed(function, environment=UNREADY), "2")
    await setting.deployer.apply(updated)

    async def both_run() -> bool:
        pods = await setting.pods(function)
        return len(pods) == 2 and all(pod["status"].get("phase") == "Running" for pod in pods)

    await until(both_run)
    assert not await is_early(setting, function)
    await until(lambda: setting.reached(function))
    for _ in range(20):
        assert (await setting.ask(function))["code"] == function.artifact_sha256


async def test_a_service_that_is_made_anew_asks_what_is_there(setting: Setting) -> None:
    """Where pods are ready, it leads to those."""
    function = a_function()
    await setting.active(function)
    old = await setting.get(SERVICE, function)
    assert old is not None
    await setting.admin.delete(Ref(SERVICE, setting.namespace(function), name_of(function.function_id)))

    async def is_back() -> bool:
        live = await setting.get(SERVICE, function)
        return live is not None and live["metadata"]["uid"] != old["metadata"]["uid"]

    await until(is_back)
    assert not await is_early(setting, function)


async def test_nobody_is_sent_where_it_has_failed(setting: Setting) -> None:
    """Pods of a function that can't run are left alone, and what is told says that nothing serves."""
    function = a_function(environment={"LAST_WORDS": "the code was not found"})
    await setting.deployer.apply(function)
    told = await setting.until_state(function, "Failed")
    assert not told.serves
    await until(lambda: is_closed(setting, function))
    mended = changed(function, environment={})
    await setting.deployer.apply(mended)
    await setting.until_state(mended, "Active")


async def is_closed(setting: Setting, function: Deployment) -> bool:
    return not await is_early(setting, function)
