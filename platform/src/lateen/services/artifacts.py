"""Artifacts: functions' code in the object store. Blobs are stored before the state that names them, and swept when no
state does (`code_sweep`)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from weakref import WeakValueDictionary

from anyio import CapacityLimiter, to_thread

from lateen.domain.functions import Code
from lateen.ports.blobs import Blob, Collected
from lateen.ports.objects import Objects, ObjectsUnavailable
from lateen.services.packages import Package, package, package_of_zip
from lateen.services.zips import MAX_ZIPPED, open_zip

_PACKAGERS = 2
"""Packages that are checked at a time: each may hold 50 MiB and inflate five times as much. So many large ones are read
at a time, too."""


class Artifacts:
    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._threads = CapacityLimiter(_PACKAGERS)
        self._reading = asyncio.Semaphore(_PACKAGERS)

    def changing(self, function_id: str) -> asyncio.Lock:
        """Held by an update, so that those of one process wait for each other instead of losing races."""
        return self._locks.setdefault(function_id, asyncio.Lock())

    async def package(self, code: bytes, *, file: str) -> Package:
        """`packages.package`, in a thread."""
        return await to_thread.run_sync(lambda: package(code, file=file), limiter=self._threads)

    async def zip(self, content: Blob, field: str, *, limit: int = MAX_ZIPPED) -> Package:
        """As `package`, for what can only be a zip. Raises: `InvalidInput`, `TooLarge`."""
        return await to_thread.run_sync(partial(package_of_zip, content, field, limit=limit), limiter=self._threads)

    async def store(self, code: Code, made: Package) -> None:
        await self._objects.put(code.artifact_key, made.artifact)
        if code.source_key is not None and made.source is not None:
            await self._objects.put(code.source_key, made.source)

    @asynccontextmanager
    async def read(self, code: Code) -> AsyncIterator[Blob]:
        """The zip as it was given. Raises: `ObjectNotFound`."""
        async with self._reading:
            collected = Collected()
            try:
                async for chunk in self._objects.read(code.artifact_key):
                    await to_thread.run_sync(collected.add, chunk)
                blob = await to_thread.run_sync(collected.blob)
            except OSError as exc:
                raise ObjectsUnavailable("the folder for temporary files is full or fails") from exc
            yield blob

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
        async with self.read(code) as whole:
            return await to_thread.run_sync(_text_in, whole, code.source_file, limiter=self._threads)


def _text_in(artifact: Blob, name: str) -> str:
    with open_zip(artifact) as archive:
        return archive.read(name).decode()
