"""`init`, the first process of a runtime's container, as an ordinary process: what it starts, and how it ends things.

Each test runs as the user who runs the tests and, where that is root, as a user without any power too.
"""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from hostile_function import CODE
from init_process import SOURCE, InPod, below, init_binary, is_running, until
from runtime_driver import Environment

from lateen_invoker import pod_spawner, wire
from lateen_invoker.control import RuntimeCommand
from lateen_invoker.spawner import SpawnFailed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
is_root = os.geteuid() == 0


@pytest.fixture(
    params=["own user", pytest.param("other user", marks=pytest.mark.skipif(not is_root, reason="needs root"))]
)
async def pod(request: pytest.FixtureRequest) -> AsyncIterator[InPod]:
    async with InPod(CODE, other_user=request.param == "other user", concurrency=4) as running:
        yield running


@pytest.fixture
async def powerless() -> AsyncIterator[InPod]:
    """As in a pod: a user of its own, without capabilities."""
    if not is_root:
        pytest.skip("needs root, to become another user")
    async with InPod(CODE, other_user=True, concurrency=4) as running:
        yield running


async def _lives(environment: Environment) -> bool:
    return await environment.value({"do": "echo", "with": 1}) == 1


async def _until(condition: object, within_s: float = 10) -> None:
    await asyncio.get_running_loop().run_in_executor(None, until, condition, within_s)


# Starting.


async def test_an_environment(pod: InPod) -> None:
    """It is there, answers, its memory is known at once, and it has a folder of its own that goes with it."""
    environment = await pod.environment()
    assert environment.first == (wire.READY, "", b"")
    assert environment.process.peak_memory_kib() > 1024
    variables = await environment.value({"do": "environ"})
    own = Path(variables["TMPDIR"])
    assert own == Path(variables["HOME"])
    assert own.parent == pod.tmp
    assert own.stat().st_mode & 0o777 == 0o700
    await environment.close()
    await _until(lambda: not own.exists())


async def test_what_it_inherits(pod: InPod) -> None:
    """The variables are exactly those given, by fork and by exec; the descriptors, the standard and the channel."""
    given = {
        "MINE", "_HANDLER", "AWS_EXECUTION_ENV", "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_VERSION", "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME", "LANG", "TZ", "PATH",
        "LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR", "HOME", "TMPDIR",
    }  # fmt: skip
    forked = await pod.environment(MINE="1")
    executed = await pod.environment(MINE="1", PYTHONHASHSEED="0")
    assert set(await forked.value({"do": "environ"})) - {"_X_AMZN_TRACE_ID"} == given
    extra = set(await executed.value({"do": "environ"})) - {"_X_AMZN_TRACE_ID"} - given
    assert extra <= {"PYTHONHASHSEED", "LC_CTYPE"}  # the latter is the interpreter's own doing
    for environment in (forked, executed):
        # The fifth is the listing's own.
        assert await environment.value({"do": "fds"}) == [0, 1, 2, 3, 4]
        assert await environment.value({"do": "stdin"}) == "/dev/null"
        assert await environment.value({"do": "cwd"}) == pod.spawner.task_root
        assert await environment.value({"do": "umask"}) == 0o022
        session, pid, parent = await environment.value({"do": "session"})
        assert session == pid
        assert parent == pod.init_pid
        assert await environment.value({"do": "oom"}) == "1000"
        limits = {"RLIMIT_CORE": 0, "RLIMIT_NOFILE": 1024, "RLIMIT_FSIZE": 512 << 20, "RLIMIT_DATA": 2816 << 20,
                  "RLIMIT_NPROC": 64 + 192 * 4}  # fmt: skip
        assert await environment.value({"do": "limits", "with": list(limits)}) == limits
        status = await environment.value({"do": "status"})
        assert status["SigBlk"] == "0" * 16
        # Python ignores SIGPIPE and SIGXFSZ, and make leaves the C library's own signals ignored for all below it.
        own = Path("/proc/self/status").read_text().partition("SigIgn:")[2].split()[0]
        assert int(status["SigIgn"], 16) & ~(1 << 12 | 1 << 24 | int(own, 16)) == 0


async def test_output(pod: InPod) -> None:
    """What it and its children print goes to the descriptor that came with the order."""
    for variables in ({}, {"PYTHONHASHSEED": "0"}):
        environment = await pod.environment(**variables)
        await environment.value({"do": "print"})
        assert sorted(environment.logs().split("\n")) == ["", "from a child", "to stderr", "to stdout"]


