"""The extensions of one environment: who has registered, whom an event waits for, and how they are told of the end.

External ones are programs that were started before the runtime, which waits until each has registered; internal ones
are parts of the runtime's process. How the connections are answered is `extensions_api.py`'s business.

Source: AWS Lambda Developer Guide, "Using the Lambda Extensions API to create extensions"; refusals, and what is said
of processes that end, as the Lambda runtime interface emulator gives them.
"""

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from lateen_invoker.invocations import Invocation
from lateen_invoker.spawner import Exit, Process, signal_name

INVOKE, SHUTDOWN = "INVOKE", "SHUTDOWN"
MOST = 10
# The end of an environment: for all of it, and of that for its runtime, which is told first.
EXTERNAL_S, INTERNAL_S = 2.0, 0.5
RUNTIME_S = 0.3
# Who has said that it failed ends by itself, or is ended.
FAILED_S = 0.5
_STARTED, _REGISTERED, _READY, _RUNNING, _FAILED, _EXITED = (
    "Started", "Registered", "Ready", "Running", "Failed", "Exited",
)  # fmt: skip
Event = dict[str, Any]
Send = Callable[[Event], None]


class Refused(Exception):
    """What an extension asked for is answered 403."""

    def __init__(self, error_type: str, message: str) -> None:
        super().__init__(message)
        self.error_type = error_type


class Host(Protocol):
    """The environment, as its extensions see it."""

    process: Process | None

    def extensions_ready(self) -> None:
        """The runtime and all who were waited for have asked for the next event."""

    def extension_failed(self, error_type: str, how: str) -> None:
        """The environment can't go on. `how`: for people."""

    def note(self, line: str) -> None:
        """For the function's log."""


class Extension:
    """One of them. `send` of an extension that waits for its next event is called once."""

    def __init__(self, name: str, *, is_external: bool) -> None:
        self.name = name
        self.identifier = str(uuid.uuid4())
        self.is_external = is_external
        self.events: frozenset[str] = frozenset()
        self.state = _STARTED
        self.send: Send | None = None
        self.due: Event | None = None
        """An event that it has not asked for yet."""

    def described(self, error_type: str = "") -> str:
        """A line for the function's log, as AWS writes it."""
        name = "".join(each if each.isprintable() else "?" for each in self.name)
        line = f"EXTENSION\tName: {name}\tState: {self.state}\tEvents: [{','.join(sorted(self.events))}]"
        return f"{line}\tError Type: {error_type}" if error_type else line

    def tell(self, event: Event) -> None:
        self.state = _RUNNING
        if (send := self.send) is not None:
            self.send = None
            send(event)
        else:
            self.due = event


