"""Names → what the server has under them."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import click

from lateen.cli.client import Client
from lateen.cli.refusals import Refused

DEFAULT_WORKSPACE = "default"
F = TypeVar("F", bound=Callable[..., Any])


def workspace_option(command: F) -> F:
    return click.option(
        "--workspace", "-w", metavar="NAME", help="Name or id; else LATEEN_WORKSPACE, the key's own, or 'default'."
    )(command)


def workspace_named(client: Client, name: str | None) -> dict[str, Any]:
    """The workspace of this name or id; without one the environment's, the key's own, or `default`."""
    wanted = name or client.connection.workspace
    found = list(client.pages("/api/workspaces"))
    if wanted is None and len(found) == 1:
        return found[0]
    for workspace in found:
        if (wanted or DEFAULT_WORKSPACE) in (workspace["name"], workspace["id"]):
            return workspace
    raise Refused(
        f"there is no workspace '{wanted or DEFAULT_WORKSPACE}' that this key sees",
        slug="not-found",
        hint="'lateen workspace list' shows those that it does",
    )


def functions_in(client: Client, workspace_id: str) -> Iterator[dict[str, Any]]:
    return client.pages(f"/api/workspaces/{workspace_id}/functions")


def function_if_any(client: Client, workspace_id: str, name: str) -> dict[str, Any] | None:
    """By name."""
    return next((function for function in functions_in(client, workspace_id) if function["name"] == name), None)


def function_named(client: Client, workspace: str | None, name: str) -> dict[str, Any]:
    """By name in the workspace, or by id. Raises: `Refused`."""
    where = workspace_named(client, workspace)
    for function in functions_in(client, where["id"]):
        if name in (function["name"], function["id"]):
            return function
    raise Refused(
        f"there is no function '{name}' in the workspace '{where['name']}'",
        slug="not-found",
        hint="'lateen list' shows those that there are, 'lateen deploy PATH' makes one",
    )
