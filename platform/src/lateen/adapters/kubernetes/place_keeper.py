"""`PlaceKeeper`: `Places` as namespaces. Makes a workspace's when its first function comes, keeps it as it should be,
and removes it after the workspace. One that exists and isn't ours is never touched."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Collection, Mapping
from functools import partial

from lateen.adapters.kubernetes.api import ApiRefused, ApiUnavailable
from lateen.adapters.kubernetes.applier import Applier
from lateen.adapters.kubernetes.config import FunctionsConfig
from lateen.adapters.kubernetes.kinds import (
    DEPLOYMENT,
    LIMIT_RANGE,
    NAMESPACE,
    RESOURCE_QUOTA,
    Kind,
    Manifest,
    ref_of,
)
from lateen.adapters.kubernetes.labels import COPIED, WORKSPACE, place_labels
from lateen.adapters.kubernetes.place_manifests import PlaceObjects, place_for, read_copied
from lateen.adapters.kubernetes.planner import difference
from lateen.adapters.kubernetes.watcher import Watched
from lateen.adapters.kubernetes.work import Work, together
from lateen.domain.errors import Unavailable
from lateen.domain.workspaces import Quota

log = logging.getLogger(__name__)

OWN_KINDS = (NAMESPACE, RESOURCE_QUOTA, LIMIT_RANGE)
"""Made only where each workspace has a namespace, beside the network policies and the service account of any place."""
REFRESH_S = 60.0
AGAIN_S = 30.0
_SHARED = ""
"""Key of the one place that all workspaces share."""


class PlaceTaken(Unavailable):
    """A namespace of that name is somebody else's."""


