"""The short way of an ordinary call: from the caller's socket to the invoker's and back, without a server in between.

Taken by a request that arrived in one read, is as plain as can be, and asks an open function that is awake, over a
connection that is there. It goes on as it came, with our headers put in; an answer that arrives in one read goes back
as it came. Whatever is not so plain takes the long way (`gateway.py`), also in the middle: what cannot be answered here
is handed over with its connection. This saves about half of what the platform spends on a call.
"""

import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

from lateen.gateway.connecting import may_go_elsewhere
from lateen.gateway.connections import Connection
from lateen.gateway.heads import REFUSED
from lateen.gateway.proxies import Proxies
from lateen.gateway.refusals import Receive, Send
from lateen.ports.deployer import Deployment

if TYPE_CHECKING:
    from lateen.gateway.gateway import Gateway, Signed

HEAD_LIMIT = 8 * 1024
HEAD_FIELDS = 100
_METHOD_LENGTH = 9
_HASH_LENGTH = 32
_AFTER_HASH = (b"", b"/", b"?")
# Names by the letter, one colon after each, values without control characters: what every parser reads in one way.
_HEAD = re.compile(
    rb"(GET|POST|PUT|PATCH|DELETE|OPTIONS) (/[!\"$-~]*) HTTP/1\.1\r\n"
    rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*\r\n)+\r\n"
)
_NOT_PLAIN = tuple(
    b"\r\n" + name
    for name in (
        b"connection:", b"expect:", b"keep-alive:", b"proxy-", b"te:", b"trailer:", b"transfer-encoding:", b"upgrade:",
        b"x-lateen-",
    )
)  # fmt: skip
_HOST, _LENGTH = b"\r\nhost:", b"\r\ncontent-length:"
# As invokers write them.
_ANSWER_LENGTH = b"\r\ncontent-length: "
_ANSWER_NOT_PLAIN = (b"\r\nconnection:", b"\r\ntransfer-encoding:")
_ANSWER_REFUSED = b"\r\n%b:" % REFUSED

Application = Callable[[Any, Receive, Send], Awaitable[None]]


class Caller(Protocol):
    """The server's side of one call; `lateen.http_protocol.LateenProtocol`."""

    client: tuple[str, int] | None
    server: tuple[str, int | None] | None
    scheme: Any
    proxies: Proxies | None
    """Set where the other side is a proxy that is trusted."""

    def answered(self, answer: bytes) -> None:
        """The whole answer, head and body."""

    def hand_over(self, request: bytes, application: Application) -> None:
        """Parse the request after all, and let this application answer it."""


def plain_target(data: bytes) -> tuple[bytes, bytes] | None:
    """Method and target, if the bytes are one whole plain request and nothing else."""
    end = data.find(b"\r\n\r\n", 0, HEAD_LIMIT) + 4
    if end == 3 or (found := _HEAD.fullmatch(data, 0, end)) is None:
        return None
    head = data[:end].lower()
    for name in _NOT_PLAIN:
        if name in head:
            return None
    if head.count(_HOST) != 1 or head.count(b"\n") > HEAD_FIELDS:
        return None
    at = head.find(_LENGTH)
    if at < 0:
        body = 0
    else:
        value_at = at + len(_LENGTH)
        value = head[value_at : head.index(b"\r\n", value_at)].strip(b" \t")
        if not value.isdigit() or len(value) > 8 or head.find(_LENGTH, value_at) >= 0:
            return None
        body = int(value)
    return (found[1], found[2]) if len(data) - end == body else None


def plain_status(data: bytes) -> int | None:
    """The status, if the bytes are one whole plain answer and nothing else."""
    end = data.find(b"\r\n\r\n") + 4
    if end == 3 or not data.startswith(b"HTTP/1.1 "):
        return None
    at = data.find(_ANSWER_LENGTH, 0, end)
    if at < 0:
        return None
    for name in _ANSWER_NOT_PLAIN:
        if data.find(name, 0, end) >= 0:
            return None
    value_at = at + len(_ANSWER_LENGTH)
    value, status = data[value_at : data.index(b"\r\n", value_at)], data[9:12]
    if not value.isdigit() or not status.isdigit() or data.find(_ANSWER_LENGTH, value_at, end) >= 0:
        return None
    return int(status) if len(data) - end == int(value) and b"200" <= status < b"600" else None


class Call:
    """One call on the short way."""

    __slots__ = ("_caller", "_connection", "_deployment", "_gateway", "_request")

    def __init__(
        self, gateway: "Gateway", caller: Caller, request: bytes, deployment: Deployment, connection: Connection
    ) -> None:
        self._gateway = gateway
        self._caller = caller
        self._request = request
        self._deployment = deployment
        self._connection = connection

    def received(self, data: bytes) -> bool:
        """The first bytes of the answer. False: they are not all of it; the connection parses them, then `go_on`."""
        status = plain_status(data)
        if status is None or ((status == 429 or status == 503) and _ANSWER_REFUSED in data):
            return False
        self._gateway.answered(self._connection, status)
        self._caller.answered(data)
        return True

    def go_on(self) -> None:
        """The long way from here: the answer is on its way in parts, or will never come, or is none."""
        if self._connection.has_head and may_go_elsewhere(self._deployment, self._connection):
            self._gateway.abandoned(self._connection)
            self._caller.hand_over(self._request, self._gateway.elsewhere(self._deployment))
        else:
            self._caller.hand_over(self._request, self._gateway.resumed(self._deployment, self._connection))

    def take_the_long_way(self) -> None:
        """Though nothing has been answered: Lateen stops, and only there can a call be waited for and cut."""
        self._connection.call = None
        self.go_on()

    def left(self) -> None:
        """The caller is gone; so is the connection, for its answer is nobody's."""
        self._gateway.abandoned(self._connection)


class ShortWay:
    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway

    def begin(self, caller: Caller, data: bytes) -> Call | None:
        """Send the request on, if it can go this way. `data`: all that was read since the last answer."""
        at = data.find(b" /", 0, _METHOD_LENGTH) + 2
        if at == 1 or (deployment := self._gateway.open_route(data[at : at + _HASH_LENGTH])) is None:
            return None
        if (found := plain_target(data)) is None or found[1][1 + _HASH_LENGTH : 2 + _HASH_LENGTH] not in _AFTER_HASH:
            return None
        if (ready := self._gateway.connection_now(deployment)) is None:
            return None
        endpoint, connection = ready
        method, target = found
        client, server = caller.client, caller.server
        call = Call(self._gateway, caller, data, deployment, connection)
        if caller.proxies is not None and client is not None:
            (address, scheme, port, _), data = caller.proxies.plain_source(client[0], data)
            signed: Signed = (method.decode(), target, address, scheme, port)
        else:
            signed = (method.decode(), target, client and client[0], caller.scheme, server and server[1])
        own = self._gateway.own_lines(endpoint, signed)
        after_line = data.index(b"\n") + 1
        connection.start_call(b"%b%b%b" % (data[:after_line], own, data[after_line:]), call)
        return call
