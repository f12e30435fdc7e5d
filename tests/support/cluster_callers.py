"""Callers of functions on a cluster: a pod that is nobody's, and many at once who remember what they were told."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Event, Thread
from types import TracebackType
from typing import Any, Self

import httpx
from lateen_release import Json, Release, kubectl

ANSWER_S = 30.0
_CALL = """
import json, sys, urllib.error, urllib.request
method, url, body = sys.argv[1:]
request = urllib.request.Request(url, data=body.encode() or None, method=method)
try:
    with urllib.request.urlopen(request, timeout=20) as answer:
        print(json.dumps([answer.status, answer.read().decode()]))
except urllib.error.HTTPError as refusal:
    print(json.dumps([refusal.code, refusal.read().decode()]))
except OSError as problem:
    print(json.dumps([0, repr(problem)]))
"""


class CallerPod:
    """A pod with Python, of no release, in a namespace without network policies. For `with`."""

    def __init__(self, namespace: str, *, image: str) -> None:
        self._namespace = namespace
        self._image = image

    def __enter__(self) -> Self:
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "caller", "namespace": self._namespace, "labels": {"app": "caller"}},
            "spec": {
                "automountServiceAccountToken": False,
                "terminationGracePeriodSeconds": 0,
                "containers": [
                    {
                        "name": "caller",
                        "image": self._image,
                        "imagePullPolicy": "IfNotPresent",
                        "command": ["python3", "-c", "import time; time.sleep(86400)"],
                    }
                ],
            },
        }
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self._namespace}}
        kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": [namespace, pod]}))
        kubectl("wait", "-n", self._namespace, "pod/caller", "--for=condition=Ready", "--timeout=60s", timeout_s=70)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _exc: BaseException | None, _tb: TracebackType | None
    ) -> None:
        kubectl("delete", "namespace", self._namespace, "--wait=false", "--ignore-not-found")

    def call(self, url: str, body: str = "", *, method: str = "POST") -> tuple[int, str]:
        """Status and body; status 0: no answer."""
        shown = self.run(_CALL, method, url, body)
        status, text = json.loads(shown)
        return status, text

    def run(self, program: str, *arguments: str) -> str:
        """What a Python program prints there."""
        return kubectl("exec", "-n", self._namespace, "caller", "--", "python3", "-c", program, *arguments)


@dataclass(frozen=True, slots=True)
class Answer:
    """Seconds of `time.monotonic`. `status` 0: none came."""

    began_s: float
    ended_s: float
    url: str
    status: int
    body: str


class Load:
    """`with Load(urls) as load:` has callers ask as fast as they are answered, each the urls in turn."""

    def __init__(self, urls: Sequence[str], *, callers: int = 6) -> None:
        self.answers: list[Answer] = []
        self._urls = list(urls)
        self._callers = callers
        self._over = Event()
        self._thread = Thread(target=lambda: asyncio.run(self._main()), name="load", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _exc: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(ANSWER_S + 10)
        assert not self._thread.is_alive()

    def wait_for(self, count: int, within_s: float = 120.0) -> None:
        """Until so many answers are there, from the beginning."""
        until = time.monotonic() + within_s
        while len(self.answers) < count:
            assert time.monotonic() < until, f"only {len(self.answers)} answers"
            time.sleep(0.05)

    @property
    def failed(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.status != 200]

    async def _main(self) -> None:
        await asyncio.gather(*(self._call(number) for number in range(self._callers)))

    async def _call(self, number: int) -> None:
        # Half of them keep their connection, half come anew each time: both kinds meet a pod that goes.
        limits = httpx.Limits(max_keepalive_connections=1 if number % 2 else 0)
        async with httpx.AsyncClient(timeout=ANSWER_S, limits=limits, trust_env=False) as client:
            turn = number
            while not self._over.is_set():
                url = self._urls[turn % len(self._urls)]
                turn += 1
                began_s = time.monotonic()
                try:
                    answer = await client.post(url, content=b"x", headers={"content-type": "text/plain"})
                    status, body = answer.status_code, answer.text
                except httpx.HTTPError as exc:
                    status, body = 0, repr(exc)
                self.answers.append(Answer(began_s, time.monotonic(), url, status, body[:500]))


def objects_of(function: Json) -> list[str]:
    """`kind/namespace/name` of everything in the cluster that is labelled as the function's."""
    kinds = "deployments,replicasets,pods,services,endpointslices,ingresses,secrets,configmaps,networkpolicies"
    text = kubectl("get", kinds, "--all-namespaces", "-l", f"lateen.dev/function={function['id']}", "-o", "json")
    rows: list[dict[str, Any]] = json.loads(text)["items"]
    return sorted(f"{row['kind']}/{row['metadata']['namespace']}/{row['metadata']['name']}" for row in rows)


def invoke(release: Release, function: Json, event: object, *, timeout_s: float = 60.0) -> Any:
    """A raw event, and the function's answer to it."""
    path = f"/api/functions/{function['id']}/invocations"
    answer = release.api.post(path, json=event, timeout=timeout_s)
    assert answer.status_code == 200, answer.text
    return answer.json()
