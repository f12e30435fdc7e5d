"""Builds as Jobs on a real cluster, with an object store and a package index in it, and the controller's rights."""

import asyncio
import base64
import io
import json
import os
import secrets
import subprocess
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cluster_stores import NAMESPACE as STORES_NAMESPACE
from cluster_stores import ClusterStores
from controller_setting import Setting, config_for, until
from package_index import GO_MODULE, PASSWORD, USER, go_sum
from running_platform import zip_of

from lateen.adapters.kubernetes.builder import KubernetesBuilder, KubernetesBuildPlace
from lateen.adapters.kubernetes.config import Builds, Egress, Images, Network, Stores
from lateen.adapters.kubernetes.kinds import JOB, POD
from lateen.adapters.s3 import S3Objects
from lateen.adapters.s3_bucket import create_bucket
from lateen.adapters.sqlite import SqliteTable
from lateen.domain.access import PLATFORM
from lateen.domain.functions import Function
from lateen.domain.master import MasterKey
from lateen.services.assembled import assemble
from lateen.services.building import Building
from lateen.services.builds import Artifact, BuildFailed
from lateen.services.functions import NewFunction

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(500)]

ROOT = Path(__file__).parents[2]
TAG = os.environ.get("LATEEN_IMAGE_TAG", "dev")
RUNTIME = "python3.12"
BUILD_IMAGES = {name: f"localhost/lateen/{name}-build:{TAG}" for name in (RUNTIME, "node20", "golang1.22")}
BUILD_IMAGE = BUILD_IMAGES[RUNTIME]
HANDLER = "import lateen_tiny\n\ndef handler(event, context):\n    return lateen_tiny.WORD\n"
PROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
CURIOUS = """
import os, socket, sys
print("uid", os.getuid(), "token", os.path.exists("/var/run/secrets/kubernetes.io"), file=sys.stderr)
print("addresses", [name for name in os.environ if "URL" in name and name.startswith("LATEEN")], file=sys.stderr)
for host, port in ((os.environ["KUBERNETES_SERVICE_HOST"], 443), ("169.254.169.254", 80)):
    try:
        socket.create_connection((host, port), timeout=3)
        print("reached", host, file=sys.stderr)
    except OSError as exc:
        print("not reached", host, file=sys.stderr)
try:
    open("/lateen/mine", "w")
    print("root is written to", file=sys.stderr)
except OSError:
    print("root is read-only", file=sys.stderr)
sys.exit(7)
"""


def kubectl(*arguments: str, given: str | None = None) -> str:
    return subprocess.run(["kubectl", *arguments], input=given, capture_output=True, text=True, check=True).stdout


class Cluster:
    """The controller's part that builds, over a table of the test's own."""

    def __init__(self, setting: Setting, table: SqliteTable, objects: S3Objects) -> None:
        self.setting = setting
        self.objects = objects
        self.table = table
        config = setting.config
        self.services = assemble(
            table,
            objects,
            master=MasterKey(b"m" * 32),
            runtimes=ROOT / "runtimes",
            build_place=KubernetesBuildPlace(config),
        )
        self.building = self.a_building()

    def a_building(self) -> Building:
        builder = KubernetesBuilder(
            self.setting.api,
            self.setting.config,
            objects=self.objects,
            runtime=self.services.runtimes.get,
            ensure_place=self.setting.deployer.ensure_place,
            leads_for_s=self.setting.leads_for_s,
        )
        return Building(
            self.table,
            self.objects,
            builder=builder,
            runtimes=self.services.runtimes,
            settings=self.services.build_settings,
        )

    async def create(self, files: dict[str, str], name: str = "f", *, runtime: str = RUNTIME) -> Function:
        new = NewFunction(name=name, runtime=runtime, code=zip_of(files))
        return (await self.services.functions.create(PLATFORM, "default", new)).function

    async def built(self, function: Function, building: Building | None = None) -> Artifact:
        async def artifact() -> Artifact | None:
            return await (building or self.building).artifact(function)

        found: Artifact = await until(artifact, within_s=360, every_s=0.3)
        return found

    async def log(self, function: Function) -> str:
        assert function.code.build is not None
        build = await self.services.builds.find("default", function.code.build.id)
        assert build is not None
        return (await self.services.builds.log(build)).text

    async def jobs(self) -> list[Any]:
        namespace = self.setting.config.namespace_of("default")
        return (await self.setting.admin.list(JOB, namespace, selector=""))[0]


