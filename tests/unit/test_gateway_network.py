"""The gateway over a network, where pods come and go at bad moments. Stand-ins are TCP servers on this machine."""

import asyncio
import contextlib
import re
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import httpx
import pytest
from msgspec import structs
from scripted_invoker import DEPLOYMENT, HASH, KEY, Invoker, answer_with, request_from

from lateen.domain.errors import NotFound, Unavailable
from lateen.gateway import connecting as connecting_module
from lateen.gateway.connecting import Connecting
from lateen.gateway.gateway import Gateway
from lateen.gateway.pool import Network, Pool
from lateen.ports.deployer import Deployment, Endpoint, NotRunning, NotYetRunning
from lateen.server import Server, listen
from lateen.settings import Settings

NETWORK = Network(connect_s=0.3, idle_s=0.6, life_s=60)
PATIENCE_S = 5.0
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
BUSY = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 4\r\nx-lateen-refused: 1\r\n\r\nbusy"
STOPS = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 5\r\nx-lateen-refused: 1\r\nconnection: close\r\n\r\nstops"
)
OWN_429 = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 3\r\n\r\nown"


class Service(Invoker):
    """An address behind which one of several pods answers, as a cluster's Service does: another one each time."""

    def __init__(self) -> None:
        super().__init__()
        self.is_named = True
        self.answered: Counter[int] = Counter()
        self._pods = 0

    async def endpoint(self, deployment: Deployment) -> Endpoint:
        if not self.is_named:
            raise NotYetRunning("no such name")
        return Endpoint("127.0.0.1", self.port, KEY)

    def endpoint_now(self, deployment: Deployment) -> Endpoint | None:
        return Endpoint("127.0.0.1", self.port, KEY) if self.is_named else None

    def pods(self, *answers: bytes) -> None:
        """Each connection leads to the next pod, which answers all of its requests with its own answer."""

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            pod = self._pods % len(answers)
            self._pods += 1
            while True:
                self.requests.append(await request_from(reader))
                self.answered[pod] += 1
                writer.write(answers[pod])

        self.script = script


class Road:
    def __init__(self, service: Service, gateway: Gateway, pool: Pool, url: str) -> None:
        self.service = service
        self.gateway = gateway
        self.pool = pool
        self.url = url

    def client(self) -> httpx.AsyncClient:
        return plain_client()


class OneGateway:
    def __init__(self, gateway: Gateway, *, is_short: bool) -> None:
        self.short_way = gateway.short_way if is_short else None
        self._gateway = gateway

    async def __call__(self, scope: object, receive: object, send: object) -> None:
        await self._gateway(scope, receive, send)  # type: ignore[arg-type]


Start = Callable[..., Awaitable[Road]]


def plain_client() -> httpx.AsyncClient:
    """Whose requests may take the short way: httpx would say what a connection does anyway."""
    client = httpx.AsyncClient(timeout=20, trust_env=False)
    del client.headers["connection"]
    return client


@pytest.fixture(params=["long way", "short way"])
async def start(request: pytest.FixtureRequest) -> AsyncIterator[Start]:
    async with contextlib.AsyncExitStack() as stack:

        async def start(
            network: Network = NETWORK, *, patience_s: float = PATIENCE_S, settings: Settings | None = None
        ) -> Road:
            service = Service()
            upstream = await asyncio.start_server(service.serve, "127.0.0.1", 0)
            service.port = upstream.sockets[0].getsockname()[1]
            pool = Pool(network)
            gateway = Gateway(
                routes=service,  # type: ignore[arg-type]
                keys=None,  # type: ignore[arg-type]
                connecting=Connecting(service, pool, patience_s=patience_s),
            )
            given = settings or Settings(port=0)
            server = Server(OneGateway(gateway, is_short=request.param == "short way"), given, lifespan="off")
            serving = asyncio.create_task(server.serve([listen(given.host, given.port)]))
            while not server.started:
                await asyncio.sleep(0.001)

            async def stop() -> None:
                server.stop()
                server.stop()
                await serving
                await pool.close()
                service.close()
                upstream.close()

            stack.push_async_callback(stop)
            return Road(service, gateway, pool, f"http://127.0.0.1:{server.port}/{HASH}")

        yield start


@pytest.fixture
async def road(start: Start) -> Road:
    return await start()


def port_of_nobody() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


