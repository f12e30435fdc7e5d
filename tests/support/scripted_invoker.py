"""An invoker that is scripted byte by byte, with the routes and the endpoints that lead to it."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from lateen.domain.errors import NotFound
from lateen.ports.deployer import Deployment, Endpoint

KEY = b"k" * 32
HASH = "0123456789abcdef" * 2
DEPLOYMENT = Deployment(
    function_id="f", function_name="f", workspace_id="w", account_id="1" * 12, hash=HASH, revision=1, version="$LATEST",
    runtime="python3.12", handler="h", environment={}, timeout_s=1, memory_mib=128, concurrency=1, replicas=1,
    open=True, artifact_key="", artifact_sha256="", invoke_key=KEY,
)  # fmt: skip
Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Invoker:
    """A TCP server whose connections each run `script`; also the routes and the endpoints that lead to it."""

    def __init__(self) -> None:
        self.script: Script = answer_with(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        self.connections = 0
        self.requests: list[bytes] = []
        self.port = 0
        self.deployment = DEPLOYMENT
        self._writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await self.script(reader, writer)
        writer.close()

    def now(self, url_hash: bytes) -> Deployment | None:
        return self.deployment if url_hash == HASH.encode() else None

    async def find(self, url_hash: bytes) -> Deployment:
        if (deployment := self.now(url_hash)) is None:
            raise NotFound("no such function")
        return deployment

    async def endpoint(self, deployment: Deployment) -> Endpoint:
        return Endpoint("127.0.0.1", self.port, KEY)

    def endpoint_now(self, deployment: Deployment) -> Endpoint | None:
        return Endpoint("127.0.0.1", self.port, KEY)

    def close(self) -> None:
        for writer in self._writers:
            writer.close()


def answer_with(*answers: bytes) -> Script:
    """Answer each request with the next of these, then close."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await request_from(reader)
            writer.write(answer)

    return script


async def request_from(reader: asyncio.StreamReader) -> bytes:
    """One request with its body, of a length or chunked."""
    head = await reader.readuntil(b"\r\n\r\n")
    lower = head.lower()
    if b"transfer-encoding: chunked" in lower:
        return head + await reader.readuntil(b"0\r\n\r\n")
    if b"content-length: " in lower:
        return head + await reader.readexactly(int(lower.partition(b"content-length: ")[2].split(b"\r\n")[0]))
    return head
