"""`/api/functions/{id}/logs`: what a function's invocations left behind, as pages, one by one, or as it comes."""

import re
from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
from litestar import Controller, get
from litestar.params import FromPath, HeaderParameter, QueryParameter
from litestar.response import Stream
from litestar.response.sse import ServerSentEventMessage

from lateen.api.dependencies import CallerDep, RecheckDep, UseCasesDep
from lateen.api.requests import Cursor, LateenRequest, Limit
from lateen.api.views.logs import LogView, log_view
from lateen.api.views.pages import Page, page_of
from lateen.domain.errors import InvalidInput
from lateen.domain.pages import MAX_LIMIT
from lateen.services.log_streams import Event, Gap, Heartbeat, Over, Started
from lateen.services.records import MAX_CONTAINS, MAX_WAIT_S, Wanted, moment
from lateen_invoker.records import Status

RETRY_MS = 2000
"""After which a reader that lost its stream shall come again."""
_GAP = msgspec.json.encode({"reason": "more records than a stream carries"})
_LAST_EVENT_ID = re.compile(r"^([0-9TZ:.-]{24})_[!-~]{1,256}\Z")

Since = Annotated[
    str | None,
    QueryParameter(
        description="Not before this moment: ISO 8601 with an offset.",
        schema_extra={"format": "date-time"},
        max_length=64,
    ),
]
StatusIs = Annotated[Status | None, QueryParameter(description="Only those that ended so.")]
Contains = Annotated[
    str | None,
    QueryParameter(
        description="Only those with this text in what was printed, the request's id or the error; case does not "
        "count.",
        min_length=1,
        max_length=MAX_CONTAINS,
    ),
]
Timestamp = Annotated[
    str | None,
    QueryParameter(
        description="The record's own `timestamp`: it is found however old it is. Without, it is looked for among the "
        "newest thousand.",
        schema_extra={"format": "date-time"},
        max_length=64,
    ),
]
Wait = Annotated[
    int,
    QueryParameter(
        description="For a call that was made just now: seconds to wait for its record.", ge=0, le=MAX_WAIT_S
    ),
]
LastEventId = Annotated[
    str | None,
    HeaderParameter(
        name="Last-Event-ID",
        description="`id` of the last event that you had: what can have come since then comes first. Some may come "
        "twice.",
        max_length=300,
    ),
]


class LogController(Controller):
    path = "/api/functions/{function_id:str}/logs"
    tags = ("Logs",)

    @get("/", summary="What invocations left behind", operation_id="listLogs")
    async def list(
        self,
        function_id: FromPath[str],
        use_cases: UseCasesDep,
        caller: CallerDep,
        limit: Limit = MAX_LIMIT,
        cursor: Cursor = None,
        since: Since = None,
        status: StatusIs = None,
        contains: Contains = None,
    ) -> Page[LogView]:
        """Newest first. A page may be short, even empty, and still have a next one."""
        page = await use_cases.records.list(
            caller, function_id, limit=limit, cursor=cursor, since=since, status=status, contains=contains
        )
        return page_of(page, [log_view(record) for record in page.items])

    @get("/{request_id:str}", summary="What one invocation left behind", operation_id="getLog")
    async def show(
        self,
        function_id: FromPath[str],
        request_id: FromPath[str],
        use_cases: UseCasesDep,
        caller: CallerDep,
        timestamp: Timestamp = None,
        since: Since = None,
        wait: Wait = 0,
    ) -> LogView:
        """Of the call whose answer had this `X-Amzn-RequestId`. Records are written behind callers' backs: a moment
        after the answer it may not be there yet."""
        record = await use_cases.records.one(
            caller, function_id, request_id, timestamp=timestamp, since=since, wait_s=wait
        )
        return log_view(record)

    @get("/stream", summary="Watch invocations", operation_id="streamLogs")
    async def stream(
        self,
        request: LateenRequest,
        function_id: FromPath[str],
        use_cases: UseCasesDep,
        caller: CallerDep,
        recheck: RecheckDep,
        since: Since = None,
        status: StatusIs = None,
        contains: Contains = None,
        last_event_id: LastEventId = None,
    ) -> Stream:
        """Server-sent events, for at most an hour: `record` with a record as its data; `gap` where records were passed
        over, because there were more than a stream carries; `end` with the reason, `revoked`, `deleted`, `stopping`,
        `time`, `unavailable` or `too-many`. Without `since` only what comes from now on."""
        wanted = Wanted(status=status, contains=contains)
        await use_cases.log_streams.check(caller, function_id, wanted)
        events = use_cases.log_streams.events(
            caller,
            function_id,
            wanted=wanted,
            since=None if since is None else moment("since", since),
            after=_time_in(last_event_id),
            recheck=recheck,
        )
        return Stream(
            _lines(_nothing() if request.scope["state"].get("is_head") else events),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )


async def _lines(events: AsyncIterator[Event]) -> AsyncIterator[bytes]:
    async for event in events:
        yield _message(event).encode()


async def _nothing() -> AsyncIterator[Event]:
    for event in list[Event]():
        yield event


def _message(event: Event) -> ServerSentEventMessage:
    match event:
        case Started():
            return ServerSentEventMessage(data=None, retry=RETRY_MS)
        case Gap():
            return ServerSentEventMessage(event="gap", data=_GAP)
        case Heartbeat():
            return ServerSentEventMessage(comment="", data=None)
        case Over(why):
            return ServerSentEventMessage(event="end", data=msgspec.json.encode({"reason": why}))
        case record:
            data = msgspec.json.encode(log_view(record))
            return ServerSentEventMessage(event="record", id=f"{record.timestamp}_{record.request_id}", data=data)


def _time_in(last_event_id: str | None) -> str | None:
    if last_event_id is None:
        return None
    if (found := _LAST_EVENT_ID.match(last_event_id)) is None:
        raise InvalidInput("Last-Event-ID", "not one that this stream gave out")
    return moment("Last-Event-ID", found[1])
