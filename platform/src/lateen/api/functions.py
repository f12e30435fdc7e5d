"""`/api/workspaces/{id}/functions` and `/api/functions/{id}`."""

from anyio import to_thread
from litestar import Controller, Response, delete, get, patch, post
from litestar.params import FromPath, JSONBody

from lateen.api.bodies import CreateFunction, UpdateFunction, function_change, new_function
from lateen.api.dependencies import CallerDep, UseCases, UseCasesDep
from lateen.api.requests import (
    CODE_LIMIT,
    DEFAULT,
    Cursor,
    IdempotencyKey,
    IfMatch,
    LateenRequest,
    Limit,
    NameIs,
    etag,
    expected_revision,
    named,
    once,
)
from lateen.api.views.functions import FunctionView, function_view
from lateen.api.views.pages import Page, page_of
from lateen.domain.access import Caller
from lateen.domain.functions import Described


class FunctionController(Controller):
    path = "/api"
    tags = ("Functions",)

    @post(
        "/workspaces/{workspace_id:str}/functions",
        summary="Make a function",
        operation_id="createFunction",
        opt={"body_limit": CODE_LIMIT},
    )
    async def create(
        self,
        request: LateenRequest,
        workspace_id: FromPath[str],
        data: JSONBody[CreateFunction],
        use_cases: UseCasesDep,
        caller: CallerDep,
        idempotency_key: IdempotencyKey = None,
    ) -> Response[FunctionView]:
        """It is `Pending` until it runs; `state_reason` says what is being done or what is wrong."""
        repeat = await once(request, idempotency_key)
        new = await to_thread.run_sync(new_function, data)
        made = await use_cases.functions.create(caller, workspace_id, new, once=repeat)
        return function_answer(made, use_cases.base_url, status=201)

    @get("/workspaces/{workspace_id:str}/functions", summary="List functions", operation_id="listFunctions")
    async def list(
        self,
        request: LateenRequest,
        workspace_id: FromPath[str],
        use_cases: UseCasesDep,
        caller: CallerDep,
        limit: Limit = DEFAULT,
        cursor: Cursor = None,
        name: NameIs = None,
    ) -> Page[FunctionView]:
        """By name."""
        page = await use_cases.functions.list(caller, workspace_id, name=named(request), limit=limit, cursor=cursor)
        return page_of(page, [function_view(described, use_cases.base_url) for described in page.items])

    @get("/functions/{function_id:str}", summary="Show a function", operation_id="getFunction")
    async def show(
        self, function_id: FromPath[str], use_cases: UseCasesDep, caller: CallerDep
    ) -> Response[FunctionView]:
        """All but its `code`. A single source file is shown again, as `file`, by `GET /lambda?hash=`; a zip is not."""
        return function_answer(await use_cases.functions.get(caller, function_id), use_cases.base_url)

    @patch(
        "/functions/{function_id:str}",
        summary="Change a function",
        operation_id="updateFunction",
        opt={"body_limit": CODE_LIMIT},
    )
    async def update(
        self,
        function_id: FromPath[str],
        data: JSONBody[UpdateFunction],
        use_cases: UseCasesDep,
        caller: CallerDep,
        if_match: IfMatch = None,
    ) -> Response[FunctionView]:
        """The URL stays, and no call fails meanwhile. What changes nothing keeps the revision."""
        expected = await expected_of_function(if_match, function_id, use_cases, caller)
        change = await to_thread.run_sync(function_change, data)
        changed = await use_cases.functions.update(caller, function_id, change, expected=expected)
        return function_answer(changed, use_cases.base_url)

    @delete("/functions/{function_id:str}", summary="Remove a function", operation_id="deleteFunction")
    async def remove(
        self, function_id: FromPath[str], use_cases: UseCasesDep, caller: CallerDep, if_match: IfMatch = None
    ) -> None:
        """Its name is free at once. Again, within a week, is no error."""
        expected = await expected_of_function(if_match, function_id, use_cases, caller)
        await use_cases.functions.delete(caller, function_id, expected=expected)


async def expected_of_function(
    if_match: str | None, function_id: str, use_cases: UseCases, caller: Caller
) -> int | None:
    async def current() -> int:
        return (await use_cases.functions.get(caller, function_id)).function.revision

    return await expected_revision(if_match, current)


def function_answer(described: Described, base_url: str, *, status: int = 200) -> Response[FunctionView]:
    headers = {"ETag": etag(described.function.revision)}
    if status == 201:
        headers["Location"] = f"/api/functions/{described.function.id}"
    return Response(function_view(described, base_url), status_code=status, headers=headers)
