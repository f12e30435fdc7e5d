"""`init` on the node: the runtime container of a function pod, restricted in full, and the invoker's side beside it.

What it starts and how it ends things is tested in `tests/integration/test_init.py`; here is what needs two containers,
a kernel's limits and PID 1. Sentences quoted are the design's.
"""

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from secrets import token_hex

import pytest
from init_pod import RUNTIME, InitPod, make_namespace
from lateen_release import eventually, kubectl
from node_processes import NotOnThisNode

from lateen_invoker.control import RuntimeCommand

pytestmark = pytest.mark.cluster
Record = Callable[[str, object], None]
LAMBDA_BASE = "localhost/lateen/test-lambda-base:dev"
"""Of `tests/images/lambda-base`."""


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    name = f"test-init-{token_hex(4)}"
    make_namespace(name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def pod(namespace: str) -> Iterator[InitPod]:
    """One that tests share, as none of them harms it."""
    made = InitPod(namespace, "shared")
    yield made
    made.delete()


@pytest.fixture(scope="module")
def single(namespace: str) -> Iterator[InitPod]:
    """With room for one environment."""
    made = InitPod(namespace, "single", concurrency=1)
    yield made
    made.delete()


@contextlib.contextmanager
def _environment(pod: InitPod, **variables: str) -> Iterator[int]:
    number = pod.start(**variables)
    yield number
    pod.order("kill", number=number)


def _on_node(pod: InitPod) -> int:
    """The process id of `init` on the node."""
    try:
        return pod.processes()[0].pid
    except NotOnThisNode as exc:
        pytest.skip(str(exc))


def _kernel_kills(init: int) -> int:
    """How often the kernel has killed in the container for want of memory."""
    root = Path(f"/proc/{init}/root/sys/fs/cgroup")
    for name in ("memory.events", "memory/memory.oom_control"):
        if (root / name).exists():
            words = (root / name).read_text().split()
            return int(words[words.index("oom_kill") + 1])
    raise AssertionError("the container does not see its group")


def _processor_s(pid: int) -> float:
    used = (Path(f"/proc/{pid}/task/{task}/schedstat").read_text() for task in os.listdir(f"/proc/{pid}/task"))
    return sum(float(text.split()[0]) for text in used) / 1e9


# `init` is PID 1 and subreaper.


def test_it_is_the_first_process(pod: InitPod) -> None:
    """What an environment sees: init, the fork server and itself, and init is its parent."""
    with _environment(pod) as number:
        session, pid, parent = pod.value(number, "session")
        assert parent == 1
        assert session == pid
        processes = pod.value(number, "processes")
        assert processes[0] == 1
        assert pid in processes
        daemon = pod.value(number, "daemonise stubborn")
        eventually(lambda: daemon not in pod.value(number, "processes"), "the end of an orphan", 8, 0.2)
        assert pod.lives(number)


def test_an_environment_is_another_user_without_powers(pod: InitPod) -> None:
    """A user of the function's own, not the invoker's; no capability, no new privilege, a seccomp filter."""
    with _environment(pod) as number:
        status = pod.value(number, "status")
        assert int(status["Uid"].split()[0]) >= 100_000
        assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        assert pod.value(number, "limits", ["RLIMIT_NPROC", "RLIMIT_CORE"]) == {
            "RLIMIT_NPROC": 64 + 192 * 4, "RLIMIT_CORE": 0,
        }  # fmt: skip


# The invoker listens on a Unix socket in a small shared volume; `init` connects before any user code runs …


def test_the_socket_is_closed_to_user_code(pod: InitPod) -> None:
    """Its name is gone while init is connected; init's own end can't be had; the volume is read-only."""
    assert pod.order("socket") == {"exists": False}
    with _environment(pod) as number:
        assert pod.value(number, "connect", ["/run/lateen/init.sock"]) == {"/run/lateen/init.sock": "ENOENT"}
        assert pod.value(number, "fds") == [0, 1, 2, 3, 4]  # the last one is the listing's own
        made = pod.value(number, "make", ["/run/lateen/x", "/var/task/x", "/lateen/x", "/x", "/etc/x", "/usr/x"])
        assert set(made.values()) == {"EROFS"}
        assert set(pod.value(number, "write", ["/var/task/code.py", "/lateen/init"]).values()) <= {"EROFS", "EACCES"}


def test_nobody_looks_into_init_or_the_fork_server(pod: InitPod) -> None:
    """Not dumpable: no memory, no descriptors, no variables, no debugger, though the user is the same."""
    with _environment(pod) as number:
        forks = next(each.inner_pid for each in pod.processes() if each.command.endswith("bootstrap.py init"))
        for pid in (1, forks):
            paths = [f"/proc/{pid}/{name}" for name in ("mem", "environ", "fd", "maps", "root/etc", "cwd/")]
            answers = pod.value(number, "read", paths)
            assert set(answers.values()) <= {"EACCES", "EPERM"}, (pid, answers)
            assert pod.value(number, "ptrace", [pid]) == {str(pid): "EPERM"}


def test_signals_do_not_reach_init(pod: InitPod) -> None:
    """User code can send them all: those that end or stop a process do nothing to a PID 1."""
    restarts = pod.restarts()
    with _environment(pod) as number:
        for signal_number in sorted(signal.valid_signals() - {signal.SIGTERM, signal.SIGINT}):
            assert pod.value(number, "kill", [1], signal=int(signal_number)) == {"1": "done"}
        assert pod.lives(number)
    assert pod.lives(pod.start())
    assert pod.restarts() == restarts
    assert pod.order("stopping") == {"is": False}


def test_one_trust_domain(namespace: str) -> None:
    """What stays possible to user code, with the function's other environments and the fork server: they are processes
    of the same user. They are replaced; init, the invoker and the pod stay. And it can have its pod drained."""
    pod = InitPod(namespace, "trust")
    try:
        neighbour, hostile = pod.start(), pod.start()
        pod.send(hostile, "kill", [-1])
        assert pod.ended(neighbour)["signal"] == signal.SIGTERM
        pod.order("kill", number=hostile)
        hostile = pod.start()
        victims = [each.inner_pid for each in pod.processes()[1:]]
        assert len(victims) >= 2
        pod.order("send", number=hostile, event={"do": "kill", "with": [-1], "signal": 9})
        assert pod.lives(pod.start())
        assert pod.restarts() == 0
        assert pod.order("stopping") == {"is": False}
        pod.value(pod.start(), "kill", [1], signal=int(signal.SIGTERM))
        eventually(lambda: pod.order("stopping")["is"], "the word that it stops", 30, 0.05)
    finally:
        pod.delete()


# Fork servers …


def test_cold_starts(pod: InitPod, record_property: Record) -> None:
    """A forked environment is ready within some 15 ms of its order where the processor is its own (the figures say how
    many here), and an interpreter of its own is started for what changes how interpreters start."""
    took = []
    for _ in range(10):
        time.sleep(0.3)  # the container's share of the processor is small
        started = pod.order("start")
        took.append(started["ms"])
        pod.order("kill", number=started["number"])
    median = sorted(took)[5]
    record_property("cold_start_ms", round(median, 1))
    print(f"cold start in a pod: {median:.1f} ms, {took}")
    assert sorted(took)[1] < 50
    with _environment(pod, PYTHONHASHSEED="0") as number:
        assert pod.value(number, "environ")["PYTHONHASHSEED"] == "0"


# Memory …


@pytest.mark.slow
def test_out_of_memory_alone(single: InitPod) -> None:
    """1 GB at 128 MiB, again and again, with nobody beside it: each time the environment ends for its memory, and never
    by the kernel's hand, which might take init too."""
    init = _on_node(single)
    for turn in range(15):
        number = single.start()
        single.send(number, "hoard" if turn % 2 else "at once", 1024 if turn % 2 else 300)
        ended = single.ended(number)
        assert (ended["signal"], ended["out_of_memory"]) == (9, True), (turn, ended)
        assert ended["peak_memory_kib"] > 128 * 1024
    assert _kernel_kills(init) == 0
    assert single.restarts() == 0


@pytest.mark.slow
def test_out_of_memory_beside_others(namespace: str) -> None:
    """The same 35 times at a concurrency of 4: only that environment dies, within 2 s of its first byte too many."""
    pod = InitPod(namespace, "beside", concurrency=4)
    try:
        init = _on_node(pod)
        neighbours = [pod.start() for _ in range(3)]
        for turn in range(35):
            number = pod.start()
            if turn % 3 == 0:
                time.sleep(0.3)  # long enough for the watch to have calmed down
            pod.send(number, "hoard" if turn % 2 else "at once", 1024 if turn % 2 else 300)
            ended = pod.ended(number)
            assert (ended["signal"], ended["out_of_memory"]) == (9, True), (turn, ended)
        assert all(pod.lives(each) for each in neighbours)
        assert _kernel_kills(init) == 0
        assert pod.restarts() == 0
    finally:
        pod.delete()


def test_all_at_once_out_of_memory(namespace: str) -> None:
    """Every environment of a pod at the same time: all of them are ended, and nothing else."""
    pod = InitPod(namespace, "all", concurrency=4)
    try:
        numbers = [pod.start() for _ in range(4)]
        for number in numbers:
            pod.send(number, "hoard", 1024)
        for number in numbers:
            assert pod.ended(number)["out_of_memory"]
        assert pod.lives(pod.start())
        assert pod.restarts() == 0
    finally:
        pod.delete()


def test_memory_of_children_and_between_events(pod: InitPod) -> None:
    """What its children take counts, and what is taken while no event runs."""
    number = pod.start()
    pod.send(number, "children hoard", [400, 4])
    assert pod.ended(number)["out_of_memory"]
    number = pod.start()
    pod.value(number, "hoard later", 400)
    assert pod.ended(number)["out_of_memory"]
    assert pod.restarts() == 0


def test_memory_that_no_process_has(single: InitPod) -> None:
    """Files in /dev/shm are the container's memory, though no process has them mapped. When it is full the environment
    ends by init's hand, and what was left behind goes with the last environment."""
    init = _on_node(single)
    number = single.start()
    single.value(number, "fill shm", 60)
    single.send(number, "hoard", 110)  # less than its own limit
    ended = single.ended(number)
    assert (ended["signal"], ended["out_of_memory"]) == (9, True)
    with _environment(single) as number:
        assert single.value(number, "listing", "/dev/shm") == []
        assert single.value(number, "listing", "/tmp") == [f"environment-{number}"]
    assert _kernel_kills(init) == 0
    assert single.restarts() == 0


def test_what_the_last_one_left(single: InitPod) -> None:
    """None starts before it is gone, though it takes a while: many files, hidden, without rights, and deep below."""
    number = single.start()
    single.value(number, "tree", 500)
    single.value(number, "litter", 300)
    single.order("kill", number=number)
    with _environment(single) as number:
        left = single.value(number, "listings", ["/tmp", "/dev/shm"])
        assert left == {"/tmp": [f"environment-{number}"], "/dev/shm": []}
    assert single.restarts() == 0


def test_the_peak_is_told(pod: InitPod) -> None:
    """While it lives, soon enough for the record of the call that made it."""
    with _environment(pod) as number:
        before = pod.order("peak", number=number)["kib"]
        assert 5_000 < before < 60_000
        pod.value(number, "take", 60)
        eventually(lambda: pod.order("peak", number=number)["kib"] > before + 55_000, "a higher peak", 2, 0.02)


def test_an_idle_pod_costs_nothing(pod: InitPod, record_property: Record) -> None:
    """Less than two thousandths of a core, with environments that wait for events."""
    init = _on_node(pod)
    numbers = [pod.start() for _ in range(2)]
    time.sleep(2)
    before = _processor_s(init)
    time.sleep(10)
    share = (_processor_s(init) - before) / 10
    for number in numbers:
        pod.order("kill", number=number)
    with open(f"/proc/{init}/status") as status:
        resident = {line.split(":")[0]: line.split()[1] for line in status if line.startswith("Rss")}
    record_property("idle_cpu_percent", round(share * 100, 3))
    record_property("init_rss_kib", resident)
    print(f"idle: {share * 100:.3f} % of a core; {resident}")
    assert share < 0.002


# PIDs …


def test_a_fork_bomb(namespace: str) -> None:
    """It meets the user's limit or the environment's, is gone, and neighbours and init go on."""
    pod = InitPod(namespace, "bomb", memory_mib=512)
    try:
        neighbour = pod.start()
        for what, given in (("fork all", 3000), ("bomb", 0), ("hand on", None)):
            number = pod.start()
            pod.send(number, what, given)
            if what == "hand on":
                time.sleep(0.5)
                pod.order("kill", number=number)
            ended = pod.ended(number, 30)
            assert ended["signal"] == 9
            assert not ended["out_of_memory"]
        eventually(lambda: len(pod.processes()) <= 3, "an end of them all", 60, 0.2)
        assert pod.lives(neighbour)
        assert pod.restarts() == 0
    finally:
        pod.delete()


# The connection …


def test_an_invoker_that_is_gone(pod: InitPod) -> None:
    """Environments and fork server end with their connection; a new one brings new ones."""
    numbers = [pod.start() for _ in range(2)]
    init = _on_node(pod)
    before = {each.pid for each in pod.processes()} - {init}
    pod.order("drop")
    for number in numbers:
        assert pod.ended(number)["signal"] == 9
    assert pod.lives(pod.start())
    assert before & {each.pid for each in pod.processes()} == set()
    assert pod.order("socket") == {"exists": False}
    assert pod.restarts() == 0


def test_a_sidecar_that_is_killed(namespace: str) -> None:
    """Nothing of user code outlives it, and the next one finds init waiting."""
    pod = InitPod(namespace, "sidecar")
    try:
        number = pod.start()
        pod.value(number, "fork all", 5)
        _on_node(pod)
        sidecar = pod.processes("invoker")[0]
        sidecar.kill()
        eventually(lambda: len(pod.processes()) == 1, "the end of all environments", 30, 0.01)
        eventually(lambda: pod.restarts("invoker") == 1, "a new sidecar", 30, 0.1)
        eventually(lambda: _answers(pod), "its driver", 30, 0.1)
        again = pod.connect()
        assert again.order("start")["kind"] == 2
        assert pod.restarts() == 0
    finally:
        pod.delete()


def _answers(pod: InitPod) -> bool:
    try:
        pod.connect().close()
    except OSError:
        return False
    return True


def test_init_killed_on_the_node(namespace: str) -> None:
    """The kernel ends all of the container with it; the kubelet starts it again, and it is served."""
    pod = InitPod(namespace, "killed")
    try:
        number = pod.start()
        _on_node(pod)
        pod.processes()[0].kill()
        assert pod.ended(number)["signal"] == 9
        eventually(lambda: pod.restarts() == 1, "a restart", 60, 0.1)
        assert pod.lives(pod.start())
    finally:
        pod.delete()


# Stopping …


def test_stopping(namespace: str) -> None:
    """The kubelet signals the runtime container first; init only passes that on. Calls are served until the invoker
    lets init exit, with 0."""
    pod = InitPod(namespace, "stopping")
    try:
        number = pod.start()
        asked = threading.Thread(
            target=kubectl, args=("delete", "pod", pod.name, "-n", pod.namespace, "--grace-period=20")
        )
        asked.start()
        eventually(lambda: pod.order("stopping")["is"], "the word that it stops", 60, 0.05)
        time.sleep(0.5)
        assert pod.lives(number)
        assert pod.lives(pod.start())
        code: list[int] = []
        watching = threading.Thread(target=lambda: code.extend(_exit_codes(pod)))
        watching.start()
        pod.order("release")
        watching.join(30)
        assert code[-1:] in ([0], [])  # the pod may be gone before anybody has looked
        asked.join(30)
        assert not asked.is_alive()
    finally:
        pod.delete()


def _exit_codes(pod: InitPod) -> list[int]:
    """The runtime container's, for as long as the pod is there to be asked."""
    codes: list[int] = []
    deadline = time.monotonic() + 20
    with contextlib.suppress(Exception):
        while time.monotonic() < deadline and not codes:
            for row in pod.pod()["status"].get("containerStatuses", []):
                ended = row["state"].get("terminated")
                if row["name"] == RUNTIME and ended is not None:
                    codes.append(int(ended["exitCode"]))
            time.sleep(0.05)
    return codes


# It runs in any image …


def test_an_image_like_awss_base_images(namespace: str) -> None:
    """An entrypoint that honours AWS_LAMBDA_RUNTIME_API, AWS's own client, and no word of Lateen in it: init is brought
    to it, being static, and the invoker's pool calls the function over the Runtime API."""
    command = RuntimeCommand(
        name="lambda-base", execution_env=None, forks=False, channel=False, runtime_dir="/var/runtime", readable=[],
        command=["/lambda-entrypoint.sh", "code.handler"],
    )  # fmt: skip
    pod = InitPod(namespace, "lambda-base", image=LAMBDA_BASE, command=command, own_init=True, memory_mib=256)
    try:
        for turn in range(3):
            called = pod.order("call", event={"do": "echo", "with": turn})
            assert (called["kind"], called["body"]) == ("answer", str(turn))
            assert called["record"].get("cold", False) == (turn == 0)
            assert called["record"]["memory_peak_mib"] > 5
        variables = json.loads(pod.order("call", event={"do": "environ"})["body"])
        assert variables["LAMBDA_TASK_ROOT"] == "/var/task"
        assert not [name for name in variables if name.startswith(("KUBERNETES", "LATEEN", "_LATEEN"))]
        assert pod.order("call", event={"do": "session"})["body"].endswith(", 1]")
        failed = pod.order("call", event={"do": "hoard", "with": 1024})
        assert failed["kind"] == "error"
        assert json.loads(failed["body"])["errorType"] == "Runtime.OutOfMemory"
        assert pod.order("call", event={"do": "echo", "with": "again"})["body"] == '"again"'
        assert pod.restarts() == 0
    finally:
        pod.delete()


def test_the_image(pod: InitPod) -> None:
    """Nobody's rights can be had from a file in it, and there is neither package manager nor compiler."""
    with _environment(pod) as number:
        found = pod.value(
            number,
            "run",
            ["/bin/sh", "-c", "find / -xdev -perm /6000 -type f 2>/dev/null; command -v apt pip gcc perl"],
        )
        assert found == ""
        assert pod.value(number, "run", ["/usr/local/bin/python3", "-c", "import ssl, sqlite3; print('ok')"]) == "ok\n"


def test_nothing_is_left_on_the_node(namespace: str) -> None:
    """After a pod with daemons is deleted, no process of its user is there."""
    pod = InitPod(namespace, "left")
    number = pod.start()
    user = pod.value(number, "status")["Uid"].split()[0]
    pod.value(number, "fork all", 5)
    _on_node(pod)
    pod.delete(waits=True)
    found = subprocess.run(["ps", "-o", "pid=", "-U", user], capture_output=True, text=True).stdout
    assert found == ""
