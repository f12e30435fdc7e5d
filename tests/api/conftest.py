"""The real platform in one process, on SQLite and a folder of the test's own; only what runs functions is a fake."""

import asyncio
import base64
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from lateen.app import Platform, create_app
from lateen.server import Server
from lateen.settings import Settings
from lateen.testing.fake_deployer import FakeDeployer, FakeInvoker

HOST = "localhost:8000"
SOURCE = b"def handler(event, context):\n    return event\n"
CODE = base64.b64encode(SOURCE).decode()

PROGRAM = """
import os
from lateen import logs
from lateen.app import create_app
from lateen.server import Server
from lateen.settings import Settings
from lateen.testing.fake_deployer import FakeDeployer, FakeInvoker

settings = Settings.from_env(os.environ)
logs.configure(level=settings.log_level, json=settings.logs_json, environment=settings.environment, service="lateen")
app = create_app(settings, deployer=FakeDeployer(), invoker=FakeInvoker())
Server(app, settings, on_stopping=app.stopping).run()
"""
"""A process of its own, for what can't be seen from inside: signals, output, exit status."""


class Api:
    """The platform and how tests call it."""

    def __init__(
        self, platform: Platform, deployer: FakeDeployer, invoker: FakeInvoker, client: httpx.AsyncClient
    ) -> None:
        self.platform = platform
        self.deployer = deployer
        self.invoker = invoker
        self.client = client
        self.secret = platform.administrator_secret

    async def __call__(self, method: str, path: str, *, key: str | None = "", **request: Any) -> httpx.Response:
        """`key`: the administrator's unless given; None: none."""
        headers = dict(request.pop("headers", {}))
        if key is not None:
            headers.setdefault("Authorization", f"Bearer {key or self.secret}")
        return await self.client.request(method, path, headers=headers, **request)

    async def function(self, name: str = "hello", workspace: str = "default", **fields: Any) -> dict[str, Any]:
        body = {"name": name, "runtime": "python3.12", "code": CODE} | fields
        made = await self("POST", f"/api/workspaces/{workspace}/functions", json=body)
        assert made.status_code == 201, made.text
        return dict(made.json())

    async def published(self, function: str, source: str) -> dict[str, Any]:
        """A version of new code."""
        code = base64.b64encode(source.encode()).decode()
        changed = await self("PATCH", f"/api/functions/{function}", json={"code": code})
        assert changed.status_code == 200, changed.text
        made = await self("POST", f"/api/functions/{function}/versions", json={})
        assert made.status_code == 201, made.text
        return dict(made.json())

    async def workspace(self, name: str) -> str:
        made = await self("POST", "/api/workspaces", json={"name": name})
        assert made.status_code == 201, made.text
        return str(made.json()["id"])

    async def key(self, workspace: str | None = None) -> str:
        made = await self("POST", "/api/keys", json={"workspace": workspace})
        assert made.status_code == 201, made.text
        return str(made.json()["secret"])


StartApi = Callable[..., Awaitable[Api]]


@asynccontextmanager
async def run_api(folder: Path, **settings: Any) -> AsyncIterator[Api]:
    deployer, invoker = FakeDeployer(), FakeInvoker()
    platform = create_app(Settings(data=folder, **settings), deployer=deployer, invoker=invoker)
    transport = httpx.ASGITransport(platform, raise_app_exceptions=False)
    async with platform.running(), httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}") as client:
        yield Api(platform, deployer, invoker, client)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with run_api(tmp_path / "data") as api:
        yield api


@pytest.fixture(scope="module")
async def shared_api(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    """One for all tests of a file to which it's all the same what another one left: to build one takes a fifth of a
    second, most of what such a test takes."""
    async with run_api(tmp_path_factory.mktemp("shared") / "data") as api:
        yield api


class Served:
    """A platform behind a real socket."""

    def __init__(self, platform: Platform, server: Server, task: "asyncio.Task[None]") -> None:
        self.platform = platform
        self.server = server
        self.task = task
        self.port = server.port
        self.secret = platform.administrator_secret

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def exchange(self, data: bytes, *, within_s: float = 10) -> bytes:
        """What comes back until the other side closes."""
        reader, writer = await self.connect()
        try:
            writer.write(data)
            async with asyncio.timeout(within_s):
                return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()

    async def is_healthy(self) -> bool:
        answer = await self.exchange(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        return answer.startswith(b"HTTP/1.1 200") and answer.endswith(b'{"status":"healthy"}')


StartServer = Callable[..., Awaitable[Served]]


@pytest.fixture
async def function(api: Api) -> str:
    """With the versions 1 and 2."""
    function = str((await api.function())["id"])
    for number in (1, 2):
        await api.published(function, f"def handler(event, context):\n    return {number}\n")
    return function


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[StartServer]:
    """Start one with some `Settings`; it ends with the test."""
    running: list[Served] = []

    async def start(**settings: Any) -> Served:
        given = Settings(data=tmp_path / "data", port=0, **settings)
        platform = create_app(given, deployer=FakeDeployer(), invoker=FakeInvoker())
        server = Server(platform, given, on_stopping=platform.stopping)
        task = asyncio.create_task(server.serve())
        while not server.started:
            assert not task.done(), task
            await asyncio.sleep(0.005)
        served = Served(platform, server, task)
        running.append(served)
        return served

    yield start
    for served in running:
        if not served.task.done():
            served.server.stop()
            served.server.stop()
        await asyncio.wait_for(served.task, 10)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