class PlaceKeeper:
    def __init__(
        self, config: FunctionsConfig, *, applier: Applier, watched: Mapping[Kind, Watched], digest_key: bytes = b""
    ) -> None:
        self._config = config
        self._digest_key = digest_key
        self._applier = applier
        self._watched = watched
        self._is_shared = config.functions_namespace is not None
        self._quotas: dict[str, Quota] = {}
        self._good: set[str] = set()
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._secrets: dict[str, dict[str, bytes]] | None = None
        self._copied_at_s: dict[str, float] = {}
        self.work = Work(self._look, what="workspace")

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.work.run())
            tasks.create_task(self._refresh_for_ever())

    def settle(self, workspace_id: str, quota: Quota) -> None:
        if self._quotas.get(workspace_id, Quota()) != quota:
            self._quotas[workspace_id] = quota
            if not self._is_shared:
                self.doubt(workspace_id)

    async def places(self) -> Collection[str]:
        if self._is_shared:
            return []
        return [
            workspace_id
            for namespace in self._watched[NAMESPACE]
            if (workspace_id := namespace["metadata"]["labels"].get(WORKSPACE)) is not None
            and "deletionTimestamp" not in namespace["metadata"]
        ]

    async def clear(self, workspace_id: str) -> None:
        name = self._config.namespace_of(workspace_id)
        namespace = self._watched[NAMESPACE].get("", name)
        if self._is_shared or namespace is None or self._is_used(name):
            return
        self._quotas.pop(workspace_id, None)
        self._good.discard(workspace_id)
        # From now on nobody has asked for it: what is seen of its end must not make it again.
        self._locks.pop(workspace_id, None)
        self._copied_at_s.pop(workspace_id, None)
        await self._applier.delete(ref_of(namespace), uid=namespace["metadata"]["uid"])
        log.info("namespace removed", extra={"workspace": workspace_id, "namespace": name})

    def seen(self, manifest: Manifest) -> None:
        """Something of a place was changed, perhaps by us."""
        if self._is_shared:
            self.doubt(_SHARED)
        elif (workspace_id := manifest["metadata"]["labels"].get(WORKSPACE)) is not None:
            self.doubt(workspace_id)

    def doubt(self, workspace_id: str) -> None:
        """Look at it again."""
        key = self._key(workspace_id)
        self._good.discard(key)
        # Not one that nobody has asked for: it may be about to be removed.
        if key in self._locks:
            self.work.add(key)

    async def copy_again(self, workspace_id: str) -> None:
        """A pod waits for something: perhaps for a Secret that somebody removed."""
        key, now_s = self._key(workspace_id), asyncio.get_running_loop().time()
        if now_s < self._copied_at_s.get(key, 0.0) + AGAIN_S:
            return
        self._copied_at_s[key] = now_s
        for secret in (await self._objects(key)).secrets:
            await self._applier.apply(secret)

    async def ensure(self, workspace_id: str) -> None:
        """Returns when the place is as it should be. Raises: `ApiError`, `PlaceTaken`."""
        key = self._key(workspace_id)
        lock = self._locks[key]
        if key in self._good and not lock.locked():
            return
        async with lock:
            if key in self._good:
                return
            # Before, so that what is seen meanwhile casts doubt on it. Nobody believes it as long as the lock is held.
            self._good.add(key)
            try:
                await self._make(key)
            except BaseException:
                self._good.discard(key)
                raise

    async def _look(self, key: str) -> None:
        if key in self._locks:
            await self.ensure(key)

    async def _make(self, key: str) -> None:
        objects = await self._objects(key)
        wants_secrets = await self._make_namespace(objects) if objects.namespace else key not in self._copied_at_s
        changed = [each for each in objects.watched if self._difference(each) is not None]
        await together(*(self._applier.apply(each) for each in changed))
        if wants_secrets:
            await together(*(self._applier.apply(each) for each in objects.secrets))
            self._copied_at_s[key] = asyncio.get_running_loop().time()
            if objects.namespace is not None:
                # Last: it says that the copies are there.
                await self._applier.apply(objects.namespace)

    async def _make_namespace(self, objects: PlaceObjects) -> bool:
        """Returns: whether the Secrets have to be copied there."""
        assert objects.namespace is not None
        metadata = objects.namespace["metadata"]
        live = self._watched[NAMESPACE].get("", metadata["name"])
        without_copies: Manifest = {**objects.namespace, "metadata": {**metadata, "annotations": {}}}
        if live is None:
            try:
                await self._applier.create(without_copies)
            except ApiRefused as exc:
                if exc.status != 409:
                    raise
                live = await self._applier.get(ref_of(objects.namespace))
                if live is None or "deletionTimestamp" in live["metadata"]:
                    raise _going_away(metadata["name"]) from exc
                if not self._is_ours(live):
                    raise PlaceTaken(
                        f"The namespace {metadata['name']} exists and is not this installation's."
                    ) from exc
            return True
        if "deletionTimestamp" in live["metadata"]:
            raise _going_away(metadata["name"])
        if difference(without_copies, live) is not None:
            await self._applier.apply({**without_copies, "metadata": {**metadata, "annotations": _copied(live)}})
        return bool(_copied(live) != metadata["annotations"])

    async def _objects(self, key: str) -> PlaceObjects:
        if self._secrets is None:
            self._secrets = await self._read()
        return place_for(
            key, self._config, quota=self._quotas.get(key), secrets=self._secrets, digest_key=self._digest_key
        )

    async def _read(self) -> dict[str, dict[str, bytes]]:
        try:
            return await asyncio.to_thread(partial(read_copied, self._config))
        except OSError as exc:
            raise ApiUnavailable(f"a Secret to copy can't be read: {exc}") from exc

    async def _refresh_for_ever(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            try:
                secrets = await self._read()
            except ApiUnavailable as exc:
                log.warning("copied Secrets are as they were", extra={"reason": str(exc)})
                continue
            if secrets != self._secrets:
                self._secrets = secrets
                self._copied_at_s.clear()
                for key in list(self._locks):
                    self.doubt(key)

    def _difference(self, manifest: Manifest) -> str | None:
        ref = ref_of(manifest)
        live = self._watched[ref.kind].get(ref.namespace, ref.name)
        return "everything" if live is None else difference(manifest, live)

    def _is_ours(self, live: Manifest) -> bool:
        labels: dict[str, str] = live["metadata"].get("labels") or {}
        ours = place_labels(self._config, None)
        return all(labels.get(name) == ours[name] for name in ours)

    def _is_used(self, namespace: str) -> bool:
        return any(each["metadata"]["namespace"] == namespace for each in self._watched[DEPLOYMENT])

    def _key(self, workspace_id: str) -> str:
        return _SHARED if self._is_shared else workspace_id


def _going_away(namespace: str) -> ApiUnavailable:
    reason = f"the namespace {namespace} is going away"
    return ApiUnavailable(reason, said=reason)


def _copied(namespace: Manifest) -> dict[str, str]:
    annotations = namespace["metadata"].get("annotations") or {}
    return {COPIED: annotations[COPIED]} if COPIED in annotations else {}
