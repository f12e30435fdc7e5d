"""The AWS Lambda Runtime API of one environment, on a port of its own on 127.0.0.1; its extensions' API is there too.

Each environment has its own port, and a connection must come from one of its own processes: loopback is shared, so
the address alone proves nothing. Whatever those send, no more of it is kept than one answer needs. Source: AWS Lambda
Developer Guide, "Using the Lambda runtime API"; refusals as the Lambda runtime interface emulator gives them.
"""

import asyncio
import base64
import binascii
import time
from typing import Any

import httptools

from lateen_invoker.control import Configure
from lateen_invoker.environments import LAST_BREATH_S, Environment
from lateen_invoker.extensions_api import HEADERS, PATHS, ExtensionCalls
from lateen_invoker.function_url import whole
from lateen_invoker.invocations import ERROR_LIMIT, ERROR_TOO_LARGE, RESPONSE_LIMIT, Invocation
from lateen_invoker.spawner import Process
from lateen_invoker.writes import write_now

_ADDRESS = "127.0.0.1"
# Go's and Node's clients open a few; every process of the machine can open as many as it likes.
CONNECTIONS_LIMIT = 64
_INVOCATION = "/2018-06-01/runtime/invocation/"
# Of one request; the X-Ray cause header alone may have 1 MB.
_HEAD_LIMIT = ERROR_LIMIT + 64 * 1024
# What is read at once at most.
_READ = 256 * 1024
# Of all requests of an environment that have not ended: the largest there can be, and room for others.
_HELD_LIMIT = RESPONSE_LIMIT + 2 * (_HEAD_LIMIT + _READ)
# One that holds less is not what makes them too many.
_SMALL = 32 * 1024
_REASONS = {
    200: "OK", 202: "Accepted", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
    413: "Request Entity Too Large",
}  # fmt: skip
_ACCEPTED = b'HTTP/1.1 202 Accepted\r\ncontent-type: application/json\r\ncontent-length: 15\r\n\r\n{"status":"OK"}'
_MODE = b"lambda-runtime-function-response-mode"
_WANTED = frozenset(
    {
        b"content-length", b"content-type", b"expect", b"lambda-runtime-function-error-body",
        b"lambda-runtime-function-error-type", b"transfer-encoding", b"upgrade", _MODE,
    }
    | HEADERS
)  # fmt: skip
_TRUNCATED = b'{"errorType":"Runtime.TruncatedResponse","errorMessage":"The response has no end"}'
_STATUS = {"InvalidRequestID": 400, "InvalidStateTransition": 403, "RequestEntityTooLarge": 413}
_MESSAGES = {
    "InvalidRequestID": "Invalid request ID",
    "InvalidStateTransition": "Transition is not allowed",
    "RequestEntityTooLarge": f"Exceeded maximum allowed payload size ({RESPONSE_LIMIT} bytes).",
}


class RuntimeApi:
    """A listening Runtime API. `address` is `host:port`, as `AWS_LAMBDA_RUNTIME_API` wants it."""

    def __init__(self, server: asyncio.Server, connections: "set[_Connection]") -> None:
        self._server = server
        self._connections = connections
        host, port = server.sockets[0].getsockname()[:2]
        self.address = f"{host}:{port}"

    def close(self) -> None:
        self._server.close()
        for connection in list(self._connections):
            connection.abort()


async def serve_runtime_api(environment: Environment, configure: Configure) -> RuntimeApi:
    """Listen for the one environment. The caller closes it."""
    loop = asyncio.get_running_loop()
    connections: set[_Connection] = set()
    server = await loop.create_server(lambda: _Connection(environment, configure, connections), _ADDRESS, 0)
    return RuntimeApi(server, connections)


