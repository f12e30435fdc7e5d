"""Programs that run a runtime's code, found as its `runtime.toml` says: by name on the `PATH`, or by paths."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from glob import glob

import msgspec
from msgspec import Struct

LATEEN = "{lateen}"
"""Among the candidates: the program that runs Lateen, whatever its version."""
PROBE_S = 10.0


class Interpreter(Struct, frozen=True):
    """`readable`: files and folders without which it doesn't run."""

    executable: str
    version: str
    readable: list[str]


def find_interpreter(
    candidates: Iterable[str], version: str, probe: tuple[str, ...], environ: Mapping[str, str] = os.environ
) -> Interpreter | None:
    """The first candidate that is what it should be; None: the machine has none. Blocks while they are asked.

    Args:
        candidates: names for the `PATH`; paths with `~`, `$VARIABLE` and patterns, of which the newest match comes
            first; or `LATEEN`.
        version: what it must say of itself, such as `3.12`.
        probe: arguments with which it describes itself as the JSON of an `Interpreter`; without any, whatever can be
            executed will do.
    """
    for candidate in candidates:
        paths = [sys.executable] if candidate == LATEEN else _matches(candidate, environ)
        for path in paths:
            found = _asked(path, probe) if probe else Interpreter(path, version, [os.path.realpath(path)])
            if found is not None and (found.version == version or candidate == LATEEN):
                return found
    return None


def found_versions(
    candidates: Iterable[str], probe: tuple[str, ...], environ: Mapping[str, str] = os.environ
) -> list[str]:
    """What the machine has of it, wanted or not: versions with where they are."""
    paths = (path for candidate in candidates if candidate != LATEEN for path in _matches(candidate, environ))
    found = (_asked(path, probe) for path in paths) if probe else ()
    return list(dict.fromkeys(f"{each.version} ({each.executable})" for each in found if each is not None))


def _matches(candidate: str, environ: Mapping[str, str]) -> Iterator[str]:
    if "/" in candidate:
        home = environ.get("HOME", "/")
        path = home + candidate[1:] if candidate.startswith("~/") else candidate
        for name, value in environ.items():
            path = path.replace(f"${name}/", f"{value}/")
        paths = sorted(glob(path), key=_natural, reverse=True) if path.startswith("/") else []
    else:
        folders = environ.get("PATH", os.defpath).split(os.pathsep)
        paths = [os.path.join(os.path.abspath(folder), candidate) for folder in folders if folder]
    return (path for path in paths if os.path.isfile(path) and os.access(path, os.X_OK))


def _natural(path: str) -> list[tuple[int, str]]:
    """Sorts 3.12.10 behind 3.12.9."""
    return [(int(part) if part.isdigit() else -1, part) for part in path.replace("-", ".").replace("/", ".").split(".")]


@cache
def _asked(path: str, probe: tuple[str, ...]) -> Interpreter | None:
    """None if it doesn't start or isn't one: the launcher of a version manager often leads nowhere."""
    try:
        ended = subprocess.run(  # noqa: S603 - candidates and arguments are the runtime's own
            [path, *probe], stdin=subprocess.DEVNULL, capture_output=True, timeout=PROBE_S, check=True
        )
        return msgspec.convert(json.loads(ended.stdout), Interpreter)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
