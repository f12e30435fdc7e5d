"""What hostile code can't do, held by namespaces and held by Landlock alone; and that nothing of it stays behind."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from runtime_driver import RUNTIME, Function, python_command, resident_kib

from lateen_invoker import kernel, spawners, wire
from lateen_invoker.forkserver import descendants
from lateen_invoker.spawner import SpawnFailed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
CODE = '''
import ctypes, errno, os, signal, socket, subprocess, sys, threading, time

libc = ctypes.CDLL(None, use_errno=True)

def called(name, *arguments):
    """0, or the name of the error."""
    result = getattr(libc, name)(*arguments)
    return 0 if result >= 0 else errno.errorcode[ctypes.get_errno()]

def tried(function, *arguments):
    try:
        function(*arguments)
        return "done"
    except OSError as exc:
        return errno.errorcode[exc.errno]

def fork_all():
    children = 0
    try:
        while children < 100000:
            if os.fork() == 0:
                time.sleep(60)
                os._exit(0)
            children += 1
    except OSError as exc:
        return [children, errno.errorcode[exc.errno]]

def daemonise():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(60)
        os._exit(0)
    return os.wait()[1]

def hand_on():
    if os.fork() == 0:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        end = time.time() + 60
        while time.time() < end:
            if libc.fork():
                libc._exit(0)
        os._exit(0)

def read(path):
    return (os.listdir if os.path.isdir(path) else lambda p: open(p, "rb").read(64))(path)

def threads(count):
    begun, end = 0, threading.Event()
    try:
        for begun in range(count):
            threading.Thread(target=end.wait).start()
        return count
    except RuntimeError:
        return begun
    finally:
        end.set()

def watchers():
    made = 0
    while called("inotify_init1", 0) == 0:
        made += 1
    return made

def hoard(mib):
    try:
        return len(bytearray(mib << 20))
    except MemoryError:
        return "MemoryError"

def connect_abstract(name):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("\\0" + name)

def connected(port):
    global connection
    connection = socket.create_connection(("127.0.0.1", port))
    return connection.getsockname()[1]

def handler(event, context):
    what, given = event["do"], event.get("with")
    if what == "read":
        return {path: tried(read, path) for path in given}
    if what == "write":
        return {path: tried(lambda p: open(p, "wb").close(), path) for path in given}
    if what == "status":
        lines = (line.partition(":") for line in open("/proc/self/status"))
        return {name: value.strip() for name, _, value in lines}
    if what == "fds":
        return sorted(int(fd) for fd in os.listdir("/proc/self/fd"))
    if what == "processes":
        return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
    if what == "kill":
        return {str(pid): tried(os.kill, pid, 15) for pid in given}
    if what == "kill all":
        return tried(os.kill, -1, 9)
    if what == "ptrace":
        return called("ptrace", 16, given, None, None)
    if what == "become root":
        return [tried(os.setuid, 0), tried(os.setresuid, 0, 0, 0), tried(os.chroot, "/tmp"),
                called("unshare", 0x10000000), called("unshare", 0x20000),
                called("mount", b"none", b"/tmp", b"tmpfs", 0, 0)]
    if what == "run":
        return subprocess.run(given, capture_output=True, text=True).stdout
    if what == "environ":
        return dict(os.environ)
    return {"fork all": fork_all, "hand on": hand_on, "daemonise": daemonise, "hoard": lambda: hoard(given),
            "threads": lambda: threads(given), "watchers": watchers,
            "abstract": lambda: tried(connect_abstract, given), "connect": lambda: connected(given)}[what]()
'''
NAMESPACES = ["namespaces", "landlock"]
LANDLOCK = ["landlock"]


def _isolation() -> list[str]:
    """Which of them this machine has, as a plain look at the kernel says."""
    script = "from lateen_invoker import kernel; kernel.unshare(kernel.CLONE_NEWUSER | kernel.CLONE_NEWPID)"
    has_namespaces = subprocess.run([sys.executable, "-c", script], stderr=subprocess.DEVNULL).returncode == 0
    return [*(["namespaces"] if has_namespaces else []), *(["landlock"] if kernel.landlock_version() else [])]


HERE = _isolation() if sys.platform == "linux" else []
needs_namespaces = pytest.mark.skipif("namespaces" not in HERE, reason="the kernel has no user namespaces to give")
needs_landlock = pytest.mark.skipif("landlock" not in HERE, reason="the kernel has no Landlock")
scopes = pytest.mark.skipif(
    sys.platform == "linux" and kernel.landlock_version() < 6, reason="this kernel's Landlock has no scopes (6.12)"
)


@pytest.fixture(
    params=[
        pytest.param(NAMESPACES, id="namespaces", marks=needs_namespaces),
        pytest.param(LANDLOCK, id="landlock", marks=needs_landlock),
    ]
)
async def function(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Function]:
    async with Function(tmp_path / "own", CODE, allowed=request.param) as running:
        yield running


@pytest.fixture
async def confined(tmp_path: Path) -> AsyncIterator[Function]:
    async with Function(tmp_path / "own", CODE, allowed=NAMESPACES) as running:
        yield running


def _gone(pids: list[int]) -> bool:
    return not any(os.path.exists(f"/proc/{pid}") for pid in pids)


def _has_ended(pid: int) -> bool:
    """Waited for or not."""
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


async def _until(condition: Callable[[], bool], within_s: float = 10) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.01)


async def test_isolation_is_told(function: Function) -> None:
    """The operator reads what holds the code, and it is what was asked for."""
    expected = ", ".join(part for part in function.allowed if part in HERE)
    assert function.spawner.isolation == expected
    environment = await function.environment()
    assert environment.first == (wire.READY, "", b"")


async def test_files_of_others(function: Function, tmp_path: Path) -> None:
    """No file of the platform, of another function or of another environment can be read or listed."""
    secrets = {
        "admin": tmp_path / "admin",
        "data": tmp_path / "data" / "lateen.db",
        "other": tmp_path / "other" / "code.py",
    }
    for path in secrets.values():
        path.parent.mkdir(exist_ok=True)
        path.write_text("secret")
        path.chmod(0o644)
    first, second = await function.environment(), await function.environment()
    (second.folder / "private").write_text("secret")
    forbidden = [
        *map(str, secrets.values()), str(tmp_path), str(tmp_path / "other"),
        str(second.folder), str(second.folder / "private"), str(function.folder / "environments"),
        "/.environments", "/.environments/2", "/etc/shadow",
        str(Path.home() / ".ssh"), f"/proc/{os.getpid()}/environ", f"/proc/{os.getpid()}/cwd/",
        f"/proc/{os.getpid()}/root/etc/passwd", f"/proc/{function.spawner._pid}/environ",
    ]  # fmt: skip
    answers = await first.value({"do": "read", "with": forbidden})
    assert {path: answer for path, answer in answers.items() if answer not in ("EACCES", "EPERM", "ENOENT")} == {}
    climbing = await first.value(
        {"do": "read", "with": ["/proc/1/environ", "/proc/1/root/etc", "/proc/1/fd/", "/proc/1/mem"]}
    )
    assert set(climbing.values()) <= {"EACCES", "EPERM", "ENOENT"}


async def test_files_of_its_own(function: Function) -> None:
    """Code and runtime can be read and not written; the environment's own folder can be written, nothing else."""
    environment = await function.environment()
    root, runtime, tmp = (
        function.spawner.task_root,
        str(RUNTIME),
        function.spawner.variables(str(environment.folder))["TMPDIR"],
    )
    assert set((await environment.value({"do": "read", "with": [root, f"{root}/code.py", runtime, tmp]})).values()) == {
        "done"
    }
    forbidden = [f"{root}/code.py", f"{root}/new", f"{runtime}/bootstrap.py", "/usr/bin/new", "/new", "/etc/passwd",
                 "/dev/new", os.__file__, "/proc/sys/kernel/core_pattern",
                 "/proc/sys/user/max_user_namespaces"]  # fmt: skip
    answers = await environment.value({"do": "write", "with": forbidden})
    assert set(answers.values()) <= {"EACCES", "EPERM", "EROFS", "ENOENT"}, answers
    assert await environment.value({"do": "write", "with": [f"{tmp}/new", "/dev/null"]}) == {
        f"{tmp}/new": "done",
        "/dev/null": "done",
    }
    assert (environment.folder / "new").exists()


