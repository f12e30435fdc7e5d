"""Names → what the server has under them."""

import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import click

from lateen.cli.client import Client
from lateen.cli.refusals import Refused
from lateen.domain.names import NAME, is_id

DEFAULT_WORKSPACE = "default"
F = TypeVar("F", bound=Callable[..., Any])


def workspace_option(command: F) -> F:
    return click.option(
        "--workspace", "-w", metavar="NAME", help="Name or id; else LATEEN_WORKSPACE, the key's own, or 'default'."
    )(command)


def workspace_named(client: Client, name: str | None) -> dict[str, Any]:
    """The workspace of this name or id; without one the environment's, the key's own, or `default`."""
    wanted = name or client.connection.workspace
    if wanted is None:
        seen = client.page("/api/workspaces", params={"limit": 2})["items"]
        if len(seen) == 1:
            workspace: dict[str, Any] = seen[0]
            return workspace
        wanted = DEFAULT_WORKSPACE
    found = _of_name(client, "/api/workspaces", wanted) or _of_id(client, "/api/workspaces", wanted)
    if found is not None:
        return found
    raise Refused(
        f"there is no workspace '{wanted}' that this key sees",
        slug="not-found",
        hint="'lateen workspace list' shows those that it does",
    )


def functions_in(client: Client, workspace_id: str) -> Iterator[dict[str, Any]]:
    return client.pages(f"/api/workspaces/{workspace_id}/functions")


def function_if_any(client: Client, workspace_id: str, name: str) -> dict[str, Any] | None:
    """By name."""
    return _of_name(client, f"/api/workspaces/{workspace_id}/functions", name)


def function_named(client: Client, workspace: str | None, name: str) -> dict[str, Any]:
    """By name in the workspace, or by id. Raises: `Refused`."""
    where = workspace_named(client, workspace)
    found = function_if_any(client, where["id"], name) or _of_id(client, "/api/functions", name)
    if found is not None and found["workspace"] == where["id"]:
        return found
    raise Refused(
        f"there is no function '{name}' in the workspace '{where['name']}'",
        slug="not-found",
        hint="'lateen list' shows those that there are, 'lateen deploy PATH' makes one",
    )


def _of_name(client: Client, path: str, name: str) -> dict[str, Any] | None:
    """What the list there has under it."""
    if not re.match(NAME, name):
        return None
    found: list[dict[str, Any]] = client.page(path, params={"name": name})["items"]
    return found[0] if found else None


def _of_id(client: Client, path: str, wanted: str) -> dict[str, Any] | None:
    if not is_id(wanted):
        return None
    try:
        found: dict[str, Any] = client.call("GET", f"{path}/{wanted}")
    except Refused as refusal:
        if refusal.slug == "not-found":
            return None
        raise
    return found
