"""One controller at a time, by a Lease on a real API server; with short times, and the process' own rights."""

import asyncio
import itertools
import secrets
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from controller_rights import remove_rights, restricted_access
from controller_setting import config_for, until

from lateen.adapters.kubernetes.access import Access
from lateen.adapters.kubernetes.api import ApiUnavailable, KubernetesApi
from lateen.adapters.kubernetes.config import FunctionsConfig
from lateen.adapters.kubernetes.kinds import LEASE, NAMESPACE, Manifest, Ref
from lateen.adapters.kubernetes.leader import Leadership
from lateen.adapters.kubernetes.permissions import lease_name

pytestmark = pytest.mark.cluster
LEASE_S, RENEW_S, RETRY_S = 3.0, 2.0, 0.4


class CutOff(KubernetesApi):
    """An API server that can be put out of reach."""

    is_cut = False

    async def _call(self, method: str, path: str, **rest: object) -> object:
        if self.is_cut:
            raise ApiUnavailable("cut off")
        return await super()._call(method, path, **rest)  # type: ignore[arg-type]


class Candidate:
    def __init__(self, access: Access, config: FunctionsConfig, acts: list[tuple[str, float]], name: str) -> None:
        self.api = CutOff(access)
        self.name = name
        self.leadership = Leadership(
            self.api, namespace=config.namespace, name=lease_name(config), identity=name, lease_s=LEASE_S,
            renew_s=RENEW_S, retry_s=RETRY_S,
        )  # fmt: skip
        self._acts = acts
        self.ends: list[float] = []
        self.task = asyncio.create_task(self.leadership.lead(self._work))

    async def _work(self) -> None:
        """Notes each moment when it may act."""
        try:
            while True:
                if self.leadership.leads_for_s() > 0:
                    self._acts.append((self.name, time.monotonic()))
                await asyncio.sleep(0.01)
        finally:
            self.ends.append(time.monotonic())

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def die(self) -> None:
        """As a process that is killed: nothing is released."""
        self.api.is_cut = True
        await self.stop()


class Election:
    def __init__(self, admin: KubernetesApi, access: Access, config: FunctionsConfig) -> None:
        self.admin = admin
        self.lease = Ref(LEASE, config.namespace, lease_name(config))
        self.acts: list[tuple[str, float]] = []
        self.candidates: list[Candidate] = []
        self._new: Callable[[str], Candidate] = lambda name: Candidate(access, config, self.acts, name)

    def join(self, name: str) -> Candidate:
        candidate = self._new(name)
        self.candidates.append(candidate)
        return candidate

    async def led_by(self, name: str, *, within_s: float = 20) -> float:
        """Returns: the first moment."""
        await until(lambda: any(who == name for who, _ in self.acts), within_s=within_s)
        return next(when for who, when in self.acts if who == name)

    def last(self, name: str) -> float:
        return [when for who, when in self.acts if who == name][-1]


@pytest.fixture
async def election(tmp_path: Path) -> AsyncIterator[Election]:
    admin = KubernetesApi(Access.found())
    config = config_for(tmp_path, release=f"ctl-leader-{secrets.token_hex(2)}")
    election = Election(admin, await restricted_access(admin, config), config)
    yield election
    for candidate in election.candidates:
        await candidate.stop()
        await candidate.api.close()
    await admin.delete(Ref(NAMESPACE, "", config.namespace))
    await remove_rights(admin, config)
    await admin.close()


async def test_who_stops_hands_over_at_once(election: Election) -> None:
    """A rolling update of the controller waits for no lease to end."""
    one = election.join("one")
    await election.led_by("one")
    election.join("two")
    await asyncio.sleep(LEASE_S + 1)
    assert {who for who, _ in election.acts} == {"one"}
    stopped = time.monotonic()
    await one.stop()
    assert await election.led_by("two") - stopped < 1
    assert election.last("one") < next(when for who, when in election.acts if who == "two")


async def test_who_dies_is_succeeded_when_its_time_is_over(election: Election) -> None:
    one = election.join("one")
    await election.led_by("one")
    election.join("two")
    await asyncio.sleep(1)
    died = time.monotonic()
    await one.die()
    began = await election.led_by("two")
    assert LEASE_S - RETRY_S - 0.2 < began - died < LEASE_S + 2


async def test_who_is_cut_off_stops_before_another_begins(election: Election) -> None:
    """And may lead again later."""
    one = election.join("one")
    await election.led_by("one")
    election.join("two")
    await asyncio.sleep(1)
    one.api.is_cut = True
    cut = time.monotonic()
    began = await election.led_by("two")
    assert election.last("one") < cut + RENEW_S + 0.1
    assert election.last("one") < began - 0.3
    one.api.is_cut = False
    await election.candidates[1].stop()
    count = len([1 for who, _ in election.acts if who == "one"])
    await until(lambda: len([1 for who, _ in election.acts if who == "one"]) > count)


async def test_who_was_stopped_for_long_acts_no_more(election: Election) -> None:
    """A process that was frozen beyond its time knows that before its next act, not after its next renewal."""
    one = election.join("one")
    await election.led_by("one")
    await asyncio.sleep(0.5)
    await election.admin.get(election.lease)
    time.sleep(RENEW_S + 0.5)  # nothing of this process runs meanwhile
    assert one.leadership.leads_for_s() <= 0
    assert not one.leadership.is_leading


async def test_a_lease_that_somebody_removes_or_takes(election: Election) -> None:
    """Removed: one leads on, and never two at once. Taken: the leader stops at its next renewal."""
    election.join("one")
    await election.led_by("one")
    election.join("two")
    await asyncio.sleep(0.5)
    await election.admin.delete(election.lease)
    await asyncio.sleep(LEASE_S + 1)
    _never_two(election.acts, most=1)

    async def taken() -> Manifest | None:
        lease = await election.admin.get(election.lease)
        if lease is None:
            return None
        return await election.admin.replace({**lease, "spec": {**lease["spec"], "holderIdentity": "a-person"}})

    for _ in range(5):
        try:
            assert await taken() is not None
            break
        except Exception:
            await asyncio.sleep(0.05)
    taken_at = time.monotonic()
    await asyncio.sleep(RENEW_S)
    assert max(when for _, when in election.acts) < taken_at + RETRY_S + 0.5
    await until(lambda: max(when for _, when in election.acts) > taken_at + LEASE_S - 0.5)
    _never_two(election.acts, most=2)


def _never_two(acts: list[tuple[str, float]], *, most: int) -> None:
    """Each one's acts lie together: nobody else acts between two of them that are close to each other."""
    order = [who for who, _ in sorted(acts, key=lambda act: act[1])]
    changes = sum(a != b for a, b in itertools.pairwise(order))
    assert changes <= most
