"""What the invoker's port serves: `/{hash}`, the platform's raw invoke, metrics, and in a pod its state.

What may reach a function unsigned is its own URL, where that is open; the rest needs the platform's signature
(`signing.py`).
"""

import base64
import binascii
import json
import time
from collections.abc import Callable
from functools import lru_cache, partial
from ipaddress import ip_address

from lateen_invoker import cors, function_url, signing, urls
from lateen_invoker.control import Configure
from lateen_invoker.function_url import InvalidAnswer
from lateen_invoker.http_port import JSON, REFUSED, Request
from lateen_invoker.ids import new_request_id, new_trace_id
from lateen_invoker.invocations import Invocation, Outcome
from lateen_invoker.log_text import log_text
from lateen_invoker.metrics import Metrics
from lateen_invoker.pool import Pool
from lateen_invoker.shares import AskedShares
from lateen_invoker.streams import EventStream, UrlStream
from lateen_invoker.urls import PLAIN, Signer, UrlSettings

SIGNED_LIMIT = 1000
METRICS = b"content-type: text/plain; version=0.0.4\r\n"
TRACE_ID_LIMIT = 1024
CLIENT_CONTEXT_LIMIT = 3583
_PLATFORM_HEADERS = (signing.SIGNATURE, signing.SOURCE, signing.REQUEST_ID)


class Front:
    """Everything the port serves for one function version; requests are `Call`s."""

    def __init__(self, configure: Configure, pool: Pool, metrics: Metrics) -> None:
        self.configure = configure
        self.pool = pool
        self.metrics = metrics
        self.prefix = f"/{configure.hash}"
        self.state: Callable[[], bytes] | None = None
        """In a pod: the JSON document that the controller asks for."""
        self.shares: AskedShares | None = None
        """In a pod: whoever shares out the function's reserved concurrency asks it."""
        self.is_behind_ingress = False
        """What comes unsigned was sent on by an ingress controller, which says for whom."""
        self.url = None if configure.url == PLAIN else configure.url
        """Where it is not an ordinary one."""
        self.arn = f"{pool.arn}:{configure.version}" if configure.version != "$LATEST" else pool.arn
        self._signed: set[tuple[str, ...]] = set()
        self._signed_at_s = 0

    def is_signed(self, method: str, target: str, headers: dict[str, str]) -> bool:
        """Whether the platform signed it. It signs equal calls within a second once, and they are checked once."""
        now_s = time.time()
        if int(now_s) != self._signed_at_s:
            self._signed_at_s = int(now_s)
            self._signed.clear()
        signature, source = headers.get(signing.SIGNATURE, ""), headers.get(signing.SOURCE, "")
        request_id = headers.get(signing.REQUEST_ID, "")
        call = (signature, method, target, source, request_id)
        if call in self._signed:
            return True
        is_signed = signing.is_signed(
            self.configure.invoke_key,
            signature,
            method=method,
            target=target,
            source=source,
            request_id=request_id,
            now_s=now_s,
        )
        if is_signed and len(self._signed) < SIGNED_LIMIT:
            self._signed.add(call)
        return is_signed