class _Connection(asyncio.Protocol):
    def __init__(self, environment: Environment, configure: Configure, connections: "set[_Connection]") -> None:
        self._environment = environment
        self._configure = configure
        self._extensions: ExtensionCalls | None = None
        self._connections = connections
        self._held = 0
        """Bytes of a request that has not ended."""
        self._loop = asyncio.get_running_loop()
        self._parser: Any = httptools.HttpRequestParser(self)
        self._transport: Any = None
        self._fd = -1
        self._url = b""
        self._headers: dict[bytes, str] = {}
        self._header_bytes = 0
        self._without_body = 0
        """Bytes of the latest reads that ended within a request and brought nothing of its body: of a line that has not
        ended the parser says nothing, and keeps it."""
        self._body = bytearray()
        self._too_large = False
        self._is_full = False
        """The client takes no more at the moment."""
        self._streamed = ""
        self._sending: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._fd = transport.get_extra_info("socket").fileno()
        if len(self._connections) >= CONNECTIONS_LIMIT:
            self._transport.abort()
            return
        self._connections.add(self)
        self._transport.pause_reading()
        self._environment.when_attached(self._admit)

    def _admit(self, process: Process) -> None:
        if self._transport.is_closing():
            return
        peer, peer_port = self._transport.get_extra_info("peername")
        own_port = self._transport.get_extra_info("sockname")[1]
        # With 127.0.0.2 for an address, a stranger can have the port that an environment's connection has.
        if peer == _ADDRESS and process.owns_connection(peer_port, own_port):
            self._transport.resume_reading()
        else:
            self._refuse(403, "Forbidden", "The connection does not come from this environment")
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._parser = None  # it knows us too, and a circle would keep both, and the last body, for a long time
        if self._sending is not None:
            self._environment.gave_up_next(self._sending)
        if self._extensions is not None:
            self._extensions.connection_lost()
            self._extensions = None
        if self._streamed:
            # Most likely its process is ending, and then that is what its caller is told.
            self._loop.call_later(LAST_BREATH_S, self._truncated, self._streamed)

    def _truncated(self, request_id: str) -> None:
        self._environment.said_error(request_id, "Runtime.TruncatedResponse", _TRUNCATED)

    def abort(self) -> None:
        self._held = 0
        self._transport.abort()

    def pause_writing(self) -> None:
        # Who does not read its answers asks for no more of them.
        self._is_full = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._is_full = False
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self._transport.is_closing():
            return
        try:
            while True:
                try:
                    self._parser.feed_data(data)
                    break
                except httptools.HttpParserUpgrade as offer:
                    if b"upgrade" not in self._headers:  # CONNECT, and it was answered
                        self._transport.close()
                        return
                    data = self._head_without_offer() + data[offer.args[0] :]
                    self._parser = httptools.HttpRequestParser(self)  # the other one may take this for the end
            if self._header_bytes:
                self._not_whole(len(data))
        except httptools.HttpParserError:
            self._refuse(400, "InvalidRequest", "Not HTTP")
            self._transport.close()

    def _head_without_offer(self) -> bytes:
        """The head of a request that offered an upgrade, for which the parser took no body. Nobody has to take it."""
        headers, self._headers = self._headers, {}
        del headers[b"upgrade"]
        lines = [b"%b %b HTTP/1.1" % (self._parser.get_method(), self._url)]
        lines += [b"%b: %b" % (name, value.encode("latin-1")) for name, value in headers.items()]
        return b"\r\n".join([*lines, b"", b""])

    # httptools' callbacks.

    def on_message_begin(self) -> None:
        self._url = b""
        self._header_bytes = 1
        self._without_body = 0
        self._too_large = False
        self._streamed = ""

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        # Trailers come this way too: that is how a stream tells of an error in its middle.
        self._count(len(name) + len(value))
        if (name := name.lower()) in _WANTED:
            self._headers[name] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if b"upgrade" in self._headers and self._parser.should_upgrade():
            return
        if b"expect" in self._headers and self._headers[b"expect"].lower() == "100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._headers.get(_MODE, "").lower() == "streaming" and self._parser.get_method() == b"POST":
            path = self._url.partition(b"?")[0].decode("latin-1")
            request_id, _, what = path.removeprefix(_INVOCATION).partition("/")
            if path.startswith(_INVOCATION) and what == "response" and self._environment.streams(request_id):
                self._streamed = request_id
                self._said_piece(b"")

    def _said_piece(self, piece: bytes) -> None:
        media_type = self._headers.get(b"content-type", "")
        self._environment.said_piece(self._streamed, piece, media_type=media_type, source=self._transport)

    def on_body(self, body: bytes) -> None:
        self._without_body = 0
        if self._streamed:
            self._said_piece(body)
            return
        limit = ERROR_LIMIT if self._url.endswith(b"/error") else RESPONSE_LIMIT
        if self._too_large or len(self._body) + len(body) > limit:
            self._too_large = True
            self._body.clear()
        else:
            self._body += body

    def on_message_complete(self) -> None:
        if b"upgrade" in self._headers and self._parser.should_upgrade():
            return  # it comes again, without that
        self._streamed = ""
        path = self._url.partition(b"?")[0].decode("latin-1")
        method = self._parser.get_method()
        if path.startswith(_INVOCATION):
            self._invocation(method, path[len(_INVOCATION) :])
        elif path == "/2018-06-01/runtime/init/error" and method == b"POST":
            error_type = self._headers.get(b"lambda-runtime-function-error-type", "")
            self._accepted(self._environment.said_init_error(error_type, self._error_document()))
        elif path == "/2018-06-01/ping" and method == b"GET":
            self._respond(200, b"pong", content_type="text/plain")
        elif path.startswith(PATHS):
            if self._extensions is None:
                self._extensions = ExtensionCalls(self._environment, self._configure, self._respond)
            body = b"" if self._too_large else bytes(self._body)
            self._extensions.call(f"{method.decode()} {path}", self._headers, body)
        else:
            self._refuse(404, "NotFound", "No such path")
        self._header_bytes = self._held = 0
        self._headers = {}
        self._body = bytearray()

    def _invocation(self, method: bytes, rest: str) -> None:
        if rest == "next":
            if method != b"GET":
                self._refuse(405, "MethodNotAllowed", "Use GET")
            elif (refusal := self._wait_for_event()) is not None:
                self._accepted(refusal)
            return
        request_id, _, what = rest.partition("/")
        if method != b"POST" or what not in ("response", "error"):
            self._refuse(404, "NotFound", "No such path")
        elif what == "error":
            error_type = self._headers.get(b"lambda-runtime-function-error-type", "")
            self._accepted(self._environment.said_error(request_id, error_type, self._error_document()))
        else:
            self._accepted(self._response(request_id))

    def _wait_for_event(self) -> str | None:
        def send(invocation: Invocation) -> None:
            self._sending = None
            self._send_event(invocation)

        before, self._sending = self._sending, send
        refusal = self._environment.wants_next(send)
        if refusal is not None:
            self._sending = before  # who asks twice still waits once
        return refusal

    def _send_event(self, invocation: Invocation) -> None:
        deadline_ms = int((time.time() + invocation.deadline - time.monotonic()) * 1000)
        head = (
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
            f"lambda-runtime-aws-request-id: {invocation.request_id}\r\n"
            f"lambda-runtime-deadline-ms: {deadline_ms}\r\n"
            f"lambda-runtime-invoked-function-arn: {invocation.arn}\r\n"
            f"lambda-runtime-trace-id: {invocation.trace_id}\r\n"
        )
        if invocation.client_context:
            head += f"lambda-runtime-client-context: {invocation.client_context}\r\n"
        first, *rest = whole(invocation.event, invocation.body)
        head += f"content-length: {len(first) + sum(map(len, rest))}\r\n\r\n"
        write_now(self._transport, self._fd, head.encode("utf-8") + first, *rest)

    def _response(self, request_id: str) -> str | None:
        if self._too_large:
            return self._environment.said_too_much(request_id)
        if (error_type := self._headers.get(b"lambda-runtime-function-error-type")) is not None:
            return self._environment.said_error(request_id, error_type, self._stream_error())
        media_type = self._headers.get(b"content-type", "")
        return self._environment.said_response(request_id, bytes(self._body), media_type=media_type)

    def _stream_error(self) -> bytes:
        given = self._headers.get(b"lambda-runtime-function-error-body", "")
        try:
            return base64.b64decode(given, validate=True)
        except (binascii.Error, ValueError):
            return given.encode("latin-1", "replace")

    def _error_document(self) -> bytes:
        return ERROR_TOO_LARGE if self._too_large else bytes(self._body)

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > _HEAD_LIMIT:
            self.abort()

    def _not_whole(self, read: int) -> None:
        """A request has not come to its end with what was read."""
        self._without_body += read
        self._held = max(self._header_bytes, self._without_body) + len(self._body)
        if self._without_body > _HEAD_LIMIT + _READ:
            self.abort()
        elif self._held > _SMALL and sum(each._held for each in self._connections) > _HELD_LIMIT:
            # A runtime has one answer at a time, so these are none.
            for each in self._connections - {self}:
                if each._held:
                    each.abort()

    def _accepted(self, refusal: str | None) -> None:
        if refusal is None:
            write_now(self._transport, self._fd, _ACCEPTED)
        else:
            self._refuse(_STATUS[refusal], refusal, _MESSAGES[refusal])

    def _refuse(self, status: int, error_type: str, message: str) -> None:
        self._respond(status, f'{{"errorMessage":"{message}","errorType":"{error_type}"}}'.encode())

    def _respond(self, status: int, body: bytes, *, content_type: str = "application/json", further: str = "") -> None:
        """Args:
        further: header lines.
        """
        if self._is_full:  # all of this was sent before reading could stop
            self.abort()
            return
        head = f"HTTP/1.1 {status} {_REASONS[status]}\r\ncontent-type: {content_type}\r\n{further}"
        head += f"content-length: {len(body)}\r\n\r\n"
        write_now(self._transport, self._fd, head.encode() + body)
