"""`/api/workspaces/{id}/layers`: zips that functions share."""

from anyio import to_thread
from litestar import Controller, Response, delete, get, post
from litestar.params import FromPath, JSONBody

from lateen.api.bodies import PublishLayer, new_layer
from lateen.api.dependencies import CallerDep, UseCasesDep
from lateen.api.requests import CODE_LIMIT, DEFAULT, Cursor, IdempotencyKey, LateenRequest, Limit, once
from lateen.api.views.layers import LayerView, layer_view
from lateen.api.views.pages import Page, page_of

VERSION = "/{name:str}/versions/{version:int}"


class LayerController(Controller):
    path = "/api/workspaces/{workspace_id:str}/layers"
    tags = ("Layers",)

    @post("/", summary="Publish a layer", operation_id="publishLayer", opt={"body_limit": CODE_LIMIT})
    async def publish(
        self,
        request: LateenRequest,
        workspace_id: FromPath[str],
        data: JSONBody[PublishLayer],
        use_cases: UseCasesDep,
        caller: CallerDep,
        idempotency_key: IdempotencyKey = None,
    ) -> Response[LayerView]:
        """The first version of a layer, or its next one. A version never changes."""
        repeat = await once(request, idempotency_key)
        new = await to_thread.run_sync(new_layer, data)
        made = await use_cases.layers.publish(caller, workspace_id, new, once=repeat)
        location = f"/api/workspaces/{workspace_id}/layers/{made.name}/versions/{made.version}"
        return Response(layer_view(made), status_code=201, headers={"Location": location})

    @get("/", summary="List layers", operation_id="listLayers")
    async def list(
        self,
        workspace_id: FromPath[str],
        use_cases: UseCasesDep,
        caller: CallerDep,
        limit: Limit = DEFAULT,
        cursor: Cursor = None,
    ) -> Page[LayerView]:
        """By name, the newest version of each. A page may be short, even empty, and still have a next one."""
        page = await use_cases.layers.list(caller, workspace_id, limit=limit, cursor=cursor)
        return page_of(page, [layer_view(layer) for layer in page.items])

    @get("/{name:str}/versions", summary="List a layer's versions", operation_id="listLayerVersions")
    async def versions(
        self,
        workspace_id: FromPath[str],
        name: FromPath[str],
        use_cases: UseCasesDep,
        caller: CallerDep,
        limit: Limit = DEFAULT,
        cursor: Cursor = None,
    ) -> Page[LayerView]:
        """Newest first."""
        page = await use_cases.layers.versions(caller, workspace_id, name, limit=limit, cursor=cursor)
        return page_of(page, [layer_view(layer) for layer in page.items])

    @get(VERSION, summary="Show a layer version", operation_id="getLayerVersion")
    async def show(
        self,
        workspace_id: FromPath[str],
        name: FromPath[str],
        version: FromPath[int],
        use_cases: UseCasesDep,
        caller: CallerDep,
    ) -> LayerView:
        return layer_view(await use_cases.layers.get(caller, workspace_id, name, version))

    @delete(VERSION, summary="Remove a layer version", operation_id="deleteLayerVersion")
    async def remove(
        self,
        workspace_id: FromPath[str],
        name: FromPath[str],
        version: FromPath[int],
        use_cases: UseCasesDep,
        caller: CallerDep,
    ) -> None:
        """Functions that have it keep it; no other one can have it. Again is no error, and its number is not used
        again."""
        await use_cases.layers.delete(caller, workspace_id, name, version)
