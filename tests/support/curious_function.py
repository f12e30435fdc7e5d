"""A handler that tries what no function may do, and tells what came of it. Deployed by test_cluster_isolation.py.

Never to be run outside of a function pod: what it tries does harm where it is allowed.
"""

import ctypes
import errno
import glob
import os
import socket
import stat
import threading

STATUS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")
WRITE = ("/x", "/etc/x", "/usr/x", "/var/task/x", "/run/lateen/x", "/lateen/x", "/lateen/runtime/x", "/dev/x", "/tmp/x")


def attempt(act, *arguments):
    try:
        return act(*arguments)
    except OSError as problem:
        return errno.errorcode.get(problem.errno, repr(problem))


def connected(host, port):
    try:
        with socket.create_connection((host, port), timeout=3):
            return "connected"
    except OSError as problem:
        return "no: " + repr(problem)


def written(path):
    with open(path, "w") as file:
        file.write("x")
    os.unlink(path)
    return "written"


def read(path):
    with open(path, "rb") as file:
        return file.read(200).hex()


def text_of(path):
    with open(path) as file:
        return file.read().replace("\0", " ")


def owner_of(path):
    return os.stat(path).st_uid


def opened(path):
    with open(path, "rb"):
        return "opened"


def everything(under):
    found = []
    for folder, _, files in os.walk(under):
        found.extend([os.path.join(folder, name), attempt(read, os.path.join(folder, name))] for name in files)
    return found


def kernel(name, *arguments):
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*arguments) == 0:
        return "done"
    return errno.errorcode[ctypes.get_errno()]


def processes():
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        found[pid] = {"command": attempt(text_of, f"/proc/{pid}/cmdline"), "uid": attempt(owner_of, f"/proc/{pid}")}
    return found


def init_is_closed():
    return {
        "environ": attempt(read, "/proc/1/environ"),
        "mem": attempt(opened, "/proc/1/mem"),
        "fd": attempt(os.listdir, "/proc/1/fd"),
        "ptrace": kernel("ptrace", 16, 1, 0, 0),
        "pidfd_getfd": kernel("syscall", 438, kernel_pidfd(), 0, 0),
    }


def kernel_pidfd():
    try:
        return os.pidfd_open(1)
    except OSError:
        return -1


def setuid_files():
    found = []
    for folder in ("/bin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/lib"):
        for root, _, names in os.walk(folder):
            for name in names:
                mode = os.lstat(path := os.path.join(root, name)).st_mode
                if stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID):
                    found.append(path)
    return found


def handler(event, context):
    # As root, outside a container, these attempts would succeed, and hurt the machine.
    if 0 in (os.getuid(), os.geteuid()):
        raise PermissionError("not as root")
    answers = {}
    threads = [
        threading.Thread(target=lambda at=at: answers.__setitem__(f"{at[0]}:{at[1]}", connected(*at)))
        for at in event.get("connect", [])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    status = dict(line.split(":", 1) for line in text_of("/proc/self/status").splitlines() if ":" in line)
    return {
        "connect": answers,
        "ids": [os.getuid(), os.geteuid(), os.getgid(), sorted(os.getgroups())],
        "status": {name: status[name].split() for name in STATUS},
        "environment": dict(os.environ),
        "mounts": text_of("/proc/self/mounts").splitlines(),
        "tokens": glob.glob("/var/run/secrets/**/*", recursive=True) + glob.glob("/run/secrets/**/*", recursive=True),
        "platform_files": everything("/etc/lateen") + everything("/run/lateen"),
        "run_folder": attempt(os.listdir, "/run/lateen"),
        "write": {path: attempt(written, path) for path in WRITE},
        "processes": processes(),
        "init": init_is_closed(),
        "become_root": kernel("setuid", 0),
        "mount": kernel("mount", b"none", b"/tmp", b"tmpfs", 0, None),
        "new_namespace": kernel("unshare", 0x10000000 | 0x00020000),
        "new_network": kernel("unshare", 0x40000000),
        "chroot": kernel("chroot", b"/tmp"),
        "devices": sorted(name for name in os.listdir("/dev") if stat.S_ISBLK(os.stat("/dev/" + name).st_mode)),
        "setuid_files": setuid_files(),
        "hostname": socket.gethostname(),
    }
