"""The runtimes of this repository as this machine runs them, and their smoke tests' code."""

import functools
import io
import os
import subprocess
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from invoker_process import REPOSITORY

from lateen.adapters.local.runtime_commands import RuntimeCommands
from lateen.domain.runtimes import Runtime
from lateen.services.runtimes import Runtimes
from lateen_invoker.control import RuntimeCommand

FOLDER = REPOSITORY / "runtimes"
_TABLE: Any = None  # for seeding only


@functools.cache
def catalogue() -> tuple[RuntimeCommands, dict[str, Runtime]]:
    """With what is disabled here."""
    commands = RuntimeCommands()
    runtimes = Runtimes(FOLDER, table=_TABLE, disabled=commands.disabled)
    return commands, {runtime.name: runtime for runtime in runtimes.list()}


def command(name: str) -> RuntimeCommand:
    return catalogue()[0].command(name)


PACKAGES = {"python": FOLDER / "python3.12" / "packages", "node": FOLDER / "node20" / "sdk" / "node_modules"}
"""By language: what functions find without bringing it."""


def needs_packages(language: str) -> None:
    """Skips where they are not on this machine. In CI they have to be: there it fails."""
    if not PACKAGES[language].is_dir():
        why = f"what {language} functions find without bringing it is not there: hack/runtime-packages says why"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(why)


def smoke_files(runtime: Runtime, work: Path) -> dict[str, str | bytes]:
    """What is in its folder `smoke`, over that of the runtimes that it extends; compiled where it is to be."""
    found: dict[str, str | bytes] = {}
    for folder in reversed(runtime.folders):
        for file in sorted(Path(folder, "smoke").glob("*")):
            found[file.name] = file.read_bytes()
    if "go.mod" in found:
        found["bootstrap"] = compiled(Path(runtime.folders[0], "smoke"), work)
    return found


def compiled(source: Path, work: Path) -> bytes:
    """A Go program, for the machine's own processor."""
    program = work / "compiled"
    built = subprocess.run(
        ["go", "build", "-trimpath", "-ldflags=-s -w", "-tags=lambda.norpc", "-o", str(program), "."],
        cwd=source,
        env={**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=mod"},
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    return program.read_bytes()


def packed(files: Mapping[str, str | bytes]) -> bytes:
    """A zip in which programs can be executed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (0o100755 if name == "bootstrap" else 0o100644) << 16
            archive.writestr(entry, data)
    return buffer.getvalue()
