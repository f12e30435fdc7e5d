"""Provisioned concurrency: how many environments of a version are kept started, and what became of that."""

from typing import Literal

from msgspec import Struct

from lateen.domain.functions import FunctionStatus

ProvisionedState = Literal["IN_PROGRESS", "READY", "FAILED"]
NO_ROOM = "There is room for {room} environments: concurrency times pods."


class ProvisionedConfig(Struct, frozen=True, kw_only=True):
    qualifier: str
    """A published version's number, or an alias."""
    requested: int
    """Environments, at least one."""
    updated_at: str


class ProvisionedStatus(Struct, frozen=True, kw_only=True):
    state: ProvisionedState
    allocated: int = 0
    reason: str | None = None
    """For a person; of what has failed."""


def per_pod(wanted: int, *, pods: int, concurrency: int) -> int:
    """Environments that each pod keeps started: all together at least as many as are wanted, if there is the room.

    Args:
        concurrency: environments that a pod may have.
    """
    return min(concurrency, -(-wanted // pods))


def status_of(config: ProvisionedConfig, floor: int, reported: FunctionStatus | None) -> ProvisionedStatus:
    """Args:
    floor: what is wanted of the version by now, by this or by another config.
    reported: of the version.
    """
    if reported is None:
        return ProvisionedStatus(state="IN_PROGRESS")
    kept = reported.kept
    if kept is None or kept.wanted != floor:
        if reported.state == "Failed":
            return ProvisionedStatus(state="FAILED", reason=reported.reason)
        return ProvisionedStatus(state="IN_PROGRESS")
    allocated = min(config.requested, kept.started)
    if allocated == config.requested:
        return ProvisionedStatus(state="READY", allocated=allocated)
    reason = NO_ROOM.format(room=kept.started) if kept.started else reported.reason
    return ProvisionedStatus(state="FAILED", allocated=allocated, reason=reason)
