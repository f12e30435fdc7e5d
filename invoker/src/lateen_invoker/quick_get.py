"""The short way to an object, where no SDK is needed for it: one signed GET with keys that lie there in plain sight.

AWS's SDK takes a third of a second of processor time to import, more than everything else that a pod does to get ready.
Where an endpoint is named, buckets are part of the path and the keys are plain (an S3 server of one's own), a GET takes
a page of code. Whatever is not as plain as that (roles, profiles, proxies), or not answered with 200, is left to the
SDK: so this decides nothing, and says nothing of what went wrong. Who asks checks what came by its SHA-256.

Source: AWS Signature Version 4, "Create a signed AWS API request", with the exceptions for S3.
"""

import configparser
import hashlib
import hmac
import http.client
import os
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import quote, urlsplit

TIMEOUT_S = 3.0
CONNECT_S = (0.1,) * 10 + (0.5,) * 4
"""For each attempt. What a pod sends is dropped until the cluster's network has heard of the pod, and TCP by itself
asks again only after a second."""
_CHUNK = 1024 * 1024
_EMPTY = hashlib.sha256(b"").hexdigest()
# Any of these, and there is more to know than we do.
_NOT_PLAIN = (
    "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_CONFIG_FILE", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_USE_DUALSTACK_ENDPOINT", "AWS_USE_FIPS_ENDPOINT", "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy",
    "ALL_PROXY", "all_proxy", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
)  # fmt: skip


class NotPlain(Exception):
    """It takes the SDK."""


class Keys(NamedTuple):
    access_key: str
    secret_key: str
    token: str = ""


def quick_get(env: Mapping[str, str], bucket: str, key: str) -> Iterator[bytes]:
    """The object in chunks. Raises: `NotPlain`, whatever it is that doesn't work out; also after some chunks."""
    endpoint = env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL") or ""
    region = env.get("AWS_DEFAULT_REGION") or env.get("AWS_REGION") or ""
    if not endpoint or not region or not is_path_style(env) or any(env.get(name) for name in _NOT_PLAIN):
        raise NotPlain
    keys = plain_keys(env)
    parts = urlsplit(endpoint)
    path = f"{parts.path.rstrip('/')}/{quote(f'{bucket}/{key}', safe='/-_.~')}"
    try:
        connection = _connection(parts.scheme, parts.hostname or "", parts.port, env)
        try:
            _connect(connection)
            headers = signed_headers(keys, region, host=_host(connection), path=path, now_s=time.time())
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            if response.status != 200:
                raise NotPlain
            expected = int(response.headers["content-length"])
            while chunk := response.read(_CHUNK):
                expected -= len(chunk)
                yield chunk
            if expected:
                raise NotPlain
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError, TypeError):
        raise NotPlain from None


def is_path_style(env: Mapping[str, str]) -> bool:
    """Whether buckets are part of the path and not of the host's name."""
    return env.get("LATEEN_S3_PATH_STYLE", "").lower() in {"1", "true", "yes", "on"}


def plain_keys(env: Mapping[str, str]) -> Keys:
    """Of the environment, else of a credentials file's default section. Raises: `NotPlain`."""
    access_key, secret_key = env.get("AWS_ACCESS_KEY_ID"), env.get("AWS_SECRET_ACCESS_KEY")
    if access_key and secret_key:
        return Keys(access_key, secret_key, env.get("AWS_SESSION_TOKEN") or env.get("AWS_SECURITY_TOKEN") or "")
    path = env.get("AWS_SHARED_CREDENTIALS_FILE")
    if access_key or secret_key or not path or os.path.exists(os.path.expanduser("~/.aws/config")):
        raise NotPlain
    parsed = configparser.RawConfigParser()
    try:
        parsed.read(os.path.expanduser(path))
        section = dict(parsed["default"])
    except (configparser.Error, KeyError, ValueError):
        raise NotPlain from None
    if not set(section) <= {"aws_access_key_id", "aws_secret_access_key", "aws_session_token"}:
        raise NotPlain
    try:
        return Keys(
            section["aws_access_key_id"], section["aws_secret_access_key"], section.get("aws_session_token", "")
        )
    except KeyError:
        raise NotPlain from None


def signed_headers(keys: Keys, region: str, *, host: str, path: str, now_s: float) -> dict[str, str]:
    """Of a GET without a query; `path` is as on the request line."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_s))
    headers = {"host": host, "x-amz-content-sha256": _EMPTY, "x-amz-date": stamp}
    if keys.token:
        headers["x-amz-security-token"] = keys.token
    names = ";".join(headers)
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    request = f"GET\n{path}\n\n{lines}\n{names}\n{_EMPTY}"
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    signing_key = f"AWS4{keys.secret_key}".encode()
    for part in scope.split("/"):
        signing_key = hmac.digest(signing_key, part.encode(), "sha256")
    signature = hmac.digest(signing_key, to_sign.encode(), "sha256").hex()
    credential = f"Credential={keys.access_key}/{scope}"
    authorization = f"AWS4-HMAC-SHA256 {credential}, SignedHeaders={names}, Signature={signature}"
    return {**headers, "authorization": authorization}


def _connection(scheme: str, host: str, port: int | None, env: Mapping[str, str]) -> http.client.HTTPConnection:
    if scheme == "http" and host:
        return http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    bundle = env.get("AWS_CA_BUNDLE")
    if scheme != "https" or not host or not bundle:
        raise NotPlain  # the SDK brings the public CAs with it
    import ssl

    context = ssl.create_default_context(cafile=bundle)
    return http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context)


def _connect(connection: http.client.HTTPConnection) -> None:
    """Raises: `NotPlain`, `OSError`."""
    for connection.timeout in CONNECT_S:
        try:
            connection.connect()
        except TimeoutError:
            connection.close()
        else:
            connection.sock.settimeout(TIMEOUT_S)
            return
    raise NotPlain


def _host(connection: http.client.HTTPConnection) -> str:
    host = f"[{connection.host}]" if ":" in connection.host else connection.host
    return host if connection.port == connection.default_port else f"{host}:{connection.port}"