async def test_a_wrapper(pod: InPod) -> None:
    """AWS_LAMBDA_EXEC_WRAPPER is executed with the runtime's command as its arguments."""
    wrapper = pod.code / "wrapper"
    wrapper.write_text('#!/bin/sh\nexport WRAPPED="$*"\nexec "$@"\n')
    wrapper.chmod(0o755)
    environment = await pod.environment(AWS_LAMBDA_EXEC_WRAPPER=str(wrapper))
    wrapped = (await environment.value({"do": "environ"}))["WRAPPED"]
    assert wrapped.endswith("bootstrap.py")


async def test_a_wrapper_that_is_not_there(pod: InPod) -> None:
    """It ends as a shell would have it, with the reason in the log."""
    environment = await pod.environment(AWS_LAMBDA_EXEC_WRAPPER="/nowhere/wrapper")
    assert environment.first[0] == 0
    assert (await environment.ended()).code == 127
    assert environment.logs() == "/nowhere/wrapper: No such file or directory\n"


@pytest.mark.parametrize("instead", [None, "/bin/sh"])
async def test_a_plain_command_without_a_channel(tmp_path: Path, instead: str | None) -> None:
    """A runtime that neither forks nor knows the channel: its command is executed, found by PATH, or another program in
    the place of the one that it names."""
    program = RuntimeCommand(
        name="program", execution_env=None,
        command=["nothing" if instead else "sh", "-c", "echo $0 $MINE; exit 3", "arg"], forks=False,
        channel=False, runtime_dir="/", readable=[],
    )  # fmt: skip
    async with InPod("", runtime=program) as pod:
        reader, writer = os.pipe()
        process = await pod.spawner.spawn(
            environment={"MINE": "yes", "PATH": "/nowhere:/usr/bin:/bin"}, directory="/any/1", log_fd=writer,
            channel_fd=None, program=instead,
        )  # fmt: skip
        os.close(writer)
        ended = await asyncio.wait_for(process.exited, 5)
        assert (ended.code, ended.signal, ended.out_of_memory) == (3, None, False)
        assert os.read(reader, 100) == b"arg yes\n"
        os.close(reader)


@pytest.mark.parametrize("code", ["raise SystemExit(5)", "import os; os.kill(os.getpid(), 11)"])
async def test_how_it_ends_at_initialisation(pod: InPod, code: str) -> None:
    """Exit status or signal are told, by fork and by exec."""
    (pod.code / "code.py").write_text(code)
    for variables in ({}, {"PYTHONHASHSEED": "0"}):
        environment = await pod.environment(**variables)
        ended = await environment.ended()
        assert (ended.code, ended.signal) == ((None, 11) if "kill" in code else (5, None))
        assert ended.peak_memory_kib > 1000


async def test_how_it_ends(pod: InPod) -> None:
    """By its own status, by a signal, or by being told to: each is told apart."""
    for do, expected in ((("exit", 7), (7, None)), (("die", 15), (None, 15)), (("die", 9), (None, 9))):
        environment = await pod.environment()
        await environment.send(json.dumps({"do": do[0], "with": do[1]}).encode())
        ended = await environment.ended()
        assert (ended.code, ended.signal, ended.out_of_memory) == (*expected, False)
    environment = await pod.environment()
    environment.process.kill()
    environment.process.kill()
    assert (await environment.ended()).signal == signal.SIGKILL


async def test_many_at_once(pod: InPod) -> None:
    """Thirty orders given in one go become thirty environments."""
    environments = await asyncio.gather(*(pod.environment() for _ in range(30)))
    pids = [await environment.value({"do": "pid"}) for environment in environments]
    assert pids == [environment.process.pid for environment in environments]
    assert len(set(pids)) == 30


# Ending.


async def test_daemons_do_not_stay(pod: InPod) -> None:
    """A process that left its parent comes to init; nobody announced it, so it is killed, and its environment lives."""
    environment = await pod.environment()
    for what in ("daemonise", "daemonise stubborn"):
        daemon = await environment.value({"do": what})
        await _until(lambda daemon=daemon: not is_running(daemon), 3)
    assert await _lives(environment)


async def test_all_that_descends_ends(pod: InPod) -> None:
    """Told to end or ended by itself, nothing of an environment stays, and its neighbour does not notice."""
    neighbour = await pod.environment()
    for ending in ("killed", "by itself"):
        environment = await pod.environment()
        children, _ = await environment.value({"do": "fork all", "with": 20})
        daemon = await environment.value({"do": "daemonise stubborn"})
        pids = [environment.process.pid, *below(environment.process.pid), daemon]
        assert children == 20
        assert len(pids) == 22
        if ending == "killed":
            environment.process.kill()
        else:
            await environment.send(b'{"do": "exit", "with": 0}')
        await environment.ended()
        assert not any(map(is_running, pids))
    assert await _lives(neighbour)


