"""The embedded platform as a whole, for tests that deploy to it and wait; and zips for that."""

import asyncio
import hashlib
import io
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from package_index import Index

from lateen.adapters.local.builder import BuildLimits
from lateen.app import Platform, create_app
from lateen.domain.access import PLATFORM
from lateen.domain.functions import Function
from lateen.services.functions import FunctionChange, NewFunction
from lateen.settings import Settings

SETTLED_S = 90


def a_zip(**files: str) -> bytes:
    """Names' dots are written as two underscores."""
    return zip_of({name.replace("__", "."): text for name, text in files.items()})


def zip_of(files: dict[str, str]) -> bytes:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), text)
    return whole.getvalue()


class Running:
    """An embedded platform, and short words for what tests do with it."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.functions = platform.functions

    async def index(self, index: Index) -> None:
        settings = self.platform.build_settings
        await settings.change(PLATFORM, "default", {"PIP_INDEX_URL": index.url, "PIP_RETRIES": "0"})

    async def create(self, code: bytes, *, name: str = "f", runtime: str = "python3.12", **fields: Any) -> Function:
        new = NewFunction(name=name, runtime=runtime, code=code, timeout_s=10, **fields)
        return (await self.functions.create(PLATFORM, "default", new)).function

    async def update(self, function: Function, code: bytes) -> Function:
        return (await self.functions.update(PLATFORM, function.id, FunctionChange(code=code))).function

    async def settled(self, function: Function, *, within_s: float = SETTLED_S) -> tuple[str, str | None]:
        async with asyncio.timeout(within_s):
            while True:
                status = (await self.functions.get(PLATFORM, function.id)).status
                if status.state != "Pending":
                    return status.state, status.reason
                await asyncio.sleep(0.05)

    async def called(self, function: Function) -> str:
        transport = httpx.ASGITransport(self.platform, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8000", timeout=30) as client:
            answer = await client.get(f"/{function.hash}")
            assert answer.status_code == 200, answer.text
            return answer.text

    async def log(self, function: Function) -> str:
        assert function.code.build is not None
        build = await self.platform.builds.find(function.workspace_id, function.code.build.id)
        assert build is not None
        return (await self.platform.builds.log(build)).text

    async def artifact(self, function: Function) -> str:
        found = await self.platform.builds.artifact(function.workspace_id, function.code)
        assert found is not None
        whole = b"".join([chunk async for chunk in self.platform.objects.read(found.key)])
        assert hashlib.sha256(whole).hexdigest() == found.sha256
        return found.sha256


@asynccontextmanager
async def run(folder: Path, *, limits: BuildLimits | None = None) -> AsyncIterator[Running]:
    platform = create_app(Settings(data=folder))
    if limits is not None:
        platform.builder._limits = limits
    async with platform.running():
        yield Running(platform)
