"""What only blobs on S3 can get wrong: damage on the way, outages, how the server is reached, others in the bucket."""

import asyncio
import hashlib
import os
import random
import resource
import socket
import tempfile
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from botocore.session import Session, get_session
from cluster_stores import S3_DOMAIN, ClusterStores
from own_certificate import own_certificate
from store_proxy import HANG, LOSE, RESET, Answer, Pass, StoreProxy, store_proxy

from lateen.adapters.s3 import S3Objects
from lateen.adapters.s3_bucket import create_bucket
from lateen.ports.objects import ObjectNotFound, ObjectsUnavailable

pytestmark = pytest.mark.cluster

KEY = "ws/fn/0123abcd.zip"


@pytest.fixture
def proxy(cluster_stores: ClusterStores) -> Iterator[StoreProxy]:
    with store_proxy(cluster_stores.s3_endpoint) as found:
        yield found


@pytest.fixture
async def objects(proxy: StoreProxy, s3_bucket: str, aws_session: Callable[[], Session]) -> AsyncIterator[S3Objects]:
    """The real server, through the proxy."""
    made = S3Objects(s3_bucket, region="us-east-1", path_style=True, endpoint_url=proxy.url, session=aws_session)
    yield made
    proxy.released.set()
    await made.close()


async def body_of(objects: S3Objects, key: str = KEY) -> bytes:
    return b"".join([chunk async for chunk in objects.read(key)])


async def stream(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def unavailable(call: Any) -> str:
    with pytest.raises(ObjectsUnavailable) as refused:
        await call
    assert refused.value.__cause__ is not None
    return str(refused.value)


def xml(status: int, code: str) -> Answer:
    text = f"<Error><Code>{code}</Code><Message>arn:aws:s3:::secret-name</Message></Error>"
    return Answer(status, text.encode(), "application/xml")


# Whole blobs


async def test_a_checksum_goes_with_each_blob(objects: S3Objects, proxy: StoreProxy) -> None:
    """SHA-256 of the whole, in the one request that stores it, however it was given and however large."""
    large = random.Random(1).randbytes(6_000_000)
    for body, given in [(b"code", b"code"), (large, large), (large, stream(large[:5_000_000], large[5_000_000:]))]:
        proxy.calls.clear()
        await objects.put(KEY, given)
        (call,) = proxy.calls
        assert call.headers["x-amz-checksum-sha256"] == b64encode(hashlib.sha256(body).digest()).decode()
        assert call.headers["content-length"] == str(len(body))
        assert await body_of(objects) == body


async def test_wrong_bytes_are_noticed(objects: S3Objects, proxy: StoreProxy) -> None:
    """A bit that changes on the way, or an end that is missing, is an error at the latest at the end of the blob."""
    await objects.put(KEY, b"code" * 1000)
    proxy.once("GET", Pass(change=lambda body: body[:-1] + b"X"))
    assert await unavailable(body_of(objects)) == "the blob came damaged"
    proxy.once("GET", Pass(is_cut=True))
    assert await unavailable(body_of(objects)) == "the bucket does not answer"
    assert await body_of(objects) == b"code" * 1000


async def test_a_server_refuses_what_was_damaged(
    objects: S3Objects, cluster_stores: ClusterStores, s3_bucket: str, aws_session: Callable[[], Session]
) -> None:
    """The server at hand checks the checksum that comes with a blob: a wrong one is stored by nobody."""
    client = aws_session().create_client("s3", region_name="us-east-1", endpoint_url=cluster_stores.s3_endpoint)
    with pytest.raises(client.exceptions.ClientError, match=r"BadDigest|checksum"):
        client.put_object(Bucket=s3_bucket, Key=KEY, Body=b"damaged", ChecksumSHA256=b64encode(b"x" * 32).decode())
    with pytest.raises(ObjectNotFound):
        await body_of(objects)


async def test_a_large_stream_needs_little_memory(objects: S3Objects) -> None:
    """A hundred megabytes go in and come out in chunks; what waits in a file leaves none behind."""
    chunk = os.urandom(1 << 20)
    before = set(os.listdir(tempfile.gettempdir()))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await objects.put(KEY, stream(*[chunk] * 100))
    size = 0
    async for part in objects.read(KEY):
        size += len(part)
    assert size == 100 << 20
    # The proxy, in this process too, holds what it passes on, twice.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 500 << 10
    assert {name for name in set(os.listdir(tempfile.gettempdir())) - before if name.startswith("tmp")} == set()


# Outages


async def test_a_passing_fault_is_not_seen(objects: S3Objects, proxy: StoreProxy) -> None:
    """A busy answer, a reset, an answer that is lost: tried again, and stored once."""
    for fault in (xml(503, "SlowDown"), RESET, LOSE):
        proxy.once("PUT", fault)
        await objects.put(KEY, stream(b"code"))
        proxy.once("GET", fault)
        assert await body_of(objects) == b"code"
        proxy.once("DELETE", fault)
        await objects.delete(KEY)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (xml(503, "SlowDown"), "the bucket is busy"),
        (xml(500, "InternalError"), "the bucket does not answer"),
        (xml(403, "AccessDenied"), "the bucket refuses the platform"),
        (xml(404, "NoSuchBucket"), "the bucket does not exist"),
        (xml(403, "InvalidAccessKeyId"), "the bucket's credentials are missing or refused"),
        (RESET, "the bucket does not answer"),
    ],
)
async def test_outages_are_told_in_our_words(
    objects: S3Objects, proxy: StoreProxy, answer: Answer | str, words: str
) -> None:
    """In every call, without a word of the driver's or the server's, after no more than three attempts."""
    proxy.always(answer)
    assert await unavailable(objects.put(KEY, b"x")) == words
    assert await unavailable(objects.put(KEY, stream(b"x"))) == words
    assert await unavailable(body_of(objects)) == words
    assert await unavailable(objects.delete(KEY)) == words
    assert await unavailable(anext(aiter(objects.list()))) == words
    await unavailable(objects.ping())
    assert len(proxy.calls) <= 6 * 3


