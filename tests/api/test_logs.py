"""Records of invocations: found by a text, one by one, and as they come. Streams run over a real socket."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
import pytest

from lateen.domain.access import Caller
from lateen.domain.errors import Unauthenticated
from lateen.domain.times import iso_ms
from lateen.ports.table import Page
from lateen.services import log_streams
from lateen_invoker.records import ErrorDocument, ExecutionRecord

from .conftest import CODE, Api, Served, StartServer

LIMIT_S = 60


def a_record(function: str, name: str, *, ago_s: float = 0.0, **values: Any) -> ExecutionRecord:
    given = {"status": "success", "duration_ms": 1.5, "log_tail": f"printed {name}\n"} | values
    return ExecutionRecord(
        request_id=name, function_id=function, version="$LATEST", timestamp=iso_ms(time.time() - ago_s), **given
    )


async def names(api: Api, function: str, query: str) -> list[str]:
    answer = await api("GET", f"/api/functions/{function}/logs?{query}")
    assert answer.status_code == 200, answer.text
    return [each["request_id"] for each in answer.json()["items"]]


async def test_a_text_is_found_wherever_it_is(api: Api) -> None:
    """In what was printed, the id, the error's type and its message; in any case, and with a status."""
    function = (await api.function())["id"]
    error = ErrorDocument("KeyError", "no Coffee left")
    records = [
        a_record(function, "one", ago_s=3),
        a_record(function, "two", ago_s=2, status="error", error=error, log_tail="Straße\n"),
        a_record(function, "three", ago_s=1, log_tail="one more <b>coffee</b> & 100%\n"),
    ]
    await api.platform.records.store(function, records)
    for text, found in (
        ("printed", ["one"]),
        ("TWO", ["two"]),
        ("keyerror", ["two"]),
        ("coffee", ["three", "two"]),
        ("STRASSE", ["two"]),
        ("%3Cb%3E", ["three"]),
        ("100%25", ["three"]),
        ("nowhere", []),
    ):
        assert await names(api, function, f"contains={text}") == found
    assert await names(api, function, "contains=coffee&status=error") == ["two"]
    page = (await api("GET", f"/api/functions/{function}/logs?contains=coffee&limit=1")).json()
    assert [each["request_id"] for each in page["items"]] == ["three"]
    page = (await api("GET", f"/api/functions/{function}/logs?contains=coffee&cursor={page['next_cursor']}")).json()
    assert ([each["request_id"] for each in page["items"]], page["next_cursor"]) == (["two"], None)
    for query in ("contains=", f"contains={'x' * 201}"):
        refused = await api("GET", f"/api/functions/{function}/logs?{query}")
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "contains")


async def test_a_record_is_its_functions_and_not_for_ever(api: Api) -> None:
    """Who stores for one function stores nothing of another's; and what is stored goes after its time."""
    function = (await api.function())["id"]
    await api.platform.records.store(function, [a_record(function, "own"), a_record("other", "forged")])
    assert await names(api, function, "") == ["own"]
    assert await api.platform.table.query("FN#other") == Page([], None)
    (item,) = (await api.platform.table.query(f"FN#{function}", begins="LOG#")).items
    days = api.platform.settings.retention_days
    assert item.expires_at is not None
    assert abs(item.expires_at - time.time() - days * 86_400) < 600


async def test_a_search_goes_on_behind_a_page_without_finds(api: Api) -> None:
    """A page looks at no more than a thousand records, and says where the next one begins."""
    function = (await api.function())["id"]
    many = [a_record(function, f"r{number}", ago_s=number / 100) for number in range(1500)]
    await api.platform.records.store(function, [*many, a_record(function, "needle", ago_s=60)])
    path = f"/api/functions/{function}/logs?contains=needle"
    first = (await api("GET", path)).json()
    assert first["items"] == []
    second = (await api("GET", f"{path}&cursor={first['next_cursor']}")).json()
    assert [each["request_id"] for each in second["items"]] == ["needle"]
    assert second["next_cursor"] is None


