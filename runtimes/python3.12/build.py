"""Builds a Python source: what it depends on is installed beside its own files, which win.

Run by the interpreter that the function will run on, in a copy of the source. With a `requirements.txt` that is what is
installed, hashes and options in it honoured; else `project.dependencies` of `pyproject.toml`.
"""

import contextlib
import glob
import os
import resource
import shutil
import subprocess
import sys
import tomllib

REQUIREMENTS, PROJECT = "requirements.txt", "pyproject.toml"
COMPILE_S, COMPILE_BYTES = 120, 1024**3
"""For compiling, so that a monster of a module, which runs without, fails no build."""


def main():
    source = os.getcwd()
    output, cache = os.environ["LATEEN_BUILD_OUTPUT"], os.environ["LATEEN_BUILD_CACHE"]
    wanted = _wanted()
    if wanted:
        command = [
            *_pip(),
            "install",
            "--target", output,
            "--cache-dir", os.path.join(cache, "pip"),
            "--no-input", "--no-compile", "--disable-pip-version-check", "--progress-bar", "off",
            "--no-warn-script-location", "--root-user-action", "ignore",
            *wanted,
        ]  # fmt: skip
        ended = subprocess.run(command, check=False, stdin=subprocess.DEVNULL)  # noqa: S603 - no shell
        if ended.returncode:
            sys.exit(ended.returncode)
        _settle(output)
    shutil.copytree(source, output, dirs_exist_ok=True, symlinks=True)
    _compile(output)


def _wanted():
    if os.path.isfile(REQUIREMENTS):
        return ["--requirement", REQUIREMENTS]
    try:
        with open(PROJECT, "rb") as file:
            dependencies = tomllib.load(file).get("project", {}).get("dependencies", [])
    except tomllib.TOMLDecodeError as exc:
        sys.exit(f"{PROJECT} can't be read: {exc}")
    if not isinstance(dependencies, list) or not all(isinstance(each, str) for each in dependencies):
        sys.exit(f"{PROJECT}: project.dependencies is a list of texts")
    # After `--` nothing is an option.
    return ["--", *dependencies] if dependencies else []


def _pip():
    """The interpreter's own, else the one that it would make virtual environments with."""
    own = [sys.executable, "-I", "-m", "pip"]
    if subprocess.run([*own, "--version"], check=False, capture_output=True).returncode == 0:  # noqa: S603
        return own
    try:
        import ensurepip

        bundled = glob.glob(os.path.join(os.path.dirname(ensurepip.__file__), "_bundled", "pip-*.whl"))
    except ImportError:
        bundled = []
    bundled += glob.glob("/usr/share/python-wheels/pip-*.whl")
    if not bundled:
        sys.exit(f"{sys.executable} has no pip, and none can be made of it: install pip for it")
    return [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {bundled[0]!r}); import runpy; "
            "runpy.run_module('pip', run_name='__main__')"]  # fmt: skip


def _settle(output):
    """Nothing in there may say when or where it was installed."""
    for script in glob.glob(os.path.join(output, "bin", "*")):
        if not os.path.isfile(script):
            continue
        with open(script, "rb") as file:
            first, _, rest = file.read().partition(b"\n")
        if first.startswith(b"#!") and b"python" in first:
            with open(script, "wb") as file:
                file.write(b"#!/usr/bin/env python3\n" + rest)
    # Of files as they were installed; of which some were changed above.
    for record in glob.glob(os.path.join(output, "*.dist-info", "RECORD")):
        with open(record, encoding="utf-8") as file:
            lines = sorted(line for line in file if not line.startswith("../") and "__pycache__" not in line)
        with open(record, "w", encoding="utf-8") as file:
            file.writelines(lines)


def _compile(output):
    """Once here, and not at each cold start, which has nowhere to keep it. What can't be compiled is left as it is.

    By hash (PEP 552), as unpacking gives other dates. The same sources give the same bytes: sorted, one after the other
    in one process, with one seed. Packages' own tests, more than all else in some, are not what events are served with.
    """
    sources = []
    for folder, names, files in os.walk(output):
        if "__pycache__" in names:
            shutil.rmtree(os.path.join(folder, "__pycache__"), ignore_errors=True)
        names[:] = [name for name in names if name not in ("__pycache__", "tests")]
        sources += [os.path.join(folder, name) for name in files if name.endswith(".py") and "\n" not in name]
    command = [
        # Its own modules, not those of the folder that it is in.
        sys.executable, "-P", "-s", "-W", "ignore", "-m", "compileall",
        "-f", "-qq", "--invalidation-mode", "unchecked-hash", "-s", output, "-p", "/var/task", "-i", "-",
    ]  # fmt: skip
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(  # noqa: S603 - no shell
            command,
            check=False,
            input=os.fsencode("\n".join(sorted(sources))),
            env={**os.environ, "PYTHONHASHSEED": "0"},
            timeout=COMPILE_S,
            preexec_fn=_bound,
        )


def _bound():
    with contextlib.suppress(ValueError, OSError):  # it has less already
        resource.setrlimit(resource.RLIMIT_AS, (COMPILE_BYTES, COMPILE_BYTES))


main()
