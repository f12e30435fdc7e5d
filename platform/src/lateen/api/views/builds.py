"""Builds and their settings, as callers see them."""

from typing import Annotated

from msgspec import Meta, Struct

from lateen.api.fields import Timestamp
from lateen.services.builds import Build, LogPage
from lateen.services.builds import State as BuildState


class BuildView(Struct, frozen=True, kw_only=True):
    """How the code of a function was built, and a part of what that printed."""

    id: Annotated[str, Meta(examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"])]
    state: BuildState
    attempt: int
    """Counts from 1; 0 before the first."""
    started_at: Timestamp | None
    ended_at: Timestamp | None
    reason: str | None
    """Why it failed, with the last lines."""
    log: str
    """What was printed since `after`, without secrets; the beginning of it, where that is much."""
    next: str
    """What to send as `after` for what comes."""


class BuildSettingsView(Struct, frozen=True):
    variables: list[str]
    """Names."""


def build_view(build_id: str, build: Build | None, page: LogPage | None) -> BuildView:
    build = build or Build(id=build_id, workspace_id="", runtime="")
    return BuildView(
        id=build.id,
        state=build.state,
        attempt=build.attempt,
        started_at=build.started_at,
        ended_at=build.ended_at,
        reason=build.reason,
        log="" if page is None else page.text,
        next="" if page is None else page.next,
    )
