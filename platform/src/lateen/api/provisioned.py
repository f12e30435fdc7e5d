"""`/api/functions/{id}/provisioned-concurrency`: environments of a version or an alias that are kept started."""

from typing import Annotated

from litestar import Controller, delete, get, put
from litestar.params import FromPath, JSONBody, PathParameter

from lateen.api.bodies import PutProvisionedConcurrency
from lateen.api.dependencies import CallerDep, UseCases, UseCasesDep
from lateen.api.requests import DEFAULT, Cursor, Limit
from lateen.api.views.pages import Page, page_of
from lateen.api.views.provisioned import ProvisionedConcurrencyView, provisioned_view
from lateen.domain.access import Caller
from lateen.domain.functions import Function
from lateen.domain.versions import PUBLISHED, check_qualifier

Of = Annotated[str, PathParameter(schema_extra={"pattern": PUBLISHED}, description="A version's number, or an alias.")]


class ProvisionedController(Controller):
    path = "/api/functions/{function_id:str}/provisioned-concurrency"
    tags = ("Versions",)

    @get("/", summary="List what is kept started", operation_id="listProvisionedConcurrency")
    async def list(
        self,
        function_id: FromPath[str],
        use_cases: UseCasesDep,
        caller: CallerDep,
        limit: Limit = DEFAULT,
        cursor: Cursor = None,
    ) -> Page[ProvisionedConcurrencyView]:
        """By version or alias."""
        function = (await use_cases.functions.get(caller, function_id)).function
        page = await use_cases.provisioned.list(function, limit=limit, cursor=cursor)
        return page_of(page, [provisioned_view(function, described) for described in page.items])

    @get("/{qualifier:str}", summary="What is kept started of one", operation_id="getProvisionedConcurrency")
    async def show(
        self, function_id: FromPath[str], qualifier: Of, use_cases: UseCasesDep, caller: CallerDep
    ) -> ProvisionedConcurrencyView:
        """`state` says what became of it: `READY` once all have initialised. 404 where nothing is set."""
        function = await _function(function_id, qualifier, use_cases, caller)
        return provisioned_view(function, await use_cases.provisioned.get(function, qualifier))

    @put("/{qualifier:str}", summary="Keep environments started", operation_id="putProvisionedConcurrency")
    async def store(
        self,
        function_id: FromPath[str],
        qualifier: Of,
        data: JSONBody[PutProvisionedConcurrency],
        use_cases: UseCasesDep,
        caller: CallerDep,
    ) -> ProvisionedConcurrencyView:
        """Of a published version, or of the one that an alias leads to: they are started before anybody calls, and
        stay."""
        function = await _function(function_id, qualifier, use_cases, caller)
        return provisioned_view(function, await use_cases.provisioned.put(function, qualifier, data.requested))

    @delete("/{qualifier:str}", summary="Keep none started", operation_id="deleteProvisionedConcurrency")
    async def remove(
        self, function_id: FromPath[str], qualifier: Of, use_cases: UseCasesDep, caller: CallerDep
    ) -> None:
        """Again is no error."""
        function = await _function(function_id, qualifier, use_cases, caller)
        await use_cases.provisioned.delete(function, qualifier)


async def _function(function_id: str, qualifier: str, use_cases: UseCases, caller: Caller) -> Function:
    """Raises: `NotFound`, `InvalidInput`."""
    check_qualifier(qualifier)
    return (await use_cases.functions.get(caller, function_id)).function
