"""A `KubernetesDeployer` on the cluster of the tests, with namespaces of its own, and what tests ask about it."""

import asyncio
import hashlib
import secrets
import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
from controller_rights import remove_rights, restricted_access

from lateen.adapters.kubernetes.access import Access
from lateen.adapters.kubernetes.api import ApiRefused, KubernetesApi
from lateen.adapters.kubernetes.config import (
    CopiedSecret,
    FunctionsConfig,
    Images,
    Ingress,
    Limits,
    Network,
    Pods,
    Stores,
    name_of,
)
from lateen.adapters.kubernetes.deployer import KubernetesDeployer
from lateen.adapters.kubernetes.kinds import DEPLOYMENT, NAMESPACE, POD, SERVICE, Kind, Manifest, Ref
from lateen.domain.errors import Unavailable
from lateen.domain.names import new_hash, new_id
from lateen.ports.deployer import Deployment, Observation
from lateen_invoker.control import RuntimeCommand

RUNTIME_IMAGE = "localhost/lateen/python3.12:dev"
INVOKER_IMAGE = "localhost/lateen/invoker:dev"
COMMAND = RuntimeCommand(
    name="python3.12",
    execution_env="AWS_Lambda_python3.12",
    command=["/usr/local/bin/python3.12", "/lateen/runtime/bootstrap.py"],
    forks=True,
    channel=True,
    runtime_dir="/lateen/runtime",
    readable=[],
)


class OneRuntime:
    def command(self, name: str) -> RuntimeCommand:
        if name != COMMAND.name:
            raise Unavailable(f"this installation has no image for the runtime {name}")
        return COMMAND

    def image(self, name: str) -> str:
        self.command(name)
        return RUNTIME_IMAGE

    def has_init(self, name: str) -> bool:
        return True


def config_for(folder: Path, release: str = "", **changes: Any) -> FunctionsConfig:
    """Pods run the stand-in, which is mounted where a CA bundle would be."""
    mounted = folder / "stand-in"
    if not mounted.exists():
        mounted.mkdir(parents=True)
        (mounted / "ca.crt").write_text("no certificate is needed\n")
        shutil.copy(Path(__file__).with_name("stand_in_invoker.py"), mounted / "lateen_invoker.py")
    release = release or f"ctl-{secrets.token_hex(3)}"
    config = FunctionsConfig(
        release=release,
        namespace=release,
        images=Images(invoker=INVOKER_IMAGE, runtimes={COMMAND.name: RUNTIME_IMAGE}),
        stores=Stores(
            environment={
                "AWS_REGION": "us-east-1",
                "DYNAMODB_TABLE_NAME": "t",
                "S3_BUCKET_NAME": "b",
                "PYTHONPATH": "/etc/lateen/ca",
            },
            ca_secret="lateen-ca",
        ),
        copied_secrets=[CopiedSecret(name="lateen-ca", folder=str(mounted))],
        network=Network(
            platform_selector={"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": release}}}
        ),
        ingress=Ingress(enabled=True),
        pods=Pods(request_ratio=0.01),
        workspace_limits=Limits(pods=300),
    )
    return msgspec.structs.replace(config, **changes)


def a_function(**changes: Any) -> Deployment:
    """A small one, open, in the workspace `default`."""
    deployment = Deployment(
        function_id=new_id(),
        function_name="hello",
        workspace_id="default",
        account_id="123456789012",
        hash=new_hash(),
        revision=1,
        version="$LATEST",
        runtime=COMMAND.name,
        handler="code.handler",
        environment={},
        timeout_s=1,
        memory_mib=128,
        concurrency=2,
        replicas=1,
        open=True,
        artifact_key="default/x/code.zip",
        artifact_sha256=hashlib.sha256(b"1").hexdigest(),
        invoke_key=secrets.token_bytes(32),
    )
    return msgspec.structs.replace(deployment, **changes)


def changed(deployment: Deployment, **changes: Any) -> Deployment:
    return msgspec.structs.replace(deployment, revision=deployment.revision + 1, **changes)


def new_code(deployment: Deployment, text: str) -> Deployment:
    return changed(deployment, artifact_sha256=hashlib.sha256(text.encode()).hexdigest())


