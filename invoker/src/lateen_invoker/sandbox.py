"""What holds environments: namespaces with a root of their own where the kernel has them to give, Landlock always.

A fork server imports this under the runtime's interpreter: standard library only. From strong to weak:

- **namespaces**: the fork server moves into user, mount, PID, IPC and UTS namespaces of its own, with a new root in
  which only what a runtime needs exists, read-only. Each environment gets a PID and a mount namespace more: it sees
  its own processes and its own `/tmp`. As root, user id 65534 outside stands for the one user that there is inside.
- **landlock**: where namespaces are not to be had. Files are those of a list; processes are the machine's.

In both, environments have no capabilities and no way to gain any. The network is shared with the machine.
"""

import contextlib
import os
import socket
from typing import Any

from lateen_invoker import kernel, new_root

Settings = dict[str, Any]

_PROC_FILES = ("cpuinfo", "filesystems", "loadavg", "meminfo", "stat", "uptime", "version", "sys")
USER_ID = 1000
OUTER_USER_ID = 65534
"""Whom the user inside is outside, when all this is started by root."""
_AT_MOST = {
    # User code needs no further ones, in which it would have capabilities again.
    "max_user_namespaces": 0,
    # They count as those of whoever started all this too, who has 128, and other functions need some of them.
    "max_inotify_instances": 32,
}
"""In the user namespace of one function."""
_OOM_SCORE = 700
"""When memory is short, the kernel takes environments before anything else that is ours."""


def enter(settings: Settings, plain: Any) -> Any:
    """The best hold to be had here. Where namespaces are, it returns in another process than the one that called,
    which ends.

    Args:
        plain: what there is without any of this; its methods are what `Namespaces` and `Landlock` have too.
    """
    version = kernel.landlock_version() if "landlock" in settings["allowed"] else 0
    kernel.set_name("lateen-forks")
    with contextlib.suppress(OSError):
        kernel.new_session_keyring()
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write(str(_OOM_SCORE))
    # Looked up now: in the new root the links that lead there are gone.
    settings["needed"] = new_root.needed([settings["runtime_dir"], *settings["readable"]])
    if "namespaces" in settings["allowed"] and _can_be_read(settings):
        # Root can have the other namespaces also where user namespaces are switched off.
        for own_user in (True, False) if os.geteuid() == 0 else (True,):
            held = _enter_namespaces(settings, version, own_user)
            if held is not None:
                return held
    kernel.no_new_privileges()
    return Landlock(settings, version) if version else plain


class Landlock:
    own_pids = False

    def __init__(self, settings: Settings, version: int) -> None:
        self._settings = settings
        self._version = version
        # The limit counts all processes of a user, of which the machine has others too.
        settings["limits"]["RLIMIT_NPROC"] = _threads_of(os.geteuid()) + settings["processes"]
        kernel.set_dumpable(False)

    def described(self) -> dict[str, Any]:
        isolation = "landlock" if self._version >= kernel.SCOPES_SINCE else "landlock, files only"
        settings = self._settings
        return {
            "isolation": isolation,
            "task_root": settings["code_dir"],
            "layers_root": settings["layers_dir"] or new_root.OPT,
            "tmp": None,
            "owner": None,
        }

    def fork_keeper(self) -> int:
        return os.fork()

    def keep(self, directory: str) -> None:
        kernel.set_name("lateen-keeper")

    def confine(self, directory: str) -> None:
        settings = self._settings
        kernel.drop_capabilities()
        read = kernel.READ_FILE | kernel.READ_DIR | kernel.EXECUTE
        device = kernel.READ_FILE | kernel.WRITE_FILE | kernel.TRUNCATE | kernel.IOCTL_DEV
        rules = [(path, read) for path in new_root.SYSTEM]
        rules += [(path, read if os.path.isdir(path) else read & ~kernel.READ_DIR) for path in self._single()]
        rules += [(f"/dev/{name}", device) for name in new_root.DEVICES]
        rules += [("/proc/self", read | kernel.WRITE_FILE), (directory, kernel.all_file_rights(self._version))]
        rules += [(folder, read) for folder in (settings["code_dir"], settings["layers_dir"]) if folder]
        kernel.landlock(self._version, _fitting(rules))
        kernel.set_dumpable(True)
        kernel.set_name("environment")

    def _single(self) -> list[str]:
        settings = self._settings
        etc = [f"/etc/{name}" for name in new_root.ETC] + ["/etc/passwd", "/etc/group"]
        proc = [f"/proc/{name}" for name in _PROC_FILES]
        return [*etc, *proc, settings["runtime_dir"], *settings["readable"]]