class Call(Request):
    """A request on its way to the function and back."""

    __slots__ = ()

    def start(self) -> None:
        front: Front | None = self.connection.port.front
        if front is None:
            self.say(503, "Service Unavailable")
            return
        path, _, query = self.target.partition("?")
        if path.startswith(front.prefix) and (len(path) == 33 or path[33] == "/"):
            self._call_url(front, path[33:] or "/", query)
        elif path == "/_lateen/invoke":
            self._invoke(front, query)
        elif path == "/_lateen/stream":
            self._invoke(front, query, streams=True)
        elif path == "/metrics":
            if self._is_signed(front):
                self.connection.respond(self, 200, METRICS, front.metrics.text())
            else:
                self.say(403, "Forbidden")
        elif path == "/_lateen/state" and front.state is not None:
            if self._is_signed(front):
                self.connection.respond(self, 200, JSON, front.state())
            else:
                self.say(403, "Forbidden")
        elif path == "/_lateen/share" and front.shares is not None:
            if self._is_signed(front):
                front.shares.ask(self, query)
            else:
                self.say(403, "Forbidden")
        elif signing.SIGNATURE in self.headers and path[33:34] in ("", "/") and _is_hash(path[1:33]):
            # Another path of ours: an alias that leads to this version. Nobody else can sign a call to it.
            self._call_url(front, path[33:] or "/", query, path[1:33])
        else:
            self.say(404, "Not Found")

    def _call_url(self, front: Front, path: str, query: str, alias_hash: str = "") -> None:
        headers = self.headers
        now_s = time.time()
        peer, protocol, port = self.connection.peer, "http", ""
        request_id, arn = "", front.arn
        url: UrlSettings | None = front.url
        signer: Signer | None = None
        if signing.SIGNATURE in headers:
            if not self._is_signed(front):
                self.say(403, "Forbidden")
                return
            source = headers[signing.SOURCE].split(" ") if headers.get(signing.SOURCE) else []
            if len(source) == 3:
                peer, protocol, port = source
            elif len(source) > 3:
                said = urls.decoded(source[4] if len(source) > 4 else "")
                signer = said.signer
                if source[3]:
                    arn = f"{front.pool.arn}:{source[3]}"
                    url = None if said.url == PLAIN else said.url
                if source[0]:
                    peer, protocol, port = source[:3]
            request_id = headers.get(signing.REQUEST_ID, "")
        elif not front.configure.open:
            self.say(403, "Forbidden")
            return
        elif front.is_behind_ingress:
            peer, protocol, port = _forwarded(headers, peer)
        if "service-worker" in headers and self.target[33:34] != "/":
            # Of a script beside the others' addresses a browser would make the master of them all.
            self.say(403, "A service worker's script has to be below the function's URL")
            return
        for name in _PLATFORM_HEADERS:
            headers.pop(name, None)
        allowed: bytes | None = None
        if url is not None and url.cors is not None:
            if cors.is_preflight(self.method, headers):
                self.connection.respond(self, 200, cors.preflight(url.cors, headers), b"", new_request_id())
                return
            allowed = cors.lines_for(url.cors, headers.get("origin"))
        request_id = request_id or new_request_id()
        trace_id = _trace_id(headers, now_s)
        headers["x-amzn-trace-id"] = trace_id
        forwarded = headers.get("x-forwarded-for")
        headers["x-forwarded-for"] = f"{forwarded},{peer}" if forwarded else peer
        headers["x-forwarded-proto"] = protocol
        headers["x-forwarded-port"] = port or _port_of(headers.get("host", ""), protocol)
        if headers.get("x-forwarded-prefix") != "/":  # a proxy that gives the function a host of its own
            headers["x-forwarded-prefix"] = f"/{alias_hash}" if alias_hash else front.prefix
        try:
            event, body = function_url.event_for(
                method=self.method, path=path, query=query, protocol=f"HTTP/{self.http_version}", headers=headers,
                cookie=self.cookie, body=self.body, source_ip=peer, request_id=request_id,
                function_hash=alias_hash or front.configure.hash, now_s=now_s, signer=signer,
            )  # fmt: skip
        except UnicodeEncodeError:
            self.say(400, "Bad Request")
            return
        invocation = Invocation(event, self._url_done, request_id=request_id, trace_id=trace_id, arn=arn, body=body)
        if url is not None:
            self._answer_as(url, allowed, invocation)
        self._submit(front, invocation)

    def _answer_as(self, url: UrlSettings, allowed: bytes | None, invocation: Invocation) -> None:
        """Args:
        allowed: header lines about CORS; None: they are the function's business.
        """
        invocation.reply = whole = partial(self._url_done, allowed=allowed)
        if url.streams:
            stream = UrlStream(
                self,
                request_id=invocation.request_id,
                whole=whole,
                failed=partial(self._failed, allowed=allowed),
                head=partial(self._head, allowed=allowed),
            )
            invocation.stream, invocation.reply = stream, stream.done

    def _invoke(self, front: Front, query: str, *, streams: bool = False) -> None:
        """Args:
        query: `qualifier=` and by what the version was addressed; or nothing.
        streams: the answer is AWS's event stream.
        """
        headers = self.headers
        if not self._is_signed(front):
            self.say(403, "Forbidden")
        elif self.method != "POST":
            self.say(405, "Method Not Allowed")
        else:
            request_id = headers.get(signing.REQUEST_ID) or new_request_id()
            trace_id = _trace_id(headers, time.time())
            qualifier = query.removeprefix("qualifier=")
            arn = f"{front.pool.arn}:{qualifier}" if qualifier else front.arn
            invocation = Invocation(
                self.body or b"{}", self._invoke_done, request_id=request_id, trace_id=trace_id, arn=arn
            )
            invocation.wants_log = headers.get("x-amz-log-type", "").lower() == "tail"
            try:
                invocation.client_context = _client_context(headers.get("x-amz-client-context", ""))
            except ValueError:
                self.say(400, "X-Amz-Client-Context is not Base64 of a JSON object")
                return
            if streams:
                stream = EventStream(
                    self,
                    request_id=request_id,
                    head=_executed(front),
                    refused=self._invoke_done,
                    log_of=lambda done: _log_tail(done, front),
                )
                invocation.stream, invocation.reply = stream, stream.done
            self._submit(front, invocation)

    def _submit(self, front: Front, invocation: Invocation) -> None:
        self.invocation = invocation
        self.body = b""
        if self.connection.held:
            invocation.taken = self.connection.release
        front.pool.submit(invocation)

    def _url_done(self, invocation: Invocation, outcome: Outcome, *, allowed: bytes | None = None) -> None:
        request_id = invocation.request_id
        if outcome.kind == "answer":
            try:
                answer = (
                    function_url.with_prelude(outcome.body)
                    if outcome.prelude
                    else function_url.response_from(outcome.body)
                )
            except InvalidAnswer as exc:
                invocation.log += f"[ERROR] The answer can't be sent: {exc}\n".encode()
                self._failed(request_id, "InvalidAnswer", allowed=allowed)
                return
            self.connection.respond(self, answer.status, self._head(answer.head, allowed), answer.body, request_id)
        elif outcome.kind == "refused":
            self.connection.respond(self, outcome.status, REFUSED + (allowed or b""), outcome.body, request_id)
        else:
            self._failed(request_id, outcome.error_type, allowed=allowed)

    def _head(self, head: bytes, allowed: bytes | None) -> bytes:
        if b"location: " in head:
            prefix = self.headers["x-forwarded-prefix"].rstrip("/")
            head = function_url.located(head, prefix, self.headers.get("host", ""))
        return head if allowed is None else cors.with_lines(head, allowed)

    def _failed(self, request_id: str, error_type: str, *, allowed: bytes | None = None) -> None:
        # Never the function's message: it may hold what its callers must not see, and is in the log.
        document = {"message": "Internal Server Error", "errorType": error_type, "requestId": request_id}
        self.connection.respond(self, 502, JSON + (allowed or b""), json.dumps(document).encode(), request_id)

    def _invoke_done(self, invocation: Invocation, outcome: Outcome) -> None:
        head = REFUSED if outcome.kind == "refused" else JSON
        if outcome.kind != "refused":
            front = self.connection.port.front
            assert front is not None
            head += _executed(front)
            if outcome.kind == "error":
                head += b"x-amz-function-error: Unhandled\r\n"
            if invocation.wants_log:
                head += b"x-amz-log-result: %b\r\n" % base64.b64encode(_log_tail(invocation, front))
        self.connection.respond(self, outcome.status, head, outcome.body, invocation.request_id)

    def _is_signed(self, front: Front) -> bool:
        return front.is_signed(self.method, self.target, self.headers)