async def test_what_is_never_the_same_process_for_long(pod: InPod) -> None:
    """One that forks the next and ends, again and again, ends with its environment too."""
    for _ in range(5):
        environment = await pod.environment()
        await environment.value({"do": "hand on"})
        await asyncio.sleep(0.02)
        environment.process.kill()
        await environment.ended()
    neighbour = await pod.environment()
    keep = {pod.init_pid, pod.fork_server(), neighbour.process.pid}
    await _until(lambda: set(filter(is_running, below(pod.init_pid))) <= keep)


async def test_too_many_processes() -> None:
    """An environment beyond its number of processes ends; the others stay."""
    async with InPod(CODE, memory_mib=1024) as pod:
        neighbour, environment = await pod.environment(), await pod.environment()
        began = time.monotonic()
        await environment.send(b'{"do": "fork all", "with": 300}')
        ended = await environment.ended(10)
        assert ended.signal == signal.SIGKILL
        assert not ended.out_of_memory
        assert time.monotonic() - began < 5
        assert await _lives(neighbour)


async def test_a_fork_bomb(powerless: InPod) -> None:
    """Every process forks: it ends, with nothing left, and the others go on."""
    neighbour, environment = await powerless.environment(), await powerless.environment()
    await environment.send(b'{"do": "bomb", "with": 0}')
    await environment.ended(20)
    keep = {powerless.fork_server(), neighbour.process.pid}
    assert set(filter(is_running, below(powerless.init_pid))) <= keep
    assert await _lives(neighbour)
    assert (await powerless.environment()).first[0] == wire.READY


async def test_folders_are_removed(powerless: InPod, tmp_path: Path) -> None:
    """However deep, without rights, and not along a link."""
    (tmp_path / "kept").write_text("kept")
    environment = await powerless.environment()
    await environment.value({"do": "tree", "with": 1500})
    await environment.close()
    await _until(lambda: not list(powerless.tmp.iterdir()))
    assert (tmp_path / "kept").exists()
    assert os.path.exists("/bin/sh")


async def test_a_folder_that_is_in_the_way(pod: InPod) -> None:
    """What lies where an environment's folder is to be is removed first, and a link is not followed."""
    (pod.tmp / "environment-1").symlink_to(pod.code)
    environment = await pod.environment()
    assert await _lives(environment)
    assert (pod.code / "code.py").exists()
    assert not (pod.tmp / "environment-1").is_symlink()


async def test_an_order_taken_back(pod: InPod) -> None:
    """Who gives up before the environment is there leaves no process behind."""
    for _ in range(20):
        task = asyncio.ensure_future(pod.environment())
        await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await _until(lambda: set(filter(is_running, below(pod.init_pid))) <= {pod.fork_server()})
    assert await _lives(await pod.environment())


# The fork server.


async def test_a_fork_server_that_is_killed(pod: InPod) -> None:
    """Its environments live on, and the next order has a new one started."""
    environment = await pod.environment()
    os.kill(pod.fork_server(), signal.SIGKILL)
    assert await _lives(environment)
    await _until(lambda: pod.fork_server() == 0)
    assert await _lives(await pod.environment())
    assert await _lives(environment)


async def test_a_fork_server_that_is_stopped(pod: InPod) -> None:
    """User code of its user can do that; it is replaced after a while, and no order is lost."""
    environment = await pod.environment()
    os.kill(pod.fork_server(), signal.SIGSTOP)
    assert await _lives(await pod.environment())
    assert await _lives(environment)


async def test_a_fork_server_that_is_killed_again_and_again(pod: InPod) -> None:
    """An order that meets its end is given to the next one."""
    for _ in range(10):
        pid = pod.fork_server()
        asked = asyncio.ensure_future(pod.environment())
        await asyncio.sleep(0.002)
        if pid:
            with suppress(ProcessLookupError):  # The last one's death may be seen only now.
                os.kill(pid, signal.SIGKILL)
        environment = await asked
        assert await _lives(environment)
        await environment.close()
    await _until(lambda: set(filter(is_running, below(pod.init_pid))) <= {pod.fork_server()})


