"""Who a call comes from, where a proxy of ours stands in between: an ingress controller, a load balancer.

`X-Forwarded-For` grows at its end, and anybody may send one that has a beginning already. So it is read from its end,
for as long as those who wrote it are trusted; what is left of the caller's address was said by the caller and stays in
the header. Without a trusted peer the headers mean nothing here, and go on as they came.
"""

import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import NamedTuple

from lateen.gateway.heads import Header

FOR, PROTO, PORT = b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-port"
# No part that could match in several ways: a long line of blanks would keep all other callers waiting.
_LINE = re.compile(rb"(?i)\r\nx-forwarded-(for|proto|port):([^\r\n]*)")
_LIMIT = 1024
"""Peers that are remembered."""
_HOPS = 32


class Source(NamedTuple):
    """What the invoker is told of the caller."""

    address: str
    scheme: str
    port: int
    chain: bytes
    """What stays in `X-Forwarded-For`."""


class Proxies:
    def __init__(self, networks: Iterable[str]) -> None:
        """Raises: `ValueError` for what is no network."""
        self._networks = [ip_network(text) for text in networks]
        self._known: dict[str, bool] = {}

    def __bool__(self) -> bool:
        return bool(self._networks)

    def trust(self, address: str) -> bool:
        """Whether this peer's word is taken."""
        found = self._known.get(address)
        if found is None:
            if len(self._known) >= _LIMIT:
                self._known.clear()
            found = self._known[address] = _is_in(address, self._networks)
        return found

    def source(self, peer: str, forwarded: Iterable[Header]) -> Source:
        """Args:
        peer: one that is trusted.
        forwarded: the headers `FOR`, `PROTO` and `PORT`, in order.
        """
        hops: list[str] = []
        scheme, port = "http", 0
        for name, value in forwarded:
            text = value.decode("latin-1").strip(" \t")
            if name == FOR:
                hops += text.split(",")
            elif name == PROTO:
                scheme = "https" if text.rpartition(",")[2].strip().lower() == "https" else "http"
            elif text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65_536:
                port = int(text)
        caller = peer
        for _ in range(_HOPS):
            if not hops:
                break
            if (address := _address(hops[-1])) is None:
                break
            caller = address
            hops.pop()
            if not self.trust(caller):
                break
        chain = ",".join(hops).strip().encode("latin-1")
        return Source(caller, scheme, port or (443 if scheme == "https" else 80), chain)

    def plain_source(self, peer: str, request: bytes) -> tuple[Source, bytes]:
        """As `source`, of a request that is whole and plain (`short_way.plain_target`). Returns: the request too, with
        the chain that stays."""
        end = request.index(b"\r\n\r\n") + 2
        found = _LINE.findall(request, 0, end)
        source = self.source(peer, [(b"x-forwarded-" + name.lower(), value) for name, value in found])
        head = _LINE.sub(b"", request[:end])
        if source.chain:
            head += b"x-forwarded-for: %b\r\n" % source.chain
        return source, head + request[end:]


def plain_address(address: str) -> str:
    """An IPv4 caller of an IPv6 socket by the address that it knows itself by."""
    return address.removeprefix("::ffff:") if address.startswith("::ffff:") and "." in address else address


def _is_in(address: str, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in networks)


def _address(text: str) -> str | None:
    """Without a port, which some proxies write too."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ip_address(plain_address(text)))
    except ValueError:
        return None
