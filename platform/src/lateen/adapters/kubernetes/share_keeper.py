"""Reserved concurrency in the cluster: shared out among a function's pods, those of all versions and revisions, and
those that stop included.

A pod begins without a share, and keeps what it was given whether or not the controller is there. It is asked what it
makes of it by a request that it answers when there is something to say. What it has lives in the pod alone: whoever
begins to lead hears all pods of a function before it gives one of them more.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime

import aiohttp
import msgspec
from msgspec import Struct

from lateen.adapters.kubernetes.config import HTTP_PORT
from lateen.adapters.kubernetes.kinds import Manifest
from lateen.adapters.kubernetes.labels import FUNCTION
from lateen.ports.deployer import Deployment
from lateen.services.shares import Sharing
from lateen_invoker import signing
from lateen_invoker.control import Load, Share
from lateen_invoker.shares import HOLD_S

log = logging.getLogger(__name__)

SHARE_PATH = "/_lateen/share"
LIMIT_S = 2.0
"""For an answer, where it is not held on purpose; and so long a leader has to lead on for what it says to be sent."""
RETRY_S = (0.1, 2.0)
PACE_S = 0.5
"""Between two questions of which nothing came."""
GONE_S = 30.0
"""After its grace period: a pod that is still there then is on a node that doesn't answer, and runs nothing of ours."""
_ANSWER_BYTES = 4096


class _Refused(Exception):
    """Nobody listens there."""


class _NoAnswer(Exception):
    """Nobody knows what became of the request."""


class _Pod:
    def __init__(self, function_id: str, uid: str) -> None:
        self.function_id = function_id
        self.uid = uid
        self.address = ""
        self.is_new = False
        """It was seen before it had an address: it has no share that another process gave it."""
        self.is_leaving = False
        self.told: Share | None = None
        """What it is to be told."""
        self.news = asyncio.Event()
        self.following: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None


class _Reserved(Struct):
    sharing: Sharing
    invoke_key: bytes