async def test_one_record(api: Api) -> None:
    """Whole, as in the list; directly by its time, or among the newest; and of no other function."""
    function = (await api.function())["id"]
    other = (await api.function("other"))["id"]
    record = a_record(function, "mine", ago_s=100)
    later = [a_record(function, f"r{number}", ago_s=50) for number in range(5)]
    await api.platform.records.store(function, [record, *later])
    path = f"/api/functions/{function}/logs"
    listed = (await api("GET", f"{path}?contains=mine")).json()["items"][0]
    for query in ("", f"?timestamp={record.timestamp}", f"?since={record.timestamp}"):
        answer = await api("GET", f"{path}/mine{query}")
        assert (answer.status_code, answer.json()) == (200, listed)
    for missing in (
        f"{path}/none",
        f"{path}/ine",
        f"{path}/mine?since={later[0].timestamp}",
        f"{path}/mine?timestamp={later[0].timestamp}",
        f"/api/functions/{other}/logs/mine",
        "/api/functions/never/logs/mine",
    ):
        refused = await api("GET", missing)
        assert (refused.status_code, refused.json()["type"]) == (404, "urn:lateen:problem:not-found")
    for query, field in (("since=yesterday", "since"), ("timestamp=now", "timestamp"), ("wait=11", "wait")):
        refused = await api("GET", f"{path}/mine?{query}")
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, field)


@pytest.mark.parametrize("by_time", [True, False])
async def test_a_record_that_is_on_its_way_is_waited_for(api: Api, *, by_time: bool) -> None:
    """Who has just called a function asks once, and gets the record when it is there."""
    function = (await api.function())["id"]
    record = a_record(function, "soon")
    query = f"wait=10&timestamp={record.timestamp}" if by_time else "wait=10"
    asking = asyncio.create_task(api("GET", f"/api/functions/{function}/logs/soon?{query}"))
    await asyncio.sleep(0.3)
    assert not asking.done()
    await api.platform.records.store(function, [record])
    answer = await asyncio.wait_for(asking, 10)
    assert (answer.status_code, answer.json()["request_id"]) == (200, "soon")


async def test_statistics(api: Api) -> None:
    """The two paths, in words of their own; what can't be asked for is refused."""
    function = await api.function()
    path = f"/api/functions/{function['id']}/statistics"
    for query, buckets in (("", 60), ("?period=24h", 96), ("?period=7d", 168)):
        answer = await api("GET", path + query)
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["buckets"]) == buckets
    whole = (await api("GET", "/api/workspaces/default/statistics")).json()
    nothing = {"calls": 0, "errors": 0, "timeouts": 0, "throttles": 0, "cold_starts": 0}
    nothing |= {"p50_ms": None, "p95_ms": None, "p99_ms": None}
    assert whole == {"items": [{"function_id": function["id"], "name": "hello"} | nothing], "next_cursor": None}
    refused = await api("GET", f"{path}?period=1y")
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "period")
    for path in ("/api/functions/never/statistics", "/api/workspaces/never/statistics"):
        assert (await api("GET", path)).status_code == 404


class Reader:
    """One who reads a stream."""

    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.aiter_lines()

    async def started(self) -> None:
        """What is stored from now on is new."""
        async with asyncio.timeout(LIMIT_S):
            assert await anext(self._lines) == "retry: 2000"

    async def event(self, *, comments: bool = False) -> dict[str, Any]:
        """The next one: its fields, `data` decoded."""
        fields: dict[str, Any] = {}
        async with asyncio.timeout(LIMIT_S):
            async for line in self._lines:
                name, _, value = line.partition(": ")
                if line.startswith(":"):
                    if comments:
                        return {"comment": value}
                elif line:
                    fields[name] = json.loads(value) if name == "data" else value
                elif "event" in fields:
                    return fields
                elif not line:
                    fields = {}
        return {"event": "closed"}

    async def names(self, number: int) -> list[str]:
        """Of the next so many records."""
        found = []
        for _ in range(number):
            event = await self.event()
            assert event["event"] == "record", event
            found.append(event["data"]["request_id"])
        return found


class Watched:
    """A served platform with a function."""

    def __init__(self, served: Served, client: httpx.AsyncClient, function: str) -> None:
        self.served = served
        self.client = client
        self.function = function
        self.path = f"/api/functions/{function}/logs/stream"

    async def store(self, *records: ExecutionRecord) -> None:
        await self.served.platform.records.store(self.function, list(records))

    @asynccontextmanager
    async def reading(
        self, key: str = "", headers: dict[str, str] | None = None, **query: str
    ) -> AsyncIterator[Reader]:
        given = {"Authorization": f"Bearer {key or self.served.secret}", "Accept": "text/event-stream"}
        async with self.client.stream("GET", self.path, params=query, headers=given | (headers or {})) as answer:
            assert answer.status_code == 200, await answer.aread()
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert answer.headers["cache-control"] == "no-store"
            reader = Reader(answer)
            await reader.started()
            yield reader

    async def key(self) -> tuple[str, str]:
        made = await self.client.post("/api/keys", json={"workspace": "default"})
        assert made.status_code == 201
        return made.json()["id"], made.json()["secret"]


