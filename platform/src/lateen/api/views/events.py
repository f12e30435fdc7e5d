"""What becomes of events, as callers see it."""

from typing import Annotated

from msgspec import Meta, Struct

from lateen.api.fields import Id, Timestamp
from lateen.domain.events import EventInvokeConfig
from lateen.domain.functions import Function
from lateen.domain.times import iso_ms
from lateen.services.dead_letters import DeadLetter
from lateen.services.redrives import Redriven


class EventConfigView(Struct, frozen=True, kw_only=True):
    """What holds for asynchronous invocations. Null: the default."""

    function: Id
    qualifier: Annotated[str, Meta(examples=["live"])]
    maximum_retry_attempts: int | None
    maximum_event_age: int | None
    """Seconds."""
    on_success: str | None
    """ARN of the function that is told of what succeeded."""
    on_failure: str | None
    """ARN of the function that is told of what was given up."""
    updated_at: Timestamp


class AcceptedView(Struct, frozen=True):
    """An event that was stored. `request_id` is that of all its attempts."""

    request_id: str


class DeadLetterView(Struct, frozen=True, kw_only=True):
    id: str
    request_id: str
    qualifier: str | None
    condition: str
    """Why it ended: `RetriesExhausted`, `EventAgeExceeded`, `ZeroReservedConcurrency`, `DestinationFailed`,
    `DeliveriesExhausted`."""
    reason: str
    """For a person."""
    attempts: int
    """How often the function ran."""
    accepted_at: Timestamp
    ended_at: Timestamp
    event: str | None
    """JSON as it was sent. Null: it has more than 128 KiB, and lies in the object store."""
    answer: str | None
    """What the function answered last, where it ran; cut beyond 32 KiB."""


class RefusedLetterView(Struct, frozen=True, kw_only=True):
    id: str
    reason: str


class RedrivenView(Struct, frozen=True, kw_only=True):
    redriven: int
    """Events that are in the queue again."""
    refused: list[RefusedLetterView]
    """Dead letters that stayed."""
    next_cursor: str | None
    """For the letters after these. Null: there are no more."""


def event_config_view(function: Function, config: EventInvokeConfig) -> EventConfigView:
    return EventConfigView(
        function=function.id,
        qualifier=config.qualifier,
        maximum_retry_attempts=config.maximum_retry_attempts,
        maximum_event_age=config.maximum_event_age_s,
        on_success=config.on_success,
        on_failure=config.on_failure,
        updated_at=iso_ms(config.updated_at_s),
    )


def dead_letter_view(letter: DeadLetter) -> DeadLetterView:
    return DeadLetterView(
        id=letter.id,
        request_id=letter.request_id,
        qualifier=letter.qualifier,
        condition=letter.condition,
        reason=letter.reason,
        attempts=letter.attempts,
        accepted_at=letter.accepted_at,
        ended_at=letter.ended_at,
        event=letter.event,
        answer=letter.answer,
    )


def redriven_view(redriven: Redriven) -> RedrivenView:
    return RedrivenView(
        redriven=redriven.count,
        refused=[RefusedLetterView(id=each.letter_id, reason=each.reason) for each in redriven.refused],
        next_cursor=redriven.cursor,
    )
