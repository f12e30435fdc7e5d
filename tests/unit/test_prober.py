"""The prober that stands beside every fault: it sees what it is there to see."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prober import Probe, Prober, answer_to, check, printed_probes, source

SALT = "pepper"
Answer = Callable[[str], Awaitable[bytes]]


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[str]:
    """A server that answers each body as it is told to; an empty answer closes the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.split("content-length:")[1].split("\r\n")[0])
                whole = await answer((await reader.readexactly(length)).decode())
                writer.write(whole)
                if not whole:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()


def http(status: int, body: str) -> bytes:
    return f"HTTP/1.1 {status} As Said\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()


async def probed(answer: Answer, tmp_path: Path, *, seconds: float, per_second: float = 50.0) -> list[Probe]:
    def probe(url: str) -> list[Probe]:
        with Prober([url], per_second=per_second, history=tmp_path / "history.jsonl") as prober:
            time.sleep(seconds)
        return prober.probes

    async with serving(answer) as url:
        return await asyncio.to_thread(probe, url)


async def test_right_answers_are_right(tmp_path: Path) -> None:
    """Nothing is held against a server that answers as it should."""

    async def answer(probe: str) -> bytes:
        return http(200, answer_to(probe, SALT))

    probes = await probed(answer, tmp_path, seconds=0.6)
    verdict = check(probes, SALT, executed=[probe.id for probe in probes])
    assert len(probes) >= 20
    assert verdict.statuses == {200: len(probes)}
    assert not verdict.failed
    assert not [*verdict.duplicates, *verdict.phantoms, *verdict.unexecuted]
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == len(probes)


async def test_each_kind_of_fault_is_told_apart(tmp_path: Path) -> None:
    """A closed connection is lost, another's answer is swapped, nonsense is wrong, 503 is a status."""

    async def answer(probe: str) -> bytes:
        run, _, number = probe.partition("-")
        return {
            1: b"",
            2: http(200, answer_to(f"{run}-0", SALT)),
            3: http(200, answer_to(probe, "another function's")),
            4: http(503, "later"),
        }.get(int(number), http(200, answer_to(probe, SALT)))

    verdict = check(await probed(answer, tmp_path, seconds=0.3), SALT)
    numbers = [[probe.partition("-")[2] for probe in ids] for ids in (verdict.lost, verdict.swapped, verdict.wrong)]
    assert numbers == [["1"], ["2"], ["3"]]
    assert verdict.statuses[503] == 1
    assert len(verdict.failed) == 4


async def test_a_standstill_costs_all_that_were_due_in_it(tmp_path: Path) -> None:
    """One slow second is seen by everybody who came in it, not by one caller: nobody waits for an answer to ask."""
    clock = asyncio.get_running_loop().time
    stopped_until: list[float] = []

    async def answer(probe: str) -> bytes:
        if not stopped_until:
            stopped_until.append(clock() + 1.0)
        await asyncio.sleep(max(0.0, stopped_until[0] - clock()))
        return http(200, answer_to(probe, SALT))

    verdict = check(await probed(answer, tmp_path, seconds=1.3), SALT)
    waited = [probe for probe in verdict.probes if probe.latency_s > 0.1]
    assert len(waited) > 30
    assert 1.0 <= verdict.latency_s(1.0) < 2.0


def test_what_ran_twice_or_was_never_sent_shows_in_the_records() -> None:
    """Answers alone can't tell that an event ran twice; what the function printed can."""
    probes = [Probe(f"r-{number}", "", 0.0, 0.1, 200, answer_to(f"r-{number}", SALT), "") for number in range(3)]
    printed = printed_probes(["START\nprobe r-0\nEND", "START\nprobe r-1\nEND", "probe r-1\n", "probe x-9\nREPORT"])
    verdict = check(probes, SALT, executed=printed)
    assert (verdict.duplicates, verdict.phantoms, verdict.unexecuted) == (["r-1"], ["x-9"], ["r-2"])


def test_the_handler_proves_what_it_answers(capsys: pytest.CaptureFixture[str]) -> None:
    """The function's side and the checker's agree."""
    names: dict[str, Callable[..., dict[str, object]]] = {}
    exec(source(SALT), names)
    answer = names["handler"]({"body": "r-7"}, None)
    assert answer["body"] == answer_to("r-7", SALT)
    assert list(printed_probes([capsys.readouterr().out])) == ["r-7"]
