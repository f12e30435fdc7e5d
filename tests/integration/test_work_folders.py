"""What functions leave in their work folders, which the platform removes."""

import os
from pathlib import Path

from lateen.adapters.local.work_folders import WorkFolders


async def test_folders_deeper_than_names_are_long(tmp_path: Path) -> None:
    """A function makes three thousand folders in each other: the next start removes them and goes on."""
    work_folders = WorkFolders(tmp_path / "run")
    await work_folders.clear()
    folder = work_folders.make("f1")
    here = os.getcwd()
    try:
        os.chdir(folder)
        for _ in range(3000):
            os.mkdir("d")
            os.chdir("d")
    finally:
        os.chdir(here)
    await work_folders.clear()
    assert os.listdir(tmp_path / "run") == []


async def test_folders_without_rights(tmp_path: Path) -> None:
    """Closed folders and files are removed; what a link points to is not."""
    (tmp_path / "kept").write_text("kept")
    work_folders = WorkFolders(tmp_path / "run")
    await work_folders.clear()
    folder = work_folders.make("f1")
    (folder / "closed" / "in").mkdir(parents=True)
    (folder / "closed" / "file").write_text("x")
    (folder / "link").symlink_to(tmp_path)
    (folder / "closed").chmod(0)
    await work_folders.remove(folder)
    assert not folder.exists()
    assert (tmp_path / "kept").read_text() == "kept"