def _executed(front: Front) -> bytes:
    return b"x-amz-executed-version: %b\r\n" % front.configure.version.encode()


def _log_tail(invocation: Invocation, front: Front) -> bytes:
    return log_text(invocation, front.configure).encode("utf-8", "replace")[-4096:]


def _is_hash(text: str) -> bool:
    return len(text) == 32 and not text.strip("0123456789abcdef")


def _forwarded(headers: dict[str, str], peer: str) -> tuple[str, str, str]:
    """The caller's address, protocol and port, as the ingress controller in front of us saw them.

    What it was told itself by the caller stays in the header, where it may be believed or not.
    """
    chain, _, caller = headers.pop("x-forwarded-for", "").rpartition(",")
    if chain:
        headers["x-forwarded-for"] = chain
    caller = _address(caller.strip()) or peer
    protocol = "https" if headers.get("x-forwarded-proto", "").lower() == "https" else "http"
    port = headers.get("x-forwarded-port", "")
    return caller, protocol, port if port.isascii() and port.isdigit() and len(port) <= 5 else ""


def _port_of(host: str, protocol: str) -> str:
    """The one that a `Host` header names, or the protocol's own."""
    port = host.rpartition(":")[2]
    return port if port != host and port.isascii() and port.isdigit() else "443" if protocol == "https" else "80"


@lru_cache(maxsize=1024)
def _address(text: str) -> str:
    """In the usual notation; empty: it is none. Callers come back, and to read one takes longer than all else here."""
    try:
        return str(ip_address(text))
    except ValueError:
        return ""


def _trace_id(headers: dict[str, str], now_s: float) -> str:
    given = headers.get("x-amzn-trace-id")
    return given if given is not None and 0 < len(given) <= TRACE_ID_LIMIT else new_trace_id(now_s)


def _client_context(given: str) -> str:
    """The JSON that a caller's client context stands for, on one line; empty for none. Raises: `ValueError`."""
    if not given:
        return ""
    if len(given) > CLIENT_CONTEXT_LIMIT:
        raise ValueError("too long")
    try:
        parsed = json.loads(base64.b64decode(given, validate=True))
    except (binascii.Error, RecursionError) as exc:
        raise ValueError("not Base64 of JSON") from exc
    if not isinstance(parsed, dict):
        raise ValueError("not an object")
    return json.dumps(parsed)
