"""`lateen provisioned`: environments that are kept started."""

import json
import time
from typing import Any
from urllib.parse import quote

import click

from lateen.cli.client import Client
from lateen.cli.completion import function_names
from lateen.cli.connection import Connection, with_connection
from lateen.cli.lookup import function_named, workspace_option
from lateen.cli.output import Output, output_option, plain, show_fields, show_json, show_table
from lateen.cli.refusals import Refused, hints, note
from lateen.cli.revisions import SETTLED_S

COLUMNS = {
    "VERSION": "qualifier",
    "REQUESTED": "requested",
    "ALLOCATED": "allocated",
    "STATE": "state",
    "UPDATED": "updated_at",
    "REASON": "state_reason",
}


@click.group(name="provisioned")
def provisioned() -> None:
    """Environments of a version or an alias that are started before anybody calls, and stay."""


@provisioned.command(name="set")
@click.argument("name", shell_complete=function_names)
@click.argument("qualifier", metavar="VERSION|ALIAS")
@click.argument("count", type=click.IntRange(min=1))
@workspace_option
@click.option("--no-wait", is_flag=True, help="Don't wait until they have initialised.")
@output_option
@with_connection
def set_provisioned(
    connection: Connection,
    name: str,
    qualifier: str,
    count: int,
    workspace: str | None,
    no_wait: bool,
    output: Output,
) -> None:
    """Keep COUNT environments of a version of the function NAME started, or of the one that an alias leads to."""
    with Client(connection) as client:
        found = keep_started(client, function_named(client, workspace, name), qualifier, count, wait=not no_wait)
    if output == "json":
        show_json(found)
    else:
        show_fields(found)


@provisioned.command(name="list")
@click.argument("name", shell_complete=function_names)
@workspace_option
@output_option
@with_connection
def list_provisioned(connection: Connection, name: str, workspace: str | None, output: Output) -> None:
    """Show what of a function is kept started."""
    with Client(connection) as client:
        found = kept_started(client, function_named(client, workspace, name))
    if output == "json":
        show_json(found)
        return
    show_table(found, COLUMNS, empty=f"nothing is kept started; 'lateen provisioned set {name} ALIAS COUNT' does it")


@provisioned.command(name="delete")
@click.argument("name", shell_complete=function_names)
@click.argument("qualifier", metavar="VERSION|ALIAS")
@workspace_option
@output_option
@with_connection
def delete_provisioned(
    connection: Connection, name: str, qualifier: str, workspace: str | None, output: Output
) -> None:
    """Keep none of it started any more."""
    with Client(connection) as client:
        function = function_named(client, workspace, name)
        with hints(not_found=f"'lateen provisioned list {name}' shows what is kept started"):
            client.call("GET", _path(function, qualifier))
        keep_none(client, function, qualifier)
    if output == "json":
        show_json({"qualifier": qualifier, "deleted": True})
    note(f"'{name}:{qualifier}' has no provisioned concurrency")


def keep_started(client: Client, function: dict[str, Any], qualifier: str, count: int, *, wait: bool) -> dict[str, Any]:
    """Raises: `Refused`, also where they can't be started."""
    where = f"{function['name']}:{qualifier}"
    with hints(not_found=f"'lateen versions {function['name']}' and 'lateen alias list' show those that there are"):
        body = json.dumps({"requested": count}).encode()
        found: dict[str, Any] = client.call("PUT", _path(function, qualifier), body=body)
    deadline, pause_s = time.monotonic() + SETTLED_S, 0.05
    while wait and found["state"] == "IN_PROGRESS":
        if time.monotonic() > deadline:
            raise Refused(
                f"not all {count} environments of '{where}' have started within {SETTLED_S:.0f} s",
                hint=f"look again with 'lateen provisioned list {function['name']}'",
            )
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, 1.0)
        found = client.call("GET", _path(function, qualifier))
    if found["state"] == "FAILED":
        reason = plain(found["state_reason"] or "no reason given")
        raise Refused(f"{found['allocated']} of {count} environments of '{where}' are kept started: {reason}")
    return found


def kept_started(client: Client, function: dict[str, Any]) -> list[dict[str, Any]]:
    return list(client.pages(f"/api/functions/{function['id']}/provisioned-concurrency"))


def keep_none(client: Client, function: dict[str, Any], qualifier: str) -> None:
    client.call("DELETE", _path(function, qualifier))


def _path(function: dict[str, Any], qualifier: str) -> str:
    return f"/api/functions/{function['id']}/provisioned-concurrency/{quote(qualifier, safe='')}"
