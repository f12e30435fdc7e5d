"""Versions beside each other on a real cluster: each has its pods, its Service and nobody else's."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from controller_setting import Setting, a_function, changed, config_for, until

from lateen.adapters.kubernetes.kinds import DEPLOYMENT, INGRESS, POD, SECRET, SERVICE
from lateen.ports.deployer import Deployment

pytestmark = pytest.mark.cluster


@pytest.fixture
async def setting(tmp_path: Path) -> AsyncIterator[Setting]:
    setting = Setting(config_for(tmp_path))
    await setting.prepare()
    setting.start()
    yield setting
    await setting.close()


def version_of(function: Deployment, version: str, code: str) -> Deployment:
    return msgspec.structs.replace(function, version=version, artifact_sha256=code * 64, open=False)


async def is_gone(setting: Setting, deployment: Deployment) -> bool:
    return not any([await setting.objects(kind, deployment) for kind in (DEPLOYMENT, SERVICE, INGRESS, SECRET, POD)])


async def test_versions_run_side_by_side(setting: Setting) -> None:
    """Each Service leads to pods of its own version; the draft's objects stay as they are, through its own updates too;
    a version that is removed takes nothing else along, and the function takes all."""
    latest = a_function()
    await setting.active(latest)
    ingress, service = await setting.get(INGRESS, latest), await setting.get(SERVICE, latest)
    uid = (await setting.deployment(latest))["metadata"]["uid"]
    one, two = version_of(latest, "1", "1"), version_of(latest, "2", "2")
    await setting.active(one, two)
    for each in (latest, one, two):
        await until(lambda each=each: setting.reached(each))
        answers = [await setting.ask(each) for _ in range(8)]
        assert {answer["code"] for answer in answers} == {each.artifact_sha256}
    assert (await setting.get(INGRESS, latest), await setting.get(SERVICE, latest)) == (ingress, service)
    assert await setting.get(INGRESS, one) is None
    updated = changed(latest, artifact_sha256="9" * 64)
    await setting.active(updated)
    assert (await setting.deployment(updated))["metadata"]["uid"] == uid
    for each in (one, two):
        assert (await setting.ask(each))["code"] == each.artifact_sha256
        assert len(await setting.pods(each)) == 1
    # Another controller finds them, and removes what it is told to.
    await setting.stop()
    setting.start()
    versions = set(await setting.deployer.deployed_versions())
    assert versions == {(latest.function_id, "1"), (latest.function_id, "2")}
    await setting.deployer.remove(latest.function_id, "1")
    await until(lambda: is_gone(setting, one))
    assert (await setting.ask(two))["code"] == two.artifact_sha256
    await setting.deployer.remove(latest.function_id)
    await until(lambda: is_gone(setting, two))
    await until(lambda: is_gone(setting, latest))
    assert not await setting.deployer.deployed()