async def test_calls_wait_for_a_pod_that_is_not_there_yet(road: Road) -> None:
    """Its name leads nowhere, then nobody listens, then it answers: every caller gets its answer, late."""
    port, road.service.port, road.service.is_named = road.service.port, port_of_nobody(), False
    async with road.client() as client:
        calls = [asyncio.create_task(client.post(road.url, content=b"x")) for _ in range(20)]
        await asyncio.sleep(0.4)
        road.service.is_named = True
        await asyncio.sleep(0.4)
        assert not any(call.done() for call in calls)
        assert road.gateway._connecting.waiting == 20
        road.service.pods(OK)
        road.service.port = port
        answers = await asyncio.gather(*calls)
    assert {answer.status_code for answer in answers} == {200}
    assert len(road.service.requests) == 20
    assert road.gateway._connecting.waiting == 0


async def test_waiting_has_an_end(start: Start) -> None:
    """With 503 and Retry-After; nothing was executed."""
    road = await start(patience_s=0.4)
    road.service.port = port_of_nobody()
    async with road.client() as client:
        answer = await client.get(road.url)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"


async def test_one_workspaces_callers_leave_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever calls a function that never comes can't have those of other tenants refused, whose pod just moves. All
    together have a limit too."""
    monkeypatch.setattr(connecting_module, "WAITING_OF_ONE", 2)
    service, pool = Service(), Pool(NETWORK)
    service.is_named = False
    connecting = Connecting(service, pool, patience_s=0.3)
    own, other = DEPLOYMENT, structs.replace(DEPLOYMENT, workspace_id="other", function_id="other")
    waiting = [asyncio.create_task(connecting.connection(each)) for each in (own, own, other)]
    while connecting.waiting < 3:
        await asyncio.sleep(0.001)
    with pytest.raises(Unavailable, match="too many"):
        await connecting.connection(own)
    monkeypatch.setattr(connecting_module, "WAITING", 3)
    with pytest.raises(Unavailable, match="too many"):
        await connecting.connection(structs.replace(DEPLOYMENT, workspace_id="third", function_id="third"))
    ended = await asyncio.gather(*waiting, return_exceptions=True)
    assert all("answered" in str(each) for each in ended)
    assert (connecting.waiting, dict(connecting._waiting_of)) == (0, {})
    await pool.close()


async def test_nobody_waits_for_what_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is answered at once, however many call, for one question a second; who waited already, within that second.
    Where nobody can say, or it comes after all, calls go on."""
    monkeypatch.setattr(connecting_module, "STILL_THERE_S", 0.2)
    asked: list[str] = []
    says: list[str | Exception | None] = [None]

    async def failure_of(deployment: Deployment) -> str | None:
        asked.append(deployment.id)
        if isinstance(says[0], Exception):
            raise says[0]
        return says[0]

    service, pool = Service(), Pool(NETWORK)
    service.is_named = False
    connecting = Connecting(service, pool, patience_s=20, failure_of=failure_of)
    waiting = [asyncio.create_task(connecting.connection(DEPLOYMENT)) for _ in range(50)]
    await asyncio.sleep(0.1)
    assert not any(task.done() for task in waiting)
    says[0] = Unavailable("the table is away")
    await asyncio.sleep(0.3)
    assert not any(task.done() for task in waiting)
    says[0] = "no image"
    async with asyncio.timeout(10):
        ended = await asyncio.gather(*waiting, return_exceptions=True)
    assert {str(each) for each in ended} == {"no image"}
    assert len(asked) < 10
    with pytest.raises(NotRunning, match="no image"):
        await connecting.connection(DEPLOYMENT)
    assert connecting.waiting == 0
    await pool.close()


async def test_a_caller_that_leaves_waits_no_more(road: Road) -> None:
    """Nobody looks for a pod for a caller that is gone, and its call is never made."""
    port, road.service.port = road.service.port, port_of_nobody()
    async with road.client() as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.post(road.url, content=b"x", timeout=0.2)
    async with asyncio.timeout(2):
        while road.gateway._connecting.waiting:
            await asyncio.sleep(0.01)
    road.service.port = port
    await asyncio.sleep(0.3)
    assert not road.service.connections


@contextlib.contextmanager
def silent_address() -> Iterator[tuple[str, int]]:
    """Nothing that is sent there is answered: its queue is full."""
    dead, held = socket.create_server(("127.0.0.1", 0), backlog=0), []
    try:
        for _ in range(4):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(dead.getsockname())
            held.append(sock)
        yield dead.getsockname()
    finally:
        for sock in (dead, *held):
            sock.close()