async def test_what_is_inherited(function: Function) -> None:
    """Standard streams and the channel are the only descriptors, the variables given the only ones, and there is no
    capability and no way to one."""
    environment = await function.environment(MINE="1")
    # The fifth is the listing's own.
    assert len(await environment.value({"do": "fds"})) == 5
    status = await environment.value({"do": "status"})
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
    if function.allowed == NAMESPACES or os.geteuid() == 0:
        assert status["CapBnd"] == "0" * 16  # who has no power at all can't give this one up, nor use it
    assert status["NoNewPrivs"] == "1"
    variables = await environment.value({"do": "environ"})
    assert set(variables) <= {
        "MINE", "_HANDLER", "AWS_EXECUTION_ENV", "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_VERSION", "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME", "LANG", "TZ", "PATH",
        "LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR", "HOME", "TMPDIR", "_X_AMZN_TRACE_ID",
    }  # fmt: skip


@scopes
async def test_processes_of_others(function: Function) -> None:
    """No signal and no debugger reaches the platform, the fork server, the keeper or another environment."""
    first, second = await function.environment(), await function.environment()
    others = [
        os.getpid(),
        function.spawner._pid,
        first.process._keeper_pid,
        second.process._keeper_pid,
        second.process.pid,
    ]
    answers = await first.value({"do": "kill", "with": others})
    assert set(answers.values()) <= {"EPERM", "ESRCH"}
    for pid in [*others, 1]:
        assert await first.value({"do": "ptrace", "with": pid}) in ("EPERM", "ESRCH")
    assert (await second.value({"do": "status"}))["State"] == "R (running)"


