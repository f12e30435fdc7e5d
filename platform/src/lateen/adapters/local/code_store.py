"""`CodeStore` of the embedded platform: an S3 that the environment of `lateen up` names, as AWS's tools read it."""

import asyncio

from lateen.domain.code_places import CodePlace
from lateen.ports.blobs import Blob
from lateen.ports.code_store import CodeStore


class LocalCodeStore:
    """Made by the first read. AWS's client is slow to import, and who keeps no code in S3 has no use for it."""

    def __init__(self, *, region: str) -> None:
        self._region = region
        self._making = asyncio.Lock()
        self._made: CodeStore | None = None

    async def read(self, place: CodePlace, *, limit: int) -> Blob:
        async with self._making:
            if self._made is None:
                self._made = await asyncio.to_thread(_made, self._region)
        return await self._made.read(place, limit=limit)

    async def close(self) -> None:
        if self._made is not None:
            await self._made.close()


def _made(region: str) -> CodeStore:
    from lateen.adapters.s3_code import S3Code

    return S3Code(region=region)
