"""`lateen workspace`: the tenants."""

import json
from collections.abc import Callable
from typing import Any

import click

from lateen.cli.buckets import SCHEME
from lateen.cli.client import Client
from lateen.cli.connection import Connection, with_connection
from lateen.cli.lookup import workspace_named
from lateen.cli.output import Output, output_option, show_fields, show_json, show_table
from lateen.cli.refusals import hints, note

COLUMNS = {"NAME": "name", "ID": "id", "ACCOUNT": "account_id", "CREATED": "created_at", "DESCRIPTION": "description"}
_QUOTA_HELP = "Of all its functions' pods together, where they run as pods; 'none': what the installation allows."


def quota_options(command: Callable[..., None]) -> Callable[..., None]:
    for option, example in (("--memory", "64Gi"), ("--cpu", "20"), ("--pods", "50")):
        command = click.option(option, metavar=example, help=_QUOTA_HELP)(command)
    return command


def code_buckets_option(command: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--code-bucket",
        "code_buckets",
        metavar="BUCKET[/FOLDER]",
        multiple=True,
        help="An S3 bucket that its callers may take code from, or a folder in one; again for more.",
    )(command)


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
@quota_options
@code_buckets_option
@output_option
@with_connection
def create(
    connection: Connection,
    name: str,
    description: str | None,
    code_buckets: tuple[str, ...],
    output: Output,
    pods: str | None,
    cpu: str | None,
    memory: str | None,
) -> None:
    """Make a workspace."""
    body: dict[str, Any] = {"name": name} | ({"description": description} if description is not None else {})
    if quota := _quota({"pods": pods, "cpu": cpu, "memory": memory}):
        body["quota"] = quota
    if code_buckets:
        body["code_buckets"] = _buckets(code_buckets)
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
@quota_options
@code_buckets_option
@click.option("--no-code-buckets", is_flag=True, help="Take all others off that list.")
@output_option
@with_connection
def update(
    connection: Connection,
    name: str,
    new_name: str | None,
    description: str | None,
    code_buckets: tuple[str, ...],
    no_code_buckets: bool,
    output: Output,
    pods: str | None,
    cpu: str | None,
    memory: str | None,
) -> None:
    """Rename a workspace, or change its description, its quota, or the buckets that code may be taken from."""
    given = (("name", new_name), ("description", description))
    changes: dict[str, Any] = {key: value for key, value in given if value is not None}
    quota = _quota({"pods": pods, "cpu": cpu, "memory": memory})
    if not changes and not quota and not code_buckets and not no_code_buckets:
        raise click.UsageError(
            "nothing to change: give --name, --description, --pods, --cpu, --memory or --code-bucket"
        )
    with Client(connection) as client:
        found = workspace_named(client, name)
        if quota:
            changes["quota"] = found["quota"] | quota
        if code_buckets or no_code_buckets:
            kept = [] if no_code_buckets else found["code_buckets"]
            changes["code_buckets"] = list(dict.fromkeys([*kept, *_buckets(code_buckets)]))
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


@workspace.command(name="build-settings")
@click.argument("name")
@click.option("--set", "given", metavar="VARIABLE[=VALUE]", multiple=True, help="Without a value it is asked for.")
@click.option("--unset", "removed", metavar="VARIABLE", multiple=True)
@output_option
@with_connection
def build_settings(
    connection: Connection, name: str, given: tuple[str, ...], removed: tuple[str, ...], output: Output
) -> None:
    """Say where builds fetch packages, such as --set PIP_INDEX_URL, and show the names of what was said.

    Values may be secrets. They are stored encrypted and never shown again.
    """
    change: dict[str, str | None] = dict.fromkeys(removed)
    for each in given:
        variable, has_value, value = each.partition("=")
        change[variable] = value if has_value else click.prompt(variable, hide_input=True, err=True)
    with Client(connection) as client:
        path = f"/api/workspaces/{workspace_named(client, name)['id']}/build-settings"
        if change:
            found = client.call("PATCH", path, body=json.dumps({"variables": change}).encode())
        else:
            found = client.call("GET", path)
    if output == "json":
        show_json(found)
    else:
        for variable in found["variables"]:
            click.echo(variable)


def _show(workspace: dict[str, Any], output: Output) -> None:
    if output == "json":
        show_json(workspace)
    else:
        limits = (f"{name} {value}" for name, value in workspace["quota"].items() if value is not None)
        shown = {"quota": ", ".join(limits), "code_buckets": ", ".join(workspace["code_buckets"])}
        show_fields(workspace | shown)


def _buckets(given: tuple[str, ...]) -> list[str]:
    return [each.removeprefix(SCHEME) for each in given]


def _quota(asked: dict[str, str | None]) -> dict[str, Any]:
    """What was given of it."""
    quota: dict[str, Any] = {name: None if text == "none" else text for name, text in asked.items() if text is not None}
    if quota.get("pods") is not None:
        if not quota["pods"].isdecimal():
            raise click.BadParameter("a whole number, or none", param_hint="'--pods'")
        quota["pods"] = int(quota["pods"])
    return quota
