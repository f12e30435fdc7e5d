"""Reserved concurrency on the embedded platform: never exceeded, whichever way calls come and whatever changes."""

import asyncio
import json
from typing import Any

import overlap
import pytest

from lateen.domain.access import PLATFORM
from lateen.domain.errors import InvalidInput
from lateen.domain.functions import Function
from lateen.domain.versions import Target

from .conftest import Embedded

THROTTLED = {
    "Reason": "ReservedFunctionConcurrentInvocationLimitExceeded",
    "Type": "User",
    "message": "Rate Exceeded.",
}


class Burst:
    """Calls of several ways at once, and what became of them."""

    def __init__(self, embedded: Embedded) -> None:
        self.embedded = embedded
        self.ran: list[dict[str, Any]] = []
        self.throttled = 0
        self.other: list[Any] = []

    async def url(self, client: Any, address: str) -> None:
        answer = await client.get(address)
        self._note(answer.status_code, answer.content)

    async def invoke(self, function: Function, qualifier: str | None = None) -> None:
        version = await self.embedded.aliases.resolve(function, qualifier)
        answer = await self.embedded.invocations.invoke(version, b"{}", qualifier=qualifier)
        self._note(answer.status, answer.body)

    def _note(self, status: int, body: bytes) -> None:
        document = json.loads(body)
        if status == 200:
            self.ran.append(document)
        elif status == 429 and document == THROTTLED:
            self.throttled += 1
        else:
            self.other.append((status, body))


async def settled(embedded: Embedded, function: Function, alias: str) -> None:
    async with asyncio.timeout(60):
        while (await embedded.aliases.get(PLATFORM, function.id, alias)).status.state != "Active":
            await asyncio.sleep(0.02)


async def test_a_burst_over_url_invoke_and_versions(embedded: Embedded) -> None:
    """200 at once to the URL, by id, to two versions and to an alias: five run at a time, the others are told 429."""
    function = await embedded.create(overlap.code(0.3), reserved_concurrency=5)
    await embedded.versions.publish(PLATFORM, function.id)
    function = await embedded.update(function, code=overlap.code(0.3, "2"))
    await embedded.versions.publish(PLATFORM, function.id)
    alias = (await embedded.aliases.create(PLATFORM, function.id, "live", Target("1", {"2": 0.5}))).alias
    await settled(embedded, function, "live")
    await embedded.settled(function)
    burst = Burst(embedded)
    async with embedded.client() as client:
        # What all need is there before they come.
        await asyncio.gather(
            *(burst.invoke(function, qualifier) for qualifier in (None, "1", "2")),
            burst.url(client, f"{embedded.url}/{alias.hash}"),
        )
        await asyncio.gather(
            *(burst.url(client, embedded.url_of(function)) for _ in range(50)),
            *(burst.url(client, f"{embedded.url}/{alias.hash}") for _ in range(50)),
            *(burst.invoke(function) for _ in range(50)),
            *(burst.invoke(function, qualifier) for qualifier in ("1", "2", "live") for _ in range(17)),
        )
        # Those who come one after the other all have their turn.
        before = len(burst.ran)
        for _ in range(5):
            await burst.invoke(function)
            await burst.invoke(function, "2")
        assert len(burst.ran) == before + 10
    assert burst.other == []
    assert 3 <= overlap.most_at_once(burst.ran) <= 5
    assert burst.throttled > 0
    assert {answer["version"] for answer in burst.ran} == {"$LATEST", "1", "2"}


async def test_an_update_in_a_burst(embedded: Embedded) -> None:
    """While the new code starts beside the old one, both together run no more than one of them may."""
    function = await embedded.create(overlap.code(0.1, "old"), reserved_concurrency=3)
    await embedded.settled(function)
    burst = Burst(embedded)
    async with embedded.client() as client:

        async def calls() -> None:
            while not {"new"} & {answer["code"] for answer in burst.ran[-5:]}:
                await burst.url(client, embedded.url_of(function))

        callers = [asyncio.create_task(calls()) for _ in range(20)]
        await asyncio.sleep(0.5)
        await embedded.update(function, code=overlap.code(0.1, "new"))
        async with asyncio.timeout(60):
            await asyncio.gather(*callers)
    assert burst.other == []
    assert overlap.most_at_once(burst.ran) <= 3


async def test_a_change_takes_effect_without_a_restart(embedded: Embedded) -> None:
    """More and less, none at all and no limit: the process stays, and calls go on."""
    function = await embedded.create(overlap.code(0.2), concurrency=20)
    await embedded.settled(function)
    async with embedded.client() as client:

        async def at_once(reserved: int | None) -> int:
            nonlocal function
            function = await embedded.update(function, reserved_concurrency=reserved)
            async with asyncio.timeout(30):
                while embedded.deployer._reservations._limits.get(function.id, -1) != reserved:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)  # until the invoker has heard of it
            burst = Burst(embedded)
            await asyncio.gather(*(burst.url(client, embedded.url_of(function)) for _ in range(20)))
            assert burst.other == []
            assert len(burst.ran) + burst.throttled == 20
            return overlap.most_at_once(burst.ran)

        await at_once(None)
        pid = embedded.pid_of(function)
        assert await at_once(2) == 2
        assert await at_once(7) == 7
        assert await at_once(0) == 0
        assert await at_once(1) == 1
        assert await at_once(None) > 7
        assert embedded.pid_of(function) == pid


async def test_where_it_sleeps(start_embedded: Any, tmp_path: Any) -> None:
    """A function that nobody told this process of begins with its limit."""
    embedded = await start_embedded(tmp_path / "data", idle_s=0.1)
    function = await embedded.create(overlap.code(0.1), reserved_concurrency=2)
    await embedded.settled(function)
    async with asyncio.timeout(30):
        while embedded.pid_of(function):
            await asyncio.sleep(0.05)
    embedded.deployer._reservations.forget(function.id)
    most = 0
    async with asyncio.timeout(60):
        while most != 2:  # a slow machine may not have started a second environment in the first burst
            burst = Burst(embedded)
            await asyncio.gather(*(burst.invoke(function) for _ in range(10)))
            assert burst.other == []
            most = overlap.most_at_once(burst.ran)
            assert most <= 2


@pytest.mark.parametrize("reserved", [-1, 901, 1000])
async def test_what_can_not_be_reserved(embedded: Embedded, reserved: int) -> None:
    with pytest.raises(InvalidInput, match="0 to 900"):
        await embedded.create(overlap.code(), reserved_concurrency=reserved)


async def test_what_others_have_is_not_to_be_had(embedded: Embedded) -> None:
    """A hundred are left for functions that reserve nothing; who has too much may always give some back."""
    one = await embedded.create(overlap.code(), name="one", reserved_concurrency=600)
    two = await embedded.create(overlap.code(), name="two", reserved_concurrency=300)
    with pytest.raises(InvalidInput, match="900 together"):
        await embedded.create(overlap.code(), name="three", reserved_concurrency=1)
    with pytest.raises(InvalidInput, match="900 together"):
        await embedded.update(two, reserved_concurrency=301)
    await embedded.update(one, reserved_concurrency=599)
    await embedded.update(two, reserved_concurrency=301)
    await embedded.functions.delete(PLATFORM, one.id)
    await embedded.update(two, reserved_concurrency=900)