async def test_a_silent_server(s3_bucket: str, proxy: StoreProxy, aws_session: Callable[[], Session]) -> None:
    """It costs a caller the call's time and no more."""
    objects = S3Objects(
        s3_bucket, region="us-east-1", path_style=True, endpoint_url=proxy.url, call_s=1.0, session=aws_session
    )
    proxy.always(HANG)
    start = time.monotonic()
    for call in (objects.put(KEY, b"x"), body_of(objects), objects.delete(KEY), objects.ping()):
        assert await unavailable(call) == "the bucket does not answer"
    assert time.monotonic() - start < 6
    proxy.released.set()
    await objects.close()


async def test_nobody_listens(aws_session: Callable[[], Session]) -> None:
    """A refused connection is told within seconds, with retries; a closed store at once."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        objects = S3Objects("b", region="us-east-1", path_style=True, endpoint_url=url, session=aws_session)
        start = time.monotonic()
        assert await unavailable(objects.ping()) == "the bucket does not answer"
        assert time.monotonic() - start < 5
    await objects.close()
    with pytest.raises(ObjectsUnavailable, match="the store is closed"):
        await objects.ping()


async def test_a_missing_bucket(objects: S3Objects, cluster_stores: ClusterStores, aws_session: Any) -> None:
    """A wrong name is an outage with words, and no blob that is missing."""
    wrong = S3Objects(
        f"missing-{token_hex(8)}",
        region="us-east-1",
        path_style=True,
        endpoint_url=cluster_stores.s3_endpoint,
        session=aws_session,
    )
    for call in (wrong.ping(), body_of(wrong), wrong.put(KEY, b"x")):
        assert await unavailable(call) == "the bucket does not exist"
    await wrong.close()


async def test_wrong_keys_are_told(s3_bucket: str, cluster_stores: ClusterStores) -> None:
    """The real server refuses them; the words are ours."""

    def session() -> Session:
        made = get_session()
        made.set_credentials(cluster_stores.access_key, "wrong")
        return made

    objects = S3Objects(
        s3_bucket, region="us-east-1", path_style=True, endpoint_url=cluster_stores.s3_endpoint, session=session
    )
    assert await unavailable(objects.put(KEY, b"x")) == "the bucket's credentials are missing or refused"
    await objects.close()


# How the server is reached


async def test_virtual_hosts(
    cluster_stores: ClusterStores,
    s3_bucket: str,
    proxy: StoreProxy,
    aws_session: Callable[[], Session],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without path style the bucket is part of the host's name; an HTTP proxy of the standard variable is used."""
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    objects = S3Objects(s3_bucket, region="us-east-1", endpoint_url=f"http://{S3_DOMAIN}", session=aws_session)
    await objects.put(KEY, b"code")
    assert await body_of(objects) == b"code"
    assert [entry.key async for entry in objects.list()] == [KEY]
    assert {call.headers["host"] for call in proxy.calls} == {f"{s3_bucket}.{S3_DOMAIN}"}
    assert (await objects.url(KEY)).startswith(f"http://{s3_bucket}.{S3_DOMAIN}/{KEY}?")
    await objects.close()


