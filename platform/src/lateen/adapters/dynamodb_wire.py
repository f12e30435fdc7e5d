"""DynamoDB's protocol: JSON over HTTP, signed by AWS's Signature Version 4.

botocore speaks it too, through general machinery that takes two and a half times the processor time; a request of ours
costs several calls.

Source: Amazon DynamoDB Developer Guide, "DynamoDB low-level API".
"""

import time
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit
from zlib import crc32

import msgspec
from botocore.exceptions import ClientError, SSLError
from botocore.parsers import ResponseParserError
from botocore.session import Session
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ProxyError
from urllib3.exceptions import SSLError as UntrustedError

from lateen.adapters.aws_wire import Signer, host_of, pool_for

_CONTENT_TYPE = "application/x-amz-json-1.0"

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
        url = urlsplit(client.meta.endpoint_url)
        self._url = url._replace(path=url.path or "/").geturl()
        self._path = url.path or "/"
        self._host = host_of(url)
        self._agent = str(client.meta.config.user_agent)
        self._signer = Signer(session, service="dynamodb", region=str(client.meta.region_name))
        self._pool = pool_for(self._url, client, session)

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
        headers = {
            "content-type": _CONTENT_TYPE,
            "host": self._host,
            "x-amz-target": f"DynamoDB_20120810.{operation}",
        }
        payload = sha256(body).hexdigest()
        return {
            **self._signer.signed("POST", self._path, headers, payload=payload, now=now),
            "user-agent": self._agent,
        }


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
