"""`CodeStore` on S3: users' packages from a real server, and from one that misbehaves."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from secrets import token_bytes

import pytest
from botocore.session import Session, get_session
from cluster_stores import ACCESS_KEY, ClusterStores
from store_proxy import StoreProxy, store_proxy

from lateen.adapters.s3_code import S3Code
from lateen.domain.code_places import CodePlace
from lateen.ports.code_store import CodeRefused, CodeStoreUnavailable, CodeTooLarge, CodeUnreadable

LIMIT = 6_000_000


def session() -> Session:
    made = get_session()
    made.set_credentials(ACCESS_KEY, "not the secret")
    return made


# A real server


@pytest.fixture
def proxy(cluster_stores: ClusterStores) -> Iterator[StoreProxy]:
    with store_proxy(cluster_stores.s3_endpoint) as found:
        yield found


@pytest.fixture
async def code(proxy: StoreProxy, aws_session: Callable[[], Session]) -> AsyncIterator[S3Code]:
    made = S3Code(region="us-east-1", path_style=True, endpoint_url=proxy.url, session=aws_session)
    yield made
    await made.close()


@pytest.mark.cluster
async def test_objects_come_whole(
    code: S3Code, proxy: StoreProxy, s3_bucket: str, cluster_stores: ClusterStores, aws_session: Callable[[], Session]
) -> None:
    """Of any name, up to the limit; one byte more is not read. Each in one request, with the credentials' signature."""
    client = aws_session().create_client("s3", region_name="us-east-1", endpoint_url=cluster_stores.s3_endpoint)
    for key, content in (("app.zip", b"zip"), ("a b/ü?#%2e&x=1.zip", token_bytes(LIMIT)), ("empty", b"")):
        client.put_object(Bucket=s3_bucket, Key=key, Body=content)
        proxy.calls.clear()
        assert await code.read(CodePlace(bucket=s3_bucket, key=key), limit=LIMIT) == content
        (call,) = proxy.calls
        assert call.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=LATEENTEST/")
    client.put_object(Bucket=s3_bucket, Key="large", Body=token_bytes(LIMIT + 1))
    with pytest.raises(CodeTooLarge):
        await code.read(CodePlace(bucket=s3_bucket, key="large"), limit=LIMIT)
    assert await code.read(CodePlace(bucket=s3_bucket, key="app.zip"), limit=LIMIT) == b"zip"


@pytest.mark.cluster
async def test_what_is_missing(code: S3Code, s3_bucket: str) -> None:
    """Told by S3's own words, which callers of AWS know."""
    for bucket, word in ((s3_bucket, "NoSuchKey"), (f"{s3_bucket}-none", "NoSuchBucket")):
        with pytest.raises(CodeRefused) as refused:
            await code.read(CodePlace(bucket=bucket, key="none.zip"), limit=LIMIT)
        assert refused.value.code == word


@pytest.mark.cluster
async def test_a_server_that_refuses_the_key(cluster_stores: ClusterStores, s3_bucket: str) -> None:
    code = S3Code(region="us-east-1", path_style=True, endpoint_url=cluster_stores.s3_endpoint, session=session)
    with pytest.raises(CodeUnreadable, match="refuses this installation's credentials"):
        await code.read(CodePlace(bucket=s3_bucket, key="app.zip"), limit=LIMIT)
    await code.close()


# One that misbehaves


@asynccontextmanager
async def answering(*parts: bytes, pause_s: float = 0.0, endless: bool = False) -> AsyncIterator[str]:
    """A server that sends these parts, with pauses between them; `endless`: the last one again and again."""
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(pause_s)
            while endless:
                writer.write(parts[-1])
                await writer.drain()
                await asyncio.sleep(pause_s)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            gone.set()
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with asyncio.timeout(20):  # whoever was given up hears of it
            await gone.wait()


def head(**headers: object) -> bytes:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 200 OK\r\n{lines}\r\n".encode()


async def read(url: str, *, read_s: float = 20.0) -> bytes:
    code = S3Code(region="us-east-1", endpoint_url=url, read_s=read_s, session=session)
    try:
        return await code.read(CodePlace(bucket="packages", key="app.zip"), limit=LIMIT)
    finally:
        await code.close()


async def test_a_size_is_believed_before_the_bytes() -> None:
    """What says that it is too large is not read."""
    async with answering(head(content_length=LIMIT + 1), b"x" * 1000, pause_s=0.1, endless=True) as url:
        with pytest.raises(CodeTooLarge):
            await read(url)


async def test_bytes_are_counted_as_they_come() -> None:
    """Where no size is said, reading ends with the first byte too many, and not with the last one."""
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    async with answering(head(transfer_encoding="chunked"), chunk, endless=True) as url:
        with pytest.raises(CodeTooLarge):
            await read(url)


async def test_single_bytes_do_not_hold_a_reader() -> None:
    """A server that drips never pauses for a timeout's length. The whole has a limit too, in the thread as well."""
    before = time.monotonic()
    async with answering(head(content_length=100_000), b"x", pause_s=0.05, endless=True) as url:
        with pytest.raises(CodeStoreUnavailable):
            await read(url, read_s=1.0)  # closing waits for the thread
    assert time.monotonic() - before < 60
    assert not [each.name for each in threading.enumerate() if each.name.startswith("lateen-s3")]


async def test_an_end_that_is_missing() -> None:
    """Half a package is none."""
    for framing in ({"content_length": 1000}, {"transfer_encoding": "chunked"}):
        body = b"x" * 500 if "content_length" in framing else b"1f4\r\n" + b"x" * 500 + b"\r\n"
        async with answering(head(**framing), body) as url:
            with pytest.raises(CodeStoreUnavailable):
                await read(url)


async def test_a_bucket_elsewhere() -> None:
    """AWS's answer for another region's bucket, where it does not lead on from there."""
    body = b"<Error><Code>PermanentRedirect</Code><Message>m</Message><Endpoint>elsewhere</Endpoint></Error>"
    answer = (
        b"HTTP/1.1 301 Moved\r\nx-amz-bucket-region: eu-west-1\r\nconnection: close\r\ncontent-type: text/xml\r\n"
        b"content-length: %d\r\n\r\n%s" % (len(body), body)
    )
    async with answering(answer) as url:
        with pytest.raises(CodeRefused) as refused:
            await read(url)
    assert (refused.value.code, refused.value.region) == ("PermanentRedirect", "eu-west-1")
