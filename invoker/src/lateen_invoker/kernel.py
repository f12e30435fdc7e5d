"""System calls that Python's standard library lacks, for Linux on x86-64 and 64-bit ARM.

Standard library only: a fork server imports this under the runtime's interpreter. Every function raises `OSError`
where the kernel refuses or doesn't know the call.
"""

import ctypes
import os
import platform
import struct

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 0x1, 0x2, 0x4, 0x8
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
MNT_DETACH = 2
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID = (
    0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000,
)  # fmt: skip

_MOUNT_SETATTR, _LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 442, 444, 445, 446  # on every architecture
_KEYCTL = {"x86_64": 250, "aarch64": 219}
_JOIN_SESSION_KEYRING = 1
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_MOUNT_ATTR = {"ro": 0x1, "nosuid": 0x2, "nodev": 0x4, "noexec": 0x8}
_PR_SET_DUMPABLE, _PR_SET_NAME, _PR_CAPBSET_DROP = 4, 15, 24
_PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4
_CAPABILITY_VERSION_3 = 0x20080522

# Rights of Landlock on files, by the version of its interface that brought them.
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
TRUNCATE, IOCTL_DEV = 1 << 14, 1 << 15
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: 1 << 13, 3: TRUNCATE, 5: IOCTL_DEV}
SCOPES_SINCE, _SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS = 6, 0b11
_PATH_BENEATH = 1

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def _syscall(number: int, *arguments: object, what: str) -> int:
    if platform.machine() not in _KEYCTL:
        raise OSError(38, f"{what}: not known on {platform.machine()}")
    return _check(_libc.syscall(ctypes.c_long(number), *arguments), what)


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    _check(
        _libc.mount(
            os.fsencode(source), os.fsencode(target), kind.encode() if kind else None, ctypes.c_ulong(flags),
            data.encode() if data else None,
        ),
        f"mount {target}",
    )  # fmt: skip


def restrict_mount(target: str, *names: str, recursive: bool = True) -> None:
    """Add mount attributes: `ro`, `nosuid`, `nodev`, `noexec`; those that it has stay."""
    attributes = struct.pack("=QQQQ", sum(_MOUNT_ATTR[name] for name in names), 0, 0, 0)
    _syscall(
        _MOUNT_SETATTR, _AT_FDCWD, os.fsencode(target), _AT_RECURSIVE if recursive else 0, attributes,
        ctypes.c_size_t(len(attributes)), what=f"mount_setattr {target}",
    )  # fmt: skip


def pivot_to(folder: str) -> None:
    """Make the mounted folder the root of this mount namespace and let go of the old one."""
    os.chdir(folder)
    # With both in one place the old root lies over the new one, and is what `.` means until it is gone.
    _check(_libc.pivot_root(b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", MNT_DETACH), "umount the old root")
    os.chdir("/")


def unshare(flags: int) -> None:
    _check(_libc.unshare(flags), "unshare")


def setns(fd: int, kind: int) -> None:
    _check(_libc.setns(fd, kind), "setns")


def set_dumpable(dumpable: bool) -> None:
    """Whether others of the same user may look into this process."""
    _check(_libc.prctl(_PR_SET_DUMPABLE, int(dumpable), 0, 0, 0), "prctl dumpable")


def set_name(name: str) -> None:
    """What `ps` shows; 15 bytes."""
    _libc.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def no_new_privileges() -> None:
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")


def drop_capabilities() -> None:
    """All of them, for good."""
    _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    for capability in range(64):
        if _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) < 0:
            break  # there are no more, or the process may not, and then has none to lose
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    _check(_libc.capset(header, bytes(24)), "capset")


def new_session_keyring() -> None:
    """Keys of the login session that started all this are nobody's business here."""
    _syscall(_KEYCTL.get(platform.machine(), -1), _JOIN_SESSION_KEYRING, None, what="keyctl")


def landlock_version() -> int:
    """Of its interface; 0 where there is none."""
    try:
        return _syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), 1, what="landlock")
    except OSError:
        return 0


def all_file_rights(version: int) -> int:
    return sum(rights for since, rights in _FILE_RIGHTS.items() if since <= version)


def landlock(version: int, rules: "list[tuple[str, int]]") -> None:
    """Confine this process, and all that it starts, to the paths with the rights given; and to its own abstract
    sockets and signals where the kernel can. Paths that don't exist are left out. Needs `no_new_privileges`."""
    handled = all_file_rights(version)
    scoped = _SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS if version >= SCOPES_SINCE else 0
    attributes = struct.pack("=QQQ", handled, 0, scoped)
    size = 24 if version >= SCOPES_SINCE else 8
    ruleset = _syscall(_LANDLOCK_CREATE, attributes, ctypes.c_size_t(size), 0, what="landlock")
    try:
        for path, rights in rules:
            try:
                fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except OSError:
                continue
            try:
                rule = struct.pack("=Qi", rights & handled, fd)
                _syscall(_LANDLOCK_ADD, ruleset, _PATH_BENEATH, rule, 0, what=f"landlock {path}")
            finally:
                os.close(fd)
        _syscall(_LANDLOCK_RESTRICT, ruleset, 0, what="landlock")
    finally:
        os.close(ruleset)