@pytest.fixture
async def cluster(
    cluster_stores: ClusterStores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Cluster]:
    for name, value in cluster_stores.environment.items():
        monkeypatch.setenv(name, value)

    def to(namespace: str) -> dict[str, Any]:
        return {"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}]}

    base = config_for(tmp_path)
    config = msgspec.structs.replace(
        base,
        images=Images(
            invoker=f"localhost/lateen/invoker:{TAG}",
            runtimes=dict.fromkeys(BUILD_IMAGES, "unused"),
            builds=BUILD_IMAGES,
        ),
        stores=Stores(),
        copied_secrets=[],
        network=Network(platform_selector=base.network.platform_selector, egress=Egress(extra=[to(STORES_NAMESPACE)])),
        builds=Builds(cpu="1", memory="1Gi", disk_mib=1024, deadline_s=300, egress=[to(base.namespace)]),
    )
    setting = Setting(config)
    await setting.prepare()
    setting.start()
    table = SqliteTable(tmp_path / "lateen.db")
    bucket = f"test-{secrets.token_hex(8)}"
    create_bucket(bucket, region=cluster_stores.region, path_style=True)
    objects = S3Objects(bucket, region=cluster_stores.region, path_style=True)
    cluster = Cluster(setting, table, objects)
    await cluster.services.workspaces.ensure_default()
    url = await asyncio.to_thread(start_index, config.namespace)
    address = url.split("@")[1].split("/")[0]
    await cluster.services.build_settings.change(
        PLATFORM,
        "default",
        {
            "PIP_INDEX_URL": url,
            "PIP_TRUSTED_HOST": address,
            "NPM_CONFIG_REGISTRY": f"http://{address}/npm/",
            f"NPM_CONFIG_//{address}/npm/:_auth": base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode(),
            "GOPROXY": f"http://{address}/go",
            "GONOSUMDB": "*",
        },
    )
    yield cluster
    await cluster.building.close()
    await setting.close()
    await table.close()
    await objects.close()


def start_index(namespace: str) -> str:
    """In the platform's namespace, where a build may go by its own rule only."""
    script = (ROOT / "tests" / "support" / "package_index.py").read_text()
    files = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "index"}, "data": {"index.py": script}}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "index"},
        "spec": {
            "containers": [
                {
                    "name": "index",
                    "image": BUILD_IMAGE,
                    "imagePullPolicy": "Never",
                    "command": ["python3", "/index/index.py"],
                    "volumeMounts": [{"name": "files", "mountPath": "/index"}],
                }
            ],
            "volumes": [{"name": "files", "configMap": {"name": "index"}}],
        },
    }
    both = {"apiVersion": "v1", "kind": "List", "items": [files, pod]}
    kubectl("-n", namespace, "apply", "-f", "-", given=json.dumps(both))
    kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/index", "--timeout=90s")
    address = kubectl("-n", namespace, "get", "pod", "index", "-o", "jsonpath={.status.podIP}")
    return f"http://{USER}:{PASSWORD}@{address}:8080/simple/"


async def test_a_job_builds_and_goes(cluster: Cluster) -> None:
    """From the index in the cluster; what it made is in the object store under its content's name, its log in the table
    without the password, and of the Job nothing is left."""
    function = await cluster.create({"code.py": HANDLER, "requirements.txt": "lateen-tiny==1.0\n"})
    artifact = await cluster.built(function)
    assert {"code.py", "lateen_tiny.py"} <= await names_in(cluster, artifact)
    log = await cluster.log(function)
    assert "Successfully installed lateen-tiny-1.0" in log
    assert PASSWORD not in log

    async def is_gone() -> bool:
        namespace = cluster.setting.config.namespace_of("default")
        return not await cluster.jobs() and not (await cluster.setting.admin.list(POD, namespace, selector=""))[0]

    await until(is_gone, within_s=60)


async def test_node_s_packages_are_installed(cluster: Cluster) -> None:
    """From the registry that the workspace names, with its password, which nobody sees."""
    package = json.dumps({"name": "f", "version": "1.0.0", "dependencies": {"lateen-tiny": "^1.0.0"}})
    handler = "exports.handler = async () => require('lateen-tiny').WORD;\n"
    function = await cluster.create({"index.js": handler, "package.json": package}, runtime="node20")
    names = await names_in(cluster, await cluster.built(function))
    assert {"index.js", "package.json", "node_modules/lateen-tiny/index.js"} <= names
    log = await cluster.log(function)
    assert "added 1 package" in log
    assert PASSWORD not in log
    assert base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode() not in log