class ShareKeeper:
    def __init__(
        self,
        *,
        port: int = HTTP_PORT,
        leads_for_s: Callable[[], float] = lambda: math.inf,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._port = port
        self._leads_for_s = leads_for_s
        self._now = now
        self._session: aiohttp.ClientSession | None = None
        self._reserved: dict[str, _Reserved] = {}
        """By the function's id."""
        self._pods: defaultdict[str, dict[str, _Pod]] = defaultdict(dict)
        """By the function's id and their own."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        tasks = [
            *self._tasks,
            *(pod.following for pods in self._pods.values() for pod in pods.values() if pod.following),
        ]
        for pod in [pod for pods in self._pods.values() for pod in pods.values()]:
            if pod.timer is not None:
                pod.timer.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    def reserve(self, deployment: Deployment) -> None:
        """What the function has reserved, as of now."""
        function_id = deployment.function_id
        reserved = self._reserved.get(function_id)
        if deployment.reserved is None:
            if reserved is not None:
                del self._reserved[function_id]
                self._let_go(function_id, reserved)
        elif reserved is None:
            self._reserved[function_id] = _Reserved(Sharing(deployment.reserved), deployment.invoke_key)
            for pod in self._pods.get(function_id, {}).values():
                self._follow(pod)
        elif reserved.sharing.limit != deployment.reserved:
            reserved.sharing.limit = deployment.reserved
            self._spread(function_id)

    def forget(self, function_id: str) -> None:
        """It is removed: its pods keep what they have."""
        self._reserved.pop(function_id, None)
        for pod in self._pods.get(function_id, {}).values():
            self._stop(pod)

    def seen(self, manifest: Manifest, *, is_there: bool) -> None:
        """A pod came, changed or went."""
        metadata, status = manifest["metadata"], manifest.get("status") or {}
        function_id, uid = (metadata.get("labels") or {}).get(FUNCTION), metadata["uid"]
        if function_id is None:
            return
        if not is_there or status.get("phase") in ("Succeeded", "Failed"):
            self._gone(function_id, uid)
            return
        pods = self._pods[function_id]
        if (pod := pods.get(uid)) is None:
            pod = pods[uid] = _Pod(function_id, uid)
            pod.is_new = not status.get("podIP")
        if not pod.address and status.get("podIP"):
            pod.address = status["podIP"]
            self._follow(pod)
        if "deletionTimestamp" in metadata and not pod.is_leaving:
            self._leaves(pod, metadata["deletionTimestamp"])

    def _leaves(self, pod: _Pod, deadline: str) -> None:
        pod.is_leaving = True
        left_s = datetime.fromisoformat(deadline.replace("Z", "+00:00")).timestamp() - self._now()
        pod.timer = asyncio.get_running_loop().call_later(
            max(0.0, left_s) + GONE_S, self._gone, pod.function_id, pod.uid
        )
        if (reserved := self._reserved.get(pod.function_id)) is not None:
            reserved.sharing.leaving(pod.uid)
            self._spread(pod.function_id)

    def _gone(self, function_id: str, uid: str) -> None:
        pods = self._pods.get(function_id, {})
        if (pod := pods.pop(uid, None)) is None:
            return
        if not pods:
            del self._pods[function_id]
        self._stop(pod)
        if pod.timer is not None:
            pod.timer.cancel()
        if (reserved := self._reserved.get(function_id)) is not None:
            reserved.sharing.left(uid)
            self._spread(function_id)

    # One pod

    def _follow(self, pod: _Pod) -> None:
        reserved = self._reserved.get(pod.function_id)
        if reserved is None or not pod.address or pod.following is not None:
            return
        # By the clock, so that what a leader says is newer than what another one said before.
        share = Share(serial=int(self._now() * 1000), most=0 if pod.is_new else None)
        reserved.sharing.join(pod.uid, room=0, holds=0 if pod.is_new else None, share=share)
        pod.is_new = False
        if pod.is_leaving:
            reserved.sharing.leaving(pod.uid)
        pod.following = asyncio.get_running_loop().create_task(self._talk(reserved, pod))
        pod.following.add_done_callback(_say_why)

    def _stop(self, pod: _Pod) -> None:
        if pod.following is not None:
            pod.following.cancel()
            pod.following = None

    async def _talk(self, reserved: _Reserved, pod: _Pod) -> None:
        sharing, failures = reserved.sharing, 0
        while True:
            if self._leads_for_s() < LIMIT_S:
                await asyncio.sleep(PACE_S)
                continue
            told, pod.told = pod.told, None
            if told is None and failures:
                told = sharing.again(pod.uid)  # it may not have heard of it
            pod.news.clear()
            try:
                if told is not None:
                    load: Load | None = await self._ask(reserved.invoke_key, pod, told, LIMIT_S)
                else:
                    load = await self._ask_until(pod.news, reserved.invoke_key, pod, sharing.share_of(pod.uid))
            except (_Refused, _NoAnswer) as exc:
                if isinstance(exc, _Refused) and not pod.is_leaving:
                    sharing.silent(pod.uid)
                wait_s = min(RETRY_S[1], RETRY_S[0] * 2 ** min(failures, 8))
                failures += 1
                await asyncio.sleep(wait_s)
                continue
            failures = 0
            if load is None:
                continue  # there is something to tell it
            sharing.said(pod.uid, load)
            self._spread(pod.function_id)
            if told is None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PACE_S):
                        await pod.news.wait()

    async def _ask_until(self, news: asyncio.Event, key: bytes, pod: _Pod, share: Share) -> Load | None:
        """Its answer, however long that takes; None: there is something to tell it before that."""
        asking = asyncio.ensure_future(
            self._ask(key, pod, Share(serial=share.serial, most=None), LIMIT_S + HOLD_S, is_question=True)
        )
        waiting = asyncio.ensure_future(news.wait())
        try:
            await asyncio.wait((asking, waiting), return_when=asyncio.FIRST_COMPLETED)
            return asking.result() if asking.done() else None
        finally:
            waiting.cancel()
            asking.cancel()
            await asyncio.wait((asking,))
            if not asking.cancelled():
                asking.exception()  # seen

    async def _ask(self, key: bytes, pod: _Pod, share: Share, within_s: float, *, is_question: bool = False) -> Load:
        """Raises: `_Refused`, `_NoAnswer`."""
        target = f"{SHARE_PATH}?serial={share.serial}"
        if not is_question:
            target += "&most=all" if share.most is None else f"&most={share.most}&of={share.of}"
        signature = signing.sign(key, method="POST", target=target, source="", request_id="", now_s=self._now())
        host = f"[{pod.address}]" if ":" in pod.address else pod.address
        if self._session is None:
            # Each pod that has a share has a request open.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
            )
        try:
            async with (
                asyncio.timeout(within_s),
                self._session.post(
                    f"http://{host}:{self._port}{target}",
                    headers={signing.SIGNATURE: signature},
                    allow_redirects=False,
                ) as answer,
            ):
                if answer.status not in (200, 409):
                    raise _NoAnswer(f"status {answer.status}")
                return _load.decode(await answer.content.read(_ANSWER_BYTES))
        except aiohttp.ClientConnectorError as exc:
            if isinstance(exc.os_error, ConnectionRefusedError):
                raise _Refused(str(exc)) from exc
            raise _NoAnswer(repr(exc)) from exc
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError) as exc:
            raise _NoAnswer(repr(exc)) from exc

    # All pods of a function

    def _spread(self, function_id: str) -> None:
        sharing = self._reserved[function_id].sharing
        pods = self._pods.get(function_id, {})
        for uid, share in sharing.due(self._now()).items():
            if (pod := pods.get(uid)) is not None:
                pod.told = share
                pod.news.set()

    def _let_go(self, function_id: str, reserved: _Reserved) -> None:
        for pod in self._pods.get(function_id, {}).values():
            self._stop(pod)
            if pod.uid in reserved.sharing.keys:
                share = Share(serial=reserved.sharing.share_of(pod.uid).serial + 1, most=None)
                task = asyncio.get_running_loop().create_task(self._free(reserved.invoke_key, pod, share))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _free(self, key: bytes, pod: _Pod, share: Share) -> None:
        """Nothing is reserved any more. Pods that don't hear of it are soon replaced by others, which have no share."""
        for wait_s in (0.0, 0.5, 1.0, 2.0):
            await asyncio.sleep(wait_s)
            with contextlib.suppress(_Refused, _NoAnswer):
                await self._ask(key, pod, share, LIMIT_S)
                return


def _say_why(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (exc := task.exception()) is not None:
        log.error("a pod's share is not kept any more", exc_info=exc)


_load = msgspec.json.Decoder(Load)
