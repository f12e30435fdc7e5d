"""An open-loop prober, and a checker of what it lived through.

Requests leave at a fixed rate, whatever became of the earlier ones, and each is timed from the moment at which it was
due: a standstill costs all that would have come during it. Each carries an id of its own, and the function's answer
proves that it is the answer to that id by that function. What was executed more than once shows in what the function
printed.
"""

import asyncio
import hashlib
import json
import secrets
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import IO, Self

import httpx

ANSWER_S = 40.0
"""A probe without an answer after so long counts as lost."""
MAX_PROBES = 20_000
MAX_IN_FLIGHT = 1000
MARK = "probe "


def source(salt: str, *, hold_s: float = 0.0) -> str:
    """A handler that proves which event it answers, and prints it. `hold_s`: it takes so long."""
    return (
        "import hashlib, time\n"
        "def handler(event, context):\n"
        '    probe = event["body"]\n'
        f'    print("{MARK}" + probe, flush=True)\n'
        f"    time.sleep({hold_s!r})\n"
        f'    proof = hashlib.sha256(("{salt}" + probe).encode()).hexdigest()[:16]\n'
        '    return {"statusCode": 200, "headers": {"content-type": "text/plain"}, "body": probe + " " + proof}\n'
    )


def answer_to(probe: str, salt: str) -> str:
    return f"{probe} {hashlib.sha256((salt + probe).encode()).hexdigest()[:16]}"


@dataclass(frozen=True, slots=True)
class Probe:
    """One request. Seconds count from the prober's start."""

    id: str
    url: str
    due_s: float
    ended_s: float
    status: int | None
    """None: no answer."""
    answer: str
    error: str

    @property
    def latency_s(self) -> float:
        return self.ended_s - self.due_s


