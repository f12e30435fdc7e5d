"""`/ui/keys`: keys that are there, a new one (its secrets are shown once), and an end to one."""

from typing import Any
from urllib.parse import quote

from litestar import Controller, Response, get, post
from litestar.params import FromPath

from lateen.ui.calls import Calls, Refused
from lateen.ui.forms import checked_form
from lateen.ui.function_pages import CallsDep
from lateen.ui.rendering import PageRequest, page
from lateen.ui.sessions import Session
from lateen.ui.signing_in import SessionsDep
from lateen.ui.workspaces import workspaces

_MOST = 1000


class KeyPages(Controller):
    path = "/keys"
    include_in_schema = False

    @get("/")
    async def list(self, request: PageRequest, calls: CallsDep) -> Response[Any]:
        return await _shown(request, calls)

    @post("/", status_code=200)
    async def create(self, request: PageRequest, calls: CallsDep, sessions: SessionsDep) -> Response[Any]:
        """The answer is the one place where the secrets are."""
        fields = await checked_form(request, sessions)
        description = fields.get("description", "").strip()
        asked = {"workspace": fields.get("workspace") or None, "description": description}
        try:
            made = await calls.post("/api/keys", asked)
        except Refused as exc:
            if exc.status != 400:
                raise
            return await _shown(request, calls, status=400, errors=exc.errors, description=description)
        return await _shown(request, calls, made=made)

    @post("/{key_id:str}/revoke", status_code=303)
    async def revoke(
        self, request: PageRequest, key_id: FromPath[str], calls: CallsDep, sessions: SessionsDep
    ) -> Response[bytes]:
        await checked_form(request, sessions)
        await calls.delete(f"/api/keys/{quote(key_id, safe='')}")
        return Response(b"", status_code=303, headers={"Location": "/ui/keys"})


async def _shown(
    request: PageRequest,
    calls: Calls,
    *,
    status: int = 200,
    made: dict[str, Any] | None = None,
    errors: dict[str, str] | None = None,
    description: str = "",
) -> Response[Any]:
    known, workspace = await workspaces(request, calls)
    keys = await calls.all("/api/keys", at_most=_MOST)
    session: Session = request.scope["state"]["session"]
    return page(
        request,
        "keys.html",
        status=status,
        workspaces=known,
        workspace=workspace,
        names={each["id"]: each["name"] for each in known},
        keys=sorted(keys, key=lambda each: str(each["created_at"]), reverse=True),
        own=session.secret.split("_")[1] if session.secret.count("_") == 2 else "",
        made=made,
        errors=errors or {},
        description=description,
    )