async def test_go_is_compiled(cluster: Cluster) -> None:
    """With a module from the proxy that the workspace names: the artifact is the program and nothing else."""
    files = {
        "go.mod": f"module f\n\ngo 1.21\n\nrequire {GO_MODULE} v1.0.0\n",
        "go.sum": go_sum(),
        "main.go": f'package main\n\nimport "{GO_MODULE}"\n\nfunc main() {{ println(tiny.Word) }}\n',
    }
    function = await cluster.create(files, runtime="golang1.22")
    assert await names_in(cluster, await cluster.built(function)) == {"bootstrap"}


async def test_go_that_does_not_compile_says_where(cluster: Cluster) -> None:
    files = {"go.mod": "module f\n\ngo 1.21\n", "main.go": "package main\n\nfunc main() { nothing() }\n"}
    function = await cluster.create(files, runtime="golang1.22")
    with pytest.raises(BuildFailed, match="the build failed"):
        await cluster.built(function)
    assert "main.go:3:15: undefined: nothing" in await cluster.log(function)


async def names_in(cluster: Cluster, artifact: Artifact) -> set[str]:
    whole = b"".join([chunk async for chunk in cluster.objects.read(artifact.key)])
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        assert all(entry.external_attr >> 16 & 0o100 for entry in archive.infolist() if entry.filename == "bootstrap")
        return {name for name in archive.namelist() if not name.endswith("/")}


async def test_a_build_s_script_is_held(cluster: Cluster) -> None:
    """Not root, no token, no address of the object store, no way to the API server or the metadata; and its last words
    are the reason that the function's owner reads."""
    own = {"own/pyproject.toml": PROJECT, "own/backend.py": CURIOUS}
    function = await cluster.create({"code.py": HANDLER, "requirements.txt": "./own\n", **own})
    with pytest.raises(BuildFailed, match="the build failed"):
        await cluster.built(function)
    log = await cluster.log(function)
    assert "uid 65532 token False" in log
    assert "addresses []" in log
    assert "reached" in log
    assert log.count("not reached") == log.count("reached")
    assert "root is read-only" in log


async def test_a_job_that_nobody_wants_any_more_goes(cluster: Cluster) -> None:
    """With the function that it was for, and not with one of two; the same source is built anew for the next."""
    slow = "import time\ntime.sleep(60)\n"
    own = {"own/pyproject.toml": PROJECT, "own/backend.py": slow}
    files = {"code.py": HANDLER, "requirements.txt": "./own\n", **own}
    functions = [await cluster.create(files, name) for name in ("a", "b")]
    for function in functions:
        assert await cluster.building.artifact(function) is None
    (job,) = await until(cluster.jobs)
    cluster.building.forget(functions[0].id)
    await asyncio.sleep(1)
    assert [each["metadata"]["uid"] for each in await cluster.jobs()] == [job["metadata"]["uid"]]
    cluster.building.forget(functions[1].id)

    async def has_gone() -> bool:
        return not await cluster.jobs()

    await until(has_gone)

    async def another() -> list[Any]:
        assert await cluster.building.artifact(functions[0]) is None
        return await cluster.jobs()

    (made,) = await until(another, every_s=0.5)
    assert made["metadata"]["uid"] != job["metadata"]["uid"]
    cluster.building.forget(functions[0].id)
    await until(has_gone)


async def test_a_job_outlives_who_asked_for_it(cluster: Cluster) -> None:
    """The next controller finds the Job and takes what it makes."""
    slow = "import time\ntime.sleep(10)\nraise SystemExit(5)\n"
    own = {"own/pyproject.toml": PROJECT, "own/backend.py": slow}
    function = await cluster.create({"code.py": HANDLER, "requirements.txt": "./own\n", **own})
    assert await cluster.building.artifact(function) is None
    (job,) = await until(cluster.jobs)
    await cluster.building.close()
    another = cluster.a_building()
    assert await another.artifact(function) is None
    assert [each["metadata"]["uid"] for each in await cluster.jobs()] == [job["metadata"]["uid"]]
    with pytest.raises(BuildFailed, match="the build failed"):
        await cluster.built(function, another)
    await another.close()