async def test_a_fork_server_that_does_not_start(tmp_path: Path) -> None:
    """Whoever starts the function is told."""
    broken = RuntimeCommand(
        name="broken",
        execution_env=None,
        command=["/bin/false"],
        forks=True,
        channel=True,
        runtime_dir="/",
        readable=[],
    )
    pod = InPod("", runtime=broken)
    pod.start_init()
    try:
        for _ in range(2):
            with pytest.raises(SpawnFailed, match="fork server did not start"):
                await pod.spawner.start()
    finally:
        await pod.__aexit__()


# The connection.


async def test_waits_for_the_invoker() -> None:
    """Before the socket is there, and before the invoker has said what is to run, nothing runs."""
    pod = InPod(CODE)
    pod.start_init()
    try:
        await asyncio.sleep(0.3)
        assert below(pod.init_pid) == []
        await asyncio.wait_for(pod.spawner.connected(), 5)
        assert below(pod.init_pid) == []
        assert await _lives(await pod.environment())
    finally:
        await pod.__aexit__()


async def test_the_name_of_the_socket(pod: InPod) -> None:
    """It is gone as soon as init has connected, and there again when that connection has ended."""
    assert not pod.socket_path.exists()
    environment = await pod.environment()
    assert await environment.value({"do": "connect", "with": [str(pod.socket_path)]}) == {
        str(pod.socket_path): "ENOENT"
    }
    assert pod.process is not None
    pod.process.kill()
    await environment.ended()
    await _until(pod.socket_path.exists)
    os.kill(environment.process.pid, signal.SIGKILL)  # in a pod the kernel ends it with its first process
    pod.process.wait()
    pod.start_init()
    assert await _lives(await pod.environment())
    assert not pod.socket_path.exists()


@pytest.mark.parametrize("has_heard", [False, True])
async def test_an_init_that_died_a_moment_ago(has_heard: bool) -> None:
    """An environment that is asked for before the end of its connection was noticed, or of which nothing came before it
    died, is had from the next one."""
    async with InPod(CODE) as pod, asyncio.timeout(60):
        died = pod.process
        assert died is not None
        fork_server = below(pod.init_pid)
        starting = None
        if has_heard:
            died.send_signal(signal.SIGSTOP)
            starting = asyncio.create_task(pod.environment())
            await asyncio.sleep(0.2)
        died.kill()
        died.wait()
        for pid in fork_server:  # in a pod the kernel ends it with its first process
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        pod.start_init()
        # Nothing has been read meanwhile, and up to where it waits for the first time this goes on without reading.
        assert await _lives(await (starting or pod.environment()))
        assert await _lives(await pod.environment())


async def test_all_wait_for_the_first_process_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's patience begins when that of those who asked before has ended."""
    monkeypatch.setattr(pod_spawner, "CONNECT_S", 1.0)
    pod = InPod(CODE)  # whose init does not run
    async with asyncio.timeout(5):
        asked = [asyncio.create_task(pod.spawner.start()) for _ in range(20)]
        for each in asked:
            with pytest.raises(SpawnFailed):
                await each
    await pod.__aexit__()


async def test_an_invoker_that_is_gone(pod: InPod) -> None:
    """All environments and the fork server end; the next invoker is connected to and served."""
    environments = [await pod.environment() for _ in range(3)]
    daemon = await environments[0].value({"do": "daemonise"})
    pids = [*below(pod.init_pid), daemon]
    connection = pod.spawner._connection
    assert connection is not None
    connection.shutdown(socket.SHUT_RDWR)
    for environment in environments:
        assert (await environment.ended()).signal == signal.SIGKILL
    await _until(lambda: not any(map(is_running, pids)))
    assert await _lives(await pod.environment())


@pytest.mark.parametrize(
    "message",
    [
        b"", b"{", b"[]", b"{}", b'"text"', b"null", b"\xff" * 10, b'{"release": 1}', b'{"settings": {}}',
        b'{"settings": {"command": ["x"], "task_root": "/", "tmp": "/tmp", "memory_kib": 1, "processes": 1,'
        b' "limits": {"what": 1}}}',
        b'{"start": {}}', b'{"start": {"environment": {"A": 1}, "directory": "/tmp/x"}}',
        b'{"start": {"environment": {}, "directory": "/tmp/../etc"}}', b'{"release": true, "x": "' + b"x" * 130_000,
        b"x" * 140_000,
    ],
)  # fmt: skip
async def test_malformed_messages(message: bytes) -> None:
    """They end the connection and nothing else: init comes again."""
    pod = InPod(CODE)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(pod.socket_path))
    listener.listen(1)
    listener.settimeout(10)
    pod.start_init()
    try:
        for descriptors in ([], [0], [0, 0], [0, 0, 0], [0] * 8):
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(10)
                assert json.loads(connection.recv(4096)) == {"protocol": 1}
                socket.send_fds(connection, [message], descriptors)
                assert connection.recv(4096) == b""
        connection, _ = listener.accept()
        with connection:
            connection.recv(100)
            connection.send(b'{"release": true}')
            assert pod.process is not None
            assert pod.process.wait(5) == 0
    finally:
        listener.close()
        await pod.__aexit__()