async def test_who_leaves_while_it_is_connected_is_no_call_any_more() -> None:
    """Else whoever stops that pod would wait for it for ever."""
    pool = Pool(structs.replace(NETWORK, connect_s=60.0))
    with silent_address() as (host, port):
        endpoint = Endpoint(host, port, KEY)
        connecting = asyncio.create_task(pool.connect(endpoint))
        while not pool.is_busy(endpoint):
            await asyncio.sleep(0.001)
        connecting.cancel()
        await asyncio.gather(connecting, return_exceptions=True)
        assert not pool.is_busy(endpoint)
    await pool.close()


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux has it")
async def test_a_node_that_is_gone_is_given_up_after_seconds(road: Road) -> None:
    """Whether something is on its way to it or nothing; and one that is slow for a moment is not."""
    connection = await road.pool.connect(await road.service.endpoint(DEPLOYMENT))
    assert connection._transport is not None
    tcp = connection._transport.get_extra_info("socket")
    idle_s, every_s, times, unheard_ms = (
        tcp.getsockopt(socket.IPPROTO_TCP, option)
        for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
    )
    assert (idle_s + every_s * times, unheard_ms) == (NETWORK.dead_s, NETWORK.dead_s * 1000)
    road.pool.release(connection, sent=False)


async def test_a_connection_that_nobody_waits_for_any_more_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was made at the moment in which the function turned out to be gone."""
    monkeypatch.setattr(connecting_module, "STILL_THERE_S", 0.01)
    service, pool = Service(), Pool(NETWORK)
    service.is_named = False
    connecting = Connecting(service, pool)

    async def is_gone(_: bytes) -> None:
        service.is_named = True
        while not pool.count()[0]:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0)
        raise NotFound("no such function")

    async with await asyncio.start_server(service.serve, "127.0.0.1", 0) as upstream:
        service.port = upstream.sockets[0].getsockname()[1]
        with pytest.raises(NotFound):
            await connecting.wait_while(DEPLOYMENT, None, is_there=is_gone)
        await asyncio.sleep(0)
        assert pool.count() == (0, 0)
        assert not pool.is_busy(await service.endpoint(DEPLOYMENT))
        await pool.close()
        service.close()


async def test_an_address_that_says_nothing_costs_little(road: Road) -> None:
    """A dead pod's address swallows what is sent there: the next attempt leads elsewhere, soon."""
    with silent_address() as dead:
        port, road.service.port = road.service.port, dead[1]
        async with road.client() as client:
            call = asyncio.create_task(client.get(road.url))
            began_s = asyncio.get_running_loop().time()
            while not road.pool.failures:
                await asyncio.sleep(0.005)
            assert asyncio.get_running_loop().time() - began_s < 10
            road.service.port = port
            assert (await call).status_code == 200


async def test_a_pod_without_room_is_not_the_last_word(road: Road) -> None:
    """Another pod of the function is asked, once, for the first has executed nothing."""
    road.service.deployment = structs.replace(DEPLOYMENT, replicas=2)
    road.service.pods(BUSY, OK)
    async with road.client() as client:
        for method, body in (("GET", b""), ("POST", b"event")):
            answer = await client.request(method, road.url, content=body)
            assert (answer.status_code, answer.content) == (200, b"ok")
            # So that the next call begins at the full one again.
            for connection in road.pool._addresses["127.0.0.1", road.service.port].idle[:]:
                connection.fail(None)  # type: ignore[arg-type]
    assert road.service.answered == {0: 2, 1: 2}
    assert road.service.requests[3].endswith(b"event")


@pytest.mark.parametrize("refusal", [BUSY, STOPS])
async def test_a_pod_that_has_answered_until_now_is_not_the_last_word(road: Road, refusal: bytes) -> None:
    """A call that meets it over a connection that was used before goes on to another one as any."""
    road.service.deployment = structs.replace(DEPLOYMENT, replicas=2)
    answers = iter([[OK, refusal], [OK]])

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in next(answers):
            road.service.requests.append(await request_from(reader))
            writer.write(answer)
        await reader.read()

    road.service.script = script
    async with road.client() as client:
        for _ in range(2):
            answer = await client.post(road.url, content=b"event")
            assert (answer.status_code, answer.content) == (200, b"ok")
    assert len(road.service.requests) == 3
    assert road.service.requests[2].endswith(b"event")


async def test_where_all_pods_are_full_the_caller_is_told(road: Road) -> None:
    """Two were asked, not more; and of a function with one pod, that one."""
    road.service.pods(BUSY)
    async with road.client() as client:
        assert (await client.get(road.url)).content == b"busy"
        assert road.service.answered == {0: 1}
        road.service.deployment = structs.replace(DEPLOYMENT, replicas=3)
        answer = await client.get(road.url)
    assert (answer.status_code, answer.content) == (429, b"busy")
    assert road.service.answered == {0: 3}


