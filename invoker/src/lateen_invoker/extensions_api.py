"""What extensions say over HTTP, on the port of their environment's Runtime API.

Source: AWS Lambda Developer Guide, "Extensions API reference", "Telemetry API"; refusals as the Lambda runtime
interface emulator gives them, and as there telemetry is not supported, which its clients are told in an answer of 202.
"""

import json
import uuid
from collections.abc import Mapping
from typing import Any, Protocol

from lateen_invoker.control import Configure
from lateen_invoker.extensions import Event, Extension, Extensions, Refused

_BODY_LIMIT = 64 * 1024
PATHS = ("/2020-01-01/extension/", "/2022-07-01/telemetry", "/2020-08-15/logs")
_NAME, _IDENTIFIER = b"lambda-extension-name", b"lambda-extension-identifier"
_ERROR_TYPE, _FEATURES = b"lambda-extension-function-error-type", b"lambda-extension-accept-feature"
HEADERS = frozenset({_NAME, _IDENTIFIER, _ERROR_TYPE, _FEATURES})
_UNSUPPORTED = {
    "PUT /2022-07-01/telemetry": ("Telemetry.NotSupported", "Telemetry API is not supported"),
    "PUT /2020-08-15/logs": ("Logs.NotSupported", "Logs API is not supported"),
}


class Environment(Protocol):
    """The environment that the connection comes from."""

    extensions: Extensions | None

    def registry(self) -> Extensions | None:
        """Where extensions register; None: that is over, and none has."""


class Respond(Protocol):
    def __call__(self, status: int, body: bytes, *, further: str = "") -> None:
        """Args:
        further: header lines.
        """


class ExtensionCalls:
    """What comes over one connection."""

    def __init__(self, environment: Environment, configure: Configure, respond: Respond) -> None:
        self._environment = environment
        self._configure = configure
        self._respond = respond
        self._waiting: Extension | None = None

    def call(self, request: str, headers: Mapping[bytes, str], body: bytes) -> None:
        """Args:
        request: method and path.
        headers: those of `HEADERS` that were sent.
        """
        try:
            if request == "POST /2020-01-01/extension/register":
                self._register(headers, body)
            elif request == "GET /2020-01-01/extension/event/next":
                extension = self._known(headers)
                assert self._environment.extensions is not None
                before, self._waiting = self._waiting, extension
                try:
                    self._environment.extensions.wants_next(extension, self._give)
                except Refused:
                    self._waiting = before
                    raise
            elif request in ("POST /2020-01-01/extension/init/error", "POST /2020-01-01/extension/exit/error"):
                self._failed(headers, during=request.split("/")[3])
            elif (unsupported := _UNSUPPORTED.get(request)) is not None:
                self._say(202, *unsupported)
            else:
                self._say(404, "NotFound", "No such path")
        except Refused as exc:
            self._say(403, exc.error_type, str(exc))

    def connection_lost(self) -> None:
        if self._waiting is not None and self._environment.extensions is not None:
            self._environment.extensions.gave_up_next(self._waiting, self._give)

    def _register(self, headers: Mapping[bytes, str], body: bytes) -> None:
        name = headers.get(_NAME, "")
        if not name:
            raise Refused("Extension.InvalidExtensionName", "Empty extension name")
        events = _events_in(body)
        registry = self._environment.registry()
        if registry is None:
            raise Refused("Extension.RegistrationClosed", "Extension registration closed already")
        extension = registry.register(name, events)
        configure = self._configure
        told = {
            "functionName": configure.function_name,
            "functionVersion": configure.version,
            "handler": configure.handler,
        }
        if "accountId" in [feature.strip() for feature in headers.get(_FEATURES, "").split(",")]:
            told["accountId"] = configure.account_id
        self._respond(
            200, json.dumps(told).encode(), further=f"lambda-extension-identifier: {extension.identifier}\r\n"
        )

    def _give(self, event: Event) -> None:
        self._waiting = None
        self._respond(200, json.dumps(event).encode(), further=f"lambda-extension-event-identifier: {uuid.uuid4()}\r\n")

    def _failed(self, headers: Mapping[bytes, str], *, during: str) -> None:
        extension = self._known(headers)
        if not headers.get(_ERROR_TYPE):
            raise Refused("Extension.MissingHeader", "Lambda-Extension-Function-Error-Type not found")
        assert self._environment.extensions is not None
        self._environment.extensions.failed(extension, during)
        self._respond(202, b'{"status":"OK"}')

    def _known(self, headers: Mapping[bytes, str]) -> Extension:
        given = headers.get(_IDENTIFIER, "")
        if not given:
            raise Refused("Extension.MissingExtensionIdentifier", "Missing Lambda-Extension-Identifier header")
        try:
            identifier = str(uuid.UUID(given))
        except ValueError:
            raise Refused("Extension.InvalidExtensionIdentifier", "Invalid Lambda-Extension-Identifier") from None
        if self._environment.extensions is None:
            raise Refused("Extension.UnknownExtensionIdentifier", f"Unknown extension {identifier}")
        return self._environment.extensions.known(identifier)

    def _say(self, status: int, error_type: str, message: str) -> None:
        self._respond(status, json.dumps({"errorMessage": message, "errorType": error_type}).encode())


def _events_in(body: bytes) -> list[str]:
    """Raises: `Refused`."""
    if len(body) > _BODY_LIMIT:
        raise Refused("InvalidRequestFormat", "too long")
    try:
        parsed: Any = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise Refused("InvalidRequestFormat", f"not JSON: {type(exc).__name__}") from None
    events = parsed.get("events") if isinstance(parsed, dict) else ""
    if events is None:
        events = []
    if not isinstance(events, list) or not all(isinstance(event, str) for event in events):
        raise Refused("InvalidRequestFormat", "events is not a list of names")
    if parsed.get("configurationKeys"):
        raise Refused("InvalidRequestFormat", "configurationKeys are deprecated; use environment variables instead")
    return events
