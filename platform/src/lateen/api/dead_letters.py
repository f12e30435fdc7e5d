"""`/api/functions/{id}/dead-letters`: events that were never done, and a way back into the queue for them."""

from litestar import Controller, Response, delete, get, post
from litestar.params import FromPath

from lateen.api.dependencies import CallerDep, UseCasesDep
from lateen.api.requests import DEFAULT, Cursor, IdempotencyKey, LateenRequest, Limit, once
from lateen.api.views.events import AcceptedView, DeadLetterView, RedrivenView, dead_letter_view, redriven_view
from lateen.api.views.pages import Page, page_of


class DeadLetterController(Controller):
    path = "/api/functions/{function_id:str}/dead-letters"
    tags = ("Invocations",)

    @get("/", summary="Events that were never done", operation_id="listDeadLetters")
    async def list(
        self,
        function_id: FromPath[str],
        use_cases: UseCasesDep,
        caller: CallerDep,
        limit: Limit = DEFAULT,
        cursor: Cursor = None,
    ) -> Page[DeadLetterView]:
        """Those that no destination was told of; the last sent first. They are kept for 14 days."""
        page = await use_cases.dead_letters.list(caller, function_id, limit=limit, cursor=cursor)
        return page_of(page, [dead_letter_view(letter) for letter in page.items])

    @post("/redrive", summary="Run many of these events again", operation_id="redriveDeadLetters", status_code=200)
    async def redrive_many(
        self,
        function_id: FromPath[str],
        use_cases: UseCasesDep,
        caller: CallerDep,
        limit: Limit = DEFAULT,
        cursor: Cursor = None,
    ) -> RedrivenView:
        """One page of them, the last sent first; send `next_cursor` as `cursor` until it is null, and each letter that
        was there at the start has had its turn once. `refused` says which ones stay, and why."""
        return redriven_view(await use_cases.redrives.redrive_page(caller, function_id, limit=limit, cursor=cursor))

    @post(
        "/{letter_id:str}/redrive",
        summary="Run such an event again",
        operation_id="redriveDeadLetter",
        status_code=202,
    )
    async def redrive(
        self,
        request: LateenRequest,
        function_id: FromPath[str],
        letter_id: FromPath[str],
        use_cases: UseCasesDep,
        caller: CallerDep,
        idempotency_key: IdempotencyKey = None,
    ) -> Response[AcceptedView]:
        """It is put into the queue as if it had just been sent, with the request id that it had, and its dead letter is
        removed. 409 where its payload is not kept any more, or somebody else redrives it at this moment. An event whose
        letter says `DestinationFailed` had succeeded; it runs once more."""
        repeat = await once(request, idempotency_key)
        request_id = await use_cases.redrives.redrive(caller, function_id, letter_id, once=repeat)
        return Response(AcceptedView(request_id), status_code=202, headers={"X-Amzn-RequestId": request_id})

    @delete("/{letter_id:str}", summary="Remove a dead letter", operation_id="deleteDeadLetter")
    async def remove(
        self, function_id: FromPath[str], letter_id: FromPath[str], use_cases: UseCasesDep, caller: CallerDep
    ) -> None:
        """Its event is gone for good. Again is no error."""
        await use_cases.redrives.delete(caller, function_id, letter_id)
