"""Where a machine keeps its interpreters: on the `PATH`, and where version managers put what it does not show."""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

_FOLDERS = ("/usr/local/bin", "/usr/bin", "/opt/homebrew/bin", "/opt/local/bin")


def interpreter_paths(names: Iterable[str], version: str, environ: Mapping[str, str] = os.environ) -> Iterator[str]:
    """Files that may be the interpreter, best first. Whether one starts is for the caller to see: a version manager's
    launcher on the `PATH` often leads nowhere.

    Args:
        names: what the program is called, such as `python3.12`.
        version: `3.12`, by which version managers name folders.
    """
    seen: set[str] = set()
    names = list(names)
    for path in _all_paths(names, version, environ):
        if path not in seen and os.access(path, os.X_OK):
            seen.add(path)
            yield path


def _all_paths(names: list[str], version: str, environ: Mapping[str, str]) -> Iterator[str]:
    folders = [folder for folder in environ.get("PATH", os.defpath).split(os.pathsep) if folder]
    for name in names:
        for folder in (*folders, *_FOLDERS):
            if (path := shutil.which(name, path=folder)) is not None:
                yield os.path.abspath(path)
    for installed in _managed(version, environ):
        for name in names:
            yield str(installed / "bin" / name)


def _managed(version: str, environ: Mapping[str, str]) -> Iterator[Path]:
    """Installations of the version by pyenv, uv, asdf and mise; the newest patch release first."""
    home = Path(environ.get("HOME") or "/")
    data = Path(environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    roots = (
        (Path(environ.get("PYENV_ROOT") or home / ".pyenv") / "versions", f"{version}*"),
        (Path(environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv" / "python"), f"cpython-{version}*"),
        (Path(environ.get("ASDF_DATA_DIR") or home / ".asdf") / "installs" / "python", f"{version}*"),
        (Path(environ.get("MISE_DATA_DIR") or data / "mise") / "installs" / "python", f"{version}*"),
        (Path("/opt/python"), f"{version}*"),
    )
    for root, pattern in roots:
        try:
            yield from sorted(root.glob(pattern), key=_patch_release, reverse=True)
        except OSError:
            continue


def _patch_release(folder: Path) -> int:
    """`9` of `3.12.9` and of `cpython-3.12.9-linux-x86_64-gnu`."""
    digits = folder.name.removeprefix("cpython-").partition("-")[0].split(".")[2:3]
    return int(digits[0]) if digits and digits[0].isdigit() else -1