async def test_a_certificate_of_an_own_authority(
    cluster_stores: ClusterStores,
    s3_bucket: str,
    aws_session: Callable[[], Session],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """`AWS_CA_BUNDLE` names who is believed; without it the server is not, and gets no request."""
    certificate, context = own_certificate(tmp_path)
    with store_proxy(cluster_stores.s3_endpoint, tls=context) as proxy:

        def objects() -> S3Objects:
            return S3Objects(
                s3_bucket, region="us-east-1", path_style=True, endpoint_url=proxy.url, session=aws_session
            )

        stranger = objects()
        await unavailable(stranger.put(KEY, b"x"))
        assert proxy.calls == []
        await stranger.close()
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
        known = objects()
        for body in (b"code", stream(b"c", b"ode")):
            await known.put(KEY, body)
            assert await body_of(known) == b"code"
        assert all("x-amz-checksum-sha256" in call.headers for call in proxy.calls if call.method == "PUT")
        await known.close()


async def test_presigned_addresses_end(objects: S3Objects) -> None:
    """An address is for one blob and a time: a changed one is refused."""
    await objects.put(KEY, b"code")
    await objects.put("ws/fn/other", b"other")
    url = await objects.url(KEY, expires_s=1)
    with pytest.raises(urllib.error.HTTPError) as refused:
        await asyncio.to_thread(
            urllib.request.urlopen, url.replace("0123abcd.zip", "../fn/other").replace("../fn/", "")
        )
    assert refused.value.code == 403
    await asyncio.sleep(2.1)
    with pytest.raises(urllib.error.HTTPError) as late:
        await asyncio.to_thread(urllib.request.urlopen, url)
    assert late.value.code == 403


# The bucket


async def test_a_long_listing(objects: S3Objects, proxy: StoreProxy, s3_bucket: str) -> None:
    """More blobs than one answer holds come in order, each once."""
    keys = [f"ws/{number:04}" for number in range(1050)]

    async def put(some: list[str]) -> None:
        for key in some:
            await objects.put(key, b"")

    await asyncio.gather(*(put(keys[start::8]) for start in range(8)))
    proxy.calls.clear()
    assert [entry.key async for entry in objects.list("ws/")] == keys
    assert len(proxy.calls) == 2


async def test_a_key_that_is_another_s_folder(objects: S3Objects) -> None:
    """A server that keeps blobs in folders can't store both: the key is refused, and the first blob stays."""
    await objects.put("ws/fn/a", b"code")
    for key in ("ws/fn", "ws/fn/a/b"):
        with pytest.raises(ValueError, match="folder"):
            await objects.put(key, b"x")
    assert [entry.key async for entry in objects.list()] == ["ws/fn/a"]


async def test_others_things_are_not_ours(
    objects: S3Objects, s3_bucket: str, cluster_stores: ClusterStores, aws_session: Callable[[], Session]
) -> None:
    """What lies in the bucket under a key that we would refuse is not listed."""
    client = aws_session().create_client("s3", region_name="us-east-1", endpoint_url=cluster_stores.s3_endpoint)
    for key in ("with space", "folder/", "ws/ok"):
        client.put_object(Bucket=s3_bucket, Key=key, Body=b"")
    assert [entry.key async for entry in objects.list()] == ["ws/ok"]


def test_the_bucket_is_made_once(cluster_stores: ClusterStores, aws_session: Callable[[], Session]) -> None:
    """Asked again, it is found."""
    name = f"test-{token_hex(8)}"
    where: dict[str, Any] = {
        "region": "us-east-1",
        "path_style": True,
        "endpoint_url": cluster_stores.s3_endpoint,
        "session": aws_session,
    }
    assert [create_bucket(name, **where), create_bucket(name, **where)] == [True, False]
