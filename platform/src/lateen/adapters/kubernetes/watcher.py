"""`Watched`: all objects of one kind that are the controller's own, as the API server last told of them."""

import asyncio
import logging
import random
from collections import defaultdict
from collections.abc import Callable, Iterator

from lateen.adapters.kubernetes.api import ApiError, ApiRefused, KubernetesApi, VersionTooOld
from lateen.adapters.kubernetes.kinds import Kind, Manifest

log = logging.getLogger(__name__)

FIRST_RETRY_S, LAST_RETRY_S = 0.2, 10.0
ABSENT_S = 300.0
"""Between two times that a kind is asked for that need not be there."""

Key = tuple[str, str]
"""Namespace and name."""


class Watched:
    """Held by `run`. `changed` is called for each object that came, changed or went, with what it is or was last."""

    def __init__(
        self,
        api: KubernetesApi,
        kind: Kind,
        namespace: str | None,
        *,
        selector: str,
        owner: Callable[[Manifest], str | None],
        changed: Callable[[Manifest], None],
        reduced: Callable[[Manifest], Manifest] = lambda manifest: manifest,
        may_be_absent: bool = False,
    ) -> None:
        """Args:
        namespace: None: in all.
        owner: objects can be found by what it says of them.
        reduced: what of an object is kept.
        may_be_absent: where the API server doesn't know the kind, or keeps it to itself, there are no such objects;
            and nobody waits for `synced` longer than until a first answer, whatever that says.
        """
        self.kind = kind
        self._api = api
        self._namespace = namespace
        self._selector = selector
        self._owner = owner
        self._changed = changed
        self._reduced = reduced
        self._may_be_absent = may_be_absent
        self._items: dict[Key, Manifest] = {}
        self._owned: defaultdict[str, dict[Key, Manifest]] = defaultdict(dict)
        self.synced = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled. What can't be had now is tried again."""
        wait_s = FIRST_RETRY_S
        version: str | None = None
        while True:
            try:
                if version is None:
                    version = await self._list()
                    wait_s = FIRST_RETRY_S
                began_at = version
                async for event in self._api.watch(
                    self.kind, self._namespace, version=version, selector=self._selector
                ):
                    version = event.object["metadata"]["resourceVersion"]
                    if event.type == "DELETED":
                        self.drop(event.object)
                    elif event.type != "BOOKMARK":
                        self.put({"apiVersion": self.kind.version, "kind": self.kind.name, **event.object})
                if version != began_at:
                    wait_s = FIRST_RETRY_S
            except VersionTooOld:
                version = None
            except ApiError as exc:
                pause_s = wait_s
                if self._may_be_absent and isinstance(exc, ApiRefused) and exc.status in (403, 404):
                    version, pause_s = None, ABSENT_S
                    self._is_absent(str(exc))
                else:
                    self._interrupted(exc)
                    wait_s = min(LAST_RETRY_S, wait_s * 2)
                if self._may_be_absent:
                    self.synced.set()
                await asyncio.sleep(pause_s * random.uniform(0.75, 1.25))  # noqa: S311 - jitter

    def get(self, namespace: str, name: str) -> Manifest | None:
        return self._items.get((namespace, name))

    def of_owner(self, owner: str) -> list[Manifest]:
        return list(self._owned[owner].values()) if owner in self._owned else []

    def owners(self) -> set[str]:
        return {owner for owner, items in self._owned.items() if items}

    def __iter__(self) -> Iterator[Manifest]:
        return iter(list(self._items.values()))

    def put(self, manifest: Manifest) -> None:
        """From the watch, or from the answer to a write, which is there earlier. The newer of two wins."""
        key, version = _key(manifest), _version(manifest)
        old = self._items.get(key)
        if old is not None and _version(old) >= version:
            return
        manifest["metadata"].pop("managedFields", None)
        self._items[key] = kept = self._reduced(manifest)
        if owner := self._owner(kept):
            self._owned[owner][key] = kept
        self._changed(kept)

    def drop(self, manifest: Manifest) -> None:
        """It is gone, as of this version of it."""
        key = _key(manifest)
        old = self._items.get(key)
        if old is None or _version(old) > _version(manifest):
            return
        self._forget(key)

    def _forget(self, key: Key) -> None:
        old = self._items.pop(key)
        if owner := self._owner(old):
            self._owned[owner].pop(key, None)
            if not self._owned[owner]:
                del self._owned[owner]
        self._changed(old)

    def _interrupted(self, exc: ApiError) -> None:
        where = {"kind": self.kind.name, "reason": str(exc)}
        if isinstance(exc, ApiRefused) and exc.status == 404 and not self.synced.is_set():
            log.error(
                "the cluster lacks a kind of object that the values ask for: nothing is applied until it is there",
                extra={**where, "version": self.kind.version},
            )
        else:
            log.warning("watch interrupted", extra=where)

    def _is_absent(self, reason: str) -> None:
        log.debug("kind not watched", extra={"kind": self.kind.name, "reason": reason})
        for key in list(self._items):
            self._forget(key)

    async def _list(self) -> str:
        there: set[Key] = set()
        async for page in self._api.pages(self.kind, self._namespace, selector=self._selector):
            version = page.version
            # What is not kept of these is gone before the next are there: of many pods it is most of what they take.
            while page.objects:
                each = page.objects.pop()
                there.add(_key(each))
                self.put(each)
        for key in [key for key, item in self._items.items() if key not in there and _version(item) <= int(version)]:
            self._forget(key)
        self.synced.set()
        return version


def _key(manifest: Manifest) -> Key:
    metadata = manifest["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def _version(manifest: Manifest) -> int:
    return int(manifest["metadata"]["resourceVersion"])
