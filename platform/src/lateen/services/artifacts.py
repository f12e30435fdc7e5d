"""Artifacts: functions' code in the object store. Blobs are stored before the state that names them, and swept when no
state does."""

import asyncio
import io
import zipfile
from collections.abc import Awaitable, Callable
from weakref import WeakValueDictionary

from anyio import CapacityLimiter, to_thread

from lateen.domain.functions import Code
from lateen.ports.objects import Objects
from lateen.services.packages import Package, package

_PACKAGERS = 2
"""Packages that are checked at a time: each may hold 50 MiB and inflate five times as much."""


class Artifacts:
    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._threads = CapacityLimiter(_PACKAGERS)

    def changing(self, function_id: str) -> asyncio.Lock:
        """Held from the storing of a function's blobs until the state that names them is stored, so that the sweep does
        not meet a blob in between, which may have the key of an old one."""
        return self._locks.setdefault(function_id, asyncio.Lock())

    async def package(self, code: bytes, *, file: str) -> Package:
        """`packages.package`, in a thread."""
        return await to_thread.run_sync(lambda: package(code, file=file), limiter=self._threads)

    async def store(self, code: Code, made: Package) -> None:
        await self._objects.put(code.artifact_key, made.artifact)
        if code.source_key is not None and made.source is not None:
            await self._objects.put(code.source_key, made.source)

    async def source(self, code: Code) -> str | None:
        """The single source file: from the artifact, which is what runs, whatever happened to the copy beside it.

        Raises: `ObjectNotFound`.
        """
        if code.source_file is None:
            return None
        whole = b"".join([chunk async for chunk in self._objects.read(code.artifact_key)])
        return await to_thread.run_sync(_text_in, whole, code.source_file, limiter=self._threads)

    async def sweep(self, code_of: Callable[[str, str], Awaitable[Code | None]], *, modified_before_s: float) -> int:
        """Remove what no state names.

        Args:
            code_of: by workspace and function id, the code that the function's state names.
            modified_before_s: Unix time; younger blobs may be on their way into a state.
        """
        swept = 0
        async for blob in self._objects.list():
            parts = blob.key.split("/")
            if len(parts) != 3 or blob.modified.timestamp() >= modified_before_s:
                continue
            async with self.changing(parts[1]):
                code = await code_of(parts[0], parts[1])
                if code is None or blob.key not in (code.artifact_key, code.source_key):
                    await self._objects.delete(blob.key)
                    swept += 1
        return swept


def _text_in(artifact: bytes, name: str) -> str:
    with zipfile.ZipFile(io.BytesIO(artifact)) as archive:
        return archive.read(name).decode()
