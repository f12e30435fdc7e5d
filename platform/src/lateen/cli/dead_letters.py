"""`lateen dead-letters` and `redrive`: events that were never done, and another chance for them."""

from itertools import islice
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import click

from lateen.cli.client import PAGE, Client
from lateen.cli.completion import function_names
from lateen.cli.connection import Connection, with_connection
from lateen.cli.lookup import function_named, workspace_option
from lateen.cli.output import Output, output_option, show_json, show_table
from lateen.cli.refusals import Refused, hints, note

COLUMNS = {
    "ID": "id",
    "CONDITION": "condition",
    "ATTEMPTS": "attempts",
    "ENDED": "ended_at",
    "REASON": "reason",
}


@click.command(name="dead-letters")
@click.argument("name", shell_complete=function_names)
@click.option("--limit", "-n", type=click.IntRange(min=1), default=20, show_default=True, help="The last N only.")
@workspace_option
@output_option
@with_connection
def dead_letters(connection: Connection, name: str, limit: int, workspace: str | None, output: Output) -> None:
    """Show a function's events that were never done, the last sent first.

    --output json has the events themselves, and the function's last answers.
    """
    with Client(connection) as client:
        path = _path(function_named(client, workspace, name))
        found = list(islice(client.pages(path, params={"limit": min(limit, PAGE)}), limit))
    if output == "json":
        show_json(found)
    else:
        show_table(found, COLUMNS, empty=f"there is none: no event of '{name}' was given up in the last 14 days")


@click.command()
@click.argument("name", shell_complete=function_names)
@click.argument("letter_id", metavar="[ID]", required=False)
@click.option("--all", "is_all", is_flag=True, help="Every dead letter that the function has now.")
@workspace_option
@output_option
@with_connection
def redrive(
    connection: Connection, name: str, letter_id: str | None, is_all: bool, workspace: str | None, output: Output
) -> None:
    """Run an event again that was never done, and print its request id.

    It is put into the queue as if it had just been sent, with the request id that it had, and its dead letter is
    removed. 'lateen dead-letters NAME' shows the IDs. With --all the number of events is printed.
    """
    if is_all == (letter_id is not None):
        raise click.UsageError("either the ID of a dead letter, or --all")
    with Client(connection) as client:
        path = _path(function_named(client, workspace, name))
        if letter_id is None:
            _redrive_all(client, path, output)
            return
        with hints(not_found=f"'lateen dead-letters {name}' shows those that there are"):
            stored = client.call(
                "POST", f"{path}/{quote(letter_id, safe='')}/redrive", headers={"idempotency-key": str(uuid4())}
            )
    if output == "json":
        show_json(stored)
    else:
        click.echo(stored["request_id"])
        note(f"stored; 'lateen logs {name}' shows it when it has run")


def _redrive_all(client: Client, path: str, output: Output) -> None:
    """Page after page. Raises: `Refused` where letters stayed, after the others have gone."""
    count, refused, asked = 0, list[dict[str, Any]](), {"limit": str(PAGE)}
    try:
        while True:
            page = client.call("POST", f"{path}/redrive", params=asked)
            count += page["redriven"]
            refused += page["refused"]
            if page["next_cursor"] is None:
                break
            asked["cursor"] = page["next_cursor"]
    finally:
        if output == "json":
            show_json({"redriven": count, "refused": refused})
        else:
            click.echo(count)
    for each in refused:
        note(f"{each['id']} stays: {each['reason']}")
    if refused:
        raise Refused(f"dead letters that could not be redriven: {len(refused)}")


def _path(function: dict[str, Any]) -> str:
    return f"/api/functions/{function['id']}/dead-letters"
