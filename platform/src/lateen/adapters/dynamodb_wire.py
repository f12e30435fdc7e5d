"""DynamoDB's protocol: JSON over HTTP, signed by AWS's Signature Version 4.

botocore speaks it too, through general machinery that takes two and a half times the processor time; a request of ours
costs several calls. What is seldom asked and hard to get right does come from botocore: credentials and their renewal,
endpoints, certificates, proxies.

Source: AWS, "Create a signed AWS API request"; Amazon DynamoDB Developer Guide, "DynamoDB low-level API".
"""

import hmac
import time
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit
from zlib import crc32

import msgspec
import urllib3
from botocore.exceptions import ClientError, NoCredentialsError, SSLError
from botocore.httpsession import where
from botocore.parsers import ResponseParserError
from botocore.session import Session
from botocore.utils import get_environ_proxies
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ProxyError
from urllib3.exceptions import SSLError as UntrustedError

_CONTENT_TYPE = "application/x-amz-json-1.0"
_DEFAULT_PORTS = {("http", 80), ("https", 443)}

_encoder = msgspec.json.Encoder()  # bytes become base64, as DynamoDB wants them
_decoder = msgspec.json.Decoder(dict[str, Any])


class NotSent(Exception):
    """There was no connection."""


class NotAnswered(Exception):
    """The request went out, at least in part."""


class DynamoWire:
    """For many threads at a time."""

    def __init__(self, client: Any, session: Session) -> None:
        """`client` is botocore's, for what it was configured to; it makes no calls here."""
        config = client.meta.config
        url = urlsplit(client.meta.endpoint_url)
        self._url = url._replace(path=url.path or "/").geturl()
        self._path = url.path or "/"
        has_port = url.port is not None and (url.scheme, url.port) not in _DEFAULT_PORTS
        self._host = f"{url.hostname}:{url.port}" if has_port else str(url.hostname)
        self._region = str(client.meta.region_name)
        self._agent = str(config.user_agent)
        self._credentials = session.get_credentials()
        self._signing: tuple[tuple[str, str], bytes] = (("", ""), b"")
        self._pool = _pool(self._url, config, ca=session.get_config_variable("ca_bundle") or where())

    def call(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """The answer, binaries in it as base64.

        Raises: `ClientError` for DynamoDB's refusals, `NotSent`, `NotAnswered`, `ResponseParserError` for what is no
        answer of DynamoDB's, `SSLError`, and what the renewal of credentials raises.
        """
        body = _encoder.encode(request)
        headers = self._signed(operation, body, time.gmtime())
        try:
            answer = self._pool.urlopen(
                "POST", self._url, body=body, headers=headers, retries=False, redirect=False, decode_content=False
            )
        except (NewConnectionError, ConnectTimeoutError, ProxyError) as exc:
            raise NotSent from exc
        except UntrustedError as exc:
            raise SSLError(endpoint_url=self._url, error=exc) from exc
        except (HTTPError, OSError) as exc:
            raise NotAnswered from exc
        return _read(operation, answer.status, answer.headers, answer.data)

    def close(self) -> None:
        self._pool.clear()

    def _signed(self, operation: str, body: bytes, now: time.struct_time) -> dict[str, str]:
        """All headers of a request."""
        if self._credentials is None:
            raise NoCredentialsError
        frozen = self._credentials.get_frozen_credentials()
        moment = time.strftime("%Y%m%dT%H%M%SZ", now)
        # Sorted by name, as they have to be signed.
        headers = {"content-type": _CONTENT_TYPE, "host": self._host, "x-amz-date": moment}
        if frozen.token:
            headers["x-amz-security-token"] = frozen.token
        headers["x-amz-target"] = f"DynamoDB_20120810.{operation}"
        names = ";".join(headers)
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        canonical = f"POST\n{self._path}\n\n{lines}\n{names}\n{sha256(body).hexdigest()}"
        scope = f"{moment[:8]}/{self._region}/dynamodb/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{sha256(canonical.encode()).hexdigest()}"
        signature = hmac.digest(self._signing_key(frozen.secret_key, moment[:8]), text.encode(), "sha256").hex()
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={frozen.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
        headers["user-agent"] = self._agent
        return headers

    def _signing_key(self, secret: str, day: str) -> bytes:
        """The same for a day."""
        known_for, key = self._signing
        if known_for != (secret, day):
            key = f"AWS4{secret}".encode()
            for part in (day, self._region, "dynamodb", "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._signing = ((secret, day), key)
        return key


def _pool(url: str, config: Any, *, ca: str) -> Any:
    scheme = urlsplit(url).scheme
    settings: dict[str, Any] = {
        "timeout": urllib3.Timeout(connect=config.connect_timeout, read=config.read_timeout),
        "maxsize": config.max_pool_connections,
        "num_pools": 1,
    }
    if scheme == "https":
        settings |= {"cert_reqs": "CERT_REQUIRED", "ca_certs": ca}
    proxy = (config.proxies or get_environ_proxies(url)).get(scheme)
    if not proxy:
        return urllib3.PoolManager(**settings)
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    auth = urllib3.util.parse_url(proxy).auth
    return urllib3.ProxyManager(
        proxy, proxy_headers=urllib3.make_headers(proxy_basic_auth=auth) if auth else None, **settings
    )


def _read(operation: str, status: int, headers: Any, body: bytes) -> dict[str, Any]:
    """Nothing that is cut off or comes from something in between passes for an empty answer: not found, or stored."""
    length, checksum = headers.get("content-length"), headers.get("x-amz-crc32")
    if length is not None and int(length) != len(body):
        raise ResponseParserError("not the whole answer")
    if checksum is not None and int(checksum) != crc32(body):
        raise ResponseParserError("not the answer that was sent")
    is_dynamodb = headers.get("content-type", "").startswith("application/x-amz-json")
    try:
        answer = _decoder.decode(body) if is_dynamodb else {}
    except msgspec.DecodeError as exc:
        raise ResponseParserError("not JSON") from exc
    if status == 200:
        if not is_dynamodb:
            raise ResponseParserError("not an answer of DynamoDB's")
        return answer
    code = str(answer.get("__type", status)).rpartition("#")[2]
    message = str(answer.get("message", answer.get("Message", "")))
    metadata = {"HTTPStatusCode": status}
    raise ClientError({**answer, "Error": {"Code": code, "Message": message}, "ResponseMetadata": metadata}, operation)
