"""How many environments each pod keeps, and what is said of it."""

import pytest

from lateen.domain.functions import FunctionStatus, Kept
from lateen.domain.provisioned import ProvisionedConfig, per_pod, status_of


@pytest.mark.parametrize(
    ("wanted", "pods", "each"),
    [(0, 3, 0), (1, 1, 1), (1, 3, 1), (3, 3, 1), (4, 3, 2), (10, 1, 10), (11, 1, 10), (99, 2, 10)],
)
def test_each_pod_has_its_part(wanted: int, pods: int, each: int) -> None:
    """As many as are wanted together, where there is room for them; a pod has room for 10."""
    assert per_pod(wanted, pods=pods, concurrency=10) == each
    assert each * pods >= min(wanted, pods * 10)


def told(reported: FunctionStatus | None, *, requested: int = 3, floor: int = 3) -> tuple[str, int, str | None]:
    config = ProvisionedConfig(qualifier="1", requested=requested, updated_at="2026-01-31T23:59:59.123Z")
    status = status_of(config, floor, reported)
    return status.state, status.allocated, status.reason


def test_what_is_said_of_it() -> None:
    def active(kept: Kept | None, reason: str | None = None) -> FunctionStatus:
        return FunctionStatus(state="Active", kept=kept, reason=reason)

    assert told(None) == ("IN_PROGRESS", 0, None)
    assert told(active(None)) == ("IN_PROGRESS", 0, None)
    assert told(active(Kept(2, 2))) == ("IN_PROGRESS", 0, None)  # what was set before
    assert told(active(Kept(3, 3))) == ("READY", 3, None)
    assert told(active(Kept(3, 4))) == ("READY", 3, None)
    # An alias with more leads to the version too.
    assert told(active(Kept(5, 5)), floor=5) == ("READY", 3, None)
    assert told(active(Kept(3, 2))) == ("FAILED", 2, "There is room for 2 environments: concurrency times pods.")
    assert told(active(Kept(3, 0), "The code failed")) == ("FAILED", 0, "The code failed")
    assert told(FunctionStatus(state="Failed", reason="No room")) == ("FAILED", 0, "No room")
    assert told(FunctionStatus(state="Pending")) == ("IN_PROGRESS", 0, None)
