"""Where a function is found in a cluster: behind its Service's name, which may lead nowhere yet."""

import asyncio
import socket
from typing import Any

import pytest
from msgspec import structs
from scripted_invoker import DEPLOYMENT

from lateen.adapters.kubernetes import service_endpoints
from lateen.adapters.kubernetes.config import FunctionsConfig, Images, Network, Stores
from lateen.adapters.kubernetes.service_endpoints import ServiceEndpoints
from lateen.domain.errors import Unavailable
from lateen.ports.deployer import NotYetRunning

CONFIG = FunctionsConfig(
    release="lateen",
    namespace="platform",
    images=Images(invoker="i", runtimes={}),
    stores=Stores(),
    network=Network(platform_selector={}),
)
HOST = "fn-f.lateen-w.svc.cluster.local."


class Resolver:
    """The loop's `getaddrinfo`, and what the controller has said."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.address: str | Exception = "10.0.0.1"
        self.asked: list[str] = []
        self.is_slow = False
        self.is_reported: bool | Exception = True
        self.reports = 0
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", self.look_up)

    async def look_up(self, host: str, port: int, **_: Any) -> list[Any]:
        self.asked.append(host)
        await asyncio.sleep(60 if self.is_slow else 0)
        if isinstance(self.address, Exception):
            raise self.address
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (self.address, port))]

    async def report(self, workspace_id: str, function_id: str) -> bool:
        self.reports += 1
        if isinstance(self.is_reported, Exception):
            raise self.is_reported
        return self.is_reported


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": False}  # whose methods can be replaced


@pytest.fixture
async def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    monkeypatch.setattr(service_endpoints, "LIVES_S", 0.05)
    monkeypatch.setattr(service_endpoints, "LOOK_UP_S", 0.2)
    return Resolver(monkeypatch)


@pytest.fixture
async def endpoints(resolver: Resolver) -> ServiceEndpoints:
    return ServiceEndpoints(CONFIG, is_reported=resolver.report)


async def test_a_name_is_looked_up_once(resolver: Resolver, endpoints: ServiceEndpoints) -> None:
    """However many call at once; then its address is known without waiting."""
    assert endpoints.endpoint_now(DEPLOYMENT) is None
    found = await asyncio.gather(*(endpoints.endpoint(DEPLOYMENT) for _ in range(50)))
    assert {(each.host, each.port, each.invoke_key) for each in found} == {("10.0.0.1", 8080, DEPLOYMENT.invoke_key)}
    assert resolver.asked == [HOST]
    assert endpoints.endpoint_now(DEPLOYMENT) is found[0]


async def test_an_address_is_followed_behind_the_callers_backs(resolver: Resolver, endpoints: ServiceEndpoints) -> None:
    """A Service that was made anew has another one."""
    await endpoints.endpoint(DEPLOYMENT)
    resolver.address = "10.0.0.2"
    await asyncio.sleep(0.06)
    assert (await endpoints.endpoint(DEPLOYMENT)).host == "10.0.0.1"
    await asyncio.sleep(0.01)
    assert (await endpoints.endpoint(DEPLOYMENT)).host == "10.0.0.2"


@pytest.mark.parametrize(
    "failure", [socket.gaierror(socket.EAI_AGAIN, "try again"), OSError("no network"), TimeoutError()]
)
async def test_a_resolver_that_is_away_harms_nobody_who_is_known(
    resolver: Resolver, endpoints: ServiceEndpoints, failure: Exception
) -> None:
    """What was known is used, and the resolver is not asked for each call."""
    await endpoints.endpoint(DEPLOYMENT)
    resolver.address = failure
    for _ in range(10):
        await asyncio.sleep(0.03)
        assert (await endpoints.endpoint(DEPLOYMENT)).host == "10.0.0.1"
    assert len(resolver.asked) <= 8
    with pytest.raises(NotYetRunning):
        await endpoints.endpoint(structs.replace(DEPLOYMENT, function_id="g"))


async def test_a_resolver_that_hangs_is_given_up(resolver: Resolver, endpoints: ServiceEndpoints) -> None:
    """Soon, and as something that is worth another try."""
    resolver.is_slow = True
    began_s = asyncio.get_running_loop().time()
    with pytest.raises(NotYetRunning):
        await endpoints.endpoint(DEPLOYMENT)
    assert asyncio.get_running_loop().time() - began_s < 10


async def test_a_name_that_is_gone_is_forgotten(resolver: Resolver, endpoints: ServiceEndpoints) -> None:
    """The function was deleted, or its Service is being made anew."""
    await endpoints.endpoint(DEPLOYMENT)
    resolver.address = socket.gaierror(socket.EAI_NONAME, "not known")
    await asyncio.sleep(0.06)
    await endpoints.endpoint(DEPLOYMENT)
    await asyncio.sleep(0.01)
    assert endpoints.endpoint_now(DEPLOYMENT) is None
    with pytest.raises(NotYetRunning):
        await endpoints.endpoint(DEPLOYMENT)


async def test_nobody_asks_for_a_name_before_it_was_made(resolver: Resolver, endpoints: ServiceEndpoints) -> None:
    """Resolvers remember that a name does not exist; so a new function's is asked for once it was reported on."""
    resolver.is_reported = False
    for _ in range(3):
        with pytest.raises(NotYetRunning):
            await endpoints.endpoint(DEPLOYMENT)
    assert (resolver.asked, resolver.reports) == ([], 3)
    resolver.is_reported = True
    await endpoints.endpoint(DEPLOYMENT)
    await asyncio.sleep(0.06)
    await endpoints.endpoint(DEPLOYMENT)
    await asyncio.sleep(0.01)
    assert (len(resolver.asked), resolver.reports) == (2, 4)


async def test_where_nobody_can_say_the_name_is_asked_for(resolver: Resolver, endpoints: ServiceEndpoints) -> None:
    """The table is away."""
    resolver.is_reported = Unavailable("away")
    assert (await endpoints.endpoint(DEPLOYMENT)).host == "10.0.0.1"


async def test_a_version_is_asked_for_by_who_calls_it(resolver: Resolver) -> None:
    """Its name is not, until the controller has reported on it: also where it led somewhere before, for a version's
    Service goes when nobody wants it."""
    version = structs.replace(DEPLOYMENT, version="3")
    wanted: list[str] = []
    endpoints = ServiceEndpoints(CONFIG, is_reported=resolver.report, want=lambda each: wanted.append(each.id))
    resolver.is_reported = False
    with pytest.raises(NotYetRunning):
        await endpoints.endpoint(version)
    assert (wanted, resolver.asked) == (["f-3"], [])
    resolver.is_reported = True
    assert (await endpoints.endpoint(version)).host == "10.0.0.1"
    assert resolver.asked == ["fn-f-3.lateen-w.svc.cluster.local."]
    resolver.is_reported = False
    await asyncio.sleep(0.06)
    while endpoints.endpoint_now(version) is not None:
        await asyncio.sleep(0.01)
    with pytest.raises(NotYetRunning):
        await endpoints.endpoint(version)
    assert len(resolver.asked) == 1
    resolver.is_reported = True
    await endpoints.endpoint(DEPLOYMENT)  # a function is nobody's wish
    assert set(wanted) == {"f-3"}
