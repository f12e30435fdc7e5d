"""`/ui/functions/{id}/failed`: the function's events that were never done; to run them again, or to remove them."""

from typing import Any
from urllib.parse import quote

from litestar import Controller, Response, get, post
from litestar.params import FromPath

from lateen.ui.calls import Calls, Refused
from lateen.ui.forms import checked_form
from lateen.ui.function_pages import CallsDep, function_page
from lateen.ui.listing import PER_PAGE, Row
from lateen.ui.rendering import PageRequest
from lateen.ui.signing_in import SessionsDep

_AT_ONCE = 100
"""Events that one call of the API puts back."""
_CALLS = 5
"""Of those for one press of a button: somebody waits for the page."""


class FailedPages(Controller):
    path = "/functions/{function_id:str}/failed"
    include_in_schema = False

    @get("/")
    async def show(self, request: PageRequest, function_id: FromPath[str], calls: CallsDep) -> Response[Any]:
        return await _shown(request, calls, function_id, after=request.query_params.get("after", ""))

    @post("/redrive", status_code=200)
    async def redrive_all(
        self, request: PageRequest, function_id: FromPath[str], calls: CallsDep, sessions: SessionsDep
    ) -> Response[Any]:
        await checked_form(request, sessions)
        count, stayed = 0, list[Row]()
        query: dict[str, str | int] = {"limit": _AT_ONCE}
        for _ in range(_CALLS):
            try:
                page = await calls.post(f"{_path(function_id)}/redrive", None, **query)
            except Refused as exc:
                if exc.status in (401, 404):
                    raise
                return await _shown(request, calls, function_id, redriven=count, stayed=stayed, refusal=exc)
            count += page["redriven"]
            stayed += page["refused"]
            if page["next_cursor"] is None:
                break
            query["cursor"] = page["next_cursor"]
        return await _shown(request, calls, function_id, redriven=count, stayed=stayed)

    @post("/{letter_id:str}/redrive", status_code=303)
    async def redrive(
        self,
        request: PageRequest,
        function_id: FromPath[str],
        letter_id: FromPath[str],
        calls: CallsDep,
        sessions: SessionsDep,
    ) -> Response[Any]:
        await checked_form(request, sessions)
        try:
            await calls.post(f"{_path(function_id)}/{quote(letter_id, safe='')}/redrive", None)
        except Refused as exc:
            if exc.status == 401:
                raise
            return await _shown(request, calls, function_id, refusal=exc)
        return _back(function_id)

    @post("/{letter_id:str}/delete", status_code=303)
    async def delete(
        self,
        request: PageRequest,
        function_id: FromPath[str],
        letter_id: FromPath[str],
        calls: CallsDep,
        sessions: SessionsDep,
    ) -> Response[bytes]:
        await checked_form(request, sessions)
        await calls.delete(f"{_path(function_id)}/{quote(letter_id, safe='')}")
        return _back(function_id)


def _path(function_id: str) -> str:
    return f"/api/functions/{quote(function_id, safe='')}/dead-letters"


def _back(function_id: str) -> Response[bytes]:
    return Response(b"", status_code=303, headers={"Location": f"/ui/functions/{quote(function_id, safe='')}/failed"})


async def _shown(
    request: PageRequest,
    calls: Calls,
    function_id: str,
    *,
    after: str = "",
    redriven: int | None = None,
    stayed: list[Row] | None = None,
    refusal: Refused | None = None,
) -> Response[Any]:
    letters, cursor = await calls.page(_path(function_id), limit=PER_PAGE, cursor=after or None)
    return await function_page(
        request,
        calls,
        function_id,
        "failed",
        status=200 if refusal is None else refusal.status,
        letters=letters,
        cursor=cursor,
        after=after,
        redriven=redriven,
        stayed=stayed or [],
        refusal="" if refusal is None else str(refusal),
    )
