"""How a runtime's interpreter is found: by name, by pattern, by what it says of itself."""

import os
import sys
from pathlib import Path

import pytest

from lateen.adapters.local.interpreters import find_interpreter, found_versions


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Programs that describe themselves, and two that don't start."""
    for name, version in (("managed/1.9.2/bin/toy", "1.9"), ("managed/1.9.10/bin/toy", "1.9"), ("bin/toy", "2.0")):
        program(tmp_path / name, f'{{"executable": "{tmp_path / name}", "version": "{version}", "readable": []}}')
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "toy").write_text("#!/nowhere/at/all\n")
    (tmp_path / "broken" / "toy").chmod(0o755)
    program(tmp_path / "rude" / "toy", "hello")
    return tmp_path


def program(path: Path, says: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)


def find(machine: Path, *candidates: str, version: str = "1.9") -> str | None:
    environ = {"PATH": f"{machine}/broken{os.pathsep}{machine}/rude{os.pathsep}{machine}/bin", "HOME": str(machine)}
    found = find_interpreter(candidates, version, ("probe",), {**environ, "TOYS": f"{machine}/managed"})
    return None if found is None else found.executable.removeprefix(f"{machine}/")


def test_by_name(machine: Path) -> None:
    """What doesn't start, or doesn't describe itself, is passed over."""
    assert find(machine, "toy", version="2.0") == "bin/toy"


def test_by_pattern(machine: Path) -> None:
    """The newest match, with the home folder and variables filled in."""
    assert find(machine, "~/managed/*/bin/toy") == "managed/1.9.10/bin/toy"
    assert find(machine, "$TOYS/*/bin/toy") == "managed/1.9.10/bin/toy"
    assert find(machine, "$UNSET/*/bin/toy") is None


def test_another_version_is_another_program(machine: Path) -> None:
    """The first candidate of the right version."""
    assert find(machine, "toy", "~/managed/*/bin/toy") == "managed/1.9.10/bin/toy"
    assert find(machine, "toy") is None


def test_the_program_that_runs_lateen() -> None:
    """Taken whatever its version is, where the runtime asks for it."""
    probe = Path(__file__).parents[2] / "runtimes" / "python3.12" / "probe.py"
    found = find_interpreter(["nothing-like-this", "{lateen}"], "0.1", ("-I", "-S", str(probe)))
    assert found is not None
    assert found.version == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert os.path.realpath(sys.base_prefix) in found.readable


def test_without_a_probe(machine: Path) -> None:
    """Whatever can be executed will do."""
    found = find_interpreter(["toy"], "9", (), {"PATH": f"{machine}/bin"})
    assert found is not None
    assert (found.version, found.readable) == ("9", [str(machine / "bin" / "toy")])


def test_what_is_there_instead(machine: Path) -> None:
    """Of each version that was found it is said where; what doesn't start is no version."""
    environ = {"PATH": f"{machine}/broken{os.pathsep}{machine}/bin", "HOME": str(machine)}
    found = found_versions(["toy", "~/managed/1.9.*/bin/toy", "{lateen}"], ("probe",), environ)
    assert found == [
        f"2.0 ({machine}/bin/toy)",
        f"1.9 ({machine}/managed/1.9.10/bin/toy)",
        f"1.9 ({machine}/managed/1.9.2/bin/toy)",
    ]
