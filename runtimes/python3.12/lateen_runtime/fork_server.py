"""The fork server in a pod: `init` asks it for environments, each a fork of this process, which holds no user code.

It forks twice, so that a new environment is `init`'s own child; that one says so before anything of the user's runs. On
descriptor 3, and on the socket that comes with each request, are the messages of `runtimes/init/README.md`.
"""

import array
import contextlib
import ctypes
import gc
import json
import os
import resource
import select
import signal
import socket

CONTROL_FD = 3
MAX_MESSAGE = 128 * 1024
_PR_SET_DUMPABLE, _PR_SET_NAME = 4, 15
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_OOM_SCORE = "1000"
"""When memory is short, the kernel takes environments before anything else."""
_QUIET_S = 0.03
"""After this time without a request the next is not near, and what was asked for has had the processor to itself."""
_WARM = object()
_libc = ctypes.CDLL(None)


def serve(warming):
    """Returns only in a new environment: the descriptor of its channel.

    Args:
        warming: what is worth having in memory before an environment is forked, in steps, which are taken while nobody
            asks for one.
    """
    # The same user's code must not look into this process: what it would put there, later environments would be.
    _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    _libc.prctl(_PR_SET_NAME, b"lateen-forks", 0, 0, 0)
    with contextlib.suppress(OSError):
        # User code that gets an event waits until whoever sent it has nothing more to do on its processor.
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    control = socket.socket(fileno=CONTROL_FD)
    control.send(b'{"ready":true}')
    quiet_s = _QUIET_S
    while True:
        if warming is not None and not select.select([control], [], [], quiet_s)[0]:
            quiet_s = 0
            if next(warming, _WARM) is _WARM:
                warming = None
                gc.collect()
            continue
        quiet_s = _QUIET_S
        message, fds = _receive(control)
        if not message:
            os._exit(0)
        gc.freeze()  # no collection in a child touches, and so copies, what is the parent's
        if _forked_twice():
            return _become(control, json.loads(message), fds)
        for fd in fds:
            os.close(fd)


def _forked_twice():
    """Whether this is the child's child, whose parent ends. Where there is no process to be had, `init` hears nothing
    on the socket of the request, and that end."""
    try:
        if os.fork():
            return False
    except OSError:
        return False
    # A child that ends sooner than this process is `init`'s to wait for.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with contextlib.suppress(OSError):
        if os.fork() == 0:
            return True
    os._exit(0)


def _become(control, request, fds):
    announce, log, *channel = fds
    control.detach()
    _libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
    _libc.prctl(_PR_SET_NAME, b"environment", 0, 0, 0)
    try:
        os.write(announce, json.dumps({"pid": os.getpid()}).encode())
    except OSError:
        os._exit(1)  # nobody waits for it any more
    try:
        os.setsid()
        with open("/proc/self/oom_score_adj", "w") as score:
            score.write(_OOM_SCORE)
        os.umask(0o022)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        # The channel becomes descriptor 3; no other is left.
        if channel:
            os.dup2(channel[0], CONTROL_FD, inheritable=False)
        os.closerange(CONTROL_FD + len(channel), resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        for name, value in request["limits"].items():
            kind = getattr(resource, f"RLIMIT_{name.upper()}")
            _, most = resource.getrlimit(kind)
            value = value if most == resource.RLIM_INFINITY else min(value, most)
            resource.setrlimit(kind, (value, value))
        os.environ.clear()
        os.environ.update(request["environment"])
    except (OSError, ValueError) as exc:
        os.write(2, f"not started: {exc}\n".encode())
        os._exit(126)
    # Memory for an event is not given back to the kernel after each one, which costs two dozen page faults each time.
    if hasattr(_libc, "mallopt"):
        _libc.mallopt(_M_TRIM_THRESHOLD, 4 * 1024 * 1024)
        _libc.mallopt(_M_MMAP_THRESHOLD, 1024 * 1024)
    return CONTROL_FD


def _receive(control):
    fds = array.array("i")
    message, ancillary, _, _ = control.recvmsg(
        MAX_MESSAGE, socket.CMSG_SPACE(3 * fds.itemsize), socket.MSG_CMSG_CLOEXEC
    )
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return message, list(fds)
