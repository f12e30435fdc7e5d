"""Resolving: has nodes say what an image's tag leads to before it runs, once for each time that it was given, and keeps
the answer. From then on the tag may move, and the function stays as it is.

Level-triggered, as all that the controller does: whoever needs the answer asks for it, as often as it likes.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable

from msgspec import Struct

from lateen.domain.errors import LateenError
from lateen.domain.functions import Function, deployment_id, version_in
from lateen.ports.image_resolver import ImageFailed, ImageResolver
from lateen.ports.table import ItemNotFound, RevisionConflict, Table
from lateen.services.image_digests import store_digest, sweep_digests, with_digest

log = logging.getLogger(__name__)

AT_A_TIME, A_WORKSPACE = 16, 4
"""Pulls that are waited for: one may take minutes."""
AGAIN_S = 5.0
"""After which the cluster is asked again where nothing is known of the image."""


class _Asked(Struct):
    """What is known of one reference."""

    reference: str
    task: asyncio.Task[None] | None = None
    failure: str | None = None
    is_told: bool = False


class Resolving:
    def __init__(self, table: Table, *, resolver: ImageResolver | None) -> None:
        """Args:
        resolver: None: nobody is asked, and what isn't known runs as it was given.
        """
        self._table = table
        self._resolver = resolver
        self._asked: dict[str, _Asked] = {}
        """By the deployment's id."""
        self._gate = asyncio.Semaphore(AT_A_TIME)
        self._gates: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(A_WORKSPACE))
        self._tasks: set[asyncio.Task[None]] = set()
        self._settled: Callable[[str], Awaitable[None]] | None = None

    def subscribe(self, settled: Callable[[str], Awaitable[None]]) -> None:
        """Be told the ids of functions for which `resolved` is worth asking for again."""
        self._settled = settled

    async def resolved(self, function: Function) -> Function | None:
        """The function as it is to be deployed. None: it is being found out, and who subscribed will be told.

        Raises: `ImageFailed`, also while another attempt is on its way; `Unavailable`.
        """
        found = await with_digest(self._table, function)
        image, deployed = found.image, deployment_id(function.id, function.version)
        if image is None or image.digest is not None or image.resolved is not None or self._resolver is None:
            self._drop(deployed)
            return found
        asked = self._asked.get(deployed)
        if asked is None or asked.reference != image.reference:
            self._drop(deployed)
            asked = self._asked[deployed] = _Asked(image.reference)
        if asked.task is None and (asked.failure is None or asked.is_told):
            asked.task = asyncio.get_running_loop().create_task(self._run(function, asked, self._resolver))
            self._tasks.add(asked.task)
            asked.task.add_done_callback(self._tasks.discard)
        if asked.failure is None:
            return None
        asked.is_told = True
        raise ImageFailed(asked.failure)

    def forget(self, function_id: str) -> None:
        """It is gone."""
        for deployed in [each for each in self._asked if version_in(each)[0] == function_id]:
            self._drop(deployed)

    async def close(self) -> None:
        """Ends what is being found out; the next process begins anew."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _drop(self, deployed: str) -> None:
        asked = self._asked.pop(deployed, None)
        if asked is not None and asked.task is not None:
            asked.task.cancel()

    async def _run(self, function: Function, asked: _Asked, resolver: ImageResolver) -> None:
        assert function.image is not None
        failure = None
        try:
            async with self._gates[function.workspace_id], self._gate:
                digest = await resolver.digest(function.workspace_id, function.image)
            await store_digest(self._table, function, digest)
            await sweep_digests(self._table, function)
        except ImageFailed as exc:
            failure = str(exc)
        except (RevisionConflict, ItemNotFound):
            pass  # whoever asks now sees what has become of it
        except LateenError as exc:
            log.warning("image not looked up", extra={"function": function.id, "reason": str(exc)})
            await asyncio.sleep(AGAIN_S)
        except Exception:
            log.exception("image not looked up by a defect", extra={"function": function.id})
            await asyncio.sleep(AGAIN_S)
        # The same failure again is no news, and whoever has been told of it asks again in time.
        is_news = failure is None or failure != asked.failure
        asked.task, asked.failure, asked.is_told = None, failure, not is_news
        if is_news and self._settled is not None:
            await self._settled(function.id)
