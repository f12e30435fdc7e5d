"""What all queues hold their callers to."""

import re

from lateen.domain.errors import TooLarge
from lateen.ports.queue import BATCH_LIMIT, BODY_LIMIT_BYTES, DELAY_LIMIT_S, MESSAGE_BYTES

_LANE = re.compile(r"^[A-Za-z0-9_-]{1,64}/[A-Za-z0-9_-]{1,64}\Z")


def check_lane(lane: str) -> None:
    if not _LANE.match(lane):
        raise ValueError("a lane is 'tenant/part', each 1 to 64 letters, digits, '-' and '_'")


def check_body(body: bytes) -> None:
    if len(body) > BODY_LIMIT_BYTES:
        raise TooLarge(f"a message holds at most {BODY_LIMIT_BYTES} bytes")


def check_delay(delay_s: float) -> None:
    if not 0 <= delay_s <= DELAY_LIMIT_S:  # also refuses NaN
        raise ValueError(f"a delay is 0 to {DELAY_LIMIT_S:g} seconds")


def check_limit(limit: int) -> None:
    if not 1 <= limit <= BATCH_LIMIT:
        raise ValueError(f"limit must be 1 to {BATCH_LIMIT}")


def tenant_of(lane: str) -> str:
    return lane.partition("/")[0]


def weight_of(body: bytes) -> int:
    """What a message with this body counts of its tenant's bytes."""
    return len(body) + MESSAGE_BYTES


def lane_is_full(limit: int) -> str:
    return f"{limit} events of this function are waiting already"


def tenant_is_full(limit_bytes: int) -> str:
    limit = f"{limit_bytes / 1024**2:g} MiB"
    return f"there is no room for it: the events of a workspace that wait may have {limit} together"