class Prober:
    """`with Prober(...) as prober:` probes beside the block; at its end it waits for what is under way."""

    def __init__(
        self, urls: Sequence[str], *, per_second: float = 20.0, history: Path, timeout_s: float = ANSWER_S
    ) -> None:
        """Args:
        urls: of one function, asked in turn. Every other round uses a connection of its own, the rest kept ones.
        history: a file, one JSON document a probe, in the order in which they ended.
        """
        self.probes: list[Probe] = []
        self.run = secrets.token_hex(4)
        """Begins the ids of this run's probes."""
        self._urls = list(urls)
        self._every_s = 1 / per_second
        self._timeout_s = timeout_s
        self._history = history
        self._over = Event()
        self._thread = Thread(target=lambda: asyncio.run(self._main()), name="prober", daemon=True)
        self._began = 0.0

    def __enter__(self) -> Self:
        self._began = time.perf_counter()
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _exc: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(self._timeout_s + 10)
        if self._thread.is_alive():
            raise TimeoutError("the prober does not end")

    @property
    def now_s(self) -> float:
        """The prober's clock."""
        return time.perf_counter() - self._began

    async def _main(self) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
        tasks: set[asyncio.Task[None]] = set()
        with self._history.open("w") as history:
            async with (
                httpx.AsyncClient(timeout=self._timeout_s, limits=limits, trust_env=False) as kept,
                httpx.AsyncClient(
                    timeout=self._timeout_s,
                    limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
                    trust_env=False,
                ) as fresh,
            ):
                for number in range(MAX_PROBES):
                    due_s = number * self._every_s
                    await asyncio.sleep(max(0.0, due_s - self.now_s))
                    if self._over.is_set():
                        break
                    turn, at = divmod(number, len(self._urls))
                    url, probe = self._urls[at], f"{self.run}-{number}"
                    if len(tasks) >= MAX_IN_FLIGHT:
                        self._note(history, Probe(probe, url, due_s, self.now_s, None, "", "too many are under way"))
                        continue
                    client = fresh if turn % 2 else kept
                    tasks.add(task := asyncio.create_task(self._ask(client, probe, url, due_s, history)))
                    task.add_done_callback(tasks.discard)
                if tasks:
                    await asyncio.wait(tasks)

    async def _ask(self, client: httpx.AsyncClient, probe: str, url: str, due_s: float, history: IO[str]) -> None:
        status, answer, error = None, "", ""
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await client.post(url, content=probe, headers={"content-type": "text/plain"})
            status, answer = response.status_code, response.text
        except (httpx.HTTPError, TimeoutError) as exc:
            error = f"{type(exc).__name__}: {exc}"
        self._note(history, Probe(probe, url, due_s, self.now_s, status, answer[:2000], error))

    def _note(self, history: IO[str], probe: Probe) -> None:
        self.probes.append(probe)
        history.write(json.dumps(asdict(probe)) + "\n")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a history says. Ids in lists, so that a failing test names them."""

    probes: list[Probe]
    statuses: Counter[int] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    """Never answered: the connection broke, or time ran out."""
    wrong: list[str] = field(default_factory=list)
    """200, but neither the answer to this probe nor to another one."""
    swapped: list[str] = field(default_factory=list)
    """Answered with what another probe should have got."""
    duplicates: list[str] = field(default_factory=list)
    """Executed more than once."""
    phantoms: list[str] = field(default_factory=list)
    """Executed, but never sent."""
    unexecuted: list[str] = field(default_factory=list)
    """Answered with 200, but the function's records know nothing of it."""

    @property
    def failed(self) -> list[Probe]:
        """Whatever is not a right answer."""
        bad = {*self.lost, *self.wrong, *self.swapped}
        return [probe for probe in self.probes if probe.id in bad or probe.status != 200]

    def latency_s(self, share: float) -> float:
        """A quantile over all probes, 0 to 1; of those that failed, the time until they did."""
        latencies = sorted(probe.latency_s for probe in self.probes)
        return latencies[min(len(latencies) - 1, int(share * len(latencies)))]

    def between(self, since_s: float, until_s: float) -> list[Probe]:
        """Those that were due then."""
        return [probe for probe in self.probes if since_s <= probe.due_s < until_s]

    def __str__(self) -> str:
        counts = ", ".join(f"{count} × {status}" for status, count in sorted(self.statuses.items()))
        bad = {name: getattr(self, name) for name in ("lost", "wrong", "swapped", "duplicates", "phantoms")}
        words = "".join(f", {len(ids)} {name}" for name, ids in bad.items() if ids)
        first = "".join(
            f"\n  due {p.due_s:.2f} s, ended {p.ended_s:.2f} s: {p.status or p.error} {p.answer[:160]}"
            for p in self.failed[:8]
        )
        middle, late, last = (self.latency_s(share) * 1000 for share in (0.5, 0.99, 1.0))
        return (
            f"{len(self.probes)} probes: {counts or 'no answers'}{words}; "
            f"median {middle:.0f} ms, p99 {late:.0f} ms, longest {last:.0f} ms{first}"
        )


def check(probes: Iterable[Probe], salt: str, executed: Iterable[str] | None = None) -> Verdict:
    """Args:
    executed: ids that the function's records show, as often as they do; None: nobody looked.
    """
    verdict = Verdict(sorted(probes, key=lambda probe: probe.due_s))
    expected = {answer_to(probe.id, salt): probe.id for probe in verdict.probes}
    for probe in verdict.probes:
        if probe.status is None:
            verdict.lost.append(probe.id)
            continue
        verdict.statuses[probe.status] += 1
        belongs_to = expected.get(probe.answer)
        if belongs_to is not None and belongs_to != probe.id:
            verdict.swapped.append(probe.id)
        elif probe.status == 200 and belongs_to is None:
            verdict.wrong.append(probe.id)
    if executed is not None:
        times = Counter(executed)
        sent = {probe.id for probe in verdict.probes}
        verdict.duplicates.extend(probe for probe, count in times.items() if count > 1)
        verdict.phantoms.extend(probe for probe in times if probe not in sent)
        verdict.unexecuted.extend(p.id for p in verdict.probes if p.status == 200 and p.id not in times)
    return verdict


def printed_probes(log_tails: Iterable[str]) -> Iterator[str]:
    """The ids in what a function printed."""
    for tail in log_tails:
        for line in tail.splitlines():
            if line.startswith(MARK):
                yield line.removeprefix(MARK).strip()
