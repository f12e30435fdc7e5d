"""`/api/workspaces`."""

from typing import Annotated

from litestar import Controller, Response, delete, get, patch, post
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import UNSET

from lateen.api.bodies import CreateWorkspace, UpdateWorkspace, WorkspaceQuota
from lateen.api.dependencies import CallerDep, UseCases, UseCasesDep
from lateen.api.requests import (
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
from lateen.api.views.pages import Page, page_of
from lateen.api.views.workspaces import WorkspaceView, workspace_view
from lateen.domain.access import Caller
from lateen.domain.workspaces import Quota, Workspace
from lateen.services.workspaces import WorkspaceChange

Force = Annotated[bool, QueryParameter(description="Remove the workspace's functions too.")]


class WorkspaceController(Controller):
    path = "/api/workspaces"
    tags = ("Workspaces",)

    @post("/", summary="Make a workspace", operation_id="createWorkspace")
    async def create(
        self,
        request: LateenRequest,
        data: JSONBody[CreateWorkspace],
        use_cases: UseCasesDep,
        caller: CallerDep,
        idempotency_key: IdempotencyKey = None,
    ) -> Response[WorkspaceView]:
        """Needs a key of the whole installation."""
        made = await use_cases.workspaces.create(
            caller,
            name=data.name,
            description=data.description,
            quota=_quota(data.quota),
            code_buckets=data.code_buckets,
            once=await once(request, idempotency_key),
        )
        return _answer(made, status=201)

    @get("/", summary="List workspaces", operation_id="listWorkspaces")
    async def list(
        self,
        request: LateenRequest,
        use_cases: UseCasesDep,
        caller: CallerDep,
        limit: Limit = DEFAULT,
        cursor: Cursor = None,
        name: NameIs = None,
    ) -> Page[WorkspaceView]:
        """By name. A workspace's key sees its own."""
        page = await use_cases.workspaces.list(caller, name=named(request), limit=limit, cursor=cursor)
        return page_of(page, [workspace_view(workspace) for workspace in page.items])

    @get("/{workspace_id:str}", summary="Show a workspace", operation_id="getWorkspace")
    async def show(
        self, workspace_id: FromPath[str], use_cases: UseCasesDep, caller: CallerDep
    ) -> Response[WorkspaceView]:
        return _answer(await use_cases.workspaces.get(caller, workspace_id))

    @patch("/{workspace_id:str}", summary="Change a workspace", operation_id="updateWorkspace")
    async def update(
        self,
        workspace_id: FromPath[str],
        data: JSONBody[UpdateWorkspace],
        use_cases: UseCasesDep,
        caller: CallerDep,
        if_match: IfMatch = None,
    ) -> Response[WorkspaceView]:
        change = WorkspaceChange(
            name=data.name,
            description=data.description,
            quota=UNSET if data.quota is UNSET else _quota(data.quota),
            code_buckets=data.code_buckets,
        )
        expected = await _expected(if_match, workspace_id, use_cases, caller)
        return _answer(await use_cases.workspaces.update(caller, workspace_id, change, expected=expected))

    @delete("/{workspace_id:str}", summary="Remove a workspace", operation_id="deleteWorkspace")
    async def remove(
        self,
        workspace_id: FromPath[str],
        use_cases: UseCasesDep,
        caller: CallerDep,
        force: Force = False,
        if_match: IfMatch = None,
    ) -> None:
        """Refused with 409 while it has functions, and for `default`. Again, within a week, is no
        error."""
        expected = await _expected(if_match, workspace_id, use_cases, caller)
        await use_cases.workspaces.delete(caller, workspace_id, force=force, expected=expected)


async def _expected(if_match: str | None, workspace_id: str, use_cases: UseCases, caller: Caller) -> int | None:
    async def current() -> int:
        return (await use_cases.workspaces.get(caller, workspace_id)).revision

    return await expected_revision(if_match, current)


def _quota(asked: WorkspaceQuota) -> Quota:
    return Quota(pods=asked.pods, cpu=asked.cpu, memory=asked.memory)


def _answer(workspace: Workspace, *, status: int = 200) -> Response[WorkspaceView]:
    headers = {"ETag": etag(workspace.revision)}
    if status == 201:
        headers["Location"] = f"/api/workspaces/{workspace.id}"
    return Response(workspace_view(workspace), status_code=status, headers=headers)
