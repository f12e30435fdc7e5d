"""The pool: which environment runs which event, who waits, who is refused, and when environments end.

At most `concurrency` environments live, started when somebody would wait otherwise; `queue` callers more may wait;
the rest is refused at once, so that the caller tries elsewhere instead of waiting here.

Where the function has reserved concurrency, this pool has a share of it and never runs more than that. Whoever comes
beyond it waits for a moment: until one that runs has ended, or until the share is a larger one.

Where the version has provisioned concurrency, so many environments are started before anybody calls, and stay. A few
at a time, for they share what cores there are.
"""

import asyncio
import logging
import os
import socket
import time
from collections import deque
from collections.abc import Callable
from itertools import islice

from lateen_invoker import folders, invocations
from lateen_invoker.channel import Channel
from lateen_invoker.control import Configure
from lateen_invoker.environments import DEAD, IDLE, Environment
from lateen_invoker.invocations import Invocation, Outcome
from lateen_invoker.logs import LogPipe
from lateen_invoker.metrics import Metrics
from lateen_invoker.runtime_api import serve_runtime_api
from lateen_invoker.spawner import Spawner, SpawnFailed
from lateen_invoker.variables import variables_for

log = logging.getLogger(__name__)

TICK_S = 0.05
MEMORY_EVERY_S = 0.1
PROCESSES = 256
# What user code started and left running can go on growing while no event is there.
IDLE_MEMORY_EVERY_S = 1.0
# A new environment that takes no longer than the first is not worth waiting for a busy one; and for how long, else.
CHEAP_S, PATIENCE_S = 0.02, 0.1
# How much the newest figure counts in the running means.
MEAN_WEIGHT, INIT_WEIGHT = 0.05, 0.5
# AWS lets an initialisation take ten seconds, then repeats it within the function's own timeout.
INIT_LIMIT_S = 10.0
UNLIMITED = 1 << 30
# Beyond the share a caller waits this long: where it is all that there is, and where others may have some to give.
# A client that calls again as soon as it has its answer may come before the environment has asked for the next event.
ALONE_S, SHARED_S = 0.1, 1.0
# Provisioned environments: so many are started at a time, and after one that failed the next try comes after this, and
# twice that, and so on.
AT_A_TIME = 4
REFILL_S = (1.0, 60.0)


