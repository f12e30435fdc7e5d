"""What the pages load is committed, so that Lateen runs without npm; here it is made anew."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from running_lateen import ROOT

COMMITTED = ROOT / "platform" / "src" / "lateen" / "ui" / "static"


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_the_committed_files_are_those_that_are_built(tmp_path: Path) -> None:
    """The same bytes from the sources and the lock file: nobody has changed them by hand, or forgotten to build."""
    if shutil.which("npm") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("needs npm", pytrace=False)
        pytest.skip("needs npm")
    built = tmp_path / "static"
    subprocess.run([ROOT / "hack" / "build-ui", str(built)], check=True, timeout=110)
    assert files(built).keys() == files(COMMITTED).keys()
    assert [name for name, content in files(built).items() if content != files(COMMITTED)[name]] == []