@needs_namespaces
async def test_killing_everything(confined: Function) -> None:
    """`kill -9 -1` ends nobody but the one who sends it."""
    first, second = await confined.environment(), await confined.environment()
    # It reaches all but the sender and the first process of the namespace, and so nobody.
    assert await first.value({"do": "kill all"}) == "ESRCH"
    assert (await second.value({"do": "status"}))["State"] == "R (running)"
    assert (await confined.environment()).first[0] == wire.READY


@needs_namespaces
async def test_sees_only_itself(confined: Function) -> None:
    """The keeper and itself are all the processes that there are, and it is not root, in here or outside."""
    environment = await confined.environment()
    assert await environment.value({"do": "processes"}) == [1, 2]
    assert (await environment.value({"do": "status"}))["Uid"].split() == ["1000"] * 4
    assert os.stat(f"/proc/{environment.process.pid}").st_uid == (os.geteuid() or 65534)


async def test_no_way_to_root(function: Function) -> None:
    """No root, no further namespaces, no mounts."""
    environment = await function.environment()
    answers = await environment.value({"do": "become root"})
    if function.allowed == LANDLOCK:
        # User namespaces are what it may have, and with them powers over nothing: Landlock holds in there too. Root's
        # environments are user 0 already, without any of its powers.
        answers = [*answers[2 if os.geteuid() == 0 else 0 : 3], answers[-1]]
    assert set(answers) <= {"EPERM", "ENOSPC", "EINVAL", "EACCES"}, answers


@scopes
async def test_abstract_sockets(function: Function) -> None:
    """Sockets without a file, which the shared network would show, are out of reach."""
    name = f"lateen-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"\0{name}")
        listening.listen()
        environment = await function.environment()
        assert await environment.value({"do": "abstract", "with": name}) in ("EPERM", "ECONNREFUSED")


async def test_daemons_end_with_their_environment(function: Function) -> None:
    """Neither a new session nor a lost parent lets a process outlive its environment."""
    first, second = await function.environment(), await function.environment()
    for _ in range(3):
        assert await first.value({"do": "daemonise"}) == 0
    await _until(lambda: len(descendants(first.process._keeper_pid)) == 4)
    pids = descendants(first.process._keeper_pid)
    first.process.kill()
    await first.ended()
    assert _gone(pids)
    assert (await second.value({"do": "status"}))["State"] == "R (running)"


