"""Reserved concurrency on this machine: shared out among the invokers of a function, over their control sockets."""

import time
from collections import defaultdict
from collections.abc import Callable

from lateen.adapters.local.process import InvokerProcess
from lateen.ports.deployer import Deployment
from lateen.services.shares import Sharing
from lateen_invoker.control import Load, Share


class Reservations:
    """What a function may run at a time is known from the first of its deployments that starts, and from `reserve`."""

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._limits: dict[str, int | None] = {}
        """By the function's id."""
        self._sharing: dict[str, Sharing] = {}
        self._processes: defaultdict[str, dict[str, tuple[InvokerProcess, int]]] = defaultdict(dict)
        """By the function's id and the process': each with the environments that it may have."""

    def reserve(self, function_id: str, most: int | None) -> None:
        self._limits[function_id] = most
        if most is None:
            if self._sharing.pop(function_id, None) is not None:
                for process, _ in self._processes[function_id].values():
                    process.share(Share(serial=process.share_serial + 1, most=None))
            return
        sharing = self._sharing.get(function_id)
        if sharing is None:
            sharing = self._sharing[function_id] = Sharing(most)
            for key, (process, room) in self._processes[function_id].items():
                # They may run as many as they like, and do.
                sharing.join(key, room=room, holds=room, share=Share(serial=process.share_serial, most=None))
        sharing.limit = most
        self._tell(function_id)

    def forget(self, function_id: str) -> None:
        """It was removed: what still runs of it is finished."""
        self._limits.pop(function_id, None)
        self._sharing.pop(function_id, None)

    def starts(self, process: InvokerProcess, deployment: Deployment) -> Share | None:
        """Returns: the share with which it begins; None: there is no limit."""
        function_id = deployment.function_id
        if function_id not in self._limits:
            self.reserve(function_id, deployment.reserved)
        key = _key(process)
        self._processes[function_id][key] = process, deployment.concurrency
        process.on_load = lambda load: self._said(function_id, key, load)
        if (sharing := self._sharing.get(function_id)) is None:
            return None
        sharing.join(key, room=deployment.concurrency, holds=0)
        told = dict(sharing.due(self._now()))
        first = told.pop(key, sharing.share_of(key))
        process.share_serial = first.serial
        self._send(function_id, told)
        return first

    def leaves(self, process: InvokerProcess, function_id: str) -> None:
        """Another one serves in its place, or none has to."""
        if (sharing := self._sharing.get(function_id)) is not None:
            sharing.leaving(_key(process))
            self._tell(function_id)

    def ended(self, process: InvokerProcess, function_id: str) -> None:
        self._processes[function_id].pop(_key(process), None)
        if not self._processes[function_id]:
            del self._processes[function_id]
        if (sharing := self._sharing.get(function_id)) is not None:
            sharing.left(_key(process))
            self._tell(function_id)

    def _said(self, function_id: str, key: str, load: Load) -> None:
        if (sharing := self._sharing.get(function_id)) is not None:
            sharing.said(key, load)
            self._tell(function_id)

    def _tell(self, function_id: str) -> None:
        self._send(function_id, dict(self._sharing[function_id].due(self._now())))

    def _send(self, function_id: str, told: dict[str, Share]) -> None:
        for key, share in told.items():
            self._processes[function_id][key][0].share(share)


def _key(process: InvokerProcess) -> str:
    return str(process.pid)
