"""`lateen workspace`: the tenants."""

import json
from typing import Any

import click

from lateen.cli.client import Client
from lateen.cli.connection import Connection, with_connection
from lateen.cli.lookup import workspace_named
from lateen.cli.output import Output, output_option, show_fields, show_json, show_table
from lateen.cli.refusals import hints, note

COLUMNS = {"NAME": "name", "ID": "id", "ACCOUNT": "account_id", "CREATED": "created_at", "DESCRIPTION": "description"}


@click.group(name="workspace")
def workspace() -> None:
    """Make, change and remove workspaces."""


@workspace.command(name="list")
@output_option
@with_connection
def list_workspaces(connection: Connection, output: Output) -> None:
    """Show the workspaces that the key sees."""
    with Client(connection) as client:
        found = list(client.pages("/api/workspaces"))
    if output == "json":
        show_json(found)
    else:
        show_table(found, COLUMNS, empty="there is no workspace yet; 'lateen workspace create NAME' makes one")


@workspace.command()
@click.argument("name")
@click.option("--description", help="What it is for.")
@output_option
@with_connection
def create(connection: Connection, name: str, description: str | None, output: Output) -> None:
    """Make a workspace."""
    body = {"name": name} | ({"description": description} if description is not None else {})
    with Client(connection) as client, hints(already_exists="'lateen workspace list' shows the names that are taken"):
        _show(client.call("POST", "/api/workspaces", body=json.dumps(body).encode()), output)


@workspace.command()
@click.argument("name")
@output_option
@with_connection
def show(connection: Connection, name: str, output: Output) -> None:
    """Show one workspace, by name or id."""
    with Client(connection) as client:
        _show(workspace_named(client, name), output)


@workspace.command()
@click.argument("name")
@click.option("--name", "new_name", metavar="NAME", help="Its new name.")
@click.option("--description", help="Its new description.")
@output_option
@with_connection
def update(connection: Connection, name: str, new_name: str | None, description: str | None, output: Output) -> None:
    """Rename a workspace, or change its description."""
    changes = {key: value for key, value in (("name", new_name), ("description", description)) if value is not None}
    if not changes:
        raise click.UsageError("nothing to change: give --name or --description")
    with Client(connection) as client:
        found = workspace_named(client, name)
        _show(client.call("PATCH", f"/api/workspaces/{found['id']}", body=json.dumps(changes).encode()), output)


@workspace.command()
@click.argument("name")
@click.option("--force", is_flag=True, help="Remove its functions too.")
@output_option
@with_connection
def delete(connection: Connection, name: str, force: bool, output: Output) -> None:
    """Remove a workspace; refused while it has functions."""
    with Client(connection) as client, hints(conflict="--force removes its functions too"):
        found = workspace_named(client, name)
        client.call("DELETE", f"/api/workspaces/{found['id']}", params={"force": "true"} if force else {})
    if output == "json":
        show_json({"id": found["id"], "deleted": True})
    note(f"removed workspace '{found['name']}'")


def _show(workspace: dict[str, Any], output: Output) -> None:
    if output == "json":
        show_json(workspace)
    else:
        show_fields(workspace)