@pytest.fixture
async def watched(serve: StartServer) -> AsyncIterator[Watched]:
    served = await serve()
    headers = {"Authorization": f"Bearer {served.secret}"}
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{served.port}", headers=headers, timeout=LIMIT_S, limits=limits, trust_env=False
    ) as client:
        body = {"name": "hello", "runtime": "python3.12", "code": CODE}
        made = await client.post("/api/workspaces/default/functions", json=body)
        assert made.status_code == 201, made.text
        yield Watched(served, client, made.json()["id"])


async def test_a_stream_shows_what_comes(watched: Watched) -> None:
    """What was there before is not news; a call that ran long is, though it arrived earlier. Each once."""
    await watched.store(a_record(watched.function, "before", ago_s=1))
    async with watched.reading() as reader:
        first = a_record(watched.function, "first", log_tail="<script>\r\n\ndata: x\n")
        await watched.store(first)
        event = await reader.event()
        assert event["id"] == f"{first.timestamp}_first"
        listed = await watched.client.get(f"/api/functions/{watched.function}/logs/first")
        assert event["data"] == listed.json()
        await watched.store(a_record(watched.function, "long", ago_s=9))
        assert await reader.names(1) == ["long"]
        await watched.store(a_record(watched.function, "last"))
        assert await reader.names(1) == ["last"]


