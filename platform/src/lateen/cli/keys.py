"""`lateen key`: API keys, each with an AWS pair beside it."""

import json

import click

from lateen.cli.client import Client
from lateen.cli.connection import Connection, with_connection
from lateen.cli.lookup import workspace_named, workspace_option
from lateen.cli.output import Output, output_option, show_fields, show_json, show_table
from lateen.cli.refusals import Refused, note

COLUMNS = {
    "ID": "id",
    "WORKSPACE": "workspace",
    "AWS ACCESS KEY": "aws_access_key_id",
    "CREATED": "created_at",
    "DESCRIPTION": "description",
}


@click.group(name="key")
def key() -> None:
    """Make, list and revoke API keys."""


@key.command()
@workspace_option
@click.option("--installation", is_flag=True, help="A key for all workspaces, and for making more keys.")
@click.option("--description", help="Whose it is, or what for.")
@output_option
@with_connection
def create(
    connection: Connection, workspace: str | None, installation: bool, description: str | None, output: Output
) -> None:
    """Make a key, and show its secret this once."""
    if installation and workspace:
        raise click.UsageError("a key is for one workspace or for the installation, not both")
    with Client(connection) as client:
        where = None if installation else workspace_named(client, workspace)["id"]
        body = {"workspace": where, "description": description or ""}
        made = client.call("POST", "/api/keys", body=json.dumps(body).encode())
        if installation and made["workspace"] is not None:
            # To name no workspace asks for a key like one's own. Nobody has seen the secret of this one.
            client.call("DELETE", f"/api/keys/{made['id']}")
            raise Refused(
                "a key of a workspace makes none for the installation",
                slug="forbidden",
                hint="use a key of the installation, such as the administrator's",
            )
    if output == "json":
        show_json(made)
    else:
        show_fields(made)
    note("The secrets are shown this once. Give the key to scripts as LATEEN_TOKEN, the AWS pair to AWS tools.")


@key.command(name="list")
@output_option
@with_connection
def list_keys(connection: Connection, output: Output) -> None:
    """Show the keys that this key sees, without their secrets."""
    with Client(connection) as client:
        found = list(client.pages("/api/keys"))
    if output == "json":
        show_json(found)
    else:
        show_table(found, COLUMNS, empty="there is no key yet; 'lateen key create' makes one")


@key.command()
@click.argument("key_id", metavar="ID")
@output_option
@with_connection
def revoke(connection: Connection, key_id: str, output: Output) -> None:
    """End a key; calls with it are refused from now on."""
    with Client(connection) as client:
        client.call("DELETE", f"/api/keys/{key_id}")
    if output == "json":
        show_json({"id": key_id, "deleted": True})
    note(f"revoked key '{key_id}'")
