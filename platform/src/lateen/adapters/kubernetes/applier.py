"""`Applier`: what changes the cluster. Each write asks first whether this process still leads, and ends before another
one may."""

from collections import Counter
from collections.abc import Callable, Mapping

from lateen.adapters.kubernetes.api import ApiRefused, ApiUnavailable, KubernetesApi
from lateen.adapters.kubernetes.congestion import Window
from lateen.adapters.kubernetes.kinds import SERVICE, Kind, Manifest, Ref, ref_of
from lateen.adapters.kubernetes.watcher import Watched


class Applier:
    def __init__(
        self, api: KubernetesApi, watched: Mapping[Kind, Watched], *, leads_for_s: Callable[[], float]
    ) -> None:
        """Args:
        leads_for_s: seconds for which nobody else may act; 0 and less: stop.
        """
        self._api = api
        self._watched = watched
        self._leads_for_s = leads_for_s
        # An API server gives new Services their addresses one after the other.
        self._addresses = Window()
        self.counts: Counter[tuple[str, str, str]] = Counter()
        """Writes by verb, kind and outcome: done, refused, unavailable."""

    async def get(self, ref: Ref) -> Manifest | None:
        """Raises: `ApiError`."""
        return await self._api.get(ref)

    async def apply(self, manifest: Manifest) -> Manifest:
        """Raises: `ApiError`."""
        ref = ref_of(manifest)
        if ref.kind == SERVICE and self._is_new(ref):
            async with self._addresses:
                return await self._apply(manifest, ref)
        return await self._apply(manifest, ref)

    async def _apply(self, manifest: Manifest, ref: Ref) -> Manifest:
        with self._counted("apply", ref.kind) as count:
            made = await self._api.apply(manifest, within_s=self._left_s())
            count("done")
        self._seen(made, ref.kind)
        return made

    async def create(self, manifest: Manifest) -> Manifest:
        """Raises: `ApiError`; `ApiRefused` with status 409 if it is there."""
        ref = ref_of(manifest)
        with self._counted("create", ref.kind) as count:
            made = await self._api.create(manifest, within_s=self._left_s())
            count("done")
        self._seen(made, ref.kind)
        return made

    async def delete(self, ref: Ref, *, uid: str | None = None) -> None:
        """Raises: `ApiError`."""
        with self._counted("delete", ref.kind) as count:
            await self._api.delete(ref, uid=uid, within_s=self._left_s())
            count("done")

    def _is_new(self, ref: Ref) -> bool:
        watched = self._watched.get(ref.kind)
        return watched is not None and watched.get(ref.namespace, ref.name) is None

    def _seen(self, manifest: Manifest, kind: Kind) -> None:
        if (watched := self._watched.get(kind)) is not None:
            watched.put(manifest)

    def _left_s(self) -> float:
        left_s = self._leads_for_s()
        if left_s <= 0:
            raise ApiUnavailable("this process does not lead any more")
        return left_s

    def _counted(self, verb: str, kind: Kind) -> "_Counted":
        return _Counted(self.counts, verb, kind.name)


class _Counted:
    def __init__(self, counts: Counter[tuple[str, str, str]], verb: str, kind: str) -> None:
        self._counts = counts
        self._verb = verb
        self._kind = kind

    def __enter__(self) -> Callable[[str], None]:
        return self._count

    def __exit__(self, _type: object, exc: BaseException | None, _traceback: object) -> None:
        if isinstance(exc, ApiRefused):
            self._count("refused")
        elif isinstance(exc, ApiUnavailable):
            self._count("unavailable")

    def _count(self, outcome: str) -> None:
        self._counts[self._verb, self._kind, outcome] += 1