async def test_what_was_shown_of_the_past_is_no_news(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever begins between a record's coming and the next look at the table has it once."""
    monkeypatch.setattr(watched.served.platform.log_streams, "_poll_s", 0.5)
    async with watched.reading() as everything:
        await watched.store(a_record(watched.function, "one"))
        async with watched.reading(since=iso_ms(time.time() - 100)) as later:
            assert await later.names(1) == ["one"]
            assert await everything.names(1) == ["one"]
            await watched.store(a_record(watched.function, "two"))
            assert await later.names(1) == ["two"]


async def test_each_reader_has_filters_of_its_own(watched: Watched) -> None:
    """And all of them one look at the table."""
    async with (
        watched.reading() as everything,
        watched.reading(status="error") as errors,
        watched.reading(contains="COFFEE") as coffee,
    ):
        await watched.store(
            a_record(watched.function, "a", ago_s=0.3),
            a_record(watched.function, "b", ago_s=0.2, status="error"),
            a_record(watched.function, "c", ago_s=0.1, log_tail="coffee\n"),
        )
        assert await everything.names(3) == ["a", "b", "c"]
        assert await errors.names(1) == ["b"]
        assert await coffee.names(1) == ["c"]
        feeds = watched.served.platform.log_streams._feeds
        assert [len(feed.watchers) for feed in feeds.values()] == [3]
    async with asyncio.timeout(LIMIT_S):
        while feeds:
            await asyncio.sleep(0.05)


async def test_a_reader_that_comes_again_misses_nothing(watched: Watched) -> None:
    """`Last-Event-ID` goes before `since`; what can have come meanwhile is shown, some of it twice."""
    since = iso_ms(time.time() - 100)
    one = a_record(watched.function, "one", ago_s=60)
    await watched.store(a_record(watched.function, "old", ago_s=200), one)
    async with watched.reading(since=since) as reader:
        assert await reader.names(1) == ["one"]
    await watched.store(a_record(watched.function, "two", ago_s=30), a_record(watched.function, "late", ago_s=63))
    headers = {"Last-Event-ID": f"{one.timestamp}_one"}
    async with watched.reading(since=since, headers=headers) as reader:
        assert await reader.names(3) == ["late", "one", "two"]
        await watched.store(a_record(watched.function, "three"))
        assert await reader.names(1) == ["three"]


async def test_more_than_a_stream_carries_is_passed_over(watched: Watched) -> None:
    """The newest are shown, and that there was more is said."""
    many = [a_record(watched.function, f"r{number:03}", ago_s=50 - number / 100) for number in range(300)]
    await watched.store(*many)
    async with watched.reading(since=iso_ms(time.time() - 100)) as reader:
        assert (await reader.event())["event"] == "gap"
        assert await reader.names(200) == [f"r{number:03}" for number in range(100, 300)]
        await watched.store(*(a_record(watched.function, f"n{number:03}") for number in range(500)))
        while (event := await reader.event())["event"] == "record":
            pass
        assert event == {"event": "gap", "data": {"reason": "more records than a stream carries"}}


async def test_a_quiet_stream_is_heard_of(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """A comment now and then, so that nothing on the way takes it for dead."""
    monkeypatch.setattr(log_streams, "HEARTBEAT_S", 0.2)
    monkeypatch.setattr(log_streams, "CHECK_EVERY_S", 0.1)
    async with watched.reading() as reader:
        assert "comment" in await reader.event(comments=True)
        assert "comment" in await reader.event(comments=True)


async def test_a_revoked_key_sees_no_more(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Soon, and others' streams go on."""
    monkeypatch.setattr(log_streams, "CHECK_EVERY_S", 0.2)
    key_id, secret = await watched.key()
    async with watched.reading(secret) as revoked, watched.reading() as stays:
        assert (await watched.client.delete(f"/api/keys/{key_id}")).status_code == 204
        assert await revoked.event() == {"event": "end", "data": {"reason": "revoked"}}
        assert await revoked.event() == {"event": "closed"}
        await watched.store(a_record(watched.function, "one"))
        assert await stays.names(1) == ["one"]


async def test_a_deleted_function_ends_its_streams(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the reason, so that nobody comes again."""
    monkeypatch.setattr(log_streams, "CHECK_EVERY_S", 0.2)
    async with watched.reading() as reader:
        assert (await watched.client.delete(f"/api/functions/{watched.function}")).status_code == 204
        assert await reader.event() == {"event": "end", "data": {"reason": "deleted"}}


async def test_a_stream_ends_after_its_time(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """A browser comes again by itself, perhaps to another process."""
    monkeypatch.setattr(log_streams, "CHECK_EVERY_S", 0.1)
    monkeypatch.setattr(log_streams, "LIVES_S", 0.3)
    async with watched.reading() as reader:
        assert await reader.event() == {"event": "end", "data": {"reason": "time"}}


async def test_a_stop_waits_for_no_stream(watched: Watched) -> None:
    """It is told at once, and the process ends long before what it grants to calls that run."""
    async with watched.reading() as reader:
        began_s = time.monotonic()
        watched.served.server.stop()
        assert await reader.event() == {"event": "end", "data": {"reason": "stopping"}}
        assert await reader.event() == {"event": "closed"}
    await asyncio.wait_for(watched.served.task, LIMIT_S)
    assert time.monotonic() - began_s < watched.served.platform.settings.drain_seconds


async def test_who_comes_while_it_stops_is_told_so(watched: Watched) -> None:
    """Nobody is left whom the stop does not know of."""
    watched.served.platform.log_streams.stop()
    async with watched.reading() as reader:
        assert await reader.event() == {"event": "end", "data": {"reason": "stopping"}}


async def test_a_reader_that_is_slow_has_the_newest(watched: Watched) -> None:
    """What waits for it is bounded, and it is told of the gap."""
    many = [a_record(watched.function, f"r{number}") for number in range(log_streams.WAITING + 5)]
    watcher = log_streams._Watcher(log_streams.ALL)
    watcher.tell([(record, "") for record in many], has_gap=False)
    assert (list(watcher.records), watcher.has_gap) == (many[5:], True)


async def test_who_was_revoked_is_shown_nothing_that_waits(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    streams = watched.served.platform.log_streams
    monkeypatch.setattr(streams, "_poll_s", 0.02)
    monkeypatch.setattr(log_streams, "CHECK_EVERY_S", 0.0)

    async def revoked() -> None:
        raise Unauthenticated("no such key")

    events = streams.events(Caller("k", None), watched.function, recheck=revoked)
    assert isinstance(await anext(events), log_streams.Started)
    await watched.store(a_record(watched.function, "one"))
    (watcher,) = next(iter(streams._feeds.values())).watchers
    await asyncio.wait_for(watcher.woken.wait(), LIMIT_S)
    assert [event async for event in events] == [log_streams.Over("revoked")]


async def test_what_is_over_is_not_remembered(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a function is watched."""
    streams, later_s = watched.served.platform.log_streams, 0.0
    monkeypatch.setattr(streams, "_poll_s", 0.02)
    monkeypatch.setattr(streams, "_now", lambda: time.time() + later_s)
    async with watched.reading() as reader:
        await watched.store(a_record(watched.function, "one"))
        assert await reader.names(1) == ["one"]
        (feed,) = streams._feeds.values()
        assert len(feed.seen) == 1
        later_s = 1000.0
        async with asyncio.timeout(LIMIT_S):
            while feed.seen:
                await asyncio.sleep(0.01)


async def test_a_key_has_ten_streams(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one is refused, another key's is not, and one that ended makes room."""
    monkeypatch.setattr(log_streams, "MOST_OF_KEY", 2)
    _, secret = await watched.key()
    async with watched.reading(secret):
        async with watched.reading(secret):
            refused = await watched.client.get(watched.path, headers={"Authorization": f"Bearer {secret}"})
            assert (refused.status_code, refused.json()["type"]) == (429, "urn:lateen:problem:too-many-streams")
            async with watched.reading():
                pass
        async with asyncio.timeout(LIMIT_S):
            while (watched.served.platform.log_streams._of_key.total()) > 1:
                await asyncio.sleep(0.05)
        async with watched.reading(secret) as reader:
            await watched.store(a_record(watched.function, "one"))
            assert await reader.names(1) == ["one"]


async def test_a_workspace_has_half_of_the_streams(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many keys it makes itself."""
    monkeypatch.setattr(log_streams, "MOST_OF_WORKSPACE", 2)
    secrets = [(await watched.key())[1] for _ in range(3)]
    async with watched.reading(secrets[0]), watched.reading(secrets[1]):
        refused = await watched.client.get(watched.path, headers={"Authorization": f"Bearer {secrets[2]}"})
        assert (refused.status_code, refused.json()["type"]) == (429, "urn:lateen:problem:too-many-streams")
        async with watched.reading():
            pass
    async with asyncio.timeout(LIMIT_S):
        while watched.served.platform.log_streams._of_workspace.total():
            await asyncio.sleep(0.05)
    async with watched.reading(secrets[2]):
        pass


@pytest.mark.parametrize("limit", ["MOST_OF_KEY", "MOST"])
async def test_there_is_a_limit_however_they_are_opened(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    """A key's and the process'; all at once, over a table that takes its time."""
    monkeypatch.setattr(log_streams, limit, 2)
    platform = watched.served.platform
    get = platform.table.get

    async def slow(*args: Any, **options: Any) -> Any:
        await asyncio.sleep(0.01)
        return await get(*args, **options)

    monkeypatch.setattr(platform.table, "get", slow)

    async def never() -> None: ...

    callers = [Caller(f"k{number}" if limit == "MOST" else "k", None) for number in range(6)]
    streams = [platform.log_streams.events(each, watched.function, recheck=never) for each in callers]
    first = await asyncio.gather(*(anext(stream) for stream in streams))
    assert sum(isinstance(event, log_streams.Started) for event in first) == 2
    for stream in streams:
        await stream.aclose()


async def test_streams_are_refused_like_all_else(watched: Watched) -> None:
    """Without a key, of no function, or with what is no time; HEAD has an end."""
    get = watched.client.get
    assert (await get(watched.path, headers={"Authorization": ""})).status_code == 401
    assert (await get("/api/functions/never/logs/stream")).status_code == 404
    for query, headers, field in (
        ({"since": "yesterday"}, {}, "since"),
        ({"status": "odd"}, {}, "status"),
        ({"contains": ""}, {}, "contains"),
        ({}, {"Last-Event-ID": "1"}, "Last-Event-ID"),
        ({}, {"Last-Event-ID": "2026-13-31T23:59:59.123Z_x"}, "Last-Event-ID"),
    ):
        refused = await get(watched.path, params=query, headers=headers)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, field)
    assert (await watched.client.head(watched.path)).status_code == 200


async def test_a_table_that_is_away_is_outlasted(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was recorded is shown when it is back; and a key is not taken for revoked meanwhile."""
    monkeypatch.setattr(watched.served.platform.log_streams, "_poll_s", 0.05)
    async with watched.reading() as reader:
        table = watched.served.platform.table
        query, asked = table.query, asyncio.Event()

        async def away(*args: Any, **options: Any) -> Any:
            nonlocal asked
            asked.set()
            raise log_streams.Unavailable("the store does not answer")

        monkeypatch.setattr(table, "query", away)
        await asyncio.wait_for(asked.wait(), LIMIT_S)
        monkeypatch.setattr(table, "query", query)
        monkeypatch.setattr(log_streams, "CHECK_EVERY_S", 0.05)
        get, asked = table.get, asyncio.Event()
        monkeypatch.setattr(table, "get", away)
        await asyncio.wait_for(asked.wait(), LIMIT_S)
        monkeypatch.setattr(table, "get", get)
        await watched.store(a_record(watched.function, "one"))
        assert await reader.names(1) == ["one"]


def test_an_event_is_one_line_whatever_was_printed() -> None:
    """No text of a function's can end an event and begin another."""
    from lateen.api.logs import _message

    text = "a\nevent: end\n\ndata: x\r\r\u2028\u0085"
    encoded = _message(a_record("f1", "r", log_tail=text)).encode().decode()
    (line,) = (line for line in encoded.split("\r\n") if line.startswith("data: "))
    assert msgspec.json.decode(line.removeprefix("data: "))["log_tail"] == text
    assert encoded.count("\r\n") == 4
