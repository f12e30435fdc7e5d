"""The mark of whose the stores are, over the real embedded ones."""

from pathlib import Path

import pytest

from lateen.adapters.filesystem import FileObjects
from lateen.adapters.sqlite import SqliteTable
from lateen.domain.master import MasterKey
from lateen.services.installation import BLOB, KEY, OthersStores, claim

OURS, OTHERS = MasterKey(b"o" * 32), MasterKey(b"x" * 32)


async def test_stores_are_claimed_once_and_known_again(sqlite_table: SqliteTable, file_objects: FileObjects) -> None:
    """The second time, and after either store was lost, too."""
    for _ in range(2):
        await claim(sqlite_table, file_objects, OURS)
    await file_objects.delete(BLOB)
    await claim(sqlite_table, file_objects, OURS)
    item = await sqlite_table.get(KEY)
    assert item.revision == 1, "written once"
    assert item.data == {"mark": b"".join([part async for part in file_objects.read(BLOB)]).decode()}


async def test_another_installation_s_table_is_refused(sqlite_table: SqliteTable, file_objects: FileObjects) -> None:
    """And its bucket is left alone."""
    await claim(sqlite_table, file_objects, OTHERS)
    await file_objects.delete(BLOB)
    with pytest.raises(OthersStores, match="the table belongs to an installation with another master key"):
        await claim(sqlite_table, file_objects, OURS)
    assert [blob async for blob in file_objects.list()] == []


async def test_another_installation_s_bucket_is_refused(
    sqlite_table: SqliteTable, file_objects: FileObjects, tmp_path: Path
) -> None:
    """Though the table is new: two tables over one bucket would sweep each other's code."""
    other = SqliteTable(tmp_path / "other.db")
    try:
        await claim(other, file_objects, OTHERS)
    finally:
        await other.close()
    with pytest.raises(OthersStores, match="the bucket belongs"):
        await claim(sqlite_table, file_objects, OURS)
