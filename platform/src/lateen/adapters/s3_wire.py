"""A small blob to S3 in one signed PUT, which all creates and updates of functions need.

botocore's general machinery takes several times the processor time for it. It does everything else: large blobs,
buckets whose names are more than names, and buckets that turn out to be elsewhere.

Source: Amazon S3 API Reference, "PutObject"; "Checking object integrity".
"""

import random
import re
import time
from base64 import b64encode
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import ClientError, EndpointConnectionError, SSLError
from botocore.session import Session
from urllib3.exceptions import HTTPError
from urllib3.exceptions import SSLError as UntrustedError

from lateen.adapters.aws_wire import Signer, host_of, pool_for
from lateen.ports.blobs import Blob, Mapped

QUICK_BYTES = 1 << 20
ATTEMPTS = 3
FIRST_WAIT_S = 0.05
_BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
"""Names that can be part of a host's name and of a certificate's; others are left to botocore."""
_ELSEWHERE = frozenset({301, 307, 308, 400})
"""The bucket is in another region, or at another address; botocore finds it."""
_CODE = re.compile(rb"<Code>([A-Za-z0-9.]{1,64})</Code>")


class S3Wire:
    """For many threads at a time. `sdk` is botocore's client."""

    def __init__(self, client: Any, session: Session) -> None:
        self.sdk = client
        self._is_path_style = (client.meta.config.s3 or {}).get("addressing_style") == "path"
        self._url = urlsplit(client.meta.endpoint_url)
        self._signer = Signer(session, service="s3", region=str(client.meta.region_name))
        self._agent = str(client.meta.config.user_agent)
        self._pool = pool_for(client.meta.endpoint_url, client, session)

    def put(self, bucket: str, key: str, body: Blob) -> None:
        """Args:
            key: letters, digits, `.`, `_`, `-` and `/`, which stand for themselves in a URL.
        Raises: botocore's errors.
        """
        digest = sha256(body)
        checksum = b64encode(digest.digest()).decode()
        if isinstance(body, Mapped):
            body.seek(0)
        elif len(body) <= QUICK_BYTES and _BUCKET.fullmatch(bucket) and self._is_put(bucket, key, body, digest):
            return
        self.sdk.put_object(Bucket=bucket, Key=key, Body=body, ContentLength=len(body), ChecksumSHA256=checksum)

    def close(self) -> None:
        self._pool.clear()
        self.sdk.close()

    def _is_put(self, bucket: str, key: str, body: bytes, digest: Any) -> bool:
        """False: it takes botocore. A whole blob may be sent again, whatever became of it the first time."""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(random.uniform(0, FIRST_WAIT_S * 2**attempt))  # noqa: S311 - jitter
            try:
                answer = self._sent(bucket, key, body, digest)
            except UntrustedError as exc:
                raise SSLError(endpoint_url=self._url.geturl(), error=exc) from exc
            except (HTTPError, OSError) as exc:
                error: Exception = EndpointConnectionError(endpoint_url=self._url.geturl())
                error.__cause__ = exc
                continue
            if answer.status == 200:
                return True
            if answer.status in _ELSEWHERE:
                return False
            error = _refusal(answer)
            if answer.status < 500 and answer.status != 429:
                break
        raise error

    def _sent(self, bucket: str, key: str, body: bytes, digest: Any) -> Any:
        url, path = self._url, f"{self._url.path.rstrip('/')}/{key}"
        if self._is_path_style:
            path = f"{self._url.path.rstrip('/')}/{bucket}/{key}"
        else:
            url = url._replace(netloc=f"{bucket}.{url.netloc}")
        payload = digest.hexdigest()
        headers = {
            "host": host_of(url),
            "x-amz-checksum-sha256": b64encode(digest.digest()).decode(),
            "x-amz-content-sha256": payload,
        }
        signed = self._signer.signed("PUT", path, headers, payload=payload, now=time.gmtime())
        headers = {**signed, "user-agent": self._agent}
        where = url._replace(path=path).geturl()
        return self._pool.urlopen("PUT", where, body=body, headers=headers, retries=False, redirect=False)


def _refusal(answer: Any) -> ClientError:
    code = _CODE.search(answer.data)
    error = {"Code": code[1].decode() if code else str(answer.status), "Message": ""}
    return ClientError({"Error": error, "ResponseMetadata": {"HTTPStatusCode": answer.status}}, "PutObject")