async def test_orders_for_a_wrong_folder(pod: InPod) -> None:
    """An environment's folder is in the temporary folder and nowhere else."""
    for folder in ("/etc/x", f"{pod.tmp}/..", f"{pod.tmp}/.x", f"{pod.tmp}/a/../../x", f"{pod.tmp}/", ""):
        start = {"start": {"environment": {}, "directory": folder, "fork": False}}
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        await pod.spawner.start()
        connection = pod.spawner._connection
        assert connection is not None
        with ours, theirs:
            socket.send_fds(connection, [json.dumps(start).encode()], [theirs.fileno(), theirs.fileno()])
            await _until(lambda connection=connection: pod.spawner._connection is not connection)
    assert await _lives(await pod.environment())


async def test_stopping(pod: InPod) -> None:
    """SIGTERM is passed on; everything goes on until the invoker lets it end."""
    environment = await pod.environment()
    assert pod.process is not None
    pod.process.terminate()
    await asyncio.wait_for(pod.spawner.stopping.wait(), 5)
    await asyncio.sleep(0.2)
    assert await _lives(environment)
    assert await _lives(await pod.environment())
    pids = below(pod.init_pid)
    pod.spawner.release()
    assert pod.process.wait(5) == 0
    assert not any(map(is_running, pids))


async def test_stopping_without_an_invoker() -> None:
    """Nobody is there who could say when: it ends at once."""
    pod = InPod(CODE)
    pod.start_init()
    try:
        await asyncio.sleep(0.2)
        assert pod.process is not None
        pod.process.terminate()
        assert pod.process.wait(5) == 0
    finally:
        await pod.__aexit__()


async def test_stopping_is_told_to_the_next_invoker_too(pod: InPod) -> None:
    """An invoker that ends while the pod stops: init ends, for nothing can be finished any more."""
    assert pod.process is not None
    pod.process.terminate()
    await asyncio.wait_for(pod.spawner.stopping.wait(), 5)
    connection = pod.spawner._connection
    assert connection is not None
    connection.shutdown(socket.SHUT_RDWR)
    assert pod.process.wait(5) == 0


# What user code of the same user can try.


async def test_signals_do_not_end_it(powerless: InPod) -> None:
    """As PID 1 it would ignore what it does not handle; here it handles all, those that end Go programs as well."""
    environment = await powerless.environment()
    # Go leaves 34 alone, which does nothing to a PID 1.
    others = {signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, 34}
    for number in sorted(signal.valid_signals() - others):
        answer = await environment.value({"do": "kill", "with": [powerless.init_pid], "signal": int(number)})
        assert answer == {str(powerless.init_pid): "done"}
    assert await _lives(environment)
    assert await _lives(await powerless.environment())
    assert not powerless.spawner.stopping.is_set()


async def test_nobody_looks_into_it(powerless: InPod) -> None:
    """Neither memory, descriptors, variables nor a debugger: of init and of the fork server."""
    environment = await powerless.environment()
    for pid in (powerless.init_pid, powerless.fork_server()):
        paths = [f"/proc/{pid}/{name}" for name in ("mem", "environ", "fd", "maps", "root/etc", "cwd/")]
        answers = await environment.value({"do": "read", "with": paths})
        assert set(answers.values()) <= {"EACCES", "EPERM"}, answers
        assert await environment.value({"do": "ptrace", "with": [pid]}) == {str(pid): "EPERM"}


def test_go_code_is_clean() -> None:
    """gofmt and go vet have nothing to say, and its own tests pass: of what this machine has only one kind."""
    go = Path(shutil.which("go") or "/usr/local/go/bin/go")
    if not go.exists():
        pytest.skip("needs Go")
    assert subprocess.run([go.with_name("gofmt"), "-l", SOURCE], capture_output=True, text=True).stdout == ""
    vet = subprocess.run([go, "vet", "./..."], cwd=SOURCE, capture_output=True, text=True)
    assert vet.returncode == 0, vet.stderr
    tested = subprocess.run([go, "test", "./..."], cwd=SOURCE, capture_output=True, text=True)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_it_is_static() -> None:
    """It runs in any image: no interpreter, no library."""
    header = init_binary().read_bytes()
    assert b"ld-linux" not in header
