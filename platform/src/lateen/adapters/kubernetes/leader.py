"""`Leadership`: one process at a time, by a Lease of the cluster.

A candidate takes the Lease when it is free or was not renewed for its whole length *by the candidate's own clock*, so
clocks that differ harm nobody. The leader renews it every two seconds and stops acting before others may begin: its
time runs from the moment when it asked for the renewal, on the monotonic clock, which goes on while a process is
stopped.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime

from lateen.adapters.kubernetes.api import ApiError, ApiRefused, KubernetesApi, VersionTooOld
from lateen.adapters.kubernetes.kinds import LEASE, Manifest, Ref

log = logging.getLogger(__name__)

LEASE_S, RENEW_S, RETRY_S = 15.0, 10.0, 2.0
_STOP_S = 3.0


class Leadership:
    """`lead` until cancelled."""

    def __init__(
        self,
        api: KubernetesApi,
        *,
        namespace: str,
        name: str,
        identity: str,
        lease_s: float = LEASE_S,
        renew_s: float = RENEW_S,
        retry_s: float = RETRY_S,
    ) -> None:
        """Args:
        identity: of this process; no other has ever had it.
        renew_s: without a renewal for this long the leader stops acting; less than `lease_s`.
        """
        self._api = api
        self._ref = Ref(LEASE, namespace, name)
        self._identity = identity
        self._lease_s = lease_s
        self._renew_s = renew_s
        self._retry_s = retry_s
        self._seen: Manifest | None = None
        self._seen_at_s = 0.0
        self._has_seen_leader = False
        self._renewed_at_s: float | None = None

    @property
    def is_leading(self) -> bool:
        return self.leads_for_s() > 0

    def leads_for_s(self) -> float:
        """Seconds for which this process may act."""
        if self._renewed_at_s is None:
            return 0.0
        return self._renewed_at_s + self._renew_s - _now_s()

    async def lead(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` whenever this process leads; it is cancelled when that ends."""
        while True:
            await self._become()
            log.info("leads", extra={"lease": self._ref.name, "identity": self._identity})
            task = asyncio.ensure_future(work())
            try:
                await self._stay(task)
            finally:
                task.cancel()
                await asyncio.wait([task])
                # Only now, when nothing acts any more; others need not wait for the Lease's end then.
                await self._release()
                log.info("leads no more", extra={"lease": self._ref.name, "identity": self._identity})
            if not task.cancelled() and (exc := task.exception()) is not None:
                log.error("the work of the leader failed", exc_info=exc)
                await asyncio.sleep(self._jittered())

    async def _become(self) -> None:
        while True:
            try:
                await self._look()
                if await self._may_take() and await self._take():
                    return
            except ApiError as exc:
                log.warning("no leader election now", extra={"reason": str(exc)})
            await asyncio.sleep(self._jittered() / 4)

    async def _look(self) -> None:
        self._note(await self._api.get(self._ref))

    def _note(self, lease: Manifest | None) -> None:
        old, new = self._seen, lease
        if old is None or new is None or _version(old) != _version(new):
            self._seen, self._seen_at_s = new, _now_s()
        if new is not None and _holder(new) not in ("", self._identity):
            self._has_seen_leader = True

    async def _may_take(self) -> bool:
        """Waits until the Lease is free, its time is over, or something was changed that has to be read again."""
        lease = self._seen
        if lease is None or _holder(lease) in ("", self._identity):
            return True
        length_s = float((lease.get("spec") or {}).get("leaseDurationSeconds") or self._lease_s)
        while (left_s := self._seen_at_s + length_s - _now_s()) > 0:
            with suppress(TimeoutError, VersionTooOld):
                async with asyncio.timeout(left_s):
                    await self._changed(_version(lease))
                    return False
            await self._look()
            if self._seen is None or _version(self._seen) != _version(lease):
                return False
        return True

    async def _changed(self, version: str) -> None:
        """Returns when the Lease is another one than this version."""
        field_selector = f"metadata.name={self._ref.name}"
        async for event in self._api.watch(LEASE, self._ref.namespace, version=version, field_selector=field_selector):
            if event.type != "BOOKMARK":
                return

    async def _take(self) -> bool:
        """False: somebody else was faster."""
        asked_at_s, seen = _now_s(), self._seen
        spec = self._spec(seen)
        try:
            if seen is not None:
                self._note(await self._api.replace({**seen, "spec": spec}, within_s=self._renew_s))
                self._renewed_at_s = asked_at_s
                return True
            self._note(await self._api.create(self._manifest(spec), within_s=self._renew_s))
        except ApiRefused as exc:
            if exc.status in (404, 409):
                return False
            raise
        # Where there was no Lease, somebody may have removed that of a leader, who learns of it when it renews it.
        await asyncio.sleep(self._renew_s if self._has_seen_leader else 1.5 * self._retry_s)
        asked_at_s = _now_s()
        await self._look()
        return self._seen is not None and _holder(self._seen) == self._identity and await self._renew(asked_at_s)

    async def _stay(self, task: "asyncio.Future[None]") -> None:
        """Until the work has ended, or the Lease is lost."""
        while True:
            await asyncio.wait([task], timeout=min(self._jittered(), max(0.0, self.leads_for_s())))
            if task.done() or self.leads_for_s() <= 0:
                return
            asked_at_s = _now_s()
            try:
                if not await self._renew(asked_at_s):
                    return
            except ApiError as exc:
                log.warning("lease not renewed", extra={"reason": str(exc), "left_s": round(self.leads_for_s(), 1)})

    async def _renew(self, asked_at_s: float) -> bool:
        """False: it is another's, or nobody's. Raises: `ApiError`."""
        if (lease := self._seen) is None:
            return False
        renewed = {**lease, "spec": {**(lease.get("spec") or {}), "renewTime": _time()}}
        try:
            self._note(await self._api.replace(renewed, within_s=self._left_s()))
        except ApiRefused as exc:
            if exc.status not in (404, 409):
                raise
            # Edited or removed by somebody; or this very renewal, whose answer was lost, was stored.
            await self._look()
            if self._seen is None or _holder(self._seen) != self._identity:
                self._renewed_at_s = None
                return False
            return True
        self._renewed_at_s = asked_at_s
        return True

    def _left_s(self) -> float:
        """For a renewal: it must have ended when this process stops to act, and one over a connection that is dead
        leaves time for another."""
        half_s = self._renew_s / 2
        return half_s if self._renewed_at_s is None else max(0.1, min(half_s, self.leads_for_s()))

    async def _release(self) -> None:
        leads, self._renewed_at_s = self.is_leading, None
        if not leads or self._seen is None:
            return
        spec = {**self._seen["spec"], "holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _time()}
        with suppress(ApiError):
            self._note(await self._api.replace({**self._seen, "spec": spec}, within_s=_STOP_S))

    def _spec(self, lease: Manifest | None) -> Manifest:
        transitions = 0 if lease is None else (lease.get("spec") or {}).get("leaseTransitions") or 0
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": max(1, round(self._lease_s)),
            "acquireTime": _time(),
            "renewTime": _time(),
            "leaseTransitions": transitions + (lease is not None),
        }

    def _manifest(self, spec: Manifest) -> Manifest:
        metadata = {"name": self._ref.name, "namespace": self._ref.namespace}
        return {"apiVersion": LEASE.version, "kind": LEASE.name, "metadata": metadata, "spec": spec}

    def _jittered(self) -> float:
        return self._retry_s * random.uniform(0.8, 1.0)  # noqa: S311


def _holder(lease: Manifest) -> str:
    return (lease.get("spec") or {}).get("holderIdentity") or ""


def _version(lease: Manifest) -> str:
    version: str = lease["metadata"]["resourceVersion"]
    return version


def _time() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _now_s() -> float:
    return asyncio.get_running_loop().time()
