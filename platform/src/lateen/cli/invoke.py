"""`lateen invoke`: one event to a function, its answer on stdout."""

import sys
from pathlib import Path
from typing import Any

import click
import httpx

from lateen.cli.client import Client, refusal_from
from lateen.cli.completion import function_names
from lateen.cli.connection import Connection, with_connection
from lateen.cli.lookup import function_named, workspace_option
from lateen.cli.output import Output, output_option, plain, show_json
from lateen.cli.refusals import Refused, hints, note

PATIENCE_S = 60.0
"""Beside the function's timeout: for a place in the queue and for a start."""


@click.command()
@click.argument("name", shell_complete=function_names)
@click.option("--data", "-d", default="{}", metavar="JSON", help="The event; @FILE reads it from there, - from stdin.")
@click.option("--async", "is_async", is_flag=True, help="Don't wait for an answer: print the request id.")
@click.option("--qualifier", metavar="VERSION|ALIAS", help="Not the function as it is, but this version of it.")
@workspace_option
@output_option
@with_connection
def invoke(
    connection: Connection,
    name: str,
    data: str,
    is_async: bool,
    qualifier: str | None,
    workspace: str | None,
    output: Output,
) -> None:
    """Give a function one event and print its answer.

    A function that fails ends this with exit code 1, its error and trace on stderr. With --async the event is stored
    and run at least once, up to two times more where the function fails.
    """
    event = _event_from(data)
    with Client(connection) as client:
        function = function_named(client, workspace, name)
        which = {} if qualifier is None else {"qualifier": qualifier}
        if is_async:
            path = f"/api/functions/{function['id']}/invocations"
            accepted = client.call("POST", path, body=event, params={"type": "event", **which})
            if output == "json":
                show_json(accepted)
            else:
                click.echo(accepted["request_id"])
                note(f"stored; 'lateen logs {name}' shows it when it has run")
            return
        answer = client.send(
            "POST",
            f"/api/functions/{function['id']}/invocations",
            body=event,
            params=which,
            answer_s=function["timeout"] + PATIENCE_S,
        )
    request_id = answer.headers.get("x-amzn-requestid")
    # Of a function that can't run, waiting makes nothing better.
    is_failed = function["state"] == "Failed" and qualifier is None
    with hints(**({"unavailable": "mend the cause and deploy again"} if is_failed else {})):
        error = _function_error(answer)
    if output == "json":
        ended = {"error": error} if error else {"answer": _json_or_text(answer)}
        show_json({"request_id": request_id} | ended)
    elif not error:
        click.echo(answer.content, nl=sys.stdout.isatty() or not answer.content.endswith(b"\n"))
    if error:
        for line in error.get("trace", ()):
            note(plain(line).rstrip())
        what = f"{error['type']}: {error['message']}" if error.get("message") else error["type"]
        raise Refused(f"'{name}' failed: {plain(what)}", slug="function-error", hint=f"'lateen logs {name}' shows more")


def _function_error(answer: httpx.Response) -> dict[str, Any] | None:
    """The error of a function that ran and failed; None if it answered. Raises: `Refused` if it did not run."""
    if answer.is_success:
        return None
    refusal = refusal_from(answer)
    if refusal.slug != "function-error":
        raise refusal
    error: dict[str, Any] = answer.json()["error"]
    return error


def _json_or_text(answer: httpx.Response) -> Any:
    """A client of the Runtime API may answer what it likes."""
    try:
        return answer.json()
    except ValueError:
        return answer.text


def _event_from(data: str) -> bytes:
    if data == "-":
        return sys.stdin.buffer.read()
    if not data.startswith("@"):
        return data.encode()
    try:
        return Path(data[1:]).read_bytes()
    except OSError as exc:
        raise click.BadParameter(f"{data[1:]}: {exc.strerror}", param_hint="--data") from exc
