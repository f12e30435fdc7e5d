"""Which web pages may speak to the management API, and by which names it may be addressed.

A local Lateen is within reach of every page in the browser of the person who runs it. So its name must be one of ours
(a page whose own name was made to point at 127.0.0.1 sends that name), and a page's origin must be this one or one
that `CORS_ORIGINS` names. `/{hash}` and health are for everybody and not asked about.
"""

import re
from collections.abc import Iterable

from lateen.api.problems import Refusal

Headers = list[tuple[bytes, bytes]]

LOCAL = frozenset({"localhost", "127.0.0.1", "[::1]"})
METHODS = "GET, HEAD, POST, PATCH, DELETE, OPTIONS"
ALLOWED = "Authorization, Content-Type, Idempotency-Key, If-Match, X-Request-Id"
EXPOSED = "ETag, Location, Retry-After, X-Request-Id, X-Lateen-Function-Error"
PREFLIGHT_AGE_S = 600

_HOST = re.compile(r"^(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?\Z")


class Origins:
    def __init__(self, *, hosts: Iterable[str], cors_origins: Iterable[str]) -> None:
        self._hosts = LOCAL | {host.lower() for host in hosts}
        self._origins = frozenset(cors_origins)

    def check(self, headers: Headers) -> Headers:
        """The headers that the answer needs because of the page that asks. Raises: `Refusal`."""
        hosts = [value.decode("latin-1").lower() for name, value in headers if name == b"host"]
        origins = [value.decode("latin-1").lower() for name, value in headers if name == b"origin"]
        host = hosts[0] if len(hosts) == 1 else ""
        found = _HOST.match(host)
        if found is None or not (found[1] in self._hosts or "*" in self._hosts):
            raise Refusal("misdirected", "this host name is not one of Lateen's; LATEEN_HOSTS adds further ones")
        if not origins:
            return []
        if len(origins) > 1 or not self._may_ask(origins[0], host):
            raise Refusal("forbidden", "pages of this origin may not call Lateen; CORS_ORIGINS adds further ones")
        if not self._is_listed(origins[0]):
            return []
        allowed = b"*" if "*" in self._origins else origins[0].encode("latin-1")
        return [
            (b"access-control-allow-origin", allowed),
            (b"access-control-expose-headers", EXPOSED.encode()),
            (b"vary", b"Origin"),
        ]

    def _is_listed(self, origin: str) -> bool:
        return "*" in self._origins or origin in self._origins

    def _may_ask(self, origin: str, host: str) -> bool:
        return self._is_listed(origin) or origin in {f"http://{host}", f"https://{host}"}


def is_preflight(method: str, headers: Headers) -> bool:
    names = {name for name, _ in headers}
    return method == "OPTIONS" and b"origin" in names and b"access-control-request-method" in names


def preflight_headers() -> Headers:
    """Beside those of `check`."""
    return [
        (b"access-control-allow-methods", METHODS.encode()),
        (b"access-control-allow-headers", ALLOWED.encode()),
        (b"access-control-max-age", str(PREFLIGHT_AGE_S).encode()),
    ]
