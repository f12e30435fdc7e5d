"""Forms: what pages send to change something. Each carries the token of the session."""

from typing import Any

from litestar import Request

from lateen.ui.sessions import Sessions


class ForgedForm(Exception):
    """The token is missing, or is that of another session."""


async def checked_form(request: Request[Any, Any, Any], sessions: Sessions) -> dict[str, str]:
    """The text fields. Raises: `ForgedForm`."""
    form = await request.form()
    fields = {name: value for name, value in form.items() if isinstance(value, str)}
    state = request.scope["state"]
    if not (state["has_token"] or sessions.is_token(state["session"], fields.get("token", ""))):
        raise ForgedForm
    return fields