class Extensions:
    """See the module. Made for an environment before its runtime has asked for its first event."""

    def __init__(self, host: Host, loop: asyncio.AbstractEventLoop, external: Sequence[str] = ()) -> None:
        self._host = host
        self._loop = loop
        self._all = {name: Extension(name, is_external=True) for name in external}
        self._is_open = True
        self._is_runtime_ready = False
        self._has_runtime = not external
        self._failure = ""
        self._over: Callable[[], None] | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._awaited: set[str] = set()
        self._told_shutdown: Callable[[], None] | None = None

    @property
    def failure(self) -> str:
        """The type of the error that one of them has reported; empty for none."""
        return self._failure

    # What the environment says.

    def runtime_ready(self) -> bool:
        """The runtime asks for its next event. Returns: whether all others whom that waits for have done so too."""
        self._is_open, self._is_runtime_ready = False, True
        return self._are_ready()

    @property
    def holds_runtime(self) -> bool:
        """The runtime has asked for an event that it gets when the others have."""
        return self._is_runtime_ready

    def initialised(self) -> None:
        """So is the environment."""
        for each in self._all.values():
            self._host.note(each.described())

    def invoke(self, invocation: Invocation) -> None:
        """An event is about to be given to the runtime."""
        self._is_runtime_ready = False
        event = {
            "eventType": INVOKE,
            "deadlineMs": int((time.time() + invocation.deadline - time.monotonic()) * 1000),
            "requestId": invocation.request_id,
            "invokedFunctionArn": invocation.arn,
            "tracing": {"type": "X-Amzn-Trace-Id", "value": invocation.trace_id},
        }
        for each in self._all.values():
            if INVOKE in each.events and each.state == _READY:
                each.tell(event)

    def shut_down(self, reason: str, over: Callable[[], None]) -> None:
        """Tell the runtime and then the extensions that the environment ends. `over` is called when they are done, or
        when they have had the time that AWS gives: at once where nobody has registered.

        Args:
            reason: `spindown`, `timeout` or `failure`.
        """
        self._over = over
        process = self._host.process
        # Whoever has registered, for events or not, gets the runtime its time.
        is_here = any(each.state not in (_STARTED, _EXITED) for each in self._all.values())
        if process is None or process.exited.done() or not is_here:
            self._finish()
            return
        has_external = any(each.is_external for each in self._all.values())
        limit_s = EXTERNAL_S if has_external else INTERNAL_S
        event = {"eventType": SHUTDOWN, "deadlineMs": int((time.time() + limit_s) * 1000), "shutdownReason": reason}
        self._told_shutdown = lambda: self._tell_shutdown(event)
        self._timers.append(self._loop.call_later(limit_s, self._finish))
        if self._has_runtime:
            process.terminate()
            has_internal = any(not each.is_external for each in self._all.values())
            runtime_s = INTERNAL_S if has_internal else RUNTIME_S
            self._timers.append(self._loop.call_later(runtime_s, self._runtime_had_its_time))
        else:
            self._runtime_had_its_time()

    def process_over(self) -> None:
        """Nothing runs any more."""
        if self._over is not None:
            self._finish()

    # What the processes' keeper says.

    def runtime_ended(self) -> None:
        self._has_runtime = False
        if self._over is not None:
            self._runtime_had_its_time()

    def extension_ended(self, name: str, ended: Exit | str) -> None:
        """`ended`: how, or why it could not even be started."""
        each = self._all[name]
        each.state, each.send = _EXITED, None
        if self._over is not None:
            self._awaited.discard(name)
            if not self._awaited and self._told_shutdown is None:
                self._finish()
        elif isinstance(ended, str):
            self._fail(each, "Extension.LaunchError", ended)
        else:
            self._fail(each, self._failure or "Extension.Crash", _how(ended))

    # What extensions say.

    def register(self, name: str, events: Sequence[str]) -> Extension:
        """Raises: `Refused`."""
        each = self._all.get(name)
        is_external = each is not None and each.is_external
        for event in events:
            if event not in ((INVOKE, SHUTDOWN) if is_external else (INVOKE,)):
                raise Refused("Extension.InvalidEventType", f"{event}: not an event for this extension")
        if each is None:
            if not self._is_open:
                raise Refused("Extension.RegistrationClosed", "Extension registration closed already")
            if len(self._all) >= MOST:
                raise Refused("Extension.TooManyExtensions", f"Extension limit ({MOST}) reached")
            each = self._all[name] = Extension(name, is_external=False)
        elif not is_external:
            raise Refused("Extension.InvalidExtensionState", "Extension with this name already registered")
        elif each.state != _STARTED:
            raise _not_now(each, _REGISTERED)
        each.state, each.events = _REGISTERED, frozenset(events)
        if is_external and not any(other.state == _STARTED for other in self._all.values()):
            self._has_runtime = True
            assert self._host.process is not None  # only its own processes get this far
            self._host.process.run()
        return each

    def known(self, identifier: str) -> Extension:
        """Raises: `Refused`."""
        for each in self._all.values():
            if each.identifier == identifier and each.state != _STARTED:
                return each
        raise Refused("Extension.UnknownExtensionIdentifier", f"Unknown extension {identifier}")

    def wants_next(self, each: Extension, send: Send) -> None:
        """`send` is called with the event, at once or later. Raises: `Refused`."""
        if each.state not in (_REGISTERED, _READY, _RUNNING) or each.send is not None:
            raise _not_now(each, _READY)
        if (due := each.due) is not None:
            each.due = None
            send(due)
            return
        each.send = send
        if each.state != _READY:
            each.state = _READY
            if self._is_runtime_ready and self._are_ready():
                self._host.extensions_ready()

    def gave_up_next(self, each: Extension, send: Send) -> None:
        """Its connection is gone. It may ask again, and what it is told meanwhile waits for it."""
        if each.send == send:
            each.send = None

    def failed(self, each: Extension, during: str) -> None:
        """It can't go on, and is about to end. Said again, nothing changes.

        Args:
            during: `init` or `exit`.
        Raises: `Refused`.
        """
        may = (_REGISTERED,) if during == "init" else (_REGISTERED, _READY, _RUNNING)
        if each.state == _FAILED:
            return
        if each.state not in may:
            raise _not_now(each, "InitError" if during == "init" else "ExitError")
        each.state = _FAILED
        if not self._failure:
            self._failure = f"Extension.{during.capitalize()}Error"
            self._loop.call_later(FAILED_S, self._still_there, each)

    def _still_there(self, each: Extension) -> None:
        if self._over is None and each.state == _FAILED:
            self._fail(each, self._failure, "the extension has failed")

    def _fail(self, each: Extension, error_type: str, how: str) -> None:
        self._host.note(each.described(error_type))
        self._host.extension_failed(error_type, how)

    def _are_ready(self) -> bool:
        # Who has not registered for events stays ready after its first word.
        return all(each.state == _READY for each in self._all.values())

    def _runtime_had_its_time(self) -> None:
        told, self._told_shutdown = self._told_shutdown, None
        if told is not None:
            told()

    def _tell_shutdown(self, event: Mapping[str, Any]) -> None:
        for each in self._all.values():
            if SHUTDOWN in each.events and each.state not in (_FAILED, _EXITED):
                self._awaited.add(each.name)
                each.tell(dict(event))
        if not self._awaited:
            self._finish()

    def _finish(self) -> None:
        over, self._over, self._told_shutdown = self._over, None, None
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        if over is not None:
            over()


def _not_now(each: Extension, wanted: str) -> Refused:
    text = f"State transition from {each.state} to {wanted} failed for extension {each.identifier}"
    return Refused("Extension.InvalidExtensionState", f"{text}. Error: State transition is not allowed")


def _how(ended: Exit) -> str:
    if ended.signal is not None:
        return f"signal: {signal_name(ended.signal)}"
    return f"exit status {ended.code}" if ended.code else "exit code 0"
