"""`Objects` in an S3 bucket, AWS's or another server's.

A blob is sent in one request, which stores all of it or nothing, so there are no parts of an upload to clear away. A
stream is collected first, in memory or, beyond a few megabytes, in a temporary file: a sender that fails or leaves has
stored nothing, and the checksum is known before the first byte goes out. S3 checks the SHA-256 that comes with a blob,
and what comes back is checked against the one that was stored.
"""

import asyncio
import random
import re
from collections.abc import AsyncIterable, AsyncIterator, Callable
from datetime import UTC
from functools import partial
from operator import methodcaller
from typing import Any, TypeVar

from anyio import to_thread
from botocore.config import Config
from botocore.session import get_session

from lateen.adapters.aws_client import AwsClient, MakeSession
from lateen.adapters.s3_faults import EXPECTED, are_credentials_refused, is_folder_in_the_way, is_missing, words_for
from lateen.adapters.s3_wire import S3Wire
from lateen.ports.blobs import Blob, Collected
from lateen.ports.objects import ObjectNotFound, ObjectsUnavailable, StoredObject

CHUNK_BYTES = 256 << 10
THREADS = 8
CALL_S = 10.0
"""For a call, its repetitions included."""
SLOWEST_BYTES_PER_S = 1 << 20
"""What is sent may take longer: as long as at this rate."""
FOLDER_ATTEMPTS = 6
CONFIG = Config(
    connect_timeout=1.0,
    read_timeout=5.0,
    retries={"mode": "standard", "total_max_attempts": 3},  # every call may be repeated: blobs are whole
    signature_version="s3v4",
)

_SEGMENT = re.compile(r"[A-Za-z0-9._-]{1,255}")
_PREFIX = re.compile(r"[A-Za-z0-9._-][A-Za-z0-9._/-]*|")
_KEY_LIMIT = 1024

T = TypeVar("T")


class S3Objects:
    """`Objects` in `bucket` (`s3_bucket` makes it)."""

    def __init__(
        self,
        bucket: str,
        *,
        region: str,
        path_style: bool = False,
        endpoint_url: str | None = None,
        threads: int = THREADS,
        call_s: float = CALL_S,
        session: MakeSession = get_session,
    ) -> None:
        """Connects to nothing: the first call does, or fails.

        Args:
            path_style: the bucket's name goes into the path, not into the host's name; many servers want it so.
            endpoint_url: None: `AWS_ENDPOINT_URL_S3`, or AWS.
        """
        self._bucket = bucket
        self._call_s = call_s
        config = CONFIG.merge(Config(s3={"addressing_style": "path" if path_style else "virtual"}))
        self._client = AwsClient(
            "s3",
            region=region,
            endpoint_url=endpoint_url,
            threads=threads,
            config=config,
            session=session,
            wrap=S3Wire,
        )

    async def put(self, key: str, body: Blob | AsyncIterable[bytes]) -> None:
        _check_key(key)
        if isinstance(body, Blob):
            await self._put(methodcaller("put", self._bucket, key, body), len(body))
            return
        collected = Collected()
        async for chunk in body:
            await _on_disk(partial(collected.add, chunk))
        await self.put(key, await _on_disk(collected.blob))

    async def read(self, key: str) -> AsyncIterator[bytes]:
        _check_key(key)
        body = (await self._run(_sdk("get_object", Bucket=self._bucket, Key=key, ChecksumMode="ENABLED")))["Body"]
        try:
            while chunk := await self._run(lambda _: body.read(CHUNK_BYTES)):
                yield chunk
        finally:
            body.close()

    async def delete(self, key: str) -> None:
        _check_key(key)
        await self._run(_sdk("delete_object", Bucket=self._bucket, Key=key))

    async def url(self, key: str, *, expires_s: int = 900) -> str:
        _check_key(key)
        where = {"Bucket": self._bucket, "Key": key}
        made: str = await self._run(
            _sdk("generate_presigned_url", ClientMethod="get_object", Params=where, ExpiresIn=expires_s)
        )
        return made

    async def upload_url(self, key: str, *, expires_s: int) -> str:
        """An address to which who holds it can `PUT` the blob, once or again."""
        _check_key(key)
        where = {"Bucket": self._bucket, "Key": key}
        made: str = await self._run(
            _sdk("generate_presigned_url", ClientMethod="put_object", Params=where, ExpiresIn=expires_s)
        )
        return made

    async def list(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        if not _PREFIX.fullmatch(prefix):  # of no key, and not every server takes it
            return
        request = {"Bucket": self._bucket, "Prefix": prefix}
        while True:
            page = await self._run(_sdk("list_objects_v2", **request))
            for found in page.get("Contents", []):
                if _is_key(found["Key"]):  # others' things may lie in the bucket
                    yield StoredObject(found["Key"], found["Size"], found["LastModified"].astimezone(UTC))
            if not page.get("IsTruncated"):
                return
            request["ContinuationToken"] = page["NextContinuationToken"]

    async def ping(self) -> None:
        await self._run(_sdk("head_bucket", Bucket=self._bucket))

    async def close(self) -> None:
        """Finish what was begun. Later calls raise `ObjectsUnavailable`."""
        await self._client.close()

    async def _put(self, send: Callable[[Any], None], size: int) -> None:
        within_s = self._call_s + size / SLOWEST_BYTES_PER_S
        for attempt in range(FOLDER_ATTEMPTS):
            try:
                await self._run(send, within_s=within_s)
                return
            except ObjectsUnavailable as exc:
                if not is_folder_in_the_way(exc.__cause__):
                    raise
                if attempt == FOLDER_ATTEMPTS - 1:
                    raise ValueError("a blob's key cannot be a folder of another one's") from exc
                await asyncio.sleep(random.uniform(0, 0.01 * 2**attempt))  # noqa: S311 - jitter

    async def _run(self, action: Callable[[S3Wire], T], *, within_s: float | None = None) -> T:
        """`action` with the client, in a thread, botocore's errors in our words."""
        has_new_credentials = False
        while True:
            try:
                return await self._client.run(action, within_s=within_s or self._call_s)
            except EXPECTED as exc:
                if is_missing(exc):
                    raise ObjectNotFound("no such blob") from exc
                if not are_credentials_refused(exc) or has_new_credentials:
                    raise ObjectsUnavailable(words_for(exc)) from exc
                self._client.forget()  # they may have been replaced: once more, with those of now
                has_new_credentials = True


def _sdk(operation: str, **request: Any) -> Callable[[S3Wire], Any]:
    return lambda wire: getattr(wire.sdk, operation)(**request)


async def _on_disk(action: Callable[[], T]) -> T:
    try:
        return await to_thread.run_sync(action)
    except OSError as exc:
        raise ObjectsUnavailable("the folder for temporary files is full or fails") from exc


def _check_key(key: str) -> None:
    if not _is_key(key):
        raise ValueError("a blob's key is segments of letters, digits, '.', '_' and '-', separated by '/'")


def _is_key(key: str) -> bool:
    return len(key) <= _KEY_LIMIT and all(_SEGMENT.fullmatch(s) and s not in (".", "..") for s in key.split("/"))