async def test_a_pod_that_stops_has_a_successor(road: Road) -> None:
    """Its refusal is no answer for the caller, even of a function with one pod."""
    road.service.pods(STOPS, OK)
    async with road.client() as client:
        assert (await client.post(road.url, content=b"x")).content == b"ok"


async def test_a_functions_own_429_is_its_answer(road: Road) -> None:
    """It was executed: nobody else is asked."""
    road.service.deployment = structs.replace(DEPLOYMENT, replicas=2)
    road.service.pods(OWN_429)
    async with road.client() as client:
        answer = await client.post(road.url, content=b"x")
    assert (answer.status_code, answer.content) == (429, b"own")
    assert road.service.answered == {0: 1}


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("partly", [b"", b"HTTP/1.1 200 OK\r\ncontent-le"])
async def test_what_may_have_been_executed_is_not_sent_again(road: Road, method: str, partly: bytes) -> None:
    """A pod dies with the call, over a connection that was used before: 502, whatever the method, and one call."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        road.service.requests.append(await request_from(reader))
        writer.write(OK)
        road.service.requests.append(await request_from(reader))
        writer.write(partly)

    road.service.script = script
    async with road.client() as client:
        assert (await client.request(method, road.url)).status_code == 200
        answer = await client.request(method, road.url)
    assert (answer.status_code, answer.json()["errorType"]) == (502, "Lateen.ConnectionLost")
    assert len(road.service.requests) == 2


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_no_call_meets_a_connection_that_its_pod_has_closed(start: Start, method: str) -> None:
    """Between two calls the pod closes the connection, at any moment: the next call takes another one."""
    road = await start(structs.replace(NETWORK, connect_s=20))  # this machine may stand still for a moment

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        road.service.requests.append(await request_from(reader))
        writer.write(OK)

    road.service.script = script
    async with road.client() as client:
        for _ in range(30):
            assert (await client.request(method, road.url)).status_code == 200
            await asyncio.sleep(0.005)
    assert road.service.connections == len(road.service.requests) == 30


async def test_an_end_that_was_not_noticed_yet_is_looked_for(road: Road) -> None:
    """The loop was busy while the connection's end arrived, and the call is the first thing that it does."""
    accepted = socket.create_server(("127.0.0.1", 0))
    endpoint = Endpoint("127.0.0.1", accepted.getsockname()[1], KEY)
    connection = await road.pool.connect(endpoint)
    pod, _ = accepted.accept()
    connection.is_complete = connection._keeps_alive = True
    road.pool.release(connection)
    connection.idle_since_s -= 0.1
    assert road.pool.idle(endpoint) is connection
    connection.is_complete = connection._keeps_alive = True
    road.pool.release(connection)
    connection.idle_since_s -= 0.1
    pod.close()  # and the loop has no turn
    assert road.pool.idle(endpoint) is None
    accepted.close()


async def test_idle_connections_are_dropped_before_a_pod_that_stops_closes_them(road: Road) -> None:
    """After the pool's time, not the invoker's; by the time itself, not only by the sweep."""
    road.service.pods(OK)
    endpoint = await road.service.endpoint(DEPLOYMENT)
    async with road.client() as client:
        await client.get(road.url)
        assert road.pool.count() == (0, 1)
        found = road.pool.idle(endpoint)
        assert found is not None
        found.is_complete = found._keeps_alive = True
        road.pool.release(found)
        found.idle_since_s -= NETWORK.idle_s
        assert road.pool.idle(endpoint) is None
        await client.get(road.url)
        await asyncio.sleep(NETWORK.idle_s + 0.4)
    assert road.pool.count() == (0, 0)


