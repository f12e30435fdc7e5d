"""Versions and aliases on the embedded platform: what runs, for whom, and that a move of an alias fails nobody."""

import asyncio
import json
import os
import signal
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

import pytest

from lateen.domain.access import PLATFORM
from lateen.domain.errors import NotFound
from lateen.domain.functions import LATEST, Function
from lateen.domain.versions import Alias, Target
from lateen.services.aliases import AliasChange

from .conftest import Embedded

CODE = """
import os
def handler(event, context):
    return {{
        "code": {number},
        "variable": os.environ["AWS_LAMBDA_FUNCTION_VERSION"],
        "version": context.function_version,
        "arn": context.invoked_function_arn,
        "stage": os.environ.get("STAGE"),
        "prefix": event.get("headers", {{}}).get("x-forwarded-prefix"),
        "caller": event.get("requestContext", {{}}).get("http", {{}}).get("sourceIp"),
    }}
"""


async def published(embedded: Embedded, function: Function, number: int, **change: Any) -> Function:
    await embedded.update(function, code=CODE.format(number=number), **change)
    return (await embedded.versions.publish(PLATFORM, function.id)).version.function


async def with_versions(embedded: Embedded, count: int) -> Function:
    """Versions 1 to `count`, each of which answers its number; the draft answers 0."""
    function = await embedded.create(CODE.format(number=0))
    for number in range(1, count + 1):
        await published(embedded, function, number, environment={"STAGE": f"of {number}"})
    function = await embedded.update(function, code=CODE.format(number=0), environment={})
    await embedded.settled(function)
    return function


async def alias_of(embedded: Embedded, function: Function, target: Target, name: str = "live") -> Alias:
    """Made, and where it leads runs."""
    alias = (await embedded.aliases.create(PLATFORM, function.id, name, target)).alias
    await settled(embedded, alias)
    return alias


async def settled(embedded: Embedded, alias: Alias) -> None:
    async with asyncio.timeout(30):
        while (await embedded.aliases.get(PLATFORM, alias.function_id, alias.name)).status.state != "Active":
            await asyncio.sleep(0.01)


async def invoked(embedded: Embedded, function: Function, qualifier: str | None) -> tuple[dict[str, Any], str | None]:
    """The answer, and the version that gave it."""
    version = await embedded.aliases.resolve(function, qualifier)
    answer = await embedded.invocations.invoke(version, b"{}", qualifier=qualifier)
    assert (answer.status, answer.function_error) == (200, None), answer.body
    return json.loads(answer.body), answer.executed_version


class Caller:
    """Asks one URL again and again over one connection."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname, parts.port)
        self._request = f"GET {parts.path} HTTP/1.1\r\nhost: x\r\n\r\n".encode()

    async def __aenter__(self) -> "Caller":
        self._reader, self._writer = await asyncio.open_connection(*self._address)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def ask(self) -> tuple[int, dict[str, Any]]:
        self._writer.write(self._request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        return int(head.split(" ")[1]), json.loads(await self._reader.readexactly(length))


async def test_versions_run_side_by_side(embedded: Embedded) -> None:
    """Each with its code and variables, by each name that leads to it, which it is told; its log says so too."""
    function = await with_versions(embedded, 2)
    await alias_of(embedded, function, Target("2"))
    arn = f"arn:aws:lambda:us-east-1:{function.account_id}:function:f"
    for qualifier, version, said in (
        (None, LATEST, arn),
        (LATEST, LATEST, f"{arn}:$LATEST"),
        ("1", "1", f"{arn}:1"),
        ("live", "2", f"{arn}:live"),
        ("2", "2", f"{arn}:2"),
    ):
        answer, executed = await invoked(embedded, function, qualifier)
        assert executed == answer["variable"] == answer["version"] == version
        assert answer["arn"] == said
        number = 0 if version == LATEST else int(version)
        assert (answer["code"], answer["stage"]) == (number, f"of {number}" if number else None)
    async with asyncio.timeout(20):
        while True:
            records = (await embedded.records.list(PLATFORM, function.id)).items
            if len(records) == 5:
                break
            await asyncio.sleep(0.05)
    assert Counter(record.version for record in records) == {LATEST: 2, "1": 1, "2": 2}
    assert all(f"Version: {record.version}\n" in record.log_tail for record in records)


async def test_a_version_stays_what_it_is(embedded: Embedded) -> None:
    """While the draft changes, and after all has slept."""
    function = await with_versions(embedded, 1)
    before, _ = await invoked(embedded, function, "1")
    for number in (7, 8):
        latest = await embedded.update(function, code=CODE.format(number=number), environment={"STAGE": "draft"})
        await embedded.settled(latest)
        assert (await invoked(embedded, latest, None))[0]["code"] == number
        assert (await invoked(embedded, latest, "1"))[0] == before


async def test_an_aliases_own_url(embedded: Embedded) -> None:
    """The function is told by which URL it was called, and by whom; nobody else's path leads to it."""
    function = await with_versions(embedded, 1)
    alias = await alias_of(embedded, function, Target("1"))
    async with embedded.client() as client:
        answer = await client.get(f"{embedded.url}/{alias.hash}/deep?a=b")
        assert answer.status_code == 200
        told = answer.json()
        assert (told["code"], told["prefix"], told["caller"]) == (1, f"/{alias.hash}", "127.0.0.1")
        assert told["arn"].endswith(":function:f:live")
        plain = await client.get(embedded.url_of(function))
        assert (plain.json()["code"], plain.json()["arn"].endswith(":function:f")) == (0, True)
        forged = await client.get(
            f"{embedded.url}/{alias.hash}", headers={"X-Lateen-Source": "1.2.3.4 https 443 other"}
        )
        assert (forged.json()["caller"], forged.json()["arn"][-5:]) == ("127.0.0.1", ":live")
        large = await client.post(f"{embedded.url}/{alias.hash}", content=b"x" * 300_000)
        assert large.json()["code"] == 1
        await embedded.update(function, auth="key")
        assert (await client.get(f"{embedded.url}/{alias.hash}")).status_code == 401
        await embedded.update(function, auth="none")
        await embedded.aliases.delete(PLATFORM, function.id, "live")
        assert (await client.get(f"{embedded.url}/{alias.hash}")).status_code == 404
        assert (await client.get(embedded.url_of(function))).status_code == 200