async def test_daemons_end_when_user_code_exits(function: Function) -> None:
    """Also where the environment ends by itself."""
    environment = await function.environment()
    assert await environment.value({"do": "daemonise"}) == 0
    await _until(lambda: len(descendants(environment.process._keeper_pid)) == 2)
    pids = descendants(environment.process._keeper_pid)
    os.kill(environment.process.pid, signal.SIGTERM)
    assert (await environment.ended()).signal == signal.SIGTERM
    assert _gone(pids)


async def test_what_is_never_the_same_process_for_long(function: Function) -> None:
    """One that forks the next and ends, again and again, ends with its environment too."""
    for _ in range(10):
        environment = await function.environment()
        await environment.value({"do": "hand on"})
        await asyncio.sleep(0.02)
        environment.process.kill()
        await environment.ended()


@needs_namespaces
async def test_a_fork_bomb_is_bounded(confined: Function) -> None:
    """It meets a limit, the function's other environments and the machine do not, and all of it ends at once."""
    environment = await confined.environment()
    children, error = await environment.value({"do": "fork all"})
    assert error == "EAGAIN"
    assert children < 64 + 192 * confined.configure.concurrency
    usage = environment.process.usage()
    assert usage is not None
    assert usage.processes == children + 1
    pids = descendants(environment.process._keeper_pid)
    began = time.monotonic()
    environment.process.kill()
    await environment.ended(20)
    assert _gone(pids)
    assert time.monotonic() - began < 10
    assert (await confined.environment()).first[0] == wire.READY


async def test_many_threads(function: Function) -> None:
    """Their stacks take next to nothing of a small function's memory, and are no reason to have no more."""
    environment = await function.environment()
    assert await environment.value({"do": "threads", "with": 256}) == 256


@needs_namespaces
async def test_watchers_of_files(confined: Function) -> None:
    """The kernel counts them as those of whoever started Lateen, who has 128 in all."""
    environment = await confined.environment()
    assert await environment.value({"do": "watchers", "with": None}) <= 32


async def test_memory_beyond_reason(function: Function) -> None:
    """One allocation can't take the machine's memory before anybody looks."""
    environment = await function.environment()
    assert await environment.value({"do": "hoard", "with": 4096}) == "MemoryError"


async def test_what_it_uses(function: Function) -> None:
    """Memory and its peak are seen from outside, for whoever must end it."""
    environment = await function.environment()
    before = environment.process.usage()
    assert before is not None
    assert 5_000 < before.memory_kib < 60_000
    assert await environment.value({"do": "hoard", "with": 100}) == 100 << 20
    assert environment.process.peak_memory_kib() > 100 * 1024
    after = environment.process.usage()
    assert after is not None
    assert after.memory_kib < before.memory_kib + 20_000


async def test_whose_connection(function: Function) -> None:
    """A connection is known by the process that holds it, and not by where it comes from."""
    first, second = await function.environment(), await function.environment()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        client = await first.value({"do": "connect", "with": port})
        assert first.process.owns_connection(client, port)
        assert not second.process.owns_connection(client, port)
        with socket.create_connection(("127.0.0.1", port)) as ours:
            assert not first.process.owns_connection(ours.getsockname()[1], port)


async def test_the_end_of_the_spawner(function: Function) -> None:
    """Closing it ends every environment with all that it started."""
    environments = [await function.environment() for _ in range(2)]
    await environments[0].value({"do": "daemonise"})
    pids = [p for e in environments for p in (e.process._keeper_pid, *descendants(e.process._keeper_pid))]
    await function.spawner.close()
    await _until(lambda: _gone(pids))


async def test_a_fork_server_that_dies(function: Function) -> None:
    """Its environments end with it, and another one takes its place."""
    environment = await function.environment()
    os.kill(function.spawner._pid, signal.SIGKILL)
    await environment.ended()
    with pytest.raises(Exception, match="fork server"):
        await function.environment()
    await function.spawner.start()
    assert (await function.environment()).first[0] == wire.READY


