"""The process that `test_durability.py` kills: it writes to both stores under load and reports what was acknowledged.

Modules are imported once; each round is a fork of this process, so that a round costs milliseconds. One line on stdin
starts a round: data folder, round. On stdout: `started PID`, a line for each acknowledged write, `ended STATUS`.
"""

import asyncio
import hashlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from lateen.adapters.filesystem import FileObjects
from lateen.adapters.sqlite import SqliteTable
from lateen.ports.table import Delete, Item, Key, Put

BATCH = 50


def data_for(sk: str, number: int) -> dict[str, Any]:
    """What an item holds; a torn one would not fit its key. Some are small, some take several pages."""
    digest = hashlib.sha256(f"{sk} {number}".encode()).hexdigest()
    return {"n": number, "text": digest * (1 + int(digest[:2], 16) ** 2 // 1000)}


def body_for(key: str, number: int) -> bytes:
    """What a blob holds: its number, then up to 250 KB that fit it."""
    digest = hashlib.sha256(f"{key} {number}".encode()).digest()
    return b"%d\n" % number + digest * (1 + digest[0] * digest[1] // 8)


def acknowledged(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())  # below PIPE_BUF, hence whole


async def puts(table: SqliteTable, pk: str, task: int) -> None:
    number = 0
    while True:
        sk = f"PUT#{task}#{number}"
        await table.put(Item(key=Key(pk, sk), data=data_for(sk, number)), expected=None)
        acknowledged("item", pk, sk, number)
        number += 1


async def updates(table: SqliteTable, pk: str) -> None:
    revision = 0
    while True:
        item = Item(key=Key(pk, "COUNTER"), data=data_for("COUNTER", revision + 1))
        revision = (await table.put(item, expected=revision or None)).revision
        acknowledged("counter", pk, revision)


async def pairs(table: SqliteTable, pk: str) -> None:
    """Two items that always change together, and a third that is there only while the number is odd."""
    number = 0
    while True:
        number += 1
        both = [
            Put(Item(key=Key(pk, sk), data=data_for(sk, number)), number - 1 or None) for sk in ("PAIR#a", "PAIR#b")
        ]
        odd = Key(pk, "PAIR#odd")
        third = Put(Item(key=odd, data={"n": number}), None) if number % 2 else Delete(odd, 1)
        await table.transact([both[0], third, both[1]])
        acknowledged("pair", pk, number)


async def deletes(table: SqliteTable, pk: str) -> None:
    number = 0
    while True:
        key = Key(pk, f"GONE#{number}")
        await table.put(Item(key=key, data={}), expected=None)
        await table.delete(key)
        acknowledged("gone", pk, key.sk)
        number += 1


async def batches(table: SqliteTable, pk: str) -> None:
    number = 0
    while True:
        keys = [f"LOG#{number}#{place}" for place in range(BATCH)]
        await table.write([Item(key=Key(pk, sk), data=data_for(sk, number), expires_at=1 << 40) for sk in keys])
        acknowledged("batch", pk, number)
        number += 1


async def blobs(objects: FileObjects, folder: str) -> None:
    """New blobs, and one that is overwritten, in turn whole and as a stream."""

    async def stream(body: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(body), 50_000):
            yield body[start : start + 50_000]

    number = 0
    while True:
        new, same = f"{folder}/{number}.zip", f"{folder}/code.py"
        await objects.put(new, body_for(new, number))
        acknowledged("blob", new, number)
        await objects.put(same, stream(body_for(same, number)))
        acknowledged("latest", same, number)
        number += 1


async def load(folder: Path, name: str) -> None:
    table = SqliteTable(folder / "lateen.db")
    objects = FileObjects(folder / "objects")
    async with asyncio.TaskGroup() as tasks:
        for task in range(8):
            tasks.create_task(puts(table, f"ROUND#{name}", task))
        tasks.create_task(updates(table, f"ROUND#{name}"))
        tasks.create_task(pairs(table, f"ROUND#{name}"))
        tasks.create_task(deletes(table, f"ROUND#{name}"))
        tasks.create_task(batches(table, f"ROUND#{name}"))
        tasks.create_task(blobs(objects, f"round/{name}"))


def main() -> None:
    for line in sys.stdin:
        folder, name = line.split()
        pid = os.fork()
        if pid == 0:
            signal.alarm(20)  # should nobody be left to kill it
            try:
                asyncio.run(load(Path(folder), name))
            finally:
                os._exit(1)
        os.write(1, f"started {pid}\n".encode())
        _, status = os.waitpid(pid, 0)
        os.write(1, f"ended {status}\n".encode())


if __name__ == "__main__":
    main()
