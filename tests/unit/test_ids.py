"""Ids of requests and traces."""

import re
from uuid import UUID

from lateen_invoker.ids import new_request_id, new_trace_id


def test_request_ids_are_uuids() -> None:
    """Of version 4, and no two alike, however many are made."""
    made = [new_request_id() for _ in range(5000)]
    assert len(set(made)) == len(made)
    assert {(str(UUID(each)), UUID(each).version, UUID(each).variant) for each in made} == {
        (each, 4, "specified in RFC 4122") for each in made
    }


def test_trace_ids_are_amazons() -> None:
    """With the second in which they were made; no two alike."""
    made = [new_trace_id(0x6553F100) for _ in range(1000)]
    assert len(set(made)) == len(made)
    pattern = r"Root=1-6553f100-[0-9a-f]{24};Parent=[0-9a-f]{16};Sampled=0"
    assert [each for each in made if not re.fullmatch(pattern, each)] == []
