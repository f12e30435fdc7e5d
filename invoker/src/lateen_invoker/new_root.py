"""The new root: a small file system in which only what a runtime needs exists, read-only.

Standard library only: a fork server imports this under the runtime's interpreter.
"""

import os
import stat

from lateen_invoker import kernel

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store")
ETC = (
    "alternatives", "ca-certificates", "crypto-policies", "gai.conf", "host.conf", "hosts", "ld.so.cache", "ld.so.conf",
    "ld.so.conf.d", "localtime", "mime.types", "nsswitch.conf", "pki", "protocols", "resolv.conf", "services", "ssl",
    "timezone",
)  # fmt: skip
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
TASK_ROOT, OPT, TMP = "/var/task", "/opt", "/tmp"  # noqa: S108 - of the new root
_FOLDERS, _LATE = "/.environments", "/.late"


def make(root: str, *, code: str, layers: str, environments: str, needed: list[str], user: int) -> None:
    """Fill the empty folder `root`, in a mount namespace of one's own, and make it `/`.

    Args:
        code: folder that is `TASK_ROOT` inside.
        layers: folder that is `OPT` inside; empty: that has nothing but what is needed of it.
        environments: folder whose folders are given to environments.
        needed: what `needed` returned; folders and files that are there as they are outside.
        user: the id of the one user inside.
    """
    late = _below_tmp(needed)
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("none", root, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "size=1m,mode=755")
    for folder in ("proc", "dev", "etc", "tmp", "run", "opt", "var/task", _FOLDERS[1:], _LATE[1:]):
        os.makedirs(os.path.join(root, folder), exist_ok=True)
    for path in SYSTEM:
        if os.path.islink(path):
            os.symlink(os.readlink(path), root + path)
        elif os.path.isdir(path):
            _place(path, root + path, read_only=True)
    if layers:
        _place(layers, root + OPT)  # written to once more: what is needed and lies in there gets a place to be mounted
    for path in needed:
        if path not in late:
            _place(path, root + path, read_only=True)
    for number, path in enumerate(late):
        _place(path, f"{root}{_LATE}/{number}", read_only=True)
    for name in ETC:
        if os.path.exists(path := f"/etc/{name}"):
            _place(os.path.realpath(path), root + path, read_only=True)
    _write(f"{root}/etc/passwd", f"function:x:{user}:{user}::{TMP}:/sbin/nologin\n")
    _write(f"{root}/etc/group", f"function:x:{user}:\n")
    for name in DEVICES:
        if os.path.exists(f"/dev/{name}"):
            _place(f"/dev/{name}", f"{root}/dev/{name}")
    for name, target in (("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"),
                         ("stderr", "/proc/self/fd/2"), ("shm", TMP)):  # fmt: skip
        os.symlink(target, f"{root}/dev/{name}")
    if not os.path.lexists(var_tmp := f"{root}/var/tmp"):  # noqa: S108 - of the new root
        os.symlink(TMP, var_tmp)
    _place(code, root + TASK_ROOT, read_only=True)
    if layers:
        kernel.restrict_mount(root + OPT, "ro", "nosuid", "nodev")
    _place(environments, root + _FOLDERS)
    kernel.restrict_mount(root + _FOLDERS, "nosuid", "nodev")
    # The machine's own: a kernel gives a namespace its `/proc` only where a whole one is in sight already.
    kernel.mount("/proc", f"{root}/proc", None, kernel.MS_BIND | kernel.MS_REC)
    kernel.restrict_mount(root, "ro", recursive=False)
    kernel.pivot_to(root)


def give_folder(name: str, needed: list[str]) -> None:
    """In an environment's own mount namespace: that folder is its `TMP`, and the others are out of sight."""
    kernel.mount(os.path.join(_FOLDERS, name), TMP, None, kernel.MS_BIND)
    for number, path in enumerate(_below_tmp(needed)):
        _place(os.path.join(_LATE, str(number)), path)
    kernel.mount("none", _FOLDERS, "tmpfs", kernel.MS_RDONLY, "size=4k,nr_inodes=1,mode=0")


def needed(given: list[str]) -> list[str]:
    """Of the folders and files given those that are not there anyway; none inside another; by both of their names, if
    links lead there."""
    paths = sorted({os.path.abspath(p) for p in given} | {os.path.realpath(p) for p in given}, key=len)
    kept: list[str] = []
    for path in paths:
        if os.path.exists(path) and not any(is_in(path, other) for other in (*SYSTEM, *kept)):
            kept.append(path)
    return kept


def is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _below_tmp(paths: list[str]) -> list[str]:
    """Those that an environment's own folder would hide, so that they are mounted after it."""
    return [path for path in paths if is_in(path, TMP)]


def _place(source: str, target: str, *, read_only: bool = False) -> None:
    """Mount the file or folder there."""
    if stat.S_ISDIR(os.stat(source).st_mode):
        os.makedirs(target, exist_ok=True)
    elif not os.path.lexists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        _write(target, "")
    kernel.mount(source, target, None, kernel.MS_BIND | kernel.MS_REC)
    if read_only:
        kernel.restrict_mount(target, "ro", "nosuid", "nodev")


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)