class Setting:
    """One installation's deployer, which can be stopped and started anew."""

    def __init__(self, config: FunctionsConfig) -> None:
        self.config = config
        self.admin = KubernetesApi(Access.found())
        self.api = self.admin
        """With the controller's rights, from `prepare` on."""
        self.leads_for_s: Callable[[], float] = lambda: 1000.0
        self.deployer = self._new()
        self.observed: list[tuple[float, Observation]] = []
        self._tasks: list[asyncio.Task[None]] = []

    def _new(self) -> KubernetesDeployer:
        return KubernetesDeployer(self.api, self.config, runtimes=OneRuntime(), leads_for_s=lambda: self.leads_for_s())

    async def prepare(self) -> None:
        self.api = KubernetesApi(await restricted_access(self.admin, self.config))

    def start(self) -> None:
        self.deployer = self._new()
        self._tasks = [asyncio.create_task(self.deployer.run()), asyncio.create_task(self._listen())]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def close(self) -> None:
        await self.stop()
        await self.remove_namespaces()
        await remove_rights(self.admin, self.config)
        await self.api.close()
        await self.admin.close()

    async def remove_namespaces(self) -> None:
        selector = f"app.kubernetes.io/instance={self.config.release}"
        namespaces, _ = await self.admin.list(NAMESPACE, None, selector=selector)
        for namespace in namespaces:
            await self.admin.delete(Ref(NAMESPACE, "", namespace["metadata"]["name"]))

    async def _listen(self) -> None:
        async for observation in self.deployer.observations():
            self.observed.append((time.monotonic(), observation))

    def told(self, deployment: Deployment) -> Observation | None:
        """Last about this revision."""
        mine = (o for _, o in reversed(self.observed) if o.id == deployment.id)
        return next((o for o in mine if o.revision == deployment.revision), None)

    async def until_state(
        self, deployment: Deployment, state: str, *, within_s: float = 90, reason: str | None = None
    ) -> Observation:
        def found() -> Observation | None:
            told = self.told(deployment)
            fits = told is not None and told.state == state and (reason is None or reason in (told.reason or ""))
            return told if fits else None

        try:
            return await until(found, within_s=within_s)
        except TimeoutError:
            raise AssertionError(f"never {state} ({reason}); last: {self.told(deployment)}") from None

    # What the API server has

    def namespace(self, deployment: Deployment) -> str:
        return self.config.namespace_of(deployment.workspace_id)

    async def get(self, kind: Kind, deployment: Deployment) -> Manifest | None:
        return await self.admin.get(Ref(kind, self.namespace(deployment), name_of(deployment.id)))

    async def active(self, *functions: Deployment) -> None:
        """Apply them, and wait until all of them run."""
        for function in functions:
            await self.deployer.apply(function)
        for function in functions:
            await self.until_state(function, "Active")

    async def ask(self, deployment: Deployment) -> dict[str, Any]:
        """A call by the Service's address."""
        service = await self.get(SERVICE, deployment)
        assert service is not None
        url = f"http://{service['spec']['clusterIP']}:8080/{deployment.hash}"
        async with httpx.AsyncClient(timeout=5) as client:
            answer: dict[str, Any] = (await client.get(url, headers={"Connection": "close"})).json()
            return answer

    async def reached(self, deployment: Deployment) -> dict[str, Any] | None:
        """The same, or None where no node knows the way yet."""
        try:
            return await self.ask(deployment)
        except httpx.TransportError:
            return None

    async def deployment(self, deployment: Deployment) -> Manifest:
        found = await self.get(DEPLOYMENT, deployment)
        assert found is not None
        return found

    async def objects(self, kind: Kind, deployment: Deployment) -> list[Manifest]:
        version = "latest" if deployment.version == "$LATEST" else deployment.version
        selector = f"lateen.dev/function={deployment.function_id},lateen.dev/version={version}"
        return (await self.admin.list(kind, self.namespace(deployment), selector=selector))[0]

    async def pods(self, deployment: Deployment) -> list[Manifest]:
        return [p for p in await self.objects(POD, deployment) if "deletionTimestamp" not in p["metadata"]]


async def until(condition: Callable[[], Any], *, within_s: float = 60, every_s: float = 0.02) -> Any:
    """What it answers as soon as that is true; it may be a coroutine function."""
    async with asyncio.timeout(within_s):
        while True:
            found = condition()
            if isinstance(found, Awaitable):
                found = await found
            if found:
                return found
            await asyncio.sleep(every_s)


__all__ = ["ApiRefused", "Setting", "a_function", "changed", "config_for", "new_code", "until"]
