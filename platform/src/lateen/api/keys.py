"""`/api/keys`."""

from litestar import Controller, Response, delete, get, post
from litestar.params import FromPath, JSONBody

from lateen.api.bodies import CreateKey
from lateen.api.dependencies import CallerDep, UseCasesDep
from lateen.api.requests import DEFAULT, Cursor, IdempotencyKey, LateenRequest, Limit, once
from lateen.api.views.keys import KeyView, NewKeyView, key_view, new_key_view
from lateen.api.views.pages import Page, page_of


class KeyController(Controller):
    path = "/api/keys"
    tags = ("Keys",)

    @post("/", summary="Make a key", operation_id="createKey")
    async def create(
        self,
        request: LateenRequest,
        data: JSONBody[CreateKey],
        use_cases: UseCasesDep,
        caller: CallerDep,
        idempotency_key: IdempotencyKey = None,
    ) -> Response[NewKeyView]:
        """The secret and the AWS pair's are in this answer only."""
        made = await use_cases.keys.create(
            caller,
            workspace_id=data.workspace,
            description=data.description,
            once=await once(request, idempotency_key),
        )
        return Response(new_key_view(made), status_code=201, headers={"Location": f"/api/keys/{made.key.id}"})

    @get("/", summary="List keys", operation_id="listKeys")
    async def list(
        self, use_cases: UseCasesDep, caller: CallerDep, limit: Limit = DEFAULT, cursor: Cursor = None
    ) -> Page[KeyView]:
        """Without their secrets. A workspace's key sees its workspace's."""
        page = await use_cases.keys.list(caller, limit=limit, cursor=cursor)
        return page_of(page, [key_view(key) for key in page.items])

    @delete("/{key_id:str}", summary="Revoke a key", operation_id="revokeKey")
    async def revoke(self, key_id: FromPath[str], use_cases: UseCasesDep, caller: CallerDep) -> None:
        """Calls with it are refused from now on. Again is no error."""
        await use_cases.keys.revoke(caller, key_id)
