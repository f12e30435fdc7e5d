"""`lateen url`: how a function's URL answers, and who may call it."""

import json
from typing import Any

import click

from lateen.cli.aliases import alias_named
from lateen.cli.client import Client
from lateen.cli.completion import function_names
from lateen.cli.connection import Connection, with_connection
from lateen.cli.lookup import function_named, workspace_option
from lateen.cli.output import Output, output_option, show_fields, show_json
from lateen.cli.refusals import Refused, note
from lateen.cli.revisions import settled

_CORS = ("allow_origins", "allow_methods", "allow_headers", "expose_headers", "max_age", "allow_credentials")


@click.group(name="url")
def url() -> None:
    """How the URL of a function, or of one of its aliases, answers, and who may call it."""


@url.command(name="set")
@click.argument("name", shell_complete=function_names)
@click.argument("alias", metavar="[ALIAS]", required=False)
@click.option(
    "--auth-type",
    type=click.Choice(["NONE", "AWS_IAM"], case_sensitive=False),
    help="NONE: everybody may call it; AWS_IAM: who signs with a key pair of the workspace.",
)
@click.option(
    "--invoke-mode",
    type=click.Choice(["BUFFERED", "RESPONSE_STREAM"], case_sensitive=False),
    help="Whether what the function streams goes out as it comes.",
)
@click.option("--cors-origin", "allow_origins", multiple=True, metavar="ORIGIN", help="Again for more; *: every one.")
@click.option("--cors-method", "allow_methods", multiple=True, metavar="METHOD", help="Again for more; *: every one.")
@click.option("--cors-header", "allow_headers", multiple=True, metavar="NAME", help="That may be sent.")
@click.option("--cors-expose", "expose_headers", multiple=True, metavar="NAME", help="That may be read.")
@click.option("--cors-max-age", "max_age", type=int, metavar="SECONDS", help="How long a browser need not ask again.")
@click.option(
    "--cors-credentials/--no-cors-credentials", "allow_credentials", default=None, help="Whether cookies are sent."
)
@click.option("--no-cors", is_flag=True, help="Leave CORS to the function.")
@workspace_option
@click.option("--no-wait", is_flag=True, help="Don't wait until it is so.")
@output_option
@with_connection
def set_url(
    connection: Connection,
    /,
    name: str,
    alias: str | None,
    auth_type: str | None,
    invoke_mode: str | None,
    no_cors: bool,
    workspace: str | None,
    no_wait: bool,
    output: Output,
    **cors: Any,
) -> None:
    """Set what is given of the function NAME's URL, or of its ALIAS's, and print the URL; the rest stays.

    Once a function's own URL has settings, the URL of an alias leads nowhere until it has its own.
    """
    given = {field: value for field in _CORS if (value := cors[field]) not in (None, ())}
    if no_cors and given:
        raise click.UsageError("--no-cors and what is to be in it exclude each other")
    with Client(connection) as client:
        function = function_named(client, workspace, name)
        before = url_if_any(client, function, alias) or {}
        if auth_type is None and not before:
            raise click.UsageError("give --auth-type: NONE lets everybody call it, AWS_IAM who signs")
        known = {field: value for field, value in (before.get("cors") or {}).items() if value is not None}
        body = {
            "auth_type": auth_type or before["auth_type"],
            "invoke_mode": invoke_mode or before.get("invoke_mode", "BUFFERED"),
            "cors": None if no_cors else known | given or None,
        }
        found = url_set(client, function, alias, body)
        if alias is None and not no_wait:
            settled(client, client.call("GET", f"/api/functions/{function['id']}"))
    if output == "json":
        show_json(found)
    else:
        click.echo(found["url"])


@url.command()
@click.argument("name", shell_complete=function_names)
@click.argument("alias", metavar="[ALIAS]", required=False)
@workspace_option
@output_option
@with_connection
def show(connection: Connection, name: str, alias: str | None, workspace: str | None, output: Output) -> None:
    """Show what is set for the URL of the function NAME, or of its ALIAS."""
    with Client(connection) as client:
        function = function_named(client, workspace, name)
        found = url_if_any(client, function, alias)
    if found is None:
        what = f"alias '{alias}' of '{name}'" if alias else f"function '{name}'"
        raise Refused(
            f"nothing is set for the URL of the {what}; the function's auth is '{function['auth']}'",
            slug="not-found",
            hint="'lateen url set' says how it answers and who may call it",
        )
    if output == "json":
        show_json(found)
    else:
        cors = [f"{field}: {json.dumps(value)}" for field, value in (found["cors"] or {}).items() if value is not None]
        show_fields(found | {"cors": ", ".join(cors)})


@url.command()
@click.argument("name", shell_complete=function_names)
@click.argument("alias", metavar="[ALIAS]", required=False)
@workspace_option
@output_option
@with_connection
def delete(connection: Connection, name: str, alias: str | None, workspace: str | None, output: Output) -> None:
    """Remove what is set for the URL of the function NAME, or of its ALIAS.

    Nobody may call the function's own then, until `lateen update NAME --auth` says who may. An alias's is as the
    function's again.
    """
    with Client(connection) as client:
        url_removed(client, function_named(client, workspace, name), alias)
    if output == "json":
        show_json({"function": name, "alias": alias, "deleted": True})
    note(f"removed the settings of the URL of '{name}'" + (f", alias '{alias}'" if alias else ""))


def url_if_any(client: Client, function: dict[str, Any], alias: str | None) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = client.call("GET", _path(function), params=_of(alias))
    except Refused as refusal:
        if refusal.slug != "not-found":
            raise
        if alias is not None:  # there is none of that name, or nothing is set for it
            alias_named(client, function, alias)
        return None
    return found


def url_set(client: Client, function: dict[str, Any], alias: str | None, body: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = client.call("PUT", _path(function), params=_of(alias), body=json.dumps(body).encode())
    return found


def url_removed(client: Client, function: dict[str, Any], alias: str | None) -> None:
    client.call("DELETE", _path(function), params=_of(alias))


def _path(function: dict[str, Any]) -> str:
    return f"/api/functions/{function['id']}/url"


def _of(alias: str | None) -> dict[str, str]:
    return {} if alias is None else {"alias": alias}