class Pool:
    """All environments of one function version. `record` gets each invocation when it is over.

    `keep`: so many don't end for want of events.
    """

    def __init__(
        self,
        configure: Configure,
        spawner: Spawner,
        metrics: Metrics,
        *,
        record: Callable[[Invocation], None],
        idle: Callable[[], None],
        keep: int = 0,
    ) -> None:
        self._configure = configure
        self._spawner = spawner
        self._metrics = metrics
        self._record = record
        self._idle = idle
        self._keep = keep
        self._provisioned = 0
        self._filled: asyncio.Future[Outcome | None] | None = None
        self._refill_s = REFILL_S[0]
        self._refill_timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._environments: set[Environment] = set()
        self._ending: set[Environment] = set()
        """Dead ones, whose extensions have some time left."""
        self._ended = asyncio.Event()
        self._free: list[Environment] = []
        self._waiting: deque[Invocation] = deque()
        self._starting = 0
        self._mean_s: float | None = None
        self._init_s = 0.01
        self._overdue: asyncio.TimerHandle | None = None
        self._started = 0
        self._running = 0
        self._most = UNLIMITED
        self._of = UNLIMITED
        self.on_load: Callable[[], None] = _nothing
        """Called when callers wait for want of share, and when fewer run than did beyond it."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._ticking = False
        self._memory_checked_at = 0.0
        self._next_reason = "first"
        self._first: asyncio.Future[Outcome | None] = self._loop.create_future()
        self._empty = asyncio.Event()
        self._empty.set()
        self._idle_timer: asyncio.TimerHandle | None = None
        self._is_closed = False
        self.arn = f"arn:aws:lambda:{configure.region}:{configure.account_id}:function:{configure.function_name}"
        metrics.watch(self)

    @property
    def environments(self) -> int:
        return len(self._environments)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def running(self) -> int:
        return self._running

    def share(self, most: int | None, of: int) -> None:
        """Run so many at a time from now on, of so many that there are in all; what runs beyond that is finished."""
        self._most, self._of = (UNLIMITED, UNLIMITED) if most is None else (most, of)
        self._deliver_waiting()
        # As if those who may run now came one after the other.
        for _ in range(self._may_run() - self._starting):
            self._start_if_short()

    async def initialise(self) -> Outcome | None:
        """Start a first environment; returns when that, and all that are provisioned, have settled: None, or what an
        initialisation said that failed.

        Raises: `SpawnFailed` where no process can be had at all; then it may be called again.
        """
        await self._spawner.start()
        if self._first.done():
            self._first = self._loop.create_future()
        self._start_environment()
        outcome = await self._first
        if outcome is None and self._configure.provisioned > 1:
            self._filled = self._loop.create_future()
            self._fill()
            outcome = await self._filled
        return outcome

    def submit(self, invocation: Invocation) -> None:
        """Run it, now or as soon as there is an environment; or refuse it."""
        if self._is_closed:
            invocation.finish(invocations.stopping())
            return
        if self._free and self._running < self._most:
            self._deliver(self._free.pop(), invocation)
            return
        if self._of == 0:
            self._metrics.throttles += 1
            invocation.finish(invocations.reserved())
            return
        most = self._configure.queue + self._starting
        if len(self._waiting) >= most:
            self._waiting = deque(waiting for waiting in self._waiting if not waiting.abandoned)
        if len(self._waiting) >= most:
            self._metrics.throttles += 1
            is_beyond = self._running >= self._most
            invocation.finish(invocations.reserved() if is_beyond else invocations.throttled())
            return
        self._waiting.append(invocation)
        self._empty.clear()
        if len(self._waiting) > self._most - self._running:
            self.on_load()
        self._start_if_short()
        self._keep_ticking()

    async def drained(self) -> None:
        """Returns when nothing runs and nobody waits."""
        await self._empty.wait()

    async def close(self, *, at_once: bool = False) -> None:
        """End every environment. Who still waits is told so.

        Args:
            at_once: extensions are given no time for what they still have to do.
        """
        self._is_closed = True
        if self._refill_timer is not None:
            self._refill_timer.cancel()
        if self._filled is not None and not self._filled.done():
            self._filled.set_result(None)
        while self._waiting:
            self._waiting.popleft().finish(invocations.stopping())
        for environment in list(self._environments):
            if at_once:
                environment.kill_at_once()
            else:
                environment.kill("spindown")
        while self._ending and not at_once:
            self._ended.clear()
            await self._ended.wait()
        await self._spawner.close()
        for task in list(self._tasks):
            task.cancel()

    # What environments tell their owner.

    def environment_idle(self, environment: Environment) -> None:
        if not self._first.done():
            self._first.set_result(None)
        if environment.cold_reason is not None:
            self._starting -= 1
            assert environment.init_duration_ms is not None
            self._metrics.observe_cold_start(environment.init_duration_ms)
            self._init_s += (environment.init_duration_ms / 1000 - self._init_s) * INIT_WEIGHT
            self._fill()
        while self._waiting and self._running < self._most:
            invocation = self._waiting.popleft()
            if not invocation.abandoned:
                self._deliver(environment, invocation)
                return
        if environment.is_provisioned:
            environment.cold_reason = None  # whoever comes has not waited for it
        self._free.append(environment)
        self._settle()
        if self._idle_timer is None:
            self._idle_timer = self._loop.call_later(min(IDLE_MEMORY_EVERY_S, self._configure.idle_s), self._end_idle)

    def environment_done(self, environment: Environment, invocation: Invocation) -> None:
        self._running -= 1
        if self._running >= self._most:
            self.on_load()
        took_s = invocation.ended_at - invocation.started_at
        self._mean_s = took_s if self._mean_s is None else self._mean_s + (took_s - self._mean_s) * MEAN_WEIGHT
        self._metrics.observe(invocation)
        self._record(invocation)

    def environment_dead(self, environment: Environment, init_error: Outcome | None) -> None:
        self._environments.discard(environment)
        if environment in self._free:
            self._free.remove(environment)
        if init_error is not None:
            self._starting -= 1
            self._metrics.init_errors += 1
            self._tell_init_error(environment, init_error)
        if environment.extensions is not None:
            self._ending.add(environment)
            self._keep_ticking()
        if environment.is_provisioned:
            self._provisioned -= 1
            self._lost(environment, init_error)
        self._next_reason = "replaced"
        self._deliver_waiting()
        self._fill()
        self._settle()
        if not self._environments and self._idle_timer is None:
            self._idle_timer = self._loop.call_later(self._configure.idle_s, self._end_idle)

    def environment_gone(self, environment: Environment) -> None:
        self._ending.discard(environment)
        self._ended.set()
        self._start_if_short()
        self._fill()

    def _tell_init_error(self, environment: Environment, outcome: Outcome) -> None:
        if not self._first.done():
            self._first.set_result(outcome)
            return  # the deployment is told; the next call tries again, as on AWS
        while self._waiting:
            invocation = self._waiting.popleft()
            if invocation.abandoned:
                continue
            now = time.monotonic()
            invocation.started_at = now
            # Where it took too long, the log says by this how long that is.
            invocation.deadline = now + (environment.deadline - environment.started_at)
            invocation.cold_reason, environment.cold_reason = environment.cold_reason, None
            invocation.init_duration_ms = (now - environment.started_at) * 1000
            if environment.logs is not None:
                invocation.log, invocation.log_truncated = environment.logs.take()
            invocation.finish(invocations.told_to(invocation.request_id, outcome))
            self._metrics.observe(invocation)
            self._record(invocation)
            return

    def _deliver(self, environment: Environment, invocation: Invocation) -> None:
        self._running += 1
        self._empty.clear()
        environment.deliver(invocation, self._configure.timeout_s)
        if not self._ticking:
            self._keep_ticking()

    def _deliver_waiting(self) -> None:
        while self._waiting and self._free and self._running < self._most:
            invocation = self._waiting.popleft()
            if not invocation.abandoned:
                self._deliver(self._free.pop(), invocation)
        self._start_if_short()

    def _settle(self) -> None:
        if self._running == 0 and not self._waiting:
            self._empty.set()

    # Starting one.

    def _start_if_short(self) -> None:
        """Start an environment, unless callers are better served by waiting a moment for a busy one.

        Where a new one is there within milliseconds it is always started. Where it takes longer, and events are short,
        the callers in front of the last one are gone sooner than it would be there, and one more process would only
        make all of them slower. So nobody waits longer than `PATIENCE_S` for that.
        """
        short = self._may_run() - self._starting
        if short <= 0:
            return
        busy = len(self._environments) - self._starting
        patience_s = min(self._init_s, PATIENCE_S)
        if busy == 0 or self._mean_s is None or patience_s < CHEAP_S or short / busy * self._mean_s > patience_s:
            self._start_environment()
        elif self._overdue is None:
            self._overdue = self._loop.call_later(patience_s, self._start_if_overdue)

    def _start_if_overdue(self) -> None:
        # The mean is no promise: whoever has waited that long gets a new environment after all.
        self._overdue = None
        if self._may_run() > self._starting:
            patience_s = min(self._init_s, PATIENCE_S)
            if time.monotonic() - self._waiting[0].queued_at >= patience_s:
                self._start_environment()
            self._overdue = self._loop.call_later(patience_s, self._start_if_overdue)

    def _may_run(self) -> int:
        """Of those that wait, so many need nothing but an environment."""
        return min(len(self._waiting), self._most - self._running)

    def _fill(self) -> None:
        """Start what is missing of the provisioned environments."""
        wanted = self._configure.provisioned
        if not wanted or self._is_closed or self._refill_timer is not None or not self._first.done():
            return
        while self._provisioned < wanted and self._starting < AT_A_TIME:
            if not self._start_environment():
                break
        if self._filled is None or self._filled.done():
            return
        there = [each for each in self._environments if each.is_provisioned and each.init_duration_ms is not None]
        if len(there) >= wanted:
            self._filled.set_result(None)

    def _lost(self, environment: Environment, init_error: Outcome | None) -> None:
        """A provisioned one. Where it got nowhere, the next is not started at once."""
        if init_error is not None and self._filled is not None and not self._filled.done():
            self._filled.set_result(init_error)
        if init_error is None and time.monotonic() - environment.started_at >= REFILL_S[0]:
            self._refill_s = REFILL_S[0]
        elif self._refill_timer is None and not self._is_closed:
            self._refill_timer = self._loop.call_later(self._refill_s, self._fill_again)
            self._refill_s = min(REFILL_S[1], self._refill_s * 2)

    def _fill_again(self) -> None:
        self._refill_timer = None
        self._fill()

    def _start_environment(self) -> bool:
        """Returns: whether one more may live."""
        if len(self._environments) + len(self._ending) >= self._configure.concurrency or self._is_closed:
            return False
        is_provisioned = self._provisioned < self._configure.provisioned
        self._provisioned += is_provisioned
        reason = "scale-up" if self._environments else self._next_reason
        environment = Environment(
            self,
            self._loop,
            cold_reason=reason,
            init_limit_s=max(INIT_LIMIT_S, float(self._configure.timeout_s)),
            is_provisioned=is_provisioned,
        )
        self._environments.add(environment)
        self._starting += 1
        self._metrics.cold_starts[reason] = self._metrics.cold_starts.get(reason, 0) + 1
        task = self._loop.create_task(self._start(environment))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._keep_ticking()
        return True

    async def _start(self, environment: Environment) -> None:
        try:
            await self._spawn(environment)
        except (SpawnFailed, OSError) as exc:
            log.error("environment not started", extra={"reason": str(exc)})
            if not self._first.done():
                self._first.set_exception(SpawnFailed(str(exc)))
            environment.said_init_error("Runtime.StartError", invocations.spawn_failed("").body)
            environment.kill()

    async def _spawn(self, environment: Environment) -> None:
        configure = self._configure
        await self._spawner.start()
        # That may have taken longer than the environment had: then nothing is made that nobody would end.
        if environment.state == DEAD:
            return
        program, why = self._entrypoint()
        if why:
            environment.said_init_error("Runtime.InvalidEntrypoint", invocations.no_entrypoint(why).body)
            environment.kill()
            return
        self._started += 1
        directory = os.path.join(configure.work_dir, "environments", str(self._started))
        os.makedirs(directory, mode=0o700)
        environment.directory = directory
        environment.on_end(lambda: self._remove(environment))
        api = await serve_runtime_api(environment, configure)
        environment.on_end(api.close)
        if environment.state == DEAD:
            return
        read_end, write_end = os.pipe()
        environment.logs = LogPipe(self._loop, read_end)
        theirs: socket.socket | None = None
        try:
            if configure.runtime.channel:
                ours, theirs = socket.socketpair()
                channel = Channel(environment)
                await self._loop.create_connection(lambda: channel, sock=ours)
                environment.speaks(channel)
                environment.on_end(channel.close)
            if environment.state == DEAD:
                return
            process = await self._spawner.spawn(
                environment=variables_for(
                    configure,
                    self._spawner,
                    directory,
                    api.address,
                    started=self._started,
                    is_provisioned=environment.is_provisioned,
                ),
                directory=directory,
                program=program,
                log_fd=write_end,
                channel_fd=theirs.fileno() if theirs is not None else None,
            )
        finally:
            os.close(write_end)
            if theirs is not None:
                theirs.close()
        environment.attach(process)

    def _entrypoint(self) -> tuple[str | None, str]:
        """The program that is started, where it is the package's or a layer's; or why none can be, in AWS's words."""
        runtime, spawner = self._configure.runtime, self._spawner
        if runtime.inherits or not runtime.command[0].startswith("./"):
            return None, ""
        name = os.path.normpath(runtime.command[0])
        looked_for = []
        for root, folder in ((spawner.task_root, spawner.code_dir), (spawner.layers_root, spawner.layers_dir)):
            program = os.path.join(root, name)
            looked_for.append(program)
            if folder and os.path.isfile(found := os.path.join(folder, name)):
                is_executable = os.stat(found).st_mode & 0o111
                return program, "" if is_executable else f"fork/exec {program}: permission denied"
        return None, f"Couldn't find valid bootstrap(s): [{' '.join(looked_for)}]"

    def _remove(self, environment: Environment) -> None:
        def remove(_: object = None) -> None:
            # In a thread: a function may leave a great many files behind. At the end the whole work folder goes.
            if not self._is_closed:
                self._loop.run_in_executor(None, folders.remove, environment.directory)

        if environment.process is None:
            remove()
        else:  # what still runs could still write
            environment.process.exited.add_done_callback(remove)

    # Time passes.

    def _keep_ticking(self) -> None:
        if not self._ticking:
            self._ticking = True
            self._loop.call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        self._ticking = False
        now = time.monotonic()
        check_memory = now - self._memory_checked_at >= MEMORY_EVERY_S
        if check_memory:
            self._memory_checked_at = now
        active = False
        for environment in list(self._environments):
            environment.tick(now)
            if environment.state in (IDLE, DEAD):
                continue
            active = True
            if check_memory:
                self._check_usage(environment)
        for environment in list(self._ending):
            active = True
            environment.tick(now)
            if check_memory:
                self._check_usage(environment)
        self._refuse_the_late(now)
        if active or self._waiting:
            self._keep_ticking()

    def _check_usage(self, environment: Environment) -> None:
        if environment.process is None or (usage := environment.process.usage()) is None:
            return
        if usage.memory_kib > self._configure.memory_mib * 1024:
            environment.exceeded_memory()
        elif usage.processes > PROCESSES:
            # The kernel's own limit exempts root, and is all of a user's where there is no namespace.
            environment.kill_at_once()

    def _refuse_the_late(self, now: float) -> None:
        limit = max(INIT_LIMIT_S, float(self._configure.timeout_s))
        while self._waiting and (self._waiting[0].abandoned or now - self._waiting[0].queued_at > limit):
            invocation = self._waiting.popleft()
            if not invocation.abandoned:
                self._metrics.throttles += 1
                invocation.finish(invocations.throttled())
        if len(self._waiting) > self._most - self._running:
            self._refuse_beyond_share(now)
        self._settle()

    def _refuse_beyond_share(self, now: float) -> None:
        may_run = max(0, self._may_run())
        came_before = now - (ALONE_S if self._most >= self._of else SHARED_S)
        kept = deque(islice(self._waiting, may_run))
        beyond = list(islice(self._waiting, may_run, None))
        self._waiting = kept  # first, for whoever is refused may be followed by the next one on its connection
        for invocation in beyond:
            if invocation.queued_at > came_before:
                kept.append(invocation)
            elif not invocation.abandoned:
                self._metrics.throttles += 1
                invocation.finish(invocations.reserved())

    def _end_idle(self) -> None:
        self._idle_timer = None
        if self._is_closed:
            return
        now = time.monotonic()
        for environment in list(self._free):
            may_end = not environment.is_provisioned and len(self._environments) > self._keep
            if may_end and now - environment.idle_since >= self._configure.idle_s:
                environment.kill("spindown")
            else:
                self._check_usage(environment)
        if self._environments or self._waiting or self._configure.provisioned:
            soonest = min((e.idle_since for e in self._free if not e.is_provisioned), default=now)
            if len(self._environments) <= self._keep:
                soonest = now
            wait_s = min(IDLE_MEMORY_EVERY_S, max(0.01, soonest + self._configure.idle_s - now))
            self._idle_timer = self._loop.call_later(wait_s, self._end_idle)
            return
        self._next_reason = "idle"
        self._idle()


def _nothing() -> None:
    """Nobody shares out anything."""
