"""What was acknowledged survives `kill -9` at any moment."""

import asyncio
import importlib.util
import os
import random
import signal
import sqlite3
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from lateen.adapters.filesystem import FileObjects
from lateen.adapters.sqlite import SqliteTable
from lateen.ports.table import ItemNotFound, Key

ROUNDS = 100
ROUNDS_A_FOLDER = 10
"""A fresh folder now and then, so that some kills meet its making, and the others the recovery of what is there."""
LONGEST_S = 0.2
WRITER = Path(__file__).with_name("durability_writer.py")

_spec = importlib.util.spec_from_file_location("durability_writer", WRITER)
assert _spec is not None
assert _spec.loader is not None
writer = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(writer)

Acknowledged = list[list[str]]


@pytest.mark.slow
async def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    """A hundred kills at random moments under load: the file is sound, every acknowledged write is there as it was
    written, and no transaction is there by half."""
    seed = int(os.environ.get("LATEEN_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
    print(f"LATEEN_TEST_SEED={seed}")
    moments = random.Random(seed)
    per_folder: defaultdict[Path, Acknowledged] = defaultdict(list)
    rounds_with_writes = 0
    nursery = await asyncio.create_subprocess_exec(
        sys.executable, str(WRITER), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        for number in range(ROUNDS):
            folder = tmp_path / str(number // ROUNDS_A_FOLDER)
            moment_s = moments.uniform(0, LONGEST_S)
            found = await one_round(nursery, folder, str(number), moment_s, from_start=number % 2 == 0)
            check_file(folder / "lateen.db")
            if found:
                rounds_with_writes += 1
                await check(folder, found)
            per_folder[folder] += found
    finally:
        nursery.kill()
        await nursery.wait()
    for folder, found in per_folder.items():
        await check(folder, found)
    kinds = {words[0] for found in per_folder.values() for words in found}
    assert kinds == {"item", "counter", "pair", "gone", "batch", "blob", "latest"}
    assert rounds_with_writes >= ROUNDS // 2
    print(f"{sum(map(len, per_folder.values()))} acknowledged writes in {rounds_with_writes} rounds")


async def one_round(
    nursery: asyncio.subprocess.Process, folder: Path, name: str, delay_s: float, *, from_start: bool
) -> Acknowledged:
    """Start the load, kill it `delay_s` after its start or first acknowledged write; what it had reported by then."""
    assert nursery.stdin is not None
    assert nursery.stdout is not None
    nursery.stdin.write(f"{folder} {name}\n".encode())
    found: Acknowledged = []
    pid = 0

    def kill_soon() -> None:
        asyncio.get_running_loop().call_later(delay_s, os.kill, pid, signal.SIGKILL)

    while True:
        words = (await nursery.stdout.readline()).decode().split()
        if words[0] == "started":
            pid = int(words[1])
            if from_start:
                kill_soon()
        elif words[0] == "ended":
            assert int(words[1]) == signal.SIGKILL, f"round {name} ended by itself"
            return found
        else:
            if not found and not from_start:
                kill_soon()
            found.append(words)


def check_file(path: Path) -> None:
    if path.exists():  # else it was killed before that
        connection = sqlite3.connect(path)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.close()


async def check(folder: Path, found: Acknowledged) -> None:
    """Open the stores as a start does, and look for everything."""
    table, objects = SqliteTable(folder / "lateen.db"), FileObjects(folder / "objects")
    try:
        assert list((folder / "objects" / "~incoming").iterdir()) == []
        latest: dict[str, int] = {}
        for kind, *words in found:
            match kind:
                case "item":
                    pk, sk, number = words
                    item = await table.get(Key(pk, sk))
                    assert (item.data, item.revision) == (writer.data_for(sk, int(number)), 1)
                case "gone":
                    pk, sk = words
                    with pytest.raises(ItemNotFound):
                        await table.get(Key(pk, sk))
                case "batch":
                    pk, number = words
                    items = (await table.query(pk, begins=f"LOG#{number}#")).items
                    expected = {sk: writer.data_for(sk, int(number)) for sk in keys_of_batch(number)}
                    assert {item.key.sk: item.data for item in items} == expected
                case "blob":
                    key, number = words
                    body = b"".join([chunk async for chunk in objects.read(key)])
                    assert body == writer.body_for(key, int(number))
                case _:
                    latest[f"{kind} {words[0]}"] = int(words[1])
        await check_latest(table, objects, latest)
    finally:
        await table.close()


def keys_of_batch(number: str) -> list[str]:
    return [f"LOG#{number}#{place}" for place in range(writer.BATCH)]


async def check_latest(table: SqliteTable, objects: FileObjects, latest: dict[str, int]) -> None:
    """What was overwritten again and again: the last acknowledged state, or the one that was on its way."""
    for what, number in latest.items():
        kind, name = what.split()
        if kind == "counter":
            item = await table.get(Key(name, "COUNTER"))
            assert item.revision in (number, number + 1)
            assert item.data == writer.data_for("COUNTER", item.revision)
        elif kind == "pair":
            pair = (await table.query(name, begins="PAIR#")).items
            stored = pair[0].revision
            assert stored in (number, number + 1)
            expected = {sk: writer.data_for(sk, stored) for sk in ("PAIR#a", "PAIR#b")}
            if stored % 2:
                expected["PAIR#odd"] = {"n": stored}
            assert {item.key.sk: item.data for item in pair} == expected
        else:
            body = b"".join([chunk async for chunk in objects.read(name)])
            stored = int(body.split(b"\n")[0])
            assert stored in (number, number + 1)
            assert body == writer.body_for(name, stored)
