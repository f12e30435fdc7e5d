"""`/api/functions/{id}/url`: how the URL of a function, or of one of its aliases, answers, and who may call it."""

from typing import Annotated

from litestar import Controller, delete, get, put
from litestar.params import FromPath, JSONBody, QueryParameter

from lateen.api.bodies import PutFunctionUrl, function_url
from lateen.api.dependencies import CallerDep, UseCasesDep
from lateen.api.views.function_urls import FunctionUrlView, function_url_view
from lateen.domain.versions import ALIAS_NAME

AliasGiven = Annotated[
    str | None, QueryParameter(pattern=ALIAS_NAME, description="An alias; if absent, the function's own URL.")
]


class FunctionUrlController(Controller):
    path = "/api/functions/{function_id:str}/url"
    tags = ("Functions",)

    @get("/", summary="What is set for a URL", operation_id="getFunctionUrl")
    async def show(
        self, function_id: FromPath[str], use_cases: UseCasesDep, caller: CallerDep, alias: AliasGiven = None
    ) -> FunctionUrlView:
        """404 where nothing is set: the function's `auth` says who may call it, and an answer is sent when it is
        whole."""
        return function_url_view(await use_cases.urls.get(caller, function_id, alias), use_cases.base_url)

    @put("/", summary="Set how a URL answers and who may call it", operation_id="putFunctionUrl")
    async def store(
        self,
        function_id: FromPath[str],
        data: JSONBody[PutFunctionUrl],
        use_cases: UseCasesDep,
        caller: CallerDep,
        alias: AliasGiven = None,
    ) -> FunctionUrlView:
        """Replaces what was set. The function's `auth` follows. Once its own URL has settings, the URL of an alias is
        nobody's to call until it has its own."""
        stored = await use_cases.urls.put(caller, function_id, alias, function_url(data))
        return function_url_view(stored, use_cases.base_url)

    @delete("/", summary="Remove what is set for a URL", operation_id="deleteFunctionUrl")
    async def remove(
        self, function_id: FromPath[str], use_cases: UseCasesDep, caller: CallerDep, alias: AliasGiven = None
    ) -> None:
        """Nobody may call the function's own then, until its `auth` or new settings say who may; an alias's is as the
        function's again. Again is no error."""
        await use_cases.urls.delete(caller, function_id, alias)
