"""What requests to AWS's services need that are sent without botocore's machinery: signatures and connections.

What is seldom asked and hard to get right does come from botocore: credentials and their renewal, endpoints,
certificates, proxies.

Source: AWS, "Create a signed AWS API request".
"""

import hmac
import time
from hashlib import sha256
from typing import Any
from urllib.parse import SplitResult, urlsplit

import urllib3
from botocore.exceptions import NoCredentialsError
from botocore.httpsession import where
from botocore.session import Session
from botocore.utils import get_environ_proxies

_DEFAULT_PORTS = {("http", 80), ("https", 443)}


class Signer:
    """AWS's Signature Version 4, with the session's credentials as they are at the moment."""

    def __init__(self, session: Session, *, service: str, region: str) -> None:
        self._service = service
        self._region = region
        self._credentials = session.get_credentials()
        self._signing: tuple[tuple[str, str], bytes] = (("", ""), b"")

    def signed(
        self, method: str, path: str, headers: dict[str, str], *, payload: str, now: time.struct_time
    ) -> dict[str, str]:
        """The headers of a request without a query, the date's, the token's and the signature's among them.

        Args:
            path: as on the request line.
            headers: those that are signed, names in lower case.
            payload: the body's SHA-256, hex.
        Raises: `NoCredentialsError`, and what the renewal of credentials raises.
        """
        if self._credentials is None:
            raise NoCredentialsError
        frozen = self._credentials.get_frozen_credentials()
        moment = time.strftime("%Y%m%dT%H%M%SZ", now)
        headers = {**headers, "x-amz-date": moment}
        if frozen.token:
            headers["x-amz-security-token"] = frozen.token
        headers = dict(sorted(headers.items()))
        names = ";".join(headers)
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        canonical = f"{method}\n{path}\n\n{lines}\n{names}\n{payload}"
        scope = f"{moment[:8]}/{self._region}/{self._service}/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{sha256(canonical.encode()).hexdigest()}"
        signature = hmac.digest(self._key(frozen.secret_key, moment[:8]), text.encode(), "sha256").hex()
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={frozen.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
        return headers

    def _key(self, secret: str, day: str) -> bytes:
        """The same for a day."""
        known_for, key = self._signing
        if known_for != (secret, day):
            key = f"AWS4{secret}".encode()
            for part in (day, self._region, self._service, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._signing = ((secret, day), key)
        return key


def host_of(url: SplitResult) -> str:
    """As in the header of that name."""
    has_port = url.port is not None and (url.scheme, url.port) not in _DEFAULT_PORTS
    return f"{url.hostname}:{url.port}" if has_port else str(url.hostname)


def pool_for(url: str, client: Any, session: Session) -> Any:
    """Connections for many threads, as botocore's client is configured to make them."""
    config, scheme = client.meta.config, urlsplit(url).scheme
    settings: dict[str, Any] = {
        "timeout": urllib3.Timeout(connect=config.connect_timeout, read=config.read_timeout),
        "maxsize": config.max_pool_connections,
        "num_pools": 1,
    }
    if scheme == "https":
        settings |= {
            "cert_reqs": "CERT_REQUIRED",
            "ca_certs": session.get_config_variable("ca_bundle") or where(),
        }
    proxy = (config.proxies or get_environ_proxies(url)).get(scheme)
    if not proxy:
        return urllib3.PoolManager(**settings)
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    auth = urllib3.util.parse_url(proxy).auth
    return urllib3.ProxyManager(
        proxy, proxy_headers=urllib3.make_headers(proxy_basic_auth=auth) if auth else None, **settings
    )