async def test_an_answer_that_ends_its_connection_is_the_last_one_on_it(road: Road) -> None:
    """As a pod that stops answers for as long as calls still find it."""
    road.service.script = answer_with(OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"), OK)
    async with road.client() as client:
        for _ in range(3):
            assert (await client.post(road.url)).status_code == 200
    assert road.service.connections == 3
    assert road.pool.count() == (0, 0)


async def test_steady_callers_reach_all_pods(start: Start) -> None:
    """Connections live shortly, so that ten busy callers spread over three pods, a new one included."""
    road = await start(Network(connect_s=20, idle_s=0.6, life_s=0.2))
    road.service.pods(OK)
    loop = asyncio.get_running_loop()
    until_s = loop.time() + 60

    async def call(client: httpx.AsyncClient) -> None:
        while min(road.service.answered[pod] for pod in (1, 2)) < 150 and loop.time() < until_s:
            assert (await client.get(road.url)).status_code == 200
            await asyncio.sleep(0.01)

    async with road.client() as client:
        calls = [asyncio.create_task(call(client)) for _ in range(10)]
        await asyncio.sleep(0.5)
        before = road.service.answered.total()
        road.service.pods(OK, OK, OK)
        await asyncio.gather(*calls)
    since = road.service.answered.total() - before
    assert min(road.service.answered[pod] for pod in (1, 2)) > 0.1 * since


async def test_while_it_stops_each_answer_ends_its_connection(start: Start) -> None:
    """For the lag new calls are served, and callers are told to come elsewhere next time; then it is over."""
    settings = Settings(port=0, drain_lag_seconds=0.6)
    async with contextlib.AsyncExitStack() as stack:
        service, pool = Service(), Pool(NETWORK)
        upstream = await asyncio.start_server(service.serve, "127.0.0.1", 0)
        stack.callback(upstream.close)
        stack.callback(service.close)
        stack.push_async_callback(pool.close)
        service.pods(OK)
        service.port = upstream.sockets[0].getsockname()[1]
        gateway = Gateway(routes=service, keys=None, connecting=Connecting(service, pool))  # type: ignore[arg-type]
        stopped: list[bool] = []
        server = Server(
            OneGateway(gateway, is_short=True), settings, on_stopping=lambda: stopped.append(True), lifespan="off"
        )
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.001)
        url = f"http://127.0.0.1:{server.port}/{HASH}"
        async with plain_client() as client:
            for _ in range(2):
                assert "connection" not in (await client.get(url)).headers
            server.stop()
            assert stopped == [True]
            for _ in range(3):
                answer = await client.get(url)
                assert (answer.status_code, answer.headers["connection"]) == (200, "close")
                await asyncio.sleep(0.1)
            await serving
            with pytest.raises(httpx.ConnectError):
                await client.get(url)


FORWARDED = {"x-forwarded-for": "6.6.6.6, 203.0.113.9", "x-forwarded-proto": "https", "x-forwarded-port": "443"}


async def test_behind_a_trusted_proxy_the_caller_is_whom_it_names(start: Start) -> None:
    """Address, protocol and port are signed as the proxy says; what the caller said of itself stays in the header."""
    road = await start(settings=Settings(port=0, trusted_proxies=("127.0.0.0/8",)))
    road.service.pods(OK)
    async with road.client() as client:
        for body in (None, b"event"):
            for _ in range(2):  # the first one makes the connection that the second takes
                await client.request("POST" if body else "GET", road.url, headers=FORWARDED, content=body)
    for request in road.service.requests:
        lines = request.lower().split(b"\r\n")
        assert b"x-lateen-source: 203.0.113.9 https 443" in lines
        assert [line for line in lines if line.startswith(b"x-forwarded")] == [b"x-forwarded-for: 6.6.6.6"]
    assert [request.endswith(b"\r\n\r\nevent") for request in road.service.requests] == [False, False, True, True]


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
async def test_a_caller_by_ipv4_is_called_so(start: Start) -> None:
    """Also where we listen for both, and the kernel has another name for it."""
    road = await start(settings=Settings(port=0, host="::", trusted_proxies=("127.0.0.0/8",)))
    road.service.pods(OK)
    async with road.client() as client:
        for headers in ({}, {}, FORWARDED):
            await client.get(road.url, headers=headers)
    sources = [re.findall(rb"x-lateen-source: (\S+) ", request) for request in road.service.requests]
    assert sources == [[b"127.0.0.1"], [b"127.0.0.1"], [b"203.0.113.9"]]


async def test_a_peer_that_is_not_trusted_speaks_for_itself(start: Start) -> None:
    """Whatever it claims: its headers go on as they came, and its own address is the one that is signed."""
    road = await start(settings=Settings(port=0, trusted_proxies=("10.0.0.0/8",)))
    road.service.pods(OK)
    async with road.client() as client:
        for _ in range(2):
            await client.get(road.url, headers=FORWARDED)
    for request in road.service.requests:
        lines = request.split(b"\r\n")
        assert b"x-forwarded-for: 6.6.6.6, 203.0.113.9" in lines
        assert [line for line in lines if line.startswith(b"x-lateen-source: 127.0.0.1 http ")]


async def test_a_function_that_is_deleted_is_not_waited_for(road: Road) -> None:
    """Its pods went before its route was forgotten here; who waits is told as soon as that is."""
    road.service.port = port_of_nobody()
    async with road.client() as client:
        call = asyncio.create_task(client.get(road.url))
        await asyncio.sleep(0.3)
        road.service.deployment = None  # type: ignore[assignment]
        answer = await asyncio.wait_for(call, 3)
    assert answer.status_code == 404
