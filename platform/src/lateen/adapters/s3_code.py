"""`CodeStore` on S3, AWS's or another server's: users' packages, read with the installation's credentials.

With a client of its own, so that a package that comes slowly keeps nobody from the artifacts.
"""

import re
import time
from typing import Any

from botocore.config import Config
from botocore.exceptions import ClientError, NoCredentialsError, PartialCredentialsError
from botocore.session import get_session
from urllib3.exceptions import HTTPError

from lateen.adapters.aws_client import AwsClient, MakeSession
from lateen.adapters.s3_faults import EXPECTED, are_credentials_refused
from lateen.domain.code_places import CodePlace
from lateen.ports.blobs import Blob, Collected
from lateen.ports.code_store import CodeRefused, CodeStoreUnavailable, CodeTooLarge, CodeUnreadable

READ_S = 40.0
"""For all of a package: AWS's clients wait for a minute, and shall be told what was wrong."""
THREADS = 4
_PIECE_BYTES = 256 << 10
_CODE = re.compile(r"[A-Za-z0-9.]{1,64}")
_REGION = re.compile(r"[a-z0-9-]{1,32}")
_BUSY = {"SlowDown", "ServiceUnavailable", "RequestLimitExceeded", "RequestTimeout", "Throttling", "TooManyRequests"}
_CONFIG = Config(
    connect_timeout=2.0,
    read_timeout=5.0,
    retries={"mode": "standard", "total_max_attempts": 3},
    signature_version="s3v4",
    # A package is checked for damage by what unpacks it; checksums of parts would say nothing of the whole.
    response_checksum_validation="when_required",
)


class S3Code:
    """`CodeStore`."""

    def __init__(
        self,
        *,
        region: str,
        path_style: bool | None = None,
        endpoint_url: str | None = None,
        read_s: float = READ_S,
        session: MakeSession = get_session,
    ) -> None:
        """Connects to nothing: the first read does.

        Args:
            path_style: None: as botocore thinks fit, in the path where an endpoint is named.
            endpoint_url: None: `AWS_ENDPOINT_URL_S3`, or AWS.
        """
        self._read_s = read_s
        config = _CONFIG
        if path_style is not None:
            config = config.merge(Config(s3={"addressing_style": "path" if path_style else "virtual"}))
        self._client = AwsClient(
            "s3", region=region, endpoint_url=endpoint_url, threads=THREADS, config=config, session=session
        )

    async def read(self, place: CodePlace, *, limit: int) -> Blob:
        request = {"Bucket": place.bucket, "Key": place.key}
        if place.version is not None:
            request["VersionId"] = place.version
        until = time.monotonic() + self._read_s
        has_new_credentials = False
        while True:
            try:
                return await self._client.run(
                    lambda client: _read(client, request, limit=limit, until=until),
                    within_s=max(0.0, until - time.monotonic()),
                )
            except (*EXPECTED, HTTPError) as exc:
                if not are_credentials_refused(exc) or has_new_credentials:
                    raise _told(exc) from exc
                self._client.forget()  # they may have been replaced: once more, with those of now
                has_new_credentials = True

    async def close(self) -> None:
        await self._client.close()


def _read(client: Any, request: dict[str, str], *, limit: int, until: float) -> Blob:
    """In a thread. Its caller may be gone at `until`; it ends soon after that by itself."""
    answer = client.get_object(**request)
    stated, body = answer.get("ContentLength"), answer["Body"]
    try:
        if stated is not None and stated > limit:
            raise CodeTooLarge
        collected = Collected()
        # What has come and no more: a sender of single bytes would keep botocore's `read` for as long as it likes.
        while piece := body._raw_stream.read1(_PIECE_BYTES):
            if collected.size + len(piece) > limit:
                raise CodeTooLarge
            if time.monotonic() > until:
                raise TimeoutError
            collected.add(piece)
    finally:
        body.close()
    if stated is not None and collected.size != stated:
        raise CodeStoreUnavailable
    return collected.blob()


def _told(exc: Exception) -> Exception:
    if isinstance(exc, NoCredentialsError | PartialCredentialsError):
        return CodeUnreadable("this installation has no credentials for S3: AWS_ACCESS_KEY_ID and its like are not set")
    if are_credentials_refused(exc):
        return CodeUnreadable("S3 refuses this installation's credentials")
    if not isinstance(exc, ClientError):
        return CodeStoreUnavailable()
    error, metadata = exc.response.get("Error", {}), exc.response.get("ResponseMetadata", {})
    status, code = metadata.get("HTTPStatusCode", 500), str(error.get("Code", ""))
    if status >= 500 or status == 429 or code in _BUSY:
        return CodeStoreUnavailable()
    region = str(metadata.get("HTTPHeaders", {}).get("x-amz-bucket-region", ""))
    return CodeRefused(
        code if _CODE.fullmatch(code) else str(status), region=region if _REGION.fullmatch(region) else None
    )