async def test_a_fork_server_that_is_stopped(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks it is refused, and it is replaced: one that does not answer is not asked for ever."""
    stopped = function.spawner._pid
    os.kill(stopped, signal.SIGSTOP)
    with monkeypatch.context() as soon:
        soon.setattr("lateen_invoker.spawners.SPAWN_S", 0.2)
        with pytest.raises(SpawnFailed, match="in time"):
            await function.environment()
    await _until(lambda: _gone([stopped]))
    await function.spawner.start()
    assert (await function.environment()).first[0] == wire.READY


async def test_a_fork_server_that_is_stopped_as_everything_ends(function: Function) -> None:
    """It does not outlive the spawn that gave it up and is not waited for."""
    stopped = function.spawner._pid
    os.kill(stopped, signal.SIGSTOP)
    ending = asyncio.ensure_future(function.spawner.close())
    await asyncio.sleep(0.1)
    await function.spawner.close()
    ending.cancel()
    await asyncio.wait([ending])
    await _until(lambda: _has_ended(stopped))


async def test_a_fork_server_that_is_slow(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where many are asked for at once the last may wait too long. Those that were made meanwhile run events."""
    receive, is_first, is_late = spawners._receive, True, asyncio.Event()

    async def received(sock: socket.socket, within_s: float) -> tuple[bytes, list[int]]:
        nonlocal is_first
        if is_first:
            is_first = False
            await is_late.wait()
            raise SpawnFailed("no process could be started in time")
        return await receive(sock, within_s)

    monkeypatch.setattr(spawners, "_receive", received)
    late = asyncio.ensure_future(function.environment())
    await _until(lambda: not is_first)
    made = await function.environment()
    is_late.set()
    with pytest.raises(SpawnFailed, match="in time"):
        await late
    assert "0" not in await made.value({"do": "environ"})


async def test_a_fork_server_that_ends_slowly(function: Function) -> None:
    """Another one may be started meanwhile, and stays; whoever waits for an answer of the old one ends no other."""
    old = function.spawner._pid
    os.kill(old, signal.SIGSTOP)
    asked = asyncio.ensure_future(function.environment())
    await asyncio.sleep(0.1)
    ending = asyncio.ensure_future(function.spawner.close())
    await asyncio.sleep(0.1)
    await function.spawner.start()
    assert function.spawner._pid != old
    await ending
    with pytest.raises(SpawnFailed, match="has ended"):
        await asked
    await _until(lambda: _gone([old]))
    assert (await function.environment()).first[0] == wire.READY


OWNER = """
import asyncio, json, sys
from pathlib import Path
from lateen_invoker.forkserver import descendants
from runtime_driver import Function

async def main():
    async with Function(Path(sys.argv[1]), sys.argv[3], allowed=sys.argv[2].split()) as function:
        environment = await function.environment()
        await environment.value({"do": "daemonise"})
        keeper = environment.process._keeper_pid
        print(json.dumps([function.spawner._pid, keeper, *descendants(keeper)]), flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.parametrize(
    "allowed",
    [pytest.param(NAMESPACES, marks=needs_namespaces), pytest.param(LANDLOCK, marks=needs_landlock), []],
    ids=["namespaces", "landlock", "plain"],
)
async def test_kill_9_of_the_owner(tmp_path: Path, allowed: list[str]) -> None:
    """Whoever owns the spawner may be killed in any way; fork server, keepers, environments and daemons follow."""
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path / "own"), " ".join(allowed), CODE], stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parents[1] / "support")])},
    )  # fmt: skip
    assert owner.stdout is not None
    pids = [int(pid) for pid in owner.stdout.readline().strip(b"[]\n").split(b",")]
    assert len(pids) == 4
    owner.kill()
    owner.wait()
    owner.stdout.close()
    await _until(lambda: all(_is_over(pid) for pid in pids))


def _is_over(pid: int) -> bool:
    """Gone, or a zombie that waits for a parent which is not ours to mend."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@needs_namespaces
async def test_a_runtime_below_tmp(tmp_path: Path) -> None:
    """A checkout below `/tmp`, where environments have their own folder, works all the same."""
    shutil.copytree(RUNTIME, runtime := tmp_path / "checkout" / "python3.12")
    tmp_path.chmod(0o755)
    command = python_command()
    changed = {"command": [*command.command[:3], str(runtime / "bootstrap.py")], "runtime_dir": str(runtime)}
    values = {name: getattr(command, name) for name in command.__struct_fields__}
    runtime_command = type(command)(**{**values, **changed})
    async with Function(tmp_path / "own", CODE, runtime=runtime_command) as function:
        assert function.spawner.isolation.startswith("namespaces")
        # By exec, for which the bootstrap's file must be found in there.
        environment = await function.environment(PYTHONHASHSEED="0")
        assert environment.first[0] == wire.READY, environment.logs()
        answer = await environment.value({"do": "read", "with": [str(runtime), "/tmp", str(tmp_path / "own")]})
        assert answer == {str(runtime): "done", "/tmp": "done", str(tmp_path / "own"): "ENOENT"}


@pytest.mark.skipif(os.geteuid() != 0, reason="another user than root runs its functions itself")
@needs_landlock
async def test_files_for_root_only(tmp_path: Path) -> None:
    """What only root may read can't be run by anybody else: it runs all the same, held by Landlock."""
    (tmp_path / "own" / "code").mkdir(parents=True, mode=0o700)
    async with Function(tmp_path / "own", CODE) as function:
        assert function.spawner.isolation.startswith("landlock")
        assert (await function.environment()).first[0] == wire.READY


BLOCKED = (
    "echo 0 > /proc/sys/user/max_user_namespaces && "
    'exec setpriv --bounding-set=-all --inh-caps=-all --ambient-caps=-all -- "$@"'
)
TELL = """
import asyncio, sys
from pathlib import Path
from runtime_driver import Function

async def main():
    async with Function(Path(sys.argv[1]), "def handler(event, context): return 1") as function:
        print(function.spawner.isolation, await (await function.environment()).value())

asyncio.run(main())
"""


@needs_namespaces
@needs_landlock
@pytest.mark.skipif(not (shutil.which("unshare") and shutil.which("setpriv")), reason="needs unshare and setpriv")
def test_where_namespaces_are_forbidden(tmp_path: Path) -> None:
    """Landlock holds the code, and that is said."""
    ended = subprocess.run(
        ["unshare", "--user", "--map-root-user", "sh", "-c", BLOCKED, "sh",
         sys.executable, "-c", TELL, str(tmp_path / "own")],
        capture_output=True, text=True, timeout=30,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parents[1] / "support")])},
    )  # fmt: skip
    assert (ended.stdout, ended.returncode) == ("landlock 1\n", 0), ended.stderr


