"""`lateen alias`: which versions of a function are called."""

import json
import re
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import click

from lateen.cli.client import Client
from lateen.cli.completion import function_names
from lateen.cli.connection import Connection, with_connection
from lateen.cli.lookup import function_named, workspace_option
from lateen.cli.output import Output, output_option, plain, show_json, show_table
from lateen.cli.refusals import Refused, hints, note
from lateen.cli.revisions import SETTLED_S
from lateen.domain.versions import is_alias_name

COLUMNS = {
    "NAME": "name",
    "VERSIONS": "versions",
    "STATE": "state",
    "PREVIOUS": "previous",
    "UPDATED": "updated_at",
    "URL": "url",
    "DESCRIPTION": "description",
}
_SHARE = re.compile(r"^(?P<version>\$LATEST|[1-9][0-9]*)(=(?P<percent>[0-9]+(\.[0-9]+)?)%?)?\Z")


@click.group(name="alias")
def alias() -> None:
    """Names that lead to one version of a function, or share its calls between two."""


@alias.command(name="set")
@click.argument("name", shell_complete=function_names)
@click.argument("alias_name", metavar="ALIAS")
@click.argument("shares", metavar="VERSION[=PERCENT]...", nargs=-1, required=True)
@click.option("--description", help="What it is for.")
@workspace_option
@click.option("--no-wait", is_flag=True, help="Don't wait until its calls go there.")
@output_option
@with_connection
def set_alias(
    connection: Connection,
    name: str,
    alias_name: str,
    shares: tuple[str, ...],
    description: str | None,
    workspace: str | None,
    no_wait: bool,
    output: Output,
) -> None:
    """Make an alias of the function NAME, or move it, and print its URL.

    `lateen alias set hello live 3` leads all calls to version 3, `lateen alias set hello live 3=90 4=10` a tenth of
    them to version 4. Until these run, calls go where they went.
    """
    body = target_of(shares)
    if description is not None:
        body["description"] = description
    with Client(connection) as client:
        function = function_named(client, workspace, name)
        found = moved(client, function, alias_name, body, wait=not no_wait)
    show_alias(found, output)


@alias.command(name="list")
@click.argument("name", shell_complete=function_names)
@workspace_option
@output_option
@with_connection
def list_aliases(connection: Connection, name: str, workspace: str | None, output: Output) -> None:
    """Show a function's aliases."""
    with Client(connection) as client:
        found = aliases_of(client, function_named(client, workspace, name))
    if output == "json":
        show_json(found)
        return
    lines = [
        each | {"versions": _text_of(each), "previous": _text_of(each["previous"]) if each["previous"] else None}
        for each in found
    ]
    show_table(lines, COLUMNS, empty=f"there is no alias yet; 'lateen alias set {name} live VERSION' makes one")


@alias.command(name="delete")
@click.argument("name", shell_complete=function_names)
@click.argument("alias_name", metavar="ALIAS")
@workspace_option
@output_option
@with_connection
def delete_alias(connection: Connection, name: str, alias_name: str, workspace: str | None, output: Output) -> None:
    """Remove an alias; its URL is gone for good."""
    with Client(connection) as client:
        function = function_named(client, workspace, name)
        alias_named(client, function, alias_name)
        client.call("DELETE", _path(function, alias_name))
    if output == "json":
        show_json({"name": alias_name, "deleted": True})
    note(f"removed the alias '{alias_name}' of '{name}'")


def moved(client: Client, function: dict[str, Any], name: str, body: dict[str, Any], *, wait: bool) -> dict[str, Any]:
    if not is_alias_name(name):
        raise Refused(f"{name!r} can't be an alias", hint="at most 128 letters, digits, - and _, not digits only")
    with hints(not_found=f"'lateen versions {function['name']}' shows those that there are"):
        found: dict[str, Any] = client.call("PUT", _path(function, name), body=json.dumps(body).encode())
    deadline, pause_s = time.monotonic() + SETTLED_S, 0.02
    while wait and found["state"] == "Pending":
        if time.monotonic() > deadline:
            raise Refused(
                f"the alias '{name}' still leads elsewhere after {SETTLED_S:.0f} s: {found['state_reason']}",
                hint=f"look again with 'lateen alias list {function['name']}'",
            )
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, 1.0)
        found = client.call("GET", _path(function, name))
    if found["state"] == "Failed":
        raise Refused(
            f"the alias '{name}' can't lead there: {plain(found['state_reason'] or 'no reason given')}",
            hint=f"its calls go where they went; 'lateen rollback {function['name']} {name}' leaves it at that",
        )
    note(f"'{name}' leads to {_text_of(found)}")
    return found


def show_alias(found: dict[str, Any], output: Output) -> None:
    if output == "json":
        show_json(found)
    else:
        click.echo(found["url"])


def aliases_of(client: Client, function: dict[str, Any]) -> list[dict[str, Any]]:
    return list(client.pages(f"/api/functions/{function['id']}/aliases"))


def alias_named(client: Client, function: dict[str, Any], name: str) -> dict[str, Any]:
    with hints(not_found=f"'lateen alias list {function['name']}' shows those that there are"):
        found: dict[str, Any] = client.call("GET", _path(function, name))
    return found


def _path(function: dict[str, Any], name: str) -> str:
    return f"/api/functions/{function['id']}/aliases/{quote(name, safe='')}"


def target_of(shares: tuple[str, ...]) -> dict[str, Any]:
    """`3=90 4=10` as the server is told: the first version, and the other's share. Raises: `BadParameter`."""
    found = [_SHARE.match(share) for share in shares]
    wrong = next((share for share, match in zip(shares, found, strict=True) if match is None), None)
    if wrong is not None:
        raise click.BadParameter(f"{wrong!r} is no version, nor one with its percentage, such as 3=90")
    if len(shares) > 2:
        raise click.BadParameter("an alias leads to one version, or shares calls between two")
    given = {each["version"]: each["percent"] for each in found if each is not None}
    if len(given) != len(shares):
        raise click.BadParameter("the same version twice")
    if len(given) == 1:
        ((version, percent),) = given.items()
        if percent is not None and float(percent) != 100:
            raise click.BadParameter(f"the other {100 - float(percent):g} percent go to no version")
        return {"version": version, "routing": {}}
    if None in given.values() or abs(sum(float(percent) for percent in given.values()) - 100) > 1e-9:
        raise click.BadParameter("the percentages of both versions together are 100")
    first, second = given
    return {"version": first, "routing": {second: round(float(given[second]) / 100, 6)}}


def shares_of(target: Mapping[str, Any]) -> dict[str, float]:
    """Version → percent of the calls."""
    others = {version: share * 100 for version, share in target["routing"].items()}
    return {target["version"]: 100 - sum(others.values()), **others}


def _text_of(target: Mapping[str, Any]) -> str:
    """As `alias set` takes it."""
    if not target["routing"]:
        return str(target["version"])
    return " ".join(f"{version}={percent:g}" for version, percent in shares_of(target).items())