async def test_shares_of_calls(embedded: Embedded) -> None:
    """Within two points of the weights over 10,000 calls."""
    function = await with_versions(embedded, 2)
    alias = await alias_of(embedded, function, Target("1", {"2": 0.25}))
    answers: Counter[int] = Counter()

    async def ask() -> None:
        async with Caller(f"{embedded.url}/{alias.hash}") as caller:
            for _ in range(1250):
                status, answer = await caller.ask()
                assert status == 200
                answers[answer["code"]] += 1

    await asyncio.gather(*(ask() for _ in range(8)))
    assert set(answers) == {1, 2}
    assert 0.23 <= answers[2] / 10_000 <= 0.27


async def test_a_move_fails_nobody(embedded: Embedded) -> None:
    """Under load, to versions that sleep, back, and in shares; the last answers are those of where it leads."""
    function = await with_versions(embedded, 3)
    alias = await alias_of(embedded, function, Target("1"))
    statuses: Counter[int] = Counter()
    seen: set[int] = set()
    is_over = False

    async def ask() -> None:
        async with Caller(f"{embedded.url}/{alias.hash}") as caller:
            while not is_over:
                status, answer = await caller.ask()
                statuses[status] += 1
                seen.add(answer["code"])

    async with asyncio.TaskGroup() as tasks:
        for _ in range(4):
            tasks.create_task(ask())
        for change in (
            AliasChange(version="2"),
            AliasChange(version="1", weights={"3": 0.5}),
            AliasChange(version=LATEST, weights={}),
            AliasChange(version="3"),
        ):
            await embedded.aliases.update(PLATFORM, function.id, "live", change)
            await settled(embedded, alias)
            await asyncio.sleep(0.3)
        is_over = True
    assert set(statuses) == {200}
    assert seen == {0, 1, 2, 3}
    async with Caller(f"{embedded.url}/{alias.hash}") as caller:
        assert {(await caller.ask())[1]["code"] for _ in range(20)} == {3}


async def test_a_version_that_cannot_start_gets_no_call(embedded: Embedded) -> None:
    """The one before goes on serving, and the alias says why."""
    function = await with_versions(embedded, 1)
    alias = await alias_of(embedded, function, Target("1"))
    broken = await published(embedded, function, 2)
    await embedded.objects.delete(broken.code.artifact_key)
    await embedded.aliases.update(PLATFORM, function.id, "live", AliasChange(version="2"))
    async with asyncio.timeout(30):
        while True:
            status = (await embedded.aliases.get(PLATFORM, function.id, "live")).status
            if status.state == "Failed":
                break
            await asyncio.sleep(0.02)
    assert (status.reason or "").startswith("Version 2: ")
    async with Caller(f"{embedded.url}/{alias.hash}") as caller:
        assert {(await caller.ask())[1]["code"] for _ in range(20)} == {1}


async def test_nothing_runs_of_what_is_deleted(embedded: Embedded) -> None:
    function = await with_versions(embedded, 2)
    await invoked(embedded, function, "1")
    await invoked(embedded, function, "2")
    assert set(await embedded.deployer.deployed_versions()) == {(function.id, "1"), (function.id, "2")}
    await embedded.functions.delete(PLATFORM, function.id)
    async with asyncio.timeout(20):
        while await embedded.deployer.deployed():
            await asyncio.sleep(0.02)
    with pytest.raises(NotFound):
        await embedded.versions.get(PLATFORM, function.id, "1")


async def test_a_version_that_is_kept_started(embedded: Embedded) -> None:
    """It is started without a call, also where its invoker dies, until that is over; no call fails meanwhile."""
    function = await with_versions(embedded, 1)

    def pid() -> int:
        running = embedded.deployer._functions.get(f"{function.id}-1")
        return 0 if running is None or running._current is None else running._current.pid

    async def ready(requested: int) -> None:
        await embedded.provisioned.put(function, "1", requested)
        async with asyncio.timeout(60):
            while (await embedded.provisioned.get(function, "1")).status.state != "READY":
                await asyncio.sleep(0.01)

    assert pid() == 0
    await ready(2)
    first = pid()
    os.kill(first, signal.SIGKILL)
    async with asyncio.timeout(60):
        while pid() in (0, first):
            await asyncio.sleep(0.01)
    second = pid()
    answers: list[tuple[dict[str, Any], str | None]] = []
    calling = True

    async def call() -> None:
        while calling:
            answers.append(await invoked(embedded, function, "1"))

    caller = asyncio.create_task(call())
    await ready(3)
    assert pid() not in (0, first, second)
    await embedded.provisioned.delete(function, "1")
    known = len(answers)
    async with asyncio.timeout(60):
        while len(answers) < known + 20:
            await asyncio.sleep(0.01)
    calling = False
    await caller
    assert {version for _, version in answers} == {"1"}
    assert embedded.deployer._functions[f"{function.id}-1"]._desired.provisioned == 0
