"""`lateen invoke`: one event to a function, its answer on stdout."""

import sys
from pathlib import Path

import click

from lateen.cli.client import Client, refusal_from
from lateen.cli.completion import function_names
from lateen.cli.connection import Connection
from lateen.cli.lookup import function_named, workspace_option
from lateen.cli.output import Output, output_option

PATIENCE_S = 60.0
"""Beside the function's timeout: for a place in the queue and for a start."""


@click.command()
@click.argument("name", shell_complete=function_names)
@click.option("--data", "-d", default="{}", metavar="JSON", help="The event; @FILE reads it from there, - from stdin.")
@workspace_option
@output_option
@click.pass_obj
def invoke(connection: Connection, name: str, data: str, workspace: str | None, output: Output) -> None:
    """Give a function one event and print its answer.

    A function that fails ends this with exit code 1, its error and trace on stderr.
    """
    event = _event_from(data)
    with Client(connection) as client:
        function = function_named(client, workspace, name)
        answer = client.send(
            "POST",
            f"/api/functions/{function['id']}/invocations",
            body=event,
            answer_s=function["timeout"] + PATIENCE_S,
        )
    if not answer.is_success:
        raise refusal_from(answer)
    click.echo(answer.content, nl=sys.stdout.isatty() or not answer.content.endswith(b"\n"))


def _event_from(data: str) -> bytes:
    if data == "-":
        return sys.stdin.buffer.read()
    if not data.startswith("@"):
        return data.encode()
    try:
        return Path(data[1:]).read_bytes()
    except OSError as exc:
        raise click.BadParameter(f"{data[1:]}: {exc.strerror}", param_hint="--data") from exc
