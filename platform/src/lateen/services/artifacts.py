"""Artifacts: functions' code in the object store. Blobs are stored before the state that names them, and swept when no
state does (`code_sweep`)."""

import asyncio
import io
import zipfile
from weakref import WeakValueDictionary

from anyio import CapacityLimiter, to_thread

from lateen.domain.functions import Code
from lateen.ports.objects import Objects
from lateen.services.packages import Package, package, package_of_zip

_PACKAGERS = 2
"""Packages that are checked at a time: each may hold 50 MiB and inflate five times as much."""


class Artifacts:
    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._threads = CapacityLimiter(_PACKAGERS)

    def changing(self, function_id: str) -> asyncio.Lock:
        """Held by an update, so that those of one process wait for each other instead of losing races."""
        return self._locks.setdefault(function_id, asyncio.Lock())

    async def package(self, code: bytes, *, file: str) -> Package:
        """`packages.package`, in a thread."""
        return await to_thread.run_sync(lambda: package(code, file=file), limiter=self._threads)

    async def zip(self, content: bytes, field: str) -> Package:
        """As `package`, for what can only be a zip. Raises: `InvalidInput`, `TooLarge`."""
        return await to_thread.run_sync(package_of_zip, content, field, limiter=self._threads)

    async def store(self, code: Code, made: Package) -> None:
        await self._objects.put(code.artifact_key, made.artifact)
        if code.source_key is not None and made.source is not None:
            await self._objects.put(code.source_key, made.source)

    async def read(self, code: Code) -> bytes:
        """The zip as it was given. Raises: `ObjectNotFound`."""
        return b"".join([chunk async for chunk in self._objects.read(code.artifact_key)])

    async def put_source(self, code: Code) -> None:
        """Beside an artifact that is there, for it is what its function is made of again."""
        if code.source_key is not None and (source := await self.source(code)) is not None:
            await self._objects.put(code.source_key, source.encode())

    async def source(self, code: Code) -> str | None:
        """The single source file: from the artifact, which is what runs, whatever happened to the copy beside it.

        Raises: `ObjectNotFound`.
        """
        if code.source_file is None:
            return None
        whole = await self.read(code)
        return await to_thread.run_sync(_text_in, whole, code.source_file, limiter=self._threads)


def _text_in(artifact: bytes, name: str) -> str:
    with zipfile.ZipFile(io.BytesIO(artifact)) as archive:
        return archive.read(name).decode()
