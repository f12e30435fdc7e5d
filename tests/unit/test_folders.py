"""Removing what a function left in its folder."""

import os
import sys
from pathlib import Path

import pytest

from lateen_invoker.folders import remove

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")


def test_a_folder_of_more_levels_than_descriptors(tmp_path: Path) -> None:
    """Deeper than Python recurses, than a path has characters and than a process has descriptors."""
    top = tmp_path / "top"
    top.mkdir()
    folder = os.open(top, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=folder)
        os.mkdir("e", dir_fd=folder)
        deeper = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = deeper
    os.close(folder)
    remove(str(top))
    assert not top.exists()


def test_a_folder_without_rights(tmp_path: Path) -> None:
    """Rights that its owner took away come back first; the test says something only where it isn't run by root."""
    top = tmp_path / "top"
    (top / "a" / "b" / "c").mkdir(parents=True)
    (top / "a" / "b" / "file").write_text("")
    for path in (top / "a" / "b" / "c", top / "a" / "b", top / "a", top):
        path.chmod(0)
    remove(str(top))
    assert not os.path.lexists(top)


def test_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    """Neither inside nor as the folder itself."""
    (kept := tmp_path / "kept").mkdir()
    (kept / "file").write_text("")
    (top := tmp_path / "top").mkdir()
    (top / "link").symlink_to(kept)
    (link := tmp_path / "link").symlink_to(kept)
    for folder in (top, link, tmp_path / "absent"):
        remove(str(folder))
    assert not top.exists()
    assert (kept / "file").exists()
