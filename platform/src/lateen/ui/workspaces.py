"""The workspace that a page is about: the one asked for, else the last one, else the first."""

from typing import Any

from lateen.ui.calls import Calls
from lateen.ui.rendering import PageRequest

COOKIE = "lateen_workspace"
_DEFAULT = "default"
_MOST = 1000


async def workspaces(request: PageRequest, calls: Calls) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """All that the key sees, and the one that the page is about."""
    found = await calls.all("/api/workspaces", at_most=_MOST)
    by_id = {each["id"]: each for each in found}
    for asked in (request.query_params.get("workspace"), request.cookies.get(COOKIE), _DEFAULT):
        if asked in by_id:
            return found, by_id[asked]
    return found, found[0]


def remembered(workspace: dict[str, Any]) -> str:
    """A `Set-Cookie` header. Only a convenience, so nothing depends on it."""
    return f"{COOKIE}={workspace['id']}; Path=/ui; Max-Age=31536000; HttpOnly; SameSite=Strict"
