"""`lateen publish`, `versions` and `rollback`: what a function was."""

import json
from typing import Any
from urllib.parse import quote

import click

from lateen.cli.aliases import alias_named, aliases_of, moved, shares_of, show_alias, target_of
from lateen.cli.client import Client, refusal_from
from lateen.cli.completion import function_names
from lateen.cli.connection import Connection, with_connection
from lateen.cli.lookup import function_named, workspace_option
from lateen.cli.output import Output, output_option, show_json, show_table
from lateen.cli.refusals import Refused, hints, note
from lateen.cli.revisions import settled

COLUMNS = {
    "VERSION": "version",
    "STATE": "state",
    "ALIASES": "aliases",
    "RUNTIME": "runtime",
    "CODE": "code",
    "PUBLISHED": "published_at",
    "DESCRIPTION": "description",
}
_SAME = (
    "runtime", "handler", "image", "image_config", "environment", "timeout", "memory", "concurrency", "layers",
    "code_sha256", "logging_config", "role",
)  # fmt: skip


@click.command()
@click.argument("name", shell_complete=function_names)
@click.option("--description", help="Of the version; else the function's.")
@workspace_option
@output_option
@with_connection
def publish(connection: Connection, name: str, description: str | None, workspace: str | None, output: Output) -> None:
    """Make a version of a function as it is, and print its number.

    A version never changes. If the function was not changed since the last one, that is the answer.
    """
    with Client(connection) as client:
        function = function_named(client, workspace, name)
        answer = client.send(
            "POST",
            f"/api/functions/{function['id']}/versions",
            body=json.dumps({"description": description}).encode(),
        )
        if not answer.is_success:
            raise refusal_from(answer)
    version = answer.json()
    if answer.status_code == 201:
        note(f"published '{name}' as version {version['version']}")
    else:
        note(f"'{name}' is what version {version['version']} is")
    if output == "json":
        show_json(version)
    else:
        click.echo(version["version"])


@click.command()
@click.argument("name", shell_complete=function_names)
@workspace_option
@output_option
@with_connection
def versions(connection: Connection, name: str, workspace: str | None, output: Output) -> None:
    """Show a function's versions, the newest first, and the aliases that lead to them."""
    with Client(connection) as client:
        function = function_named(client, workspace, name)
        found = _versions(client, function)
        aliases = aliases_of(client, function)
    if output == "json":
        show_json(found)
        return
    lines = [
        each
        | {
            "code": each["code_sha256"][:12],
            "aliases": ", ".join(a["name"] for a in aliases if each["version"] in shares_of(a)),
        }
        for each in found
    ]
    show_table(lines, COLUMNS, empty=f"there is no version yet; 'lateen publish {name}' makes one")


@click.command()
@click.argument("name", shell_complete=function_names)
@click.argument("alias_name", metavar="[ALIAS]", required=False)
@click.option("--to", metavar="VERSION", help="Not to the one before, but to this one.")
@workspace_option
@click.option("--no-wait", is_flag=True, help="Don't wait until it runs.")
@output_option
@with_connection
def rollback(
    connection: Connection,
    name: str,
    alias_name: str | None,
    to: str | None,
    workspace: str | None,
    no_wait: bool,
    output: Output,
) -> None:
    """Lead an alias to where it led before, or make the function what its last version is.

    With ALIAS its calls go back; `lateen rollback` again undoes it. Without one the function gets the code and the
    configuration of its newest version that is not what it is now.
    """
    with Client(connection) as client:
        function = function_named(client, workspace, name)
        if alias_name is not None:
            body = target_of((to,)) if to is not None else _before(alias_named(client, function, alias_name))
            show_alias(moved(client, function, alias_name, body, wait=not no_wait), output)
            return
        version = to or _last_other(client, function)
        with hints(revision_mismatch="somebody changed it at the same time; try again"):
            restored: dict[str, Any] = client.call(
                "POST",
                f"/api/functions/{function['id']}/versions/{quote(version, safe='')}/restore",
                headers={"if-match": f'"{function["revision"]}"'},
            )
        if not no_wait:
            restored = settled(client, restored)
    note(f"'{name}' is what version {version} is")
    if output == "json":
        show_json(restored)
    else:
        click.echo(restored["url"])


def _before(found: dict[str, Any]) -> dict[str, Any]:
    if found["previous"] is None:
        raise Refused(f"the alias '{found['name']}' never led elsewhere", hint="--to VERSION says where it shall lead")
    return {"version": found["previous"]["version"], "routing": found["previous"]["routing"]}


def _last_other(client: Client, function: dict[str, Any]) -> str:
    """The newest version that isn't what the function is."""
    for each in _versions(client, function):
        if any(each[field] != function[field] for field in _SAME):
            return str(each["version"])
    raise Refused(
        f"'{function['name']}' has no version that it is not already",
        hint=f"'lateen publish {function['name']}' makes one of it as it is",
    )


def _versions(client: Client, function: dict[str, Any]) -> list[dict[str, Any]]:
    """The newest first."""
    return list(client.pages(f"/api/functions/{function['id']}/versions"))[::-1]
