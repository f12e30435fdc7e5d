"""What is believed of an API server that says nothing any more, or: later."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from lateen.adapters.kubernetes.access import Access
from lateen.adapters.kubernetes.api import ApiUnavailable, KubernetesApi
from lateen.adapters.kubernetes.kinds import POD, Manifest, Ref
from lateen.adapters.kubernetes.leader import Leadership

EVENT = {"type": "ADDED", "object": {"metadata": {"name": "one", "resourceVersion": "8"}}}


@pytest.fixture
async def silent() -> AsyncIterator[str]:
    """Its address. It begins a watch, tells of one pod, and then neither speaks nor closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        line = json.dumps(EVENT).encode() + b"\n"
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(line), line))
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_a_watch_that_falls_silent_ends(silent: str) -> None:
    """So it is begun again where it ended, over another connection."""
    api = KubernetesApi(Access(url=silent), silence_s=0.5)
    try:
        async with asyncio.timeout(10):
            seen = [event.object["metadata"]["name"] async for event in api.watch(POD, None, version="7")]
    finally:
        await api.close()
    assert seen == ["one"]


@pytest.mark.parametrize(("status", "is_said"), [(500, True), (408, False), (429, False), (503, False), (504, False)])
async def test_what_an_api_server_says_of_the_call_itself(status: int, is_said: bool) -> None:
    """That a webhook failed for it, say; not that the server has too much to do, or stops."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = b'{"kind": "Status", "message": "why"}'
        writer.write(b"HTTP/1.1 %d x\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        api = KubernetesApi(Access(url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
        with pytest.raises(ApiUnavailable) as refused:
            await api.get(Ref(POD, "n", "p"))
        await api.close()
    assert refused.value.said == ("why" if is_said else "")


class Hanging:
    """An API server with one Lease; of its answers to changes the first ones after `hang` do not come."""

    def __init__(self) -> None:
        self.hang = 0
        self.hung = 0
        self.lease: Manifest | None = None
        self._version = 0

    async def get(self, *_: Any) -> Manifest | None:
        return self.lease

    async def create(self, lease: Manifest, *, within_s: float) -> Manifest:
        return await self.replace(lease, within_s=within_s)

    async def replace(self, lease: Manifest, *, within_s: float) -> Manifest:
        if self.hung < self.hang:
            self.hung += 1
            await asyncio.sleep(within_s)
            raise ApiUnavailable("no answer in time")
        self._version += 1
        metadata = {**lease["metadata"], "resourceVersion": str(self._version)}
        self.lease = {**lease, "metadata": metadata}
        return self.lease


async def test_a_renewal_without_an_answer_leaves_time_for_another() -> None:
    """A connection that is dead costs nobody the Lease."""
    api: Any = Hanging()
    leadership = Leadership(api, namespace="n", name="c", identity="me", lease_s=3, renew_s=2, retry_s=0.3)
    began: list[float] = []

    async def work() -> None:
        began.append(0)
        await asyncio.Event().wait()

    leading = asyncio.ensure_future(leadership.lead(work))
    async with asyncio.timeout(10):
        while not leadership.is_leading:
            await asyncio.sleep(0.01)
        api.hang = 1
        while not api.hung:
            await asyncio.sleep(0.01)
        await asyncio.sleep(2.5)
    assert leadership.is_leading
    assert len(began) == 1
    leading.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await leading
