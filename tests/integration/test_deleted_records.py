"""What a deleted function leaves in the table."""

from pathlib import Path
from typing import Any

from lateen.domain.access import PLATFORM
from lateen.services.deleted_records import AFTER_S, DeletedRecords
from lateen_invoker.records import ExecutionRecord


def record(function_id: str, number: int) -> ExecutionRecord:
    return ExecutionRecord(
        request_id=f"r{number}",
        function_id=function_id,
        version="$LATEST",
        timestamp=f"2026-01-31T23:59:{number % 60:02d}.{number // 60:03d}Z",
        status="success",
        duration_ms=1.0,
    )


async def test_a_deleted_functions_records_go_and_its_neighbours_stay(start_stores: Any, tmp_path: Path) -> None:
    """All of them, some time after the delete, so that those of its last calls are among them."""
    stores = await start_stores(tmp_path / "data")
    now_s = 1000.0
    deleted = DeletedRecords(stores.table, functions=stores.functions, now=lambda: now_s)
    gone = await stores.create("def handler(e, c): 1\n", name="gone")
    stays = await stores.create("def handler(e, c): 1\n", name="stays")
    for function in (gone, stays):
        await stores.records.store(function.id, [record(function.id, number) for number in range(250)])
    await stores.functions.delete(PLATFORM, gone.id)
    assert await deleted.sweep() == 0
    now_s += gone.timeout_s + AFTER_S
    assert await deleted.sweep() == 250
    assert not (await stores.table.query(f"FN#{gone.id}", begins="LOG#")).items
    assert len((await stores.records.list(PLATFORM, stays.id, limit=100)).items) == 100
    assert await deleted.sweep() == 0
