"""`/api/functions/{id}/statistics`, and those of a workspace's functions."""

from typing import Annotated

from litestar import Controller, get
from litestar.params import FromPath, QueryParameter

from lateen.api.dependencies import CallerDep, UseCasesDep
from lateen.api.requests import DEFAULT, Cursor, Limit
from lateen.api.views.pages import Page, page_of
from lateen.services.statistics import FunctionStatistics, FunctionTotals, PeriodName

Period = Annotated[PeriodName, QueryParameter(description="The last hour, day or week.")]


class StatisticsController(Controller):
    path = "/api"
    tags = ("Logs",)

    @get("/functions/{function_id:str}/statistics", summary="Count calls", operation_id="getStatistics")
    async def of_function(
        self, function_id: FromPath[str], use_cases: UseCasesDep, caller: CallerDep, period: Period = "1h"
    ) -> FunctionStatistics:
        """By the minute, the quarter of an hour or the hour. A call counts where it arrived, from about six seconds
        after its end. Durations are rounded: each is within 10 % of a true one."""
        return await use_cases.statistics.of_function(caller, function_id, period)

    @get(
        "/workspaces/{workspace_id:str}/statistics",
        summary="Count the calls of many functions",
        operation_id="listStatistics",
    )
    async def of_workspace(
        self,
        workspace_id: FromPath[str],
        use_cases: UseCasesDep,
        caller: CallerDep,
        period: Period = "1h",
        limit: Limit = DEFAULT,
        cursor: Cursor = None,
    ) -> Page[FunctionTotals]:
        """By name: the same pages, of the same `limit` and `cursor`, as the list of functions."""
        page = await use_cases.statistics.of_workspace(caller, workspace_id, period, limit=limit, cursor=cursor)
        return page_of(page, page.items)
