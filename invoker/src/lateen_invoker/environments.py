"""One environment: a runtime process, one event at a time, whichever way it speaks.

Two transports bring the runtime's words here: the channel of `wire.py` and the HTTP Runtime API of `runtime_api.py`.
Both may be used at once by hostile code, so what a word may do depends only on the state:

    starting -> idle -> busy -> answered -> idle …      and from everywhere -> dead

One with extensions (`extensions.py`) is idle when they have asked for the next event too, and goes on after its death
until they have ended.
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from lateen_invoker import invocations
from lateen_invoker.channel import Channel
from lateen_invoker.extensions import MOST, Extensions
from lateen_invoker.function_url import PRELUDE_TYPE
from lateen_invoker.invocations import RESPONSE_LIMIT, STREAM_LIMIT, Invocation, Outcome
from lateen_invoker.logs import LogPipe
from lateen_invoker.spawner import Exit, Process, signal_name

STARTING, IDLE, BUSY, ANSWERED, DEAD = "starting", "idle", "busy", "answered", "dead"
# After the process has ended, its last words may still be on their way through a socket.
LAST_WORDS_S = 0.02
LAST_BREATH_S = 0.5
# A peak only grows, and reading the kernel's figure takes three system calls.
PEAK_EVERY_S = 0.1


class Owner(Protocol):
    """The pool, as its environments see it."""

    def environment_idle(self, environment: "Environment") -> None: ...
    def environment_done(self, environment: "Environment", invocation: Invocation) -> None: ...
    def environment_dead(self, environment: "Environment", init_error: Outcome | None) -> None: ...
    def environment_gone(self, environment: "Environment") -> None:
        """One with extensions, some time after it was dead: those have had their time."""


class Environment:
    """See the module. The pool makes it, attaches what the spawner returned, and owns its end."""

    def __init__(
        self,
        owner: Owner,
        loop: asyncio.AbstractEventLoop,
        *,
        cold_reason: str,
        init_limit_s: float,
        is_provisioned: bool = False,
    ) -> None:
        self._owner = owner
        self._loop = loop
        self.state = STARTING
        self.cold_reason: str | None = cold_reason
        self.is_provisioned = is_provisioned
        """It is started before anybody calls, and kept."""
        self.started_at = time.monotonic()
        self.idle_since = 0.0
        self.deadline = self.started_at + init_limit_s
        self.init_duration_ms: float | None = None
        self.invocation: Invocation | None = None
        self.process: Process | None = None
        self.logs: LogPipe | None = None
        self.directory = ""
        self.channel: Channel | None = None
        self._give: Callable[[Invocation, float], None] = _nobody
        """Gives an event to whoever is on the channel."""
        self.extensions: Extensions | None = None
        self.out_of_memory = False
        self._waiting_next: Callable[[Invocation], None] | None = None
        self._cleanups: list[Callable[[], None]] = []
        self._when_attached: list[Callable[[Process], None]] = []
        self._init_error: Outcome | None = None
        self._exit: Exit | None = None
        self._timed_out = False
        self._is_doomed = False
        self._is_held = False
        """More than the runtime's word is needed for the next event: it is doomed, has lost its channel, or has
        extensions."""
        self._reason = "failure"
        self._failed: tuple[str, str] | None = None
        self._is_ready_early = False
        self._peak_kib = 0
        self._peak_at = 0.0
        self._streamed: bytearray | None = None

    def on_end(self, cleanup: Callable[[], None]) -> None:
        """Called once when the environment is over; at once where it is already."""
        if self.state == DEAD:
            cleanup()
        else:
            self._cleanups.append(cleanup)

    def speaks(self, channel: Channel) -> None:
        """Its runtime is on that channel."""
        self.channel, self._give = channel, channel.invoke

    def attach(self, process: Process) -> None:
        self.process = process
        process.exited.add_done_callback(self._process_exited)
        if self._is_doomed:
            process.kill()
        elif process.extensions:
            process.listener = self
            self._extend(process.extensions)
            if len(process.extensions) > MOST:
                self.extension_failed("Extension.LaunchError", f"more than {MOST} extensions")
        for waiting in self._when_attached:
            waiting(process)
        self._when_attached.clear()
        if self._is_ready_early:
            self._ready()
            if self._has_lost_channel:
                self.channel_ended()

    def when_attached(self, known: Callable[[Process], None]) -> None:
        """`known` is called with the process, at once or when there is one."""
        if self.process is not None:
            known(self.process)
        else:
            self._when_attached.append(known)

    def deliver(self, invocation: Invocation, timeout_s: float) -> None:
        """Give it the event. Only while idle."""
        now = time.monotonic()
        self.state = BUSY
        self.invocation = invocation
        invocation.started_at = now
        invocation.deadline = self.deadline = now + timeout_s
        if self.cold_reason is not None:
            invocation.cold_reason, self.cold_reason = self.cold_reason, None
            invocation.init_duration_ms = self.init_duration_ms
        if self.extensions is not None:
            self.extensions.invoke(invocation)
        if (send := self._waiting_next) is not None:
            self._waiting_next = None
            send(invocation)
        else:
            self._give(invocation, timeout_s)
        if invocation.taken is not None:
            invocation.taken()

    # What a runtime can say. Each returns an AWS error type for a refusal, or None.

    def wants_next(self, send: Callable[[Invocation], None]) -> str | None:
        """`GET …/invocation/next`: `send` is called with the event, at once or later."""
        if self._waiting_next is not None or self._is_doomed or self.state == BUSY:
            return "InvalidStateTransition"
        if self.channel is not None and not self._leaves_channel():
            return "InvalidStateTransition"
        self._waiting_next = send
        self._ready()
        return None

    def gave_up_next(self, send: Callable[[Invocation], None]) -> None:
        """The connection that waited for the event is gone: no event may be given to it."""
        if self._waiting_next == send:
            self._waiting_next = None
            if self.state == IDLE or (self.extensions is not None and self.extensions.holds_runtime):
                self.kill()

    def said_ready(self) -> None:
        """READY on the channel. What can't be measured or ended yet gets no event."""
        if self.process is None:
            self._is_ready_early = True
        else:
            self._ready()

    def said_response(self, request_id: str, body: bytes, *, media_type: str = "") -> str | None:
        if (refusal := self._refusal(request_id)) is not None:
            return refusal
        if self._streamed is not None:
            body = bytes(self._streamed) + body
        if len(body) > RESPONSE_LIMIT:
            return self.said_too_much(request_id)
        # AWS takes any bytes; a media type only matters for a stream that begins with status and headers.
        self._answer(Outcome("answer", body, prelude=media_type.startswith(PRELUDE_TYPE)))
        return None

    def streams(self, request_id: str) -> bool:
        """Whether what is said of this answer goes to its caller as it comes."""
        running = self.invocation
        return running is not None and running.stream is not None and self._refusal(request_id) is None

    def said_piece(self, request_id: str, piece: bytes, *, media_type: str = "", source: Any = None) -> None:
        """A piece of a streamed answer. It goes on to the caller, or waits here for the rest.

        Args:
            media_type, source: as `invocations.Stream` wants them.
        """
        running = self.invocation
        if running is None or self._refusal(request_id) is not None:
            return
        if running.stream is None:
            if self._streamed is None:
                self._streamed = bytearray()
            # One byte too many is enough to know.
            self._streamed += piece[: RESPONSE_LIMIT + 1 - len(self._streamed)]
        elif not running.stream.piece(piece, media_type, source):
            self._answer(invocations.too_large(STREAM_LIMIT))

    def said_too_much(self, request_id: str) -> str:
        """An answer beyond the limit, of which nothing was kept."""
        if (refusal := self._refusal(request_id)) is not None:
            return refusal
        self._answer(invocations.too_large())
        return "RequestEntityTooLarge"

    def said_error(self, request_id: str, error_type: str, document: bytes) -> str | None:
        if (refusal := self._refusal(request_id)) is not None:
            return refusal
        self._answer(invocations.failed(invocations.safe_type(error_type) if error_type else "", document))
        return None

    def said_init_error(self, error_type: str, document: bytes) -> str | None:
        if self.state != STARTING or self._init_error is not None:
            return "InvalidStateTransition"
        self._init_error = invocations.failed(invocations.safe_type(error_type) if error_type else "", document)
        return None

    def said_next_on_channel(self) -> None:
        """A RESPONSE or ERROR frame also asks for the next event."""
        if self.state == ANSWERED:
            self._ready()

    def broke_protocol(self) -> None:
        """Something came over the channel that no bootstrap sends."""
        self.kill()

    def tick(self, now: float) -> None:
        """Every few dozen milliseconds while something runs: deadlines, and how fast it may print."""
        if self.logs is not None:
            self.logs.tick()
        if self.state in (STARTING, BUSY, ANSWERED) and now >= self.deadline and not self._timed_out:
            self._timed_out = True
            if self.state == BUSY and (running := self.invocation) is not None:
                self._answer(invocations.timed_out(running.request_id, running.deadline - running.started_at))
            self.kill("timeout")

    def kill(self, reason: str = "failure") -> None:
        """No event will ever meet it again; all its processes end.

        Args:
            reason: what its extensions are told: `spindown`, `timeout` or `failure`.
        """
        self._is_doomed = self._is_held = True
        self._reason = reason
        if self.extensions is not None:
            self._end()
            return
        if self.process is not None:
            self.process.kill()
        if self.state not in (BUSY, ANSWERED):
            self._end()

    def exceeded_memory(self) -> None:
        self.out_of_memory = True
        self.kill_at_once()

    def kill_at_once(self) -> None:
        """As `kill`, but nobody is given any time."""
        if self.process is not None:
            self.process.kill()
        self.kill()

    # What its extensions, and who keeps their processes, tell. See `extensions.Host` and `spawner.Listener`.

    def registry(self) -> Extensions | None:
        """Where extensions register; None: that is over, and none has."""
        if self.extensions is None and self.state == STARTING and not self._is_ready_early:
            self._extend(())
        return self.extensions

    def extensions_ready(self) -> None:
        self._ready()

    def extension_failed(self, error_type: str, how: str) -> None:
        if self._failed is None:
            self._failed = (error_type, how)
        self.kill()

    def note(self, line: str) -> None:
        if self.logs is not None:
            self.logs.note(line)

    def extension_ended(self, name: str, ended: Exit | str) -> None:
        if self.extensions is not None:
            self.extensions.extension_ended(name, ended)

    def runtime_ended(self, ended: Exit) -> None:
        if self.extensions is not None:
            self.extensions.runtime_ended()
        self._ended(ended)

    def _extend(self, external: Sequence[str]) -> None:
        self.extensions = Extensions(self, self._loop, external)
        self._is_held = True

    def _leaves_channel(self) -> bool:
        """Whether what asks over HTTP is the runtime: one that AWS_LAMBDA_EXEC_WRAPPER started in place of ours."""
        is_ours = self._is_ready_early or (self.extensions is not None and self.extensions.holds_runtime)
        if self.channel is None or self.state != STARTING or is_ours:
            return False
        channel, self.channel, self._give = self.channel, None, _nobody
        channel.close()
        return True

    @property
    def _has_lost_channel(self) -> bool:
        return self.channel is not None and self.channel.ended

    def _waits_for_extensions(self) -> bool:
        return self.extensions is not None and not self.extensions.runtime_ready()

    def _refusal(self, request_id: str) -> str | None:
        running = self.invocation
        if running is None or running.request_id != request_id:
            return "InvalidRequestID"
        return None if self.state == BUSY and not self._is_doomed else "InvalidStateTransition"

    def _ready(self) -> None:
        # What is being ended says this too late.
        if self._is_held and (self._is_doomed or self._has_lost_channel or self._waits_for_extensions()):
            return
        if self.state == STARTING:
            self.init_duration_ms = (time.monotonic() - self.started_at) * 1000
            if self.extensions is not None:
                self.extensions.initialised()
        elif self.state == ANSWERED:
            self._settle()
        else:  # said twice: the pool knows it already
            return
        self.state = IDLE
        self.idle_since = time.monotonic()
        self.deadline = 0.0
        self._owner.environment_idle(self)

    def _answer(self, outcome: Outcome) -> None:
        running = self.invocation
        assert running is not None
        self.state = ANSWERED
        self._streamed = None
        if running.wants_log:
            self._collect(running)
        running.finish(outcome)
        if not running.wants_log:
            self._collect(running)

    def _collect(self, running: Invocation) -> None:
        """What the record needs of the environment; behind the caller's back, unless the caller wants the log."""
        if self.logs is not None:
            printed, running.log_truncated = self.logs.take()
            running.log = printed + running.log
        running.peak_memory_kib = self._peak()

    def _settle(self) -> None:
        running, self.invocation = self.invocation, None
        if running is not None:
            self._owner.environment_done(self, running)

    def _peak(self) -> int:
        now = time.monotonic()
        if self.process is not None and now - self._peak_at >= PEAK_EVERY_S:
            self._peak_at = now
            self._peak_kib = max(self._peak_kib, self.process.peak_memory_kib())
        return self._peak_kib

    def _process_exited(self, future: "asyncio.Future[Exit]") -> None:
        self._ended(future.result() if not future.cancelled() else Exit(None, signal.SIGKILL, 0))
        if self.extensions is not None:
            self.extensions.process_over()

    def _ended(self, ended: Exit) -> None:
        self._exit = ended
        self._peak_kib = max(self._peak_kib, self._exit.peak_memory_kib)
        self.out_of_memory |= self._exit.out_of_memory
        if self.invocation is not None and self.invocation.stream is not None:
            self.invocation.stream.release()
        if self.state == BUSY or (self.state == STARTING and self._init_error is None):
            self._loop.call_later(LAST_WORDS_S if self.channel is None or not self.channel.ended else 0, self._end)
        else:
            self._end()

    def channel_ended(self) -> None:
        """The channel's other end is closed: nothing more can come from there."""
        if self.channel is None:
            return  # left for HTTP
        self._is_held = True
        if self._exit is not None:
            self._end()
        elif self.state == IDLE:
            self.kill()
        elif self.state != DEAD and self.process is not None:
            # Most likely it is ending, and how is soon known. If not: without its channel it is of no use.
            self._loop.call_later(LAST_BREATH_S, self.process.kill if self.extensions is None else self.kill)

    def _end(self) -> None:
        if self.state == DEAD:
            return
        was, self.state = self.state, DEAD
        if was == BUSY and (running := self.invocation) is not None:
            self._answer_for_the_dead(running)
        if was in (BUSY, ANSWERED):
            self._settle()
        init_error = self._init_error_outcome() if was == STARTING else None
        if self.extensions is None:
            self._close()
        self._owner.environment_dead(self, init_error)
        if self.extensions is not None:
            self.extensions.shut_down(self._reason, self._gone)

    def _gone(self) -> None:
        self._close()
        self._owner.environment_gone(self)

    def _close(self) -> None:
        if self.process is not None:
            self.process.kill()
        if self.logs is not None:
            self.logs.close()
        for cleanup in self._cleanups:
            with contextlib.suppress(OSError):
                cleanup()

    def _answer_for_the_dead(self, running: Invocation) -> None:
        self._answer(self._exited(running.request_id))
        self.state = DEAD

    def _init_error_outcome(self) -> Outcome:
        if self._failed is not None:
            return self._exited("")
        if self._init_error is not None:
            return self._init_error
        if self._timed_out and self.process is None:
            return invocations.spawn_failed("")  # no user code ran that could have taken so long
        if self._timed_out:
            return invocations.timed_out("", self.deadline - self.started_at)
        return self._exited("")

    def _exited(self, request_id: str) -> Outcome:
        if self._failed is not None:
            return invocations.extension_failed(request_id, *self._failed)
        ended = self._exit or Exit(None, signal.SIGKILL, 0)
        how = invocations.how_runtime_ended(ended.code, None if ended.signal is None else signal_name(ended.signal))
        if self.extensions is not None and (failure := self.extensions.failure):
            return invocations.extension_failed(request_id, failure, how)
        return invocations.exited(request_id, how, out_of_memory=self.out_of_memory)


def _nobody(invocation: Invocation, timeout_s: float) -> None:
    """There is no channel."""