def _everybodys_python() -> str | None:
    """An interpreter of this version that any user may run."""
    path = f"/usr/bin/python{sysconfig.get_python_version()}"
    readable = os.access(path, os.X_OK) and os.stat(RUNTIME).st_mode & 0o5 and os.stat(pytest.__file__).st_mode & 0o4
    return path if readable else None


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests here ran without root already")
@pytest.mark.skipif(not shutil.which("setpriv"), reason="needs setpriv")
@pytest.mark.skipif(_everybodys_python() is None, reason="no interpreter that another user may run")
def test_all_of_this_without_root(tmp_path: Path) -> None:
    """The whole file again as a user who may nothing."""
    with_packages = os.pathsep.join(
        path for path in sys.path if path and os.path.isdir(path) and not path.startswith("/root")
    )
    folder = Path("/tmp") / f"lateen-nobody-{os.getpid()}"
    folder.mkdir(mode=0o700)
    os.chown(folder, 65534, 65534)
    try:
        ended = subprocess.run(
            ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--", _everybodys_python() or "",
             "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={folder}/t", f"{Path(__file__)}"],
            capture_output=True, text=True, timeout=110, cwd=Path(__file__).parents[2],
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": with_packages, "HOME": str(folder),
                 "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert ended.returncode == 0, ended.stdout[-4000:]


@needs_namespaces
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may read the memory of what is in another user namespace")
async def test_an_idle_function_takes_little_memory(confined: Function) -> None:
    """One environment, its keeper and the fork server."""
    environment = await confined.environment()
    await asyncio.sleep(1)  # the fork server imports what it likes to have when nobody wants anything
    pids = [confined.spawner._pid, environment.process._keeper_pid, environment.process.pid]
    # Alone on a machine; the fewer others share the libraries, the more of them counts. The invoker has the rest
    # of the 60 MiB that all of it may take.
    assert sum(map(resident_kib, pids)) < 34 * 1024
