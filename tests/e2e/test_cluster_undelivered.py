"""What became of the event that fails, which `test_cluster_events.py` has sent and other tests have left time."""

import pytest
from cluster_events import dead_letters
from lateen_release import Json, Release, eventually

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(300)]


def test_failures_can_be_seen(release: Release, failing: tuple[Json, str]) -> None:
    """After its last attempt, whatever was killed meanwhile."""
    function, request_id = failing
    eventually(lambda: dead_letters(release, function), "a dead letter", within_s=270, every_s=2)
    (letter,) = dead_letters(release, function)
    assert (letter["request_id"], letter["attempts"], letter["condition"]) == (request_id, 3, "RetriesExhausted")