class Namespaces:
    own_pids = True

    def __init__(self, settings: Settings, version: int, pids: int, own_user: bool, as_root: bool) -> None:
        self._settings = settings
        self._version = version
        self._pids = pids
        self._own_user = own_user
        self._owner = OUTER_USER_ID if as_root else None
        if _kernel_release() >= (5, 14):  # since then the limit counts within a user namespace
            settings["limits"]["RLIMIT_NPROC"] = settings["processes"]

    def described(self) -> dict[str, Any]:
        isolation = "namespaces, landlock" if self._version else "namespaces"
        return {
            "isolation": isolation,
            "task_root": new_root.TASK_ROOT,
            "layers_root": new_root.OPT,
            "tmp": new_root.TMP,
            "owner": self._owner,
        }

    def fork_keeper(self) -> int:
        kernel.unshare(kernel.CLONE_NEWPID)
        pid = -1
        try:
            pid = os.fork()
        finally:
            if pid:
                # The next keeper is the first process of a namespace too, and not a second one in this.
                kernel.setns(self._pids, kernel.CLONE_NEWPID)
        return pid

    def keep(self, directory: str) -> None:
        kernel.set_name("lateen-keeper")
        kernel.unshare(kernel.CLONE_NEWNS)
        kernel.mount("proc", "/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
        new_root.give_folder(os.path.basename(directory), self._settings["needed"])

    def confine(self, directory: str) -> None:
        if not self._own_user:
            os.setgroups([])
            os.setresgid(OUTER_USER_ID, OUTER_USER_ID, OUTER_USER_ID)
            os.setresuid(OUTER_USER_ID, OUTER_USER_ID, OUTER_USER_ID)
        kernel.drop_capabilities()
        if self._version:
            everything = kernel.all_file_rights(self._version)
            read = kernel.READ_FILE | kernel.READ_DIR | kernel.EXECUTE
            device = kernel.READ_FILE | kernel.WRITE_FILE | kernel.TRUNCATE | kernel.IOCTL_DEV
            rules = [("/", read), ("/proc", read | kernel.WRITE_FILE), (new_root.TMP, everything)]
            kernel.landlock(self._version, rules + [(f"/dev/{name}", device) for name in new_root.DEVICES])
        # The invoker looks at its memory and connections; nobody else can.
        kernel.set_dumpable(True)
        kernel.set_name("environment")


# Into the namespaces. Three processes: the caller stays outside and writes the new user's identity; the first child
# makes the namespaces and the root; its child is the first process in the PID namespace, and the fork server.


def _enter_namespaces(settings: Settings, version: int, own_user: bool) -> Namespaces | None:
    """`Namespaces` in the new fork server, None in the caller where it can't be; else the caller ends."""
    outside, inside = socket.socketpair()
    root = os.path.join(os.path.dirname(settings["environments"]), "root")
    os.makedirs(root, mode=0o700, exist_ok=True)
    child = os.fork()
    if child == 0:
        outside.close()
        held = _within(settings, version, own_user, root, inside)
        inside.sendall(b"made")
        inside.close()
        return held
    inside.close()
    try:
        made = outside.recv(16)
        if made == b"user":
            _write_identity(child)
            outside.sendall(b"user")
            made = outside.recv(16)
    except OSError:
        made = b""
    finally:
        outside.close()
    with contextlib.suppress(ChildProcessError):
        os.waitpid(child, 0)
    if made == b"made":
        os._exit(0)
    if os.geteuid() == 0:
        os.chown(settings["environments"], 0, 0)
    return None


def _within(settings: Settings, version: int, own_user: bool, root: str, outside: socket.socket) -> Namespaces:
    """In the first child, and returns in its own child."""
    try:
        as_root = os.geteuid() == 0
        kernel.no_new_privileges()
        if as_root:
            # Root's own folders can be mounted only by root itself, so this comes before the new identity.
            os.chown(settings["environments"], OUTER_USER_ID, OUTER_USER_ID)
            kernel.unshare(kernel.CLONE_NEWNS)
            _make_root(settings, root)
        if own_user:
            _new_user(as_root, outside)
        others = kernel.CLONE_NEWPID | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS | kernel.CLONE_NEWNS
        kernel.unshare(others)
        if not as_root:
            _make_root(settings, root)
        child = os.fork()
        if child:
            os._exit(0)
        kernel.mount("proc", "/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
        pids = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        socket.sethostname("localhost")
        if own_user:
            for name, most in _AT_MOST.items():
                with contextlib.suppress(OSError), open(f"/proc/sys/user/{name}", "w") as limit:
                    limit.write(str(most))
        kernel.set_dumpable(False)
        _try_keeper(pids)
        return Namespaces(settings, version, pids, own_user, as_root)
    except OSError:
        os._exit(1)


def _make_root(settings: Settings, root: str) -> None:
    new_root.make(
        root,
        code=settings["code_dir"],
        layers=settings["layers_dir"],
        environments=settings["environments"],
        needed=settings["needed"],
        user=USER_ID,
    )


def _new_user(as_root: bool, outside: socket.socket) -> None:
    kernel.unshare(kernel.CLONE_NEWUSER)
    outside.sendall(b"user")
    if outside.recv(16) != b"user":
        raise OSError("no identity")
    if as_root:
        os.setgroups([])
        os.setresgid(USER_ID, USER_ID, USER_ID)
        os.setresuid(USER_ID, USER_ID, USER_ID)


def _write_identity(child: int) -> None:
    """From outside: who the one user in the child's namespace is here."""
    user, group = os.geteuid(), os.getegid()
    if user == 0:
        user = group = OUTER_USER_ID
    else:
        with open(f"/proc/{child}/setgroups", "w") as groups:
            groups.write("deny")
    for name, outer in (("gid_map", group), ("uid_map", user)):
        with open(f"/proc/{child}/{name}", "w") as identity:
            identity.write(f"{USER_ID} {outer} 1\n")


def _try_keeper(pids: int) -> None:
    """Raises: `OSError` where a PID namespace per environment can't be had."""
    kernel.unshare(kernel.CLONE_NEWPID)
    child = os.fork()
    if child == 0:
        try:
            kernel.unshare(kernel.CLONE_NEWNS)
            kernel.mount("proc", "/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
        except OSError as exc:
            os._exit(exc.errno or 1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    kernel.setns(pids, kernel.CLONE_NEWPID)
    if status:
        code = os.waitstatus_to_exitcode(status)
        raise OSError(code, f"PID namespaces: {os.strerror(abs(code))}")


def _fitting(rules: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Landlock refuses a folder's rights for what is a file."""
    on_files = kernel.READ_FILE | kernel.WRITE_FILE | kernel.EXECUTE | kernel.TRUNCATE | kernel.IOCTL_DEV
    return [(path, rights if os.path.isdir(path) else rights & on_files) for path, rights in rules]


def _can_be_read(settings: Settings) -> bool:
    """Root's environments run as another user, who must be able to read code and runtime."""
    paths = [settings["code_dir"], *settings["needed"]]
    return os.geteuid() != 0 or all(os.stat(path).st_mode & 0o5 == 0o5 or not os.path.isdir(path) for path in paths)


def _threads_of(user: int) -> int:
    """How many threads the user has on this machine now."""
    count = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{name}").st_uid == user:
                    count += len(os.listdir(f"/proc/{name}/task"))
    return count


def _kernel_release() -> tuple[int, int]:
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int("".join(c for c in minor if c.isdigit()) or 0)
