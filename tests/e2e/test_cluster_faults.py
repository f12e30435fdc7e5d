"""What an installed Lateen survives on a real node, each fault with an open-loop prober beside it.

Moments and victims are random; the seed is in each test's output and in the report, and LATEEN_FAULT_SEED repeats it.
Only processes and pods of the release under test are ever touched.
"""

import json
import os
import random
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from cluster_faults import (
    SALT,
    Writes,
    dropped,
    evict,
    first_process,
    helm,
    judged,
    leaders,
    restarted,
    stores_stopped,
    uids,
    whole,
)
from lateen_release import Json, Release, eventually, is_ready, kubectl
from node_processes import Process, processes_of
from prober import Prober, source

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(300)]

SEED = int(os.environ.get("LATEEN_FAULT_SEED") or secrets.randbits(32))
CHART = Path(__file__).parents[2] / "charts" / "lateen"
HOLD_S = 0.05
TIMEOUT_S = 3
PLATFORM = ("api", "gateway", "controller")
CREATES = 50
STORES_AWAY_S = 30.0
WAIT = ("--wait", "--timeout", "3m")


@pytest.fixture
def chance(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> random.Random:
    """Randomness of the test's own, from the one seed."""
    record_property("seed", SEED)
    print(f"LATEEN_FAULT_SEED={SEED}")
    return random.Random(f"{SEED} {request.node.name}")


@pytest.fixture(scope="module", autouse=True)
def two_of_each(release: Release) -> Iterator[None]:
    """Two replicas of each component for this module, as the chart has them where a trial's values say nothing else."""
    counts = [f"--set={component}.replicas=2" for component in PLATFORM]
    helm("upgrade", release.name, str(CHART), "--namespace", release.namespace, "--reuse-values", *counts, *WAIT)
    yield
    counts = [f"--set={component}.replicas=1" for component in PLATFORM]
    helm("upgrade", release.name, str(CHART), "--namespace", release.namespace, "--reuse-values", *counts, *WAIT)


@pytest.fixture(scope="module")
def double(release: Release, two_of_each: None) -> Iterator[Json]:
    """A function of two pods."""
    function = release.deploy(f"double-{secrets.token_hex(3)}", source(SALT, hold_s=HOLD_S), replicas=2)
    release.call_through_ingress(function)
    yield function
    release.delete(function)


@pytest.fixture(scope="module")
def single(release: Release, two_of_each: None) -> Iterator[Json]:
    """A function of one pod."""
    function = release.deploy(f"single-{secrets.token_hex(3)}", source(SALT, hold_s=HOLD_S))
    release.call_through_ingress(function)
    yield function
    release.delete(function)


# ------------------------------------------------------------------------------------------------------ kill -9


@pytest.mark.parametrize("component", ["api", "controller"])
def test_a_killed_component_costs_no_call_and_no_acknowledged_write(
    release: Release, double: Json, chance: random.Random, component: str, tmp_path: Path
) -> None:
    """Calls don't notice, all that was acknowledged is stored, and the component is back within 10 s."""
    victim = chance.choice(release.pods(component))
    back = restarted(release, victim, component, lambda: release.pods(component))
    urls = [release.gateway_url(double), release.ingress_url(double)]
    with Prober(urls, history=tmp_path / "history.jsonl") as prober, Writes(release) as writes:
        time.sleep(1 + 2 * chance.random())
        first_process(victim, component).kill()
        took_s = eventually(back, f"{component} is back", 30)
        time.sleep(1)
    print(f"{component} was back after {took_s:.1f} s; {writes.statuses}, {len(writes.broken)} broken")
    assert not writes.missing()
    assert writes.acknowledged
    assert not set(writes.statuses) - {201, 503}
    assert not judged(release, double, prober).failed
    assert took_s <= 10


def test_a_killed_gateway_breaks_what_it_held_and_nothing_else(
    release: Release, double: Json, chance: random.Random, tmp_path: Path
) -> None:
    """Its own connections break; the other replica goes on, no call runs twice, and it is back within 10 s."""
    victim = chance.choice(release.pods("gateway"))
    back = restarted(release, victim, "gateway", lambda: release.pods("gateway"))
    with Prober([release.gateway_url(double)], history=tmp_path / "history.jsonl") as prober:
        time.sleep(1 + 2 * chance.random())
        killed_s = prober.now_s
        first_process(victim, "gateway").kill()
        took_s = eventually(back, "the gateway is back", 30)
        back_s = prober.now_s
        time.sleep(1)
    verdict = judged(release, double, prober)
    assert took_s <= 10
    assert all(killed_s - 1 <= probe.due_s <= back_s for probe in verdict.failed), verdict
    assert len(verdict.failed) <= 0.75 * len(verdict.between(killed_s, back_s)) + 2, verdict


def test_a_killed_invoker_fails_only_the_calls_it_ran(
    release: Release, double: Json, chance: random.Random, tmp_path: Path
) -> None:
    """Each of its callers is answered 502 or 503, the other pod serves on, and the pod is ready again within 10 s."""
    victim = chance.choice(release.function_pods(double))
    back = restarted(release, victim, "invoker", lambda: release.function_pods(double))
    with Prober([release.gateway_url(double)], history=tmp_path / "history.jsonl") as prober:
        time.sleep(1 + 2 * chance.random())
        in_flight = 0.5 * 20 * HOLD_S
        first_process(victim, "invoker").kill()
        took_s = eventually(back, "the pod is ready again", 30)
        time.sleep(1)
    # Records that its process had not yet stored went with it, so nobody waits for them.
    verdict = judged(release, double, prober, within_s=3)
    print(f"ready again after {took_s:.1f} s")
    assert not verdict.lost, verdict
    assert set(verdict.statuses) <= {200, 502, 503}, verdict
    assert len(verdict.failed) <= 3 + in_flight, verdict
    assert max(probe.latency_s for probe in verdict.failed or verdict.probes[:1]) <= TIMEOUT_S + 2
    assert took_s <= 10


def environments(release: Release, function: Json) -> list[Process]:
    return [process for pod in release.function_pods(function) for process in processes_of(pod, "runtime")[1:]]


def test_killed_runtime_processes_fail_only_their_own_calls(
    release: Release, double: Json, chance: random.Random, tmp_path: Path
) -> None:
    """Five environments killed at any moment: at most five calls end with an error, at once; the pods stay ready."""
    kills = 5
    before = {pod["metadata"]["uid"] for pod in release.function_pods(double)}
    with Prober([release.gateway_url(double)], history=tmp_path / "history.jsonl") as prober:
        for _ in range(kills):
            time.sleep(0.5 + chance.random())
            # A pod whose only one was just killed has none for a moment.
            eventually(lambda: environments(release, double), "an environment is there")
            chance.choice(environments(release, double)).kill()
        time.sleep(2)
    verdict = judged(release, double, prober)
    assert len(verdict.failed) <= kills, verdict
    assert set(verdict.statuses) <= {200, 502}, verdict
    assert not verdict.lost, verdict
    pods = release.function_pods(double)
    assert {pod["metadata"]["uid"] for pod in pods} == before
    assert all(map(is_ready, pods))


def test_a_killed_init_takes_its_container_and_nothing_else(
    release: Release, double: Json, chance: random.Random, tmp_path: Path
) -> None:
    """PID 1 of the runtime container dies: the kubelet starts it again, init finds the invoker, calls go on."""
    victim = chance.choice(release.function_pods(double))
    back = restarted(release, victim, "runtime", lambda: release.function_pods(double))
    with Prober([release.gateway_url(double)], history=tmp_path / "history.jsonl") as prober:
        time.sleep(1 + 2 * chance.random())
        first_process(victim, "runtime").kill()
        took_s = eventually(back, "the container is back", 30)
        time.sleep(1)
    verdict = judged(release, double, prober)
    print(f"back after {took_s:.1f} s")
    assert not verdict.lost, verdict
    assert set(verdict.statuses) <= {200, 502, 503}, verdict
    assert took_s <= 10
    settled_s = prober.now_s - 1
    assert not [probe for probe in verdict.failed if probe.due_s > settled_s], verdict


def test_a_controller_killed_midway_through_fifty_creates(
    release: Release, two_of_each: None, chance: random.Random, tmp_path: Path
) -> None:
    """All fifty end active and answer as they should, and when they are deleted nothing of them is left."""
    victims = release.pods("controller")
    at = chance.randrange(15, 36)
    run = secrets.token_hex(3)
    made: list[Json] = []
    # Its calls may take seconds while a node starts more than it has processors for: that is no failure.
    patient = release.deploy(f"patient-{run}", source(SALT, hold_s=HOLD_S), replicas=2, timeout=20)
    try:
        with Prober([release.gateway_url(patient)], per_second=5, history=tmp_path / "history.jsonl") as prober:
            with ThreadPoolExecutor(4) as threads:

                def create(number: int) -> Json:
                    if number == at:
                        # Whoever leads, it is among them.
                        for victim in victims:
                            first_process(victim, "controller").kill()
                    code = f"def handler(event, context):\n    return {{'statusCode': 200, 'body': '{run}-{number}'}}\n"
                    return release.create(f"fifty-{run}-{number}", code, concurrency=1)

                made.extend(threads.map(create, range(CREATES)))
            took_s = eventually(
                lambda: all(release.settled(function, 0)["state"] == "Active" for function in made),
                "all fifty are active",
                120,
                every_s=1,
            )
        print(f"killed at create {at}; the last was active {took_s:.1f} s after the last was accepted")
        for number, function in enumerate(made):
            answer = httpx.get(release.gateway_url(function), timeout=40, trust_env=False)
            assert (answer.status_code, answer.text) == (200, f"{run}-{number}")
        assert not judged(release, patient, prober).failed
    finally:
        for function in (patient, *made):
            release.delete(function)
    ids = {function["id"] for function in made}
    namespace = release.namespace_of(made[0])

    def left() -> list[str]:
        kinds = "deployments,services,ingresses,secrets,pods"
        found = json.loads(kubectl("get", kinds, "-n", namespace, "-l", "lateen.dev/function", "-o", "json"))["items"]
        return [o["metadata"]["name"] for o in found if o["metadata"]["labels"]["lateen.dev/function"] in ids]

    eventually(lambda: not left(), "nothing of the fifty is left", 90, every_s=1)


def test_a_frozen_leader_is_replaced_and_does_no_harm_when_it_wakes(
    release: Release, double: Json, chance: random.Random
) -> None:
    """Another replica takes over within 20 s; the old leader, awake again, undoes nothing of what was done."""
    (frozen,) = leaders(release)
    processes = processes_of(frozen, "controller")
    gone = release.deploy(f"gone-{secrets.token_hex(3)}", source(SALT))
    try:
        for process in processes:
            os.kill(process.pid, signal.SIGSTOP)
        made = release.create(f"made-{secrets.token_hex(3)}", source(SALT))
        release.delete(gone)
        took_s = eventually(lambda: release.settled(made, 0)["state"] == "Active", "another one leads", 40)
    finally:
        for process in processes:
            os.kill(process.pid, signal.SIGCONT)
    time.sleep(3 + chance.random())
    names = kubectl("get", "deployments", "-n", release.namespace_of(gone), "-o", "name").split()
    assert f"deployment.apps/fn-{gone['id']}" not in names
    assert f"deployment.apps/fn-{made['id']}" in names
    release.delete(made)
    eventually(lambda: not release.function_pods(made), "the function is gone", 60)
    print(f"active {took_s:.1f} s after the leader froze")
    assert took_s <= 20 + 5  # and the pod has to start


# ------------------------------------------------------------------------------------------------------- stores


def test_calls_go_on_while_the_stores_are_away(
    release: Release, double: Json, chance: random.Random, tmp_path: Path
) -> None:
    """Thirty seconds without DynamoDB and S3: warm calls all succeed, the API says 503 with Retry-After and neither
    hangs nor lies, and afterwards everything heals. Records of that time arrive or are counted as dropped."""
    urls = [release.gateway_url(double), release.ingress_url(double)]
    already = dropped(release, double)
    with Prober(urls, history=tmp_path / "history.jsonl") as prober:
        time.sleep(2 + chance.random())
        with Writes(release) as early:
            time.sleep(1)
        with stores_stopped(release), Writes(release, every_s=0.5) as during:
            time.sleep(STORES_AWAY_S)
        healed_s = eventually(
            lambda: release.api.get(f"/api/functions/{double['id']}").status_code == 200, "the API has healed", 30
        )
        with Writes(release) as after:
            time.sleep(3)
    print(
        f"during: {during.statuses}, longest {during.longest_s:.1f} s, {during.broken[:3]}; healed in {healed_s:.1f} s"
    )
    assert not [*early.missing(), *during.missing(), *after.missing()]
    assert not during.broken
    assert set(during.statuses) <= {201, 503}
    assert during.statuses[503] > 0
    assert not during.without_retry_after
    assert during.longest_s <= 15
    assert set(after.statuses) == {201}
    assert healed_s <= 10
    verdict = judged(release, double, prober)
    assert not verdict.failed, verdict
    assert len(verdict.unexecuted) <= dropped(release, double) - already, "a record is neither there nor counted"
    late = release.deploy(f"late-{secrets.token_hex(3)}", source(SALT))
    assert httpx.post(release.gateway_url(late), content="x-1", timeout=40, trust_env=False).status_code == 200
    release.delete(late)


# ---------------------------------------------------------------------------------------- eviction and upgrades


def test_evicting_each_platform_pod_in_turn_fails_no_call(
    release: Release, double: Json, chance: random.Random, tmp_path: Path
) -> None:
    """One pod of each component at a time, until all have gone: no call and no request to the API fails."""
    urls = [release.gateway_url(double), release.ingress_url(double)]
    with Prober(urls, history=tmp_path / "history.jsonl") as prober, Writes(release) as writes:
        turns = [release.pods(component) for component in PLATFORM]
        for pods in turns:
            chance.shuffle(pods)
        for turn in range(max(map(len, turns))):
            time.sleep(chance.random())
            for pods in turns:
                if turn < len(pods):
                    evict(pods[turn])
            for component, pods in zip(PLATFORM, turns, strict=True):
                eventually(whole(release, component, len(pods)), f"{component} is whole again")
        time.sleep(6)
    left = {pod["metadata"]["uid"] for component in PLATFORM for pod in release.pods(component)}
    assert not left & {pod["metadata"]["uid"] for pods in turns for pod in pods}
    print(writes.statuses, writes.broken[:3])
    assert not judged(release, double, prober).failed
    assert not writes.missing()
    assert (set(writes.statuses), writes.broken) == ({201}, [])


def test_evicting_function_pods_fails_no_call(
    release: Release, double: Json, single: Json, chance: random.Random, tmp_path: Path
) -> None:
    """Two replicas: no call fails, by Ingress or gateway. One replica behind the gateway: calls wait, none fails."""
    pods = release.function_pods(double)
    chance.shuffle(pods)
    alone = release.function_pods(single)
    urls = [release.gateway_url(double), release.ingress_url(double)]
    with ExitStack() as probing:
        of_double = probing.enter_context(Prober(urls, history=tmp_path / "double.jsonl", per_second=14))
        of_single = probing.enter_context(
            Prober([release.gateway_url(single)], history=tmp_path / "single.jsonl", per_second=6)
        )
        for pod in (*pods, *alone):
            time.sleep(chance.random())
            evict(pod)
            eventually(
                lambda: (
                    sum(map(is_ready, release.function_pods(double))) == 2
                    and any(map(is_ready, release.function_pods(single)))
                ),
                "the functions are whole again",
            )
        time.sleep(7)
    assert not judged(release, double, of_double).failed
    verdict = judged(release, single, of_single)
    assert not verdict.failed
    assert verdict.latency_s(1.0) <= 30


def test_long_calls_end_before_their_pod_does(release: Release, tmp_path: Path) -> None:
    """A function's one pod is deleted while calls of eight seconds run: they and those that come after are answered."""
    hold_s = 8.0
    function = release.deploy(f"long-{secrets.token_hex(3)}", source(SALT, hold_s=hold_s), timeout=20)
    try:
        with Prober([release.gateway_url(function)], per_second=2, history=tmp_path / "history.jsonl") as prober:
            time.sleep(2)
            for pod in release.function_pods(function):
                kubectl("delete", "pod", pod["metadata"]["name"], "-n", pod["metadata"]["namespace"], "--wait=false")
            time.sleep(3)
        verdict = judged(release, function, prober)
        assert not verdict.failed, verdict
        assert verdict.latency_s(1.0) <= hold_s + 5
    finally:
        release.delete(function)


def test_hundreds_of_callers_of_a_function_that_is_just_made(release: Release, tmp_path: Path) -> None:
    """Most come before its pod is there: each gets its own answer, and waits little longer than the first."""
    function = release.create(f"herd-{secrets.token_hex(3)}", source(SALT), concurrency=4)
    try:
        with Prober([release.gateway_url(function)], per_second=250, history=tmp_path / "history.jsonl") as prober:
            time.sleep(2)
        verdict = judged(release, function, prober)
        assert len(verdict.probes) >= 200
        assert not verdict.failed, verdict
        cold_s = min(probe.ended_s for probe in verdict.probes)
        assert verdict.latency_s(0.99) <= cold_s + 3, verdict
        assert len(release.function_pods(function)) == 1
    finally:
        release.delete(function)


def test_upgrade_and_rollback_under_load(release: Release, double: Json, chance: random.Random, tmp_path: Path) -> None:
    """`helm upgrade` that replaces every platform pod, then `helm rollback`: no call and no request to the API fails,
    and functions' pods are not touched."""
    where = ("--namespace", release.namespace, *WAIT)
    before = uids(release.function_pods(double))
    platform = [uids([pod for component in PLATFORM for pod in release.pods(component)])]
    urls = [release.gateway_url(double), release.ingress_url(double)]
    with Prober(urls, history=tmp_path / "history.jsonl") as prober, Writes(release) as writes:
        time.sleep(chance.random())
        changed = [f"{component}.podAnnotations.lateen-test=x{chance.randrange(10**6)}" for component in PLATFORM]
        values = [f"--set-string={value}" for value in changed]
        helm("upgrade", release.name, str(CHART), "--reuse-values", *values, *where)
        platform.append(uids([pod for component in PLATFORM for pod in release.pods(component)]))
        time.sleep(chance.random())
        helm("rollback", release.name, *where)
        platform.append(uids([pod for component in PLATFORM for pod in release.pods(component)]))
        time.sleep(6)
    assert not platform[0] & platform[1], "the upgrade replaced nothing"
    assert not platform[1] & platform[2], "the rollback replaced nothing"
    assert uids(release.function_pods(double)) == before
    print(writes.statuses, writes.broken[:3])
    assert not judged(release, double, prober).failed
    assert not writes.missing()
    assert (set(writes.statuses), writes.broken) == ({201}, [])
