"""`/ui/functions`: the list, a new one, and the pages of one function."""

import asyncio
from collections import Counter
from collections.abc import Awaitable
from typing import Any
from urllib.parse import quote

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, SkipValidation
from msgspec import structs

from lateen.ui.calls import Calls, Refused
from lateen.ui.forms import checked_form
from lateen.ui.listing import MOST, PER_PAGE, Asked, Listed, Row, listed, listed_by_name, with_figures
from lateen.ui.rendering import PageRequest, page
from lateen.ui.signing_in import SessionsDep
from lateen.ui.workspaces import remembered, workspaces

CallsDep = NamedDependency[SkipValidation[Calls]]


class FunctionPages(Controller):
    path = "/functions"
    include_in_schema = False

    @get("/")
    async def list(self, request: PageRequest, calls: CallsDep) -> Response[Any]:
        """The whole page, or its table where htmx asks."""
        known, workspace = await workspaces(request, calls)
        asked = Asked.of(workspace["id"], dict(request.query_params))
        found = await _listed(calls, asked)
        is_part = request.headers.get("hx-target") == "functions"
        answer: Response[Any] = page(
            request,
            "functions_table.html" if is_part else "functions.html",
            workspaces=known,
            workspace=workspace,
            asked=asked,
            listed=found,
        )
        answer.headers["Set-Cookie"] = remembered(workspace)
        answer.headers["Vary"] = "HX-Target"
        return answer

    @get("/new")
    async def new(self, request: PageRequest, calls: CallsDep) -> Response[Any]:
        (known, workspace), runtimes = await asyncio.gather(workspaces(request, calls), _runtimes(calls))
        first = _suggested(runtimes)
        return page(request, "function_new.html", workspaces=known, workspace=workspace, runtimes=runtimes, first=first)

    @get("/{function_id:str}")
    async def show(self, request: PageRequest, function_id: FromPath[str], calls: CallsDep) -> Response[Any]:
        return await function_page(request, calls, function_id, "test")

    @get("/{function_id:str}/code")
    async def code(self, request: PageRequest, function_id: FromPath[str], calls: CallsDep) -> Response[Any]:
        function = await _function(calls, function_id)
        source, runtimes = await asyncio.gather(calls.get("/lambda", hash=function["hash"]), _runtimes(calls))
        return await function_page(
            request, calls, function_id, "code", function=function, source=source["file"], runtimes=runtimes
        )

    @get("/{function_id:str}/logs")
    async def logs(self, request: PageRequest, function_id: FromPath[str], calls: CallsDep) -> Response[Any]:
        return await function_page(request, calls, function_id, "logs")

    @get("/{function_id:str}/charts")
    async def charts(self, request: PageRequest, function_id: FromPath[str], calls: CallsDep) -> Response[Any]:
        return await function_page(request, calls, function_id, "charts")

    @get("/{function_id:str}/state")
    async def state(self, request: PageRequest, function_id: FromPath[str], calls: CallsDep) -> Response[Any]:
        """The part of a page that says how it is; asked for again and again."""
        return page(request, "function_state.html", function=await _function(calls, function_id))

    @post("/{function_id:str}/delete", status_code=303)
    async def delete(
        self, request: PageRequest, function_id: FromPath[str], calls: CallsDep, sessions: SessionsDep
    ) -> Response[bytes]:
        fields = await checked_form(request, sessions)
        await calls.delete(f"/api/functions/{quote(function_id, safe='')}")
        # The one that was looked at last may be that of another tab.
        home = Asked(workspace=fields.get("workspace", "")).address()
        return Response(b"", status_code=303, headers={"Location": home})


async def function_page(
    request: PageRequest,
    calls: Calls,
    function_id: str,
    tab: str,
    *,
    function: Row | None = None,
    status: int = 200,
    **context: Any,
) -> Response[Any]:
    function = function or await _function(calls, function_id)
    return page(request, f"function_{tab}.html", status=status, tab=tab, function=function, **context)


async def _function(calls: Calls, function_id: str) -> Row:
    found: Row = await calls.get(f"/api/functions/{quote(function_id, safe='')}")
    return found


async def _runtimes(calls: Calls) -> list[Row]:
    """Each with its starter code, usable ones first."""
    runtimes, starters = await asyncio.gather(calls.get("/lambda/runtimes"), calls.get("/lambda/default"))
    code = {(each["runtime"], each["version"]): each["file"] for each in starters}
    found = [each | {"starter": code.get((each["runtime"], each["version"]), "")} for each in runtimes]
    return sorted(found, key=lambda each: each["disabled"])


def _suggested(runtimes: list[Row]) -> Row:
    """The newest version of the language that most versions are there of."""
    usable = [each for each in runtimes if not each["disabled"] and not each["deprecated"]] or runtimes
    versions = Counter(each["runtime"] for each in usable)
    return max(usable, key=lambda each: (versions[each["runtime"]], each["name"]))


async def _listed(calls: Calls, asked: Asked) -> Listed:
    """With figures of the shown functions only, unless all are put in order by them: each is a read of its own."""
    functions = f"/api/workspaces/{asked.workspace}/functions"
    statistics = f"/api/workspaces/{asked.workspace}/statistics"
    if asked.is_as_the_api_lists:
        (items, cursor), last_hour = await asyncio.gather(
            calls.page(functions, limit=PER_PAGE, cursor=asked.after),
            _last_hour(_items(calls.page(statistics, limit=PER_PAGE, cursor=asked.after))),
        )
        return listed_by_name(with_figures(items, last_hour), asked, cursor)
    if asked.is_by_figures:
        items, last_hour = await asyncio.gather(
            calls.all(functions, at_most=MOST), _last_hour(calls.all(statistics, at_most=MOST))
        )
        return listed(with_figures(items, last_hour), asked)
    found = listed(await calls.all(functions, at_most=MOST), asked)
    last_hour = await _last_hour(_totals(calls, found.rows))
    return structs.replace(found, rows=with_figures(found.rows, last_hour))


async def _items(page: Awaitable[tuple[list[Row], str | None]]) -> list[Row]:
    return (await page)[0]


async def _totals(calls: Calls, functions: list[Row]) -> list[Row]:
    found = await asyncio.gather(*(calls.get(f"/api/functions/{each['id']}/statistics") for each in functions))
    return [each["totals"] | {"function_id": each["function_id"]} for each in found]


async def _last_hour(figures: Awaitable[list[Row]]) -> dict[str, Row] | None:
    """By function. None: they aren't known at the moment, which keeps nobody from the list."""
    try:
        return {each["function_id"]: each for each in await figures}
    except Refused as exc:
        if exc.status == 401:
            raise
        return None
